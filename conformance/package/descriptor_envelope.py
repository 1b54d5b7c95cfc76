"""The envelope of a descriptor: which sections there are, which are understood, and whether the whole is valid OVF 2.

What is not understood and not required is taken out before the schema looks (DSP0243: a consumer may ignore a section
with ``ovf:required="false"``; DSP8023 alone would refuse every vendor section).
"""

from dataclasses import dataclass

from lxml import etree

from conformance.package import schema
from conformance.package.document import Collector, take_out
from conformance.package.fault import Fault

NAME = "descriptor"
OVF = "{http://schemas.dmtf.org/ovf/envelope/2}"
RACS = "{urn:racs:application:1}"
_CIM = "{http://schemas.dmtf.org/wbem/wscim/1/cim-schema/2/CIM_"
SETTINGS = {  # hardware item: the namespace of its properties
    f"{OVF}Item": f"{_CIM}ResourceAllocationSettingData}}",
    f"{OVF}EthernetPortItem": f"{_CIM}EthernetPortAllocationSettingData}}",
    f"{OVF}StorageItem": f"{_CIM}StorageAllocationSettingData}}",
}
_XSI_TYPE = "{http://www.w3.org/2001/XMLSchema-instance}type"
_HARDWARE, _APPLICATION = f"{OVF}VirtualHardwareSection", f"{RACS}ApplicationSection"
_STRUCTURE = {f"{OVF}{name}" for name in ("References", "VirtualSystem", "Strings", "Info", "Name")}
_UNDERSTOOD = {
    f"{OVF}{name}Section"
    for name in ("Annotation", "Product", "Eula", "Network", "Disk", "OperatingSystem", "VirtualHardware")
} | {_APPLICATION}
# DSP8023 knows these and the profile does not
_OTHER_SECTIONS = {
    f"{OVF}{name}Section"
    for name in (
        "BootDevice", "Encryption", "EnvironmentFiles", "Install", "Placement", "PlacementGroup", "ResourceAllocation",
        "ScaleOut", "SharedDisk", "Startup", "DeploymentOption",
    )
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Envelope:
    """The parts of a descriptor that the profile understands; None for a section that is not there."""

    root: etree._Element
    system: etree._Element
    hardware: etree._Element | None
    application: etree._Element | None

    def sections(self, name: str) -> list[etree._Element]:
        """All standard sections of a name, of the envelope and of the virtual system."""
        return [*self.root.findall(OVF + name), *self.system.findall(OVF + name)]


def open_envelope(root: etree._Element, kinds: frozenset[int], faults: Collector) -> Envelope | None:
    """Judge DSC-001 and DSC-002 and what optional hardware may be dropped; None where no virtual system can be found.

    kinds are the resource types that the profile knows. The tree is changed: only what is understood stays in it.
    """
    system = _only_system(root, faults)
    if system is None:
        return None
    for parent in (root, system):
        for child in list(parent.iterchildren(etree.Element)):
            if child.tag not in _STRUCTURE:
                _admit_section(parent, child, faults)
    for hardware in system.findall(_HARDWARE):
        _admit_items(hardware, kinds, faults)
    _refuse_attributes(root, faults)
    findings = schema.validate(root, "racs-application.xsd", NAME)
    faults.extend(Fault("DSC-001", finding) for finding in findings)
    return Envelope(
        root,
        system,
        _only_section(system, _HARDWARE, "one VirtualHardwareSection in the VirtualSystem", faults),
        _only_section(system, _APPLICATION, "one racs:ApplicationSection in the VirtualSystem", faults),
    )


def _only_system(root: etree._Element, faults: Collector) -> etree._Element | None:
    if root.tag != f"{OVF}Envelope":
        name = etree.QName(root)
        remedy = "write OVF 2.0: many tools write 1.x, whose namespace ends in envelope/1, and convert only on request"
        seen = f"{name.localname} of namespace {name.namespace or 'none'}"
        faults.add("DSC-001", root, f"the root element Envelope of namespace {OVF[1:-1]}", seen, remedy)
        return None
    systems = root.findall(f"{OVF}VirtualSystem")
    collections = root.findall(f"{OVF}VirtualSystemCollection")
    if len(systems) != 1 or collections:
        seen = f"{len(systems)} of them" + (" and a VirtualSystemCollection" if collections else "")
        faults.add("DSC-002", root, "exactly one VirtualSystem", seen, "an application is one virtual machine")
    for extra in (*systems[1:], *collections):
        take_out(root, extra)
    return systems[0] if systems else None


def _required(element: etree._Element) -> bool:
    """ovf:required, true by default; what is no boolean is no permission to ignore."""
    return (element.get(f"{OVF}required") or "true").strip() not in ("false", "0")


def _admit_section(parent: etree._Element, section: etree._Element, faults: Collector) -> None:
    """Take a section out that is not understood, and say so where it must not be ignored."""
    name = etree.QName(section)
    foreign = name.namespace != OVF[1:-1]
    misplaced = section.tag == _APPLICATION and parent.tag == f"{OVF}Envelope"
    if section.tag == f"{OVF}DeploymentOptionSection":
        remedy = "deliver one configuration: a package that can be deployed in several ways cannot be certified"
        faults.add("DSC-002", section, "no DeploymentOptionSection (profile)", "one", remedy)
    elif misplaced:
        remedy = "move it into the VirtualSystem, beside the VirtualHardwareSection"
        faults.add("DSC-002", section, "racs:ApplicationSection inside the VirtualSystem", "it in the Envelope", remedy)
    elif section.tag in _UNDERSTOOD:
        return
    elif _required(section):
        if not (foreign or section.tag in _OTHER_SECTIONS):
            return  # no section of the standard: the schema says what is wrong with it
        remedy = 'delete it, or mark it ovf:required="false" if the app runs without it'
        seen = f"{name.localname} of {name.namespace or 'no namespace'}"
        faults.add("DSC-002", section, "every required section is one that the profile understands", seen, remedy)
    take_out(parent, section)


def _admit_items(hardware: etree._Element, kinds: frozenset[int], faults: Collector) -> None:
    """Take out optional hardware that the profile does not know, and foreign elements (DSC-012 if required)."""
    for item in list(hardware):
        setting = SETTINGS.get(item.tag)
        if setting is None:
            if etree.QName(item).namespace == OVF[1:-1]:
                continue
            if _required(item):
                remedy = 'delete it, or mark it ovf:required="false" if the app runs without it'
                seen = f"the element {etree.QName(item).text}"
                faults.add("DSC-012", item, "virtual hardware of the profile's set only", seen, remedy)
            take_out(hardware, item)
        elif not _required(item):
            kind = (item.findtext(f"{setting}ResourceType") or "").strip()
            if not (kind.isascii() and kind.isdigit() and len(kind) < 6 and int(kind) in kinds):
                take_out(hardware, item)


def _refuse_attributes(root: etree._Element, faults: Collector) -> None:
    for element in root.iter(etree.Element):
        for name in map(str, element.attrib):
            beside = element.get(OVF + name)
            if beside is not None and element.get(name) != beside:  # some readers pass over prefixes
                remedy = f"delete the attribute {name}, which has no prefix"
                faults.add("DSC-001", element, f"ovf:{name} alone", f'{name}="{element.get(name)}" beside it', remedy)
        for name in ("bound", "configuration"):
            if element.get(OVF + name) is not None:
                remedy = "delete the attribute and give the one value that the app needs"
                faults.add("DSC-002", element, f"no ovf:{name} (profile)", f'"{element.get(OVF + name)}"', remedy)
        if element.get(_XSI_TYPE) is not None:
            remedy = "delete the attribute: the element's name says its type"
            faults.add("DSC-001", element, "no xsi:type", f'"{element.get(_XSI_TYPE)}"', remedy)


def _only_section(system: etree._Element, tag: str, expected: str, faults: Collector) -> etree._Element | None:
    found = system.findall(tag)
    if len(found) != 1:
        remedy = "compare it with examples/goon/goon.ovf" if not found else "keep one of them"
        faults.add("DSC-002", found[1] if found else system, expected, f"{len(found)} of them", remedy)
    return found[0] if found else None
