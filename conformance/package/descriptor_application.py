"""The sections that describe the application: racs:ApplicationSection, product, networks and operating system.

A defect that the schema has already reported is passed over here: an attribute that is not there breaks DSC-001 and no
further id. What follows is one function a requirement.
"""

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Literal, cast

from lxml import etree

from conformance.application import Allow, Application, Feature, Mount
from conformance.package.descriptor_envelope import OVF, RACS, Envelope
from conformance.package.descriptor_hardware import Hardware
from conformance.package.descriptor_traffic import read_endpoints, read_forwards, read_offload
from conformance.package.document import Collector
from conformance.profile import Profile

_ID = re.compile(r"[a-z][a-z0-9-]{0,31}")
_VERSION = re.compile(r"\d{1,10}(\.\d{1,10}){0,3}(-[A-Za-z0-9][A-Za-z0-9.+-]*)?", re.ASCII)
_FEATURE = re.compile(r"[a-z][a-z0-9.-]{0,63}")
_DECIMAL = re.compile(r"\d{1,10}(\.\d{1,10})?", re.ASCII)
_PORT = re.compile(r"[1-9]\d{0,4}", re.ASCII)
_UNITS = {"KiB": 2**10, "MiB": 2**20, "GiB": 2**30, "TiB": 2**40}
_NICS = {  # contract 2: what the machine of each type has, in this order
    "terminating": (("service", "user-plane"),),
    "transparent": (("service", "user-plane"), ("service", "user-plane-ul", "user-plane-dl")),
}
_RED_HAT_IDS = {"79", "80", "106", "107", "108", "109"}  # CIM OsType: RHEL, CentOS, Oracle Linux
_RED_HAT = re.compile(r"red ?hat|rhel|centos|rocky|alma ?linux|oracle (enterprise )?linux|fedora|scientific", re.I)


@dataclass(frozen=True, slots=True)
class _Product:
    vendor: str
    product: str
    version: str
    properties: dict[str, str]


def read_application(
    envelope: Envelope, hardware: Hardware, capacity: int | None, profile: Profile, faults: Collector
) -> Application | None:
    """What the descriptor declares, with the faults of DSC-003 to DSC-011 and 014; capacity is the disk's in bytes.

    None where id, type, hardware or the section itself is missing: nothing can be run from that. An entry without the
    attributes or numbers that make it one is left out of the Application; one that breaks a rule stays in.
    """
    product = _read_product(envelope, faults)
    _judge_system(envelope, faults)
    section = envelope.application
    if section is None:
        return None
    own = section.find(f"{RACS}Application")
    identity, kind = ("", "") if own is None else _read_identity(own, faults)
    nics = _read_nics(envelope, section, hardware, kind, faults)
    rules, effects = read_offload(section, kind, profile, faults)
    endpoints = read_endpoints(section, kind, profile, faults)
    forwards = read_forwards(section, profile, faults)
    interval_s = _read_interval(section, profile, faults)
    allows = _read_allows(section, nics, faults)
    mounts = _read_mounts(section, capacity, faults)
    drills = _read_drills(section, faults)
    features = _read_features(section, faults)
    if not identity or not kind or envelope.hardware is None:
        return None
    return Application(
        id=identity, type=cast(Literal["terminating", "transparent"], kind), vendor=product.vendor,
        product=product.product, version=product.version, heartbeat_interval_s=interval_s, nics=nics, rules=rules,
        effects=effects, endpoints=endpoints, forwards=forwards, allows=allows, mounts=mounts, drills=drills,
        features=features, properties=product.properties, cpus=hardware.cpus, memory_mib=hardware.memory_mib,
        disk_capacity_bytes=capacity or 0,
    )  # fmt: skip


