"""A root file system from an archive (tar, plain or compressed) as the base of an image: for distributions whose
packages this suite does not fetch, those of the Red Hat family above all. Without root: what only root may make is
written down and made in the image.
"""

import gzip
import lzma
import posixpath
import re
import stat
import tarfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from conformance.errors import UsageError
from harness.appimage.command import run_tool
from harness.appimage.initramfs import MODULES, dependencies
from harness.appimage.root import Entry

KERNEL_ARGUMENTS = "selinux=0"  # an archive brings no labels, without which an enforcing system does not start
# What other distributions' kernels have as modules for an ext4 root, and what ext4 asks for by a name of its algorithm.
_ROOT_MODULE, _CHECKSUMS = "ext4", ("crc32c_generic", "crc32c_intel")
_FOLDERS = ("/dev", "/proc", "/sys", "/run", "/tmp", "/media")  # mounted on, by the initramfs or by an init
_KERNEL = re.compile(r"/boot/vmlinuz-(?!0-rescue)(.+)|/(?:usr/)?lib/modules/([^/]+)/vmlinuz")
_MODULE = re.compile(r"/(?:usr/)?lib/modules/([^/]+)/.*?([^/]+)\.ko(\.xz|\.gz|\.zst)?")
_LINKS_MAX = 40  # Linux' own limit on a path's symbolic links
_FSTAB = "/dev/vda2 / ext4 defaults 0 1\n"
UNIT = """[Unit]
Description=The RACS application
Wants=network-online.target
After=network-online.target

[Service]
ExecStartPre=/bin/sh -c 'mountpoint -q /media || mount -t iso9660 -o ro /dev/sr0 /media'
ExecStart=/bin/sh /etc/start

[Install]
WantedBy=multi-user.target
"""
UNIT_FILE = "/etc/systemd/system/racs-app.service"
_UNIT_LINKS = {
    "/etc/systemd/system/default.target": "/usr/lib/systemd/system/multi-user.target",
    "/etc/systemd/system/multi-user.target.wants/racs-app.service": UNIT_FILE,
}


class NoKernel(UsageError):
    """A root archive without a kernel, as containers' are: it boots nowhere."""


@dataclass(frozen=True, slots=True)
class Root:
    """A root file system: its entries by absolute name, and what its os-release calls it."""

    entries: dict[str, Entry]
    name: str

    @property
    def kernels(self) -> dict[str, Path]:
        """Version to kernel image."""
        found = {}
        for name, entry in self.entries.items():
            match = _KERNEL.fullmatch(name)
            if match and entry.source is not None:
                found[match[1] or match[2]] = entry.source
        return found

    @property
    def python_packages(self) -> str:
        """The folder of its Python's packages. Raises UsageError where there is no Python."""
        found = sorted(name for name in self.entries if re.fullmatch(r"/usr/lib/python3\.\d+/site-packages", name))
        if not found:
            raise UsageError(
                "app.toml names Python packages, but the root archive has no /usr/lib/python3.*/site-packages"
            )
        return found[-1]

    def place(self, name: str) -> str:
        """The name with the symbolic links of its folders followed: /sbin/init is /usr/sbin/init where /sbin is one."""
        folder, base = posixpath.split(name)
        return posixpath.join(self.follow(folder), base)

    def follow(self, name: str) -> str:
        """The name that this one stands for, all links followed. Raises UsageError for links in a circle."""
        done, left, links = "/", [part for part in name.split("/") if part], 0
        while left:
            part = left.pop(0)
            done = posixpath.normpath(posixpath.join(done, part))
            entry = self.entries.get(done)
            if entry is not None and stat.S_ISLNK(entry.mode):
                links += 1
                if links > _LINKS_MAX:
                    raise UsageError(f"the root archive's links go in a circle at {done}")
                left = [part for part in entry.target.split("/") if part] + left
                done = "/" if entry.target.startswith("/") else posixpath.dirname(done)
        return done

    def text(self, name: str) -> str:
        """A text file's content, links followed; "" where there is none."""
        entry = self.entries.get(self.follow(name))
        return entry.source.read_text(encoding="utf-8", errors="replace") if entry and entry.source else ""


def read_root(archive: Path, folder: Path) -> Root:
    """Unpack the archive's files below `folder`, under numbers, so that no name in it leads anywhere; what they are
    called, and their modes and owners, is in the entries. Devices, sockets and extended attributes are left out.

    Raises UsageError for what is no archive of a root file system.
    """
    folder.mkdir(parents=True)
    entries: dict[str, Entry] = {}
    try:
        with tarfile.open(archive) as members:
            for number, member in enumerate(members):
                name = posixpath.normpath("/" + member.name.lstrip("/"))
                if name in ("/", "/lost+found"):
                    continue
                entry = _entry(members, member, entries, folder / str(number))
                if entry is not None:
                    entries[name] = entry
            _require_end(members, archive)
    except (tarfile.TarError, EOFError, lzma.LZMAError, zlib.error, gzip.BadGzipFile, UnicodeDecodeError) as error:
        seen = str(error).partition(":\n")[0]  # what each kind of archive has against it comes after
        raise UsageError(f"{archive} is no tar archive, plain or compressed by gzip, bzip2 or xz: {seen}") from error
    root = Root(entries, "")
    release = root.text("/etc/os-release")
    if not release:
        remedy = "give an archive of a whole root, as `tar -C ROOT -cJf rootfs.tar.xz .` makes it"
        raise UsageError(f"{archive} holds no root file system: there is no /etc/os-release in it; {remedy}")
    called = re.search(r'^PRETTY_NAME="?([^"\n]*)', release, re.MULTILINE)
    placed = {root.place(name): entry for name, entry in entries.items()}
    return Root(dict(_with_folders(placed)), called[1] if called else "a system without a name")


