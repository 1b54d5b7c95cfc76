"""The checks of a package's DSC and RES ids. The reader of the descriptor finds the defects; what is left to say here
is whether a requirement applies, whether there was enough to tell, and what hangs on more than the descriptor."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial

from conformance.application import Access, Application
from conformance.checks.contents import absence, acl_doubt
from conformance.package import Package, acl
from conformance.package.certificate import Trust
from conformance.profile import Profile
from conformance.verdict import Finding, Outcome, Verdict, counted, failed, not_applicable, not_judged, passed

Check = Callable[[Package, Profile, Trust], Outcome]

_GIB = 2**30
_NEED_CAPACITY = ("DSC-009", "RES-003")


def _doubt(package: Package) -> str:
    """Why the descriptor's content cannot be relied on; "" where it can."""
    if package.descriptor is None:
        return absence(package, ".ovf")
    if not package.descriptor.usable:
        owners = sorted({fault.requirement for fault in package.descriptor.faults})
        return f"the descriptor could not be read ({', '.join(owners)})"
    if package.findings("DSC-001"):
        return "the descriptor is not valid, so it may not say what it seems to (DSC-001)"
    if package.descriptor.application is None:
        return "the descriptor has no readable hardware and application section (DSC-002, DSC-003)"
    return ""


def _check_structure(package: Package, profile: Profile, trust: Trust) -> Outcome:
    """DSC-001: an OVF 2.0 envelope, valid by the schemas."""
    findings = package.findings("DSC-001")
    if findings:
        return failed(findings)
    if package.descriptor is None or not package.descriptor.usable:
        return not_judged(_doubt(package))
    return passed("a valid OVF 2.0 envelope with a valid application section")


def _check_sections(package: Package, profile: Profile, trust: Trust) -> Outcome:
    """DSC-002: the sections, as far as there is an envelope."""
    findings = package.findings("DSC-002")
    if findings:
        return failed(findings)
    if package.descriptor is None or not package.descriptor.usable:
        return not_judged(_doubt(package))
    return passed("one VirtualSystem, one VirtualHardwareSection, one application section, none that is not understood")


def _check(
    requirement: str,
    reason: Callable[[Application], str],
    applies: Callable[[Application], str],
    package: Package,
    profile: Profile,
    trust: Trust,
) -> Outcome:
    """What the reader found against requirement; reason is what a pass has seen, applies says why not, or ""."""
    findings = package.findings(requirement)
    if findings:
        return failed(findings)
    application = package.application
    doubt = _doubt(package)
    if doubt or application is None:
        return not_judged(doubt)
    if requirement in _NEED_CAPACITY and not application.disk_capacity_bytes:
        return not_judged("the disk's capacity is not known (PKG-010, PKG-011)")
    beside = applies(application)
    return not_applicable(beside) if beside else passed(reason(application))


def _always(application: Application) -> str:
    return ""


def _type(wanted: str) -> Callable[[Application], str]:
    return lambda application: "" if application.type == wanted else f"the app is {application.type}"


def _features(package: Package, profile: Profile, trust: Trust) -> Outcome:
    """DSC-010: what the descriptor says of features, and that the ACL lets AFM reach them."""
    judged = _check(
        "DSC-010", lambda app: counted(len(app.features), "feature"), _has_features, package, profile, trust
    )
    application = package.application
    if application is None or not application.features or judged.verdict not in (Verdict.PASS, Verdict.FAIL):
        return judged
    needs: tuple[tuple[Access, str], ...] = (
        ("subscribe", f"racs/app/{application.id}/properties"),
        ("publish", f"app/{application.id}/features"),
    )
    doubt = acl_doubt(package)
    if package.acl and package.acl.application != application.id:
        doubt = doubt or f"{acl.PATH} is another application's (PKG-012)"
    if doubt:
        return judged if judged.findings else not_judged(doubt)
    granted = application.acl or ()
    where = package.acl.where.replace("/@application", "") if package.acl else _part("Features", package)
    findings = [
        Finding(
            f'an app with features has <allow access="{access}" topic="{topic}"/>', "no rule that allows it", where,
            "add the rule to auth/acl.xml, and the file to the package: AFM switches features over the bus",
        )
        for access, topic in needs
        if acl.decide(granted, access, topic) is None
    ]  # fmt: skip
    return failed((*judged.findings, *findings)) if findings else judged


