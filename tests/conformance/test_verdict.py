"""Verdicts: how they merge and settle, and what the whole is made of."""

import math
from dataclasses import replace

import pytest

from conformance.certification import Judgement, whole_verdict
from conformance.errors import BrokenLab
from conformance.trace import make_trace, read_events
from conformance.verdict import (
    Disturbance,
    Finding,
    Outcome,
    Span,
    Verdict,
    failed,
    inconclusive,
    merge,
    not_judged,
    passed,
    settle,
)

LATE = Finding("a beat a second", "a gap of 4 s", span=Span(10, 14))
FOREVER = Finding("a digest", "another digest")


@pytest.mark.parametrize(
    ("outcome", "disturbance", "verdict", "findings"),
    [
        (failed([LATE]), Span(13, 20), Verdict.INCONCLUSIVE, 1),
        (failed([LATE]), Span(14.1, 20), Verdict.FAIL, 1),
        (failed([LATE, FOREVER]), Span(0, 99), Verdict.FAIL, 1),
        (failed([FOREVER]), Span(0, 99), Verdict.FAIL, 1),
        (passed("60 beats"), Span(0, 99), Verdict.PASS, 0),
    ],
)
def test_settle(outcome: Outcome, disturbance: Span, verdict: Verdict, findings: int) -> None:
    settled = settle(outcome, [Disturbance(disturbance, "host starved", 0.8)])
    assert (settled.verdict, len(settled.findings)) == (verdict, findings)


def test_merge_prefers_fail_then_inconclusive() -> None:
    assert merge([passed(""), inconclusive("x"), failed([LATE]), failed([FOREVER])]).findings == (LATE, FOREVER)
    assert merge([passed(""), inconclusive("x")]).verdict is Verdict.INCONCLUSIVE
    assert merge([]).verdict is Verdict.NOT_JUDGED


def test_a_pass_keeps_the_first_and_last_of_its_evidence() -> None:
    many = passed("", (f"trace:{line}" for line in range(1, 61) for _ in (0, 1)))
    assert many.evidence == tuple(f"trace:{line}" for line in (1, 2, 3, 4, 57, 58, 59, 60))
    assert settle(many, [Disturbance(Span(0, 99), "lag", math.inf)]) is many
    assert merge([passed("", ["trace:1"]), not_judged(""), passed("", ["trace:2"])]).evidence == ("trace:1", "trace:2")
    assert merge([many, inconclusive("x")]).evidence == ()


@pytest.mark.parametrize(
    "line",
    ["", "[]", "{}", '{"at":1,"kind":"no such","source":"x"}', '{"at":1,"kind":"attach","source":"x","further":1}'],
)
def test_a_broken_record_is_the_lab_s_fault(line: str) -> None:
    with pytest.raises(BrokenLab, match="line 1 of the trace"):
        list(read_events([line]))
    with pytest.raises(BrokenLab, match="run event"):
        _ = make_trace([]).run


def judgement(verdict: Verdict, level: str = "MUST", subject: str = "app", in_force: bool = True) -> Judgement:
    return Judgement("X-1", "", level, subject, "assumed", "", in_force, True, verdict, "", "")


@pytest.mark.parametrize(
    ("judgements", "interrupted", "errors", "whole"),
    [
        ([judgement(Verdict.PASS)], False, [], "pass"),
        ([judgement(Verdict.PASS), judgement(Verdict.NOT_APPLICABLE)], False, [], "pass"),
        ([judgement(Verdict.PASS), judgement(Verdict.FAIL, "SHOULD")], False, [], "pass"),
        ([judgement(Verdict.PASS), judgement(Verdict.FAIL, in_force=False)], False, [], "pass"),
        ([judgement(Verdict.PASS), judgement(Verdict.FAIL)], False, [], "fail"),
        ([judgement(Verdict.INCONCLUSIVE), judgement(Verdict.FAIL)], False, [], "fail"),
        ([judgement(Verdict.FAIL)], True, ["boom"], "interrupted"),
        ([judgement(Verdict.FAIL)], False, ["boom"], "error"),
        ([judgement(Verdict.PASS), judgement(Verdict.FAIL, subject="platform")], False, [], "error"),
        ([judgement(Verdict.PASS), judgement(Verdict.INCONCLUSIVE)], False, [], "inconclusive"),
        ([judgement(Verdict.PASS), judgement(Verdict.NOT_JUDGED)], False, [], "inconclusive"),
        ([judgement(Verdict.NOT_JUDGED)], False, [], "nothing ran"),
        ([judgement(Verdict.NOT_APPLICABLE)], False, [], "nothing ran"),
        ([], False, [], "nothing ran"),
    ],
)
def test_whole(judgements: list[Judgement], interrupted: bool, errors: list[str], whole: str) -> None:
    assert whole_verdict(judgements, interrupted, errors) == whole


def test_disturbances_of_a_trace() -> None:
    trace = make_trace(
        [
            (1, "host-starved", {"what": "lag", "value": 30, "limit": 20, "begin": 1, "end": 2}),
            (2, "drop", {"where": "userplane s1u_enb", "count": 3, "begin": 2, "end": 3}),
            (3, "clock-step", {"step_s": 0.5, "begin": 3, "end": 3}),
        ]
    )
    assert [d.span for d in trace.disturbances] == [Span(1, 2), Span(2, 3), Span(3, 3)]
    assert [d.seconds for d in trace.disturbances] == [600, math.inf, 10]


@pytest.mark.parametrize(
    ("what", "value", "cost_s", "said"),
    [
        ("lag", 0.03, 0.6, "host starved (woke 30 ms late, limit 20 ms), trace:1"),
        ("steal", 0.5, 40.0, "host starved (50% of the CPU time was stolen, limit 2%), trace:1"),
        ("stopped", 0.5, 10.0, "host starved (QEMU was stopped for 0.5 s by a signal or a debugger), trace:1"),
        ("blocked", 0.5, 10.0, "host starved (QEMU waited 0.5 s for a disk or for memory, limit 0.02 s), trace:1"),
        ("waiting", 0.5, 1.0, "host starved (QEMU waited 0.5 s for a CPU, limit 0.02 s), trace:1"),
    ],
)
def test_what_a_starved_host_may_have_cost(what: str, value: float, cost_s: float, said: str) -> None:
    starved = {"what": what, "value": value, "limit": 0.02, "begin": 10, "end": 14}
    (disturbance,) = make_trace([(14, "host-starved", starved)]).disturbances
    assert disturbance.seconds == pytest.approx(cost_s)
    assert (disturbance.what, disturbance.span) == (said, Span(10, 14))


@pytest.mark.parametrize(
    ("margin_s", "costs_s", "verdict"),
    [
        (0.0, [0.001], Verdict.INCONCLUSIVE),  # not a matter of seconds: any disturbance will do
        (0.5, [0.6], Verdict.INCONCLUSIVE),
        (0.7, [0.6], Verdict.FAIL),
        (0.7, [0.6, 0.6], Verdict.INCONCLUSIVE),  # what several cost adds up
        (1e9, [math.inf], Verdict.INCONCLUSIVE),  # lost packets explain everything
    ],
)
def test_a_small_disturbance_does_not_explain_a_large_miss(
    margin_s: float, costs_s: list[float], verdict: Verdict
) -> None:
    missed = failed([replace(LATE, margin_s=margin_s)])
    assert settle(missed, [Disturbance(Span(11, 12), "lag", cost) for cost in costs_s]).verdict is verdict
