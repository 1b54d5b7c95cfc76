"""How a check over a trace comes to its outcome: limits with a guard band, and parts that merge to one verdict."""

from dataclasses import dataclass, field

from conformance.verdict import Finding, Outcome, Verdict, failed, inconclusive, passed


def beyond(value: float, limit: float, guard: float) -> Verdict:
    """FAIL above the limit, PASS below it, INCONCLUSIVE within the guard band around it (contract 9)."""
    if value <= limit - guard:
        return Verdict.PASS
    return Verdict.FAIL if value > limit + guard else Verdict.INCONCLUSIVE


def miss(value: float, limit: float, guard: float) -> float:
    """By how much a value lies beyond its limit and the guard band, in its own unit; 0 where it does not."""
    return max(0.0, value - limit - guard)


@dataclass(slots=True)
class Tally:
    """Collects what a check sees: findings, parts that it could not tell (why), parts that are right (with figures)."""

    findings: list[Finding] = field(default_factory=list)
    unclear: list[str] = field(default_factory=list)
    right: list[str] = field(default_factory=list)
    evidence: list[str] = field(default_factory=list)

    def good(self, seen: str, *evidence: str) -> None:
        """One part that is right, and what that rests on."""
        self.right.append(seen)
        self.evidence.extend(evidence)

    def add(self, verdict: Verdict, seen: str, finding: Finding) -> None:
        """One part by its verdict: the finding counts for a fail, `seen` and its evidence for a pass."""
        if verdict is Verdict.FAIL:
            self.findings.append(finding)
        elif verdict is Verdict.PASS:
            self.good(seen, *finding.evidence)
        else:
            self.unclear.append(f"{seen}, within the guard band of the limit")

    def outcome(self, nothing: str) -> Outcome:
        """Fail over inconclusive over pass; `nothing` says why it is inconclusive where no part could be judged."""
        if self.findings:
            return failed(self.findings)
        if self.unclear:
            return inconclusive("; ".join(self.unclear[:3]))
        if not self.right:
            return inconclusive(nothing)
        return passed("; ".join(self.right[:3]), self.evidence)
