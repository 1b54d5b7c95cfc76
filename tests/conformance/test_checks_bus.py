"""The bus's checks over hand-made traces: each verdict of each check, and the fault that it exists for."""

import struct
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest
from settling import FACT, check_margin

from conformance import profile as profiles
from conformance.application import Application, Permission
from conformance.checks.bus import CHECKS
from conformance.errors import BrokenLab
from conformance.trace import Capture, Frame, Trace, make_trace
from conformance.verdict import Span, Verdict, settle

PASS, FAIL, INCONCLUSIVE, NOT_APPLICABLE = Verdict.PASS, Verdict.FAIL, Verdict.INCONCLUSIVE, Verdict.NOT_APPLICABLE
PROFILE = profiles.load()  # connect_deadline_s 30, guard_s 1
GOON = Application(
    id="goon",
    type="terminating",
    vendor="Example",
    product="GoOn",
    version="1.0",
    heartbeat_interval_s=1.0,
    nics=("service", "user-plane"),
    acl=(
        Permission("subscribe", "racs/cell/+/load"),
        Permission("publish", "app/goon/#"),
    ),
)
OFF_THE_BUS = replace(GOON, acl=None)

Events = list[tuple[float, str, Mapping[str, Any]]]


def run(application: Application = GOON) -> tuple[float, str, Mapping[str, Any]]:
    return 0.0, "run", {"application": application.to_json()}


def attempt(at: float, action: str, topic: str = "", allowed: bool = True, **fields: Any) -> tuple[float, str, Any]:
    base = {"client": "app", "connection": 1, "username": "goon", "protocol": "5", "reason": "allow"}
    return at, "mqtt-attempt", {**base, "action": action, "topic": topic, "allowed": allowed, **fields}


BEATS: Events = [(10.0, "beat", {}), (11.0, "beat", {})]
END: Events = [(60.0, "beat", {})]

CREDENTIALS = {
    "in time": ([attempt(12, "connect"), *END], PASS),
    "before the first beat": ([attempt(9, "connect"), *END], PASS),
    "a moment before the limit": ([attempt(39.5, "connect"), *END], INCONCLUSIVE),
    "a moment after the limit": ([attempt(40.5, "connect"), *END], INCONCLUSIVE),
    "too late": ([attempt(41.5, "connect"), *END], FAIL),
    "never": (END, FAIL),
    "the record ends before": ([], INCONCLUSIVE),
    "a probe's connection is not the app's": ([attempt(12, "connect", client="lab"), *END], FAIL),
    "a wrong password first": ([attempt(12, "connect", allowed=False), attempt(13, "connect"), *END], FAIL),
    "another user": ([attempt(12, "connect", allowed=False, username="admin"), *END], FAIL),
    "another protocol version first": (
        [attempt(12, "connect", allowed=False, username="", protocol="3.1"), attempt(13, "connect"), *END],
        PASS,
    ),
    "only another protocol version": ([attempt(12, "connect", allowed=False, username="", protocol="3.1"), *END], FAIL),
    "the VM was reset by the harness": (
        [(20, "vm-state", {"state": "reset", "reason": "harness"}), *END],
        INCONCLUSIVE,
    ),
    "the guest rebooted by itself": ([(20, "vm-state", {"state": "reset", "reason": "guest"}), *END], FAIL),
    "the bus was away": ([(20, "outage", {"service": "bus", "away": True}), *END], INCONCLUSIVE),
    "the bus was away long before": (
        [(5, "outage", {"service": "bus", "away": True}), (8, "outage", {"service": "bus"}), *END],
        FAIL,
    ),
    "NTP was away": ([(20, "outage", {"service": "ntp", "away": True}), *END], FAIL),
    "the bus process died": ([(20, "process-died", {"process": "bus"}), *END], INCONCLUSIVE),
}


@pytest.mark.parametrize(("events", "verdict"), CREDENTIALS.values(), ids=CREDENTIALS)
def test_credentials(events: Events, verdict: Verdict) -> None:
    outcome = CHECKS["BUS-001"](make_trace([run(), *BEATS, *events]), PROFILE)
    assert outcome.verdict is verdict, outcome


def test_credentials_without_beat_or_acl() -> None:
    assert CHECKS["BUS-001"](make_trace([run(), attempt(3, "connect")]), PROFILE).verdict is INCONCLUSIVE
    assert CHECKS["BUS-001"](make_trace([run(OFF_THE_BUS)]), PROFILE).verdict is NOT_APPLICABLE


def test_credentials_are_of_the_whole_run() -> None:
    trace = make_trace([run(), *BEATS, attempt(12, "connect"), *END]).within(Span(50, 60))
    assert CHECKS["BUS-001"](trace, PROFILE).verdict is PASS


