"""Descriptor and ACL written from an `Application`; `descriptor.read` and `acl.read` read them back (contract 1)."""

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal

from lxml import etree

from conformance.application import Application, Mount
from conformance.package.descriptor_envelope import OVF, RACS
from conformance.package.header import ACL_PATH
from conformance.profile import Profile

_RASD_URI = "http://schemas.dmtf.org/wbem/wscim/1/cim-schema/2/CIM_ResourceAllocationSettingData"
_RASD = f"{{{_RASD_URI}}}"
_ACL_URI = "urn:racs:acl:1"
_XML_LANG = "{http://www.w3.org/XML/1998/namespace}lang"
_UNITS = {"TiB": 2**40, "GiB": 2**30, "MiB": 2**20}
_NETWORKS = {
    "service": "The platform: heartbeat, message bus, time, names, port forwarding",
    "user-plane": "The users",
    "user-plane-ul": "The users' packets, the side of the radio",
    "user-plane-dl": "The users' packets, the side of the network",
}


@dataclass(frozen=True, slots=True)
class GuestSystem:
    """The guest's operating system: its number in CIM_OperatingSystem.OsType, and its name."""

    number: int
    description: str


def write_descriptor(application: Application, system: GuestSystem, image: str, profile: Profile) -> bytes:
    """The .ovf of an application, UTF-8, the same bytes for the same values; image is the boot disk's file name.

    ``{size}`` and ``{capacity}`` stand for the image's figures, which `build.build_ova` fills in. Whether the values
    keep the contract is for the checks to say. Raises ValueError for characters that XML has not (NUL).
    """
    names = {"ovf": OVF[1:-1], "rasd": _RASD_URI, "racs": RACS[1:-1]}
    root = etree.Element(f"{OVF}Envelope", {_XML_LANG: "en"}, nsmap=names)
    _write_files(root, application, image, profile)
    networks = _section(root, "NetworkSection", "The networks of the app")
    for name in dict.fromkeys(application.nics):
        network = _ovf(networks, "Network", {"name": name})
        _ovf(network, "Description", text=_NETWORKS.get(name, name))
    machine = _ovf(root, "VirtualSystem", {"id": application.id})
    _ovf(machine, "Info", text=f"The virtual machine of {application.product}")
    _write_product(machine, application)
    guest = _section(machine, "OperatingSystemSection", "The guest operating system", {"id": str(system.number)})
    _ovf(guest, "Description", text=system.description)
    _write_hardware(machine, application)
    _write_properties(machine, application)
    return etree.tostring(root, encoding="UTF-8", xml_declaration=True, pretty_print=True)


def write_acl(application: Application) -> bytes:
    """The auth/acl.xml of an application; one that is not on the bus may do nothing there."""
    root = etree.Element(f"{{{_ACL_URI}}}acl", {"application": application.id}, nsmap={None: _ACL_URI})  # type: ignore[dict-item]  # lxml-stubs forget it
    for permission in application.acl or ():
        etree.SubElement(root, f"{{{_ACL_URI}}}allow", {"access": permission.access, "topic": permission.topic})
    return etree.tostring(root, encoding="UTF-8", xml_declaration=True, pretty_print=True)


def _ovf(
    parent: etree._Element, name: str, attributes: Mapping[str, str] | None = None, text: str = ""
) -> etree._Element:
    """An element of OVF, whose attributes all carry its prefix (DSP8023)."""
    element = etree.SubElement(parent, OVF + name, {OVF + key: value for key, value in (attributes or {}).items()})
    element.text = text or None
    return element


def _racs(parent: etree._Element, name: str, attributes: Mapping[str, str], text: str = "") -> etree._Element:
    """An element of the profile's own section, whose attributes carry no prefix."""
    element = etree.SubElement(parent, RACS + name, dict(attributes))
    element.text = text or None
    return element


def _section(
    parent: etree._Element, name: str, information: str, attributes: Mapping[str, str] | None = None
) -> etree._Element:
    section = _ovf(parent, name, attributes)
    _ovf(section, "Info", text=information)
    return section


def _write_files(root: etree._Element, application: Application, image: str, profile: Profile) -> None:
    references = _ovf(root, "References")
    _ovf(references, "File", {"id": "image", "href": image, "size": "{size}"})
    if application.uses_bus:
        _ovf(references, "File", {"id": "acl", "href": ACL_PATH})
    disks = _section(root, "DiskSection", "The boot disk")
    form = profile["package.qcow2_uris"][0]
    _ovf(disks, "Disk", {"diskId": "disk", "fileRef": "image", "capacity": "{capacity}", "format": form})


