"""Verdicts, outcomes and how they merge and settle (contract 9). Pure."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum


class Verdict(StrEnum):
    """The five verdicts of contract 9."""

    PASS = "pass"
    FAIL = "fail"
    INCONCLUSIVE = "inconclusive"
    NOT_APPLICABLE = "not applicable"
    NOT_JUDGED = "not judged"


@dataclass(frozen=True, slots=True)
class Span:
    """A stretch of monotonic time in seconds, both ends included."""

    begin: float
    end: float

    def overlaps(self, other: "Span") -> bool:
        return self.begin <= other.end and other.begin <= self.end


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong, for the app developer who has to mend it.

    evidence names what it rests on: ``trace:LINE`` (1-based line of trace.jsonl), ``capture:INTERFACE@SECONDS``
    (without seconds: all of that capture) or ``package:MEMBER@OFFSET``. span is when it was seen, for what
    a starved host can bring about; None for what it cannot (a digest, a forbidden topic). margin_s is by how many
    seconds a limit was missed; 0 where that is not a matter of seconds.
    """

    expected: str
    seen: str
    where: str = ""
    remedy: str = ""
    evidence: tuple[str, ...] = ()
    span: Span | None = None
    margin_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Outcome:
    """The verdict of one check: reason is one sentence, findings are there for a fail (and may be for a warning).

    evidence is what a pass rests on, in the words of `Finding.evidence`; a fail's findings have their own.
    """

    verdict: Verdict
    reason: str = ""
    findings: tuple[Finding, ...] = ()
    evidence: tuple[str, ...] = ()


REFERENCES_MAX = 8


def few(references: Iterable[str], most: int = REFERENCES_MAX) -> tuple[str, ...]:
    """The first and the last of many references, an even number at most: enough to look a pass up."""
    each, half = tuple(dict.fromkeys(references)), most // 2
    return each if len(each) <= most else each[:half] + each[-half:]


def counted(number: int, noun: str) -> str:
    """ "1 packet", "2 packets"."""
    return f"{number} {noun}{'' if number == 1 else 's'}"


def passed(reason: str, evidence: Iterable[str] = ()) -> Outcome:
    """A pass; the reason says what was seen, with figures: "60 beats in 60.1 s". Of the evidence a `few` are kept."""
    return Outcome(Verdict.PASS, reason, evidence=few(evidence))


def failed(findings: Iterable[Finding]) -> Outcome:
    """A fail by its findings, at least one."""
    found = tuple(findings)
    if not found:
        raise ValueError("a fail needs a finding")
    more = f" (and {len(found) - 1} more)" if len(found) > 1 else ""
    return Outcome(Verdict.FAIL, f"expected {found[0].expected}, saw {found[0].seen}{more}", found)


def inconclusive(reason: str) -> Outcome:
    """The environment could not tell, and why."""
    return Outcome(Verdict.INCONCLUSIVE, reason)


def lab_gave_up(why: str) -> Outcome:
    """The lab or its host failed the run: inconclusive, with advice, unless why has its own."""
    advice = "" if "run again" in why else "; run again, on a machine with nothing else to do"
    return inconclusive(f"{why}{advice}")


def not_applicable(reason: str) -> Outcome:
    """The requirement does not speak of this app, and why."""
    return Outcome(Verdict.NOT_APPLICABLE, reason)


def not_judged(reason: str) -> Outcome:
    """Something it needs failed before, it is out of scope or not in force, and which."""
    return Outcome(Verdict.NOT_JUDGED, reason)


@dataclass(frozen=True, slots=True)
class Disturbance:
    """When the host could not tell, why, and how many seconds it may have cost an app at most (infinite: packets were
    lost)."""

    span: Span
    what: str
    seconds: float


def settle(outcome: Outcome, disturbances: Sequence[Disturbance]) -> Outcome:
    """A noisy host is never the app's fault: findings that a disturbance may explain are withdrawn.

    It may where their spans overlap and the finding's margin is within what all of the overlapping ones may have cost;
    a finding without a margin is withdrawn by any. A fail that keeps no finding becomes inconclusive and names the
    costliest disturbance; findings without a span are not withdrawn. Other verdicts stay.
    """
    if outcome.verdict is not Verdict.FAIL or not disturbances:
        return outcome
    kept, why = [], ""
    for finding in outcome.findings:
        hits = [d for d in disturbances if finding.span and d.span.overlaps(finding.span)]
        cost_s = sum(hit.seconds for hit in hits)
        if not hits or (finding.margin_s and finding.margin_s > cost_s):
            kept.append(finding)
        else:
            why = why or max(hits, key=lambda hit: hit.seconds).what
    if kept:
        return replace(outcome, findings=tuple(kept))
    return replace(lab_gave_up(f"the host could not tell: {why}"), findings=outcome.findings)


_MERGE_ORDER = (Verdict.FAIL, Verdict.INCONCLUSIVE, Verdict.PASS, Verdict.NOT_JUDGED, Verdict.NOT_APPLICABLE)


def merge(outcomes: Sequence[Outcome]) -> Outcome:
    """Several items that judge one id: fail over inconclusive over pass; findings and evidence of all such are kept."""
    if not outcomes:
        return not_judged("nothing judged it")
    worst = min(outcomes, key=lambda outcome: _MERGE_ORDER.index(outcome.verdict))
    same = [outcome for outcome in outcomes if outcome.verdict is worst.verdict]
    findings = tuple(finding for outcome in same for finding in outcome.findings)
    evidence = few(reference for outcome in same for reference in outcome.evidence)
    return replace(worst, findings=findings, evidence=evidence)