def _read_identity(element: etree._Element, faults: Collector) -> tuple[str, str]:
    """DSC-003: id and type; "" for one that is not well formed."""
    identity, kind = element.get("id"), element.get("type")
    if identity is not None and not _ID.fullmatch(identity):
        remedy = "choose a short id of small letters, digits and hyphens, such as goon"
        faults.add("DSC-003", element, f"an id that matches {_ID.pattern}", repr(identity[:80]), remedy)
        identity = None
    if kind is not None and kind not in _NICS:
        remedy = "a terminating app answers on its own address, a transparent one passes its users' packets on"
        faults.add("DSC-003", element, 'type="terminating" or type="transparent"', repr(kind[:80]), remedy)
        kind = None
    return identity or "", kind or ""


def _read_product(envelope: Envelope, faults: Collector) -> _Product:
    """DSC-003: vendor, product, version; DSC-002: what of a ProductSection the profile refuses."""
    sections = envelope.system.findall(f"{OVF}ProductSection")
    if not sections:
        remedy = "add one with Product, Vendor and Version to the VirtualSystem"
        faults.add("DSC-003", envelope.system, "a ProductSection in the VirtualSystem", "none", remedy)
        return _Product("", "", "", {})
    section = sections[0]
    for extra in sections[1:]:
        faults.add("DSC-002", extra, "one ProductSection (profile)", "another one", "put everything into the first")
    for attribute in ("class", "instance"):
        if section.get(OVF + attribute) is not None:
            seen = f'ovf:{attribute}="{section.get(OVF + attribute)}"'
            remedy = "delete the attribute: the keys of Properties are whole names"
            faults.add("DSC-002", section, f"a ProductSection without ovf:{attribute} (profile)", seen, remedy)
    texts = {}
    for name in ("Vendor", "Product", "Version"):
        element = section.find(OVF + name)
        texts[name] = (element.text or "").strip() if element is not None else ""
        if not texts[name]:
            remedy = f"add <{name}> to the ProductSection"
            faults.add("DSC-003", section if element is None else element, f"a {name}", "none", remedy)
    if texts["Version"] and not _VERSION.fullmatch(texts["Version"]):
        remedy = "write 1, 1.2, 1.2.3 or 1.2.3.4, and a suffix such as -rc1 if you need one"
        seen = repr(texts["Version"][:80])
        faults.add("DSC-003", section, "a Version of one to four numbers and an optional -suffix", seen, remedy)
    return _Product(texts["Vendor"], texts["Product"], texts["Version"], _read_properties(section, faults))


def _read_properties(section: etree._Element, faults: Collector) -> dict[str, str]:
    """The declared Properties with their default values; keys that the platform owns are refused."""
    found: dict[str, str] = {}
    for element in section.findall(f"{OVF}Property"):
        key = element.get(f"{OVF}key", "")
        if key.startswith("racs."):
            remedy = "choose another key: the platform's own keys are in the OVF environment without being declared"
            faults.add("DSC-002", element, "no declared Property key that begins with racs.", repr(key[:80]), remedy)
        elif key in found:
            faults.add("DSC-002", element, "each Property key once", f"{key[:80]!r} again", "keep one of them")
        else:
            value = element.find(f"{OVF}Value")
            default = value.get(f"{OVF}value", "") if value is not None else ""
            found[key] = element.get(f"{OVF}value", default)
    return found


def _read_nics(
    envelope: Envelope, section: etree._Element, hardware: Hardware, kind: str, faults: Collector
) -> tuple[str, ...]:
    """DSC-004: NetworkSection, hardware and racs:Nic name the same networks in the same order."""
    nics = tuple(element.get("network", "") for element in section.findall(f"{RACS}Nic"))
    networks: set[str] = set()
    for parent in envelope.sections("NetworkSection"):
        for element in parent.findall(f"{OVF}Network"):
            name = element.get(f"{OVF}name", "")
            if name in networks:
                faults.add("DSC-004", element, "each Network once", f"{name[:80]!r} again", "delete one of them")
            networks.add(name)
    if _judge_names(envelope, section, hardware, networks, faults):
        return nics  # the order says nothing while a name is wrong
    if nics != hardware.nics and envelope.hardware is not None:
        seen = f"hardware on {_join(hardware.nics)}, racs:Nic on {_join(nics)}"
        remedy = "give racs:Nic in the order of the Ethernet items, each with its item's Connection as its network"
        faults.add("DSC-004", section, "racs:Nic elements that agree with the Ethernet items", seen, remedy)
    if kind in _NICS and nics not in _NICS[kind]:
        expected = f"NICs of a {kind} app: " + ", or ".join(_join(allowed) for allowed in _NICS[kind])
        faults.add("DSC-004", section, expected, _join(nics), "declare these networks, in this order")
    return nics


