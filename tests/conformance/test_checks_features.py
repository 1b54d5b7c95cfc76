"""The checks of AFM and SWAM over hand-made traces."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest
from settling import FACT, check_margin

from conformance import profile as profiles
from conformance.application import Application, Feature, Permission
from conformance.checks.features import CHECKS
from conformance.trace import make_trace
from conformance.verdict import Span, Verdict, settle

PASS, FAIL, INCONCLUSIVE, NOT_APPLICABLE = Verdict.PASS, Verdict.FAIL, Verdict.INCONCLUSIVE, Verdict.NOT_APPLICABLE
PROFILE = profiles.load()  # feature_taken_up_s 10, guard_s 1
BARE = Application(
    "goon", "terminating", "Example", "GoOn", "1.0", 1.0, ("service",), acl=(Permission("publish", "app/goon/#"),)
)
GOON = replace(BARE, features=(Feature("echo", "Echo", "S-1", True), Feature("upper", "Upper", "S-2", False)))

Events = list[tuple[float, str, Mapping[str, Any]]]
RUN = (0.0, "run", {"application": GOON.to_json()})
CONNECT = (
    1.0,
    "mqtt-attempt",
    {"client": "app", "action": "connect", "connection": 1, "allowed": True},
)
END: tuple[float, str, Mapping[str, Any]] = (200.0, "beat", {})


def switch(at: float, *active: str) -> tuple[float, str, Any]:
    return at, "feature-set", {"features": list(active)}


def status(at: float, malformed: str = "", **states: str) -> tuple[float, str, Any]:
    features = [{"id": identity, "state": state} for identity, state in states.items()]
    return at, "feature-status", {"features": features, "malformed": malformed}


OFF_ON: Events = [
    switch(10),
    status(11, echo="off", upper="off"),
    switch(40, "echo", "upper"),
    status(42, echo="on", upper="on"),
    switch(70, "echo"),
    status(72, echo="on", upper="off"),
]
TAKEN_UP = {
    "off and on in time": (OFF_ON, PASS),
    "an older status first": ([*OFF_ON[:1], status(10.5, echo="on", upper="off"), *OFF_ON[1:]], PASS),
    "no status": ([switch(10)], FAIL),
    "a status that says otherwise": ([*OFF_ON[:4], switch(70, "echo"), status(72, echo="on", upper="on")], FAIL),
    "a status without one of the features": ([*OFF_ON[:4], switch(70, "echo"), status(72, echo="on")], FAIL),
    "a malformed status": ([*OFF_ON[:4], switch(70), status(72, "no JSON")], FAIL),
    "right states, no time": ([*OFF_ON[:4], switch(70), status(72, "no time", echo="off", upper="off")], FAIL),
    "too late": ([*OFF_ON[:4], switch(70), status(82, echo="off", upper="off")], FAIL),
    "a moment too late": ([*OFF_ON[:4], switch(70), status(80.5, echo="off", upper="off")], INCONCLUSIVE),
    "a status before the switch": ([status(9, echo="off", upper="off"), switch(10)], FAIL),
    "no switch": ([], INCONCLUSIVE),
    "one feature never on": ([switch(10), status(11, echo="off", upper="off")], INCONCLUSIVE),
    "the bus was away": ([switch(10), (12, "outage", {"service": "bus", "away": True})], INCONCLUSIVE),
    "the VM was reset": ([switch(10), (12, "vm-state", {"state": "reset", "reason": "harness"})], INCONCLUSIVE),
    "the VM reset itself": ([switch(10), (12, "vm-state", {"state": "reset", "reason": "guest"})], FAIL),
    "the broker died": ([switch(10), (12, "process-died", {"process": "mosquitto"})], INCONCLUSIVE),
    "another process died": ([switch(10), (12, "process-died", {"process": "time"})], FAIL),
    "switched again at once": ([switch(10), switch(12, "echo"), status(13, echo="on", upper="off")], INCONCLUSIVE),
}


@pytest.mark.parametrize(("events", "verdict"), TAKEN_UP.values(), ids=TAKEN_UP)
def test_taken_up(events: Events, verdict: Verdict) -> None:
    outcome = CHECKS["AFM-001"](make_trace([RUN, CONNECT, *events, END]), PROFILE)
    assert outcome.verdict is verdict, outcome
    assert all(finding.span and finding.evidence for finding in outcome.findings)


def test_a_switch_is_for_who_is_there() -> None:
    closed = (5.0, "mqtt-closed", {"connection": 1})
    for events in ([RUN, switch(10), END], [RUN, CONNECT, closed, switch(10), END]):
        assert CHECKS["AFM-001"](make_trace(events), PROFILE).verdict is INCONCLUSIVE
    left = make_trace([RUN, CONNECT, switch(10), (11.0, "mqtt-closed", {"connection": 1}), END])
    assert CHECKS["AFM-001"](left, PROFILE).verdict is FAIL


def test_the_figure_is_of_switches_that_changed_something_for_who_was_there() -> None:
    early = [switch(1), status(6, echo="off", upper="off")]  # before the app connects
    late = [switch(90, "echo"), status(97, echo="on", upper="off")]  # changes nothing
    connected = (5.0, *CONNECT[1:])
    outcome = CHECKS["AFM-001"](make_trace([RUN, early[0], connected, early[1], *OFF_ON, *late, END]), PROFILE)
    assert outcome.reason.endswith("2 features switched off and on, usage status at most 2.0 s later")


def test_the_end_of_the_record_is_no_fail() -> None:
    assert CHECKS["AFM-001"](make_trace([RUN, CONNECT, *OFF_ON[:4], switch(70)]), PROFILE).verdict is INCONCLUSIVE


def test_taken_up_in_a_stretch_of_the_run() -> None:
    trace = make_trace([RUN, CONNECT, switch(5), *OFF_ON, END])
    assert CHECKS["AFM-001"](trace, PROFILE).verdict is INCONCLUSIVE, "the first was not answered before the next"
    assert CHECKS["AFM-001"](trace.within(Span(39, 100)), PROFILE).verdict is INCONCLUSIVE, "echo was not switched off"


def test_a_starved_host_is_no_fail() -> None:
    starved = (12.0, "host-starved", {"what": "lag", "value": 9.6, "limit": 0.02, "begin": 12.0, "end": 13.0})
    trace = make_trace([RUN, CONNECT, switch(10), starved, END])
    assert settle(CHECKS["AFM-001"](trace, PROFILE), trace.disturbances).verdict is INCONCLUSIVE


ONLY_DECLARED = {
    "declared": ([status(1, echo="on", upper="off")], PASS),
    "another": ([status(1, echo="on", upper="off"), status(2, echo="on", gold="on")], FAIL),
    "none": ([], INCONCLUSIVE),
    "malformed only": ([status(1, "no JSON")], INCONCLUSIVE),
}


@pytest.mark.parametrize(("events", "verdict"), ONLY_DECLARED.values(), ids=ONLY_DECLARED)
def test_only_declared(events: Events, verdict: Verdict) -> None:
    assert CHECKS["AFM-002"](make_trace([RUN, *events]), PROFILE).verdict is verdict


def report(
    at: float, echo: tuple[str, int, int], upper: tuple[str, int, int], **changes: Any
) -> tuple[float, str, Any]:
    features = [
        {"id": i, "name": n, "salesItem": s, "state": f[0], "count": f[1], "delta": f[2]}
        for i, n, s, f in (("echo", "Echo", "S-1", echo), ("upper", "Upper", "S-2", upper))
    ]
    whole = {"application": "goon", "version": "1.0", "count": 1, "delta": 0, "features": features, **changes}
    return at, "swam-report", {"report": whole}


FIRST = report(1, ("on", 1, 1), ("off", 0, 0), delta=1)
SWAM = {
    "right": ([FIRST, switch(2, "upper"), report(3, ("off", 0, -1), ("on", 1, 1))], PASS),
    "one report": ([FIRST], INCONCLUSIVE),
    "nothing switched": ([FIRST, report(3, ("on", 1, 0), ("off", 0, 0))], INCONCLUSIVE),
    "no report": ([], INCONCLUSIVE),
    "a wrong delta": ([FIRST, switch(2, "upper"), report(3, ("off", 0, 0), ("on", 1, 1))], FAIL),
    "a wrong count": ([FIRST, switch(2, "upper"), report(3, ("off", 0, -1), ("on", 2, 1))], FAIL),
    "a stale state": ([FIRST, switch(2, "upper"), report(3, ("on", 1, 0), ("off", 0, 0))], FAIL),
    "another version": ([report(1, ("on", 1, 1), ("off", 0, 0), delta=1, version="2.0")], FAIL),
    "an empty report": ([(1.0, "swam-report", {"report": {}})], FAIL),
}


@pytest.mark.parametrize(("events", "verdict"), SWAM.values(), ids=SWAM)
def test_reported_to_swam(events: Events, verdict: Verdict) -> None:
    assert CHECKS["AFM-003"](make_trace([RUN, *events]), PROFILE).verdict is verdict


@pytest.mark.parametrize("check", CHECKS)
def test_an_app_without_features(check: str) -> None:
    trace = make_trace([(0.0, "run", {"application": BARE.to_json()})])
    assert CHECKS[check](trace, PROFILE).verdict is NOT_APPLICABLE


MARGINS = [
    ("AFM-001", [switch(10)], 190.0),  # never
    ("AFM-001", [*OFF_ON[:4], switch(70), status(72, "no JSON"), switch(85, "echo")], 15.0),  # as far as was waited
    ("AFM-001", [*OFF_ON[:4], switch(70), status(84, echo="off", upper="off")], 3.0),
    ("AFM-002", [status(1, echo="on", upper="off", gold="on")], FACT),
    ("AFM-003", [report(1, ("on", 2, 1), ("off", 0, 0), delta=1)], FACT),
]


@pytest.mark.parametrize(("requirement", "events", "margin_s"), MARGINS, ids=range(len(MARGINS)))
def test_what_a_busy_host_explains(requirement: str, events: Events, margin_s: float | None) -> None:
    check_margin(CHECKS[requirement](make_trace([RUN, CONNECT, *events, END]), PROFILE), margin_s)
