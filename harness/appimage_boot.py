"""The boot partition of an image: syslinux, Debian's cloud kernel, and a small initramfs that finds the root."""

import gzip
import re
import stat
from collections.abc import Sequence
from pathlib import Path

from conformance.errors import UsageError
from harness.appimage_command import BUILD_TIME_S, run_tool

BOOT_MIB = 32

KERNEL_LINE = "root=/dev/vda2 rw console=ttyS0 panic=5"

# Order matters: the PCI transport before the drivers on it, or the NICs are found in another order than their slots.
_MODULES = (
    "virtio_pci",
    "virtio_blk",
    "virtio_net",
    "virtio_scsi",
    "sr_mod",
    "isofs",
    "button",
    "evdev",
    "virtio-rng",
)

_INIT = """#!/bin/sh
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
for module in $(cat /modules/order); do insmod /modules/$module || echo "initramfs: no $module"; done
tries=0
until [ -b /dev/vda2 ] || [ $tries -ge 100 ]; do tries=$((tries + 1)); usleep 50000; done
mount -t ext4 /dev/vda2 /root || { echo "initramfs: no root file system on /dev/vda2"; poweroff -f; }
mount --move /dev /root/dev
umount /sys /proc
exec switch_root /root /sbin/init
"""


def build_boot(kernel: Path, busybox: Path, boot: Path) -> None:
    """Write the FAT file system `boot`: `kernel` is the unpacked kernel package, `busybox` a static busybox."""
    images = sorted((kernel / "boot").glob("vmlinuz-*"))
    if len(images) != 1:
        raise UsageError(f"the kernel's package holds {len(images)} kernels, one was expected")
    initramfs = boot.with_name("initrd.gz")
    initramfs.write_bytes(_initramfs(kernel, busybox))
    write_boot(images[0], initramfs, KERNEL_LINE, boot)
    initramfs.unlink()


def write_boot(kernel: Path, initramfs: Path, line: str, boot: Path) -> None:
    """A FAT file system with syslinux, this kernel and initramfs, and the kernel's command line."""
    configuration = boot.with_name("syslinux.cfg")
    configuration.write_text(
        f"DEFAULT linux\nPROMPT 0\nLABEL linux\n KERNEL vmlinuz\n INITRD initrd.gz\n APPEND {line}\n"
    )
    with boot.open("wb") as file:
        file.truncate(BOOT_MIB << 20)
    what = "make the boot partition"
    # -H: the sectors before the partition; -N: the volume's serial number
    run_tool(
        [
            "mformat",
            "-i",
            boot,
            "-T",
            str(BOOT_MIB << 11),
            "-h",
            "64",
            "-s",
            "32",
            "-H",
            "2048",
            "-N",
            "52414353",
            "::",
        ],
        what=what,
    )
    for path, name in ((kernel, "vmlinuz"), (initramfs, "initrd.gz"), (configuration, "syslinux.cfg")):
        run_tool(["mcopy", "-i", boot, path, f"::{name}"], what=what)
    run_tool(["syslinux", "--install", boot], what=what)
    configuration.unlink()


def _initramfs(kernel: Path, busybox: Path) -> bytes:
    folder = kernel / "lib/modules"
    found = {path.name: path for path in folder.glob("**/*.ko")}
    ordered = _with_dependencies(found)
    files = {"init": _INIT.encode(), "bin/busybox": busybox.read_bytes()}
    files["modules/order"] = "".join(f"{path.name}\n" for path in ordered).encode()
    files |= {f"modules/{path.name}": path.read_bytes() for path in ordered}
    folders = ("bin", "dev", "modules", "proc", "root", "sys")
    members = [_member(name, stat.S_IFDIR | 0o755) for name in folders]
    members += [_member(name, stat.S_IFREG | 0o755, content) for name, content in files.items()]
    members += [
        _member(f"bin/{applet}", stat.S_IFLNK | 0o777, b"busybox")
        for applet in ("sh", "mount", "umount", "insmod", "cat", "usleep", "poweroff", "switch_root")
    ]
    # the kernel opens /dev/console before /init mounts anything
    members.append(_member("dev/console", stat.S_IFCHR | 0o600, device=(5, 1)))
    members.append(_member("TRAILER!!!", 0))
    return gzip.compress(b"".join(members), compresslevel=9, mtime=0)


def _with_dependencies(found: dict[str, Path]) -> Sequence[Path]:
    """The modules in loading order; each module names its own needs in its .modinfo section."""
    ordered: list[Path] = []

    def add(name: str) -> None:
        path = found.get(f"{name}.ko") or found.get(f"{name.replace('_', '-')}.ko")
        if path is None:
            raise UsageError(f"the kernel's package has no module {name}")
        if path in ordered:
            return
        needs = re.search(rb"\0depends=([^\0]*)\0", path.read_bytes())
        for need in needs[1].decode().split(",") if needs else ():
            if need:
                add(need)
        ordered.append(path)

    for name in _MODULES:
        add(name)
    return ordered


def _member(name: str, mode: int, content: bytes = b"", device: tuple[int, int] = (0, 0)) -> bytes:
    """One member of a cpio archive in the new ASCII format (the kernel's buffer-format.rst)."""
    path = name.encode() + b"\0"
    fields = (0, mode, 0, 0, 1, BUILD_TIME_S, len(content), 0, 0, *device, len(path), 0)
    head = b"070701" + b"".join(b"%08X" % field for field in fields) + path
    return head + b"\0" * (-len(head) % 4) + content + b"\0" * (-len(content) % 4)
