"""From evidence to verdicts: runs a check and lets the host's disturbances withdraw what it cannot stand for. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from conformance.catalogue import Catalogue, Requirement
from conformance.certification import Judgement
from conformance.checks import package_check, trace_check
from conformance.errors import EnvironmentFault
from conformance.package.header import ACL_PATH
from conformance.profile import Profile
from conformance.trace import Trace, describe_end
from conformance.verdict import Outcome, Verdict, few, lab_gave_up, merge, not_applicable, not_judged, settle

if TYPE_CHECKING:
    from conformance.package import Package
    from conformance.package.certificate import Trust


def judge_trace(requirement: Requirement, trace: Trace, profile: Profile) -> Outcome:
    """The verdict of one requirement of scope "run" over a trace; the profile is scaled here."""
    check = trace_check(requirement.id)
    if check is None:
        return not_judged("it has no check in this version of the suite")
    if not requirement.applies_to(trace.application):
        return not_applicable(_why_not(requirement))
    for event in trace.everywhere("process-died", "lab-fault"):
        return lab_gave_up(f"{describe_end(event)}, {event.reference}")
    try:
        return settle(check(trace, profile.for_accelerator(trace.accelerator)), trace.disturbances)
    except EnvironmentFault as fault:
        return lab_gave_up(str(fault))


def judge_package(requirement: Requirement, package: "Package", profile: Profile, trust: "Trust") -> Outcome:
    """The verdict of one requirement of scope "package"."""
    from conformance.checks.remedies import with_names  # only who judges a package pays for its readers

    check = package_check(requirement.id)
    if check is None:
        return not_judged("it has no check in this version of the suite")
    if package.application is not None and not requirement.applies_to(package.application):
        return not_applicable(_why_not(requirement))
    outcome = with_names(check(package, profile, trust), package)
    return (
        replace(outcome, evidence=_looked_at(requirement.id, package)) if outcome.verdict is Verdict.PASS else outcome
    )


_INSIDE_THE_IMAGE = ("PKG-011", "IMG-001", "IMG-002", "IMG-003", "IMG-004", "IMG-005")
# The ends of the names of the members that a check looks at; the descriptor where nothing is said, "" for all members.
_MEMBERS: Mapping[str, tuple[str, ...]] = {
    **dict.fromkeys(("PKG-001", "PKG-002", "PKG-003", "PKG-005", "PKG-015"), ("",)),
    "PKG-004": (".mf",),
    "PKG-006": (".mf", ".cert"),
    **dict.fromkeys(("PKG-007", "PKG-008", "PKG-009"), (".cert",)),
    **dict.fromkeys(_INSIDE_THE_IMAGE, ()),
    **dict.fromkeys(("PKG-012", "PKG-013", "PKG-014"), (ACL_PATH,)),
}
_OF_THE_IMAGE = ("PKG-010", *_INSIDE_THE_IMAGE)


def _looked_at(requirement: str, package: "Package") -> tuple[str, ...]:
    ends = _MEMBERS.get(requirement, (".ovf",))
    names = [member.name for member in package.archive.members if member.name.endswith(ends)]
    if requirement in _OF_THE_IMAGE and package.image:
        names.append(package.image.name)
    return few(f"package:{name}@0" for name in names)


def _why_not(requirement: Requirement) -> str:
    return {
        "mqtt": "the app does not use the bus",
        "off-bus": "the app uses the bus",
        "transparent": "the app is not transparent",
        "terminating": "the app is not terminating",
        "forwarding": "the app declares no port forwarding",
        "features": "the app declares no features",
        "drill": "the app supports no hang drill",
    }.get(requirement.when, "")


@dataclass
class Ledger:
    """What has been judged so far, id by id: outcomes in the order in which they came, seconds and items.

    in_scope are the ids that this call was asked for; None for all.
    """

    catalogue: Catalogue
    in_scope: frozenset[str] | None = None
    outcomes: dict[str, list[Outcome]] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    tests: dict[str, list[str]] = field(default_factory=dict)

    def add(self, requirement: str, outcome: Outcome, test: str = "", seconds: float = 0.0) -> None:
        self.outcomes.setdefault(requirement, []).append(outcome)
        self.seconds[requirement] = self.seconds.get(requirement, 0.0) + seconds
        if test:
            self.tests.setdefault(requirement, []).append(test)

    def judgements(self, missing: str) -> tuple[Judgement, ...]:
        """All of the catalogue; missing is the reason for those in force and in scope that nothing judged."""
        return tuple(self._judgement(requirement, missing) for requirement in self.catalogue.requirements.values())

    def _judgement(self, requirement: Requirement, missing: str) -> Judgement:
        outcomes: Sequence[Outcome] = self.outcomes.get(requirement.id, ())
        in_scope = self.in_scope is None or requirement.id in self.in_scope
        if outcomes:
            outcome = merge(outcomes)
        elif not requirement.in_force:
            outcome = not_judged("a draft: not in force in this version of the suite")
        else:
            outcome = not_judged(missing if in_scope else "not in the scope of this call")
        return Judgement(
            id=requirement.id,
            title=requirement.title,
            level=requirement.level,
            subject=requirement.subject,
            source=" ".join(filter(None, (requirement.source, requirement.clause))),
            what=requirement.what,
            in_force=requirement.in_force,
            in_scope=in_scope,
            verdict=outcome.verdict,
            reason=outcome.reason,
            remedy=requirement.remedy if outcome.verdict is Verdict.FAIL else "",
            findings=outcome.findings,
            seconds=round(self.seconds.get(requirement.id, 0.0), 3),
            tests=tuple(self.tests.get(requirement.id, ())),
            evidence=outcome.evidence,
        )


# What a lab is built from, and what is wrong where one of these did not pass; what else fails is booted all the same.
_VOUCHED_FOR: Mapping[str, tuple[str, ...]] = {
    "the package cannot be trusted": (
        "PKG-001", "PKG-002", "PKG-003", "PKG-004", "PKG-005", "PKG-006", "PKG-007", "PKG-008", "PKG-010", "PKG-011",
        "PKG-015",
    ),
    "the descriptor does not say what the app is": ("DSC-001", "DSC-002", "DSC-003"),
    "the descriptor contradicts itself": ("DSC-004", "DSC-007", "DSC-008", "DSC-010", "DSC-014"),
    "its offload rules cannot be carried out": ("DSC-005",),
    "auth/acl.xml does not say what the app may do on the bus": ("PKG-012",),
}  # fmt: skip
_HARMLESS = (Verdict.PASS, Verdict.NOT_APPLICABLE)


def not_bootable(outcomes: Mapping[str, Outcome]) -> str:
    """Why a package must not be booted, with the ids that say so; "" when it may be.

    Where nothing of that failed, but something could not be judged, the package is not booted either.
    """
    open_ = {identity for identity, outcome in outcomes.items() if outcome.verdict not in _HARMLESS}
    failed = {identity for identity in open_ if outcomes[identity].verdict is Verdict.FAIL}
    for broken in (failed, open_):
        found = {why: [one for one in ids if one in broken] for why, ids in _VOUCHED_FOR.items()}
        reasons = [f"{why} ({', '.join(ids)})" for why, ids in found.items() if ids]
        if reasons:
            return f"{', '.join(reasons)}: nothing of it was booted"
    return ""