def _write_product(machine: etree._Element, application: Application) -> None:
    product = _section(machine, "ProductSection", "Who made what, in which version")
    _ovf(product, "Product", text=application.product)
    _ovf(product, "Vendor", text=application.vendor)
    _ovf(product, "Version", text=application.version)
    for key, value in application.properties.items():
        _ovf(product, "Property", {"key": key, "type": "string", "value": value})


def _write_hardware(machine: etree._Element, application: Application) -> None:
    """Items of CIM_ResourceAllocationSettingData; ResourceType: 3 CPU, 4 memory, 17 disk, 10 Ethernet, 21 serial."""
    hardware = _section(machine, "VirtualHardwareSection", "The machine that the app asks for", {"transport": "iso"})
    items: list[dict[str, str]] = [
        {"ElementName": "CPU", "ResourceType": "3", "VirtualQuantity": str(application.cpus)},
        {"AllocationUnits": "byte * 2^20", "ElementName": f"{application.memory_mib} MiB of memory",
         "ResourceType": "4", "VirtualQuantity": str(application.memory_mib)},
        {"ElementName": "The disk", "HostResource": "ovf:/disk/disk", "ResourceType": "17"},
    ]  # fmt: skip
    items += [
        {"AutomaticAllocation": "true", "Connection": network, "ElementName": f"NIC on {network}", "ResourceType": "10"}
        for network in application.nics
    ]
    items.append({"ElementName": "The serial console", "ResourceType": "21"})
    for number, item in enumerate(items, 1):
        element = _ovf(hardware, "Item")
        for name, text in sorted({**item, "InstanceID": str(number)}.items()):  # the schema's order
            etree.SubElement(element, _RASD + name).text = text


def _write_properties(machine: etree._Element, application: Application) -> None:
    section = etree.SubElement(machine, f"{RACS}ApplicationSection", {f"{OVF}required": "true"})
    _ovf(section, "Info", text="RACS application properties")
    _racs(section, "Application", {"id": application.id, "type": application.type})
    _racs(section, "Heartbeat", {"interval": f"{application.heartbeat_interval_s}"})
    for network in application.nics:
        _racs(section, "Nic", {"network": network})
    _write_traffic(section, application)
    if application.allows:
        firewall = _racs(section, "Firewall", {})
        for allow in application.allows:
            place = {"protocol": allow.protocol, "port": str(allow.port), "network": allow.network}
            _racs(firewall, "Allow", place)
    if application.mounts:
        storage = _racs(section, "Storage", {})
        for mount in application.mounts:
            _racs(storage, "Mount", {"path": mount.path, **_capacity(mount)})
    if application.drills:
        _racs(section, "Drills", {"supports": " ".join(application.drills)})
    if application.features:
        features = _racs(section, "Features", {})
        for feature in application.features:
            default = {"default": "on" if feature.default_on else "off"}
            _racs(
                features, "Feature", {"id": feature.id, "name": feature.name, "salesItem": feature.sales_item} | default
            )


def _write_traffic(section: etree._Element, application: Application) -> None:
    if application.rules or application.effects:
        offload = _racs(section, "Offload", {})
        for rule in application.rules:
            _racs(offload, "Rule", {"name": rule.name, "direction": rule.direction}, rule.text)
        for effect in application.effects:
            _racs(offload, "Effect", {"name": effect.name, "payload": effect.payload})
    for endpoint in application.endpoints:
        element = _racs(section, "Endpoint", {"fqdn": endpoint.fqdn})
        for service in endpoint.services:
            declared = _racs(element, "Service", {"protocol": service.protocol, "port": str(service.port)})
            if service.probe_send or service.probe_expect:
                _racs(declared, "Probe", {"send": service.probe_send, "expect": service.probe_expect})
    if application.forwards:
        forwarding = _racs(section, "PortForwarding", {})
        for forward in application.forwards:
            ports = {"from": str(forward.from_port), "to": str(forward.to_port)}
            _racs(forwarding, "Forward", {"protocol": forward.protocol} | ports)


def _capacity(mount: Mount) -> dict[str, str]:
    """In the largest unit that leaves no fraction; else in KiB, in which every number of bytes has ten decimals."""
    for unit, size in _UNITS.items():
        if mount.capacity_bytes % size == 0:
            return {"capacity": str(mount.capacity_bytes // size), "unit": unit}
    return {"capacity": f"{(Decimal(mount.capacity_bytes) / 1024).normalize():f}", "unit": "KiB"}
