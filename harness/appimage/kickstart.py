"""A kickstart file for an app: how Anaconda, the installer of the Red Hat family, makes the app's image.

Where no root with a kernel is at hand, an installation is the way to one. The file holds all of the app; the
installation itself needs a machine, the distribution's ISO, and the hands of who has both.
"""

import base64
import gzip
import io
import tarfile
import textwrap
from collections.abc import Mapping
from pathlib import Path

from harness.appimage.archive import UNIT, UNIT_FILE
from harness.appimage.command import BUILD_TIME_S

_HEAD = """# Installs the app {app} on a system of the Red Hat family; Anaconda takes it from a volume called OEMDRV.
text
cdrom
lang en_US.UTF-8
keyboard us
timezone UTC --utc
rootpw --lock
network --bootproto=dhcp --device=link --activate
# the platform filters what comes to the service network; on the user plane the app closes its own ports
firewall --disabled
bootloader --location=mbr --timeout=0 --append="console=ttyS0"
zerombr
clearpart --all --initlabel --disklabel=msdos
part / --fstype=ext4 --size=1024 --grow
poweroff

%packages
@^minimal-environment
python3
%end

%post
base64 -d <<'END-OF-APP' | tar -xz -C /
"""
_TAIL = """END-OF-APP
systemctl enable racs-app.service
systemctl set-default multi-user.target
# each machine makes its own at its first boot
rm -f /etc/ssh/ssh_host_*
: > /etc/machine-id
%end
"""


def write_kickstart(app: str, layer: Mapping[str, Path], start: str) -> str:
    """The kickstart file; layer is name in the image to file on the host, start the content of /etc/start. The same
    text for the same app."""
    packed = base64.encodebytes(gzip.compress(_pack(layer, start), mtime=0)).decode("ascii")
    return _HEAD.format(app=app) + packed + _TAIL


def _pack(layer: Mapping[str, Path], start: str) -> bytes:
    made = {"/etc/start": start.encode(), UNIT_FILE: UNIT.encode()}
    target = io.BytesIO()
    with tarfile.open(fileobj=target, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for name, content in sorted(made.items()):
            archive.addfile(_member(name, len(content), 0o644), io.BytesIO(content))
        for name, source in sorted(layer.items()):
            content = source.read_bytes()
            mode = 0o755 if source.stat().st_mode & 0o100 else 0o644
            archive.addfile(_member(name, len(content), mode), io.BytesIO(content))
    return target.getvalue()


def _member(name: str, size: int, mode: int) -> tarfile.TarInfo:
    member = tarfile.TarInfo(name.lstrip("/"))
    member.size, member.mode, member.mtime = size, mode, BUILD_TIME_S
    return member


def explain_installation(kickstart: Path, image: Path, disk_mib: int, iso: Path | None) -> str:
    """The commands from the kickstart file to the image."""
    volume, source = kickstart.with_suffix(".iso"), iso or Path("THE-DISTRIBUTION.iso")
    return textwrap.dedent(f"""\
        {kickstart} installs the app on a system of the Red Hat family. No image was made: that takes an installation,
        where the distribution's ISO is and qemu runs (with KVM it takes minutes):
            xorriso -as mkisofs -V OEMDRV -graft-points -o {volume} ks.cfg={kickstart}
            qemu-img create -f qcow2 {image} {disk_mib}M
            qemu-system-x86_64 -machine q35,accel=kvm:tcg -cpu Nehalem -m 3072 -drive file={image},if=virtio \\
                -cdrom {source} -drive file={volume},media=cdrom,readonly=on -boot once=d
        It powers off when it is done; {image} is then the app's image.""")
