"""Images without a package archive: what app.toml may say, and that the same files give the same bytes."""

import os
import shutil
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from conformance.errors import UsageError
from harness.appimage import disk
from harness.appimage.image import build_image
from harness.appimage.initramfs import build_initramfs
from harness.appimage.recipe import read_recipe
from harness.appimage.root import Entry, scan

GOOD = """
[image]
packages = ["python3.11-minimal"]
disk_mib = 128
start = ["python3", "/opt/app.py", "--flag"]
[files]
"/opt/app.py" = "app.py"
"""


@pytest.fixture
def app(tmp_path: Path) -> Path:
    folder = tmp_path / "app"
    folder.mkdir()
    (folder / "app.py").write_text("print()\n")
    (folder / "app.toml").write_text(GOOD)
    return folder


def test_a_recipe_is_read(app: Path) -> None:
    recipe = read_recipe(app / "app.toml")
    assert recipe.packages == ("python3.11-minimal",)
    assert recipe.start == ("python3", "/opt/app.py", "--flag")
    assert recipe.files == {"/opt/app.py": app / "app.py"}
    assert (recipe.disk_mib, recipe.python) == (128, ())


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("[image]", "[image", "no TOML"),
        ("[files]", "[file]", "app.toml:6, \\[file\\] is not known; did you mean files"),
        ("disk_mib = 128", "disk_mib = true", "app.toml:4, \\[image\\] disk_mib: expected a whole number"),
        ("disk_mib = 128", "disk_mib = 9000", "64 to 8192"),
        ("disk_mib = 128", "", "64 to 8192, saw nothing"),
        (
            "disk_mib = 128",
            "disk_mib = 128\ndiks_mib = 1",
            "app.toml:5, \\[image\\] diks_mib is not known; did you mean disk_mib",
        ),
        ('start = ["python3", "/opt/app.py", "--flag"]', "", "starts the app"),
        ('start = ["python3", "/opt/app.py", "--flag"]', "start = []", "starts the app"),
        ('start = ["python3", "/opt/app.py", "--flag"]', 'start = "python3"', "list of words"),
        ('"python3.11-minimal"', '"-oDir=/"', "names of Debian packages"),
        ('"python3.11-minimal"', '"libc6-"', "names of Debian packages"),
        ('"python3.11-minimal"', "7", "names of Debian packages"),
        ("disk_mib = 128", 'disk_mib = 128\nroot_archive = "root.tar"', "no Debian packages where a root_archive"),
        ('"/opt/app.py" = "app.py"', '"opt/app.py" = "app.py"', "absolute file name"),
        ('"/opt/app.py" = "app.py"', '"/opt/../etc/x" = "app.py"', "absolute file name"),
        ('"/opt/app.py" = "app.py"', '"/opt/app.py" = "missing.py"', "no such file"),
        ('"/opt/app.py" = "app.py"', '"/opt/app.py" = 7', "a file beside app.toml"),
    ],
)
def test_a_bad_recipe_is_named(app: Path, old: str, new: str, said: str) -> None:
    assert old in GOOD
    (app / "app.toml").write_text(GOOD.replace(old, new))
    with pytest.raises(UsageError, match=said):
        read_recipe(app / "app.toml")


@pytest.mark.parametrize("name", ["nowhere", "app/app.py"])
def test_a_folder_that_is_none_is_named(app: Path, name: str) -> None:
    with pytest.raises(UsageError, match=r"app\.toml cannot be read"):
        build_image(app.parent / name, app / "image", app / "cache", print)
    assert not (app / "cache").exists()


def test_a_cache_that_cannot_be_is_named(app: Path) -> None:
    (app / "cache").write_text("a file")
    with pytest.raises(UsageError, match="could not write the image"):
        build_image(app, app / "image", app / "cache", print)


def make_tree(folder: Path, names: list[str]) -> dict[str, Entry]:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(name * 3000)
        (folder / name).chmod(0o4755 if "tool" in name else 0o640)
    (folder / "link").symlink_to("a/b")
    return scan(folder)


@pytest.fixture
def umask() -> Iterator[None]:
    before = os.umask(0o022)
    yield
    os.umask(before)


def test_the_same_files_give_the_same_disk(tmp_path: Path, umask: None) -> None:
    """Another order of making, another time, another mask for new files: the same bytes."""
    names = ["a/b", "a/with blank", "usr/tool", "z"]
    boot = tmp_path / "boot"
    boot.write_bytes(bytes(range(256)) * 64)
    disks = []
    for number, order in enumerate((names, names[::-1])):
        (tmp_path / str(number)).mkdir()
        entries = make_tree(tmp_path / str(number), order)
        disks.append(tmp_path / f"disk{number}")
        os.umask(0o022 if number == 0 else 0o077)
        disk.write_disk(boot, entries, 64, disks[-1])
        disk.write_qcow2(disks[-1], disks[-1].with_suffix(".qcow2"))
        os.umask(0o022)
    assert disks[0].read_bytes() == disks[1].read_bytes()
    assert disks[0].with_suffix(".qcow2").read_bytes() == disks[1].with_suffix(".qcow2").read_bytes()
    check_file_system(disks[0])


