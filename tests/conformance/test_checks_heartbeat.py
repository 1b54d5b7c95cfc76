"""HBT-001 to HBT-011 over hand-made traces: each passes, fails and cannot tell."""

from dataclasses import replace
from itertools import accumulate, pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from run_traces import (
    ADDRESSES,
    FIRST,
    GOON,
    LENS,
    PLATFORM,
    START,
    Row,
    arp,
    at_end,
    beat,
    beat_data,
    beats,
    captured,
    datagram,
    outage,
    run,
    started,
    udp,
    vm,
)
from settling import FACT, check_margin

from conformance.application import Rule
from conformance.checks.heartbeat import CHECKS
from conformance.heartbeat import Beat, Malformed, decode
from conformance.profile import load
from conformance.trace import Frame, Trace
from conformance.verdict import Outcome, Verdict, settle

PROFILE = load()
PASS, FAIL, UNCLEAR = Verdict.PASS, Verdict.FAIL, Verdict.INCONCLUSIVE
DEADLINE = PROFILE.number("heartbeat.boot_deadline_s")
STEADY = beats(FIRST, 100.0)


def judge(requirement: str, trace: Trace) -> Outcome:
    return CHECKS[requirement](trace, PROFILE)


def check(requirement: str, trace: Trace, expected: Verdict) -> None:
    outcome = judge(requirement, trace)
    assert outcome.verdict is expected, outcome
    assert outcome.reason


@pytest.mark.parametrize("requirement", sorted(set(CHECKS) - {"HBT-008"}))
def test_a_trace_without_anything_tells_nothing(requirement: str) -> None:
    check(requirement, run(), UNCLEAR)
    check(requirement, run(started()), UNCLEAR)


@pytest.mark.parametrize("requirement", ["HBT-001", "HBT-002", "HBT-003", "HBT-004", "HBT-005", "HBT-006", "HBT-011"])
def test_a_good_app_passes(requirement: str) -> None:
    check(requirement, run(started(), STEADY), PASS)


@pytest.mark.parametrize("requirement", ["HBT-002", "HBT-003", "HBT-004", "HBT-005", "HBT-006"])
def test_a_good_app_passes_through_a_window_of_the_run(requirement: str) -> None:
    rows = [*started(), *beats(FIRST, 200.0), *vm(200.0, "destroyed"), *at_end(300.0)]
    check(requirement, run(rows, span=(40.0, 120.0)), PASS)
    check(requirement, run(rows), PASS)


def test_the_count_speaks_of_all_starts() -> None:
    trace = run(started(), beats(FIRST, 40.0), vm(40.0, "reset", 2), beats(50.0, 60.0))
    assert judge("HBT-003", trace).reason == "seq rises by one, 28 times in 2 starts of the VM"


FIRST_BEATS = [
    (run(started(), [beat(FIRST, 0)]), PASS),
    (run(started(), [beat(FIRST, 0, "starting")]), PASS),
    (run(started(), [beat(START + DEADLINE - 1.1, 0)]), PASS),
    (run(started(), [beat(START + DEADLINE, 0)]), UNCLEAR),
    (run(started(), [beat(START + DEADLINE + 0.9, 0)]), UNCLEAR),
    (run(started(), [beat(START + DEADLINE + 1.1, 0)]), FAIL),
    (run(started(), at_end(START + DEADLINE + 1.1)), FAIL),
    (run(started(), at_end(START + DEADLINE + 0.5)), UNCLEAR),
    (run(started(), [beat(FIRST, 0, app="lens")], at_end(START + DEADLINE + 2)), FAIL),
    (run(started(), vm(20.0, "destroyed"), at_end(200.0)), UNCLEAR),
    (run(started(), vm(15.0, "suspended"), vm(60.0, "resumed"), at_end(START + DEADLINE + 2)), UNCLEAR),
    (run(started(), vm(20.0, "powered-off", reason="guest"), at_end(200.0)), FAIL),
    (run(started(), vm(20.0, "crashed", reason="hypervisor"), at_end(200.0)), FAIL),
    # a beat that was under way when the VM was reset is none of the new start
    (run(started(), STEADY, vm(100.0, "reset", 2), [beat(100.1, 80)], at_end(200.0)), FAIL),
    (run(started(), STEADY, vm(100.0, "reset", 2), beats(108.0, 120.0)), PASS),
    # a VM reset while suspended begins to run with its resume
    (
        run(
            started(),
            STEADY,
            vm(100.0, "suspended"),
            vm(103.0, "reset", 2, "supervision"),
            vm(150.0, "resumed", 2),
            [beat(150.0 + DEADLINE - 2, 0)],
        ),
        PASS,
    ),
    # supervision resets at the deadline: there is no more to wait for
    (run(started(), vm(START + DEADLINE + 0.01, "reset", 2, "supervision")), FAIL),
]


