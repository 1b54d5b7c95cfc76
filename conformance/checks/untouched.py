"""OFT-002, OTT-006 and OFT-008: traffic that is none of the app's, and traffic while the app is down. Pure.

The first two judge the platform: they are proved in the control situation, without the app.
"""

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace

from conformance.checks.crossing import Crossings, FlowKey, Seen, Way, attached, key_of
from conformance.checks.flows import Selection
from conformance.checks.waiting import vain_s, vain_span
from conformance.profile import Profile
from conformance.trace import Event, Trace
from conformance.verdict import Finding, Outcome, Span, counted, failed, few, inconclusive, passed

_LAB = "a fault of the lab: report it"


def leaves_unselected_alone(trace: Trace, profile: Profile) -> Outcome:
    """OFT-002: flows that no rule selects never reach the vNIC and are byte-identical end to end."""
    selection = Selection(trace, profile)
    if selection.unreadable:
        return inconclusive(selection.unreadable)
    selected = {flow.key for flow in selection.flows}
    return _untouched(trace, selection.crossings, lambda flow: key_of(flow) not in selected)


def leaves_other_addresses_alone(trace: Trace, profile: Profile) -> Outcome:
    """OTT-006: UE traffic to other addresses than the app's is not touched."""
    del profile  # every check has the same signature
    own = set(trace.run["addresses"].values())
    return _untouched(trace, Crossings(trace), lambda flow: flow["server_address"] not in own)


def _untouched(trace: Trace, crossings: Crossings, concerns: Callable[[Event], bool]) -> Outcome:
    if crossings.missing:
        return inconclusive(f"not every packet was captured on {crossings.missing}")
    ues = {event["address"] for event in attached(trace)}
    flows = [f for f in trace.of("flow") if f["origin"] == "ue" and f["client_address"] in ues and concerns(f)]
    if not flows:
        return inconclusive("no UE sent anything that is not for the app")
    findings = [finding for flow in flows for finding in _changes(flow, crossings, trace)]
    if findings:
        return failed(findings)
    evidence = (*few((flow.reference for flow in flows), 4), "capture:s1u-enb", "capture:s1u-epc", "capture:sgi")
    return passed(f"{counted(len(flows), 'flow')} crossed as the same bytes, none on a vNIC", evidence)


def _changes(flow: Event, crossings: Crossings, trace: Trace) -> Iterator[Finding]:
    key = key_of(flow)
    if not flow["completed"]:
        yield _incomplete(trace, flow, "the flow to complete")
    for uplink in (True, False):
        way = crossings.way(key, uplink)
        if way.to_app:
            yield _fact(flow, "no packet on a vNIC", counted(len(way.to_app), "packet"), way.to_app[0])
        yield from _altered(flow, key, uplink, way, crossings)


def _altered(flow: Event, key: FlowKey, uplink: bool, way: Way, crossings: Crossings) -> Iterator[Finding]:
    before, after = (Counter(seen.message or seen.packet.data for seen in side) for side in (way.entered, way.onward))
    if before != after:
        missing, added = sum((before - after).values()), sum((after - before).values())
        seen = f"{missing} of {len(way.entered)} are missing, {added} are others"
        yield _timed(_fact(flow, "the same GTP-U bytes on both sides of the user plane service", seen), flow)
    if not way.entered:
        yield _timed(_fact(flow, f"{'uplink' if uplink else 'downlink'} packets on S1-U", "none"), flow)
    inner = {seen.packet.data for seen in way.entered}
    outside = [s for s in crossings.on_sgi if (s.uplink_key if uplink else s.downlink_key) == key]
    changed = [seen for seen in outside if seen.packet.data not in inner]
    if changed:
        yield _timed(_fact(flow, "the same packets on SGi as on S1-U", f"{len(changed)} others", changed[0]), flow)