def test_a_deadline_is_longer_where_the_guest_is_slower() -> None:
    trace = make_trace([run(), *BEATS, attempt(41.5, "connect"), *END])
    assert CHECKS["BUS-001"](trace, PROFILE.for_accelerator("tcg")).verdict is PASS


def test_a_late_connect_on_a_starved_host_is_no_fail() -> None:
    starved = (15.0, "host-starved", {"what": "steal", "value": 0.6, "limit": 0.1, "begin": 15.0, "end": 20.0})
    trace = make_trace([run(), *BEATS, starved, *END])
    outcome = CHECKS["BUS-001"](trace, PROFILE)
    assert outcome.verdict is FAIL and settle(outcome, trace.disturbances).verdict is INCONCLUSIVE
    trace = make_trace([run(), *BEATS, starved, attempt(16, "publish", "racs/x", False), *END])
    assert settle(CHECKS["BUS-002"](trace, PROFILE), trace.disturbances).verdict is FAIL, "an attempt is a fact"


CONNECTED = attempt(12, "connect")
ATTEMPTS = {
    "all allowed": (
        [CONNECTED, attempt(13, "subscribe", "racs/cell/+/load"), attempt(14, "publish", "app/goon/x")],
        PASS,
    ),
    "none made": ([CONNECTED], PASS),
    "never connected": ([], INCONCLUSIVE),
    "connect refused": ([attempt(12, "connect", allowed=False)], INCONCLUSIVE),
    "a forbidden publish": ([CONNECTED, attempt(13, "publish", "racs/cell/cell-1/load", False)], FAIL),
    "a forbidden subscribe": ([CONNECTED, attempt(13, "subscribe", "#", False)], FAIL),
    "a filter wider than the ACL's": ([CONNECTED, attempt(13, "subscribe", "racs/+/+/load", False)], FAIL),
    "a forbidden will": ([CONNECTED, attempt(12, "will", "app/other/gone", False)], FAIL),
    "a publish to what it may only subscribe": ([CONNECTED, attempt(13, "publish", "racs/cell/a/load", False)], FAIL),
    "a topic with a wildcard": ([CONNECTED, attempt(13, "publish", "app/goon/+", False)], FAIL),
    "a forbidden publish of the lab": ([CONNECTED, attempt(13, "publish", "racs/x", False, client="lab")], PASS),
    "the broker died": ([CONNECTED, (20, "process-died", {"process": "mosquitto"})], INCONCLUSIVE),
    "forbidden, and the broker died": (
        [CONNECTED, attempt(13, "publish", "x", False), (20, "process-died", {"process": "mosquitto"})],
        FAIL,
    ),
}


@pytest.mark.parametrize(("events", "verdict"), ATTEMPTS.values(), ids=ATTEMPTS)
def test_attempts(events: Events, verdict: Verdict) -> None:
    outcome = CHECKS["BUS-002"](make_trace([run(), *events]), PROFILE)
    assert outcome.verdict is verdict, outcome
    assert all(finding.evidence and finding.remedy for finding in outcome.findings)


def test_attempts_without_acl() -> None:
    assert CHECKS["BUS-002"](make_trace([run(OFF_THE_BUS)]), PROFILE).verdict is NOT_APPLICABLE


@pytest.mark.parametrize(
    ("check", "event"),
    [
        ("BUS-001", attempt(12, "connect", username="admin")),
        ("BUS-002", attempt(12, "publish", "racs/x")),
        ("BUS-002", attempt(12, "publish", "app/goon/x", False)),
    ],
)
def test_a_guard_that_decides_otherwise_is_a_broken_lab(check: str, event: tuple[float, str, Any]) -> None:
    with pytest.raises(BrokenLab):
        CHECKS[check](make_trace([run(), *BEATS, event]), PROFILE)


def test_a_cut_topic_is_not_judged_again() -> None:
    long = "app/goon/" + "x" * 1015
    assert (
        CHECKS["BUS-002"](make_trace([run(), CONNECTED, attempt(13, "publish", long, False)]), PROFILE).verdict is FAIL
    )


def test_the_same_attempt_many_times_is_one_finding() -> None:
    events = [attempt(13 + n, "publish", "racs/x", False) for n in range(9)]
    outcome = CHECKS["BUS-002"](make_trace([run(), *events]), PROFILE)
    assert len(outcome.findings) == 1 and "9 times" in outcome.findings[0].seen


# -- BUS-003 -----------------------------------------------------------------------------------------------------------