@pytest.mark.parametrize(("trace", "expected"), FIRST_BEATS)
def test_first_beat(trace: Trace, expected: Verdict) -> None:
    check("HBT-001", trace, expected)


def test_a_boot_before_the_window_is_not_judged_again() -> None:
    check("HBT-001", run(started(), at_end(200.0), span=(50.0, 200.0)), UNCLEAR)


GOOD = beat_data(7, 1.5)
DATAGRAMS = [
    (GOOD, ""),
    (GOOD.replace(b'"seq": 7', b'"seq": 9007199254740991'), ""),
    (GOOD.replace(b"1.5", b"17"), ""),
    (GOOD[:-1] + b',"note":[1]}', ""),
    (GOOD[:-1] + b',"note":"' + b"x" * (512 - len(GOOD) - 10) + b'"}', ""),
    (GOOD[:-1] + b',"note":"' + b"x" * (513 - len(GOOD) - 10) + b'"}', "at most 512 bytes"),
    (b"", "JSON object"),
    (b"\xff" + GOOD, "UTF-8"),
    (b"\xef\xbb\xbf" + GOOD, "JSON object"),
    (GOOD + b"\0", "JSON object"),
    (GOOD[:-1], "JSON object"),
    (b"[" * 500, "JSON object"),
    (b"[1]", "JSON object"),
    (GOOD.replace(b'"seq": 7, ', b""), "field 'seq'"),
    (GOOD.replace(b'"seq": 7', b'"seq": 7, "seq": 8'), "'seq' once"),
    (GOOD.replace(b"heartbeat/1", b"heartbeat/2"), '"racs"'),
    (GOOD.replace(b'"goon"', b"1"), '"app"'),
    (GOOD.replace(b'"goon"', b'"lens"'), '"app":"goon"'),
    (GOOD.replace(b'"seq": 7', b'"seq": 7.0'), '"seq"'),
    (GOOD.replace(b'"seq": 7', b'"seq": "7"'), '"seq"'),
    (GOOD.replace(b'"seq": 7', b'"seq": true'), '"seq"'),
    (GOOD.replace(b'"seq": 7', b'"seq": -1'), '"seq"'),
    (GOOD.replace(b'"seq": 7', b'"seq": 9007199254740992'), '"seq"'),
    (GOOD.replace(b"1.5", b"NaN"), "JSON numbers"),
    (GOOD.replace(b"1.5", b"1e999"), '"time"'),
    (GOOD.replace(b"1.5", b"1" + b"0" * 330), '"time"'),
    (GOOD.replace(b"1.5", b"null"), '"time"'),
    (GOOD.replace(b'"running"', b'"up"'), '"state"'),
    (GOOD.replace(b'"running"', b"[]"), '"state"'),
]


@pytest.mark.parametrize(("data", "expected"), DATAGRAMS, ids=range(len(DATAGRAMS)))
def test_every_datagram_is_held_to_the_wire_format(data: bytes, expected: str) -> None:
    outcome = judge("HBT-002", run(started(), [beat(20.0, 6), datagram(21.0, data), beat(22.0, 8)]))
    assert outcome.verdict is (FAIL if expected else PASS), outcome
    if expected:
        assert expected in outcome.findings[0].expected
        assert "1 of 3" in outcome.findings[0].seen


