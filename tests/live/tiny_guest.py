"""A guest for the lab's own tests, ready in seconds: Debian's cloud kernel and busybox, nothing of ours but /init.

`build` makes an OVA-shaped tar with the bootable qcow2 in it (no descriptor, no signature: what boots is the slice).
The guest says on its console, one fact a line with the prefix "tiny:": `boots=N` (a counter that it keeps on its disk),
`nic=NAME MAC PCI-ADDRESS` in PCI order, `rtc=SECONDS`, `env=KEY=VALUE` of ovf-env.xml, `ready`; it powers off at the
power button. The key racs.drill tells it what to do then: "reboot", "panic", "poweroff", "fill" (writes its disk full).

Needs: busybox-static, syslinux, mtools, qemu-utils, and apt to fetch the kernel (unpacked, never installed).
"""

import hashlib
import io
import re
import shutil
import subprocess
import tarfile
import tempfile
from dataclasses import dataclass
from pathlib import Path

KERNEL_META = "linux-image-cloud-amd64"
MODULES = (  # in the order in which they can be loaded; virtio_pci before virtio_net keeps the NICs' order
    *("virtio_ring", "virtio", "virtio_pci_modern_dev", "virtio_pci_legacy_dev", "virtio_pci", "virtio_blk"),
    *("failover", "net_failover", "virtio_net", "scsi_common", "scsi_mod", "virtio_scsi", "cdrom", "sr_mod", "isofs"),
    *("evdev", "button", "rng-core", "virtio-rng"),
)
COMMANDS = ("busybox", "syslinux", "mformat", "mcopy", "qemu-img", "apt-get", "dpkg")
DISK_BYTES = 64 << 20
COUNTER_SECTOR = (DISK_BYTES >> 9) - 1

INIT = f"""#!/bin/busybox sh
/bin/busybox --install -s /bin
export PATH=/bin
mount -t proc none /proc; mount -t sysfs none /sys; mount -t devtmpfs none /dev
exec >/dev/ttyS0 2>&1 </dev/null
for module in {" ".join(MODULES)}; do
    [ ! -e /modules/$module.ko ] || insmod /modules/$module.ko || echo "tiny: no $module"
done
echo "tiny: first line"
boots=$(dd if=/dev/vda bs=512 skip={COUNTER_SECTOR} count=1 2>/dev/null | tr -cd 0-9)
boots=$((${{boots:-0}} + 1))
printf %-512s $boots | dd of=/dev/vda bs=512 seek={COUNTER_SECTOR} conv=fsync 2>/dev/null
echo "tiny: boots=$boots"
for nic in /sys/class/net/eth*; do
    echo "tiny: nic=${{nic##*/}} $(cat $nic/address) $(basename $(dirname $(readlink -f $nic/device)))"
done
echo "tiny: rtc=$(cat /sys/class/rtc/rtc0/since_epoch)"
mkdir /cd
mount -t iso9660 -o ro /dev/sr0 /cd
sed -n 's/.*oe:key="\\([^"]*\\)" oe:value="\\([^"]*\\)".*/tiny: env=\\1=\\2/p' /cd/ovf-env.xml
drill=$(sed -n 's/.*oe:key="racs.drill" oe:value="\\([^"]*\\)".*/\\1/p' /cd/ovf-env.xml)
handle=3
for device in /dev/input/event*; do
    eval "exec $handle<$device"  # open before ready is said: no press is lost
    (head -c 24 <&$handle >/dev/null; echo "tiny: button"; poweroff -f) &
    handle=$((handle + 1))
done
echo "tiny: ready"
case "$drill" in
    reboot) reboot -f ;;
    panic) echo c >/proc/sysrq-trigger ;;
    poweroff) poweroff -f ;;
    fill) dd if=/dev/urandom of=/dev/vda bs=64k seek=512 count=500 conv=fsync; echo "tiny: filled" ;;
esac
while true; do sleep 3600; done
"""


@dataclass(frozen=True, slots=True)
class TinyGuest:
    """The OVA-shaped file and where the qcow2 lies in it, in bytes."""

    ova: Path
    offset: int
    size: int


def missing() -> list[str]:
    """Commands that `build` needs and this machine lacks."""
    return [command for command in COMMANDS if shutil.which(command) is None]


