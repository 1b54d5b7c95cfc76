"""conformance.packet against hand-written bytes and against scapy as an independent reader."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scapy.layers.inet import ICMP as SICMP
from scapy.layers.inet import IP, TCP, UDP, fragment
from scapy.layers.inet6 import ICMPv6EchoRequest, IPv6, IPv6ExtHdrDestOpt, IPv6ExtHdrFragment, IPv6ExtHdrHopByHop
from scapy.packet import Raw

from conformance import packet as pk

# 10.45.0.1:4660 -> 198.51.100.7:7, UDP "ping", TTL 64, DSCP 10, identification 0x1234
UDP_PACKET = bytes.fromhex("4528002012340000401134090a2d0001c633640712340007000cda6170696e67")


def test_every_field_of_an_ipv4_packet() -> None:
    packet = pk.parse(UDP_PACKET)
    assert (packet.version, packet.proto, packet.source, packet.destination) == (4, 17, "10.45.0.1", "198.51.100.7")
    assert (packet.src_port, packet.dst_port, packet.dscp, packet.length, packet.ttl) == (4660, 7, 10, 32, 64)
    assert (packet.identification, packet.fragment_offset, packet.more_fragments) == (0x1234, 0, False)
    assert (packet.header_length, packet.payload_offset, packet.payload) == (20, 28, b"ping")
    assert pk.wrong_checksum(packet) == ""


def test_padding_is_not_the_packet() -> None:
    assert pk.parse(UDP_PACKET + bytes(14)) == pk.parse(UDP_PACKET)


@pytest.mark.parametrize(
    "whole",
    [
        UDP_PACKET,
        bytes(IP(src="10.0.0.1", dst="10.0.0.2", options=b"\x94\x04\0\0") / TCP(sport=1, dport=2) / b"x"),
        bytes(IPv6(src="::1", dst="::2") / IPv6ExtHdrHopByHop() / IPv6ExtHdrDestOpt() / UDP(sport=1, dport=2) / b"xy"),
        bytes(IPv6(src="::1", dst="::2") / IPv6ExtHdrFragment(nh=17, offset=5, m=1) / b"payload"),
    ],
)
def test_every_cut_is_malformed_and_every_flipped_byte_is_read_or_malformed(whole: bytes) -> None:
    for end in range(len(whole)):
        with pytest.raises(pk.MalformedPacket):
            pk.parse(whole[:end])
    for index in range(len(whole)):
        for value in (0, 255, whole[index] ^ 0x10):
            changed = whole[:index] + bytes([value]) + whole[index + 1 :]
            try:
                packet = pk.parse(changed)
            except pk.MalformedPacket:
                continue
            assert packet.header_length <= packet.payload_offset <= packet.length <= len(changed)
            pk.wrong_checksum(packet)


def test_later_fragments_have_no_ports() -> None:
    first = pk.parse(bytes(IP(flags="MF") / UDP(sport=1, dport=2) / bytes(16)))
    later = pk.parse(bytes(IP(frag=3, proto=17) / bytes(16)))
    assert (first.src_port, first.dst_port, first.is_fragment) == (1, 2, True)
    assert (later.src_port, later.dst_port, later.is_fragment, later.fragment_offset) == (None, None, True, 24)
    assert later.payload == bytes(16)


def test_ipv6_ports_behind_extension_headers() -> None:
    data = bytes(
        IPv6(src="2001:db8::1", dst="2001:db8::2", tc=184)
        / IPv6ExtHdrHopByHop()
        / IPv6ExtHdrFragment(m=1, id=77)
        / TCP(sport=5, dport=80, flags="SA")
    )
    packet = pk.parse(data)
    assert (packet.version, packet.proto, packet.src_port, packet.dst_port) == (6, 6, 5, 80)
    assert (packet.dscp, packet.identification, packet.more_fragments) == (46, 77, True)
    assert packet.tcp_flags == pk.SYN | pk.ACK
    assert packet.source == "2001:db8::1"


_PORT = st.integers(0, 65535)


@settings(derandomize=True, max_examples=60, deadline=None)
@given(_PORT, _PORT, st.integers(0, 255), st.integers(1, 255), st.binary(max_size=40), st.booleans(), st.booleans())
def test_agrees_with_scapy(  # noqa: PLR0913, PLR0917 (a property has as many arguments as the packet has fields)
    sport: int, dport: int, service: int, ttl: int, payload: bytes, udp: bool, six: bool
) -> None:
    network = (
        IPv6(src="2001:db8::1", dst="::2", tc=service, hlim=ttl) if six else IP(src="1.2.3.4", tos=service, ttl=ttl)
    )
    data = bytes(network / (UDP if udp else TCP)(sport=sport, dport=dport) / payload)
    packet = pk.parse(data)
    assert (packet.src_port, packet.dst_port, packet.dscp, packet.ttl) == (sport, dport, service >> 2, ttl)
    assert packet.length == len(data)
    assert packet.payload == payload
    assert pk.wrong_checksum(packet) == ""


@pytest.mark.parametrize(
    ("data", "name"),
    [
        (bytes(IP(src="1.2.3.4", dst="5.6.7.8", chksum=1) / UDP()), "IPv4 header"),
        (bytes(IP(src="1.2.3.4", dst="5.6.7.8") / UDP(chksum=1) / b"x"), "UDP"),
        (bytes(IP(src="1.2.3.4", dst="5.6.7.8") / UDP(chksum=0) / b"x"), ""),
        (bytes(IPv6(src="::1", dst="::2") / UDP(chksum=0) / b"x"), "UDP"),
        (bytes(IP(src="1.2.3.4", dst="5.6.7.8") / TCP(chksum=1) / b"xy"), "TCP"),
        (bytes(IP(src="1.2.3.4", dst="5.6.7.8") / SICMP() / b"x"), ""),
        (bytes(IP(src="1.2.3.4", dst="5.6.7.8") / SICMP(chksum=1) / b"x"), "ICMP"),
        (bytes(IPv6(src="::1", dst="::2") / ICMPv6EchoRequest() / b"x"), ""),
        (bytes(IPv6(src="::1", dst="::2") / ICMPv6EchoRequest(cksum=1) / b"x"), "ICMPv6"),
        (bytes(IP(src="1.2.3.4", dst="5.6.7.8", flags="MF") / UDP(chksum=1) / bytes(8)), ""),
    ],
)
def test_wrong_checksums_are_named(data: bytes, name: str) -> None:
    assert pk.wrong_checksum(pk.parse(data)) == name


def test_checksum_of_zeros_is_not_right() -> None:
    assert pk.internet_checksum(bytes(20)) == 0xFFFF
    assert pk.internet_checksum(b"\xff\xff") == 0
    assert pk.internet_checksum(b"\x01") == 0xFEFF


def test_ethernet() -> None:
    frame = pk.ethernet(bytes.fromhex("525400000102 02000a000001 0800") + UDP_PACKET)
    assert pk.mac_text(frame.destination) == "52:54:00:00:01:02"
    assert (frame.source, frame.ethertype) == (pk.mac_bytes("02:00:0A:00:00:01"), pk.IPV4)
    assert frame.payload == UDP_PACKET
    with pytest.raises(pk.MalformedPacket):
        pk.ethernet(bytes(13))


def test_reassembly() -> None:
    whole = IP(src="1.2.3.4", dst="5.6.7.8", id=7, ttl=9) / UDP(sport=1, dport=2) / Raw(bytes(range(256)) * 4)
    pieces = [pk.parse(bytes(piece)) for piece in fragment(whole, fragsize=200)]  # type: ignore[no-untyped-call]
    assert len(pieces) > 3
    for order in (pieces, pieces[::-1], [*pieces, pieces[1]]):
        again = pk.reassemble(order)
        assert again is not None
        assert again.data == bytes(whole)
        assert pk.wrong_checksum(again) == ""
    for missing in range(len(pieces)):
        assert pk.reassemble(pieces[:missing] + pieces[missing + 1 :]) is None
