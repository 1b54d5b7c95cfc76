"""PKG-010 and PKG-011: the one disk image, as the descriptor declares it and as it is (contract 1, "Image")."""

from collections.abc import Iterator

from conformance.checks.contents import members_doubt, references_doubt, settled, unreferenced_image
from conformance.package import Package
from conformance.package.certificate import Trust
from conformance.package.commands import LIST
from conformance.package.disk import Disk, Reference
from conformance.profile import Profile
from conformance.verdict import Finding, Outcome, not_judged

_FILLED = "which `./racs build-ova` fills in"


def check_declaration(package: Package, profile: Profile, trust: Trust) -> Outcome:
    """PKG-010: one disk, one image, declared as it is. What the descriptor tells alone, its reader has found."""
    descriptor = package.descriptor
    findings = [*package.findings("PKG-010")]
    for disk in descriptor.disks if descriptor else ():
        files = (
            [reference for reference in descriptor.references if reference.id == disk.file_ref] if descriptor else []
        )
        for reference in files[:1]:
            findings += _file(reference, package)
            findings += _capacity(disk, package)
    doubt = references_doubt(package)
    if package.header is None:
        doubt = doubt or members_doubt(package) or "the image's header could not be read (PKG-011)"
    size = package.header.virtual_size if package.header else 0
    return settled(findings, doubt, f"one image, a disk of {size} bytes")


def _file(reference: Reference, package: Package) -> Iterator[Finding]:
    where = reference.where
    named = unreferenced_image(package)
    members = [one for one in package.archive.members if one.proper and one.name == (named or reference.href)]
    if not members and not members_doubt(package):
        yield Finding(f"the image {reference.href[:80]!a} in the archive", "no such member", where, LIST)
    if named and reference.href:  # without an href: DSC-001
        prefix = package.descriptor.prefix if package.descriptor else "ovf"
        remedy = f'write the name as it is in the archive, {prefix}:href="{named}", no path and no URL; then {LIST}'
        yield Finding(f"an href that names the image, {named}", f"{reference.href[:80]!a}", where, remedy)
    for member in members[:1]:
        if reference.size not in (None, member.size):
            remedy = f'set ovf:size="{member.size}", or ovf:size="{{size}}", {_FILLED}; then {LIST}'
            yield Finding(f"ovf:size {member.size}, as the member is", f"{reference.size}", where, remedy)


def _capacity(disk: Disk, package: Package) -> Iterator[Finding]:
    header, declared = package.header, disk.capacity_bytes
    if header and declared is not None and declared != header.virtual_size:
        size = header.virtual_size
        remedy = f'set ovf:capacity="{size}" ovf:capacityAllocationUnits="byte"'
        remedy += f', or ovf:capacity="{{capacity}}" without a unit, {_FILLED}; then {LIST}'
        expected = f"a capacity of {size} bytes, the image's virtual size"
        yield Finding(expected, f"{declared} bytes", disk.where, remedy)


def check_image(package: Package, profile: Profile, trust: Trust) -> Outcome:
    """PKG-011: a qcow2 boot disk that stands by itself."""
    if package.disk is None:
        return not_judged(members_doubt(package) or "the archive has no image, or more than one (PKG-010, PKG-003)")
    header = package.disk.header
    reason = f"qcow2 version {header.version}, clusters of {header.cluster_size} bytes" if header else ""
    doubt = "" if header else "no header"
    return settled(package.findings("PKG-011"), doubt or _excess(package), reason)


def _excess(package: Package) -> str:
    excess = package.disk and any(fault.requirement == "PKG-015" for fault in package.disk.faults)
    return "the image's tables exceed a bound (PKG-015)" if excess else ""
