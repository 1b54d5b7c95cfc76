"""eNB, user plane service and EPC as cores wired together in memory, with an app that sends back what it gets."""

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from ipaddress import IPv4Address

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scapy.layers.inet import IP, TCP, UDP, fragment
from scapy.layers.inet6 import IPv6
from scapy.packet import Raw

from conformance import gtpu
from conformance.application import Rule
from conformance.rules.language import read_rules
from emulator import ue
from emulator.datapath import Element, Run, Source, segments
from emulator.enb import ENodeB
from emulator.epc import ServingGateway
from emulator.userplane import AppSide, UserPlane, Vnic

NETWORKS = ["10.45.0.0/16", "2001:db8:45::/48"]
BEARERS = ue.attach(4, NETWORKS, seed=7)
OWN_TUNS = 2
ENB, ENB_UPS, EPC_UPS, EPC = (("10.200.1.2", 2152), ("10.200.1.1", 2152), ("10.200.2.1", 2152), ("10.200.2.2", 2152))
GATEWAYS = [bytes.fromhex("020000000001"), bytes.fromhex("020000000002")]
APP_MACS = [bytes.fromhex("525400000001"), bytes.fromhex("525400000002")]
UE0, UE1, UE2 = "10.45.0.1", "10.45.0.2", "10.45.0.3"
SERVER, APP = "203.0.113.9", "192.0.2.10"
WEB = (
    Rule("web", "uplink", "4==ip_version && proto==TCP && (80==dst_port || 8080==dst_port)"),
    Rule("web", "downlink", "4==ip_version && proto==TCP && (80==src_port || 8080==src_port)"),
)
WIRES = {"s1u_enb": ("s1u_enb_ups", ENB), "s1u_enb_ups": ("s1u_enb", ENB_UPS)}
WIRES |= {"s1u_epc": ("s1u_epc_ups", EPC), "s1u_epc_ups": ("s1u_epc", EPC_UPS)}


