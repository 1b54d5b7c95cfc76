"""Check HBT-008: the heartbeat stops when the app's own work has stopped (contract 3 and 6, the hang drill)."""

import struct
from ipaddress import IPv4Address

from conformance.checks.tally import Tally, beyond, miss
from conformance.checks.timeline import Boot, beats_of, boots, datagrams, hang_instant, place
from conformance.checks.waiting import whole_s
from conformance.errors import SubjectError
from conformance.packet import ARP, TCP, UDP, MalformedPacket, ethernet, parse
from conformance.profile import Profile
from conformance.rules.expression import evaluate
from conformance.rules.language import read_rules
from conformance.trace import Event, Trace
from conformance.verdict import Finding, Outcome, Span, Verdict, counted, few, inconclusive, not_applicable

_NO_DRILL = "no start with the hang drill was observed"
_REQUEST, _REPLY = 1, 2  # RFC 826


def hangs(trace: Trace, profile: Profile) -> Outcome:
    """HBT-008: after the hang no heartbeat later than three intervals, while the OS lives and the work does not."""
    if "hang" not in trace.application.drills:
        return not_applicable("the app supports no hang drill")
    try:
        read_rules(trace.application.rules)
    except SubjectError as error:
        return inconclusive(f"an offload rule does not parse, see DSC-005: {error}")
    tally = Tally()
    for boot in boots(trace):
        if boot.drill:
            _judge_boot(tally, boot, trace, profile)
    return tally.outcome(_NO_DRILL)


def _judge_boot(tally: Tally, boot: Boot, trace: Trace, profile: Profile) -> None:
    seen = datagrams(trace, profile)
    hang = hang_instant(boot, seen)
    if hang is None:
        tally.unclear.append("no running heartbeat came in the start with the hang drill: see HBT-001")
        return
    interval, guard = profile.number("heartbeat.interval_s"), profile.number("host.guard_s")
    limit = profile.number("heartbeat.missed_max") * interval
    last = beats_of(boot, seen)[-1]
    late = last.at - hang
    finding = Finding(
        f"no heartbeat later than {limit:g} s after the app's work hung",
        f"one {late:.1f} s after it",
        f"start {boot.number} of the VM, hang {hang - boot.begin:.1f} s after it",
        "feed the heartbeat from the work itself: a beat is sent when the work's loop has come round",
        (last.event.reference,),
        Span(hang, last.at),
        miss(late, limit, guard),
    )
    verdict = beyond(late, limit + guard / 2, guard / 2)
    when = f"{abs(late):.1f} s {'after' if late > 0 else 'before'} the hang"
    tally.add(verdict, f"the last heartbeat came {when}", finding)
    if boot.end < hang + limit + guard and verdict is Verdict.PASS:
        tally.unclear.append(f"only {boot.end - hang:.1f} s after the hang were observed")
    span = Span(hang, boot.end)
    _judge_system(tally, span, trace)
    _judge_work(tally, span, trace)


def _judge_system(tally: Tally, span: Span, trace: Trace) -> None:
    """The operating system lives on: it answers ARP on one of its NICs and does not go down."""
    for event in trace.everywhere("vm-state"):
        if span.begin <= event.at < span.end and event["state"] in ("powered-off", "crashed"):
            # a guest that powers off did so; what crashed may have been the host's doing
            when = Span(event.at, event.at) if event["state"] == "crashed" else None
            tally.findings.append(
                _system_down(
                    f"the VM {event['state']}", place(trace, Span(event.at, event.at)), (event.reference,), when
                )
            )
            return
    asked, answers = list[tuple[float, str]](), list[str]()
    for nic in trace.application.nics:
        for frame in trace.frames(nic):
            if not span.begin < frame.at <= span.end:
                continue
            operation, sender, target = _arp(frame.data)
            proof = f"capture:{nic}@{frame.at:.6f}"
            asked += [(frame.at, proof)] if frame.from_lab and operation == _REQUEST and sender != target else []
            answers += [proof] if not frame.from_lab and operation == _REPLY else []
    if answers:
        tally.good("the operating system answered ARP", answers[0], answers[-1])
    elif asked and all(trace.captured(nic) for nic in trace.application.nics):
        seen = f"{counted(len(asked), 'ARP request')} without an answer"
        waited = Span(asked[0][0], span.end)
        tally.findings.append(_system_down(seen, place(trace, waited), few(proof for _, proof in asked), waited))
    else:
        tally.unclear.append("no ARP exchange after the hang was captured")


