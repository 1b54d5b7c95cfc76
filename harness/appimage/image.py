"""Images for apps: from a folder with an app.toml to a bootable qcow2, without root, the same bytes each time."""

import fcntl
import hashlib
import importlib.metadata
import json
import shlex
import shutil
import stat
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from conformance.errors import UsageError
from harness.appimage import archive, boot, debs, disk, initramfs, root
from harness.appimage.recipe import Recipe, read_recipe
from harness.appimage.root import Entry
from harness.options import require_file
from harness.packaging.newfile import new_file

KERNEL_PACKAGE = "linux-image-cloud-amd64"

_PIECE = 1 << 20
_KEPT = {"image-*.qcow2": 12, "base-*": 3, "boot-*.fat": 2}  # the newest so many stay in the cache


def build_image(
    app_folder: Path, output: Path, cache: Path, progress: Callable[[str], None], root_archive: Path | None = None
) -> Path:
    """Build the image of the app in `app_folder` (it holds an app.toml) and write it to `output`, a compressed qcow2.

    Its root is made of Debian packages, or is that of the recipe's root archive, or of the one given here. Layers are
    kept in `cache` under the digests of what went into them (sources, .deb files, the archive): a build with nothing
    new is a copy. `progress` gets a line a step. Returns `output`. Raises UsageError with what to mend.
    """
    recipe = read_recipe(app_folder / "app.toml")
    if root_archive is not None:
        recipe = replace(recipe, root_archive=root_archive, packages=())
    inputs = (app_folder / "app.toml", *recipe.files.values(), *filter(None, [recipe.root_archive]))
    with new_file(output, inputs) as file:
        try:
            with _workplace(cache) as work:
                make = _cached_image if recipe.root_archive is None else _cached_image_of_archive
                image = make(recipe, cache, work, progress).open("rb")  # another build may put it out of the cache
        except OSError as error:
            place = error.filename or cache
            raise UsageError(f"could not write the image: {error.strerror or error} ({place})") from error
        with image, file.path.open("wb") as target:
            shutil.copyfileobj(image, target, _PIECE)
        file.put()
    return output