def _judge_names(
    envelope: Envelope, section: etree._Element, hardware: Hardware, networks: Collection[str], faults: Collector
) -> bool:
    """DSC-004: whether a racs:Nic or an Ethernet item's Connection names what is no network; a misspelt one is to be
    written as the other of the two has it."""
    elements = section.findall(f"{RACS}Nic")
    nics = [element.get("network", "") for element in elements]
    expected, found = f"a network of the NetworkSection ({_join(sorted(networks))})", False
    for at, (element, name) in enumerate(zip(elements, nics, strict=True)):
        if name not in networks:
            other = hardware.nics[at] if at < len(hardware.nics) else ""
            remedy = f'write network="{other}"' if other in networks else "add the Network to the NetworkSection"
            faults.add("DSC-004", element, expected, f"{name[:80]!r}, which is not there", remedy)
            found = True
    connections = list(envelope.hardware.iter("{*}Connection")) if envelope.hardware is not None else []
    for at, name in enumerate(hardware.nics):
        if name and name not in {*networks, *nics}:
            other = nics[at] if at < len(nics) else ""
            element = next(one for one in connections if (one.text or "").strip() == name)
            wanted = other if other in networks else "a name of the NetworkSection"
            remedy = f"write <rasd:Connection>{wanted}</rasd:Connection>"
            faults.add("DSC-004", element, expected, f"{name[:80]!r}, which is not there", remedy)
            found = True
    return found


def _join(names: Sequence[str]) -> str:
    return ", ".join(name[:80] or "(none)" for name in names) or "no network"


def _judge_system(envelope: Envelope, faults: Collector) -> None:
    """DSC-011, by number or by name: Rocky and Alma have no number."""
    sections = envelope.system.findall(f"{OVF}OperatingSystemSection")
    if any(
        section.get(f"{OVF}id", "") in _RED_HAT_IDS or _RED_HAT.search(section.findtext(f"{OVF}Description") or "")
        for section in sections
    ):
        return
    remedy = "the platform's own tools know the Red Hat family best; ignore this if your support agrees"
    seen = " ".join((sections[0].findtext(f"{OVF}Description") or "").split())[:80] if sections else ""
    number = f"id {sections[0].get(f'{OVF}id')}" if sections else "no OperatingSystemSection"
    where = sections[0] if sections else envelope.system
    faults.add("DSC-011", where, "a guest system of the Red Hat family", f"{number} {seen}".strip(), remedy)


def _read_interval(section: etree._Element, profile: Profile, faults: Collector) -> float:
    """DSC-014: the interval equals the profile's."""
    wanted = profile["heartbeat.interval_s"]
    element = section.find(f"{RACS}Heartbeat")
    text = element.get("interval") if element is not None else None
    if element is None or text is None:
        return float(wanted)
    if not _DECIMAL.fullmatch(text.strip()) or float(text) != wanted:
        remedy = f'write interval="{wanted}": the platform supervises every app at this rate'
        faults.add("DSC-014", element, f"an interval of {wanted} s", repr(text[:80]), remedy)
    return float(wanted)


def _read_allows(section: etree._Element, nics: Sequence[str], faults: Collector) -> tuple[Allow, ...]:
    """DSC-014: firewall entries."""
    allows = []
    for element in section.findall(f"{RACS}Firewall/{RACS}Allow"):
        protocol, port, network = (element.get(name) for name in ("protocol", "port", "network"))
        if protocol is None or port is None or network is None:
            continue
        if protocol in ("udp", "tcp") and _PORT.fullmatch(port) and int(port) < 65536 and network in nics:
            allows.append(Allow(cast(Literal["udp", "tcp"], protocol), int(port), network))
        else:
            seen = f'protocol="{protocol[:20]}" port="{port[:20]}" network="{network[:80]}"'
            remedy = "give one port an Allow, and one of the app's own networks"
            expected = "protocol udp or tcp, a port of 1 to 65535, a network of a racs:Nic"
            faults.add("DSC-014", element, expected, seen, remedy)
    return tuple(allows)


