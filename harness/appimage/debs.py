"""Debian packages for an image: resolved by the host's apt from the host's own sources, downloaded, never installed.

Works as an ordinary user: apt gets a package database of its own (nothing installed) and a cache of its own, so the
host's database, lists and caches stay as they are.
"""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote

from conformance.errors import UsageError
from harness.appimage.command import run_tool

# What the packages would only need while they are installed: configuration, hooks, the kernel's own initramfs.
_NOT_NEEDED = ("awk", "debconf", "dpkg", "initramfs-tools", "kmod", "linux-base")


@dataclass(frozen=True, slots=True)
class Deb:
    """One package: the .deb's name in the archive, its SHA-256 in hex (from the signed lists) and where it lies."""

    name: str
    sha256: str
    path: Path


def fetch(packages: Sequence[str], folder: Path, progress: Callable[[str], None]) -> tuple[Deb, ...]:
    """The packages with all they depend on, as .deb files below `folder`, in the order of their names.

    Uses the host's package lists; where they are missing or name files that are gone, lists of its own are fetched
    into `folder`. Without a network this works as long as lists and files are there. Raises UsageError.
    """
    archives = folder / "archives"
    (archives / "partial").mkdir(parents=True, exist_ok=True)
    options = _options(folder)
    try:
        return _fetch(packages, archives, options, progress)
    except UsageError:
        progress("the host's package lists lead nowhere: fetching lists of our own")
    own = folder / "lists"
    (own / "partial").mkdir(parents=True, exist_ok=True)
    options += ("-o", f"Dir::State::lists={own}")
    remedy = "An image needs Debian 12's package archive once: mend the network or the sources in /etc/apt."
    # without the mode a mirror that cannot be reached is only a warning
    update = ["apt-get", "update", "-qq", "-o", "APT::Update::Error-Mode=any", *options]
    run_tool(update, what="fetch package lists", remedy=remedy)
    return _fetch(packages, archives, options, progress)


def _options(folder: Path) -> tuple[str, ...]:
    status = folder / "status"
    status.write_text(
        "".join(
            f"Package: {name}-provided\nStatus: install ok installed\nArchitecture: all\nMulti-Arch: foreign\n"
            f"Version: 999\nProvides: {name} (= 999)\nMaintainer: none\nDescription: none\n\n"
            for name in _NOT_NEEDED
        )
    )
    settings = {
        "Dir::State::status": status,
        "Dir::Cache": folder,
        "Dir::Cache::archives": folder / "archives",
        "Dir::Cache::pkgcache": "",
        "Dir::Cache::srcpkgcache": "",
        "Dir::State::extended_states": folder / "extended_states",
        "Acquire::ForceHash": "SHA256",
        "Acquire::Retries": 3,
        "APT::Architecture": "amd64",
        "APT::Install-Recommends": 0,
        "APT::Sandbox::User": "root",  # as root apt would drop to a user who cannot write here
        "APT::Get::List-Cleanup": 0,
        "Debug::NoLocking": 1,  # the lock is the host database's, which stays untouched
    }
    return tuple(word for key, value in settings.items() for word in ("-o", f"{key}={value}"))


def _fetch(
    packages: Sequence[str], archives: Path, options: Sequence[str], progress: Callable[[str], None]
) -> tuple[Deb, ...]:
    remedy = (
        "Look whether Debian 12 (bookworm) has all that [image] packages of app.toml names; else run `apt-get update`"
    )
    remedy += ", and look whether this is Debian 12 with its main archive."
    install = ["apt-get", "install", "-y", "-qq", *options]
    # apt names only what it does not have: so it is asked with an empty archive folder
    empty = f"Dir::Cache::archives={archives.parent / 'none'}"
    question = [*install, "-o", empty, "--print-uris", *packages]
    listing = run_tool(question, what="resolve the image's packages", remedy=remedy).stdout
    debs = tuple(sorted((_deb(line, archives) for line in listing.splitlines() if line.startswith("'")), key=_name))
    missing = [deb for deb in debs if not _is_whole(deb)]
    if missing:
        progress(f"downloading {len(missing)} Debian packages")
        for deb in missing:
            deb.path.unlink(missing_ok=True)
        remedy = "Without a network an image can only be built from packages that are in the cache."
        run_tool([*install, "--download-only", *packages], what="download the image's packages", remedy=remedy)
    for deb in missing:
        if not _is_whole(deb):
            raise UsageError(f"{deb.path} is not the file that the package lists name; run `apt-get update`, try again")
    return debs


def _name(deb: Deb) -> str:
    return deb.name


def _deb(line: str, archives: Path) -> Deb:
    """One line of --print-uris: 'URI' FILE SIZE SHA256:HEX."""
    words = line.split()
    if len(words) != 4 or not words[3].startswith("SHA256:"):
        raise UsageError(f"apt named a package without a SHA-256 digest: {unquote(words[1])}")
    return Deb(words[1], words[3].removeprefix("SHA256:"), archives / words[1])


def _is_whole(deb: Deb) -> bool:
    try:
        with deb.path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest() == deb.sha256
    except FileNotFoundError:
        return False


def unpack(deb: Deb, folder: Path) -> None:
    """Unpack the files of the package below `folder`; its scripts do not run."""
    run_tool(["dpkg", "-x", deb.path, folder], what=f"unpack {deb.name}")


def status(debs: Sequence[Deb]) -> str:
    """The paragraphs of /var/lib/dpkg/status, so that a scanner of the image can tell what is in it."""
    paragraphs = []
    for deb in debs:
        control = run_tool(["dpkg-deb", "-f", deb.path], what=f"read {deb.name}").stdout.rstrip()
        head, _, rest = control.partition("\n")
        paragraphs.append(f"{head}\nStatus: install ok installed\n{rest}\n")
    return "\n".join(paragraphs)
