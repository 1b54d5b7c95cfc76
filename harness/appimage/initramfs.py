"""An initramfs from Debian's kernel modules, a static busybox and an init script, packed without root."""

import gzip
import re
import stat
from collections.abc import Mapping, Sequence
from pathlib import Path

from conformance.errors import UsageError
from harness.appimage.command import BUILD_TIME_S

# Order matters: the PCI transport before the drivers on it, or the NICs are found in another order than their slots.
MODULES = (
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

_BEGIN = """#!/bin/busybox sh
/bin/busybox --install -s /bin
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
for module in $(cat /modules/order); do insmod /modules/$module || echo "initramfs: no $module"; done
"""


def build_initramfs(
    kernel: Path, busybox: Path, script: str, files: Mapping[str, Path], modules: Sequence[str] = MODULES
) -> bytes:
    """A gzipped cpio archive: `kernel` is the unpacked kernel package, `busybox` a static busybox.

    Its init mounts /proc, /sys and /dev, loads these `modules` (those of the contract's machine) but for what the
    kernel has built in, and goes on with the shell `script`, as PID 1. `files` (name without a leading slash to file on
    the host) are added, executable.
    """
    loaded = _with_dependencies(kernel / "lib/modules", modules)
    contents = {"init": (_BEGIN + script).encode(), "bin/busybox": busybox.read_bytes()}
    contents["modules/order"] = "".join(f"{path.name}\n" for path in loaded).encode()
    contents |= {f"modules/{path.name}": path.read_bytes() for path in loaded}
    contents |= {name: path.read_bytes() for name, path in files.items()}
    members = [_member(name, stat.S_IFDIR | 0o755) for name in ("bin", "dev", "modules", "proc", "root", "run", "sys")]
    members += [_member(name, stat.S_IFREG | 0o755, content) for name, content in contents.items()]
    # the kernel opens /dev/console before /init mounts anything
    members.append(_member("dev/console", stat.S_IFCHR | 0o600, device=(5, 1)))
    members.append(_member("TRAILER!!!", 0))
    return gzip.compress(b"".join(members), compresslevel=9, mtime=0)


def _with_dependencies(folder: Path, wanted: Sequence[str]) -> Sequence[Path]:
    """The modules in loading order, each once, without those that the kernel has built in."""
    found = {_plain(path.name): path for path in folder.glob("**/*.ko")}
    lists = folder.glob("*/modules.builtin")
    built_in = {_plain(line.rpartition("/")[2]) for file in lists for line in file.read_text().split()}
    ordered: list[Path] = []

    def add(name: str) -> None:
        path = found.get(_plain(f"{name}.ko"))
        if path is None and _plain(f"{name}.ko") not in built_in:
            raise UsageError(f"the kernel's package has no module {name}")
        if path is None or path in ordered:
            return
        for need in dependencies(path.read_bytes()):
            add(need)
        ordered.append(path)

    for name in wanted:
        add(name)
    return ordered


def _plain(name: str) -> str:
    """Names of modules are spelled with hyphens or underscores, whoever writes them."""
    return name.replace("-", "_")


def dependencies(module: bytes) -> tuple[str, ...]:
    """What a module needs loaded before it, as its .modinfo section says."""
    needs = re.search(rb"\0depends=([^\0]*)\0", module)
    return tuple(need for need in needs[1].decode().split(",") if need) if needs else ()


def _member(name: str, mode: int, content: bytes = b"", device: tuple[int, int] = (0, 0)) -> bytes:
    """One member of a cpio archive in the new ASCII format (the kernel's buffer-format.rst)."""
    path = name.encode() + b"\0"
    fields = (0, mode, 0, 0, 1, BUILD_TIME_S, len(content), 0, 0, *device, len(path), 0)
    head = b"070701" + b"".join(b"%08X" % field for field in fields) + path
    return head + b"\0" * (-len(head) % 4) + content + b"\0" * (-len(content) % 4)
