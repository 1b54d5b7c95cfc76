"""The VM's disks: an overlay over the image's slice inside the OVA, and the CD-ROM with the OVF environment.

The OVA is never written and never unpacked: the bytes that were verified are the bytes that run.
"""

import json
import os
import subprocess
import xml.etree.ElementTree as ET
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

from conformance.application import Application
from conformance.errors import EnvironmentFault, UsageError
from conformance.profile import Profile

_OE = "http://schemas.dmtf.org/ovf/environment/1"  # DSP0243 2.0, 9: oe:Environment


@dataclass(frozen=True, slots=True)
class ImageSlice:
    """Where a qcow2 image lies in a file, in bytes."""

    path: Path
    offset: int
    size: int

    @property
    def window_bytes(self) -> int:
        """The size in whole sectors, which QEMU insists on; a USTAR member is padded with zeros to them."""
        return -(-self.size // 512) * 512


@dataclass(frozen=True, slots=True)
class Start:
    """What one start of the VM tells the app beside its fixed configuration.

    addresses and gateway are of the user-plane NICs in order; mac_addresses by network; an app off the bus has an empty
    password; drill is "" or "hang-after:N"; features are ids in descriptor order.
    """

    mac_addresses: Mapping[str, str]
    addresses: tuple[str, ...]
    gateways: tuple[str, ...]
    password: str = field(default="", repr=False)
    features: tuple[str, ...] = ()
    drill: str = ""


class Overlay:
    """A qcow2 over an image slice, without a name: it takes every write and vanishes with this process.

    ``with`` makes it in ``folder`` and unlinks it at once, so that not even SIGKILL leaves it behind; ``path`` opens it
    as long as the block lasts. Raises EnvironmentFault where it cannot be made.
    """

    def __init__(self, image: ImageSlice, folder: Path) -> None:
        self._image = image
        self._folder = folder
        self._descriptor = -1

    def __enter__(self) -> "Overlay":
        with TemporaryDirectory(dir=self._folder, prefix="overlay-") as scratch:
            path = Path(scratch) / "overlay.qcow2"
            _call("qemu-img", "create", "-q", "-f", "qcow2", "-F", "qcow2", "-b", _backing(self._image), str(path))
            self._descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._descriptor)

    @property
    def path(self) -> Path:
        return Path(f"/proc/{os.getpid()}/fd/{self._descriptor}")

    def allocated_bytes(self) -> int:
        """What it takes on the host's disk by now (RES-007)."""
        return os.fstat(self._descriptor).st_blocks * 512


def _backing(image: ImageSlice) -> str:
    """qemu's name of the slice; a backing file that the image may name is never followed."""
    file = {"driver": "file", "filename": str(image.path.absolute())}
    window = {"driver": "raw", "offset": image.offset, "size": image.window_bytes, "file": file}
    return "json:" + json.dumps({"driver": "qcow2", "backing": None, "file": window})


def environment_xml(application: Application, start: Start, profile: Profile) -> bytes:
    """The document ovf-env.xml: the contract's keys (contract 2), always all, and the app's own declared Properties."""
    values = {**application.properties, **_contract_values(application, start, profile)}
    ET.register_namespace("oe", _OE)
    root = ET.Element(f"{{{_OE}}}Environment", {f"{{{_OE}}}id": application.id})
    section = ET.SubElement(root, f"{{{_OE}}}PropertySection")
    for key, value in values.items():
        ET.SubElement(section, f"{{{_OE}}}Property", {f"{{{_OE}}}key": key, f"{{{_OE}}}value": value})
    ET.indent(root)
    document: bytes = ET.tostring(root, encoding="utf-8", xml_declaration=True)
    return document + b"\n"


def _contract_values(application: Application, start: Start, profile: Profile) -> dict[str, str]:
    domain = profile["network.domain"]
    bus = application.uses_bus
    return {
        "racs.app.id": application.id,
        "racs.heartbeat.host": f"heartbeat.{domain}",
        "racs.heartbeat.port": str(profile["heartbeat.port"]),
        "racs.heartbeat.interval": f"{profile['heartbeat.interval_s']:g}",
        "racs.mqtt.host": f"mqtt.{domain}" if bus else "",
        "racs.mqtt.port": str(profile["bus.port"]) if bus else "",
        "racs.mqtt.username": application.id if bus else "",
        "racs.mqtt.password": start.password if bus else "",
        "racs.ntp.host": f"ntp.{domain}",
        **{f"racs.nic.{network}.mac": mac for network, mac in start.mac_addresses.items()},
        "racs.userplane.address": " ".join(start.addresses),
        "racs.userplane.gateway": " ".join(start.gateways),
        "racs.features": " ".join(start.features),
        "racs.drill": start.drill,
    }


def write_iso(document: bytes, path: Path) -> None:
    """A CD-ROM image with ovf-env.xml in its root, Rock Ridge and Joliet (DSP0243 2.0, 9.1 and contract 2)."""
    with TemporaryDirectory(dir=path.parent, prefix="iso-") as scratch:
        (Path(scratch) / "ovf-env.xml").write_bytes(document)
        _call("xorriso", "-as", "mkisofs", "-quiet", "-R", "-J", "-V", "OVF ENV", "-o", str(path), scratch)


_PACKAGES = {"qemu-img": "qemu-utils", "xorriso": "xorriso"}


def _call(command: str, *arguments: str) -> None:
    try:
        done = subprocess.run([command, *arguments], capture_output=True, text=True, check=False)
    except FileNotFoundError as error:
        package = _PACKAGES[command]
        raise UsageError(f"{command} is not installed: apt-get install --no-install-recommends {package}") from error
    if "No space left" in done.stderr:
        raise UsageError(f"{command}: No space left on device; make room and run again")
    if done.returncode:
        raise EnvironmentFault(f"{command}: {(done.stderr or done.stdout).strip() or f'status {done.returncode}'}")
