"""conformance.gtpu: vectors byte by byte, cut at every length, and scapy as an independent reader and writer."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scapy.contrib.gtp import GTP_U_Header, GTPEchoResponse, GTPErrorIndication, GTPPDUSessionContainer
from scapy.layers.inet import IP, UDP

from conformance import gtpu

INNER = bytes(IP(src="10.45.0.1", dst="203.0.113.1") / UDP(sport=1, dport=2) / b"data")

# bytes of the whole message, and what it says
VECTORS = [
    ("30 ff 0004 00000001 45aabbcc", gtpu.Message(255, 1, bytes.fromhex("45aabbcc"))),
    ("32 ff 0008 01020304 0007 00 00 45aabbcc", gtpu.Message(255, 0x01020304, bytes.fromhex("45aabbcc"), sequence=7)),
    ("31 ff 0005 00000001 0000 09 00 45", gtpu.Message(255, 1, b"\x45", n_pdu=9)),
    ("32 01 0004 00000000 1234 00 00", gtpu.Message(1, 0, b"", sequence=0x1234)),
    ("32 02 0006 00000000 1234 00 00 0e 00", gtpu.Message(2, 0, b"\x0e\x00", sequence=0x1234)),
    ("30 fe 0000 0000002a", gtpu.Message(254, 42, b"")),
    (
        "34 ff 000d 00000001 0000 00 85 01 1009 00 45aabbccdd",
        gtpu.Message(255, 1, bytes.fromhex("45aabbccdd"), extensions=(gtpu.ExtensionHeader(0x85, b"\x10\x09"),)),
    ),
    (
        "36 ff 0011 00000001 0003 00 40 01 0868 c0 02 000102030405 00 45",
        gtpu.Message(
            255,
            1,
            b"\x45",
            sequence=3,
            extensions=(
                gtpu.ExtensionHeader(0x40, b"\x08\x68"),
                gtpu.ExtensionHeader(0xC0, bytes(range(6))),
            ),
        ),
    ),
]


@pytest.mark.parametrize(("text", "message"), VECTORS)
def test_vectors(text: str, message: gtpu.Message) -> None:
    data = bytes.fromhex(text)
    assert gtpu.decode(data) == message
    assert gtpu.encode(message) == data
    for end in range(len(data)):
        with pytest.raises(gtpu.MalformedMessage):
            gtpu.decode(data[:end])
        assert gtpu.g_pdu_offset(data[:end]) == 0
    with pytest.raises(gtpu.MalformedMessage):
        gtpu.decode(data + b"\0")


@pytest.mark.parametrize(("text", "_message"), VECTORS)
def test_flipped_bytes_are_read_or_named(text: str, _message: gtpu.Message) -> None:
    data = bytes.fromhex(text)
    for index in range(len(data)):
        for bit in range(8):
            changed = data[:index] + bytes([data[index] ^ 1 << bit]) + data[index + 1 :]
            offset = gtpu.g_pdu_offset(changed)
            assert 0 <= offset <= len(changed)
            try:
                message = gtpu.decode(changed)
            except gtpu.MalformedMessage:
                assert offset == 0
            else:
                assert message.type == 255 or offset == 0
                assert offset in (0, len(changed) - len(message.payload))


def test_spare_bit_is_not_looked_at() -> None:
    assert gtpu.decode(bytes.fromhex("38ff0001 00000001 45")).payload == b"\x45"
    assert gtpu.g_pdu_offset(bytes.fromhex("38ff0001 00000001 45")) == 8


@pytest.mark.parametrize(
    ("header", "offset"),
    [
        ("", 8),  # no extension header
        ("40 01 0868 00", 16),  # UDP port: not required
        ("20 01 0868 00", 16),  # service class indicator: not required
        ("85 01 0009 00", 0),  # PDU session container: required of the end point
        ("c0 01 0009 00", 0),  # PDCP PDU number: required of every node
    ],
)
def test_comprehension_bits(header: str, offset: int) -> None:
    chain = bytes.fromhex(header)
    optional = b"\0\0\0" + chain if chain else b""
    data = bytes([0x34 if chain else 0x30, 255]) + (len(optional) + len(INNER)).to_bytes(2) + b"\0\0\0\1"
    assert gtpu.g_pdu_offset(data + optional + INNER) == offset


def test_against_scapy() -> None:
    read = GTP_U_Header(gtpu.encode_g_pdu(77, INNER))
    assert (read.teid, read.gtp_type, bytes(read[IP])) == (77, 255, INNER)
    response = GTP_U_Header(gtpu.echo_response(gtpu.Message(1, 0, b"", sequence=9)))
    assert (response.seq, response.teid, response[GTPEchoResponse].IE_list[0].restart_counter) == (9, 0, 0)
    indication = GTP_U_Header(gtpu.error_indication(0xABCDEF01, "10.200.1.1"))
    elements = indication[GTPErrorIndication].IE_list
    assert (elements[0].TEIDI, elements[1].ipv4_address) == (0xABCDEF01, "10.200.1.1")
    assert GTP_U_Header(gtpu.end_marker(5)).gtp_type == 254
    written = bytes(GTP_U_Header(teid=3, E=1) / GTPPDUSessionContainer(type=1, QFI=9) / IP(INNER))
    message = gtpu.decode(written)
    assert (message.teid, message.extensions[0].type, message.payload) == (3, 0x85, INNER)
    assert gtpu.encode(message) == written


@pytest.mark.parametrize("address", ["10.200.1.1", "2001:db8::1"])
def test_error_indication_is_read_back(address: str) -> None:
    message = gtpu.decode(gtpu.error_indication(7, address))
    assert gtpu.read_error_indication(message) == gtpu.ErrorIndication(7, address)
    for end in range(len(message.payload)):
        with pytest.raises(gtpu.MalformedMessage):
            gtpu.read_error_indication(gtpu.Message(26, 0, message.payload[:end]))


def test_supported_extension_headers_is_an_empty_list() -> None:
    assert gtpu.supported_extension_headers() == bytes.fromhex("321f0006 00000000 0000 00 00 8d 00")


def test_extension_headers_fill_units_of_four() -> None:
    with pytest.raises(ValueError, match="0x40"):
        gtpu.encode(gtpu.Message(255, 1, b"", extensions=(gtpu.ExtensionHeader(0x40, b"123"),)))


_EXTENSIONS = st.builds(
    gtpu.ExtensionHeader,
    st.integers(1, 255),
    st.integers(0, 4).flatmap(lambda n: st.binary(min_size=4 * n + 2, max_size=4 * n + 2)),
)


@settings(derandomize=True, max_examples=150, deadline=None)
@given(
    st.builds(
        gtpu.Message,
        st.integers(0, 255),
        st.integers(0, 2**32 - 1),
        st.binary(max_size=40),
        st.none() | st.integers(0, 65535),
        st.none() | st.integers(0, 255),
        st.lists(_EXTENSIONS, max_size=3).map(tuple),
    )
)
def test_what_is_written_is_read(message: gtpu.Message) -> None:
    assert gtpu.decode(gtpu.encode(message)) == message


@settings(derandomize=True, max_examples=200, deadline=None)
@given(st.binary(max_size=60))
def test_noise(data: bytes) -> None:
    try:
        gtpu.encode(gtpu.decode(data))
    except gtpu.MalformedMessage:
        assert gtpu.g_pdu_offset(data) == 0
