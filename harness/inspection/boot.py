"""By what a guest starts: boot loaders, told by the names of their files, and kernels, told by their headers."""

from collections.abc import Iterator
from contextlib import suppress

from conformance.inspection import BootFile
from harness.inspection.filesystems import Unreadable
from harness.inspection.guest_tree import Found, Tree

_DEPTH = 4
_HEAD_BYTES = 64 << 10  # a kernel's setup code is at most 64 sectors, which hold its version
_LOADERS = {"ldlinux.sys": "SYSLINUX", "core.img": "GRUB for BIOS", "bootx64.efi": "UEFI"}


def find_boot_files(tree: Tree) -> Iterator[BootFile]:
    """Those on a boot partition, or below /boot of a root. What cannot be read is told by who searches it for an
    initramfs and for secrets."""
    with suppress(Unreadable):
        place = "/boot" if tree.find("/boot") is not None else "/"
        for found in tree.walk(place, _DEPTH):
            if isinstance(found, Found) and found.node.kind == "file":
                yield from _told(found)


def _told(found: Found) -> Iterator[BootFile]:
    loader = _LOADERS.get(found.path.rpartition("/")[2].lower())
    if loader is not None:
        yield BootFile(found.mount.volume, found.path, "boot loader", loader)
        return
    with suppress(Unreadable):
        head = found.content(_HEAD_BYTES)
        if is_kernel(head):
            yield BootFile(found.mount.volume, found.path, "kernel", kernel_version(head))


def is_kernel(head: bytes) -> bool:
    """Linux's Documentation/arch/x86/boot.rst, "The Real-Mode Kernel Header"."""
    return head[0x1FE:0x200] == b"\x55\xaa" and head[0x202:0x206] == b"HdrS"


def kernel_version(head: bytes) -> str:
    """The first word of what a kernel says that it is, such as 6.1.0-28-amd64; "" where it says nothing."""
    at = int.from_bytes(head[0x20E:0x210], "little")
    text = head[at + 0x200 :][:80].partition(b"\0")[0] if at else b""
    return text.decode("ascii", "replace").partition(" ")[0]
