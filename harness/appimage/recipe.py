"""app.toml as far as it says what goes into the image: [image] and [files]."""

from dataclasses import dataclass
from pathlib import Path

from conformance.errors import UsageError
from harness.packaging.appfile import TABLES
from harness.packaging.tomlfile import Table, read_table

PURPOSE = "an app's folder holds an app.toml"
_DISK = "a whole number from 64 to 8192"
_START = "the command that starts the app, a list of words"
_FILE = "a file beside app.toml"
# a package named "-o..." would be an option of apt's, one named "x-" would be taken out
_PACKAGE = r"[a-z0-9][a-z0-9.+-]*[a-z0-9+]"


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
    """Read app.toml; raises UsageError with all that is not understood of these tables, each with line and key."""
    top = read_table(path, PURPOSE).only("image", "files", *TABLES)
    if "image" not in top:
        raise UsageError(f"{path} has no [image], which says what goes into it: packages, disk_mib, start")
    image = top.table("image").only("packages", "python", "disk_mib", "start", "root_archive")
    disk_mib = image.whole("disk_mib", _DISK, 64, 8192)
    start = image.words("start", _START)
    if image.values.get("start", []) == []:
        image.refuse("start", _START)
    packages = image.words("packages", "a list of names of Debian packages", _PACKAGE)
    archive = image.string("root_archive", "an archive beside app.toml, such as rootfs.tar.xz", "")
    if archive and packages:
        image.refuse("packages", "no Debian packages where a root_archive is given")
    recipe = Recipe(
        packages=packages,
        python=image.words("python", "a list of names of Python packages"),
        disk_mib=disk_mib,
        start=start,
        files=_files(top.table("files")),
        root_archive=path.parent / archive if archive else None,
    )
    top.source.settle()
    return recipe


def _files(table: Table) -> dict[str, Path]:
    files = {}
    for name in table.values:
        if not name.startswith("/") or ".." in name.split("/") or name.endswith("/"):
            table.refuse_key(name, 'as key an absolute file name for the image, such as "/opt/app.py"')
        value = table.string(name, _FILE)
        files[name] = table.source.path.parent / value
        if value and not files[name].is_file():
            table.refuse(name, f"{_FILE} (there is no such file)")
    return files
