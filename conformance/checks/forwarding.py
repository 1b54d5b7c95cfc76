"""FWD: port forwarding and the firewall of the service NIC (contract 7), judged from ``flow`` events and captures.

Which flows a situation has to hold: FWD-001 origin ``outside`` to each Forward's port of the outside address; FWD-002
(control) the same client to each Forward's own port Y, at the outside address and at the VM's; FWD-003 (control) to
every undeclared TCP port of the range; FWD-005 a SYN to each TCP port of the VM's service address.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace

from conformance.application import Forward, Service
from conformance.checks.spoken import fault_of_answer
from conformance.checks.waiting import vain_s, vain_span, whole_s
from conformance.packet import ACK, IPV4, RST, SYN, TCP, UDP, MalformedPacket, Packet, ethernet, parse
from conformance.profile import Profile
from conformance.trace import Event, Frame, Trace
from conformance.verdict import Finding, Outcome, Span, counted, failed, few, inconclusive, passed

_PROTOCOLS = {"tcp": TCP, "udp": UDP}
_EVERY_PORT = 65535
_LAB = "a fault of the lab: report it"


def reaches_forwarded_ports(trace: Trace, profile: Profile) -> Outcome:
    """FWD-001: each X reaches the VM's Y: its answer is on the service NIC and outside, and speaks Y's protocol."""
    missing = _missing(trace)
    if missing:
        return missing
    findings, doubts, proof = [], [], list[str]()
    for forward in trace.application.forwards:
        flows = _flows(trace, str(profile["network.outside"]), forward.protocol, forward.from_port)
        if not flows:
            doubts.append(f"nobody asked for {forward.protocol}/{forward.from_port}")
        for flow in flows:
            proof.append(flow.reference)
            judged = _judge(trace, profile, forward, flow)
            findings += [judged] if isinstance(judged, Finding) else []
            doubts += [judged] if isinstance(judged, str) and judged else []
    if findings:
        return failed(findings)
    if doubts:
        return inconclusive("; ".join(doubts[:3]))
    ports = counted(len(trace.application.forwards), "forwarded port")
    evidence = (*few(proof, 6), "capture:service", "capture:outside")
    return passed(f"{ports} answered on the service NIC and outside", evidence)


def _judge(trace: Trace, profile: Profile, forward: Forward, flow: Event) -> Finding | str:
    span = Span(flow["begin"], flow["end"])
    number, vm = _PROTOCOLS[forward.protocol], trace.run["addresses"]["service"]
    platform = str(profile["network.platform"])
    inside = [(frame, p) for frame, p in _packets(trace, "service") if p.proto == number]
    asked = [frame for frame, p in inside if frame.from_lab and (p.destination, p.dst_port) == (vm, forward.to_port)]
    asked = [frame for frame in asked if span.begin <= frame.at <= span.end]
    if not asked:
        return f"the platform forwarded nothing of flow {flow['name']!r} to the VM"
    answers = [
        frame
        for frame, p in inside
        if not frame.from_lab and (p.source, p.src_port) == (vm, forward.to_port) and span.begin <= frame.at <= span.end
    ]
    where = f"forward {forward.protocol}/{forward.from_port} to {forward.to_port}"
    evidence = (flow.reference, f"capture:service@{(answers or asked)[0].at:.6f}")
    waited = vain_span(trace, flow)
    if not answers:
        remedy = f"listen on {forward.protocol} port {forward.to_port} of the service NIC, and admit {platform}"
        error = f" ({flow['error']})" if flow["error"] else ""
        seen, margin_s = f"{counted(len(asked), 'packet')}, none answered{error}", whole_s(waited.end - waited.begin)
        return Finding("an answer on the service NIC", seen, where, remedy, evidence, waited, margin_s)
    declared = (s for s in trace.application.services if (s.protocol, s.port) == (forward.protocol, forward.to_port))
    fault = fault_of_answer(flow, next(declared, Service(forward.protocol, forward.to_port)), profile)
    if fault:
        finding = Finding(fault.expected, fault.seen, where, fault.remedy, evidence)
        return replace(finding, span=waited, margin_s=vain_s(trace, flow)) if fault.partial else finding
    client = (flow["client_address"], flow["client_port"])
    outside = any((p.destination, p.dst_port) == client for _, p in _packets(trace, "outside"))
    return "" if outside else f"no answer of flow {flow['name']!r} was seen outside"


def is_reached_one_way_only(trace: Trace, profile: Profile) -> Outcome:
    """FWD-002: a Forward's own port Y is not reachable from outside by any other way."""
    missing = _missing(trace)
    if missing:
        return missing
    outside = str(profile["network.outside"])
    forwards = trace.application.forwards
    declared = {(outside, f.protocol, f.from_port) for f in forwards}
    findings, untried, proof = [], [], list[str]()
    for forward in forwards:
        for address in (outside, trace.run["addresses"]["service"]):
            if (address, forward.protocol, forward.to_port) in declared:
                continue
            flows = _flows(trace, address, forward.protocol, forward.to_port)
            if not flows:
                untried.append(f"{forward.protocol}/{forward.to_port} of {address}")
            proof += [flow.reference for flow in flows]
            findings += [_reached(flow) for flow in flows if _answered(trace, flow)]
    if findings:
        return failed(findings)
    if untried:
        return inconclusive(f"nobody tried {', '.join(untried[:3])}")
    services = counted(len(forwards), "forwarded service")
    return passed(f"no other way reaches {services}", (*few(proof, 6), "capture:outside"))


