"""The RACS user plane service (UPS) between eNB and EPC: contract 6.

What a rule selects leaves its tunnel and goes to the app as the routed IP packet that it was; what the app sends to the
gateway re-enters the UE's bearer. All else crosses as the same GTP-U bytes. A destination that is an attached UE is
downlink, so a packet between two UEs passes the app once. IPv6 always bypasses.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address
from typing import Literal

from conformance import gtpu
from conformance.packet import IPV4, MalformedPacket, Packet, parse
from conformance.rules.expression import Or, compile_rule, fields
from conformance.rules.language import ParsedRule
from emulator.datapath import Address, Run, Source, segments
from emulator.enb import answer
from emulator.ue import Bearer

ENB, EPC, VNIC, BREAKOUT = "s1u_enb_ups", "s1u_epc_ups", "vnic_", "breakout_tun"

_VERDICTS_MAX = 65536  # of a protocol
_FRAGMENTED_MAX = 1024

Selects = Callable[[Packet], bool]


@dataclass(frozen=True, slots=True)
class Vnic:
    """A vNIC of the app on a user-plane link: MAC addresses of 6 bytes, gateway is the platform's address there."""

    mac: bytes
    gateway_mac: bytes
    gateway: IPv4Address


@dataclass(frozen=True, slots=True)
class AppSide:
    """The app as the UPS knows it. Two vNICs are ``-ul`` and ``-dl`` in this order; address is a terminating app's."""

    type: Literal["transparent", "terminating"]
    address: IPv4Address
    vnics: tuple[Vnic, ...]


class UserPlane:
    """A core with the ports ``s1u_enb_ups``, ``s1u_epc_ups``, ``vnic_0``, ``vnic_1`` and ``breakout_tun``.

    enb and epc are its peers. It starts in bypass: nothing reaches the app until `bypass` says so.
    """

    def __init__(self, bearers: Sequence[Bearer], app: AppSide, enb: Address, epc: Address) -> None:
        self.counters: Counter[str] = Counter()
        self._app = app
        self._peers = {ENB: (EPC, epc), EPC: (ENB, enb)}  # by the port of arrival: where a tunnel goes on
        self._by_address = {bearer.address.packed: bearer for bearer in bearers}
        self._attached = {ENB: {bearer.uplink_teid.to_bytes(4): bearer.address.packed for bearer in bearers}}
        self._attached[EPC] = {bearer.downlink_teid.to_bytes(4): bearer.address.packed for bearer in bearers}
        self._headers = [vnic.mac + vnic.gateway_mac + IPV4.to_bytes(2) for vnic in app.vnics]
        self._frames = {f"{VNIC}{n}": vnic for n, vnic in enumerate(app.vnics)}
        self._selectors: dict[str, _Selector | None] = {ENB: None, EPC: None}
        self._bypassed = True

    def offload(self, rules: Sequence[ParsedRule]) -> None:
        """From now on these rules select; the verdicts of the old ones are forgotten."""
        for port, direction in ((ENB, "uplink"), (EPC, "downlink")):
            expressions = tuple(rule.expression for rule in rules if rule.direction == direction)
            self._selectors[port] = _Selector(Or(expressions)) if expressions else None

    def bypass(self, active: bool) -> None:
        """UE traffic bypasses the app, or passes through it again."""
        self._bypassed = active

    def receive(self, buffer: bytes, segment_size: int, source: Source, now: float) -> list[Run]:
        del now  # verdicts do not age: the signature is every element's
        port = source.port
        runs = []
        for data in segments(buffer, segment_size):
            if port in self._peers:
                run = self._from_tunnel(data, source)
            elif port == BREAKOUT:
                run = self._from_breakout(data)
            else:
                run = self._from_app(data, self._frames[port])
            if run is not None:
                runs.append(run)
        return runs

    def _from_tunnel(self, data: bytes, source: Source) -> Run | None:
        port = source.port
        if not self._bypassed:
            offset = gtpu.g_pdu_offset(data)
            if offset and self._goes_to_app(data, offset, port):
                return self._to_app(data[offset:], port)
        if data[1:2] == b"\x01":
            return answer(data, source, self.counters)  # an echo request is about the path to us (TS 29.281 7.2.1)
        to, peer = self._peers[port]
        return Run(to, peer, data, len(data))

    def _goes_to_app(self, data: bytes, offset: int, port: str) -> bool:
        own = data[offset + 12 : offset + 16] if port == ENB else data[offset + 16 : offset + 20]
        if own != self._attached[port].get(data[4:8]) or data[offset] >> 4 != 4:
            return False  # what is not of the bearer's UE the app could not give back into this bearer
        if self._app.type == "terminating":
            return port == ENB and data[offset + 16 : offset + 20] == self._app.address.packed
        selector = self._selectors[port]
        return selector is not None and selector.selects(data, offset)

    def _to_app(self, packet: bytes, port: str) -> Run:
        vnic = 1 if port == EPC and len(self._headers) > 1 else 0
        self.counters["to the app"] += 1
        frame = self._headers[vnic] + packet
        return Run(f"{VNIC}{vnic}", None, frame, len(frame))

    def _from_breakout(self, packet: bytes) -> Run | None:
        if self._app.type == "terminating" and packet[16:20] == self._app.address.packed and not self._bypassed:
            return self._to_app(packet, ENB)
        self.counters["breakout: the app is bypassed or not the destination"] += 1
        return None

    def _from_app(self, frame: bytes, vnic: Vnic) -> Run | None:
        packet = self._routed(frame, vnic)
        if packet is None:
            return None
        bearer = self._by_address.get(packet[16:20])
        if bearer is not None:
            return self._into(ENB, bearer.downlink_teid, packet)
        if self._app.type == "terminating":
            self.counters["broken out"] += 1
            return Run(BREAKOUT, None, packet, len(packet))
        bearer = self._by_address.get(packet[12:16])
        if bearer is not None:
            return self._into(EPC, bearer.uplink_teid, packet)
        self.counters["from the app: in no attached UE's bearer"] += 1
        return None

    def _routed(self, frame: bytes, vnic: Vnic) -> bytes | None:
        """The IPv4 packet for the gateway to route, without Ethernet's padding; None for other frames."""
        if frame[:6] != vnic.gateway_mac or frame[12:14] == b"\x08\x06" or frame[30:34] == vnic.gateway.packed:
            return None  # for the kernel, which answers ARP and its own address, or for nobody
        length = int.from_bytes(frame[16:18])
        if frame[12:15] < b"\x08\x00\x40" or frame[12:15] > b"\x08\x00\x4f" or not 20 <= length <= len(frame) - 14:
            self.counters["from the app: no IPv4 packet"] += 1
            return None
        return frame[14 : 14 + length]

    def _into(self, port: str, teid: int, packet: bytes) -> Run:
        """From the service's own end of S1-U toward eNB or EPC."""
        self.counters["re-entered"] += 1
        _, peer = self._peers[EPC if port == ENB else ENB]
        data = gtpu.encode_g_pdu(teid, packet)
        return Run(port, peer, data, len(data))


