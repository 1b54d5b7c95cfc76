"""OFT: what a transparent app must and must not do to the flows that its rules select (contract 6). Pure."""

from collections import Counter
from collections.abc import Iterable, Iterator, Set
from dataclasses import replace

from conformance.checks.crossing import FlowKey, Seen, key_of
from conformance.checks.flows import Direction, SelectedFlow, Selection
from conformance.checks.waiting import vain_s, vain_span, whole_s
from conformance.packet import TCP, UDP, Packet, wrong_checksum
from conformance.profile import Profile
from conformance.trace import Trace
from conformance.verdict import Finding, Outcome, Span, counted, failed, few, inconclusive, not_applicable, passed

_AS_IS = "send each packet on as it came: TTL one lower at most, no segments merged (ethtool -K NIC gro off)"
_LOOP = "receive on the user-plane vNIC with a raw or AF_PACKET socket and send every packet back to the gateway's MAC"


def passes_selected_flows(trace: Trace, profile: Profile) -> Outcome:
    """OFT-001: flows that a rule selects complete through the app, uplink and downlink, into the right bearer."""
    selection = Selection(trace, profile)
    if selection.obstacle:
        return selection.obstacle
    findings, doubts = [], []
    for flow in selection.flows:
        judged = _completes(flow, selection, trace)
        findings += [judged] if isinstance(judged, Finding) else []
        doubts += [judged] if isinstance(judged, str) and judged else []
    if findings:
        return failed(findings)
    untried = selection.untried()
    if doubts or untried:
        return inconclusive("; ".join([*doubts[:3], *([untried] if untried else [])]))
    up, down = (sum(len(flow.directions[n].handed) for flow in selection.flows) for n in (0, 1))
    flows, packets = counted(len(selection.flows), "flow"), counted(up, "packet")
    seen = f"{flows} completed through the app, {packets} uplink and {down} downlink"
    return passed(seen, _proof(selection.flows, trace))


def _proof(flows: Iterable[SelectedFlow], trace: Trace) -> tuple[str, ...]:
    captures = (f"capture:{nic}" for nic in trace.application.nics if nic != "service")
    return (*few((flow.event.reference for flow in flows), 4), *captures)


def _completes(flow: SelectedFlow, selection: Selection, trace: Trace) -> Finding | str:
    """What is wrong with a flow, why nothing can be told of it, or ""."""
    for direction in flow.directions:
        if direction.selected and not direction.handed:
            if selection.bypassed(flow):
                return f"UE traffic bypassed the app during {flow.where}"
            return f"the platform handed no packet of {flow.where} to the app"
        fault = _lost_in_app(flow, direction)
        if fault:
            return fault
    if flow.event["completed"]:
        return ""
    control = selection.control_completed(flow)
    if not control:
        state = "did not complete without the app either" if control is False else "has no control without the app"
        return f"{flow.where} failed ({flow.event['error']}), and {state}"
    counts = ", ".join(f"{d.name} {len(d.handed)} in, {len(d.way.from_app)} out" for d in flow.directions)
    finding = _fact(flow, "the flow to complete through the app", f"{flow.event['error']} ({counts})", _LOOP)
    return replace(finding, span=vain_span(trace, flow.event), margin_s=vain_s(trace, flow.event))


def _lost_in_app(flow: SelectedFlow, direction: Direction) -> Finding | None:
    way = direction.way
    if not direction.handed:
        return None
    got = f"{counted(len(direction.handed), 'packet')} {direction.name}"
    if not way.from_app:
        expected, seen = f"the app to send {direction.name} packets on", f"{got} reached it, none came back"
        return _waited(_fact(flow, expected, seen, _LOOP), direction.handed[0].at, flow)
    wrong = [seen for seen in way.onward if seen.teid != direction.teid]
    if wrong:
        seen = f"TEID {wrong[0].teid:#010x}"
        remedy = "leave the addresses as they are: by the UE's the platform chooses the bearer"
        return _fact(flow, f"its bearer, TEID {direction.teid:#010x}", seen, remedy, wrong[0])
    if not way.onward:
        remedy = "send to the MAC of the gateway; with two NICs: uplink leaves on -dl, downlink on -ul"
        seen = f"the app sent {counted(len(way.from_app), 'packet')}, none was for the gateway"
        first = way.from_app[0]
        return _waited(
            _fact(flow, f"{direction.name} packets back in the UE's bearer", seen, remedy, first), first.at, flow
        )
    return None


