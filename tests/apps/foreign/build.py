"""The foreign guest's image: busybox and one C program in an initramfs, no Python, nothing from examples/."""

from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

from harness.appimage import boot, debs, disk, initramfs
from harness.appimage.command import run_tool

HERE = Path(__file__).parent


def build_foreign(output: Path, cache: Path, progress: Callable[[str], None], mute: bool = False) -> Path:
    """Write the qcow2 image; the .deb files come from the same cache as those of other images.

    mute is a fault: its kernel says nothing on ttyS0 (LIF-001).
    """
    packages = debs.fetch(["busybox-static", "linux-image-cloud-amd64"], cache / "debs", progress)
    with TemporaryDirectory() as folder:
        work = Path(folder)
        for deb in packages:
            if deb.name.startswith(("busybox-static_", "linux-image-6")):
                debs.unpack(deb, work / "debian")
        program = work / "foreign"
        run_tool(
            ["gcc", "-static", "-O2", "-Wall", "-Wextra", "-Werror", "-o", program, HERE / "foreign.c"],
            what="compile the foreign guest",
        )
        script = (HERE / "init.sh").read_text()
        files = {"bin/foreign": program, "bin/lease": HERE / "lease.sh"}
        busybox = work / "debian/bin/busybox"
        archive = initramfs.build_initramfs(work / "debian", busybox, script, files)
        boot.write_boot(work / "debian", archive, work / "boot")
        if mute:
            _silence(work / "boot")
        disk.write_disk(work / "boot", None, 64, work / "disk")
        disk.write_qcow2(work / "disk", output)
    return output


def _silence(partition: Path) -> None:
    """Let the kernel of a boot partition speak on the screen that the machine does not have."""
    configuration = partition.with_name("syslinux.cfg")
    run_tool(["mcopy", "-i", partition, "::syslinux.cfg", configuration], what="read the boot configuration")
    configuration.write_text(configuration.read_text().replace("console=ttyS0", "console=tty0"))
    run_tool(["mcopy", "-o", "-i", partition, configuration, "::syslinux.cfg"], what="write the boot configuration")
