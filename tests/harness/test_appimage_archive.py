"""Roots from archives: what is in one, laid out as the Red Hat family does, and what becomes of one without kernel."""

import base64
import gzip
import io
import lzma
import os
import stat
import subprocess
import tarfile
from collections.abc import Callable
from pathlib import Path

import command_line
import pytest
from command_line import RACS

from conformance.errors import UsageError
from harness.appimage import disk
from harness.appimage.archive import UNIT_FILE, NoKernel, Root, build_layer, extract_kernel, read_root
from harness.appimage.initramfs import build_initramfs
from harness.appimage.kickstart import write_kickstart
from harness.appimage.root import Entry

RELEASE = 'NAME="Rocky Linux"\nPRETTY_NAME="Rocky Linux 9.4 (Blue Onyx)"\n'
MODULES = [
    "virtio_blk",
    "virtio_net",
    "virtio_scsi",
    "sr_mod",
    "isofs",
    "virtio-rng",
    "ext4",
    "crc32c_generic",
    "mbcache",
]
BUILT_IN = "kernel/drivers/virtio/virtio_pci.ko\nkernel/drivers/acpi/button.ko\nkernel/drivers/input/evdev.ko\n"
OLD, NEW = "5.14.0-70.el9.x86_64", "5.14.0-503.el9.x86_64"
Member = tuple[str, bytes, bytes, str]  # name, type, content, link


def module(name: str) -> bytes:
    needs = b"mbcache" if name == "ext4" else b""
    return b"ELF\0depends=" + needs + b"\0"


def rocky(*, kernel: bool = True, systemd: bool = True) -> list[Member]:
    """A root as the Red Hat family lays it out: /lib and /sbin are links, modules compressed, two kernels."""
    members: list[Member] = [
        ("./", tarfile.DIRTYPE, b"", ""),
        ("./usr", tarfile.DIRTYPE, b"", ""),
        ("./lib", tarfile.SYMTYPE, b"", "usr/lib"),
        ("./sbin", tarfile.SYMTYPE, b"", "usr/sbin"),
        ("./etc/os-release", tarfile.SYMTYPE, b"", "../usr/lib/os-release"),
        ("./usr/lib/os-release", tarfile.REGTYPE, RELEASE.encode(), ""),
        ("./usr/bin/one", tarfile.REGTYPE, b"one", ""),
        ("./usr/bin/two", tarfile.LNKTYPE, b"", "./usr/bin/one"),
        ("./dev/null", tarfile.CHRTYPE, b"", ""),
        ("./usr/lib/python3.9/site-packages", tarfile.DIRTYPE, b"", ""),
    ]
    if systemd:
        members.append(("./usr/lib/systemd/systemd", tarfile.REGTYPE, b"init", ""))
    if kernel:
        members.append((f"./boot/vmlinuz-{OLD}", tarfile.REGTYPE, b"old", ""))
        members.append(("./boot/vmlinuz-0-rescue-99", tarfile.REGTYPE, b"rescue", ""))
        members.append((f"./lib/modules/{NEW}/vmlinuz", tarfile.REGTYPE, b"new", ""))
        members.append((f"./usr/lib/modules/{NEW}/modules.builtin", tarfile.REGTYPE, BUILT_IN.encode(), ""))
        for number, name in enumerate(MODULES):
            packed = lzma.compress(module(name)) if number % 2 else gzip.compress(module(name))
            suffix = "xz" if number % 2 else "gz"
            place = f"./usr/lib/modules/{NEW}/kernel/{name}.ko.{suffix}"
            members.append((place, tarfile.REGTYPE, packed, ""))
            members.append((f"./usr/lib/modules/{OLD}/kernel/{name}.ko", tarfile.REGTYPE, b"old", ""))
    return members


def pack(members: list[Member], path: Path, mode: str = "w:gz") -> Path:
    with tarfile.open(path, mode) as archive:  # type: ignore[call-overload]  # modes are literals to it
        for name, kind, content, link in members:
            member = tarfile.TarInfo(name)
            member.type, member.linkname, member.size = kind, link, len(content)
            member.mode, member.uid, member.gid = (0o4755, 81, 82) if name.endswith("one") else (0o644, 0, 0)
            archive.addfile(member, io.BytesIO(content))
    return path


def root_of(members: list[Member], folder: Path) -> Root:
    return read_root(pack(members, folder / "root.tar.gz"), folder / "unpacked")


