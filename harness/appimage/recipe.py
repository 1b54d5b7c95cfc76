"""app.toml as far as it says what goes into the image: [image] and [files]."""

import re
from dataclasses import dataclass
from pathlib import Path

from harness.packaging.appfile import TABLES
from harness.packaging.tomlfile import Table, read_table

PURPOSE = "an app's folder holds an app.toml"
_DISK = "a whole number from 64 to 8192"
# a package named "-o..." would be an option of apt's, one named "x-" would be taken out
_PACKAGE = re.compile(r"[a-z0-9][a-z0-9.+-]*[a-z0-9+]")


@dataclass(frozen=True, slots=True)
class Recipe:
    """What an image is made of: Debian packages, or the root file system in an archive (None: of Debian packages);
    pure Python packages of this environment; the start command; and files (name in the image to file on the host)."""

    packages: tuple[str, ...]
    python: tuple[str, ...]
    disk_mib: int
    start: tuple[str, ...]
    files: dict[str, Path]
    root_archive: Path | None = None


def read_recipe(path: Path) -> Recipe:
    """Read app.toml; raises UsageError that names line and key and what was expected."""
    top = read_table(path, PURPOSE).only("image", "files", *TABLES)
    image = top.table("image").only("packages", "python", "disk_mib", "start", "root_archive")
    disk_mib = image.whole("disk_mib", _DISK)
    if not 64 <= disk_mib <= 8192:
        raise image.refusal("disk_mib", _DISK)
    start = image.words("start", "the command that starts the app, a list of words")
    if not start:
        raise image.refusal("start", "the command that starts the app, a list of words")
    packages = image.words("packages", "a list of names of Debian packages")
    if not all(_PACKAGE.fullmatch(word) for word in packages):
        raise image.refusal("packages", "a list of names of Debian packages")
    archive = image.string("root_archive", "an archive beside app.toml, such as rootfs.tar.xz", "")
    if archive and packages:
        raise image.refusal("packages", "no Debian packages where a root_archive is given")
    files = top.table("files")
    return Recipe(
        packages=packages,
        python=image.words("python", "a list of names of Python packages"),
        disk_mib=disk_mib,
        start=start,
        files={name: _file(files, name) for name in files.values},
        root_archive=path.parent / archive if archive else None,
    )


def _file(files: Table, name: str) -> Path:
    if not name.startswith("/") or ".." in name.split("/") or name.endswith("/") or not name.isprintable():
        raise files.refusal(name, "as key an absolute file name for the image")
    found = files.path.parent / files.string(name, "a file beside app.toml")
    if not found.is_file():
        raise files.refusal(name, "a file beside app.toml (there is no such file)")
    return found