def probe(protocol: str, action: str, topic: str, accepted: bool, delivered: bool, who: str = "own") -> Events:
    """A probe and the bus's record of it, as a sound guard makes it."""
    seen = {"protocol": protocol, "action": action, "topic": topic, "credentials": who}
    allowed = who == "own" if action == "connect" else delivered
    return [
        attempt(20, action, topic, allowed, client="lab", protocol=protocol),
        (21.0, "mqtt-probe", {**seen, "accepted": accepted, "delivered": delivered}),
    ]


def sound(protocol: str) -> Events:
    return [
        *probe(protocol, "connect", "", True, False),
        *probe(protocol, "connect", "", False, False, "wrong password"),
        *probe(protocol, "publish", "app/goon/probe", True, True),
        *probe(protocol, "publish", "racs/probe", protocol == "3.1.1", False),
        *probe(protocol, "subscribe", "racs/cell/+/load", True, True),
        *probe(protocol, "subscribe", "#", False, False),
        *probe(protocol, "will", "app/goon/will", True, True),
        *probe(protocol, "will", "app/other/will", True, False),
    ]


SOUND = sound("3.1.1") + sound("5")
ENFORCEMENT = {
    "a sound bus": (SOUND, PASS),
    "no probes": ([], INCONCLUSIVE),
    "one protocol only": (sound("5"), INCONCLUSIVE),
    "a wrong password let in": ([*SOUND, *probe("5", "connect", "", True, False, "wrong password")], FAIL),
    "the own password refused": ([*SOUND, *probe("5", "connect", "", False, False)], FAIL),
    "a forbidden publish delivered": ([*SOUND, *probe("3.1.1", "publish", "racs/other", True, True)], FAIL),
    "an allowed publish lost": ([*SOUND, *probe("5", "publish", "app/goon/lost", True, False)], FAIL),
    "a forbidden publish without a refusal": ([*SOUND, *probe("5", "publish", "racs/other", True, False)], FAIL),
    "a forbidden subscribe granted": ([*SOUND, *probe("3.1.1", "subscribe", "racs/#", True, False)], FAIL),
    "a forbidden subscribe granted and served": ([*SOUND, *probe("3.1.1", "subscribe", "racs/#", True, True)], FAIL),
    "an allowed subscribe refused": ([*SOUND, *probe("5", "subscribe", "racs/cell/+/load", False, False)], FAIL),
    "not recorded": ([*SOUND, probe("5", "publish", "app/goon/unseen", True, True)[1]], FAIL),
}


@pytest.mark.parametrize(("events", "verdict"), ENFORCEMENT.values(), ids=ENFORCEMENT)
def test_enforcement(events: Events, verdict: Verdict) -> None:
    outcome = CHECKS["BUS-003"](make_trace([run(), *events]), PROFILE)
    assert outcome.verdict is verdict, outcome


def test_enforcement_without_permissions() -> None:
    forbidden_only = [
        event for event in SOUND if event[2]["action"] == "connect" or not event[2].get("delivered", True)
    ]
    trace = make_trace([run(replace(GOON, acl=())), *(e for e in forbidden_only if e[1] == "mqtt-probe")])
    assert CHECKS["BUS-003"](trace, PROFILE).verdict is FAIL, "none of these is in the record"
    assert CHECKS["BUS-003"](make_trace([run(OFF_THE_BUS)]), PROFILE).verdict is NOT_APPLICABLE


USAGE = {
    "all used": (
        [CONNECTED, attempt(13, "subscribe", "racs/cell/cell-1/load"), attempt(14, "publish", "app/goon/x")],
        PASS,
    ),
    "a will is a use": (
        [CONNECTED, attempt(13, "subscribe", "racs/cell/+/load"), attempt(14, "will", "app/goon/x")],
        PASS,
    ),
    "one unused": ([CONNECTED, attempt(14, "publish", "app/goon/x")], FAIL),
    "never connected": ([], INCONCLUSIVE),
    "the record is lost": ([CONNECTED, (20, "process-died", {"process": "bus"})], INCONCLUSIVE),
}


@pytest.mark.parametrize(("events", "verdict"), USAGE.values(), ids=USAGE)
def test_usage(events: Events, verdict: Verdict) -> None:
    assert CHECKS["BUS-006"](make_trace([run(), *events]), PROFILE).verdict is verdict


# -- BUS-007 -----------------------------------------------------------------------------------------------------------


def tcp(source: bytes, destination: bytes, port: int, flags: int, ethernet: bool = True) -> bytes:
    """An IPv4 or, by the length of the addresses, IPv6 packet with a TCP header."""
    segment = struct.pack("!HHIIBBHHH", 40000, port, 1, 0, 5 << 4, flags, 1024, 0, 0)
    if len(source) == 4:
        data = struct.pack("!BBHHHBBH", 0x45, 0, 40, 1, 0, 64, 6, 0) + source + destination + segment
    else:
        data = struct.pack("!IHBB", 6 << 28, 20, 6, 64) + source + destination + segment
    return bytes(12) + (b"\x08\x00" if len(source) == 4 else b"\x86\xdd") + data if ethernet else data