def forwards_nothing_undeclared(trace: Trace, profile: Profile) -> Outcome:
    """FWD-003: no undeclared TCP port of the platform's range reaches the VM."""
    missing = _missing(trace)
    if missing:
        return missing
    low, high = profile["forwarding.ports"]
    outside = str(profile["network.outside"])
    declared = {f.from_port for f in trace.application.forwards if f.protocol == "tcp"}
    wanted = set(range(low, high + 1)) - declared
    tried: set[int] = set()
    findings = []
    for frame, p in _packets(trace, "outside"):
        if p.destination == outside and p.dst_port in wanted and _opens(p):
            tried.add(p.dst_port)
        if p.source == outside and p.src_port in wanted and _accepts(p):
            where, proof = f"tcp/{p.src_port} of {outside}", (_evidence("outside", frame),)
            findings.append(Finding("no connection", "one was accepted", where, _LAB, proof))
    if findings:
        return failed(findings)
    if wanted - tried:
        return inconclusive(f"{len(wanted - tried)} of {len(wanted)} undeclared ports were not tried")
    return passed(f"{len(wanted)} undeclared ports accepted nothing", ("capture:outside",))


def closes_undeclared_ports(trace: Trace, profile: Profile) -> Outcome:
    """FWD-005: no TCP port that no Forward or Allow declares accepts a connection on the service NIC."""
    del profile  # every check has the same signature
    if not trace.captured("service"):
        return inconclusive("not every packet was captured on service")
    app, vm = trace.application, trace.run["addresses"]["service"]
    declared = {f.to_port for f in app.forwards if f.protocol == "tcp"}
    declared |= {a.port for a in app.allows if a.protocol == "tcp" and a.network == "service"}
    tried: set[int] = set()
    answered: set[int] = set()
    findings = []
    for frame, p in _packets(trace, "service"):
        if frame.from_lab and p.destination == vm and p.dst_port and _opens(p):
            tried.add(p.dst_port)
        if not frame.from_lab and p.source == vm and p.src_port in tried and p.proto == TCP:
            answered.add(p.src_port)
            if _accepts(p) and p.src_port not in declared:
                remedy = f'close it, or declare <racs:Allow protocol="tcp" port="{p.src_port}" network="service"/>'
                where, proof = f"tcp/{p.src_port} of {vm}", (_evidence("service", frame),)
                findings.append(Finding("no connection", "one was accepted", where, remedy, proof))
    if findings:
        return failed(findings)
    if len(tried) < _EVERY_PORT:
        return inconclusive(f"{_EVERY_PORT - len(tried)} of {_EVERY_PORT} ports were not tried")
    seen = f"{_EVERY_PORT} ports tried, {len(answered)} answered, none undeclared accepted"
    return passed(seen, ("capture:service",))


def _missing(trace: Trace) -> Outcome | None:
    lost = [name for name in ("service", "outside") if not trace.captured(name)]
    return inconclusive(f"not every packet was captured on {', '.join(lost)}") if lost else None


def _flows(trace: Trace, address: str, protocol: str, port: int) -> list[Event]:
    asked = ("outside", address, protocol, port)
    return [f for f in trace.of("flow") if (f["origin"], f["server_address"], f["protocol"], f["server_port"]) == asked]


def _answered(trace: Trace, flow: Event) -> bool:
    """Whether the client got a packet of the server's: of TCP one that accepts its connection."""
    ends = (flow["server_address"], flow["server_port"], flow["client_address"], flow["client_port"])
    packets = [p for _, p in _packets(trace, "outside") if (p.source, p.src_port, p.destination, p.dst_port) == ends]
    return any(p.proto == UDP or _accepts(p) for p in packets)


def _reached(flow: Event) -> Finding:
    where = f"{flow['protocol']}/{flow['server_port']} of {flow['server_address']} from outside"
    return Finding("no answer", "one", where, _LAB, (flow.reference,))


def _packets(trace: Trace, interface: str) -> Iterator[tuple[Frame, Packet]]:
    for frame in trace.frames(interface):
        try:
            whole = ethernet(frame.data)
            if whole.ethertype == IPV4:
                yield frame, parse(whole.payload)
        except MalformedPacket:
            continue


def _opens(packet: Packet) -> bool:
    return (packet.tcp_flags or 0) & (SYN | ACK) == SYN


def _accepts(packet: Packet) -> bool:
    return (packet.tcp_flags or 0) & (SYN | ACK | RST) == SYN | ACK


def _evidence(interface: str, frame: Frame) -> str:
    return f"capture:{interface}@{frame.at:.6f}"


CHECKS: Mapping[str, Callable[[Trace, Profile], Outcome]] = {
    "FWD-001": reaches_forwarded_ports,
    "FWD-002": is_reached_one_way_only,
    "FWD-003": forwards_nothing_undeclared,
    "FWD-005": closes_undeclared_ports,
}
