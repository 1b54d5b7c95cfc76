"""NTP-001 to NTP-008 over hand-made traces: each passes, fails and cannot tell."""

import pytest
from run_traces import (
    ADDRESSES,
    FIRST,
    PLATFORM,
    Row,
    at_end,
    beat,
    beats,
    captured,
    outage,
    run,
    started,
    udp,
    vm,
)
from settling import FACT, check_margin

from conformance.checks.clock import CHECKS
from conformance.checks.polling import KISS
from conformance.profile import load
from conformance.trace import Trace, make_trace
from conformance.verdict import Verdict

PROFILE = load()
PASS, FAIL, UNCLEAR = Verdict.PASS, Verdict.FAIL, Verdict.INCONCLUSIVE
DEADLINE = PROFILE.number("time.synchronised_deadline_s")


def check(requirement: str, trace: Trace, expected: Verdict) -> None:
    outcome = CHECKS[requirement](trace, PROFILE)
    assert outcome.verdict is expected, outcome
    assert outcome.reason


@pytest.mark.parametrize("requirement", sorted(set(CHECKS) - {"NTP-007"}))
def test_a_trace_without_anything_tells_nothing(requirement: str) -> None:
    check(requirement, run(), UNCLEAR)
    check(requirement, run(started()), UNCLEAR)


def request(at: float, data: bytes = b"\x23" + bytes(47), reason: str = "", address: str = ADDRESSES["service"]) -> Row:
    return (
        at,
        "ntp-request",
        {"data": data.hex(), "address": address, "port": 123, "answered": not reason, "reason": reason},
    )


@pytest.mark.parametrize(
    ("trace", "expected"),
    [
        (run(started(), [request(15)]), PASS),
        (run(started(), [request(15, b"\x1b" + bytes(47))]), PASS),
        (run(started(), [request(15, b"\xe3" + bytes(67))]), PASS),
        (run(started(), [request(15, reason="outage")]), PASS),
        (run(started(), [request(15, b"\x13" + bytes(47))]), FAIL),  # version 2
        (run(started(), [request(15), request(16, b"\x21" + bytes(47))]), FAIL),  # symmetric active
        (run(started(), [request(15, b"\x23" + bytes(40))]), FAIL),
        (run(started(), beats(FIRST, FIRST + DEADLINE + 1.5)), FAIL),
        (run(started(), beats(FIRST, FIRST + DEADLINE - 5)), UNCLEAR),
        (run(started(), [request(15, address="10.199.0.99")]), UNCLEAR),  # another's
    ],
)
def test_requests(trace: Trace, expected: Verdict) -> None:
    check("NTP-001", trace, expected)


def clock(*offs: tuple[float, float]) -> list[Row]:
    """Beats to and past the deadline; each offset holds from so many seconds after the first beat on."""
    rows = []
    for n in range(int(DEADLINE) + 11):
        off = [value for since, value in offs if since <= n][-1]
        rows.append(beat(FIRST + n, n, off=off))
    return rows


RIGHT_LATE = clock((0, -1800.0), (40, 0.01))
SYNCHRONISED = [
    (run(started(), clock((0, 0.01))), PASS, PASS),
    (run(started(), RIGHT_LATE), PASS, PASS),
    (run(started(), clock((0, 1700.0))), FAIL, FAIL),
    (run(started(), clock((0, -1700.0), (66, 0.0))), FAIL, FAIL),
    (run(started(), clock((0, 1700.0), (40, 0.5))), PASS, FAIL),
    (run(started(), clock((0, 1700.0), (40, -0.99))), UNCLEAR, FAIL),
    (run(started(), clock((0, 1700.0), (40, 0.11))), PASS, UNCLEAR),
    (run(started(), clock((0, 0.0), (50, 5.0))), FAIL, FAIL),  # right, and wrong again at the deadline
    (run(started(), clock((0, 1700.0))[:40]), UNCLEAR, UNCLEAR),  # it had time left
    (run(started(), clock((0, 0.0))[:20]), PASS, PASS),  # it needed no more time
    (run(started(), clock((0, 1700.0)), outage(30, 90, "ntp")), UNCLEAR, UNCLEAR),
    (run(started(), beats(FIRST, 100, app="lens")), UNCLEAR, UNCLEAR),
]


