"""Features (contract 5 and 8): AFM switches them, the app takes that up and reports its usage, SWAM is told."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from conformance.application import Application
from conformance.checks.tally import miss
from conformance.checks.timeline import observed
from conformance.profile import Profile
from conformance.trace import Event, Trace
from conformance.verdict import Finding, Outcome, Span, counted, failed, inconclusive, not_applicable, passed

_INTERRUPTED = ("reset", "suspended", "powered-off", "destroyed")


@dataclass(frozen=True, slots=True)
class _Switch:
    """One step of AFM: what is to be on and off after it, what it changed, and when the next one comes, if one does."""

    event: Event
    states: Mapping[str, str]
    changed: frozenset[str]
    until: float


def taken_up(trace: Trace, profile: Profile) -> Outcome:
    """AFM-001: every declared feature, switched off and on once, is taken up: a usage status follows in time."""
    declared = {feature.id for feature in trace.application.features}
    if not declared:
        return not_applicable("the app declares no features")
    limit_s, guard_s = profile.number("afm.feature_taken_up_s"), profile.number("host.guard_s")
    findings: list[Finding] = []
    doubts: list[str] = []
    took_s, proof, proven = list[float](), list[str](), set[tuple[str, str]]()
    for switch in _switches(trace):
        window = Span(switch.event.at, switch.event.at + limit_s + guard_s)
        follower = _follower(trace, switch)
        after_s = follower.at - switch.event.at if follower else float("inf")
        if follower and after_s < limit_s - guard_s:
            if switch.changed and _connected(trace, switch.event.at):  # else it says nothing of the app's speed
                took_s.append(after_s)
            proof += [switch.event.reference, follower.reference] if switch.changed else []
            proven |= {(identity, switch.states[identity]) for identity in switch.changed}
        elif doubt := _doubt(trace, switch, window, after_s, limit_s):
            doubts.append(doubt)
        else:
            wait = Span(window.begin, follower.at if follower else min(observed(trace).end, switch.until))
            margin_s = miss(after_s, limit_s, guard_s) if follower else wait.end - wait.begin
            findings.append(_not_taken_up(trace, switch, wait, limit_s, margin_s))
    if findings:
        return failed(findings)
    missing = sorted({(identity, state) for identity in declared for state in ("on", "off")} - proven)
    if missing:
        what = ", ".join(f"{identity} {state}" for identity, state in missing)
        return inconclusive(f"not seen: {what}{'; ' if doubts else ''}{'; '.join(doubts)}")
    figure = f", usage status at most {max(took_s):.1f} s later" if took_s else ""
    return passed(f"{counted(len(declared), 'feature')} switched off and on{figure}", proof)


def _switches(trace: Trace) -> Iterator[_Switch]:
    """AFM's steps inside the trace's span; what one changed follows from the one before, wherever that was."""
    application = trace.application
    inside = trace.of("feature-set")
    events = trace.everywhere("feature-set")
    before = {feature.id for feature in application.features if feature.default_on}
    for index, event in enumerate(events):
        active = set(event["features"])
        until = events[index + 1].at if index + 1 < len(events) else float("inf")
        states = {feature.id: "on" if feature.id in active else "off" for feature in application.features}
        if event in inside:
            yield _Switch(event, states, frozenset(before ^ active), until)
        before = active


def _follower(trace: Trace, switch: _Switch) -> Event | None:
    """The first usage status that says what the switch wants of every declared feature."""
    for event in _statuses(trace, switch):
        reported = {feature["id"]: feature["state"] for feature in event["features"]}
        if not event["malformed"] and all(reported.get(identity) == state for identity, state in switch.states.items()):
            return event
    return None


def _statuses(trace: Trace, switch: _Switch) -> list[Event]:
    return [event for event in trace.everywhere("feature-status") if switch.event.at <= event.at < switch.until]


def _doubt(trace: Trace, switch: _Switch, window: Span, after_s: float, limit_s: float) -> str:
    """Why a missing or late status proves nothing; "" when it does."""
    which = f"the switch {switch.event.reference}"
    if not _connected(trace, switch.event.at):
        return f"at {which} the app was not connected to the bus"
    if after_s <= window.end - window.begin:
        return f"{after_s:.1f} s after {which}: too near the limit of {limit_s:g} s to tell"
    if min(observed(trace).end, switch.until) < window.end:
        return f"{which} was not observed to its deadline"
    for event in trace.everywhere("vm-state", "outage", "process-died"):
        if window.begin <= event.at <= window.end and _interrupts(event):
            return f"{which} was interrupted, {event.reference}"
    return ""


def _interrupts(event: Event) -> bool:
    if event.kind == "vm-state":
        return event["state"] in _INTERRUPTED and event["reason"] in ("harness", "supervision")
    if event.kind == "outage":
        return bool(event["service"] == "bus")
    return event["process"] in ("bus", "mosquitto")


def _connected(trace: Trace, at: float) -> bool:
    """Whether the app had a connection to the bus at this instant."""
    opened = {
        event["connection"]
        for event in trace.everywhere("mqtt-attempt")
        if event.at <= at and event["client"] == "app" and event["action"] == "connect" and event["allowed"]
    }
    closed = {event["connection"] for event in trace.everywhere("mqtt-closed") if event.at < at}
    return bool(opened - closed)


def _not_taken_up(trace: Trace, switch: _Switch, wait: Span, limit_s: float, margin_s: float) -> Finding:
    wanted = ", ".join(f"{identity} {state}" for identity, state in switch.states.items())
    statuses = [event for event in _statuses(trace, switch) if event.at <= switch.event.at + limit_s]
    last = statuses[-1] if statuses else None
    return Finding(
        f"within {limit_s:g} s a usage status on app/{trace.application.id}/features that says {wanted}",
        _status_text(last),
        f"after AFM's switch; usage statuses that came in time: {len(statuses)}",
        f"subscribe racs/app/{trace.application.id}/properties, act on each message, then publish all features",
        (switch.event.reference, *((last.reference,) if last else ())),
        wait,
        margin_s,
    )


def _status_text(status: Event | None) -> str:
    if status is None:
        return "none"
    if status["malformed"]:
        return f"one that is malformed: {status['malformed']}"
    states = ", ".join(f"{feature['id']} {feature['state']}" for feature in status["features"])
    return f"one that says {states or 'nothing'}"


def only_declared(trace: Trace, _: Profile) -> Outcome:
    """AFM-002: only declared features are reported."""
    declared = {feature.id for feature in trace.application.features}
    if not declared:
        return not_applicable("the app declares no features")
    statuses = trace.of("feature-status")
    foreign: dict[str, Event] = {}
    for event in statuses:
        for feature in event["features"]:
            if feature["id"] not in declared:
                foreign.setdefault(feature["id"], event)
    if foreign:
        return failed(
            Finding(
                f"reports of declared features only: {', '.join(sorted(declared))}",
                f"one of {identity!r}",
                f"app/{trace.application.id}/features",
                "declare the feature in the descriptor or do not report it",
                (event.reference,),
            )
            for identity, event in foreign.items()
        )
    if not any(event["features"] for event in statuses):
        return inconclusive("the app reported no features at all")
    return passed(f"usage statuses: {len(statuses)}, of declared features only", (one.reference for one in statuses))


def reported_to_swam(trace: Trace, _: Profile) -> Outcome:
    """AFM-003 (platform): the SWAM report agrees with what was deployed and activated, counts and deltas too."""
    application = trace.application
    if not application.features:
        return not_applicable("the app declares no features")
    reports = trace.everywhere("swam-report")
    findings, before = [], dict[str, int]()
    for event in reports:
        active = _active(trace, event.at)
        wanted = _report(application, active, before)
        seen = {name: event["report"].get(name) for name in wanted}
        if seen != wanted:
            remedy = "a fault of the lab: report it"
            findings.append(Finding(f"a report that says {wanted}", f"{seen}", "SWAM", remedy, (event.reference,)))
        before = {"": 1} | {feature.id: int(feature.id in active) for feature in application.features}
    if findings:
        return failed(findings)
    activations = {_active(trace, event.at) for event in reports}
    if len(activations) < 2:
        return inconclusive(f"{counted(len(reports), 'report')}, none after a feature was switched")
    return passed(f"{len(reports)} reports agree with what was deployed and activated", (r.reference for r in reports))


def _active(trace: Trace, at: float) -> frozenset[str]:
    """The features that were on at an instant."""
    switches = [event for event in trace.everywhere("feature-set") if event.at <= at]
    if switches:
        return frozenset(switches[-1]["features"])
    return frozenset(feature.id for feature in trace.application.features if feature.default_on)


def _report(application: Application, active: frozenset[str], before: Mapping[str, int]) -> dict[str, Any]:
    """What a report has to say; before are the counts of the one before it, the app's under ""."""
    features = [
        {
            "id": feature.id,
            "name": feature.name,
            "salesItem": feature.sales_item,
            "state": "on" if feature.id in active else "off",
            "count": int(feature.id in active),
            "delta": int(feature.id in active) - before.get(feature.id, 0),
        }
        for feature in application.features
    ]
    app = {"application": application.id, "version": application.version, "count": 1, "delta": 1 - before.get("", 0)}
    return {**app, "features": features}


CHECKS: Mapping[str, Callable[[Trace, Profile], Outcome]] = {
    "AFM-001": taken_up,
    "AFM-002": only_declared,
    "AFM-003": reported_to_swam,
}
