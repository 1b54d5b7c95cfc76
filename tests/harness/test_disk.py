"""The overlay over a slice, the OVF environment's document and its CD-ROM, with the real tools."""

import json
import os
import shutil
import subprocess
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Literal

import pytest

from conformance.application import Application, Permission
from conformance.errors import EnvironmentFault
from conformance.profile import load
from harness.disk import ImageSlice, Overlay, Start, environment_xml, write_iso
from harness.domain_xml import MachineSpec, Nic, domain_xml, machine_facts

OE = "{http://schemas.dmtf.org/ovf/environment/1}"
needs_tools = pytest.mark.skipif(
    not (shutil.which("qemu-img") and shutil.which("xorriso")), reason="needs qemu-utils and xorriso"
)
APP = Application("goon", "terminating", "V", "P", "1.0", 1.0, ("service", "user-plane"), properties={"a.b": '<"&ü'})
BUS_APP = Application(
    *("lens", "transparent", "V", "P", "1.0", 1.0, ("service", "user-plane-ul", "user-plane-dl")),
    acl=(Permission("subscribe", "racs/cell/+/load"),),
)


def _values(document: bytes) -> dict[str, str]:
    section = ET.fromstring(document).find(f"{OE}PropertySection")
    assert section is not None
    return {item.attrib[f"{OE}key"]: item.attrib[f"{OE}value"] for item in section}


def test_environment_of_an_app_off_the_bus() -> None:
    start = Start({"service": "52:54:00:00:00:01", "user-plane": "52:54:00:00:00:02"}, ("192.0.2.9",), ("192.0.2.1",))
    document = environment_xml(APP, start, load())
    assert ET.fromstring(document).tag == f"{OE}Environment"
    assert _values(document) == {
        "a.b": '<"&ü',
        "racs.app.id": "goon",
        "racs.heartbeat.host": "heartbeat.racs.internal",
        "racs.heartbeat.port": "7400",
        "racs.heartbeat.interval": "1",
        **{f"racs.mqtt.{key}": "" for key in ("host", "port", "username", "password")},
        "racs.ntp.host": "ntp.racs.internal",
        "racs.nic.service.mac": "52:54:00:00:00:01",
        "racs.nic.user-plane.mac": "52:54:00:00:00:02",
        "racs.userplane.address": "192.0.2.9",
        "racs.userplane.gateway": "192.0.2.1",
        "racs.features": "",
        "racs.drill": "",
    }


def test_environment_of_an_app_on_the_bus_with_two_user_plane_nics() -> None:
    start = Start({}, ("10.198.0.2", "10.198.0.6"), ("10.198.0.1", "10.198.0.5"), "secret", ("x", "y"), "hang-after:10")
    values = _values(environment_xml(BUS_APP, start, load()))
    assert (values["racs.mqtt.host"], values["racs.mqtt.port"]) == ("mqtt.racs.internal", "1883")
    assert (values["racs.mqtt.username"], values["racs.mqtt.password"]) == ("lens", "secret")
    assert values["racs.userplane.address"] == "10.198.0.2 10.198.0.6"
    assert values["racs.userplane.gateway"] == "10.198.0.1 10.198.0.5"
    assert (values["racs.features"], values["racs.drill"]) == ("x y", "hang-after:10")
    assert "secret" not in repr(start)


@needs_tools
def test_cd_rom_has_the_document_in_rock_ridge_and_joliet(tmp_path: Path) -> None:
    iso = tmp_path / "env.iso"
    for document in (b"<first/>", b"<second/>"):
        write_iso(document, iso)
    data = iso.read_bytes()
    assert data[0x8001:0x8006] == b"CD001"  # ISO 9660, 8.4.2
    assert "ovf-env.xml".encode("utf-16-be") in data  # Joliet
    assert b"NM" in data and b"ovf-env.xml" in data  # Rock Ridge
    assert b"<second/>" in data and b"<first/>" not in data
    assert os.listdir(tmp_path) == ["env.iso"]


def _ova(folder: Path) -> ImageSlice:
    """Something before and behind a small qcow2, at an odd offset."""
    image = folder / "image.qcow2"
    subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", str(image), "1M"], check=True)
    assert image.stat().st_size % 512  # as qemu-img leaves it: no whole number of sectors
    data = image.read_bytes()
    path = folder / 'a "quoted", long name.ova'
    path.write_bytes(b"x" * 1536 + data + b"\0" * (-len(data) % 512) + b"y" * 512)
    image.unlink()
    return ImageSlice(path, 1536, len(data))