def bypasses_when_down(trace: Trace, profile: Profile) -> Outcome:
    """OFT-008: while UE traffic bypasses the app its vNIC gets none; flows complete then, and through the app after.

    Where the app failed in this stretch: from its last heartbeat to the first packet past it within the profile's time.
    """
    selection = Selection(trace, profile)
    switches = trace.of("bypass")
    if selection.crossings.missing or selection.unreadable:
        lost = f"not every packet was captured on {selection.crossings.missing}"
        return inconclusive(selection.unreadable or lost)
    down = next((event.at for event in switches if event["active"]), None)
    if down is None:
        return inconclusive("UE traffic was not made to bypass the app")
    findings, during, after, proof = [], 0, 0, list[str]()
    for flow in selection.flows:
        past = _state(trace, flow.event)
        if past is None:
            continue
        handed = [seen for direction in flow.directions for seen in direction.way.to_app]
        during, after = during + past, after + (not past)
        proof.append(flow.event.reference)
        if past and handed:
            finding = _fact(flow.event, "no packet on a vNIC while bypassed", f"{len(handed)}", handed[0])
            findings.append(_timed(finding, flow.event))  # the switch's own stamp may be late
        if past and not flow.event["completed"]:
            findings.append(_incomplete(trace, flow.event, "the flow to complete past the app"))
        if not past and not handed:
            findings.append(_timed(_fact(flow.event, "packets on a vNIC, not bypassed", "none"), flow.event))
        if not past and handed and flow.event["begin"] > down and not flow.event["completed"]:
            again = _incomplete(trace, flow.event, "the flow to complete through the app again")
            findings.append(replace(again, remedy="after a restart pass packets from the first heartbeat on"))
    findings += _late(trace, selection, profile)
    ours = [finding for finding in findings if finding.remedy == _LAB]
    if ours:  # switching is the platform's: an app is not blamed for it
        return inconclusive(f"a fault of the lab: expected {ours[0].expected}, saw {ours[0].seen} ({ours[0].where})")
    if findings:
        return failed(findings)
    if not during or not after:
        return inconclusive(f"{during} selected flows while bypassed and {after} while not: both are needed")
    evidence = (*few((switch.reference for switch in switches), 4), *few(proof, 4))
    return passed(f"{counted(during, 'flow')} bypassed the app, {after} passed its vNIC", evidence)


def _state(trace: Trace, flow: Event) -> bool | None:
    """Whether traffic bypassed the app all the time of a flow; None where it was switched meanwhile."""
    active = True  # so the user plane service starts
    for event in trace.everywhere("bypass"):
        if event.at <= flow["begin"]:
            active = event["active"]
        elif event.at <= flow["end"]:
            return None
    return active


def _late(trace: Trace, selection: Selection, profile: Profile) -> Iterator[Finding]:
    """The time from the last heartbeat before a failure to the first selected packet past the app."""
    limit_s = profile.number("user_plane.bypass_deadline_s")
    entered = sorted((s for flow in selection.flows for s in flow.directions[0].selected), key=lambda seen: seen.at)
    past = {seen.message for seen in selection.crossings.to_epc if seen.message}
    for switch in trace.of("bypass"):
        beats = [beat.at for beat in trace.of("beat") if beat.at <= switch.at]
        first = next((seen for seen in entered if seen.at >= switch.at and seen.message in past), None)
        if not switch["active"] or not beats or first is None:
            continue
        took_s = first.at - beats[-1]
        waiting = any(beats[-1] < seen.at < first.at for seen in entered)  # else nobody asked before
        if took_s > limit_s and waiting:
            expected = f"bypass within {limit_s:g} s of the last heartbeat"
            span = Span(beats[-1], first.at)
            evidence = (switch.reference, first.evidence)
            yield Finding(expected, f"{took_s:.2f} s", "S1-U", _LAB, evidence, span, took_s - limit_s)


def _fact(flow: Event, expected: str, seen: str, proof: Seen | None = None) -> Finding:
    """What was seen of a flow whatever the host did: it has no span."""
    evidence = (flow.reference, *((proof.evidence,) if proof else ()))
    return Finding(expected, seen, f"flow {flow['name']!r}", _LAB, evidence)


def _timed(finding: Finding, flow: Event) -> Finding:
    """Packets that a busy host may have lost or kept back: any disturbance of the flow explains it."""
    return replace(finding, span=Span(flow["begin"], flow["end"]))


def _incomplete(trace: Trace, flow: Event, expected: str) -> Finding:
    finding = _fact(flow, expected, flow["error"] or "it did not")
    return replace(finding, span=vain_span(trace, flow), margin_s=vain_s(trace, flow))