@dataclass
class World:
    """All packets that left by a port, in order; app turns a frame from the UPS into its answers."""

    service: UserPlane
    app: Callable[[int, bytes], Sequence[tuple[int, bytes]]]
    left: list[tuple[str, bytes]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.enb = ENodeB(BEARERS, OWN_TUNS, ENB[0], ENB_UPS)
        self.epc = ServingGateway(BEARERS, EPC[0], EPC_UPS)

    def element(self, port: str) -> Element:
        if port in ("s1u_epc", "sgi_tun"):
            return self.epc
        return self.enb if port in ("s1u_enb", "ran_tun") or port.startswith("ue_tun") else self.service

    def send(self, port: str, packet: bytes, peer: tuple[str, int] | None = None) -> list[tuple[str, bytes]]:
        """Put a packet into a port; where packets came out of the user plane, and all that crossed S1-U in `left`."""
        queue: deque[tuple[str, bytes, tuple[str, int] | None]] = deque([(port, packet, peer)])
        out = []
        self.left.clear()
        while queue:
            port, data, peer = queue.popleft()
            for run in self.element(port).receive(data, len(data), Source(port, peer), 0.0):
                for piece in segments(run.buffer, run.segment_size):
                    self.left.append((run.port, piece))
                    if run.port in WIRES:
                        to, sender = WIRES[run.port]
                        assert run.peer == (self._address(to) if run.peer else None)
                        queue.append((to, piece, sender))
                    elif run.port.startswith("vnic"):
                        queue.extend((f"vnic_{n}", back, None) for n, back in self.app(int(run.port[-1]), piece))
                        out.append((run.port, piece))
                    else:
                        out.append((run.port, piece))
        return out

    @staticmethod
    def _address(port: str) -> tuple[str, int]:
        return {"s1u_enb": ENB, "s1u_enb_ups": ENB_UPS, "s1u_epc": EPC, "s1u_epc_ups": EPC_UPS}[port]

    def crossed(self, port: str) -> list[gtpu.Message]:
        return [gtpu.decode(data) for name, data in self.left if name == port]


def bounce(vnic: int, frame: bytes) -> list[tuple[int, bytes]]:
    """A transparent app with one vNIC: every packet back to the gateway, as it is."""
    return [(vnic, frame[6:12] + frame[:6] + frame[12:])]


def cross(vnic: int, frame: bytes) -> list[tuple[int, bytes]]:
    """A transparent app with two: in by one, out by the other."""
    return [(1 - vnic, GATEWAYS[1 - vnic] + APP_MACS[1 - vnic] + frame[12:])]


def world(kind: str = "transparent", vnics: int = 1, rules: tuple[Rule, ...] = WEB, bypass: bool = False) -> World:
    nics = tuple(Vnic(APP_MACS[n], GATEWAYS[n], IPv4Address(f"10.198.0.{4 * n + 1}")) for n in range(vnics))
    side = AppSide(kind, IPv4Address(APP), nics)  # type: ignore[arg-type]
    service = UserPlane(BEARERS, side, ENB, EPC)
    service.offload(read_rules(rules))
    service.bypass(bypass)
    return World(service, bounce if vnics == 1 else cross)


def tcp(src: str, dst: str, sport: int, dport: int) -> bytes:
    return bytes(IP(src=src, dst=dst) / TCP(sport=sport, dport=dport) / b"data")


def udp(src: str, dst: str, sport: int = 1000, dport: int = 7) -> bytes:
    return bytes(IP(src=src, dst=dst) / UDP(sport=sport, dport=dport) / b"data")


def framed(packet: bytes, vnic: int = 0) -> bytes:
    """A frame from the app to the gateway."""
    return GATEWAYS[vnic] + APP_MACS[vnic] + b"\x08\x00" + packet


@pytest.mark.parametrize("vnics", [1, 2])
def test_a_selected_flow_passes_the_app_both_ways_in_its_own_bearer(vnics: int) -> None:
    lab = world(vnics=vnics)
    up, down = tcp(UE0, SERVER, 40000, 8080), tcp(SERVER, UE0, 8080, 40000)
    assert lab.send("ue_tun_0", up) == [("vnic_0", APP_MACS[0] + GATEWAYS[0] + b"\x08\x00" + up), ("sgi_tun", up)]
    assert [(m.teid, m.payload) for m in lab.crossed("s1u_epc_ups")] == [(BEARERS[0].uplink_teid, up)]
    last = vnics - 1
    assert lab.send("sgi_tun", down) == [
        (f"vnic_{last}", APP_MACS[last] + GATEWAYS[last] + b"\x08\x00" + down),
        ("ue_tun_0", down),
    ]
    assert [(m.teid, m.payload) for m in lab.crossed("s1u_enb_ups")] == [(BEARERS[0].downlink_teid, down)]


@pytest.mark.parametrize(
    "packet",
    [
        tcp(UE0, SERVER, 40000, 443),
        udp(UE0, SERVER, dport=80),
        bytes(IPv6(src="2001:db8:45::1", dst="2001:db8::9") / TCP(dport=80)),
        tcp(UE0, SERVER, 8080, 9999),
        bytes(IP(src=UE0, dst=SERVER, proto=6)),
        bytes(IP(src=UE0, dst=SERVER, proto=6) / b"\0\1\0"),
    ],
)
def test_what_no_rule_selects_crosses_as_the_same_bytes(packet: bytes) -> None:
    lab = world(rules=(*WEB, Rule("any-six", "uplink", "dst_port == 80 && ip_version == 6")))
    assert lab.send("ue_tun_0", packet) == [("sgi_tun", packet)]
    sent, forwarded = lab.left[0], lab.left[1]
    assert sent == ("s1u_enb", gtpu.encode_g_pdu(BEARERS[0].uplink_teid, packet))
    assert forwarded == ("s1u_epc_ups", sent[1])


def test_sequence_numbers_and_extension_headers_cross_unchanged() -> None:
    lab = world()
    inner = udp(UE0, SERVER)
    message = gtpu.Message(255, BEARERS[0].uplink_teid, inner, 77, None, (gtpu.ExtensionHeader(0x40, b"\x08\x68"),))
    assert lab.send("s1u_enb_ups", gtpu.encode(message), ENB) == [("sgi_tun", inner)]
    assert lab.crossed("s1u_epc_ups") == [message]


def test_selected_behind_an_extension_header_that_need_not_be_understood() -> None:
    lab = world()
    inner = tcp(UE0, SERVER, 1, 80)
    message = gtpu.Message(255, BEARERS[0].uplink_teid, inner, 77, None, (gtpu.ExtensionHeader(0x40, b"\x08\x68"),))
    assert [port for port, _ in lab.send("s1u_enb_ups", gtpu.encode(message), ENB)] == ["vnic_0", "sgi_tun"]
    must = gtpu.encode(
        gtpu.Message(255, BEARERS[0].uplink_teid, inner, None, None, (gtpu.ExtensionHeader(0x85, b"\0\0"),))
    )
    lab.send("s1u_enb_ups", must, ENB)
    assert lab.left[0] == ("s1u_epc_ups", must)
    assert lab.crossed("s1u_epc")[0].type == gtpu.MessageType.SUPPORTED_EXTENSION_HEADERS


def test_bypass_keeps_everything_from_the_app_and_back_again() -> None:
    lab = world()
    packet = tcp(UE0, SERVER, 40000, 80)
    assert len(lab.send("ue_tun_0", packet)) == 2
    lab.service.bypass(True)
    assert lab.send("ue_tun_0", packet) == [("sgi_tun", packet)]
    lab.service.bypass(False)
    assert len(lab.send("ue_tun_0", packet)) == 2


def test_new_rules_are_in_force_for_flows_already_judged() -> None:
    lab = world()
    packet = tcp(UE0, SERVER, 40000, 80)
    lab.send("ue_tun_0", packet)
    lab.service.offload(read_rules([Rule("dns", "uplink", "dst_port == 53")]))
    assert lab.send("ue_tun_0", packet) == [("sgi_tun", packet)]
    assert lab.send("ue_tun_0", udp(UE0, SERVER, dport=53))[0][0] == "vnic_0"
    lab.service.offload(())
    assert lab.send("ue_tun_0", udp(UE0, SERVER, dport=53)) == [("sgi_tun", udp(UE0, SERVER, dport=53))]


@pytest.mark.parametrize("text", ["length > 100 && proto == TCP", "dscp == 46"])
def test_rules_over_fields_of_single_packets_are_judged_a_packet(text: str) -> None:
    lab = world(rules=(Rule("some", "uplink", text),))
    plain = tcp(UE0, SERVER, 1, 80)
    other = bytes(IP(src=UE0, dst=SERVER, tos=46 << 2) / TCP(sport=1, dport=80) / bytes(100))
    for _ in range(2):
        assert lab.send("ue_tun_0", plain)[0][0] == "sgi_tun"
        assert lab.send("ue_tun_0", other)[0][0] == "vnic_0"


def test_later_fragments_follow_their_first() -> None:
    lab = world(rules=(Rule("dns", "uplink", "dst_port == 53"),))
    selected, others = (
        fragment(IP(src=UE0, dst=SERVER, id=port) / UDP(dport=port) / Raw(bytes(300)), fragsize=96)  # type: ignore[no-untyped-call]
        for port in (53, 54)
    )
    assert len(selected) > 2
    for one, two in zip(selected, others, strict=True):
        assert [port for port, _ in lab.send("ue_tun_0", bytes(one))] == ["vnic_0", "sgi_tun"]
        assert [port for port, _ in lab.send("ue_tun_0", bytes(two))] == ["sgi_tun"]


def test_fragments_are_remembered_of_a_bounded_number_of_packets() -> None:
    lab = world(rules=(Rule("dns", "uplink", "dst_port == 53"),))
    for number in range(1500):
        first = bytes(IP(src=UE0, dst=SERVER, id=number, flags="MF", proto=17) / b"\0\1\0\x35\0\0\0\0")
        lab.send("ue_tun_0", first)
    later = [bytes(IP(src=UE0, dst=SERVER, id=number, frag=1, proto=17) / bytes(8)) for number in (0, 1499)]
    assert [lab.send("ue_tun_0", data)[0][0] for data in later] == ["sgi_tun", "vnic_0"]


def test_between_two_ues_a_packet_passes_the_app_once_each_way() -> None:
    lab = world()
    there, back = tcp(UE0, UE1, 40000, 80), tcp(UE1, UE0, 80, 40000)
    assert [port for port, _ in lab.send("ue_tun_0", there)] == ["vnic_0", "ue_tun_1"]
    assert [m.teid for m in lab.crossed("s1u_enb_ups")] == [BEARERS[1].downlink_teid]
    assert [port for port, _ in lab.send("ue_tun_1", back)] == ["vnic_0", "ue_tun_0"]


def test_between_two_ues_past_the_app_through_the_gateway() -> None:
    lab = world()
    packet = udp(UE0, UE2)
    assert lab.send("ue_tun_0", packet) == [("ran_tun", packet)]


def test_a_ue_speaks_with_its_own_address_only() -> None:
    lab = world()
    assert lab.send("ue_tun_0", udp(UE1, SERVER)) == []
    assert lab.send("ran_tun", udp(UE0, SERVER)) == []
    assert lab.send("ue_tun_0", udp("10.45.77.77", SERVER)) == []
    assert lab.enb.counters == {"from no attached UE": 3}
    spoofed = gtpu.encode_g_pdu(BEARERS[1].uplink_teid, tcp(UE0, SERVER, 1, 80))
    assert lab.send("s1u_enb_ups", spoofed, ENB) == []
    assert lab.epc.counters == {"not the bearer's UE": 1}


@pytest.mark.parametrize(
    ("frame", "reason"),
    [
        (framed(tcp("10.198.0.2", SERVER, 1, 80)), "from the app: in no attached UE's bearer"),
        (framed(tcp("10.45.9.9", SERVER, 1, 80)), "from the app: in no attached UE's bearer"),
        (framed(b"")[:12] + b"\x86\xdd" + bytes(IPv6(dst="::1")), "from the app: no IPv4 packet"),
        (framed(tcp(UE0, SERVER, 1, 80)[:30]), "from the app: no IPv4 packet"),
        (framed(b""), "from the app: no IPv4 packet"),
        (framed(b"")[:12] + b"\x08\x06" + bytes(28), ""),
        (framed(udp(UE0, "10.198.0.1")), ""),
        (b"\xff" * 6 + framed(udp(UE0, SERVER))[6:], ""),
        (b"", ""),
    ],
)
def test_frames_that_go_nowhere(frame: bytes, reason: str) -> None:
    lab = world()
    assert lab.send("vnic_0", frame) == []
    assert lab.service.counters == ({reason: 1} if reason else {})


def test_padding_of_a_frame_stays_behind() -> None:
    lab = world()
    packet = bytes(IP(src=UE0, dst=SERVER) / UDP())
    assert lab.send("vnic_0", framed(packet) + bytes(18)) == [("sgi_tun", packet)]


def test_a_terminating_app_is_reached_and_answers() -> None:
    lab = world("terminating", rules=())
    lab.app = lambda _vnic, _frame: []
    ask, answer = udp(UE0, APP), udp(APP, UE0, 7, 1000)
    assert lab.send("ue_tun_0", ask) == [("vnic_0", APP_MACS[0] + GATEWAYS[0] + b"\x08\x00" + ask)]
    assert lab.send("vnic_0", framed(answer)) == [("ue_tun_0", answer)]
    assert [m.teid for m in lab.crossed("s1u_enb_ups")] == [BEARERS[0].downlink_teid]
    other = udp(UE0, SERVER)
    assert lab.send("ue_tun_0", other) == [("sgi_tun", other)]
    assert lab.send("vnic_0", framed(udp(APP, SERVER))) == [("breakout_tun", udp(APP, SERVER))]
    assert lab.send("breakout_tun", udp(SERVER, APP))[0][0] == "vnic_0"
    assert lab.send("breakout_tun", udp(SERVER, "192.0.2.11")) == []
    lab.service.bypass(True)
    assert lab.send("ue_tun_0", ask) == [("sgi_tun", ask)]
    assert lab.send("breakout_tun", ask) == []


@pytest.mark.parametrize(
    ("port", "peer"), [("s1u_enb", ENB_UPS), ("s1u_epc", EPC_UPS), ("s1u_enb_ups", ENB), ("s1u_epc_ups", EPC)]
)
def test_every_end_answers_echo(port: str, peer: tuple[str, int]) -> None:
    lab = world()
    request = gtpu.encode(gtpu.Message(1, 0, b"", sequence=4711))
    (run,) = lab.element(port).receive(request, len(request), Source(port, peer), 0.0)
    assert run == Run(port, peer, gtpu.echo_response(gtpu.decode(request)), len(run.buffer))
    assert gtpu.decode(run.buffer).sequence == 4711


@pytest.mark.parametrize(("port", "peer", "own"), [("s1u_enb", ENB_UPS, ENB), ("s1u_epc", EPC_UPS, EPC)])
def test_an_unknown_teid_is_an_error_indication(port: str, peer: tuple[str, int], own: tuple[str, int]) -> None:
    lab = world()
    data = gtpu.encode_g_pdu(1, udp(UE0, SERVER))
    (run,) = lab.element(port).receive(data, len(data), Source(port, peer), 0.0)
    assert run.peer == peer
    assert gtpu.read_error_indication(gtpu.decode(run.buffer)) == gtpu.ErrorIndication(1, own[0])


def test_end_marker_and_error_indication_cross_the_service() -> None:
    lab = world()
    for data in (gtpu.end_marker(BEARERS[0].downlink_teid), gtpu.error_indication(5, EPC[0])):
        lab.send("s1u_epc_ups", data, EPC)
        assert lab.left == [("s1u_enb_ups", data)]


def test_a_batch_is_its_packets() -> None:
    single, batched = world(), world()
    packets = [tcp(UE0, SERVER, 1, 80), tcp(UE0, SERVER, 2, 81), tcp(UE0, SERVER, 3, 80)]
    datagrams = [gtpu.encode_g_pdu(BEARERS[0].uplink_teid, packet) for packet in packets]
    source = Source("s1u_enb_ups", ENB)
    runs = batched.service.receive(b"".join(datagrams), len(datagrams[0]), source, 0.0)
    assert runs == [run for data in datagrams for run in single.service.receive(data, len(data), source, 0.0)]


def test_attachment_is_drawn_from_the_seed() -> None:
    again, other = ue.attach(100, NETWORKS, 7), ue.attach(100, NETWORKS, 8)
    assert again[:4] == BEARERS
    assert again != other
    teids = [teid for bearer in again for teid in (bearer.uplink_teid, bearer.downlink_teid)]
    assert len(set(teids)) == 200
    assert min(teids) > 0
    assert str(again[99].address) == "10.45.0.100"
    with pytest.raises(ValueError, match="do not fit"):
        ue.attach(70000, NETWORKS, 7)


@settings(derandomize=True, max_examples=300, deadline=None)
@given(
    st.sampled_from(
        ["s1u_enb", "s1u_epc", "s1u_enb_ups", "s1u_epc_ups", "vnic_0", "breakout_tun", "sgi_tun", "ran_tun"]
    ),
    st.sampled_from(["", "30ff", "34ff", "gtp-up", "gtp-down", "frame"]),
    st.binary(max_size=64),
    st.sampled_from(["transparent", "terminating"]),
)
def test_noise_stops_nothing(port: str, begin: str, data: bytes, kind: str) -> None:
    lab = world(kind)
    teid = BEARERS[0].uplink_teid if begin == "gtp-up" else BEARERS[0].downlink_teid
    if begin.startswith("gtp"):
        data = gtpu.encode_g_pdu(teid, data)
    elif begin == "frame":
        data = framed(data)
    else:
        data = bytes.fromhex(begin) + data
    if data or not port.endswith("tun"):
        back = {to: sender for to, sender in WIRES.values()}
        lab.send(port, data, back.get(port))
    packet = tcp(UE0, SERVER, 40000, 80)
    expected = ["vnic_0", "sgi_tun"] if kind == "transparent" else ["sgi_tun"]
    assert [name for name, _ in lab.send("ue_tun_0", packet)] == expected