@pytest.mark.parametrize("mode", ["w", "w:gz", "w:bz2", "w:xz"])
def test_a_root_is_read(mode: str, tmp_path: Path) -> None:
    root = read_root(pack(rocky(), tmp_path / "root.tar", mode), tmp_path / "unpacked")
    assert root.name == "Rocky Linux 9.4 (Blue Onyx)"
    assert root.python_packages == "/usr/lib/python3.9/site-packages"
    one = root.entries["/usr/bin/one"]
    assert (one.mode, one.uid, one.gid) == (stat.S_IFREG | 0o4755, 81, 82)
    assert root.entries["/usr/bin/two"].source == one.source
    assert f"/usr/lib/modules/{NEW}/vmlinuz" in root.entries  # by way of the link /lib
    assert "/dev/null" not in root.entries and stat.S_ISDIR(root.entries["/boot"].mode)
    assert (root.place("/sbin/init"), root.follow("/etc/os-release")) == ("/usr/sbin/init", "/usr/lib/os-release")


def test_the_newest_kernel_and_what_it_needs(tmp_path: Path) -> None:
    root = root_of(rocky(), tmp_path)
    wanted = extract_kernel(root, tmp_path / "kernel")
    assert wanted[-2:] == ("crc32c_generic", "ext4") and "crc32c_intel" not in wanted
    (kernel,) = (tmp_path / "kernel" / "boot").iterdir()
    assert (kernel.name, kernel.read_bytes()) == (f"vmlinuz-{NEW}", b"new")
    laid = {path.name: path.read_bytes() for path in (tmp_path / "kernel").rglob("*.ko")}
    assert laid == {f"{name}.ko": module(name) for name in MODULES}
    archive = gzip.decompress(build_initramfs(tmp_path / "kernel", Path(RACS), "", {}, wanted))
    order = archive[archive.index(b"virtio_blk.ko\n") :].split(b"\0", 1)[0].decode().split()
    assert order.index("mbcache.ko") < order.index("ext4.ko") and "virtio_pci.ko" not in order


def test_the_layer_goes_where_links_lead_and_systemd_starts_it(tmp_path: Path) -> None:
    root = root_of(rocky(), tmp_path)
    (tmp_path / "app.py").write_text("")
    made = build_layer(root, {"/sbin/app.py": tmp_path / "app.py"}, "exec app\n", tmp_path / "made")
    assert {"/usr/sbin/app.py", "/etc/start", "/etc/fstab", "/etc/machine-id", UNIT_FILE, "/dev", "/media"} <= set(made)
    wants = made["/etc/systemd/system/multi-user.target.wants/racs-app.service"]
    assert (stat.S_ISLNK(wants.mode), wants.target) == (True, UNIT_FILE)
    assert "/usr" not in made  # the root's own folders keep their modes
    own = build_layer(root, {"/sbin/init": tmp_path / "app.py"}, "exec app\n", tmp_path / "own")
    assert UNIT_FILE not in own and "/usr/sbin/init" in own


def damaged(path: Path) -> bytes:
    return gzip.decompress(path.read_bytes())


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda data: b"", "no tar archive"),
        (lambda data: b"noise" * 1000, "no tar archive"),
        (lambda data: data[: len(data) // 2 // 512 * 512 + 100], "cut or damaged|no tar archive"),
        (lambda data: data[:5120] + b"x" * 512 + data[5632:], "cut or damaged|no tar archive"),
        (lambda data: lzma.compress(data)[:500], "no tar archive"),
        (lambda data: gzip.compress(data)[:300], "no tar archive"),
        (lambda data: gzip.compress(data)[:300] + b"x" * 300, "cut or damaged|no tar archive"),
    ],
)
def test_archives_that_are_none(spoil: Callable[[bytes], bytes], said: str, tmp_path: Path) -> None:
    whole = damaged(pack(rocky(), tmp_path / "root.tar.gz"))
    (tmp_path / "bad.tar").write_bytes(spoil(whole))
    with pytest.raises(UsageError, match=said):
        read_root(tmp_path / "bad.tar", tmp_path / "unpacked")


