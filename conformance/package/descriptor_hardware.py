"""The VirtualHardwareSection: what machine a descriptor asks for, against the one that the platform gives (contract 2).

Resource types are those of CIM_ResourceAllocationSettingData; the unit of an amount is a programmatic unit of DSP0004.
"""

import re
from dataclasses import dataclass

from lxml import etree

from conformance.package.descriptor_envelope import OVF, SETTINGS, Envelope
from conformance.package.document import Collector
from conformance.profile import Profile
from conformance.verdict import counted

CPU, MEMORY, ETHERNET, CD_ROM, DISK = 3, 4, 10, 15, 17
_NAMES = {
    CPU: "CPU", MEMORY: "memory", 5: "IDE controller", 6: "SCSI controller", ETHERNET: "Ethernet", CD_ROM: "CD-ROM",
    DISK: "disk", 20: "other storage controller", 21: "serial port",
}  # fmt: skip
KINDS = frozenset(_NAMES)
_MIB = 2**20
_UNIT_MAX = 2**80  # DSP0004's largest binary prefix is yobi
_PREFIXES = {"": 1, "kilo": 10**3, "mega": 10**6, "giga": 10**9, "tera": 10**12} | {
    "kibi": 2**10, "mebi": 2**20, "gibi": 2**30, "tebi": 2**40,
}  # fmt: skip
_UNIT = re.compile(r"(\w*?)bytes?(?:\s*\*\s*(\d{1,4})(?:\s*\^\s*(\d{1,2}))?)?", re.ASCII)


@dataclass(frozen=True, slots=True)
class Hardware:
    """What the items ask for. nics are network names in the items' order; drives the HostResource of each disk."""

    cpus: int
    memory_mib: int
    nics: tuple[str, ...]
    drives: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Item:
    """malformed: one of its numbers is none or not of its namespace, which the schema has reported; what hangs on it is
    not judged."""

    element: etree._Element
    malformed: bool
    kind: int | None
    quantity: int | None
    unit: str
    instance: str
    connections: tuple[str, ...]
    resources: tuple[str, ...]


def unit_bytes(unit: str) -> int | None:
    """Bytes in one programmatic unit ("byte", "byte * 2^20", "kilobyte", "mebibyte"); None for what is no such unit."""
    match = _UNIT.fullmatch(unit.strip())
    if match is None or match[1] not in _PREFIXES:
        return None
    found: int = _PREFIXES[match[1]] * int(match[2] or 1) ** int(match[3] or 1)
    return found if 0 < found <= _UNIT_MAX else None


def read_hardware(envelope: Envelope, profile: Profile, faults: Collector) -> Hardware:
    """Judge DSC-004 (its NICs against the networks), DSC-012, DSC-013, RES-001 and RES-002."""
    section = envelope.hardware
    if section is None:
        return Hardware(0, 0, (), ())
    items = [_read_item(element, SETTINGS[element.tag]) for element in section if element.tag in SETTINGS]
    _judge_set(items, faults)
    _judge_transport(section, faults)
    return Hardware(
        _count_cpus(section, [item for item in items if item.kind == CPU], profile, faults),
        _sum_memory(section, [item for item in items if item.kind == MEMORY], profile, faults),
        tuple(_connect(item, faults) for item in items if item.kind == ETHERNET),
        tuple((*item.resources, "")[0] for item in items if item.kind == DISK),
    )


def _read_item(element: etree._Element, setting: str) -> _Item:
    def texts(name: str) -> tuple[str, ...]:
        return tuple((child.text or "").strip() for child in element.findall(setting + name))

    def first(*names: str) -> str:
        return next((text for name in names for text in texts(name) if text), "")

    def number(name: str) -> int | None:
        text = first(name)
        return int(text) if re.fullmatch(r"\d{1,20}", text, re.ASCII) else None

    malformed = any(first(name) and number(name) is None for name in ("ResourceType", "VirtualQuantity"))
    malformed |= not texts("ResourceType") and element.find("{*}ResourceType") is not None  # of another namespace
    return _Item(
        element, malformed, number("ResourceType"), number("VirtualQuantity"),
        first("AllocationUnits", "VirtualQuantityUnits"), first("InstanceID"), texts("Connection"),
        texts("HostResource"),
    )  # fmt: skip