class _Selector:
    """Whether the rules of one direction select a packet; remembers it a flow, and of a first fragment for the later.

    A later fragment that overtook its first one is judged by the fields that it has itself.
    """

    def __init__(self, rules: Or) -> None:
        self._selects: Selects = compile_rule(rules)
        self._by_packet = bool(fields(rules) & {"dscp", "length"})  # then packets of one flow differ
        self._verdicts: list[dict[bytes, bool]] = [{} for _ in range(256)]  # by protocol
        self._fragmented: dict[bytes, bool] = {}

    def selects(self, data: bytes, offset: int) -> bool:
        """Of the packet at this offset of a G-PDU. Malformed ones are never selected."""
        fragmented = data[offset + 6] & 0x3F or data[offset + 7]
        if data[offset] != 0x45 or fragmented or int.from_bytes(data[offset + 2 : offset + 4]) != len(data) - offset:
            return self._selects_slowly(data[offset:])
        # protocol, addresses and ports: all that a verdict can hang on, but for the fields of a packet of its own
        verdicts, key = self._verdicts[data[offset + 9]], data[offset + 12 : offset + 24]
        if self._by_packet:
            key += data[offset + 1 : offset + 4]
        verdict = verdicts.get(key)
        if verdict is None:
            if len(verdicts) >= _VERDICTS_MAX:
                verdicts.clear()
            verdict = verdicts[key] = self._selects_slowly(data[offset:])
        return verdict

    def _selects_slowly(self, data: bytes) -> bool:
        try:
            packet = parse(data)
        except MalformedPacket:
            return False
        if not packet.is_fragment:
            return self._selects(packet)
        key = data[4:6] + data[9:10] + data[12:20]  # RFC 791: identification, protocol and addresses
        if packet.fragment_offset:
            return self._fragmented[key] if key in self._fragmented else self._selects(packet)
        if key not in self._fragmented and len(self._fragmented) >= _FRAGMENTED_MAX:
            del self._fragmented[next(iter(self._fragmented))]
        verdict = self._fragmented[key] = self._selects(packet)
        return verdict
