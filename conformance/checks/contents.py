"""PKG-002 to PKG-005: whether the members are the ones that belong here, in order, listed and unchanged (contract 1).

One root cause shows once. What another requirement has reported is left out here, and a check that could not look at
everything for such a reason is not judged, unless it found something of its own.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from conformance.package import Package
from conformance.package.archive import Member
from conformance.package.certificate import Trust
from conformance.package.commands import LIST, PACK, SIGN
from conformance.package.header import ACL_PATH
from conformance.package.manifest import Entry, Manifest
from conformance.profile import Profile
from conformance.verdict import Finding, Outcome, counted, failed, not_judged, passed

PARTS = (".ovf", ".mf", ".cert")
_UNLISTED = (".mf", ".cert")
_MAKE = {
    ".ovf": f"write one, as examples/goon/goon.ovf is, or an app.toml for `./racs build-ova`; then {LIST}",
    ".mf": LIST,
    ".cert": SIGN,
}


def settled(findings: Iterable[Finding], doubt: str, reason: str) -> Outcome:
    """Fail by findings; without any, not judged for a doubt, else a pass with its reason."""
    found = tuple(findings)
    if found:
        return failed(found)
    return not_judged(doubt) if doubt else passed(reason)


def members_doubt(package: Package) -> str:
    """Why the archive's members are not all known; "" when they are."""
    if package.archive.stopped_by:
        return f"the archive could not be read to its end ({package.archive.stopped_by})"
    odd = [member.name for member in package.archive.members if not member.proper]
    return f"the archive has a member that is no proper file, {odd[0]!a} (PKG-001)" if odd else ""


def references_doubt(package: Package) -> str:
    """Why the descriptor's References are not known; "" when they are."""
    if package.descriptor is None:
        return absence(package, ".ovf")
    if not package.descriptor.usable:
        owners = ", ".join(sorted({fault.requirement for fault in package.descriptor.faults}))
        return f"the descriptor could not be read ({owners})"
    named = [reference.href for reference in package.descriptor.references]
    broken = package.findings("DSC-001") and not (named and all(named))
    return "the descriptor's References are not valid (DSC-001)" if broken else ""


def acl_doubt(package: Package) -> str:
    """Why the ACL's content cannot be relied on; "" where it can, or where the app does not use the bus."""
    if package.acl is None:
        return absence(package, ACL_PATH) if package.uses_bus else ""
    if any(fault.requirement == "PKG-015" for fault in package.acl.faults):
        return f"{ACL_PATH} exceeds a bound (PKG-015)"
    return f"{ACL_PATH} is not valid (PKG-012)" if package.findings("PKG-012") else ""


def absence(package: Package, suffix: str) -> str:
    """Why there is no part of that name to judge."""
    found = package.archive.ending(suffix)
    if len(found) == 1:
        return f"{found[0].name} exceeds its bound (PKG-015)"
    what = "more than one" if found else "no"
    return (not found and members_doubt(package)) or f"there is {what} {suffix} in the archive (PKG-003)"


def check_order(package: Package, profile: Profile, trust: Trust) -> Outcome:
    """PKG-002: descriptor, manifest, certificate, then files in the order of References; one base name."""
    references = package.descriptor.references if package.descriptor else ()
    places = {href: len(PARTS) + at for at, href in enumerate(dict.fromkeys(one.href for one in references))}

    for at, suffix in enumerate(PARTS):
        for member in package.archive.ending(suffix)[:1]:  # a second one is PKG-003's
            places[member.name] = at

    known = [member for member in package.archive.members if member.proper and member.name in places]
    seen = [member.name for member in known]
    expected = sorted(seen, key=places.__getitem__)
    findings = list(_base_names(package))
    if seen != expected:
        moved = next(member for name, member in zip(expected, known, strict=True) if name != member.name)
        findings.append(of_member(f"the order {', '.join(expected)}", ", ".join(seen), moved))
    return settled(findings, members_doubt(package) or references_doubt(package), f"in order: {', '.join(seen)}")


def _base_names(package: Package) -> Iterator[Finding]:
    parts = [member for suffix in PARTS if (member := package.archive.sole(suffix))]
    stems = [member.name.rpartition(".")[0] for member in parts]
    if len(set(stems)) > 1:
        remedy = f"give .ovf, .mf and .cert one name; manifest and .cert name the others, so {LIST}"
        names = ", ".join(member.name for member in parts)
        yield of_member("one base name for .ovf, .mf and .cert", names, parts[0], remedy)


