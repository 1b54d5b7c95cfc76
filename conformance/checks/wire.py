"""What a VM put on the wire of its own: the packets of its NICs' captures. Pure."""

from collections.abc import Iterator

from conformance.packet import IPV4, IPV6, MalformedPacket, Packet, ethernet, parse
from conformance.trace import Frame, Trace

Flow = tuple[int, int, int | None, int, int | None]


def uncaptured(trace: Trace) -> str:
    """The app's NICs of which not every packet was captured, parted by commas; "" when all were."""
    return ", ".join(nic for nic in trace.application.nics if not trace.captured(nic))


def own_packets(trace: Trace) -> Iterator[tuple[str, float, Packet]]:
    """(NIC, at, packet) of every IP packet that left the VM and had not come to it before.

    What a transparent app passes on is its users': a packet of the same flow came in before it.
    """
    nics = trace.application.nics
    sequence = sorted(((frame.at, nic, frame) for nic in nics for frame in trace.frames(nic)), key=lambda seen: seen[0])
    passing: set[Flow] = set()
    for at, nic, frame in sequence:
        packet = _packet(frame)
        if packet is None:
            continue
        flow = (packet.proto, packet.src, packet.src_port, packet.dst, packet.dst_port)
        if frame.from_lab:
            passing.add(flow)
        elif flow not in passing:
            yield nic, at, packet


def _packet(frame: Frame) -> Packet | None:
    try:
        whole = ethernet(frame.data)
        return parse(whole.payload) if whole.ethertype in (IPV4, IPV6) else None
    except MalformedPacket:
        return None