@settings(derandomize=True, max_examples=300, deadline=None)
@given(st.one_of(st.binary(max_size=600), st.integers(0, len(GOOD)).map(lambda cut: GOOD[:cut])))
def test_any_bytes_decode_to_a_beat_or_to_what_is_wrong(data: bytes) -> None:
    decoded = decode(data)
    assert isinstance(decoded, Beat) if data == GOOD else isinstance(decoded, Malformed)


def test_only_the_beginning_of_a_huge_datagram_is_in_the_trace() -> None:
    fields = {"data": GOOD.hex(), "length": 5000}
    assert "5000 bytes" in judge("HBT-002", run([(20.0, "beat", fields)])).findings[0].seen


def test_one_fault_is_one_finding_however_often_it_came() -> None:
    rows = [beat(20.0 + n, n, app="lens") for n in range(50)]
    outcome = judge("HBT-002", run(started(), rows))
    assert len(outcome.findings) == 1 and "50 of 50" in outcome.findings[0].seen


def linux(at: float, boot: int = 1) -> Row:
    return (at, "console-line", {"text": "Linux version 6.1", "boot": boot})


COUNTS = [
    (run(started(), beats(20, 30, seq=41)), PASS),
    (run(started(), beats(20, 30), beats(30, 40, seq=11)), FAIL),  # one left out
    (run(started(), beats(20, 30), beats(30, 40, seq=9)), FAIL),  # one twice
    (run(started(), beats(20, 30), beats(30, 40)), FAIL),  # an app that starts over inside its guest
    (run(started(), beats(20, 30), vm(31, "reset", 2), beats(40, 50)), PASS),
    (run(started(), beats(20, 30), [beat(31.1, 10)], vm(31.0, "reset", 2), beats(40, 50)), PASS),  # under way
    (run(started(), beats(20, 30), [linux(32.0)], beats(40, 50)), PASS),  # a guest that rebooted
    (run(started(), beats(20, 30), [linux(32.0)], beats(40, 50), beats(50, 60)), FAIL),
    (run(started(), beats(20, 30), [datagram(30, b"{}")], beats(31, 40, seq=11)), PASS),  # HBT-002's, not ours
    (run(started(), beats(20, 30), [datagram(30, b"{}")], beats(31, 40, seq=12)), FAIL),
    (run(started(), beats(20, 30, app="lens")), UNCLEAR),
    (run(started(), [beat(20, 0)]), UNCLEAR),
]


@pytest.mark.parametrize(("trace", "expected"), COUNTS)
def test_counting(trace: Trace, expected: Verdict) -> None:
    check("HBT-003", trace, expected)


def test_a_number_that_the_labs_own_socket_lost_is_not_the_apps() -> None:
    drop: Row = (30.0, "drop", {"where": "heartbeat", "count": 1, "begin": 29.5, "end": 30.5})
    trace = run(started(), beats(20, 30), [drop], beats(31, 40, seq=11))
    assert settle(judge("HBT-003", trace), trace.disturbances).verdict is UNCLEAR


STOPPING = [*started(), *beats(20, 85), beat(85, 65, "stopping")]


def changing(begin: int) -> list[Row]:
    """Ten seconds that begin with a beat of another state, one extra."""
    states = [(begin + 0.0, "starting"), *((begin + 0.2 + n * 0.98, "running") for n in range(10))]
    return [beat(at, n, state) for n, (at, state) in enumerate(states)]