def _system_down(seen: str, where: str, evidence: tuple[str, ...], span: Span | None) -> Finding:
    return Finding(
        "an operating system that lives on and answers ARP after the hang",
        seen,
        where,
        "in the drill stop the app's own work alone, not its machine or its network",
        evidence,
        span,
        whole_s(span.end - span.begin) if span else 0.0,
    )


def _arp(data: bytes) -> tuple[int, bytes, bytes]:
    """Operation, sender's and target's IPv4 address; operation 0 for what is no ARP over Ethernet (RFC 826)."""
    try:
        frame = ethernet(data)
    except MalformedPacket:
        return 0, b"", b""
    body = frame.payload
    if frame.ethertype != ARP or len(body) < 28:
        return 0, b"", b""
    return int.from_bytes(body[6:8]), body[14:18], body[24:28]


def _judge_work(tally: Tally, span: Span, trace: Trace) -> None:
    """A declared service or a selected flow gets no answer, asked after the hang and while the VM was in the path."""
    asked = [
        flow
        for flow in trace.everywhere("flow")
        if span.begin < flow["begin"] and flow["end"] <= span.end and _concerns_app(flow, trace)
    ]
    silent = [flow for flow in asked if not flow["completed"] and not flow["received"] and not flow["answer"]]
    if silent:
        tally.good(f"{silent[0]['name']} got no answer", silent[0].reference)
    elif asked:
        tally.findings.append(
            Finding(
                "a declared service or selected flow that gets no answer after the app's work hung",
                f"an answer to each of {len(asked)}",
                asked[0]["name"],
                "in the drill stop all of the app's own work, as a real hang would",
                tuple(flow.reference for flow in asked[:5]),
            )
        )
    else:
        tally.unclear.append("no declared service or selected flow was tried after the hang")


def _concerns_app(flow: Event, trace: Trace) -> bool:
    """Whether the app itself has to answer. That a connection opens proves nothing: the kernel opens it for the app."""
    app = trace.application
    if app.type == "terminating":
        declared = {(service.protocol, service.port) for service in app.services}
        own = trace.run["addresses"].values()
        return (
            flow["pattern"] != "connect"
            and flow["server_address"] in own
            and (flow["protocol"], flow["server_port"]) in declared
        )
    return not _bypassed(flow, trace) and _selected(flow, trace)


def _bypassed(flow: Event, trace: Trace) -> bool:
    switches = [event for event in trace.everywhere("bypass") if event.at <= flow["end"]]
    during = any(event["active"] for event in switches if event.at >= flow["begin"])
    before = [event["active"] for event in switches if event.at < flow["begin"]]
    return during or before[-1:] == [True]


def _selected(flow: Event, trace: Trace) -> bool:
    """Whether an uplink rule selects the first packet that the UE sends; racs-1 apps are IPv4 (contract 1)."""
    if ":" in flow["client_address"] or flow["origin"] != "ue":
        return False
    proto = TCP if flow["protocol"] == "tcp" else UDP
    addresses = IPv4Address(flow["client_address"]).packed + IPv4Address(flow["server_address"]).packed
    header = struct.pack("!BBHHHBBH", 0x45, 0, 40, 0, 0, 64, proto, 0) + addresses
    packet = parse(header + struct.pack("!HH", flow["client_port"], flow["server_port"]) + bytes(16))
    rules = [rule for rule in read_rules(trace.application.rules) if rule.direction == "uplink"]
    return any(evaluate(rule.expression, packet) for rule in rules)
