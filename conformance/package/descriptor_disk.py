"""References and DiskSection: the one image and its size (RES-003, and what the descriptor alone tells of PKG-010)."""

import re
from collections import Counter
from collections.abc import Iterator, Sequence

from lxml import etree

from conformance.package.descriptor_envelope import NAME, OVF, Envelope
from conformance.package.descriptor_hardware import unit_bytes
from conformance.package.disk import Disk, Reference
from conformance.package.document import Collector, place
from conformance.profile import Profile

_GIB = 2**30
_PLACED_MAX = 100
_DRIVE = "ovf:/disk/"


def read_references(envelope: Envelope, faults: Collector) -> tuple[Reference, ...]:
    """The Files in order; compressed and chunked ones are PKG-010, ids given twice DSC-001."""
    elements = envelope.root.findall(f"{OVF}References/{OVF}File")
    references = []
    for index, element in enumerate(elements):
        size = element.get(f"{OVF}size", "").strip()
        reference = Reference(
            element.get(f"{OVF}id", ""),
            element.get(f"{OVF}href", ""),
            int(size) if re.fullmatch(r"\d{1,20}", size, re.ASCII) else None,
            element.get(f"{OVF}compression", ""),
            element.get(f"{OVF}chunkSize", ""),
            _place(element, index),
        )
        references.append(reference)
        if reference.compression or reference.chunk_size:
            seen = f'compression="{reference.compression}" chunkSize="{reference.chunk_size}"'
            remedy = "put the file into the package as one whole and uncompressed; qcow2 compresses by itself"
            faults.add("PKG-010", element, "no compression and no chunks (profile)", seen, remedy)
    for element in _repeated(elements, "id"):
        seen = f'"{element.get(OVF + "id")}" again'
        faults.add("DSC-001", element, "a File with an ovf:id of its own", seen, "give each File another id")
    return tuple(references)


def _repeated(elements: Sequence[etree._Element], attribute: str) -> Iterator[etree._Element]:
    counts: Counter[str] = Counter()
    for element in elements:
        value = element.get(OVF + attribute)
        if value is not None:
            counts[value] += 1
            if counts[value] > 1:
                yield element


def read_disks(
    envelope: Envelope, references: Sequence[Reference], drives: Sequence[str], profile: Profile, faults: Collector
) -> tuple[Disk, ...]:
    """The Disks of all DiskSections; drives are the HostResources of the hardware's disk items."""
    elements = [disk for section in envelope.sections("DiskSection") for disk in section.findall(f"{OVF}Disk")]
    disks = tuple(_read_disk(element, _place(element, index), faults) for index, element in enumerate(elements))
    if len(disks) != 1:
        where = elements[1] if elements else envelope.root
        remedy = "list the boot disk, and no other, in one DiskSection"
        faults.add("PKG-010", where, "exactly one Disk", f"{len(disks)} of them", remedy)
    files = {reference.id: reference for reference in reversed(references)}  # the first of an id counts
    for element, disk in zip(elements, disks, strict=True):
        _judge_disk(element, disk, files.get(disk.file_ref), profile, faults)
    image = files[disks[0].file_ref].href if disks and disks[0].file_ref in files else ""
    for element in _repeated(envelope.root.findall(f"{OVF}References/{OVF}File"), "href"):
        requirement = "PKG-010" if element.get(f"{OVF}href") == image else "DSC-001"
        seen = f'"{element.get(OVF + "href")}" again'
        faults.add(requirement, element, "each file referenced once", seen, "keep one File element for it")
    wanted = [_DRIVE + disk.id for disk in disks[:1]]
    if envelope.hardware is not None and disks and list(drives) != wanted:
        remedy = f"give the machine one disk item (ResourceType 17) with HostResource {wanted[0]}"
        seen = f"disk items with {', '.join(drive or 'no HostResource' for drive in drives) or 'none at all'}"
        faults.add("PKG-010", envelope.hardware, "one disk item, with the image in it", seen, remedy)
    return disks


def _place(element: etree._Element, index: int) -> str:
    """Where it stands; of the hundredth, which only a hostile descriptor has, the line is enough."""
    return place(NAME, element) if index < _PLACED_MAX else f"{NAME}, /ovf:Envelope (line {element.sourceline})"


def _read_disk(element: etree._Element, where: str, faults: Collector) -> Disk:
    text = element.get(f"{OVF}capacity", "").strip()
    name = element.get(f"{OVF}capacityAllocationUnits", "byte")
    unit = unit_bytes(name)
    capacity = int(text) * unit if unit is not None and re.fullmatch(r"\d{1,20}", text, re.ASCII) else None
    if capacity is None and f"{OVF}capacity" in element.attrib:
        remedy = "give the virtual size as a plain number of bytes; `qemu-img info` shows it"
        seen = f'capacity="{text[:40]}" capacityAllocationUnits="{name[:40]}"'
        faults.add("PKG-010", element, "a capacity that is a number, in a unit of bytes", seen, remedy)
    return Disk(
        element.get(f"{OVF}diskId", ""), element.get(f"{OVF}fileRef", ""), capacity, element.get(f"{OVF}format", ""),
        element.get(f"{OVF}parentRef", ""), where,
    )  # fmt: skip


def _judge_disk(
    element: etree._Element, disk: Disk, file: Reference | None, profile: Profile, faults: Collector
) -> None:
    def fault(expected: str, seen: str, remedy: str) -> None:
        faults.add("PKG-010", element, expected, seen, remedy)

    if disk.parent_ref:
        fault("no parentRef (profile)", f'"{disk.parent_ref}"', "deliver one flat image: `qemu-img convert` makes it")
    if disk.format.partition("#")[0] not in profile["package.qcow2_uris"]:
        fault(
            "a qcow2 format URI of the profile",
            f'"{disk.format}"' if disk.format else "no ovf:format",
            f'write ovf:format="{profile["package.qcow2_uris"][0]}", and deliver qcow2',
        )
    if file is None and element.getroottree().getroot().find(f"{OVF}References") is None:
        return  # DSC-001
    if file is None:
        seen = f'"{disk.file_ref}"' if disk.file_ref else "no ovf:fileRef"
        fault("ovf:fileRef with the id of a File", seen, "refer to the image's File in References")
    elif file.size is None:
        fault("ovf:size on the image's File (profile)", "none", "give the file's size in bytes there")
    limit = profile["resources.disk_capacity_max_gib"]
    if disk.capacity_bytes is not None and disk.capacity_bytes > limit * _GIB:
        seen = f"{disk.capacity_bytes / _GIB:.2f} GiB ({disk.capacity_bytes} bytes)"
        remedy = "make a smaller disk; a USTAR member ends at 8 GiB - 1 anyway"
        faults.add("RES-003", element, f"a disk of at most {limit} GiB", seen, remedy)