RATES = [
    (run(started(), beats(20, 100)), PASS),
    (run(started(), beats(20, 100, interval=1.02)), PASS),
    (run(started(), beats(20, 100, interval=1.05)), UNCLEAR),
    (run(started(), beats(20, 100, interval=1.10)), FAIL),
    (run(started(), beats(20, 100, interval=0.90)), FAIL),
    (run(started(), beats(20, 100, interval=2.0)), FAIL),
    (run(started(), beats(20, 70)), UNCLEAR),  # too short
    (run(started(), beats(20, 60), vm(60, "reset", 2), beats(70, 110)), UNCLEAR),
    (run(started(), beats(20, 60), outage(60, 70, "ntp"), beats(60, 110, seq=40)), UNCLEAR),
    (run(started(), beats(20, 60), outage(60, 70, "ntp"), beats(60, 140, seq=40)), PASS),
    (run(started(), beats(20, 40), at_end(120)), FAIL),  # stopped for good
    # an extra beat at each change of state
    (run(started(), [beat(20, 0, "starting"), beat(20.3, 1)], beats(21, 100, seq=2)), PASS),
    (run(started(), [row for at in range(20, 100, 10) for row in changing(at)]), PASS),
    # stops where it says so and the VM goes off, no earlier
    (
        run(started(), beats(20, 85), [beat(85, 65, "stopping")], vm(90, "powered-off", reason="guest"), at_end(200)),
        PASS,
    ),
    (run(started(), beats(20, 85), [beat(85, 65, "stopping")], at_end(200)), FAIL),
    (run(started(), beats(20, 85), [(85, "power-button", {"press": 1})], at_end(200)), PASS),
]


@pytest.mark.parametrize(("trace", "expected"), RATES)
def test_rate(trace: Trace, expected: Verdict) -> None:
    check("HBT-004", trace, expected)


def gap(seconds: float) -> list[Row]:
    return [*beats(20, 41), *beats(40 + seconds, 100, seq=21)]


GAPS = [
    (run(started(), gap(1.0)), PASS),
    (run(started(), gap(3.0)), PASS),
    (run(started(), gap(3.1)), UNCLEAR),
    (run(started(), gap(3.9)), UNCLEAR),
    (run(started(), gap(4.1)), FAIL),
    (run(started(), beats(20, 41), at_end(44.5)), FAIL),
    (run(started(), beats(20, 41), at_end(42.5)), PASS),
    (run(started(), beats(20, 41), vm(41, "suspended"), vm(60, "resumed"), beats(60.5, 90, seq=21)), PASS),
    (run(started(), beats(20, 41), vm(41, "reset", 2), beats(60, 90)), PASS),
    (run(started(), beats(20, 41), vm(41, "reset", 2, "guest"), beats(60, 90)), FAIL),  # rebooted unasked
    (run(started(), beats(20, 41), vm(41, "powered-off", reason="guest"), at_end(60)), FAIL),
    (run(started(), beats(20, 41), vm(41, "destroyed"), at_end(60)), PASS),
    (run(started(), beats(20, 41), vm(44.1, "reset", 2, "supervision"), beats(60, 90)), FAIL),
    (run(started(), beats(20, 41), outage(40.5, 60, "bus"), beats(60, 90, seq=21)), PASS),  # HBT-007's
    (run(started(drill="hang-after:10"), beats(20, 31), at_end(60)), PASS),  # HBT-008's
    (run(started(), beats(20, 22)), UNCLEAR),
    # datagrams that are broken come regularly all the same: HBT-002's
    (run(started(), [datagram(20.0 + n, b"{}") for n in range(60)]), PASS),
]


@pytest.mark.parametrize(("trace", "expected"), GAPS)
def test_gaps(trace: Trace, expected: Verdict) -> None:
    check("HBT-005", trace, expected)


def test_a_gap_is_told_by_the_heartbeats_around_it_and_when_it_was() -> None:
    between = judge("HBT-005", run(started(), gap(6.0))).findings[0]
    at_last = judge("HBT-005", run(started(), beats(FIRST, 40), at_end(90))).findings[0]
    assert between.where.startswith("between heartbeat ") and between.where.endswith(" s after start 1 of the VM")
    assert at_last.where == "after heartbeat 19, the last one, 29.0 s to 80.0 s after start 1 of the VM"
    assert len(between.evidence) == 2 and len(at_last.evidence) == 1


def test_a_gap_while_the_host_starved_is_not_the_apps() -> None:
    starved: Row = (46.0, "host-starved", {"what": "steal", "value": 0.5, "limit": 0.1, "begin": 42.0, "end": 46.0})
    trace = run(started(), gap(6.0), [starved])
    assert settle(judge("HBT-005", trace), trace.disturbances).verdict is UNCLEAR
    assert settle(judge("HBT-005", run(started(), gap(6.0))), trace.disturbances).verdict is UNCLEAR