def check_set(package: Package, profile: Profile, trust: Trust) -> Outcome:
    """PKG-003: one of each part, every referenced file, and nothing else (the image: PKG-010)."""
    if package.archive.stopped_by:
        return not_judged(members_doubt(package))
    doubt = members_doubt(package)
    findings = [of_member(one.expected, one.seen, one.member, one.remedy) for one in strangers(package)]
    if not doubt:
        missing = [suffix for suffix in PARTS if not package.archive.ending(suffix)]
        findings += [Finding(f"one {suffix}", "none", _gap(suffix, package), _MAKE[suffix]) for suffix in missing]
        findings += _not_there(package)
    count = len(package.archive.members)
    return settled(
        findings, doubt or references_doubt(package), f"{counted(count, 'member')}, all of which belong here"
    )


@dataclass(frozen=True, slots=True)
class Stranger:
    """A member with a proper name that does not belong here, and why."""

    expected: str
    seen: str
    member: Member
    remedy: str


def strangers(package: Package) -> Iterator[Stranger]:
    """What PKG-003 has against members, in order."""
    for suffix in PARTS:
        found = package.archive.ending(suffix)
        for member in found[1:]:
            yield Stranger(f"one {suffix}", ", ".join(one.name for one in found), member, _leave_out(member, package))
    if package.descriptor is None or references_doubt(package):
        return
    references = package.descriptor.references
    disks = {disk.file_ref for disk in package.descriptor.disks}
    images = {reference.href for reference in references if reference.id in disks}
    referenced = {reference.href for reference in references}
    for member in package.archive.members:
        if not member.proper or member.name.endswith(PARTS) or member.name == unreferenced_image(package):
            continue
        if member.name not in referenced:
            seen = f"{member.name}, to which no File of References points"
            entry = f"add {package.descriptor.file_element('acl', ACL_PATH)} to References, and {LIST}"
            remedy = entry if member.name == ACL_PATH else _leave_out(member, package)
            yield Stranger("only files that the descriptor references", seen, member, remedy)
        elif images and member.name not in images and member.name != ACL_PATH:
            yield Stranger(
                f"the disk image and {ACL_PATH}, nothing else", member.name, member, _leave_out(member, package)
            )


def unreferenced_image(package: Package) -> str:
    """The one qcow2 file that is here where the boot disk's href is no member's name: that href is PKG-010's, and the
    file no stranger. "" where there is none."""
    if package.descriptor is None or package.image is None or package.header is None:
        return ""
    disks = {disk.file_ref for disk in package.descriptor.disks}
    hrefs = {reference.href for reference in package.descriptor.references if reference.id in disks}
    known = {member.name for member in package.archive.members}
    return package.image.name if hrefs and not hrefs & known else ""


def _gap(suffix: str, package: Package) -> str:
    """Where a part that is missing belongs: behind the parts that come before it."""
    before = [one for part in PARTS[: PARTS.index(suffix)] for one in package.archive.ending(part)]
    if not before:
        return "the archive, its beginning at byte 0"
    last = max(before, key=lambda one: one.offset)
    return f"the archive, behind {last.name}, which ends at byte {last.offset + last.size}"


def _leave_out(member: Member, package: Package) -> str:
    listed = package.manifest and any(entry.name == member.name for entry in package.manifest.entries)
    referenced = package.descriptor and any(one.href == member.name for one in package.descriptor.references)
    if listed or referenced:
        return f"delete {member.name}, and its File in References, and {LIST}"
    return f"leave {member.name} out, and {PACK}"


def _not_there(package: Package) -> Iterator[Finding]:
    """Referenced files that are missing, but for the image (PKG-010)."""
    if package.descriptor is None or references_doubt(package):
        return
    names = {member.name for member in package.archive.members}
    disks = {disk.file_ref for disk in package.descriptor.disks}
    for reference in package.descriptor.references:
        if reference.href not in names and reference.id not in disks:
            remedy = f"put the file into the archive or delete the File from References, and {LIST}"
            yield Finding(
                "every referenced file in the archive", f"no {reference.href[:80]!a}", reference.where, remedy
            )