def _judge_set(items: list[_Item], faults: Collector) -> None:
    seen: set[str] = set()
    for item in items:
        if item.instance in seen:
            remedy = "number the items: Parent and tools find an item by its InstanceID"
            faults.add("DSC-001", item.element, "a unique InstanceID", f"{item.instance!r} again", remedy)
        seen.add(item.instance)
        if item.kind not in KINDS and not item.malformed:
            remedy = 'delete the item, or mark it ovf:required="false" if the app runs without it'
            expected = "a ResourceType of " + ", ".join(f"{kind} ({name})" for kind, name in _NAMES.items())
            faults.add("DSC-012", item.element, expected, "none" if item.kind is None else str(item.kind), remedy)
    for item in [item for item in items if item.kind == CD_ROM][1:]:
        remedy = "delete the item: the only CD-ROM is the one with the OVF environment"
        faults.add("DSC-012", item.element, "at most one CD-ROM", "another one", remedy)


def _judge_transport(section: etree._Element, faults: Collector) -> None:
    """DSP8023 2.0.1 parts the list by blanks, 2.0.0 by commas; both are read."""
    transport = section.get(f"{OVF}transport", "")
    if "iso" not in re.split(r"[\s,]+", transport):
        seen = f'ovf:transport="{transport}"' if transport else "no ovf:transport"
        remedy = 'write <VirtualHardwareSection ovf:transport="iso">: the app gets its settings on a CD-ROM'
        faults.add("DSC-013", section, 'ovf:transport with "iso"', seen, remedy)


def _count_cpus(section: etree._Element, items: list[_Item], profile: Profile, faults: Collector) -> int:
    allowed = profile["resources.cpus"]
    cpus = sum(item.quantity or 0 for item in items)
    if any(item.malformed for item in items):
        return 0
    if cpus != allowed or any(item.quantity is None for item in items):
        seen = f"{cpus} in {counted(len(items), 'CPU item')}" if items else "no item of ResourceType 3"
        remedy = f"ask for it with one Item of ResourceType 3 and VirtualQuantity {allowed}"
        faults.add("RES-001", items[0].element if items else section, f"exactly {allowed} CPU", seen, remedy)
    return cpus


def _sum_memory(section: etree._Element, items: list[_Item], profile: Profile, faults: Collector) -> int:
    allowed = profile["resources.memory_mib"]
    remedy = f"ask with one Item of ResourceType 4, AllocationUnits byte * 2^20, VirtualQuantity {allowed} or less"
    total = 0
    if any(item.malformed for item in items):
        return 0
    for item in items:
        unit = unit_bytes(item.unit)
        if unit is None or item.quantity is None:
            quantity = "no VirtualQuantity" if item.quantity is None else f"VirtualQuantity {item.quantity}"
            seen = f"{quantity}, AllocationUnits {item.unit!r}"
            faults.add("RES-002", item.element, "an amount of memory with its unit", seen, remedy)
        else:
            total += item.quantity * unit
    if (not items or total > allowed * _MIB or total < _MIB) and not faults.count("RES-002"):
        seen = f"{total / _MIB:g} MiB" if items else "no item of ResourceType 4"
        where = items[0].element if items else section
        faults.add("RES-002", where, f"at most {allowed} MiB of memory, and at least 1", seen, remedy)
    return -(-total // _MIB)


def _connect(item: _Item, faults: Collector) -> str:
    if len(item.connections) != 1:
        remedy = "give it one Connection: the network's name in the NetworkSection"
        faults.add("DSC-004", item.element, "one Connection", f"{len(item.connections)} of them", remedy)
    return item.connections[0] if item.connections else ""