@pytest.mark.parametrize(("trace", "must", "should"), SYNCHRONISED, ids=range(len(SYNCHRONISED)))
def test_synchronisation(trace: Trace, must: Verdict, should: Verdict) -> None:
    check("NTP-002", trace, must)
    check("NTP-003", trace, should)


def test_without_the_platforms_clock_nothing_is_said() -> None:
    whole = run(started(), clock((0, 0.0)))
    without = make_trace([(e.at, e.kind, e.fields) for e in whole.events if e.kind != "platform-clock"])
    for requirement in ("NTP-002", "NTP-003", "NTP-004"):
        check(requirement, without, UNCLEAR)


def test_a_drifting_platform_clock_is_followed() -> None:
    whole = run(started(), beats(FIRST, 100.0))
    events = [(e.at, e.kind, dict(e.fields)) for e in whole.events]
    for _, kind, fields in events:
        if kind == "platform-clock":
            fields["drift_ppm"] = 2e4  # far more than the profile's, to be seen in a short trace
    check("NTP-002", make_trace(events), FAIL)


LATER = [*vm(100.0, "reset", 2), *(beat(110.0 + n, n, off=0.0 if n > 20 else 3000.0) for n in range(40))]
AWAY = outage(120.0, 125.0, "ntp")


@pytest.mark.parametrize(
    ("trace", "expected"),
    [
        (run(started(), RIGHT_LATE, LATER, AWAY), PASS),
        (run(started(), RIGHT_LATE, LATER), UNCLEAR),  # no outage
        (run(started(), RIGHT_LATE, AWAY), UNCLEAR),  # no restart
        (run(started(), RIGHT_LATE, LATER, [beat(150.0, 40, off=2.0)], AWAY), FAIL),
        (run(started(), clock((0, 0.0), (30, -1.5)), LATER, AWAY), FAIL),
        (run(started(), clock((0, 0.0), (30, 1.01)), LATER, AWAY), UNCLEAR),
        (run(started(), clock((0, 900.0)), LATER, AWAY), FAIL),  # never right
    ],
)
def test_staying_synchronised(trace: Trace, expected: Verdict) -> None:
    check("NTP-004", trace, expected)


def query(name: str, address: str = ADDRESSES["service"]) -> Row:
    return (30.0, "dns-query", {"name": name, "type": "A", "address": address, "answer": "NXDOMAIN"})


OWN = udp(20.0, PLATFORM, 123, bytes(48))
SOURCES = [
    (run(captures=captured(OWN)), PASS),
    (
        run([query("ntp.racs.internal"), query("mqtt.racs.internal"), query("example.com")], captures=captured(OWN)),
        PASS,
    ),
    (run([query("ntp.racs.internal.racs.internal")], captures=captured(OWN)), PASS),  # a search list's doing
    (run([query("pool.ntp.org", "10.45.0.1")], captures=captured(OWN)), PASS),  # a user's
    (run([query("2.debian.pool.ntp.org")], captures=captured(OWN)), FAIL),
    (run([query("pool.ntp.org")], captures=captured(OWN)), FAIL),
    (run([query("time.example.net")], captures=captured(OWN)), FAIL),
    (run([query("ntp.ubuntu.com")]), FAIL),
    (run([query("a.ntp.example")]), FAIL),
    (run(captures=captured(OWN, udp(30, "10.199.0.2", 123))), FAIL),
    (run(captures=captured(OWN, user_plane=[udp(30, "203.0.113.5", 123, source=ADDRESSES["user-plane"])])), FAIL),
    (run(captures=captured(OWN, udp(30, "10.199.0.255", 123), drops=1)), FAIL),
    (run(captures=captured(OWN, drops=1)), UNCLEAR),
    (run(captures=captured()), UNCLEAR),
    (
        run(
            captures=captured(
                OWN,
                user_plane=[
                    udp(30, "203.0.113.5", 123, source="10.45.0.1", from_lab=True),
                    udp(30.1, "203.0.113.5", 123, source="10.45.0.1"),
                ],
            )
        ),
        PASS,  # a user's, passing through
    ),
]


@pytest.mark.parametrize(("trace", "expected"), SOURCES, ids=range(len(SOURCES)))
def test_other_sources(trace: Trace, expected: Verdict) -> None:
    check("NTP-005", trace, expected)