APP, BUS, UE = bytes([10, 199, 0, 9]), bytes([10, 199, 0, 1]), bytes([10, 45, 0, 1])
SYN, ACK = 2, 16
OTHER = tcp(APP, BUS, 80, SYN)


def captured(service: list[Frame], user_plane: list[Frame], drops: int = 0) -> Mapping[str, Capture]:
    return {
        "service": Capture("service", "ethernet", tuple(service), drops),
        "user-plane": Capture("user-plane", "ethernet", tuple(user_plane)),
    }


ABSTINENCE = {
    "silent": (captured([Frame(1, OTHER, False)], []), PASS),
    "a connect": (captured([Frame(1, tcp(APP, BUS, 1883, SYN), False)], []), FAIL),
    "a connect by IPv6": (captured([], [Frame(1, tcp(bytes(16), bytes(16), 1883, SYN), False)]), FAIL),
    "to somewhere else": (captured([], [Frame(1, tcp(APP, UE, 1883, SYN), False)]), FAIL),
    "an answer as a server": (captured([Frame(1, tcp(APP, BUS, 1883, SYN | ACK), False)], []), PASS),
    "no SYN": (captured([Frame(1, tcp(APP, BUS, 1883, ACK), False)], []), PASS),
    "a UE's connection passed on": (
        captured([], [Frame(1, tcp(UE, BUS, 1883, SYN), True), Frame(2, tcp(UE, BUS, 1883, SYN), False)]),
        PASS,
    ),
    "a connect to the app": (captured([Frame(1, tcp(BUS, APP, 1883, SYN), True), Frame(2, OTHER, False)], []), PASS),
    "drops": (captured([Frame(1, OTHER, False)], [], drops=1), INCONCLUSIVE),
    "drops, and a connect": (captured([Frame(1, tcp(APP, BUS, 1883, SYN), False)], [], drops=1), FAIL),
    "a NIC not captured": ({"service": Capture("service", "ethernet", (Frame(1, OTHER, False),))}, INCONCLUSIVE),
    "no frame at all": (captured([], []), INCONCLUSIVE),
    "noise": (captured([Frame(1, b"\0" * 60, False), Frame(2, b"", False)], []), PASS),
    "without link layer": (
        {
            **captured([], []),
            "service": Capture("service", "ip", (Frame(1, OTHER[14:].replace(b"\0\x50", b"\7\x5b"), False),)),
        },
        FAIL,
    ),
}


@pytest.mark.parametrize(("captures", "verdict"), ABSTINENCE.values(), ids=ABSTINENCE)
def test_abstinence(captures: Mapping[str, Capture], verdict: Verdict) -> None:
    trace = Trace(make_trace([run(OFF_THE_BUS)]).events, captures)
    outcome = CHECKS["BUS-007"](trace, PROFILE)
    assert outcome.verdict is verdict, outcome


def test_abstinence_of_an_app_on_the_bus() -> None:
    assert CHECKS["BUS-007"](make_trace([run()]), PROFILE).verdict is NOT_APPLICABLE


CONNECTS = {
    "never": (END, 50.0),
    "too late": ([attempt(44.0, "connect"), *END], 3.0),
    "a wrong password": ([attempt(12, "connect", allowed=False), *END], FACT),
}


@pytest.mark.parametrize(("events", "margin_s"), CONNECTS.values(), ids=CONNECTS)
def test_what_a_busy_host_explains(events: Events, margin_s: float | None) -> None:
    check_margin(CHECKS["BUS-001"](make_trace([run(), *BEATS, *events]), PROFILE), margin_s)


FACTS = {
    "BUS-002": make_trace([run(), CONNECTED, attempt(13, "publish", "racs/x", False)]),
    "BUS-003": make_trace([run(), *SOUND, *probe("5", "publish", "racs/other", True, False)]),
    "BUS-006": make_trace([run(), CONNECTED]),
    "BUS-007": Trace(make_trace([run(OFF_THE_BUS)]).events, captured([Frame(1, tcp(APP, BUS, 1883, SYN), False)], [])),
}


@pytest.mark.parametrize(("requirement", "trace"), FACTS.items(), ids=FACTS)
def test_what_was_attempted_is_a_fact(requirement: str, trace: Trace) -> None:
    check_margin(CHECKS[requirement](trace, PROFILE), FACT)