def build(folder: Path) -> TinyGuest:
    """Make the guest in the folder, or find the one made before from the same kernel and /init."""
    kernel = _run("apt-cache", "depends", "--important", KERNEL_META)
    name = re.search(r"Depends: (linux-image-[\w.+-]+)", kernel)
    if name is None:
        raise RuntimeError(f"apt knows no kernel behind {KERNEL_META}: {kernel}")
    # an exact name: apt takes a name that it does not find for a regular expression and fetches all that match
    _run("apt-cache", "show", "--no-all-versions", name[1])
    ova = folder / f"tiny-{name[1]}-{hash_of(INIT)}.ova"
    if not ova.exists():
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder) as scratch:
            made = _build(Path(scratch), name[1])
            made.replace(ova)
    with tarfile.open(ova) as archive:
        member = archive.getmember("tiny.qcow2")
        return TinyGuest(ova, member.offset_data, member.size)


def hash_of(text: str) -> str:
    """Eight hex digits that change with the text."""
    return hashlib.sha256(text.encode()).hexdigest()[:8]


def _build(scratch: Path, kernel: str) -> Path:
    _run("apt-get", "download", "-q", kernel, cwd=scratch)
    (package,) = scratch.glob("*.deb")
    _run("dpkg", "-x", str(package), str(scratch / "root"))
    (scratch / "initrd").write_bytes(_initramfs(scratch / "root"))
    arguments = "console=ttyS0 panic=-1"
    (scratch / "syslinux.cfg").write_text(f"default k\nlabel k\n kernel vmlinuz\n append initrd=initrd {arguments}\n")
    (vmlinuz,) = (scratch / "root/boot").glob("vmlinuz-*")
    disk = scratch / "disk.raw"
    with disk.open("wb") as file:
        file.truncate(DISK_BYTES)
    _run("mformat", "-i", str(disk), "::")
    _run("mcopy", "-i", str(disk), str(vmlinuz), "::vmlinuz")
    _run("mcopy", "-i", str(disk), str(scratch / "initrd"), str(scratch / "syslinux.cfg"), "::")
    _run("syslinux", "--install", str(disk))
    _run("qemu-img", "convert", "-O", "qcow2", str(disk), str(scratch / "tiny.qcow2"))
    ova = scratch / "tiny.ova"
    with tarfile.open(ova, "w", format=tarfile.USTAR_FORMAT) as archive:
        note = b"the image behind this member starts at no page's border\n"
        archive.addfile(_member("tiny.ovf", len(note)), io.BytesIO(note))
        image = scratch / "tiny.qcow2"
        with image.open("rb") as file:
            archive.addfile(_member(image.name, image.stat().st_size), file)
    return ova


def _member(name: str, size: int) -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.size = size
    return member


def _initramfs(root: Path) -> bytes:
    """cpio "newc" (the kernel's Documentation/driver-api/early-userspace/buffer-format.rst)."""
    out = bytearray()
    for name in ("bin", "dev", "proc", "sys", "modules"):
        out += _entry(name, 0o040755, b"")
    out += _entry("bin/busybox", 0o100755, Path(shutil.which("busybox") or "").read_bytes())
    out += _entry("init", 0o100755, INIT.encode())
    found = {path.stem: path for path in root.glob("lib/modules/**/*.ko")}
    for module in MODULES:
        if module in found:  # what is missing is built into this kernel
            out += _entry(f"modules/{module}.ko", 0o100644, found[module].read_bytes())
    return bytes(out + _entry("TRAILER!!!", 0, b""))


def _entry(name: str, mode: int, data: bytes) -> bytes:
    fields = (0, mode, 0, 0, 1, 0, len(data), 0, 0, 0, 0, len(name) + 1, 0)
    head = b"070701" + b"".join(b"%08x" % field for field in fields) + name.encode() + b"\0"
    return _pad(head) + _pad(data)


def _pad(data: bytes) -> bytes:
    return data + b"\0" * (-len(data) % 4)


def _run(*command: str, cwd: Path | None = None) -> str:
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)}: {done.stderr.strip() or done.stdout.strip()}")
    return done.stdout
