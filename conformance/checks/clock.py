"""Checks NTP-001 to NTP-008: the guest follows the platform's clock, and no other (contract 4)."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

from conformance.checks.polling import (
    asks_again_after_outage,
    keeps_polling,
    obeys_kiss_of_death,
    own_events,
    requests_of,
)
from conformance.checks.tally import Tally, beyond, miss
from conformance.checks.timeline import Boot, Datagram, beats_of, boots, datagrams, observed, outages, place
from conformance.checks.wire import own_packets, uncaptured
from conformance.ntp import request_fault
from conformance.packet import UDP
from conformance.profile import Profile
from conformance.trace import Trace
from conformance.verdict import Finding, Outcome, Span, Verdict, counted, inconclusive

NTP_PORT = 123
NO_CLOCK = "the trace does not say what the platform's clock was"
_ASK_REMEDY = (
    "point an NTP client at racs.ntp.host of the OVF environment (chronyd: server HOST iburst) and start it at boot"
)
_STEP_REMEDY = (
    "run an NTP client against racs.ntp.host of the OVF environment that steps any offset at start "
    "(chronyd: makestep 1 3; ntpd: -g), and read the time anew for every heartbeat"
)


def asks_for_the_time(trace: Trace, profile: Profile) -> Outcome:
    """NTP-001: sends valid NTPv3/v4 client requests to the platform's server."""
    requests, tally = requests_of(trace), Tally()
    for event in requests:
        fault = request_fault(bytes.fromhex(event["data"]))
        if fault:
            tally.findings.append(
                Finding(
                    "NTPv3 or NTPv4 client requests (mode 3, at least 48 bytes)",
                    fault,
                    f"NTP from {event['address']}:{event['port']}",
                    "use a usual NTP client (chrony, ntpd, systemd-timesyncd) or examples/clients/ntp.py",
                    (event.reference,),
                )
            )
    if requests:
        tally.good(counted(len(requests), "request"), requests[0].reference, requests[-1].reference)
        return tally.outcome("")
    first = next((d for d in datagrams(trace, profile) if d.beat), None)
    deadline, end = profile.number("time.synchronised_deadline_s"), observed(trace).end
    if first is None or end < first.at + deadline:
        return inconclusive(f"no request yet, but less than {deadline:g} s after the first heartbeat were observed")
    tally.findings.append(
        Finding(
            f"an NTP request to {profile['network.platform']} within {deadline:g} s of the first heartbeat",
            f"none in {end - first.at:.0f} s",
            place(trace, Span(first.at, end)),
            _ASK_REMEDY,
            (first.event.reference,),
            Span(first.at, end),
            end - first.at,
        )
    )
    return tally.outcome("")


@dataclass(frozen=True, slots=True)
class _Offset:
    """A heartbeat's time against the platform's clock at its arrival, seconds."""

    datagram: Datagram
    value_s: float


def _offsets(trace: Trace, good: Sequence[Datagram]) -> list[_Offset]:
    found = []
    for datagram in good:
        now = trace.platform_time(datagram.at)
        if now is not None and datagram.beat:
            found.append(_Offset(datagram, datagram.beat.time - now))
    return found


def is_synchronised(trace: Trace, profile: Profile) -> Outcome:
    """NTP-002: guest clock within 1 s of the platform's by the deadline, from heartbeat times."""
    return _judge_synchronisation(trace, profile, profile.number("time.offset_must_s"))


def is_close(trace: Trace, profile: Profile) -> Outcome:
    """NTP-003: guest clock within 100 ms."""
    return _judge_synchronisation(trace, profile, profile.number("time.offset_should_s"))


def _judge_synchronisation(trace: Trace, profile: Profile, limit: float) -> Outcome:
    if trace.platform_time(0.0) is None:
        return inconclusive(NO_CLOCK)
    tally, seen, end = Tally(), datagrams(trace, profile), observed(trace).end
    away = outages(trace, end, "ntp")
    for boot in boots(trace):
        offsets = _offsets(trace, beats_of(boot, seen))
        if not offsets or any(boot.begin <= hole.end and hole.begin <= boot.end for hole in away):
            continue
        _judge_start(tally, boot, offsets, limit, profile)
    return tally.outcome("no start with heartbeats was observed to the deadline")


def _judge_start(tally: Tally, boot: Boot, offsets: Sequence[_Offset], limit: float, profile: Profile) -> None:
    """By the last heartbeat up to the deadline; one that came before it and was right already may end the wait."""
    begin = offsets[0].datagram.at
    deadline, guard = begin + profile.number("time.synchronised_deadline_s"), profile.number("host.guard_offset_s")
    last = [offset for offset in offsets if offset.datagram.at <= deadline + profile.number("host.guard_s")][-1]
    verdict = beyond(abs(last.value_s), limit, guard)
    if verdict is not Verdict.PASS and boot.end < deadline:
        return  # it had time left
    after = last.datagram.at - begin
    seen = f"{last.value_s:+.3f} s off {after:.0f} s after the first heartbeat of start {boot.number}"
    finding = Finding(
        f"a guest clock within {limit:g} s of the platform's {deadline - begin:g} s after the first heartbeat",
        seen,
        _where(boot, last),
        _STEP_REMEDY,
        (last.datagram.event.reference,),
        Span(begin, last.datagram.at),
        min(miss(abs(last.value_s), limit, guard), _late_s(offsets, limit, deadline)),
    )
    tally.add(verdict, seen, finding)


