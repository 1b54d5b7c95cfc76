"""The libvirt domain of the contract's machine (contract 2): every default of libvirt's that is not the contract's is
switched off by name. Pure: a spec in, XML out; and what a running domain's XML says it has."""

import xml.etree.ElementTree as ET
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from conformance.profile import Profile
from harness.disk import ImageSlice

# On the root complex itself, not behind ports: virtio devices are transitional there, so that the old kernels that the
# contract admits (Red Hat 6.4) find them, and their order is their slots' order.
_FIRST_NIC_SLOT, _DISK_SLOT, _SCSI_SLOT, _RNG_SLOT = 0x03, 0x08, 0x09, 0x0A
_HOST_OFFLOADS = ("csum", "gso", "tso4", "tso6", "ecn", "ufo")
_GUEST_OFFLOADS = ("csum", "tso4", "tso6", "ecn", "ufo")


@dataclass(frozen=True, slots=True)
class Nic:
    """A vNIC: its network's name, the tap (there already) and its MAC address, lower case."""

    network: str
    tap: str
    mac: str


@dataclass(frozen=True, slots=True)
class MachineSpec:
    """What one app's machine is made of. nics are in the contract's order.

    folder takes what must not fill memory (the overlay, which has no name there); console is the serial console's file,
    which is kept; console_socket is where QEMU serves that console besides, None for a console that nobody types into.
    namespace is the network namespace of the taps (``/run/netns/NAME``), None for the process's own.
    """

    name: str
    image: ImageSlice
    nics: tuple[Nic, ...]
    profile: Profile
    accelerator: Literal["kvm", "tcg"]
    folder: Path
    console: Path
    rtc_shift_s: int = 0
    namespace: Path | None = None
    console_socket: Path | None = None


def domain_xml(spec: MachineSpec, overlay: Path, environment: Path | None) -> str:
    """The domain's definition. environment is the CD-ROM's image; None leaves the drive empty."""
    profile = spec.profile
    domain = ET.Element("domain", type="kvm" if spec.accelerator == "kvm" else "qemu")
    _add(domain, "name", text=spec.name)
    _add(domain, "memory", text=str(profile["resources.memory_mib"]), unit="MiB")
    _add(domain, "vcpu", text=str(profile["resources.cpus"]))
    system = _add(domain, "os")
    _add(system, "type", text="hvm", arch="x86_64", machine=profile["machine.type"])
    features = _add(domain, "features")
    _add(features, "acpi")
    _add(features, "apic")
    cpu = _add(domain, "cpu", mode="custom", match="exact", check="none")
    _add(cpu, "model", text=profile["machine.cpu"], fallback="forbid")
    _add(domain, "clock", offset="variable", adjustment=str(spec.rtc_shift_s), basis="utc")
    power = _add(domain, "pm")  # a guest that sleeps would look like one that hangs
    _add(power, "suspend-to-mem", enabled="no")
    _add(power, "suspend-to-disk", enabled="no")
    for event, action in (("poweroff", "destroy"), ("reboot", "restart"), ("crash", "destroy")):
        _add(domain, f"on_{event}", text=action)
    _add_devices(_add(domain, "devices"), spec, overlay, environment)
    return ET.tostring(domain, encoding="unicode")


def _add_devices(devices: ET.Element, spec: MachineSpec, overlay: Path, environment: Path | None) -> None:
    _add(devices, "emulator", text="/usr/bin/qemu-system-x86_64")
    _add_disk(devices, spec.image, overlay)
    scsi = _add(devices, "controller", type="scsi", index="0", model="virtio-scsi")
    _add_address(scsi, _SCSI_SLOT)
    devices.append(cdrom(environment))
    for index, nic in enumerate(spec.nics):
        _add_nic(devices, nic, _FIRST_NIC_SLOT + index)
    _add_console(devices, spec)
    rng = _add(devices, "rng", model="virtio")
    _add(rng, "backend", text="/dev/urandom", model="random")
    _add_address(rng, _RNG_SLOT)
    _add(devices, "controller", type="usb", model="none")
    _add(devices, "memballoon", model="none")
    _add(devices, "audio", id="1", type="none")


