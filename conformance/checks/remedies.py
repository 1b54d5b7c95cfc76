"""Remedies with the package's own names, so that they can be typed as they stand: readers of single parts know no more
than NAME and IMAGE."""

import re
from dataclasses import replace

from conformance.package import Package
from conformance.package.header import ACL_PATH, WITHOUT_ACL
from conformance.verdict import Outcome

_NAME = re.compile(r"\bNAME(?=\.(?:ova|ovf|mf|cert)\b)")


def with_names(outcome: Outcome, package: Package) -> Outcome:
    """An outcome whose findings' remedies name descriptor, image and ACL as they are; what is not known stays open."""
    if not any(finding.remedy for finding in outcome.findings):
        return outcome
    told = (replace(finding, remedy=_fill(finding.remedy, package)) for finding in outcome.findings)
    return replace(outcome, findings=tuple(told))


def _fill(remedy: str, package: Package) -> str:
    descriptor = package.archive.sole(".ovf")
    if descriptor is not None:
        remedy = _NAME.sub(descriptor.name.removesuffix(".ovf"), remedy)
    if package.image is not None:
        remedy = remedy.replace("IMAGE.qcow2", package.image.name)
    if package.uses_bus:
        return remedy.replace(WITHOUT_ACL, "")
    if package.descriptor is None or not package.descriptor.usable or package.archive.stopped_by:
        return remedy
    return remedy.replace(f" {ACL_PATH}{WITHOUT_ACL}", "").replace(f" {ACL_PATH}; do", "; do")