def _require_end(members: tarfile.TarFile, archive: Path) -> None:
    """The library ends its list at a bad header without a word."""
    assert members.fileobj is not None  # it is open
    members.fileobj.seek(members.offset)
    if members.fileobj.read(tarfile.BLOCKSIZE) != bytes(tarfile.BLOCKSIZE):
        raise UsageError(f"{archive} is cut or damaged at byte {members.offset} of the archive: make or copy it again")


def _entry(members: tarfile.TarFile, member: tarfile.TarInfo, known: Mapping[str, Entry], place: Path) -> Entry | None:
    mode = member.mode & 0o7777
    if member.issym():
        return Entry(stat.S_IFLNK | 0o777, None, member.linkname)
    if member.isdir():
        return Entry(stat.S_IFDIR | mode, None, "", member.uid, member.gid)
    if member.islnk():
        return known.get(posixpath.normpath("/" + member.linkname.lstrip("/")))
    content = members.extractfile(member) if member.isreg() else None
    if content is None:
        return None
    with content, place.open("wb") as file:
        while chunk := content.read(1 << 20):
            file.write(chunk)
    return Entry(stat.S_IFREG | mode, place, "", member.uid, member.gid)


def _with_folders(entries: Mapping[str, Entry]) -> Iterator[tuple[str, Entry]]:
    """The entries, with the folders that an archive has left out."""
    yield from entries.items()
    for name in entries:
        for parent in Path(name).parents[:-1]:
            if str(parent) not in entries:
                yield str(parent), Entry(stat.S_IFDIR | 0o755)


def extract_kernel(root: Root, folder: Path) -> tuple[str, ...]:
    """Lay the newest kernel and the modules that it needs for its root below `folder`, as Debian's kernel package has
    them: boot/vmlinuz-VERSION and lib/modules/VERSION/NAME.ko, uncompressed. Returns the modules to load.

    Raises NoKernel where there is none.
    """
    kernels = root.kernels
    if not kernels:
        raise NoKernel("the root archive holds no kernel: neither /boot/vmlinuz-* nor /lib/modules/*/vmlinuz")
    version = max(kernels, key=_by_numbers)
    (folder / "boot").mkdir(parents=True)
    (folder / "boot" / f"vmlinuz-{version}").write_bytes(kernels[version].read_bytes())
    available: dict[str, _Module] = {}
    built_in = b""
    for name, entry in root.entries.items():
        match = _MODULE.fullmatch(name)
        if match and match[1] == version and entry.source is not None:
            available[_plain(match[2])] = _Module(match[2], match[3] or "", entry.source)
        elif name.endswith(f"/modules/{version}/modules.builtin") and entry.source is not None:
            built_in = entry.source.read_bytes()
    place = folder / "lib" / "modules" / version
    place.mkdir(parents=True)
    (place / "modules.builtin").write_bytes(built_in)
    wanted = (*MODULES, *(name for name in _CHECKSUMS if name in available), _ROOT_MODULE)
    left, done = list(wanted), set()
    while left:
        name = _plain(left.pop())
        if name in available and name not in done:
            done.add(name)
            data = available[name].content()
            (place / f"{available[name].name}.ko").write_bytes(data)
            left += dependencies(data)
    return wanted


@dataclass(frozen=True, slots=True)
class _Module:
    """A kernel module in an archive: its name, how it is compressed ("" or a suffix), and where it was unpacked."""

    name: str
    suffix: str
    source: Path

    def content(self) -> bytes:
        if self.suffix == ".zst":
            plain = self.source.with_name(f"{self.source.name}.plain")
            run_tool(["zstd", "-dqfo", plain, self.source], what="uncompress a kernel module")
            return plain.read_bytes()
        read: Mapping[str, Callable[[bytes], bytes]] = {".xz": lzma.decompress, ".gz": gzip.decompress, "": bytes}
        return read[self.suffix](self.source.read_bytes())


def _plain(name: str) -> str:
    return name.replace("-", "_")


def _by_numbers(version: str) -> list[tuple[int, str]]:
    """5.14.0-503 is newer than 5.14.0-70: number by number."""
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", version) if part]


def build_layer(root: Root, layer: Mapping[str, Path], start: str, folder: Path) -> dict[str, Entry]:
    """The app's files over the root, and what starts it: a systemd unit, unless the app brings an init of its own.

    `start` is the content of /etc/start, `folder` where files are made. The file systems to mount are the image's.
    """
    made = {name: Entry(stat.S_IFDIR | 0o755) for name in _FOLDERS if root.follow(name) not in root.entries}

    def write(name: str, text: str) -> None:
        source = folder / f"made-{len(made)}"
        source.write_text(text)
        made[root.place(name)] = Entry(stat.S_IFREG | 0o644, source)

    folder.mkdir(parents=True, exist_ok=True)
    write("/etc/start", start)
    write("/etc/fstab", _FSTAB)
    if "/sbin/init" not in layer:
        if root.follow("/usr/lib/systemd/systemd") not in root.entries:
            raise UsageError('the root archive has no systemd: put an init of your own into [files], "/sbin/init"')
        write(UNIT_FILE, UNIT)
        write("/etc/machine-id", "")  # machine-id(5): each machine makes its own, and nobody is asked at a first boot
        for name, target in _UNIT_LINKS.items():
            made[root.place(name)] = Entry(stat.S_IFLNK | 0o777, None, target)
    for name, source in layer.items():
        executable = bool(source.stat().st_mode & stat.S_IXUSR)
        made[root.place(name)] = Entry(stat.S_IFREG | (0o755 if executable else 0o644), source)
    return {
        name: entry for name, entry in _with_folders(made) if not stat.S_ISDIR(entry.mode) or name not in root.entries
    }
