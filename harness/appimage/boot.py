"""The boot partition of an image: FAT with syslinux, Debian's cloud kernel and an initramfs."""

from collections.abc import Sequence
from pathlib import Path

from conformance.errors import UsageError
from harness.appimage.command import run_tool
from harness.appimage.initramfs import MODULES, build_initramfs

BOOT_MIB = 32

_ROOT = """
tries=0
until [ -b /dev/vda2 ] || [ $tries -ge 100 ]; do tries=$((tries + 1)); usleep 50000; done
mount -t ext4 /dev/vda2 /root || { echo "initramfs: no root file system on /dev/vda2"; poweroff -f; }
mount --move /dev /root/dev
umount /sys /proc
exec switch_root /root /sbin/init
"""


def build_boot(kernel: Path, busybox: Path, boot: Path, modules: Sequence[str] = MODULES, arguments: str = "") -> None:
    """Write the FAT file system `boot`, which starts /sbin/init of the ext4 file system on /dev/vda2.

    `kernel` is the unpacked kernel package, `busybox` a static busybox, `modules` what is loaded before the root is
    mounted, `arguments` the kernel's besides those of the contract.
    """
    write_boot(kernel, build_initramfs(kernel, busybox, _ROOT, {}, modules), boot, arguments)


def write_boot(kernel: Path, initramfs: bytes, boot: Path, arguments: str = "") -> None:
    """Write the FAT file system `boot`: syslinux, the kernel of the unpacked package, and this initramfs."""
    images = sorted((kernel / "boot").glob("vmlinuz-*"))
    if len(images) != 1:
        raise UsageError(f"the kernel's package holds {len(images)} kernels, one was expected")
    parts = {"vmlinuz": images[0], "initrd.gz": boot.with_name("initrd.gz"), "syslinux.cfg": boot.with_name("cfg")}
    parts["initrd.gz"].write_bytes(initramfs)
    # no "quiet": the kernel's messages on ttyS0 are part of the contract
    lines = ("DEFAULT linux", "PROMPT 0", "LABEL linux", "KERNEL vmlinuz", "INITRD initrd.gz")
    parts["syslinux.cfg"].write_text("\n".join((*lines, f"APPEND console=ttyS0 panic=5 {arguments}".rstrip(), "")))
    with boot.open("wb") as file:
        file.truncate(BOOT_MIB << 20)
    what = "make the boot partition"
    # -T: sectors; -H: sectors before the partition; -N: the volume's serial number
    geometry = f"-T {BOOT_MIB << 11} -h 64 -s 32 -H 2048 -N 52414353".split()
    run_tool(["mformat", "-i", boot, *geometry, "::"], what=what)
    for name, path in parts.items():
        run_tool(["mcopy", "-i", boot, path, f"::{name}"], what=what)
    run_tool(["syslinux", "--install", boot], what=what)
    parts["initrd.gz"].unlink()
    parts["syslinux.cfg"].unlink()
