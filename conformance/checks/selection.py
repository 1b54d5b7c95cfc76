"""DSC-005 and DSC-006: what the offload rules of a transparent app select, known without a packet."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from ipaddress import IPv4Network, ip_network

from conformance.application import Application, Direction, Rule
from conformance.profile import Profile
from conformance.rules import relations, review
from conformance.rules.boxes import Budget
from conformance.rules.expression import Membership
from conformance.rules.remark import Remark
from conformance.verdict import Finding, Outcome, counted, failed, inconclusive, not_judged, passed

_REMARKS_VALUES_MAX = 80_000  # what remarks may cost: a third of what the verdict may
_INTRICATE = "the rules are too intricate to be told what they select: use fewer comparisons, or ranges and sets"


def judge_selection(application: Application, profile: Profile) -> Outcome:
    """DSC-005 for rules that parse: each can select some IPv4 packet, and together they do not select all."""
    judged = _judged(application.rules)
    if judged.findings:
        return failed(judged.findings)
    if judged.undecided:
        return inconclusive(_INTRICATE)
    seen = f"{counted(len(application.rules), 'rule')}, each with packets to select, none for all"
    return passed("; ".join([seen, *_suspicions(application)]))


def judge_symmetry(application: Application, profile: Profile) -> Outcome:
    """DSC-006: the answer to a selected packet is selected too, either way, for flows between a UE and any server."""
    if not relations.comparable(application.rules):
        return not_judged("a rule looks at dscp or length, which an answer need not share with its question")
    remarks = relations.review_symmetry(application.rules, users(profile))
    findings = [_finding(remark, "descriptor") for remark in remarks if remark.kind == "asymmetric"]
    if findings and _judged(application.rules).findings:  # of these the asymmetry is but the echo
        return not_judged("a rule that selects nothing or everything has no answers to compare (DSC-005)")
    if findings:
        return failed(findings)
    return inconclusive(_INTRICATE) if remarks else passed("the answer to every selected packet is selected too")


@dataclass(frozen=True, slots=True)
class _Judged:
    findings: tuple[Finding, ...]
    undecided: bool


@lru_cache(maxsize=1)  # both requirements ask for it
def _judged(rules: tuple[Rule, ...]) -> _Judged:
    """What fails DSC-005, and whether some of it could not be told."""
    budget, findings, undecided = Budget(), list[Finding](), False
    alone = set[Direction]()
    for rule in rules:
        for remark in review.judge_rule(rule.text, budget):
            undecided |= remark.kind == "undecided"
            if remark.broken:
                findings.append(_finding(remark, f"descriptor, rule {rule.name!r} {rule.direction}"))
            if remark.kind == "matches everything":
                alone.add(rule.direction)
    for remark in relations.judge_together([rule for rule in rules if rule.direction not in alone], budget):
        undecided |= remark.kind == "undecided"
        if remark.broken:
            findings.append(_finding(remark, "descriptor"))
    return _Judged(tuple(findings), undecided)


def users(profile: Profile) -> Membership:
    """A packet from a UE, by the profile's IPv4 networks of UEs."""
    return Membership(
        "src_ip", tuple(net for text in profile["network.ues"] if isinstance(net := ip_network(text), IPv4Network))
    )


def _suspicions(application: Application) -> Iterator[str]:
    """What is no fault, and yet seldom meant: a remark to a pass."""
    budget = Budget(_REMARKS_VALUES_MAX)
    remarks = [one for rule in application.rules for one in review.review_rule(rule.text, budget)]
    remarks += relations.review_overlaps(application.rules, budget)
    told = [one.seen for one in remarks if one.kind != "undecided"]
    if told:
        more = f" (and {len(told) - 1} more: racs rule --ova)" if len(told) > 1 else ""
        yield f"no fault, but worth a look: {told[0]}{more}"


def _finding(remark: Remark, where: str) -> Finding:
    return Finding(remark.expected, remark.seen, f"{where}, {remark.where}", remark.remedy)
