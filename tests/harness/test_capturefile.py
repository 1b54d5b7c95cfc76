"""harness.rule.capturefile: pcap and pcapng of other tools, in both byte orders, cut and broken."""

import io
import struct
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scapy.utils import RawPcapNgWriter, RawPcapWriter

from conformance import capture
from conformance.errors import SubjectError
from conformance.trace import Capture, Frame
from harness.rule.capturefile import CapturedFrame, read_capture

PACKETS = (b"a" * 60, b"b" * 61, b"c" * 1514)
AT_NS = 1_732_350_000_250_000_000


def read(data: bytes) -> list[CapturedFrame]:
    return list(read_capture(io.BytesIO(data)))


def pcap(order: str = "<", magic: int = 0xA1B2C3D4, packets: Sequence[bytes] = PACKETS, lost: int = 0) -> bytes:
    """lost bytes of each packet were not captured."""
    ticks = 250_000 if magic == 0xA1B2C3D4 else 250_000_000
    parts = [struct.pack(order + "IHHiIII", magic, 2, 4, 0, 0, 65535, 0xF0000001)]
    for data in packets:
        kept = data[: len(data) - lost]
        parts.append(struct.pack(order + "IIII", 1_732_350_000, ticks, len(kept), len(data)) + kept)
    return b"".join(parts)


def block(kind: int, body: bytes, order: str = "<") -> bytes:
    padded = body + bytes(-len(body) % 4)
    length = len(padded) + 12
    return struct.pack(order + "II", kind, length) + padded + struct.pack(order + "I", length)


def section(order: str = "<") -> bytes:
    return block(0x0A0D0D0A, struct.pack(order + "IHHq", 0x1A2B3C4D, 1, 0, -1), order)


def interface(order: str = "<", link: int = 1, options: bytes = b"", snapshot: int = 0) -> bytes:
    return block(1, struct.pack(order + "HHI", link, 0, snapshot) + options, order)


def enhanced(data: bytes, ticks: int, order: str = "<", index: int = 0) -> bytes:
    return block(
        6, struct.pack(order + "IIIII", index, ticks >> 32, ticks & 0xFFFFFFFF, len(data), len(data)) + data, order
    )


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("magic", [0xA1B2C3D4, 0xA1B23C4D])
def test_pcap_in_each_order_and_unit(order: str, magic: int) -> None:
    assert read(pcap(order, magic)) == [
        CapturedFrame(number, AT_NS, 1, data, len(data)) for number, data in enumerate(PACKETS, 1)
    ]


def test_what_the_capture_cut_is_known() -> None:
    assert [(len(frame.data), frame.length) for frame in read(pcap(lost=20))] == [(40, 60), (41, 61), (1494, 1514)]


@pytest.mark.parametrize("order", ["<", ">"])
def test_pcapng_of_several_interfaces_sections_and_kinds_of_packets(order: str) -> None:
    other = ">" if order == "<" else "<"
    nanoseconds = struct.pack(order + "HHB3x", 9, 1, 9)
    offset = struct.pack(order + "HHq", 14, 8, 1_000) + struct.pack(order + "HH", 0, 0) + b"\xff" * 8
    halves = struct.pack(other + "HHB3x", 9, 1, 0x81)
    parts = (
        section(order),
        block(0x0BAD, b"skip", order),
        block(0x0BAD, b"", order),
        interface(order, 101),
        interface(order, 113, nanoseconds + offset),
        enhanced(b"abc", 2_500_000, order),
        enhanced(b"de", 7, order, 1),
        block(2, struct.pack(order + "HHIIII", 1, 9, 0, 77, 3, 5) + b"abc", order),
        section(other),
        interface(other, 1, snapshot=4),
        block(3, struct.pack(other + "I", 6) + b"wxyz", other),
        interface(other, 276, halves),
        enhanced(b"f", 3, other, 1),
    )
    data = b"".join(parts)
    assert read(data) == [
        CapturedFrame(1, 2_500_000_000, 101, b"abc", 3),
        CapturedFrame(2, 1_000_000_000_007, 113, b"de", 2),
        CapturedFrame(3, 1_000_000_000_077, 113, b"abc", 5),
        CapturedFrame(4, None, 1, b"wxyz", 6),
        CapturedFrame(5, 1_500_000_000, 276, b"f", 1),
    ]