@settings(derandomize=True, max_examples=150, deadline=None)
@given(st.lists(st.floats(0.05, 8.0), min_size=5, max_size=60))
def test_gaps_agree_with_their_definition(intervals: list[float]) -> None:
    times = list(accumulate(intervals, initial=20.0))
    trace = run(started(), [beat(at, n) for n, at in enumerate(times)])
    longest = max(b - a for a, b in pairwise(times))
    verdict = judge("HBT-005", trace).verdict
    if longest > 4.001:
        assert verdict is FAIL
    elif longest > 3.001:
        assert verdict is UNCLEAR
    elif longest < 2.999:
        assert verdict is PASS if times[-1] - times[0] >= 3 else verdict in (PASS, UNCLEAR)


def shaken(by: float) -> list[Row]:
    return [beat(20.0 + n + (by if n % 4 == 0 else 0.0), n) for n in range(80)]


@pytest.mark.parametrize(
    ("trace", "expected"),
    [
        (run(started(), shaken(0.1)), PASS),
        (run(started(), shaken(0.2)), UNCLEAR),
        (run(started(), shaken(0.3)), FAIL),
        (run(started(), beats(20, 60)), UNCLEAR),
        (run(started(), [beat(20, 0, "starting"), beat(20.3, 1)], beats(21, 100, seq=2)), PASS),
    ],
)
def test_jitter(trace: Trace, expected: Verdict) -> None:
    check("HBT-006", trace, expected)


ALL = ("bus", "ntp", "dns", "backends")


@pytest.mark.parametrize(
    ("trace", "expected"),
    [
        (run(started(), beats(20, 140), outage(50, 111, *ALL)), PASS),
        (run(started(), beats(20, 51), outage(50, 111, *ALL), beats(111, 140, seq=31)), FAIL),
        (run(started(), beats(20, 51), outage(50, 111, *ALL), beats(57, 140, seq=31)), FAIL),
        (run(started(), beats(20, 140), outage(50, 90, *ALL)), UNCLEAR),
        (run(started(), beats(20, 140), outage(50, 111, "bus", "ntp", "dns")), UNCLEAR),
        (run(started(), beats(20, 140), outage(50, 111, "bus", "ntp"), outage(80, 140, "dns", "backends")), UNCLEAR),
        (run(started(), beats(20, 140), outage(15, 111, *ALL)), UNCLEAR),
    ],
)
def test_outages(trace: Trace, expected: Verdict) -> None:
    check("HBT-007", trace, expected)


def flow(at: float, answered: bool, **fields: object) -> Row:
    usual = {
        "name": "echo", "pattern": "udp-echo", "origin": "ue", "protocol": "udp",
        "client_address": "10.45.0.1", "client_port": 40000,
        "server_address": ADDRESSES["user-plane"], "server_port": 7, "begin": at, "end": at + 2.0,
        "completed": answered, "received": 4 if answered else 0,
    }  # fmt: skip
    return (at + 2.0, "flow", {**usual, **fields})


HANG = started(drill="hang-after:10")
WORKED = [*HANG, *beats(20, 31)]
SILENT = [flow(35.0, False)]
ALIVE = captured(arp(35.0, "request"), arp(35.001, "reply"))
WEB = {"protocol": "tcp", "pattern": "http", "server_address": "203.0.113.5", "server_port": 80}

EARLY = captured(arp(32.0, "request"), arp(32.001, "reply"))