def keeps_addresses(trace: Trace, profile: Profile) -> Outcome:
    """OFT-003: addresses and ports are preserved end to end."""
    selection = Selection(trace, profile)
    if selection.obstacle:
        return selection.obstacle
    if not trace.captured("sgi"):
        return inconclusive("not every packet was captured on sgi")
    findings, doubts = [], []
    known = {key_of(event) for event in trace.everywhere("flow", "attempt")}
    for flow in selection.flows:
        changed = list(_changed_ends(flow, selection, known))
        findings += changed
        if not changed and not (_at_server(flow, selection) and flow.event["completed"]):
            doubts.append(f"{flow.where} did not reach its server and come back, see OFT-001")
    if findings:
        return failed(findings)
    if doubts:
        return inconclusive("; ".join(doubts[:3]))
    seen = f"{counted(len(selection.flows), 'flow')} had the same addresses and ports at UE, app and server"
    return passed(seen, (*_proof(selection.flows, trace), "capture:sgi"))


def _at_server(flow: SelectedFlow, selection: Selection) -> bool:
    return any(seen.uplink_key == flow.key for seen in selection.crossings.on_sgi)


def _changed_ends(flow: SelectedFlow, selection: Selection, known: Set[FlowKey]) -> Iterator[Finding]:
    event, remedy = flow.event, "a transparent app changes no address and no port, in neither direction"
    client, server = (
        f"{event['client_address']}:{event['client_port']}",
        f"{event['server_address']}:{event['server_port']}",
    )
    if event["answered_from"] not in ("", server):
        yield _fact(flow, f"answers from {server}", f"answers from {event['answered_from']}", remedy)
    if event["peer_seen"] not in ("", client):
        yield _fact(flow, f"the server to see {client}", f"it saw {event['peer_seen']}", remedy)
    strangers = _strangers(flow, selection.crossings.from_app, known)
    if strangers:
        yield _fact(flow, f"packets between {client} and {server}", _ends(strangers[0]), remedy, strangers[0])


def _strangers(flow: SelectedFlow, from_app: Iterable[Seen], known: Set[FlowKey]) -> list[Seen]:
    """What the app sent meanwhile with one end of the flow, another one instead of the other, and in no known flow."""
    here, there = flow.key[1:3], flow.key[3:5]
    found = []
    for seen in from_app:
        if not flow.event["begin"] <= seen.at <= flow.event["end"] or seen.packet.proto != flow.key.proto:
            continue
        up, down = seen.uplink_key, seen.downlink_key
        shares = (up[1:3] == here) != (up[3:5] == there) or (down[1:3] == here) != (down[3:5] == there)
        if shares and up not in known and down not in known:
            found.append(seen)
    return found


def _ends(seen: Seen) -> str:
    p = seen.packet
    return f"{p.source}:{p.src_port} to {p.destination}:{p.dst_port}"


def preserves_packets(trace: Trace, profile: Profile) -> Outcome:
    """OFT-004: under Effect preserves equal payload digests, headers unchanged but TTL (by one) and checksum."""
    changing = {effect.name for effect in trace.application.effects if effect.payload != "preserves"}
    if all(rule.name in changing for rule in trace.application.rules):
        return not_applicable("no rule has the effect preserves")
    selection = Selection(trace, profile)
    if selection.obstacle:
        return selection.obstacle
    flows = [flow for flow in selection.flows if not any(name in changing for name, _ in flow.rules)]
    findings = [finding for flow in flows for finding in _changes(flow)]
    if findings:
        return failed(findings)
    lacking = _unexercised(flows, profile)
    if lacking:
        return inconclusive(lacking)
    count = sum(len(direction.way.from_app) for flow in flows for direction in flow.directions)
    seen = f"{counted(count, 'packet')} of {counted(len(flows), 'flow')} left the app as they came, digests equal"
    return passed(seen, _proof(flows, trace))


