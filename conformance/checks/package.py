"""The checks of a package's PKG ids: archive, ACL and bounds here, the rest from their modules, in one table."""

from collections.abc import Callable, Mapping

from conformance.checks import contents, image, signature
from conformance.checks.contents import acl_doubt, members_doubt, of_member, references_doubt, settled
from conformance.package import Package
from conformance.package.certificate import Trust
from conformance.package.commands import LIST
from conformance.package.header import ACL_PATH
from conformance.profile import Profile
from conformance.verdict import Finding, Outcome, counted, not_applicable, not_judged

_MEND_ACL = (
    f'keep the access list at {ACL_PATH}, with a File of References, and application="THE ID" in its acl element; '
    f"then {LIST}"
)


def _check_archive(package: Package, profile: Profile, trust: Trust) -> Outcome:
    """PKG-001: the archive, header by header."""
    archive = package.archive
    doubt = members_doubt(package) if archive.stopped_by else ""
    return settled(
        package.findings("PKG-001"), doubt, f"{counted(len(archive.members), 'member')} in {archive.size} bytes"
    )


def _check_bounds(package: Package, profile: Profile, trust: Trust) -> Outcome:
    """PKG-015: nothing exceeds what a platform has to read."""
    doubt = members_doubt(package) if package.archive.stopped_by else ""
    return settled(package.findings("PKG-015"), doubt, "all parts are within the profile's bounds")


def _off_bus(package: Package) -> Outcome | None:
    """The outcome of the ACL's checks where there is no ACL to judge; None where there is."""
    if not package.uses_bus:
        doubt = members_doubt(package) or references_doubt(package)
        return not_judged(doubt) if doubt else not_applicable(f"no {ACL_PATH}: the app does not use the bus")
    return None


def _check_acl(package: Package, profile: Profile, trust: Trust) -> Outcome:
    """PKG-012: the ACL is where it belongs, well formed, and this application's."""
    off_bus = _off_bus(package)
    if off_bus:
        return off_bus
    findings = [*_elsewhere(package), *package.findings("PKG-012")]
    application = package.application
    if application and package.acl and package.acl.application not in ("", application.id):
        expected = f"application={application.id!r}, the descriptor's id"
        remedy = f'write application="{application.id}" in the acl element, and its topics below that id; then {LIST}'
        findings.append(Finding(expected, package.acl.application[:40], package.acl.where, remedy))
    return settled(findings, acl_doubt(package), f"{ACL_PATH} is this application's")


def _elsewhere(package: Package) -> list[Finding]:
    """A file of the ACL's base name in another place, told at the member, or at its File where it is no member."""
    expected = f"the access list at {ACL_PATH}"
    references = package.descriptor.references if package.descriptor else ()
    found: dict[str, Finding] = {}
    for member in package.archive.members:
        if _is_elsewhere(member.name):
            found.setdefault(member.name, of_member(expected, f"{member.name[:80]!a}", member, _MEND_ACL))
    for reference in references:
        if _is_elsewhere(reference.href):
            finding = Finding(expected, f"{reference.href[:80]!a}", reference.where, _MEND_ACL)
            found.setdefault(reference.href, finding)
    return list(found.values())


def _is_elsewhere(name: str) -> bool:
    """./auth/acl.xml is the right place by a name that PKG-001 refuses."""
    return name.rpartition("/")[2] == ACL_PATH.rpartition("/")[2] and name.removeprefix("./") != ACL_PATH


def _check_grants(requirement: str) -> Callable[[Package, Profile, Trust], Outcome]:
    """PKG-013 and PKG-014, which the ACL's reader judges rule by rule."""

    def check(package: Package, profile: Profile, trust: Trust) -> Outcome:
        off_bus = _off_bus(package)
        if off_bus:
            return off_bus
        count = len(package.acl.permissions) if package.acl else 0
        return settled(package.findings(requirement), acl_doubt(package), counted(count, "grant"))

    return check


CHECKS: Mapping[str, Callable[[Package, Profile, Trust], Outcome]] = {
    "PKG-001": _check_archive,
    "PKG-002": contents.check_order,
    "PKG-003": contents.check_set,
    "PKG-004": contents.check_manifest,
    "PKG-005": contents.check_digests,
    "PKG-006": signature.check_signature,
    "PKG-007": signature.check_chain,
    "PKG-008": signature.check_strength,
    "PKG-009": signature.check_validity_left,
    "PKG-010": image.check_declaration,
    "PKG-011": image.check_image,
    "PKG-012": _check_acl,
    "PKG-013": _check_grants("PKG-013"),
    "PKG-014": _check_grants("PKG-014"),
    "PKG-015": _check_bounds,
}
