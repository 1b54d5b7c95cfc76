"""The base layer of an image: a minimal Debian root from unpacked packages, shared by apps that name the same ones."""

import os
import shutil
import stat
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from conformance.errors import UsageError
from harness.appimage import debs
from harness.appimage.command import run_tool

BASE_PACKAGES = ("base-files", "busybox-static", "libc6")

_LEFT_OUT = (
    "usr/share/doc",
    "usr/share/man",
    "usr/share/info",
    "usr/share/locale",
    "usr/share/lintian",
    "usr/share/bug",
)
_FOLDERS = {
    "dev": 0o755,
    "proc": 0o555,
    "sys": 0o555,
    "run": 0o755,
    "tmp": 0o1777,
    "media": 0o755,
    "root": 0o700,
    "var/lib/dpkg": 0o755,
}
_FILES = {
    # `*`: no password ever fits; a key in authorized_keys does
    "etc/passwd": "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin\n",
    "etc/shadow": "root:*:19675:0:99999:7:::\nnobody:*:19675:0:99999:7:::\n",
    "etc/group": "root:x:0:\nnogroup:x:65534:\n",
    "etc/shells": "/bin/sh\n",
    "etc/nsswitch.conf": "passwd: files\ngroup: files\nshadow: files\nhosts: files dns\n",
    "etc/hosts": "127.0.0.1 localhost\n",
}
_LINKS = {"etc/resolv.conf": "../run/resolv.conf", "etc/mtab": "../proc/self/mounts"}


@dataclass(frozen=True, slots=True)
class Entry:
    """One name in the image: its mode (with the file type), the host's file or the link's target, and its owner."""

    mode: int
    source: Path | None = None
    target: str = ""
    uid: int = 0
    gid: int = 0


def build_root(packages: Sequence[debs.Deb], folder: Path) -> None:
    """Make the root tree in the empty folder: packages unpacked, accounts without passwords, Python byte-compiled."""
    folder.mkdir(parents=True)
    for deb in packages:
        if not deb.name.startswith("linux-image-"):
            debs.unpack(deb, folder)
    for name in _LEFT_OUT:
        shutil.rmtree(folder / name, ignore_errors=True)
    for name, mode in _FOLDERS.items():
        (folder / name).mkdir(parents=True, exist_ok=True)
        (folder / name).chmod(mode)
    for name, text in {**_FILES, "var/lib/dpkg/status": debs.status(packages)}.items():
        (folder / name).write_text(text)
        (folder / name).chmod(0o600 if name == "etc/shadow" else 0o644)
    for name, target in _LINKS.items():
        (folder / name).unlink(missing_ok=True)
        (folder / name).symlink_to(target)
    _link_applets(folder)
    python = interpreter(folder)
    if python is not None:
        (folder / "usr/bin/python3").symlink_to(python.name)
        compile_python(folder, folder, ["/usr/lib/" + python.name])


def _link_applets(folder: Path) -> None:
    """Every busybox applet that no package brings becomes a link in /bin (sh, mount, udhcpc, ...)."""
    present = {path.name for place in ("bin", "sbin", "usr/bin", "usr/sbin") for path in (folder / place).glob("*")}
    applets = run_tool([folder / "bin/busybox", "--list"], what="list busybox's applets").stdout.split()
    for applet in applets:
        if applet not in present and applet != "linuxrc":
            (folder / "bin" / applet).symlink_to("busybox")


def interpreter(root: Path) -> Path | None:
    """The root's own Python (usr/bin/python3.N), or None."""
    found = sorted((root / "usr/bin").glob("python3.[0-9]*"))
    return found[-1] if found else None


def compile_python(root: Path, folder: Path, names: Sequence[str]) -> None:
    """Byte-compile these names of the image that lie below folder, with the root's own Python.

    Unchecked: a guest under emulation has no time to compile, and none to compare; a reader still finds the sources.
    """
    python = interpreter(root)
    if python is None:
        raise UsageError(
            "the app has Python files but app.toml names no package with an interpreter (python3.11-minimal)"
        )
    libraries = ":".join(str(root / name / "x86_64-linux-gnu") for name in ("lib", "usr/lib"))
    # through the root's own loader: its Python runs on a host with another C library too
    words: list[str | Path] = [root / "lib64/ld-linux-x86-64.so.2", "--library-path", libraries, python]
    words += ["-B", "-S", "-m", "compileall", "-q", "--invalidation-mode", "unchecked-hash", "-s", folder, "-p", "/"]
    words += [folder / name.lstrip("/") for name in names]
    run_tool(words, what="compile the image's Python", environment={"PYTHONHOME": str(root / "usr")})


def scan(folder: Path) -> dict[str, Entry]:
    """Every name below the folder, as absolute paths of the image; set-uid and set-gid bits are dropped."""
    entries: dict[str, Entry] = {}
    for place, folders, files in os.walk(folder):
        for name in folders + files:
            path = Path(place, name)
            mode = path.lstat().st_mode & ~(stat.S_ISUID | stat.S_ISGID)
            target = os.readlink(path) if stat.S_ISLNK(mode) else ""
            entries["/" + str(path.relative_to(folder))] = Entry(mode, path, target)
    return entries
