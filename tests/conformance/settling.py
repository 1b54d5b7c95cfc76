"""What a busy host may explain of a fail and what not: the same questions to every check's findings."""

import math

import pytest

from conformance.verdict import Disturbance, Outcome, Span, Verdict, settle

FACT = None  # in tables of margins: what no noise can produce
ALWAYS = Span(-1e9, 1e9)


def check_margin(outcome: Outcome, margin_s: float | None) -> None:
    """A fail whose first finding misses a limit by margin_s seconds; 0 for no matter of seconds, None for a fact."""
    assert outcome.verdict is Verdict.FAIL, outcome
    finding = outcome.findings[0]
    if margin_s is None:
        assert finding.span is None, finding
        assert settled(outcome, math.inf) is Verdict.FAIL
        return
    assert finding.span is not None and finding.span.begin <= finding.span.end, finding
    assert finding.margin_s == pytest.approx(margin_s, abs=0.011)
    beside = Span(finding.span.end + 0.1, finding.span.end + 99)
    assert settled(outcome, math.inf, beside) is Verdict.FAIL
    assert settled(outcome, margin_s * 1.01 + 0.02) is Verdict.INCONCLUSIVE
    if margin_s:
        assert settled(outcome, margin_s * 0.9) is Verdict.FAIL


def settled(outcome: Outcome, seconds: float, span: Span = ALWAYS) -> Verdict:
    """The verdict that is left of the first finding after a disturbance that cost so many seconds."""
    alone = Outcome(outcome.verdict, outcome.reason, outcome.findings[:1])
    return settle(alone, [Disturbance(span, "noise", seconds)]).verdict
