"""dissection and packetselection: what `racs rule` sees of a frame, against scapy's reading of the same bytes."""

import struct
from ipaddress import ip_address
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scapy.contrib.gtp import GTP_U_Header, GTPHeader
from scapy.layers.dns import DNS
from scapy.layers.inet import ICMP, IP, TCP, UDP, fragment
from scapy.layers.inet6 import IPv6, IPv6ExtHdrDestOpt, IPv6ExtHdrFragment
from scapy.layers.l2 import ARP, CookedLinux, Dot1Q, Ether
from scapy.layers.sctp import SCTP
from scapy.packet import Padding, Raw

from conformance import profile as profiles
from conformance.application import Rule
from conformance.checks.selection import users
from conformance.packet import parse as parse_packet
from conformance.rules.expression import And, Comparison, Expression, Membership, Not, Or, compile_rule, evaluate, holds
from conformance.rules.language import parse
from harness.rule.capturefile import CapturedFrame
from harness.rule.packetselection import JudgedFrame, Selector, count_line

SYN = IP(src="10.45.0.1", dst="203.0.113.1") / TCP(sport=40000, dport=80)
BIG = IP(src="10.45.0.1", dst="203.0.113.1", id=7) / UDP(sport=40000, dport=80) / (b"z" * 3000)
WEB = (Rule("web", "uplink", "proto in {TCP, UDP} && dst_port==80"),)
SESSION = Raw(b"\x01\x10\x03\x00")  # a PDU session container
ETHERNET, RAW, COOKED, COOKED_2 = 1, 101, 113, 276


def cut_up(packet: Any) -> list[Any]:
    """Its fragments."""
    pieces: list[Any] = fragment(packet, 1400)  # type: ignore[no-untyped-call]  # scapy has no types
    return pieces


def tunnel(inner: Any, teid: int = 5, **options: Any) -> Any:
    outer = IP(src="10.200.1.2", dst="10.200.1.1", id=99) / UDP(sport=2152, dport=2152)
    return outer / GTP_U_Header(teid=teid, **options) / inner


def judge(*packets: Any, link: int = RAW, rules: tuple[Rule, ...] = WEB, cut: int = 0) -> list[JudgedFrame]:
    """Frames of these packets, the last `cut` bytes of each not captured."""
    selector, found = Selector(rules, None), []
    for number, packet in enumerate(packets, 1):
        data = bytes(packet)
        kept = data[: len(data) - cut] if cut else data
        found.append(selector.judge(CapturedFrame(number, number * 10**9, link, kept, len(data))))
    return found