HANGS = [
    (run(WORKED, SILENT, at_end(60), captures=ALIVE), PASS),
    (run(HANG, beats(20, 34), SILENT, at_end(60), captures=ALIVE), PASS),
    (run(HANG, beats(20, 34.5), SILENT, at_end(60), captures=ALIVE), UNCLEAR),
    (run(HANG, beats(20, 36), SILENT, at_end(60), captures=ALIVE), FAIL),
    (run(HANG, beats(20, 60), SILENT, captures=ALIVE), FAIL),
    (run(WORKED, [flow(35.0, True)], at_end(60), captures=ALIVE), FAIL),  # its work went on
    (run(WORKED, SILENT, at_end(60), captures=captured(arp(35.0, "request"))), FAIL),  # its system went down
    (run(WORKED, SILENT, vm(35, "powered-off", reason="guest"), at_end(60), captures=ALIVE), FAIL),
    (run(WORKED, SILENT, at_end(60), captures=captured()), UNCLEAR),  # nobody asked
    (run(WORKED, SILENT, at_end(60)), UNCLEAR),
    (run(WORKED, SILENT, at_end(60), captures=captured(arp(35.0, "request"), drops=1)), UNCLEAR),
    (run(WORKED, at_end(60), captures=ALIVE), UNCLEAR),  # no service was tried
    (run(WORKED, [flow(35.0, False, pattern="connect")], at_end(60), captures=ALIVE), UNCLEAR),
    (run(WORKED, [flow(35.0, False, server_port=9)], at_end(60), captures=ALIVE), UNCLEAR),
    (run(WORKED, [flow(25.0, False)], at_end(60), captures=ALIVE), UNCLEAR),  # before the hang
    (run(WORKED, [flow(31.0, False)], at_end(33.5), captures=EARLY), UNCLEAR),  # not long enough
    (run(WORKED, [flow(31.0, False)], at_end(34.5), captures=EARLY), PASS),
    (run(HANG, at_end(60), captures=ALIVE), UNCLEAR),  # never ran
    (run(started(), beats(20, 60), SILENT, captures=ALIVE), UNCLEAR),  # no drill
    (run(HANG, beats(20, 31, app="lens"), [flow(35.0, False, **WEB)], at_end(60), captures=ALIVE, app=LENS), PASS),
    (run(HANG, beats(20, 31, app="lens"), [flow(35.0, True, **WEB)], at_end(60), captures=ALIVE, app=LENS), FAIL),
    (
        run(
            HANG,
            beats(20, 31, app="lens"),
            [(33.0, "bypass", {"active": True}), flow(35.0, True, **WEB)],
            at_end(60),
            captures=ALIVE,
            app=LENS,
        ),
        UNCLEAR,  # answered round the app
    ),
    (run(HANG, beats(20, 31, app="lens"), [flow(35.0, True)], at_end(60), captures=ALIVE, app=LENS), UNCLEAR),
    (run(HANG, beats(20, 31, app="lens"), SILENT, app=replace(LENS, rules=(Rule("x", "uplink", "?"),))), UNCLEAR),
]


@pytest.mark.parametrize(("trace", "expected"), HANGS, ids=range(len(HANGS)))
def test_hang_drill(trace: Trace, expected: Verdict) -> None:
    check("HBT-008", trace, expected)


def test_an_app_without_the_drill_is_not_asked() -> None:
    check("HBT-008", run(app=replace(GOON, drills=())), Verdict.NOT_APPLICABLE)


SUSPENDED = [*started(), *STEADY, *vm(100.0, "suspended"), *vm(103.2, "reset", 2, "supervision")]


@pytest.mark.parametrize(
    ("trace", "expected"),
    [
        (run(SUSPENDED, vm(103.3, "resumed", 2), beats(112, 120)), PASS),
        (run(SUSPENDED, beats(112, 120)), PASS),
        (run(SUSPENDED, vm(103.3, "resumed", 2), at_end(103.3 + DEADLINE + 2)), FAIL),
        (run(SUSPENDED, vm(103.3, "resumed", 2), at_end(130)), UNCLEAR),
        (run(SUSPENDED, vm(103.3, "resumed", 2), vm(103.4 + DEADLINE, "reset", 3, "supervision")), FAIL),
        (run(started(), STEADY, vm(103, "reset", 2), beats(112, 120)), UNCLEAR),
        (
            run(started(), STEADY, vm(100, "suspended"), vm(103, "destroyed"), vm(104, "started", 2), beats(112, 120)),
            UNCLEAR,
        ),
        (run(started(), STEADY, vm(103, "reset", 2, "supervision"), beats(112, 120)), UNCLEAR),
    ],
)
def test_return_after_failure(trace: Trace, expected: Verdict) -> None:
    check("HBT-009", trace, expected)