def _add_disk(devices: ET.Element, image: ImageSlice, overlay: Path) -> None:
    disk = _add(devices, "disk", type="file", device="disk")
    # unsafe: the disk lives no longer than the run, and a host's slow fsync is not the app's fault. enospace: a full
    # disk of the host stops the VM and is told, where the guest would see an I/O error
    _add(disk, "driver", name="qemu", type="qcow2", cache="unsafe", error_policy="enospace", discard="unmap")
    _add(disk, "source", file=str(overlay))
    backing = _add(disk, "backingStore", type="file")
    _add(backing, "format", type="qcow2")
    source = _add(backing, "source", file=str(image.path.absolute()))
    _add(_add(source, "slices"), "slice", type="storage", offset=str(image.offset), size=str(image.window_bytes))
    _add(backing, "backingStore")  # ends the chain: whatever the image names as its backing file is not opened
    _add(disk, "target", dev="vda", bus="virtio")
    _add(disk, "boot", order="1")
    _add_address(disk, _DISK_SLOT)


def _add_console(devices: ET.Element, spec: MachineSpec) -> None:
    file = str(spec.console.absolute())
    if spec.console_socket is None:
        serial = _add(devices, "serial", type="file")
        _add(serial, "source", path=file, append="on")
    else:
        serial = _add(devices, "serial", type="unix")
        _add(serial, "source", mode="bind", path=str(spec.console_socket))
        _add(serial, "log", file=file, append="on")  # whole, whether anybody is connected or not
    _add(serial, "target", type="isa-serial", port="0")


def cdrom(environment: Path | None) -> ET.Element:
    """The CD-ROM drive with this image in it, or empty."""
    drive = ET.Element("disk", type="file", device="cdrom")
    _add(drive, "driver", name="qemu", type="raw")
    if environment is not None:
        _add(drive, "source", file=str(environment))
    _add(drive, "target", dev="sda", bus="scsi")
    _add(drive, "readonly")
    _add(drive, "address", type="drive", controller="0", bus="0", target="0", unit="0")
    return drive


def _add_nic(devices: ET.Element, nic: Nic, slot: int) -> None:
    interface = _add(devices, "interface", type="ethernet")
    _add(interface, "mac", address=nic.mac)
    _add(interface, "target", dev=nic.tap, managed="no")
    _add(interface, "model", type="virtio")
    driver = _add(interface, "driver", name="qemu")
    # complete checksums and frames of at most 1,514 bytes, both ways
    _add(driver, "host", **dict.fromkeys(_HOST_OFFLOADS, "off"))
    _add(driver, "guest", **dict.fromkeys(_GUEST_OFFLOADS, "off"))
    _add(interface, "rom", enabled="no")  # nothing boots from the network
    _add_address(interface, slot)


def _add_address(device: ET.Element, slot: int) -> None:
    _add(device, "address", type="pci", domain="0x0000", bus="0x00", slot=f"{slot:#04x}", function="0x0")


def _add(parent: ET.Element, tag: str, text: str | None = None, **attributes: str) -> ET.Element:
    element = ET.SubElement(parent, tag, attributes)
    element.text = text
    return element


def machine_facts(live: str) -> Mapping[str, Any]:
    """The fields of a trace's ``machine`` event from the XML of a running domain."""
    domain = ET.fromstring(live)
    memory = domain.find("memory")
    if memory is None or memory.get("unit", "KiB") != "KiB":
        raise ValueError("libvirt gives the memory of a live domain in KiB")
    return {
        "cpus": int(domain.findtext("vcpu", "0")),
        "memory_mib": int(memory.text or 0) // 1024,
        "cpu_model": domain.findtext("cpu/model", ""),
        "devices": [name for device in domain.findall("devices/*") if (name := _device(device))],
    }


def _device(device: ET.Element) -> str:
    """A device's kind as the trace names it, "" for none: usb, balloon, sound, video, disk, cdrom, nic …"""
    model, kind, bus = device.get("model", ""), device.get("type", ""), device.get("bus", "")
    if model == "none" or device.tag in ("emulator", "audio", "console"):
        return ""  # console is libvirt's second name of the first serial port, audio the host's end of a sound card
    if "usb" in (kind, bus):
        return "usb"
    named = {
        "controller": model if kind == "scsi" else kind,
        "disk": device.get("device", "disk"),
        "input": f"{bus}-{kind}",
        "interface": "nic",
        "memballoon": "balloon",
        "rng": f"{model}-rng",
    }
    return named.get(device.tag, device.tag)