def check_manifest(package: Package, profile: Profile, trust: Trust) -> Outcome:
    """PKG-004: the grammar, and every member but the .mf and the .cert listed once."""
    if package.manifest is None:
        return not_judged(absence(package, ".mf"))
    listed = {entry.name for entry in package.manifest.entries}
    known_strangers = {stranger.member.name for stranger in strangers(package)}
    references = package.descriptor.references if package.descriptor else ()
    gone = {reference.href for reference in references}
    told = _renamed(package)
    if not package.archive.ending(".ovf"):
        told |= {name for name in listed if name.endswith(".ovf")}  # PKG-003 has told that there is none
    members = {member.name: member for member in package.archive.members if member.proper}
    findings, dotted = list(package.findings("PKG-004")), list[Entry]()
    for entry in package.manifest.entries:
        if entry.name.endswith(_UNLISTED):
            findings.append(_of_entry("neither the .mf nor the .cert in it", entry.name, entry, package))
        elif entry.name.removeprefix("./") in members.keys() - listed:
            dotted.append(entry)
        elif entry.name not in {*members, *gone, *told} and not members_doubt(package):
            findings.append(_of_entry("files of this archive", f"{entry.name}, which is not there", entry, package))
    if dotted:
        told |= {entry.name.removeprefix("./") for entry in dotted}
        seen = dotted[0].name + (f"; so are {len(dotted) - 1} more" if dotted[1:] else "")
        findings.append(_of_entry("names as the archive has them, without ./", seen, dotted[0], package))
    for member in members.values():
        # A line that could not be read may have been this member's: its own finding is enough.
        due = not member.name.endswith(_UNLISTED) and member.name not in known_strangers | told
        if due and member.name not in listed and not package.manifest.faults:
            findings.append(of_member("every file listed in the manifest", f"no line for {member.name}", member, LIST))
    missing = [entry.name for entry in package.manifest.entries if entry.name not in members]
    owners = "PKG-002" if _renamed(package) else "PKG-003, PKG-010"
    doubt = members_doubt(package) or (f"{missing[0]} is not in the archive ({owners})" if missing else "")
    if known_strangers:
        doubt = doubt or f"{min(known_strangers)} does not belong here (PKG-003)"
    return settled(findings, doubt, f"{counted(len(listed), 'file')} listed")


def _renamed(package: Package) -> set[str]:
    """The descriptor's names in archive and manifest, where PKG-002 has told that its base name is another."""
    descriptor, entries = package.archive.sole(".ovf"), package.manifest.entries if package.manifest else ()
    listed = [entry.name for entry in entries if entry.name.endswith(".ovf")]
    if descriptor is None or descriptor.name in listed or len(listed) != 1 or not any(_base_names(package)):
        return set()
    return {descriptor.name, *listed}


def check_digests(package: Package, profile: Profile, trust: Trust) -> Outcome:
    """PKG-005: every listed digest is that of its member."""
    if package.manifest is None:
        return not_judged(absence(package, ".mf"))
    members = {one.name: one for one in package.archive.members if one.proper and not one.name.endswith(_UNLISTED)}
    pairs = [(entry, members[entry.name]) for entry in package.manifest.entries if entry.name in members]
    findings = [
        _of_entry(f"SHA-256 {member.sha256} for {member.name}", entry.sha256, entry, package)
        for entry, member in pairs
        if member.sha256 and entry.sha256 != member.sha256
    ]
    unread = next((member.name for _, member in pairs if not member.sha256), "")
    doubt = f"{unread} exceeds its bound so far that it was not read (PKG-015)" if unread else ""
    doubt = doubt or _digests_doubt(package, package.manifest, len(pairs))
    return settled(findings, doubt, f"right: {counted(len(pairs), 'digest')}")


def _digests_doubt(package: Package, manifest: Manifest, compared: int) -> str:
    if manifest.faults:
        return "the manifest has lines that could not be read (PKG-004)"
    if compared < len(manifest.entries):
        owners = "PKG-002" if _renamed(package) else "PKG-003, PKG-004, PKG-010"
        return members_doubt(package) or f"what the manifest lists is not all there ({owners})"
    return "" if compared else "the manifest lists nothing (PKG-004)"


def of_member(expected: str, seen: str, member: Member, remedy: str = PACK) -> Finding:
    """A finding about a member as a whole."""
    where = f"{member.name}, data at byte {member.offset} of the archive"
    return Finding(expected, seen, where, remedy, (f"package:{member.name}@0",))


def _of_entry(expected: str, seen: str, entry: Entry, package: Package) -> Finding:
    manifest = package.archive.sole(".mf")
    name = manifest.name if manifest else "the manifest"
    where = f"{name}, line {entry.line} (byte {entry.offset})"
    return Finding(expected, seen, where, LIST, (f"package:{name}@{entry.offset}",))