def test_what_is_no_root_is_told(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no /etc/os-release"):
        root_of([("./file", tarfile.REGTYPE, b"x", "")], tmp_path)
    circle = [*rocky(), ("./a", tarfile.SYMTYPE, b"", "b"), ("./b", tarfile.SYMTYPE, b"", "a")]
    (tmp_path / "two").mkdir()
    root = root_of(circle, tmp_path / "two")
    with pytest.raises(UsageError, match="in a circle"):
        root.follow("/a/x")
    (tmp_path / "three").mkdir()
    bare = root_of(rocky(kernel=False, systemd=False), tmp_path / "three")
    with pytest.raises(NoKernel):
        extract_kernel(bare, tmp_path / "kernel")
    with pytest.raises(UsageError, match="no systemd"):
        build_layer(bare, {}, "", tmp_path / "made")


def test_names_that_lead_out_stay_inside(tmp_path: Path) -> None:
    root = root_of(
        [*rocky(), ("../../../out", tarfile.REGTYPE, b"x", ""), ("/abs", tarfile.REGTYPE, b"y", "")], tmp_path
    )
    assert {"/out", "/abs"} <= set(root.entries)
    assert {path.name for path in tmp_path.iterdir()} == {"root.tar.gz", "unpacked"}
    assert all(path.name.isdigit() for path in (tmp_path / "unpacked").iterdir())


def test_owners_and_modes_reach_the_disk(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    (tmp_path / "boot").touch()
    entries = {
        "/d": Entry(stat.S_IFDIR | 0o750, None, "", 5, 6),
        "/f": Entry(stat.S_IFREG | 0o4755, tmp_path / "file", "", 81, 82),
    }
    disk.write_disk(tmp_path / "boot", entries, 64, tmp_path / "disk")
    part = tmp_path / "part"
    part.write_bytes((tmp_path / "disk").read_bytes()[33 << 20 :])
    for name, said in (("d", ("User:     5   Group:     6", "0750")), ("f", ("User:    81   Group:    82", "04755"))):
        shown = subprocess.run(
            ["debugfs", "-R", f"stat {name}", part], check=True, capture_output=True, text=True,
            env={"PATH": os.environ["PATH"] + ":/sbin:/usr/sbin"},
        ).stdout  # fmt: skip
        assert all(words in shown for words in said), shown


APP = """
[image]
disk_mib = 256
start = ["python3", "/opt/app.py"]
root_archive = "root.tar.gz"
[files]
"/opt/app.py" = "app.py"
"/sbin/init" = "app.py"
"""


def test_without_a_kernel_a_kickstart_file_is_written(tmp_path: Path) -> None:
    app = tmp_path / "app"
    app.mkdir()
    (app / "app.toml").write_text(APP)
    (app / "app.py").write_text("print()\n")
    pack(rocky(kernel=False), app / "root.tar.gz")
    ended = command_line.run([RACS, "build-app", "app", "-o", "out.qcow2"], tmp_path)
    assert ended.status == 1 and "holds no kernel" in ended.err and "OEMDRV" in ended.out, ended.said
    assert {path.name for path in tmp_path.iterdir()} == {"app", "out.ks"}
    payload = (tmp_path / "out.ks").read_text().split("<<'END-OF-APP' | tar -xz -C /\n")[1].split("END-OF-APP\n")[0]
    with tarfile.open(fileobj=io.BytesIO(base64.b64decode(payload))) as archive:
        assert archive.getnames() == ["etc/start", UNIT_FILE[1:], "opt/app.py"]  # systemd stays the init
    (tmp_path / "dvd.iso").write_bytes(bytes(32769) + b"CD001")
    asked = command_line.run([RACS, "build-app", "app", "--iso", "dvd.iso", "-o", "again.qcow2"], tmp_path)
    assert asked.status == 0 and "-cdrom dvd.iso" in asked.out
    assert (tmp_path / "again.ks").read_text() == (tmp_path / "out.ks").read_text()
    (tmp_path / "no-iso").touch()
    other = command_line.run([RACS, "build-app", "app", "--iso", "no-iso"], tmp_path)
    assert other.status == 4 and "no-iso is no ISO 9660 image" in other.err
    twice = command_line.run([RACS, "build-app", "app", "--iso", "dvd.iso", "-o", "again.ks"], tmp_path)
    assert twice.status == 4 and "such as again.qcow2" in twice.err
    missing = command_line.run([RACS, "build-app", "app", "--iso", "no.iso"], tmp_path)
    assert missing.status == 4 and "no.iso is not there" in missing.err
    gone = command_line.run([RACS, "build-app", "app", "--root-archive", "no.tar"], tmp_path)
    assert gone.status == 4 and "no.tar is not there" in gone.err


def test_a_kickstart_file_is_the_same_for_the_same_app(tmp_path: Path) -> None:
    (tmp_path / "tool").write_bytes(bytes(range(256)))
    (tmp_path / "tool").chmod(0o755)
    text = write_kickstart("app", {"/opt/tool": tmp_path / "tool"}, "exec /opt/tool\n")
    assert text == write_kickstart("app", {"/opt/tool": tmp_path / "tool"}, "exec /opt/tool\n")
    assert text.count("%end") == 2 and "END-OF-APP\nsystemctl enable racs-app.service" in text