CASES = [
    (RAW, SYN, "selected", "TCP 10.45.0.1:40000 > 203.0.113.1:80, 40 bytes"),
    (228, SYN, "selected", "TCP 10.45.0.1:40000 > 203.0.113.1:80, 40 bytes"),
    (ETHERNET, Ether() / SYN / (b"\0" * 6), "selected", "TCP 10.45.0.1:40000 > 203.0.113.1:80, 46 bytes"),
    (ETHERNET, Ether() / SYN / Padding(b"\0" * 6), "selected", "TCP 10.45.0.1:40000 > 203.0.113.1:80, 40 bytes"),
    (ETHERNET, Ether() / Dot1Q(vlan=7) / SYN, "selected", "TCP 10.45.0.1:40000 > 203.0.113.1:80, 40 bytes"),
    (ETHERNET, Ether(type=0x88A8) / Dot1Q(vlan=7) / Dot1Q(vlan=8) / SYN, "selected", "TCP 10.45.0.1:40000 >"),
    (COOKED, CookedLinux(proto=0x0800) / SYN, "selected", "TCP 10.45.0.1:40000 > 203.0.113.1:80"),
    (COOKED_2, struct.pack("!HHIHBB8s", 0x0800, 0, 3, 1, 0, 6, b"") + bytes(SYN), "selected", "TCP 10.45.0.1:40000"),
    (RAW, IP(tos=46 << 2) / UDP(dport=81), "left", "UDP 127.0.0.1:53 > 127.0.0.1:81, 28 bytes, DSCP 46"),
    (RAW, IP(dst="203.0.113.1") / ICMP(), "left", "ICMP"),
    (RAW, IPv6() / TCP(dport=80), "left", "TCP [::1]:20 > [::1]:80, 60 bytes (IPv6 always bypasses the app)"),
    (RAW, tunnel(SYN), "selected", "TCP 10.45.0.1:40000 > 203.0.113.1:80, 40 bytes, in GTP-U TEID 0x00000005"),
    (ETHERNET, Ether() / tunnel(SYN, S=1, seq=4), "selected", "in GTP-U TEID 0x00000005"),
    (ETHERNET, Ether() / Dot1Q(vlan=3) / tunnel(IP() / UDP(dport=81)), "left", "in GTP-U TEID 0x00000005"),
    (RAW, IP() / UDP(dport=2152) / GTPHeader(gtp_type=1, S=1, seq=1), "no packet", "GTP-U echo request: no packet"),
    (RAW, IP() / UDP(dport=2152) / GTPHeader(gtp_type=254, teid=1), "no packet", "GTP-U end marker"),
    (RAW, IP() / UDP(dport=2152) / GTPHeader(gtp_type=99, teid=1), "no packet", "GTP-U message 99"),
    (RAW, IP() / UDP(sport=1, dport=2152) / DNS(), "left", "UDP 127.0.0.1:1 > 127.0.0.1:2152"),
    (RAW, tunnel(b"\x00nothing", gtp_type=255), "no packet", "malformed: IP version 0"),
    (
        RAW,
        tunnel(SESSION / SYN, gtp_type=255, E=1, next_ex=0x85),
        "no packet",
        "an extension header that must",
    ),
    (
        ETHERNET,
        Ether(type=0x9100) / Dot1Q(vlan=3) / Dot1Q(vlan=4) / SYN,
        "selected",
        "TCP 10.45.0.1:40000",
    ),
    (COOKED, CookedLinux(proto=0x8100) / Dot1Q(vlan=3) / SYN, "selected", "TCP 10.45.0.1:40000"),
    (COOKED_2, struct.pack("!HHIHBB8s", 0x8100, 0, 3, 1, 0, 6, b"") + bytes(Dot1Q(vlan=3) / SYN), "selected", "TCP"),
    (ETHERNET, Ether() / ARP(), "no packet", "ARP"),
    (ETHERNET, Ether(type=0x88CC) / b"lldp", "no packet", "no IP: ethertype 0x88cc"),
    (ETHERNET, b"short", "no packet", "cut off inside the link's header"),
    (RAW, b"\x45\x00", "no packet", "malformed: 2 bytes, an IPv4 header has 20"),
    (RAW, b"", "no packet", "malformed: no bytes"),
    (147, SYN, "no packet", "link type 147: a link type that is not read"),
]


@pytest.mark.parametrize(("link", "packet", "state", "said"), CASES)
def test_frames(link: int, packet: Any, state: str, said: str) -> None:
    (found,) = judge(packet, link=link)
    assert (found.state, said in found.summary) == (state, True), found.summary
    assert found.by == (("web",) if state == "selected" else ())


def test_later_fragments_follow_their_first_one() -> None:
    pieces = cut_up(BIG)
    assert [one.state for one in judge(*pieces)] == ["selected"] * 3
    other = cut_up(IP(src="10.45.0.1", dst="203.0.113.1", id=8) / UDP(dport=81) / (b"z" * 3000))
    mixed = [piece for pair in zip(pieces, other, strict=True) for piece in pair]
    assert [one.state for one in judge(*mixed)] == ["selected", "left"] * 3
    alone = judge(*pieces[1:])
    assert [one.state for one in alone] == ["unknown"] * 2
    assert "its first fragment does not stand before it" in alone[0].summary
    assert "fragment at 1400" in alone[0].summary


def test_fragments_inside_tunnels_are_told_apart_by_bearer() -> None:
    first, second, _ = cut_up(BIG)
    states = [one.state for one in judge(tunnel(first, 5), tunnel(second, 5), tunnel(second, 6))]
    assert states == ["selected", "selected", "unknown"]


