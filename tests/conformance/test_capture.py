"""pcapng files: our own both ways, those of other tools, and broken ones."""

import contextlib
import io
import struct
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scapy.utils import PcapNgReader, RawPcapNgWriter

from conformance import capture
from conformance.errors import SubjectError
from conformance.trace import Capture, Frame

CLOCK_NS = 1_732_350_000_123_456_789
FRAMES = tuple(Frame(n / 8, bytes([n]) * n, n % 2 == 0) for n in range(60, 70))
SAMPLE = Capture("sgi", "ip", FRAMES, 3)

frames = st.builds(
    Frame,
    st.integers(0, 10**15).map(lambda stamp_ns: stamp_ns / 1e9),
    st.binary(max_size=80),
    st.booleans(),
)
captures = st.builds(
    Capture,
    st.sampled_from(["service", "user-plane-ul", "sgi"]),
    st.sampled_from(["ethernet", "ip"]),
    st.lists(frames, max_size=6).map(tuple),
    st.integers(0, 2**40),
)


@settings(max_examples=60, derandomize=True)
@given(captures, st.integers(0, 2**61))
def test_what_is_written_is_read(made: Capture, clock_ns: int) -> None:
    assert capture.decode(capture.encode(made, clock_ns)) == made


def test_foreign_reader_sees_the_same(tmp_path: Path) -> None:
    file = tmp_path / "sgi.pcapng"
    file.write_bytes(capture.encode(SAMPLE, CLOCK_NS))
    with PcapNgReader(str(file)) as reader:
        packets = list(reader)
    assert [bytes(packet.original) for packet in packets] == [frame.data for frame in FRAMES]
    assert [packet.direction for packet in packets] == [2 if frame.from_lab else 1 for frame in FRAMES]
    for packet, frame in zip(packets, FRAMES, strict=True):
        assert float(packet.time) == pytest.approx(frame.at + CLOCK_NS / 1e9, abs=1e-6)


def test_foreign_writer_is_read(tmp_path: Path) -> None:
    file = tmp_path / "scapy.pcapng"
    with RawPcapNgWriter(str(file)) as writer:
        writer.linktype = 1
        writer.write_header(None)
        writer.write_packet(b"x" * 61, sec=7.25)
    assert capture.decode(file.read_bytes()).frames == (Frame(7.25, b"x" * 61, False),)


def foreign(order: str, exponent: int | None, ticks: int) -> bytes:
    """A file with one packet in either byte order, its time in some resolution (None: not said, so microseconds)."""

    def block(kind: int, body: bytes) -> bytes:
        return struct.pack(order + "II", kind, len(body) + 12) + body + struct.pack(order + "I", len(body) + 12)

    resolution = b"" if exponent is None else struct.pack(order + "HHB3x", 9, 1, exponent)
    unknown = block(0x0BAD, b"\x01\x02\x03\x04")  # "must be skipped", draft 3.1
    return (
        block(0x0A0D0D0A, struct.pack(order + "IHHq", 0x1A2B3C4D, 1, 0, -1))
        + block(1, struct.pack(order + "HHI", 101, 0, 0) + resolution)
        + unknown
        + block(6, struct.pack(order + "IIIII", 0, ticks >> 32, ticks & 0xFFFFFFFF, 2, 2) + b"ab\0\0")
    )


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize(
    ("exponent", "ticks", "at"),
    [(None, 2_500_000, 2.5), (3, 2_500, 2.5), (9, 2_500_000_000, 2.5), (0x80 | 4, 40, 2.5), (0, 3, 3.0)],
)
def test_byte_orders_and_resolutions(order: str, exponent: int | None, ticks: int, at: float) -> None:
    assert capture.decode(foreign(order, exponent, ticks)) == Capture("", "ip", (Frame(at, b"ab", False),))


def test_a_clock_that_stepped_holds_for_what_follows() -> None:
    stamp = 10_000_000_000 + CLOCK_NS
    file = (
        capture.encode_begin("sgi", "ip", CLOCK_NS)
        + capture.encode_packet(b"a", 1, stamp, True)
        + capture.encode_statistics(0, stamp, CLOCK_NS + 2_000_000_000)  # realtime jumped ahead by 2 s
        + capture.encode_packet(b"b", 1, stamp + 2_500_000_000, True)
    )
    assert [frame.at for frame in capture.decode(file).frames] == [10.0, 10.5]


def test_cut_anywhere_it_is_a_shorter_capture_with_a_drop_or_said_to_be_none() -> None:
    whole = capture.encode(SAMPLE, CLOCK_NS)
    boundaries = set()
    offset = 0
    while offset < len(whole):
        boundaries.add(offset)
        offset += struct.unpack_from("<I", whole, offset + 4)[0]
    start = sorted(boundaries)[2]  # section and interface
    for length in range(len(whole)):
        if length < start:
            with pytest.raises(SubjectError):
                capture.decode(whole[:length])
        else:
            read = capture.decode(whole[:length])
            assert read.frames == FRAMES[: len(read.frames)]
            assert read.drops == (0 if length in boundaries else 1), length


def patched(offset: int, value: bytes) -> bytes:
    whole = bytearray(capture.encode(SAMPLE, CLOCK_NS))
    whole[offset : offset + len(value)] = value
    return bytes(whole)


SECTION_BYTES = 28


@pytest.mark.parametrize(
    ("data", "names"),
    [
        (b"", "interface"),
        (b"\xd4\xc3\xb2\xa1" + bytes(20), "pcapng"),
        (patched(4, struct.pack("<I", 13)), "length"),
        (patched(4, struct.pack("<I", 8)), "length"),
        (patched(SECTION_BYTES - 4, struct.pack("<I", 32)), "at its end"),
        (patched(SECTION_BYTES + 8, struct.pack("<H", 113)), "link type"),
        (capture.encode(SAMPLE) + capture.encode(SAMPLE), "one interface"),
        (capture.encode_begin("sgi", "ip", 0)[:SECTION_BYTES] + capture.encode_packet(b"", 0, 0, True), "described"),
        (foreign("<", None, 1).replace(struct.pack("<II", 2, 2), struct.pack("<II", 9, 9)), "inside its block"),
        (patched(SECTION_BYTES + 18, struct.pack("<H", 900)), "option"),
    ],
)
def test_what_is_no_capture_is_told(data: bytes, names: str) -> None:
    with pytest.raises(SubjectError, match=names):
        capture.decode(data)


@settings(max_examples=200, derandomize=True)
@given(st.data())
def test_noise_never_gives_another_error(data: st.DataObject) -> None:
    whole = io.BytesIO(capture.encode(SAMPLE, CLOCK_NS))
    for _ in range(data.draw(st.integers(1, 4))):
        whole.seek(data.draw(st.integers(0, 400)))
        whole.write(data.draw(st.binary(min_size=1, max_size=4)))
    with contextlib.suppress(SubjectError):
        capture.decode(whole.getvalue())
