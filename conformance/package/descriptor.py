"""The OVF descriptor: one reading of it, with every defect under the requirement that owns it.

parse within bounds -> what is understood, and the schema -> hardware -> files and disk -> application
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import chain, count

from conformance.application import Application
from conformance.package.disk import Disk, Reference
from conformance.package.fault import Fault
from conformance.profile import Profile


@dataclass(frozen=True, slots=True)
class Descriptor:
    """A descriptor as read.

    faults are of DSC-001 to 014, RES-001 to 003, PKG-010 (what the descriptor alone tells) and PKG-015. references and
    disks are in document order. application has no acl; it is None where id, type, hardware or its section is missing.
    usable is False where nothing else of the descriptor can be judged: it is no XML, no OVF 2, or no virtual system.
    """

    faults: tuple[Fault, ...]
    references: tuple[Reference, ...] = ()
    disks: tuple[Disk, ...] = ()
    application: Application | None = None
    usable: bool = False
    prefix: str = "ovf"
    """The document's own for the namespace of OVF, for texts that are to be pasted into it."""

    places: Mapping[str, str] = field(default_factory=dict)
    """Where the parts of the application section stand, by local name, for findings about a part as a whole."""

    def file_element(self, identity: str, href: str) -> str:
        """A File to be pasted into its References; identity gets a number where another File has it."""
        taken = {reference.id for reference in self.references}
        names = chain([identity], (f"{identity}-{number}" for number in count(2)))
        free = next(name for name in names if name not in taken)
        return f'<{self.prefix}:File {self.prefix}:id="{free}" {self.prefix}:href="{href}"/>'


def read(data: bytes, profile: Profile) -> Descriptor:
    """Read the bytes of an .ovf; bad content becomes faults and is never raised."""
    # lxml: only who reads a package pays for its import
    from conformance.package import document
    from conformance.package.descriptor_application import read_application
    from conformance.package.descriptor_disk import read_disks, read_references
    from conformance.package.descriptor_envelope import NAME, OVF, RACS, open_envelope
    from conformance.package.descriptor_hardware import KINDS, read_hardware

    parsed = document.parse(data, profile, NAME, "DSC-001")
    if parsed.root is None:
        return Descriptor(parsed.faults)
    faults = document.Collector(NAME)
    envelope = open_envelope(parsed.root, KINDS, faults)
    if envelope is None:
        return Descriptor(faults.faults)
    hardware = read_hardware(envelope, profile, faults)
    references = read_references(envelope, faults)
    disks = read_disks(envelope, references, hardware.drives, profile, faults)
    capacity = disks[0].capacity_bytes if len(disks) == 1 else None
    application = read_application(envelope, hardware, capacity, profile, faults)
    prefix = next((name for name, uri in parsed.root.nsmap.items() if name and f"{{{uri}}}" == OVF), "ovf")
    parts = envelope.application.iterfind(f"{RACS}*") if envelope.application is not None else ()
    places = {part.tag.removeprefix(RACS): document.place(NAME, part) for part in parts}
    return Descriptor(faults.faults, references, disks, application, True, prefix, places)
