"""The NTP server's answers, byte by byte, and what it does not answer."""

import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from conformance.ntp import request_fault, timestamp
from conformance.profile import load
from emulator.ntp import NtpCore
from emulator.platform import APART_S, PlatformClock, draw_clock, draw_rtc_shift
from emulator.service import Note, Send

SOURCE = ("10.199.0.10", 123)
CLOCK = PlatformClock(reference=100.0, at_reference=1_700_000_000.0, drift_ppm=50.0)
ORIGIN = bytes(range(1, 9))


def request(version: int = 4, mode: int = 3, poll: int = 6) -> bytes:
    return bytes([version << 3 | mode, 0, poll, 0]) + bytes(36) + ORIGIN


def answer(data: bytes, core: NtpCore | None = None, now: float = 200.0) -> bytes:
    send, note = (core or NtpCore(CLOCK, lambda: now + 0.001)).receive(data, SOURCE, now)
    assert isinstance(send, Send) and send.to == SOURCE
    assert isinstance(note, Note) and note.kind == "ntp-request" and note.at == now
    return send.data


def seconds(stamp: bytes) -> float:
    whole, fraction = struct.unpack("!II", stamp)
    return float(whole - 2_208_988_800 + fraction / (1 << 32))


@pytest.mark.parametrize("version", [3, 4])
def test_answer(version: int) -> None:
    data = answer(request(version))
    assert len(data) == 48
    leap, seen_version, mode = data[0] >> 6, data[0] >> 3 & 7, data[0] & 7
    assert (leap, seen_version, mode, data[1], data[2]) == (0, version, 4, 2, 6)
    delay, dispersion = (value / 65536 for value in struct.unpack("!II", data[4:12]))
    assert 0 < delay < 0.05 and 0 < dispersion < 0.05
    assert data[12:16] not in (bytes(4), bytes([10, 199, 0, 1]), bytes([10, 199, 0, 10]))
    assert data[24:32] == ORIGIN
    received, left, set_at = seconds(data[32:40]), seconds(data[40:48]), seconds(data[16:24])
    assert received == pytest.approx(1_700_000_000 + 100 * 1.00005, abs=1e-5)
    assert left - received == pytest.approx(0.001, abs=1e-5)
    assert 0 <= received - set_at < 64


def test_a_clock_read_before_the_stamp_never_makes_time_run_backwards() -> None:
    data = answer(request(), NtpCore(CLOCK, lambda: 199.0))
    assert data[32:40] == data[40:48]


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "0 bytes"),
        (request()[:47], "47 bytes"),
        (request() + b"\0", "49 bytes"),
        (request(version=2), "version 2"),
        (request(version=5), "version 5"),
        (request(mode=1), "mode 1"),
        (request(mode=4), "mode 4"),
        (request(mode=6), "mode 6"),
    ],
)
def test_what_is_no_request_is_noted_and_not_answered(data: bytes, reason: str) -> None:
    (note,) = NtpCore(CLOCK, lambda: 1.0).receive(data, SOURCE, 1.0)
    assert isinstance(note, Note)
    assert note.fields["answered"] is False
    assert note.fields["reason"].startswith(reason)
    assert note.fields["data"] == data.hex()


def test_extension_fields_and_mac_are_part_of_a_request() -> None:
    assert request_fault(request() + bytes(20)) == ""


def test_outage_is_noted() -> None:
    core = NtpCore(CLOCK, lambda: 1.0)
    core.pause()
    (note,) = core.receive(request(), SOURCE, 1.0)
    assert isinstance(note, Note) and note.fields["reason"] == "outage"
    core.resume()
    assert len(core.receive(request(), SOURCE, 2.0)) == 2


def test_kiss_of_death() -> None:
    core = NtpCore(CLOCK, lambda: 1.0)
    core.kiss(True)
    data = answer(request(), core)
    assert (data[0] >> 6, data[1], data[12:16]) == (3, 0, b"RATE")
    assert data[24:32] == ORIGIN
    core.kiss(False)
    assert answer(request(), core)[1] == 2


def test_time_stamps_roll_over_into_the_next_era() -> None:
    assert timestamp(0) == struct.pack("!II", 2_208_988_800, 0)
    assert timestamp(2_085_978_496.5) == struct.pack("!II", 0, 1 << 31)  # 2036-02-07T06:28:16.5Z, era 1


@settings(derandomize=True, max_examples=200, deadline=None)
@given(st.binary(max_size=80))
def test_any_bytes_are_noted_once_and_answered_once_at_most(data: bytes) -> None:
    actions = NtpCore(CLOCK, lambda: 1.0).receive(data, SOURCE, 1.0)
    assert [type(action) for action in actions] in ([Note], [Send, Note])


@settings(derandomize=True, max_examples=200, deadline=None)
@given(st.integers(0, 2**63))
def test_clocks_that_a_run_draws_can_be_told_apart(seed: int) -> None:
    profile = load()
    clock = draw_clock(seed, profile, 50.0, 1_700_000_000.0)
    shift = clock.time(50.0) - 1_700_000_000.0
    rtc = draw_rtc_shift(seed, profile, shift)
    assert clock == draw_clock(seed, profile, 50.0, 1_700_000_000.0)
    assert PlatformClock(**clock.to_json()) == clock
    assert abs(clock.drift_ppm) <= 50
    for apart in (shift, rtc, rtc - shift):
        assert abs(apart) >= APART_S - 1e-6
    assert max(abs(shift), abs(rtc)) <= 3600