def own(*frames: Frame) -> tuple[Frame, ...]:
    return (udp(20.0, PLATFORM, 7400, GOOD), *frames)


DISCIPLINE = [
    (run(started(), STEADY, captures=captured(*own())), PASS),
    (run(started(), STEADY), UNCLEAR),
    (run(started(), STEADY, captures=captured(*own(), drops=3)), UNCLEAR),
    (run(started(), captures=captured(*own())), UNCLEAR),
    (run(started(), beats(20, 30, interval=0.5), captures=captured(*own())), PASS),
    (run(started(), beats(20, 30.5, interval=0.47), captures=captured(*own())), FAIL),
    (run(started(), beats(20, 30.5, interval=0.47)), FAIL),
    (run(started(), beats(20, 30, interval=0.48), captures=captured(*own())), FAIL),  # 21 of them
    (run(started(), STEADY, captures=captured(*own(udp(30, "10.199.0.9", 7400)))), FAIL),
    (run(started(), STEADY, captures=captured(*own(udp(30, "10.199.0.255", 7400)))), FAIL),
    (run(started(), STEADY, captures=captured(*own(udp(30, "203.0.113.9", 9999, GOOD)))), FAIL),
    (run(started(), STEADY, captures=captured(*own(), user_plane=[udp(30, "203.0.113.9", 7400)])), FAIL),
    (run(started(), STEADY, captures=captured(*own(udp(30, PLATFORM, 7401, GOOD)))), FAIL),
    (run(started(), STEADY, captures=captured(*own(udp(30, "203.0.113.9", 9999, b"{}")))), PASS),
    # what came in from a user and passes through is not the app's own
    (
        run(
            started(),
            STEADY,
            captures=captured(
                *own(),
                user_plane=[
                    udp(30, "203.0.113.9", 7400, source="10.45.0.1", from_lab=True),
                    udp(30.1, "203.0.113.9", 7400, source="10.45.0.1"),
                ],
            ),
        ),
        PASS,
    ),
]


@pytest.mark.parametrize(("trace", "expected"), DISCIPLINE, ids=range(len(DISCIPLINE)))
def test_keeps_to_itself(trace: Trace, expected: Verdict) -> None:
    check("HBT-010", trace, expected)


@settings(derandomize=True, max_examples=150, deadline=None)
@given(st.lists(st.floats(0.01, 3.0), min_size=1, max_size=80))
def test_floods_agree_with_their_definition(intervals: list[float]) -> None:
    times = list(accumulate(intervals, initial=20.0))
    worst = max(sum(begin <= at < begin + 10.0 for at in times) for begin in times)
    trace = run(started(), [beat(at, n) for n, at in enumerate(times)], captures=captured())
    assert (judge("HBT-010", trace).verdict is FAIL) is (worst > 20)


def clock(*offs: float) -> list[Row]:
    return [beat(20.0 + n, n, off=off) for n, off in enumerate(offs)]


@pytest.mark.parametrize(
    ("trace", "expected"),
    [
        (run(started(), clock(0.1, 0.0, 0.1)), PASS),
        (run(started(), clock(900.0, -900.0, 0.0, 0.0)), PASS),  # before it was right
        (run(started(), clock(0.0, 0.0, -1.005)), PASS),  # within the tolerance
        (run(started(), clock(0.0, 0.0, -1.2)), FAIL),
        (run(started(), clock(0.0, 0.0, -0.4, -0.4, -0.4, -0.4)), FAIL),  # set back by less than the interval
        (run(started(), clock(0.0, 0.0, -0.4, 0.0, 0.0, 0.0)), PASS),  # a heartbeat that was sent late
        (run(started(), clock(*(-0.08 * n for n in range(10)))), PASS),  # slewed as fast as chronyd can
        (run(started(), clock(*(-0.2 * n for n in range(10)))), FAIL),
        (run(started(), clock(0.0, 0.0), vm(50, "reset", 2), [beat(60, 0, off=-3000), beat(61, 1), beat(62, 2)]), PASS),
        (run(started(), clock(900.0, 900.0)), UNCLEAR),
    ],
)
def test_time_runs_forward(trace: Trace, expected: Verdict) -> None:
    check("HBT-011", trace, expected)