@contextmanager
def _workplace(cache: Path) -> Iterator[Path]:
    """A folder for one build, below the cache; one build at a time, and what a killed one left is removed."""
    cache.mkdir(parents=True, exist_ok=True)
    with (cache / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        for stale in cache.glob("work-*"):
            shutil.rmtree(stale)
        with tempfile.TemporaryDirectory(prefix="work-", dir=cache) as work:
            yield Path(work)


def _cached_image(recipe: Recipe, cache: Path, work: Path, progress: Callable[[str], None]) -> Path:
    wanted = sorted({*root.BASE_PACKAGES, KERNEL_PACKAGE, *recipe.packages})
    packages = debs.fetch(wanted, cache / "debs", progress)
    layer = app_layer(recipe)
    builder = _builder_digest()
    base_key = _digest([builder, *(f"{deb.name} {deb.sha256}" for deb in packages)])
    image = cache / f"image-{_digest([base_key, *_layer_lines(layer), str(recipe.disk_mib), *recipe.start])}.qcow2"
    if not image.exists():
        base = _cached_base(packages, cache / f"base-{base_key}", work, progress)
        partition = _cached_boot(packages, cache, builder, base, work)
        progress("writing the image")
        entries = _joined(root.scan(base), _compiled(layer, recipe, base, work))
        disk.write_disk(partition, entries, recipe.disk_mib, work / "disk")
        disk.write_qcow2(work / "disk", work / "image")
        (work / "image").replace(image)
        partition.touch()
        base.touch()
    image.touch()
    _prune(cache)
    return image


def _cached_image_of_archive(recipe: Recipe, cache: Path, work: Path, progress: Callable[[str], None]) -> Path:
    given = recipe.root_archive
    assert given is not None  # the caller has looked
    require_file(given, "root archive")
    with given.open("rb") as file:
        base_key = hashlib.file_digest(file, "sha256").hexdigest()
    builder = [_builder_digest(), Path(archive.__file__).read_text()]
    named = _layer_lines(app_layer(recipe))
    image = cache / f"image-{_digest([*builder, base_key, *named, str(recipe.disk_mib), *recipe.start])}.qcow2"
    if not image.exists():
        progress(f"unpacking {given.name}")
        guest = archive.read_root(given, work / "root")
        progress(f"it is a root of {guest.name}")
        modules = archive.extract_kernel(guest, work / "kernel")
        (busybox,) = [deb for deb in debs.fetch(["busybox-static"], cache / "debs", progress) if "busybox" in deb.name]
        debs.unpack(busybox, work / "busybox")
        arguments = archive.KERNEL_ARGUMENTS
        boot.build_boot(work / "kernel", work / "busybox/bin/busybox", work / "boot", modules, arguments)
        layer = app_layer(recipe, guest.python_packages) if recipe.python else recipe.files
        progress("writing the image")
        entries = guest.entries | archive.build_layer(guest, layer, start_line(recipe), work / "made")
        disk.write_disk(work / "boot", entries, recipe.disk_mib, work / "disk")
        disk.write_qcow2(work / "disk", work / "image")
        (work / "image").replace(image)
    image.touch()
    _prune(cache)
    return image


def _cached_base(packages: Sequence[debs.Deb], base: Path, work: Path, progress: Callable[[str], None]) -> Path:
    if not base.exists():
        progress("unpacking the Debian root")
        root.build_root(packages, work / "root")
        (work / "root").replace(base)
    return base


def _cached_boot(packages: Sequence[debs.Deb], cache: Path, builder: str, base: Path, work: Path) -> Path:
    used = [deb for deb in packages if deb.name.startswith(("linux-image-", "busybox-static_"))]
    partition = cache / f"boot-{_digest([builder, *(deb.sha256 for deb in used)])}.fat"
    if not partition.exists():
        for deb in used:
            debs.unpack(deb, work / "kernel")
        boot.build_boot(work / "kernel", base / "bin/busybox", work / "boot")
        (work / "boot").replace(partition)
    return partition


def start_line(recipe: Recipe) -> str:
    """What /etc/start holds, which a shell runs to start the app."""
    return f"exec {shlex.join(recipe.start)}\n"


def app_layer(recipe: Recipe, python_packages: str = "/usr/lib/python3/dist-packages") -> dict[str, Path]:
    """Name in the image to file on the host: the app's files and, below that folder, the Python packages it names."""
    layer = dict(recipe.files)
    for name in recipe.python:
        try:
            members = importlib.metadata.files(name) or []
        except importlib.metadata.PackageNotFoundError as error:
            raise UsageError(
                f"the Python package {name} is not in this environment; run ./racs once to renew it"
            ) from error
        for member in members:
            if member.suffix in (".so", ".pyd"):
                raise UsageError(
                    f"the Python package {name} is not pure Python ({member}): name a Debian package instead"
                )
            if member.suffix == ".py" and ".." not in member.parts:
                layer[f"{python_packages}/{member}"] = Path(str(member.locate()))
    return layer


def _compiled(layer: dict[str, Path], recipe: Recipe, base: Path, work: Path) -> dict[str, Entry]:
    """Copy the app's files into the workplace, compile what is Python, write down the start command."""
    folder = work / "app"
    for name, source in layer.items():
        place = folder / name.lstrip("/")
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, place)
        place.chmod(0o755 if source.stat().st_mode & stat.S_IXUSR else 0o644)
    (folder / "etc").mkdir(exist_ok=True)
    (folder / "etc/start").write_text(start_line(recipe))
    (folder / "etc/start").chmod(0o644)
    python = sorted(name for name in layer if name.endswith(".py"))
    if python:
        root.compile_python(base, folder, python)
    return root.scan(folder)


def _joined(base: dict[str, Entry], app: dict[str, Entry]) -> dict[str, Entry]:
    """The app's entries over the base's; folders keep the base's modes, new ones are plain, whatever the umask is."""
    joined = dict(base)
    for name, entry in app.items():
        if not stat.S_ISDIR(entry.mode):
            joined[name] = entry
        elif name not in base:
            joined[name] = Entry(stat.S_IFDIR | 0o755)
    return joined


def _layer_lines(layer: dict[str, Path]) -> list[str]:
    lines = []
    for name, source in sorted(layer.items()):
        executable = bool(source.stat().st_mode & stat.S_IXUSR)
        lines.append(f"{name} {executable} {hashlib.sha256(source.read_bytes()).hexdigest()}")
    return lines


def _builder_digest() -> str:
    """The builder is an input too: a change of it renews every layer."""
    sources = [Path(module.__file__ or "") for module in (boot, disk, initramfs, root, debs)]
    return _digest([source.read_text() for source in [*sources, Path(__file__)]])


def _digest(parts: Sequence[str]) -> str:
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:32]


def _prune(cache: Path) -> None:
    for pattern, kept in _KEPT.items():
        newest = sorted(cache.glob(pattern), key=lambda path: path.stat().st_mtime, reverse=True)
        for old in newest[kept:]:
            shutil.rmtree(old) if old.is_dir() else old.unlink()