def test_a_tunnelled_packet_whose_datagram_was_fragmented() -> None:
    pieces = cut_up(tunnel(SYN / (b"y" * 3000)))
    assert len(pieces) == 3
    found = judge(*pieces)
    assert [one.state for one in found] == ["no packet", "no packet", "selected"]
    assert "looked into with its last one" in found[0].summary
    assert found[2].summary.endswith("3040 bytes, in GTP-U TEID 0x00000005")
    assert [one.state for one in judge(*pieces, *pieces)] == ["no packet", "no packet", "selected"] * 2


def test_a_fragmented_datagram_that_the_capture_cut_is_not_looked_into() -> None:
    assert {one.state for one in judge(*cut_up(tunnel(SYN / (b"y" * 3000))), cut=20)} == {"unknown"}


def test_fragments_that_never_end_are_forgotten() -> None:
    pieces = [cut_up(IP(id=number) / UDP(dport=2152) / (b"z" * 3000))[0] for number in range(1, 700)]
    selector = Selector(WEB, None)
    for number, piece in enumerate(pieces):
        selector.judge(CapturedFrame(number, None, RAW, bytes(piece), len(piece)))
    assert len(selector._dissector._pending) <= 256


def test_ipv6_fragments_and_headers_are_no_riddle() -> None:
    later = IPv6() / IPv6ExtHdrFragment(offset=8, nh=17) / (b"x" * 16)
    packets = (later, IPv6() / IPv6ExtHdrDestOpt() / UDP(dport=80), IPv6() / IPv6ExtHdrFragment(m=1) / UDP(dport=80))
    assert {one.why for one in judge(*packets)} == {"IPv6 always bypasses the app"}


@pytest.mark.parametrize(
    ("packet", "cut", "state", "said"),
    [
        (SYN / (b"x" * 100), 100, "selected", "140 bytes"),
        (SYN / (b"x" * 100), 115, "selected", "140 bytes"),
        (SYN / (b"x" * 100), 117, "unknown", "cut off before its ports"),
        (SYN / (b"x" * 100), 120, "unknown", "cut off before its ports"),
        (SYN / (b"x" * 100), 121, "unknown", "cut off: 19 bytes, an IPv4 header has 20"),
        (IP(dst="10.0.0.1") / ICMP() / (b"x" * 50), 58, "left", "ICMP"),
        (tunnel(SYN / (b"x" * 100)), 100, "selected", "in GTP-U"),
        (tunnel(SYN / (b"x" * 100)), 118, "unknown", "cut off before its ports"),
        (tunnel(SYN / (b"x" * 100)), 139, "unknown", "cut off"),
        (tunnel(SYN / (b"x" * 100)), 149, "unknown", "cut off inside its GTP-U header"),
        (tunnel(SYN / (b"x" * 100)), 145, "unknown", "cut off inside its GTP-U header"),
        (tunnel(SYN / (b"x" * 100), S=1, seq=4), 142, "unknown", "cut off inside its GTP-U header"),
        (tunnel(SYN / (b"x" * 100), S=1, seq=4), 100, "selected", "in GTP-U"),
        (tunnel(SYN / (b"x" * 100), E=1, next_ex=0xC0), 140, "unknown", "nobody knows whether it is GTP-U"),
        (IP() / UDP(dport=2152) / (b"\0" * 50), 10, "unknown", "nobody knows whether it is GTP-U"),
    ],
)
def test_what_the_capture_cut_is_never_guessed(packet: Any, cut: int, state: str, said: str) -> None:
    (found,) = judge(packet, cut=cut)
    assert (found.state, said in found.summary) == (state, True), found.summary