def _read_drills(section: etree._Element, faults: Collector) -> tuple[str, ...]:
    """DSC-014: drill entries."""
    element = section.find(f"{RACS}Drills")
    text = element.get("supports") if element is not None else None
    if element is None or text is None:
        return ()
    drills = tuple(text.split())
    if set(drills) != {"hang"} or len(drills) != 1:
        remedy = 'write supports="hang", or leave the element out'
        faults.add("DSC-014", element, 'supports="hang", the only drill', repr(text[:80]), remedy)
    return ("hang",) if "hang" in drills else ()


def _read_mounts(section: etree._Element, capacity: int | None, faults: Collector) -> tuple[Mount, ...]:
    """DSC-009: storage mounts."""
    storage = section.find(f"{RACS}Storage")
    if storage is None:
        return ()
    mounts: dict[str, Mount] = {}
    for element in storage.findall(f"{RACS}Mount"):
        path, amount, unit = (element.get(name) for name in ("path", "capacity", "unit"))
        if path is None or amount is None or unit is None:
            continue
        if not re.fullmatch(r"/|(/[^/\0]+)+", path) or path in mounts:
            remedy = "write each mount point once, from the root, without a slash at the end"
            seen = f"{path[:80]!r}{' again' if path in mounts else ''}"
            faults.add("DSC-009", element, "an absolute path of its own", seen, remedy)
        elif unit not in _UNITS or not _DECIMAL.fullmatch(amount) or float(amount) == 0:
            seen = f'capacity="{amount[:40]}" unit="{unit[:40]}"'
            remedy = 'write for example capacity="2" unit="GiB"'
            faults.add("DSC-009", element, f"a positive number and a unit of {', '.join(_UNITS)}", seen, remedy)
        else:
            mounts[path] = Mount(path, round(float(amount) * _UNITS[unit]))
    total = sum(mount.capacity_bytes for mount in mounts.values())
    if "/" not in mounts and not faults.count("DSC-009"):
        faults.add("DSC-009", storage, "a Mount with path /", _join(sorted(mounts)), "add it")
    if capacity is not None and total > capacity:
        seen = f"{total} bytes on a disk of {capacity}"
        faults.add("DSC-009", storage, "mounts that fit on the disk together", seen, "enlarge the disk or ask for less")
    return tuple(mounts.values())


def _read_features(section: etree._Element, faults: Collector) -> tuple[Feature, ...]:
    """DSC-010, but for what it asks of auth/acl.xml."""
    features: dict[str, Feature] = {}
    for element in section.findall(f"{RACS}Features/{RACS}Feature"):
        identity, name, sales = (element.get(key) for key in ("id", "name", "salesItem"))
        if identity is None or name is None or sales is None:
            continue
        if identity in features:
            faults.add("DSC-010", element, "each feature id once", f"{identity[:80]!r} again", "rename or delete one")
            continue
        features[identity] = Feature(identity, name, sales, element.get("default") == "on")
        if not _FEATURE.fullmatch(identity):
            remedy = "write small letters, digits, dots and hyphens, as in goon.echo"
            expected = f"a feature id that matches {_FEATURE.pattern}"
            faults.add("DSC-010", element, expected, repr(identity[:80]), remedy)
        if not name.strip():
            faults.add("DSC-010", element, "a name", "none", "name the feature as an operator reads it")
        if not (1 <= len(sales) <= 64 and sales.isprintable() and sales.strip()):
            remedy = "give the item under which the feature is sold, such as RACS-GOON-001"
            faults.add("DSC-010", element, "a salesItem of 1 to 64 printable characters", repr(sales[:80]), remedy)
    return tuple(features.values())