def _where(boot: Boot, offset: _Offset) -> str:
    seq = offset.datagram.beat.seq if offset.datagram.beat else 0
    return f"heartbeat {seq}, {offset.datagram.at - boot.event.at:.1f} s after start {boot.number} of the VM"


def _late_s(offsets: Sequence[_Offset], limit: float, deadline: float) -> float:
    """How long after the deadline the clock was right: a host that cost as much may have made it late."""
    after = (offset.datagram.at for offset in offsets if offset.datagram.at > deadline and abs(offset.value_s) <= limit)
    return next(after, math.inf) - deadline


def stays_synchronised(trace: Trace, profile: Profile) -> Outcome:
    """NTP-004: within 1 s of the platform's clock to the end of the run, over restarts and a time server outage too."""
    if trace.platform_time(0.0) is None:
        return inconclusive(NO_CLOCK)
    tally, seen, limit = Tally(), datagrams(trace, profile), profile.number("time.offset_must_s")
    judged, guard = 0, profile.number("host.guard_offset_s")
    for boot in boots(trace):
        offsets = _from_first_right(_offsets(trace, beats_of(boot, seen)), limit, profile)
        judged += bool(offsets)
        worst = max(offsets, key=lambda offset: abs(offset.value_s), default=None)
        if worst is None:
            continue
        text = f"{worst.value_s:+.3f} s off at the worst of {counted(len(offsets), 'heartbeat')} of start {boot.number}"
        finding = Finding(
            f"a guest clock that stays within {limit:g} s of the platform's",
            text,
            _where(boot, worst),
            "keep the NTP client running; do not set the clock from the RTC or the host after start",
            (worst.datagram.event.reference,),
            # the beat may have been stamped late by what came just before
            Span(worst.datagram.at - profile.number("host.guard_s"), worst.datagram.at),
            miss(abs(worst.value_s), limit, guard),
        )
        tally.add(beyond(abs(worst.value_s), limit, guard), text, finding)
    if judged < 2 or not outages(trace, observed(trace).end, "ntp"):
        tally.unclear.append("the run had no restart or no outage of the time server to stay synchronised over")
    return tally.outcome("no heartbeat with a right clock was received: see NTP-002")


def _from_first_right(offsets: Sequence[_Offset], limit: float, profile: Profile) -> Sequence[_Offset]:
    """From the first right one on, and from the deadline on where none was right."""
    deadline = profile.number("time.synchronised_deadline_s")
    for index, offset in enumerate(offsets):
        if abs(offset.value_s) <= limit or offset.datagram.at > offsets[0].datagram.at + deadline:
            return offsets[index:]
    return ()


def asks_nobody_else(trace: Trace, profile: Profile) -> Outcome:
    """NTP-005: asks no other time source: no UDP/123 elsewhere, no DNS query for a name of the profile's list."""
    tally, platform = Tally(), str(profile["network.platform"])
    packets = 0
    strays: dict[tuple[str, str], list[str]] = {}
    for interface, at, packet in own_packets(trace):
        packets += 1
        if packet.proto == UDP and packet.dst_port == NTP_PORT and packet.destination != platform:
            strays.setdefault((str(packet.destination), interface), []).append(f"capture:{interface}@{at:.6f}")
    for (target, interface), evidence in strays.items():
        seen = f"{counted(len(evidence), 'packet')} to UDP port {NTP_PORT} of {target}"
        tally.findings.append(_other_source(seen, f"NIC {interface}", evidence))
    names: dict[str, list[str]] = {}
    for query in own_events(trace, "dns-query"):
        if _is_foreign(query["name"], profile):
            names.setdefault(query["name"], []).append(query.reference)
    for name, references in names.items():
        seen = f"DNS queries for {name}: {len(references)}"
        tally.findings.append(_other_source(seen, "the platform's DNS", references))
    missing = uncaptured(trace)
    if missing:
        tally.unclear.append(f"{missing} was not captured without loss")
    elif not packets:
        tally.unclear.append("no packet of the app was captured")
    captures = (f"capture:{nic}" for nic in trace.application.nics)
    tally.good(f"{counted(packets, 'packet')} of the app, none to another time server", *captures)
    return tally.outcome("")


def _other_source(seen: str, where: str, evidence: Sequence[str]) -> Finding:
    return Finding(
        "no time source but the platform's",
        seen,
        where,
        "remove the distribution's default servers and pools from the NTP client's configuration",
        tuple(evidence[:5]),
    )


def _is_foreign(name: str, profile: Profile) -> bool:
    """A name of the profile's list; the platform's own is none, nor what a resolver's search list makes of it."""
    domain = str(profile["network.domain"])
    own = f"ntp.{domain}"
    if name in (own, f"{own}.{domain}"):
        return False
    return any(fnmatchcase(name, pattern) for pattern in profile["time.foreign_names"])


CHECKS: Mapping[str, Callable[[Trace, Profile], Outcome]] = {
    "NTP-001": asks_for_the_time,
    "NTP-002": is_synchronised,
    "NTP-003": is_close,
    "NTP-004": stays_synchronised,
    "NTP-005": asks_nobody_else,
    "NTP-006": obeys_kiss_of_death,
    "NTP-007": keeps_polling,
    "NTP-008": asks_again_after_outage,
}
