"""The user plane's captures, read: which packet was seen where, and whose flow it belongs to. Pure.

Checks over UE traffic judge from these alone, so that the emulator is never its own witness.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import NamedTuple

from conformance import gtpu
from conformance.packet import IPV4, UDP, MalformedPacket, Packet, ethernet, parse, reassemble
from conformance.trace import Event, Frame, Trace


class FlowKey(NamedTuple):
    """A flow's two ends: client first, whichever way a packet goes; addresses as numbers."""

    proto: int
    client: int
    client_port: int | None
    server: int
    server_port: int | None


@dataclass(frozen=True, slots=True)
class Seen:
    """An IPv4 packet at a point of capture; teid is its tunnel's on S1-U, 0 elsewhere; message the whole GTP-U one."""

    at: float
    interface: str
    packet: Packet
    teid: int = 0
    message: bytes = b""

    @property
    def evidence(self) -> str:
        return f"capture:{self.interface}@{self.at:.6f}"

    @property
    def uplink_key(self) -> FlowKey:
        """The key of its flow when its sender is the client."""
        p = self.packet
        return FlowKey(p.proto, p.src, p.src_port, p.dst, p.dst_port)

    @property
    def downlink_key(self) -> FlowKey:
        p = self.packet
        return FlowKey(p.proto, p.dst, p.dst_port, p.src, p.src_port)


@dataclass(frozen=True, slots=True)
class Way:
    """What of one flow was seen in one direction: at the user plane service's door, to and from the app, and onward."""

    entered: tuple[Seen, ...]
    to_app: tuple[Seen, ...]
    from_app: tuple[Seen, ...]
    onward: tuple[Seen, ...]


class Crossings:
    """The captures of a trace's stretch: whole IPv4 packets, those of fragments put together."""

    def __init__(self, trace: Trace) -> None:
        self._trace = trace
        self._nics = tuple(nic for nic in trace.application.nics if nic != "service")

    @property
    def missing(self) -> str:
        """The interfaces that were not captured without a loss, parted by commas; "" when all were."""
        needed = ("s1u-enb", "s1u-epc", *self._nics)
        return ", ".join(name for name in needed if not self._trace.captured(name))

    def way(self, key: FlowKey, uplink: bool) -> Way:
        """What of a flow was seen on its way from the client to the server (uplink), or back."""
        return Way(*(index.get(key, ()) for index in (self._up if uplink else self._down)))

    @cached_property
    def _up(self) -> list[dict[FlowKey, tuple[Seen, ...]]]:
        return [_by_flow(side, True) for side in (self.from_enb, self.to_app, self.from_app, self.to_epc)]

    @cached_property
    def _down(self) -> list[dict[FlowKey, tuple[Seen, ...]]]:
        return [_by_flow(side, False) for side in (self.from_epc, self.to_app, self.from_app, self.to_enb)]

    @cached_property
    def from_enb(self) -> tuple[Seen, ...]:
        return _whole(_tunnelled(self._trace, "s1u-enb", from_lab=False))

    @cached_property
    def to_enb(self) -> tuple[Seen, ...]:
        return _whole(_tunnelled(self._trace, "s1u-enb", from_lab=True))

    @cached_property
    def from_epc(self) -> tuple[Seen, ...]:
        return _whole(_tunnelled(self._trace, "s1u-epc", from_lab=False))

    @cached_property
    def to_epc(self) -> tuple[Seen, ...]:
        return _whole(_tunnelled(self._trace, "s1u-epc", from_lab=True))

    @cached_property
    def to_app(self) -> tuple[Seen, ...]:
        return _whole(self._routed(from_lab=True))

    @cached_property
    def from_app(self) -> tuple[Seen, ...]:
        return _whole(self._routed(from_lab=False))

    @cached_property
    def on_sgi(self) -> tuple[Seen, ...]:
        """Both directions, to and from the servers."""
        packets = (_seen(frame, "sgi", frame.data) for frame in self._trace.frames("sgi"))
        return _whole(seen for seen in packets if seen is not None)

    def _routed(self, from_lab: bool) -> Iterator[Seen]:
        for nic in self._nics:
            for frame in self._trace.frames(nic):
                if frame.from_lab is from_lab:
                    seen = _seen(frame, nic, _ip_of(frame))
                    if seen is not None:
                        yield seen


def _by_flow(side: Iterable[Seen], uplink: bool) -> dict[FlowKey, tuple[Seen, ...]]:
    found: dict[FlowKey, list[Seen]] = {}
    for seen in side:
        found.setdefault(seen.uplink_key if uplink else seen.downlink_key, []).append(seen)
    return {key: tuple(packets) for key, packets in found.items()}


def key_of(flow: Event) -> FlowKey:
    """The key of a ``flow`` event's packets."""
    proto = 6 if flow["protocol"] == "tcp" else UDP
    client, server = _number(flow["client_address"]), _number(flow["server_address"])
    return FlowKey(proto, client, flow["client_port"], server, flow["server_port"])


def _number(address: str) -> int:
    return int.from_bytes(bytes(map(int, address.split("."))))


def _ip_of(frame: Frame) -> bytes:
    """The IPv4 packet in an Ethernet frame, b"" for any other."""
    try:
        whole = ethernet(frame.data)
    except MalformedPacket:
        return b""
    return whole.payload if whole.ethertype == IPV4 else b""


def _seen(frame: Frame, interface: str, data: bytes) -> Seen | None:
    try:
        packet = parse(data)
    except MalformedPacket:
        return None
    return Seen(frame.at, interface, packet) if packet.version == 4 else None


def _tunnelled(trace: Trace, interface: str, from_lab: bool) -> Iterator[Seen]:
    """The inner packets of G-PDUs that the user plane service sent (from_lab) or got on a link of S1-U."""
    for frame in trace.frames(interface):
        if frame.from_lab is not from_lab:
            continue
        outer = _seen(frame, interface, _ip_of(frame))
        if outer is None or outer.packet.proto != UDP or outer.packet.dst_port != gtpu.PORT:
            continue
        message = outer.packet.payload
        offset = gtpu.g_pdu_offset(message)
        inner = _seen(frame, interface, message[offset:]) if offset else None
        if inner is not None:
            yield replace(inner, teid=int.from_bytes(message[4:8]), message=message)


def _whole(packets: Iterable[Seen]) -> tuple[Seen, ...]:
    """Fragments put together, in the place of the one that made a packet whole; incomplete ones are left out."""
    found: list[Seen] = []
    parts: dict[tuple[int, int, int, int, int], list[Packet]] = {}
    for seen in packets:
        packet = seen.packet
        if not packet.is_fragment:
            found.append(seen)
            continue
        key = (packet.src, packet.dst, packet.proto, packet.identification, seen.teid)
        parts.setdefault(key, []).append(packet)
        whole = reassemble(parts[key])
        if whole is not None:
            del parts[key]
            found.append(replace(seen, packet=whole, message=b""))
    return tuple(found)


def attached(trace: Trace) -> Sequence[Event]:
    """The ``attach`` events of the whole run, the last one of each UE."""
    return tuple({event["address"]: event for event in trace.everywhere("attach")}.values())
