"""Findings in the package's own words: commands with its names, so that they can be typed as they stand (readers of
single parts know no more than NAME and IMAGE), and places with their byte of the archive."""

import re
from collections.abc import Callable
from dataclasses import replace

from conformance.package import Package
from conformance.package.commands import WITHOUT_ACL
from conformance.package.header import ACL_PATH
from conformance.verdict import Finding, Outcome

_NAME = re.compile(r"\bNAME(?=\.(?:ova|ovf|mf|cert)\b)")
_SAFE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")  # what a shell takes as it stands
_FILES = f"IMAGE.qcow2 {ACL_PATH}"
_PARTS = re.compile(r"package:(.+)@(\d+)")
REBUILT = "; then build it anew: ./racs build-ova"
"""The end of the remedy for what is in a file whose digest the manifest has."""


def with_names(outcome: Outcome, package: Package) -> Outcome:
    """An outcome whose findings name descriptor, image and ACL as they are; what is not known stays open."""
    told = (replace(one, where=_where(one, package), remedy=_remedy(one, package)) for one in outcome.findings)
    return replace(outcome, findings=tuple(told)) if outcome.findings else outcome


def _where(finding: Finding, package: Package) -> str:
    """A member's byte with that of the archive beside it: who looks with a hex editor has the OVA."""
    found = _PARTS.fullmatch(finding.evidence[0]) if finding.evidence else None
    member = next((one for one in package.archive.members if found and one.name == found[1]), None)
    if found is None or member is None:
        return finding.where
    place = re.compile(rf"({re.escape(member.name)}, (?:line \d+ \()?byte {found[2]}\b)")
    return place.sub(rf"\1, {member.offset + int(found[2])} of the archive", finding.where, count=1)


def _remedy(finding: Finding, package: Package) -> str:
    edited = finding.where.startswith(("descriptor, ", f"{ACL_PATH}, "))  # whose digest the manifest has
    remedy = finding.remedy
    if edited and remedy and "build-ova" not in remedy:
        remedy += REBUILT
    descriptors = _files(package, lambda name: name.endswith(".ovf"))
    if len(descriptors) == 1:
        remedy = _NAME.sub(descriptors[0].removesuffix(".ovf"), remedy)
    if package.uses_bus:
        remedy = remedy.replace(WITHOUT_ACL, "")
    elif _known(package):
        remedy = remedy.replace(WITHOUT_ACL, "").replace(f" {ACL_PATH}; do", "; do")
        remedy = remedy.replace(_FILES, "IMAGE.qcow2")
    return remedy.replace(_FILES, _ordered(package)).replace("IMAGE.qcow2", _image(package))


def _known(package: Package) -> bool:
    return bool(package.descriptor and package.descriptor.usable and not package.archive.stopped_by)


def _ordered(package: Package) -> str:
    """Image and ACL in the order of References, which tar has to keep."""
    hrefs = [one.href for one in package.descriptor.references] if package.descriptor else []
    return f"{ACL_PATH} IMAGE.qcow2" if hrefs[:1] == [ACL_PATH] else _FILES


def _image(package: Package) -> str:
    """The image's name; where it is not there the one that the descriptor's disk refers to; where the descriptor is not
    there either that of the only other file."""
    if package.image:
        return package.image.name
    disks = {disk.file_ref for disk in package.descriptor.disks} if package.descriptor else set()
    hrefs = [one.href for one in package.descriptor.references if one.id in disks] if package.descriptor else []
    names = hrefs or _files(package, lambda name: not name.endswith((".ovf", ".mf", ".cert", ".xml")))
    return names[0] if len(names) == 1 and _SAFE.fullmatch(names[0]) else "IMAGE.qcow2"


def _files(package: Package, wanted: Callable[[str], bool]) -> list[str]:
    """Names, without their paths, of members that can stand in a command, whatever else is wrong with them."""
    names = {one.base_name: None for one in package.archive.members if wanted(one.base_name)}
    return [name for name in names if _SAFE.fullmatch(name)]