def _changes(flow: SelectedFlow) -> Iterator[Finding]:
    event = flow.event
    if event["completed"] and event["expected_sha256"] not in ("", event["received_sha256"]):
        expected = f"payload of SHA-256 {event['expected_sha256']}"
        yield _fact(flow, expected, event["received_sha256"], "pass every byte as it is")
    for direction in flow.directions:
        arrived: dict[bytes, Packet] = {_unchanging(seen.packet): seen.packet for seen in direction.way.to_app}
        for seen in direction.way.from_app:
            before = arrived.get(_unchanging(seen.packet))
            if before is None:
                expected, saw = _difference(seen.packet, [s.packet for s in direction.way.to_app])
                yield _fact(flow, expected, saw, _AS_IS, seen)
                break  # one of a direction says it all
            fault = _wrong_header(before, seen.packet)
            if fault:
                yield _fact(flow, *fault, _AS_IS, seen)
                break


def _wrong_header(before: Packet, after: Packet) -> tuple[str, str] | None:
    if not before.ttl - 1 <= after.ttl <= before.ttl:
        return f"TTL {before.ttl} or {before.ttl - 1}", f"TTL {after.ttl}"
    name = wrong_checksum(after)
    if name and not wrong_checksum(before):
        return f"a right {name} checksum", "a wrong one"
    return None


def _unchanging(packet: Packet) -> bytes:
    """A packet without its TTL and checksums."""
    data = bytearray(packet.data)
    data[8] = 0
    data[10:12] = bytes(2)
    at = packet.header_length + {TCP: 16, UDP: 6}.get(packet.proto, len(data))
    if at + 2 <= len(data):
        data[at : at + 2] = bytes(2)
    return bytes(data)


def _difference(packet: Packet, arrived: list[Packet]) -> tuple[str, str]:
    """Expected and seen, against the packet that it most likely was."""
    same = [p for p in arrived if p.identification == packet.identification and p.length == packet.length]
    if not same:
        return "only packets that reached the app", f"{packet.length} bytes that never did"
    mine, its = _unchanging(packet), _unchanging(same[0])
    at = next(n for n, (one, two) in enumerate(zip(mine, its, strict=True)) if one != two)
    part = "IP header" if at < packet.header_length else "transport header" if at < packet.payload_offset else "payload"
    return f"{its[at]:#04x} in byte {at} of the packet ({part})", f"{mine[at]:#04x}"


def _unexercised(flows: list[SelectedFlow], profile: Profile) -> str:
    """What of the profile's sizes and stream was not seen pass; "" when all was."""
    if not flows:
        return "no flow of a rule that preserves was seen"
    unfinished = [flow.where for flow in flows if not flow.event["completed"]]
    if unfinished:
        return f"{unfinished[0]} did not complete, see OFT-001"
    datagrams: Counter[int] = Counter()
    stream = 0
    for flow in flows:
        for direction in flow.directions:
            datagrams.update(len(s.packet.payload) for s in direction.way.onward if s.packet.proto == UDP)
        if flow.key.proto == TCP:
            stream = max(stream, flow.event["sent"], flow.event["received"])
    if datagrams:
        lacking = [str(size) for size in profile["user_plane.payload_sizes"] if size not in datagrams]
        if lacking:
            return f"no datagram of {', '.join(lacking)} bytes of payload passed the app"
    if any(flow.key.proto == TCP for flow in flows) and stream < profile["user_plane.stream_bytes"]:
        return f"the longest stream had {stream} bytes, the profile asks for {profile['user_plane.stream_bytes']}"
    return ""


def _fact(flow: SelectedFlow, expected: str, seen: str, remedy: str, proof: Seen | None = None) -> Finding:
    """What a packet says of the app whatever the host did: it has no span."""
    evidence = (flow.event.reference, *((proof.evidence,) if proof else ()))
    return Finding(expected, seen, flow.where, remedy, evidence)


def _waited(finding: Finding, since: float, flow: SelectedFlow) -> Finding:
    """A finding about packets that were waited for until the flow's end, and may have been lost or late."""
    end = flow.event["end"]
    return replace(finding, span=Span(min(since, end), end), margin_s=whole_s(end - since))