MARGINS = [
    ("HBT-001", run(started(), [beat(START + DEADLINE + 3.0, 0)]), 2.0),
    ("HBT-001", run(started(), at_end(START + DEADLINE + 1.1)), DEADLINE + 1.1),  # never, as far as was waited
    ("HBT-001", run(started(), vm(20.0, "powered-off", reason="guest"), at_end(200.0)), 190.0),
    ("HBT-002", run(started(), [beat(20, 0), datagram(21, b"{}")]), FACT),
    ("HBT-002", run(started(), [beat(20, 0, app="lens")]), FACT),
    ("HBT-003", run(started(), beats(20, 30), beats(30, 40, seq=14)), 4.0),  # numbers left out
    ("HBT-003", run(started(), beats(20, 30), [datagram(30, b"{}")], beats(31, 40, seq=12)), 1.0),
    ("HBT-003", run(started(), beats(20, 30), beats(30, 40)), FACT),  # starts over
    ("HBT-003", run(started(), beats(20, 30), beats(30, 40, seq=9)), FACT),  # says a number twice
    ("HBT-004", run(started(), beats(20, 120, interval=1.25)), (0.2 - 0.07) * 98.75),
    ("HBT-004", run(started(), beats(20, 100), at_end(120)), (20 / 99 - 0.07) * 100),
    ("HBT-005", run(started(), gap(5.0)), 1.0),
    ("HBT-005", run(started(), beats(20, 41), at_end(60)), 16.0),
    ("HBT-006", run(started(), shaken(0.3)), (39 - 3) * 0.08 / 2),
    ("HBT-007", run(started(), beats(20, 51), outage(50, 111, *ALL), beats(57, 140, seq=31)), 3.0),
    ("HBT-008", run(HANG, beats(20, 36), SILENT, at_end(60), captures=ALIVE), 1.0),
    ("HBT-008", run(HANG, beats(20, 60), SILENT, captures=ALIVE), 25.0),
    ("HBT-008", run(WORKED, SILENT, at_end(60), captures=captured(arp(35.0, "request"))), 25.0),
    ("HBT-008", run(WORKED, SILENT, vm(35, "powered-off", reason="guest"), at_end(60), captures=ALIVE), FACT),
    ("HBT-008", run(WORKED, SILENT, vm(35, "crashed", reason="hypervisor"), at_end(60), captures=ALIVE), 0.0),
    ("HBT-008", run(WORKED, [flow(35.0, True)], at_end(60), captures=ALIVE), FACT),
    ("HBT-009", run(SUSPENDED, vm(103.3, "resumed", 2), at_end(103.3 + DEADLINE + 2)), DEADLINE + 2),
    ("HBT-010", run(started(), beats(20, 30, interval=0.25), captures=captured(*own())), 20.0),
    ("HBT-010", run(started(), STEADY, captures=captured(*own(udp(30, "10.199.0.9", 7400)))), FACT),
    ("HBT-011", run(started(), clock(0.0, 0.0, -1.5)), 0.49),
    ("HBT-011", run(started(), clock(0.0, 0.0, -3600.0)), 3598.99),
]


@pytest.mark.parametrize(("requirement", "trace", "margin_s"), MARGINS, ids=range(len(MARGINS)))
def test_what_a_busy_host_explains(requirement: str, trace: Trace, margin_s: float | None) -> None:
    check_margin(judge(requirement, trace), margin_s)


def test_a_burst_after_a_standstill_is_the_hosts() -> None:
    starved: Row = (30.0, "host-starved", {"what": "steal", "value": 0.9, "limit": 0.1, "begin": 22.0, "end": 33.0})
    at_once = [beat(33.0 + n / 100, 3 + n) for n in range(12)]
    trace = run(started(), beats(20, 23), at_once, beats(34, 45, seq=15), [starved], captures=captured(*own()))
    assert judge("HBT-010", trace).verdict is FAIL
    assert settle(judge("HBT-010", trace), trace.disturbances).verdict is UNCLEAR