def check_file_system(disk: Path) -> None:
    """e2fsprogs and file, which did not write it, agree that it is what was meant."""
    part = disk.with_name("part")
    with disk.open("rb") as source, part.open("wb") as target:
        source.seek((1 + 32) << 20)
        shutil.copyfileobj(source, target)
    environment = {"PATH": os.environ["PATH"] + ":/sbin:/usr/sbin"}
    subprocess.run(["e2fsck", "-fn", part], check=True, capture_output=True, env=environment)

    def ask(question: str) -> str:
        words = ["debugfs", "-R", question, str(part)]
        return subprocess.run(words, check=True, capture_output=True, text=True, env=environment).stdout

    assert ask('cat "a/with blank"') == "a/with blank" * 3000
    assert "Mode:  0755" in ask("stat usr/tool")  # not set-uid
    assert "Mode:  0640" in ask("stat z")
    assert "User:     0   Group:     0" in ask("stat z")
    assert 'Fast link dest: "a/b"' in ask("stat link")
    assert "has_journal" in ask("stats")


@pytest.mark.parametrize(
    ("entry", "said"),
    [
        ({'/a"b': Entry(stat.S_IFDIR | 0o755)}, "cannot hold the name"),
        ({"/a": Entry(stat.S_IFREG | 0o644, Path("/nowhere"))}, "could not fill"),
        ({"/a": Entry(stat.S_IFREG | 0o644, Path("/proc/self/exe"))}, None),
    ],
    ids=["quote", "missing file", "good"],
)
def test_what_debugfs_refuses_is_an_error(tmp_path: Path, entry: dict[str, Entry], said: str | None) -> None:
    boot = tmp_path / "boot"
    boot.touch()
    if said is None:
        disk.write_disk(boot, entry, 80, tmp_path / "disk")
        return
    with pytest.raises(UsageError, match=said):
        disk.write_disk(boot, entry, 80, tmp_path / "disk")


def test_files_that_do_not_fit_are_an_error(tmp_path: Path) -> None:
    boot, large = tmp_path / "boot", tmp_path / "large"
    boot.touch()
    large.write_bytes(os.urandom(1 << 20) * 40)
    with pytest.raises(UsageError, match="is disk_mib large enough"):
        disk.write_disk(boot, {"/large": Entry(0o100644, large)}, 64, tmp_path / "disk")
    with pytest.raises(UsageError, match="49 is the least"):
        disk.write_disk(boot, {}, 40, tmp_path / "disk")


def test_the_initramfs_is_a_cpio_archive(tmp_path: Path) -> None:
    """busybox's cpio unpacks ours; modules stand in an order that meets every need."""
    kernel = tmp_path / "kernel/lib/modules/6/kernel"
    kernel.mkdir(parents=True)
    needs = {"virtio_pci": "virtio", "virtio_blk": "virtio", "virtio": "virtio_ring", "isofs": "cdrom"}
    for name in (
        "virtio_net",
        "virtio_scsi",
        "sr_mod",
        "button",
        "evdev",
        "virtio-rng",
        "virtio_ring",
        "cdrom",
        *needs,
    ):
        (kernel / f"{name}.ko").write_bytes(b"ELF\0depends=%s\0" % needs.get(name, "").encode())
    busybox = Path(shutil.which("busybox") or pytest.fail("busybox-static is missing"))
    archive = build_initramfs(tmp_path / "kernel", busybox, "exec true\n", {"bin/extra": busybox})
    assert archive == build_initramfs(tmp_path / "kernel", busybox, "exec true\n", {"bin/extra": busybox})
    (tmp_path / "initrd.gz").write_bytes(archive)
    words = ["sh", "-c", "gzip -dc ../initrd.gz | busybox cpio -idm 2>/dev/null"]
    (tmp_path / "root").mkdir()
    # an ordinary user cannot make dev/console: cpio then complains, and unpacks the rest
    subprocess.run(words, cwd=tmp_path / "root", check=False)
    root = tmp_path / "root"
    order = (root / "modules/order").read_text().split()
    for name, need in needs.items():
        assert order.index(f"{need}.ko") < order.index(f"{name}.ko")
    assert (root / "init").read_text().endswith("exec true\n")
    assert os.access(root / "init", os.X_OK)
    assert (root / "bin/extra").read_bytes() == busybox.read_bytes()


def test_a_kernel_without_a_driver_is_named(tmp_path: Path) -> None:
    (tmp_path / "kernel/lib/modules").mkdir(parents=True)
    with pytest.raises(UsageError, match="no module virtio_pci"):
        build_initramfs(tmp_path / "kernel", Path("/bin/true"), "", {})
