"""A delivered package, opened once: every part that could be read, and what is wrong with the rest (contract 1)."""

import os
import stat
from collections.abc import Iterable
from dataclasses import dataclass, replace
from errno import EINVAL
from pathlib import Path
from typing import TYPE_CHECKING

from conformance.package.archive import Archive, Digest, Member
from conformance.package.archive import read as read_archive
from conformance.package.header import ACL_PATH
from conformance.profile import Profile

if TYPE_CHECKING:
    from cryptography.x509 import Certificate

    from conformance.application import Application
    from conformance.inspection import Inspection
    from conformance.package.acl import AccessList
    from conformance.package.certificate import CertificateFile, Signature
    from conformance.package.descriptor import Descriptor
    from conformance.package.fault import Fault
    from conformance.package.image import Image
    from conformance.package.manifest import Manifest
    from conformance.package.qcow2 import Header
    from conformance.verdict import Finding


@dataclass(frozen=True, slots=True)
class ImageSlice:
    """Where the disk image stands in the OVA, in bytes."""

    name: str
    offset: int
    size: int


@dataclass(frozen=True)
class Package:
    """What was delivered. A part is None where the package has not exactly one, or one within bounds; a part that is
    broken is there with its faults. sha256 and size are those of the whole file."""

    path: Path
    archive: Archive
    manifest: "Manifest | None"
    certificate: "CertificateFile | None"
    descriptor: "Descriptor | None"
    acl: "AccessList | None"
    image: ImageSlice | None
    disk: "Image | None"
    inspection: "Inspection | None" = None
    """What a look into the image saw; None where nobody looked (harness.inspection.look.look_inside)."""

    @property
    def sha256(self) -> str:
        return self.archive.sha256

    @property
    def size(self) -> int:
        return self.archive.size

    @property
    def certificates(self) -> "tuple[Certificate, ...]":
        """The delivered certificates that could be read, the leaf first."""
        return self.certificate.certificates if self.certificate else ()

    @property
    def signature(self) -> "Signature | None":
        return self.certificate.signature if self.certificate else None

    @property
    def header(self) -> "Header | None":
        """The image's qcow2 header."""
        return self.disk.header if self.disk else None

    @property
    def faults(self) -> "tuple[Fault, ...]":
        """What the readers found in each part by itself, in the order of the package. How parts fit together, and what
        hangs on trust, is for the checks."""
        parts = (self.archive, self.descriptor, self.manifest, self.certificate, self.disk, self.acl)
        return tuple(fault for part in parts if part for fault in part.faults)

    def findings(self, requirement: str) -> "tuple[Finding, ...]":
        """What the readers found against one requirement."""
        return tuple(fault.finding for fault in self.faults if fault.requirement == requirement)

    @property
    def uses_bus(self) -> bool:
        """Contract 1: auth/acl.xml is there, or a file of that base name is, or is referenced, anywhere."""
        base_name = ACL_PATH.rpartition("/")[2]
        references = self.descriptor.references if self.descriptor else ()
        return any(member.base_name == base_name for member in self.archive.members) or any(
            reference.href.rpartition("/")[2] == base_name for reference in references
        )

    @property
    def application(self) -> "Application | None":
        """What the app declares, its ACL joined; None where the descriptor is too broken to tell."""
        declared = self.descriptor.application if self.descriptor else None
        if declared is None or not self.uses_bus:
            return declared
        return replace(declared, acl=self.acl.permissions if self.acl else ())


def open_package(path: Path, profile: Profile, whole: Digest | None = None) -> Package:
    """Read the file once, in sequence; only the tables of its image are looked up again. Nothing is unpacked. whole
    takes the digest of the whole file: one that works beside the reading halves the time of a large package.

    Raises OSError where it cannot be opened or read or is no file; whatever else is wrong becomes faults.
    """
    # What only some callers need is imported here: lxml and cryptography take longer than many a package.
    from conformance.package import acl, certificate, descriptor, image, manifest
    from conformance.package.qcow2 import View

    if not stat.S_ISREG(path.stat().st_mode):  # before it is opened: opening a FIFO waits
        raise OSError(EINVAL, "no regular file", str(path))
    with path.open("rb", buffering=0) as file:
        archive = read_archive(file, profile, whole)
        declared = _content(archive.sole(".ovf"))
        described = descriptor.read(declared, profile) if declared is not None else None
        slice_ = _image(archive, described)
        disk = None
        if slice_:
            begin, size, number = slice_.offset, slice_.size, file.fileno()
            view = View(
                slice_.name, size, lambda at, count: os.pread(number, max(0, min(count, size - at)), begin + at)
            )
            disk = image.read(view)
    listed, signed, granted = (archive.sole(suffix) for suffix in (".mf", ".cert", ACL_PATH))
    return Package(
        path,
        archive,
        manifest.read(listed.content, listed.name) if listed and listed.content is not None else None,
        certificate.read(signed.content, signed.name, profile) if signed and signed.content is not None else None,
        described,
        acl.read(granted.content, profile) if granted and granted.content is not None else None,
        slice_,
        disk,
    )


def _content(member: Member | None) -> bytes | None:
    return member.content if member else None


def _image(archive: Archive, described: "Descriptor | None") -> ImageSlice | None:
    """The image's place: the file of the descriptor's disk, or where that cannot be told the one file that is left."""
    hrefs: Iterable[str] = ()
    if described:
        files = {reference.id: reference.href for reference in reversed(described.references)}  # the first of an id
        hrefs = {files[disk.file_ref] for disk in described.disks if disk.file_ref in files}
    found = [member for member in archive.members if member.proper and member.name in hrefs]
    others = (".ovf", ".mf", ".cert", ACL_PATH)
    found = found or [member for member in archive.members if member.proper and not member.name.endswith(others)]
    return ImageSlice(found[0].name, found[0].offset, found[0].size) if len(found) == 1 else None