def test_directions_are_told_by_the_ues() -> None:
    rules = (Rule("up", "uplink", "proto==TCP"), Rule("down", "downlink", "proto==TCP"))
    selector = Selector(rules, users(profiles.load()))
    back = IP(src="203.0.113.1", dst="10.45.0.1") / TCP(sport=80, dport=40000)
    frames = [CapturedFrame(number, None, RAW, bytes(packet), 40) for number, packet in enumerate((SYN, back))]
    assert [selector.judge(frame).by for frame in frames] == [("up",), ("down",)]


def test_counts() -> None:
    assert count_line({"selected": 1, "left": 2}) == "1 of 3 packets selected"
    assert count_line({"selected": 1, "no packet": 2, "unknown": 1, "tunnelled": 1, "IPv6": 0}) == (
        "1 of 4 packets selected (1 found inside GTP-U tunnels; 2 no packet that rules are for; 1 that nobody can tell"
        " from this capture)"
    )
    assert count_line({"left": 1, "no packet": 3, "unread": 2}) == (
        "0 of 4 packets selected (1 no packet that rules are for; 2 of a link type that is not read (Ethernet, raw IP"
        " and Linux cooked are))"
    )


NAMED = st.sampled_from(["10.45.0.1", "203.0.113.1", "203.0.113.2"])
PORTS = st.sampled_from([53, 80, 8080, 40000])


@st.composite
def scapy_packets(draw: st.DrawFn) -> Any:
    six = draw(st.integers(0, 4)) == 0
    dscp = draw(st.sampled_from([0, 46])) << 2
    if six:
        network: Any = IPv6(src="2001:db8::1", dst="2001:db8::2", tc=dscp)
    else:
        options = draw(st.sampled_from([[], [b"\x01\x01\x01\x00"]]))
        network = IP(src=draw(NAMED), dst=draw(NAMED), tos=dscp, options=options)
    kind = draw(st.sampled_from([TCP, UDP, SCTP, None]))
    transport = kind(sport=draw(PORTS), dport=draw(PORTS)) if kind else ICMP()
    return network / transport / (b"x" * draw(st.sampled_from([0, 1, 400])))


def seen_by_scapy(packet: Any) -> dict[str, Any]:
    """The fields of the rule language by scapy's own dissection of the bytes."""
    six = packet.version == 6
    again: Any = (IPv6 if six else IP)(bytes(packet))
    transport = next((again[one] for one in (TCP, UDP, SCTP) if one in again), None)
    return {
        "ip_version": int(again.version),
        "proto": int(again.nh if six else again.proto),
        "src_ip": ip_address(again.src),
        "dst_ip": ip_address(again.dst),
        "src_port": int(transport.sport) if transport else None,
        "dst_port": int(transport.dport) if transport else None,
        "dscp": (again.tc if six else again.tos) >> 2,
        "length": again.plen + 40 if six else int(again.len),
    }


def by_scapy(expression: Expression, seen: dict[str, Any]) -> bool:
    match expression:
        case And(operands):
            return all(by_scapy(one, seen) for one in operands)
        case Or(operands):
            return any(by_scapy(one, seen) for one in operands)
        case Not(operand):
            return not by_scapy(operand, seen)
        case Comparison() | Membership():
            return holds(expression, seen[expression.field])


RULES = [
    "4==ip_version && proto==TCP && (80==dst_port || 8080==dst_port)",
    "proto in {TCP, UDP, SCTP} && !(dst_ip in 203.0.113.0/31) && src_port < 1024",
    "dst_port != 80 || dscp == 46 && length > 400",
    "!(dst_port == 80) && (src_ip == 10.45.0.1 || src_ip in 2001:db8::/32)",
    "length in 20..45 || proto == ICMP && dscp > 0",
    "src_ip in {10.45.0.1, 203.0.113.2} && dst_ip in 203.0.113.1..203.0.113.255",
]


@settings(derandomize=True, max_examples=150, deadline=None)
@given(scapy_packets())
def test_rules_say_of_a_packet_what_scapy_sees(packet: Any) -> None:
    read, seen = parse_packet(bytes(packet)), seen_by_scapy(packet)
    for text in RULES:
        expression = parse(text)
        assert evaluate(expression, read) is compile_rule(expression)(read) is by_scapy(expression, seen)