@needs_tools
def test_overlay_takes_writes_without_a_name_and_the_ova_stays(tmp_path: Path) -> None:
    image = _ova(tmp_path)
    before = image.path.read_bytes()
    with Overlay(image, tmp_path) as overlay:
        assert os.listdir(tmp_path) == [image.path.name]
        small = overlay.allocated_bytes()
        with overlay.path.open("rb") as file:
            assert file.read(4) == b"QFI\xfb"
        subprocess.run(["qemu-io", "-c", "write 0 512k", str(overlay.path)], check=True, capture_output=True)
        assert overlay.allocated_bytes() - small >= 512 << 10
        info = subprocess.run(["qemu-img", "info", "--output=json", str(overlay.path)], check=True, capture_output=True)
        assert json.loads(info.stdout)["virtual-size"] == 1 << 20
        path = overlay.path
    assert image.path.read_bytes() == before
    assert not path.exists()


@needs_tools
def test_a_backing_file_that_the_image_names_is_not_opened(tmp_path: Path) -> None:
    hostile = tmp_path / "hostile.qcow2"
    command = [
        "qemu-img",
        "create",
        "-q",
        "-u",
        "-f",
        "qcow2",
        "-F",
        "raw",
        "-b",
        "/no/such/secret",
        str(hostile),
        "1M",
    ]
    subprocess.run(command, check=True)
    with Overlay(ImageSlice(hostile, 0, hostile.stat().st_size), tmp_path):
        assert os.listdir(tmp_path) == ["hostile.qcow2"]


@needs_tools
def test_what_is_no_image_is_told_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "noise").write_bytes(b"noise" * 1000)
    with pytest.raises(EnvironmentFault, match=r"qemu-img: .*not in qcow2 format"):
        Overlay(ImageSlice(tmp_path / "noise", 0, 5000), tmp_path).__enter__()
    assert os.listdir(tmp_path) == ["noise"]


def _spec(tmp_path: Path, accelerator: Literal["kvm", "tcg"] = "tcg") -> MachineSpec:
    nics = (Nic("service", "tap0", "52:54:00:00:00:09"), Nic("user-plane", "tap1", "52:54:00:00:00:01"))
    image = ImageSlice(tmp_path / "a.ova", 1536, 4096)
    return MachineSpec("goon", image, nics, load(), accelerator, tmp_path, tmp_path / "console.log", rtc_shift_s=-60)


@pytest.mark.parametrize(("accelerator", "kind"), [("tcg", "qemu"), ("kvm", "kvm")])
def test_domain_is_the_contracts_machine(tmp_path: Path, accelerator: Literal["kvm", "tcg"], kind: str) -> None:
    domain = ET.fromstring(domain_xml(_spec(tmp_path, accelerator), Path("/overlay"), None))
    assert domain.get("type") == kind
    texts = {path: domain.findtext(path) for path in ("memory", "vcpu", "cpu/model", "name")}
    assert texts == {"memory": "1024", "vcpu": "1", "cpu/model": "Nehalem", "name": "goon"}
    nics = domain.findall("devices/interface")
    assert [nic.find("mac").get("address") for nic in nics] == ["52:54:00:00:00:09", "52:54:00:00:00:01"]  # type: ignore[union-attr]  # a missing one fails too
    slots = [int(nic.find("address").get("slot", ""), 16) for nic in nics]  # type: ignore[union-attr]  # as above
    assert slots == sorted(set(slots))
    for nic in nics:
        for side in ("host", "guest"):
            offloads = nic.find(f"driver/{side}")
            assert offloads is not None
            assert set(offloads.attrib.values()) == {"off"}
            assert {"csum", "tso4", "tso6", "ufo"} <= set(offloads.attrib)
    clock = domain.find("clock")
    assert clock is not None and clock.attrib == {"offset": "variable", "adjustment": "-60", "basis": "utc"}


def test_what_the_profile_forbids_is_seen_in_a_running_domain() -> None:
    live = """<domain><memory unit='KiB'>1048576</memory><vcpu>1</vcpu><cpu><model>Nehalem</model></cpu><devices>
    <emulator/><controller type='usb' model='qemu-xhci'/><memballoon model='virtio'/><sound model='ich9'/><video/>
    <input type='tablet' bus='usb'/></devices></domain>"""
    facts = machine_facts(live)
    assert set(facts["devices"]) == set(load()["machine.forbidden"])
    none = """<domain><memory>1</memory><vcpu>1</vcpu><devices><controller type='usb' model='none'/>
    <memballoon model='none'/><audio type='none'/><console/></devices></domain>"""
    assert machine_facts(none)["devices"] == []