BURST = [request(at) for at in (15.0, 17.0, 19.0, 21.0)]


def polls(begin: float, gap: float, count: int) -> list[Row]:
    return [request(begin + n * gap) for n in range(count)]


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        ([*BURST, *polls(85, 64, 2), request(213, reason=KISS), *polls(277, 64, 3)], PASS),
        ([*BURST, request(29, reason=KISS), *polls(37, 8, 3)], PASS),
        ([*BURST, request(29, reason=KISS), *polls(36.5, 7.5, 3)], UNCLEAR),
        ([*BURST, request(85, reason=KISS), *polls(87, 2, 3)], FAIL),
        ([*BURST, *polls(85, 64, 2), request(213, reason=KISS), *polls(233, 20, 3)], FAIL),  # faster than before
        ([*BURST, request(85, reason=KISS), request(149)], UNCLEAR),
        ([*BURST, *polls(85, 64, 4)], UNCLEAR),
    ],
)
def test_kiss_of_death(rows: list[Row], expected: Verdict) -> None:
    check("NTP-006", run(started(), rows), expected)


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        ([*polls(15, 1024, 4), *at_end(3500)], PASS),
        ([*polls(15, 1024, 2), *at_end(3500)], FAIL),
        ([*polls(15, 1200.5, 3), *at_end(3400)], UNCLEAR),
        (at_end(1000), Verdict.NOT_APPLICABLE),
    ],
)
def test_polling(rows: list[Row], expected: Verdict) -> None:
    check("NTP-007", run(started(), rows), expected)


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        ([request(50, reason="outage"), *outage(40, 60, "ntp"), request(70)], PASS),
        ([request(50, reason="outage"), *outage(40, 60, "ntp"), *at_end(1300)], FAIL),
        ([request(50, reason="outage"), *outage(40, 60, "ntp"), request(1300)], FAIL),
        ([request(50, reason="outage"), *outage(40, 60, "ntp"), *at_end(600)], UNCLEAR),
        ([request(50)], UNCLEAR),
    ],
)
def test_after_an_outage(rows: list[Row], expected: Verdict) -> None:
    check("NTP-008", run(started(), rows), expected)


MARGINS = [
    ("NTP-001", run(started(), [request(15, b"\x13" + bytes(47))]), FACT),
    ("NTP-001", run(started(), beats(FIRST, FIRST + DEADLINE + 2.0)), DEADLINE + 1.0),
    ("NTP-002", run(started(), clock((0, 1800.0))), 1800.0 - 1.02),
    ("NTP-002", run(started(), clock((0, 3.0))), 1.98),
    ("NTP-002", run(started(), clock((0, 1800.0), (66, 0.0))), 6.0),  # right, six seconds late
    ("NTP-003", run(started(), clock((0, 0.5))), 0.38),
    ("NTP-004", run(started(), clock((0, 0.0), (30, -1.5)), LATER, AWAY), 0.48),
    ("NTP-005", run([query("pool.ntp.org")], captures=captured(OWN)), FACT),
    ("NTP-005", run(captures=captured(OWN, udp(30, "10.199.0.2", 123))), FACT),
    ("NTP-006", run(started(), BURST, [request(85, reason=KISS)], polls(87, 2, 3)), 5.0),
    ("NTP-006", run(started(), BURST, polls(85, 64, 2), [request(213, reason=KISS)], polls(233, 20, 3)), 43.0),
    ("NTP-007", run(started(), polls(15, 1024, 2), at_end(3500)), 3500 - 1039 - 1201),
    ("NTP-008", run(started(), outage(40, 60, "ntp"), at_end(1300)), 1240.0),
    ("NTP-008", run(started(), outage(40, 60, "ntp"), [request(1300)]), 39.0),
]


@pytest.mark.parametrize(("requirement", "trace", "margin_s"), MARGINS, ids=range(len(MARGINS)))
def test_what_a_busy_host_explains(requirement: str, trace: Trace, margin_s: float | None) -> None:
    check_margin(CHECKS[requirement](trace, PROFILE), margin_s)


def test_a_request_on_the_limit_after_an_outage_is_not_decided_by_luck() -> None:
    check("NTP-008", run(started(), outage(40, 60, "ntp"), [request(60 + 1200.5)]), UNCLEAR)
