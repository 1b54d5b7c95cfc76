"""BUS-007: an app without an ACL stays off the bus, judged from the captures of all its NICs."""

from collections.abc import Iterator

from conformance import packet
from conformance.package import acl
from conformance.profile import Profile
from conformance.trace import Trace
from conformance.verdict import Finding, Outcome, counted, failed, inconclusive, not_applicable, passed


def abstinence(trace: Trace, profile: Profile) -> Outcome:
    """BUS-007: an app that does not use the bus sends no TCP SYN to its port, on any NIC.

    A connection that a transparent app passes on is not its own: its SYN entered the VM before.
    """
    application, port = trace.application, int(profile["bus.port"])
    if application.uses_bus:
        return not_applicable("the app uses the bus: it has auth/acl.xml")
    passing = {_connection(syn) for nic in application.nics for _, syn in _syns(trace, nic, port, from_lab=True)}
    findings = [
        Finding(
            f"no TCP connection to port {port}, as the package has no {acl.PATH}",
            f"a SYN from {syn.source} to {syn.destination}",
            f"NIC {nic}",
            f"remove the MQTT client, or put {acl.PATH} into the package",
            (f"capture:{nic}@{at:.6f}",),
        )
        for nic in application.nics
        for at, syn in _syns(trace, nic, port, from_lab=False)
        if _connection(syn) not in passing
    ]
    if findings:
        return failed(findings)
    blind = [nic for nic in application.nics if not trace.captured(nic)]
    if blind:
        return inconclusive(f"not captured without loss: {', '.join(blind)}")
    frames = sum(not frame.from_lab for nic in application.nics for frame in trace.frames(nic))
    if not frames:
        return inconclusive("no NIC sent a single frame")
    nics = application.nics
    seen = f"{counted(frames, 'frame')} of {counted(len(nics), 'NIC')}, no SYN to port {port}"
    return passed(seen, (f"capture:{nic}" for nic in nics))


def _syns(trace: Trace, nic: str, port: int, *, from_lab: bool) -> Iterator[tuple[float, packet.Packet]]:
    capture = trace.captures.get(nic)
    for frame in trace.frames(nic) if capture else ():
        if frame.from_lab is not from_lab:
            continue
        try:
            data = packet.ethernet(frame.data).payload if capture and capture.link == "ethernet" else frame.data
            read = packet.parse(data)
        except packet.MalformedPacket:
            continue  # ARP and whatever else is no IP packet
        flags = read.tcp_flags
        if (
            read.proto == packet.TCP
            and read.dst_port == port
            and flags
            and flags & packet.SYN
            and not flags & packet.ACK
        ):
            yield frame.at, read


def _connection(syn: packet.Packet) -> tuple[int, int, int | None]:
    return syn.src, syn.dst, syn.src_port