def test_files_of_other_writers_and_our_own(tmp_path: Path) -> None:
    old, new = tmp_path / "old.pcap", tmp_path / "new.pcapng"
    with RawPcapWriter(str(old), linktype=101) as writer:
        writer.write_header(None)
        writer.write_packet(b"x" * 30, sec=7, usec=5)
    with RawPcapNgWriter(str(new)) as writer:
        writer.linktype = 1
        writer.write_header(None)
        writer.write_packet(b"x" * 61, sec=7.25)
    assert read(old.read_bytes()) == [CapturedFrame(1, 7_000_005_000, 101, b"x" * 30, 30)]
    assert read(new.read_bytes()) == [CapturedFrame(1, 7_250_000_000, 1, b"x" * 61, 61)]
    ours = Capture("sgi", "ip", (Frame(1.5, b"abc", True),), 0)
    assert read(capture.encode(ours)) == [CapturedFrame(1, 1_500_000_000, 101, b"abc", 3)]


@pytest.mark.parametrize(
    ("data", "seen"),
    [
        (b"", "an empty one"),
        (b"\xd4", "begins with d4"),
        (b"from scapy", "begins with 66726f6d"),
        (b"\x1f\x8b\x08\x00", "begins with 1f8b0800"),
        (pcap()[:20], "ends inside its header"),
        (pcap()[:30], "ends inside packet 1"),
        (pcap()[:-1], "ends inside packet 3"),
        (pcap()[:24] + struct.pack("<IIII", 0, 0, 1 << 20, 1 << 20), "1048576"),
        (section()[:-2], "ends inside its header"),
        (section() + b"\x06\x00", "ends inside its header"),
        (section() + interface() + enhanced(b"abc", 1) + b"\x06", "ends inside what follows packet 1"),
        (section() + struct.pack("<II", 6, 13) + bytes(8), "13"),
        (section() + struct.pack("<II", 6, 8) + bytes(8), "8"),
        (section() + struct.pack("<II", 6, 1 << 30) + bytes(8), str(1 << 30)),
        (section() + interface()[:-4] + bytes(4), "another"),
        (section() + enhanced(b"abc", 1), "of no interface"),
        (section() + interface() + block(6, bytes(8)), "one too short"),
        (section() + interface() + block(6, struct.pack("<IIIII", 0, 0, 0, 99, 99) + b"abc"), "99 bytes of 4"),
        (section() + interface(options=struct.pack("<HH", 9, 0)), "one too short"),
        (section() + interface(options=struct.pack("<HHI", 14, 4, 0)), "one too short"),
    ],
)
def test_what_is_no_whole_capture_is_told(data: bytes, seen: str) -> None:
    with pytest.raises(SubjectError) as caught:
        read(data)
    assert seen in caught.value.seen


def test_gzip_is_told_how_to_mend() -> None:
    with pytest.raises(SubjectError) as caught:
        read(b"\x1f\x8b\x08\x00")
    assert "gunzip" in caught.value.remedy


def test_what_stands_before_the_damage_is_read() -> None:
    frames = read_capture(io.BytesIO(pcap()[:-1]))
    assert [next(frames).number, next(frames).number] == [1, 2]
    with pytest.raises(SubjectError):
        next(frames)


WHOLE = (pcap(), section() + interface() + enhanced(b"abc", 1) + block(3, struct.pack("<I", 2) + b"de"))


@settings(max_examples=200, derandomize=True, deadline=None)
@given(st.data())
def test_noise_never_gives_another_error(data: st.DataObject) -> None:
    whole = bytearray(data.draw(st.sampled_from(WHOLE)))
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, min(200, len(whole) - 4)))
        whole[at : at + 4] = data.draw(st.binary(min_size=1, max_size=4))
    with suppress(SubjectError):
        read(bytes(whole[: data.draw(st.integers(0, len(whole)))]))