def _rules(
    requirement: str,
    judge: Callable[[Application, Profile], Outcome],
    package: Package,
    profile: Profile,
    trust: Trust,
) -> Outcome:
    """DSC-005 and DSC-006: what the rules select, once the reader has no fault with them."""
    judged = _check(requirement, lambda app: "", _type("transparent"), package, profile, trust)
    application = package.application
    if application is None or judged.verdict is not Verdict.PASS:
        return judged
    if package.findings("DSC-005") or package.findings("PKG-015"):
        return not_judged("the rules could not all be read (DSC-005, PKG-015)")
    told = judge(application, profile)
    return replace(told, findings=tuple(_placed(finding, package) for finding in told.findings))


def _placed(finding: Finding, package: Package) -> Finding:
    """What is said of several rules together stands at their section."""
    where = _part("Offload", package) + finding.where.removeprefix("descriptor")
    return replace(finding, where=where) if finding.where.startswith("descriptor, rules ") else finding


def _part(name: str, package: Package) -> str:
    """Where a part of the application section stands."""
    return package.descriptor.places.get(name, "descriptor") if package.descriptor else "descriptor"


def _selection(application: Application, profile: Profile) -> Outcome:
    from conformance.checks import selection  # lark: only packages with rules pay for its import

    return selection.judge_selection(application, profile)


def _symmetry(application: Application, profile: Profile) -> Outcome:
    from conformance.checks import selection  # as above

    return selection.judge_symmetry(application, profile)


def _has_features(application: Application) -> str:
    return "" if application.features else "the app declares no features"


def _ports(application: Application) -> str:
    return ", ".join(f"{one.protocol} {one.from_port} to {one.to_port}" for one in application.forwards)


_WITH_MORE: Mapping[str, Check] = {  # than what the reader finds
    "DSC-001": _check_structure,
    "DSC-002": _check_sections,
    "DSC-005": partial(_rules, "DSC-005", _selection),
    "DSC-006": partial(_rules, "DSC-006", _symmetry),
    "DSC-010": _features,
}
CHECKS: Mapping[str, Check] = {
    **_WITH_MORE,
    **{
        requirement: partial(_check, requirement, reason, applies)
        for requirement, reason, applies in (
            ("DSC-003", lambda app: f"{app.id}, {app.type}, {app.vendor} {app.product} {app.version}", _always),
            ("DSC-004", lambda app: f"NICs {', '.join(app.nics)}", _always),
            (
                "DSC-007",
                lambda app: f"{counted(len(app.services), 'service')} at {app.endpoints[0].fqdn}",
                _type("terminating"),
            ),
            ("DSC-008", _ports, lambda app: "" if app.forwards else "the app declares no port forwarding"),
            (
                "DSC-009",
                lambda app: f"{counted(len(app.mounts), 'mount')} on {app.disk_capacity_bytes / _GIB:g} GiB",
                _always,
            ),
            ("DSC-011", lambda app: "a guest system of the Red Hat family", _always),
            ("DSC-012", lambda app: "no device outside the profile's set", _always),
            ("DSC-013", lambda app: "ovf:transport has iso", _always),
            (
                "DSC-014",
                lambda app: f"a beat each {app.heartbeat_interval_s:g} s, {counted(len(app.allows), 'Allow')}",
                _always,
            ),
            ("RES-001", lambda app: f"{app.cpus} CPU", _always),
            ("RES-002", lambda app: f"{app.memory_mib} MiB", _always),
            ("RES-003", lambda app: f"{app.disk_capacity_bytes / _GIB:g} GiB", _always),
        )
    },
}
