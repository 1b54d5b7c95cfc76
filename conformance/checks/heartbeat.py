"""Checks HBT-001 to HBT-011: the heartbeat (contract 3), judged from its datagrams by the kernel's stamps."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import pairwise

from conformance.checks.hang import hangs
from conformance.checks.rhythm import NO_BEATS, has_no_gap, is_regular, keeps_the_rate, outlives_services
from conformance.checks.tally import Tally, beyond, miss
from conformance.checks.timeline import (
    IN_FLIGHT_S,
    Boot,
    Datagram,
    beats_of,
    boots,
    datagrams,
    guest_reboots,
    observed,
    place,
)
from conformance.checks.wire import own_packets, uncaptured
from conformance.heartbeat import Beat, Malformed, decode
from conformance.packet import UDP
from conformance.profile import Profile
from conformance.trace import Trace
from conformance.verdict import Finding, Outcome, Span, counted, few, inconclusive

SLEW_MAX = 1 / 12  # seconds a second: the fastest of the usual NTP clients (chronyd's maxslewrate)


def comes_up(trace: Trace, profile: Profile) -> Outcome:
    """HBT-001: first heartbeat (any state) within the boot deadline of the VM's resume or reset."""
    tally, seen = Tally(), datagrams(trace, profile)
    for boot in boots(trace):
        if boot.begin >= observed(trace).begin:
            judge_first_beat(tally, boot, seen, profile)
    return tally.outcome("no start was observed for as long as the boot deadline")


def judge_first_beat(tally: Tally, boot: Boot, seen: Sequence[Datagram], profile: Profile) -> None:
    """Add one boot to the tally: a boot that was cut short before the deadline tells nothing."""
    deadline, guard = profile.number("heartbeat.boot_deadline_s"), profile.number("host.guard_s")
    first = next(iter(beats_of(boot, seen)), None)
    where = f"start {boot.number} of the VM"
    expected = f"a heartbeat within {deadline:g} s"
    if first:
        latency = first.at - boot.begin
        late = Finding(
            expected,
            f"the first after {latency:.1f} s",
            where,
            "send the first heartbeat as soon as the app runs, before its services are ready",
            (boot.event.reference, first.event.reference),
            Span(boot.begin, first.at),
            miss(latency, deadline, guard),
        )
        tally.add(beyond(latency, deadline, guard), f"first heartbeat {latency:.1f} s after {where}", late)
    elif not boot.suspended and _waited_out(boot, deadline, guard):
        remedy = "look at console.log: did the system boot, was the service network up, did the app start?"
        span = Span(boot.begin, boot.end)
        seen_none = f"none in {boot.length_s:.0f} s"
        evidence = (boot.event.reference,)
        tally.findings.append(Finding(expected, seen_none, where, remedy, evidence, span, boot.length_s))


def _waited_out(boot: Boot, deadline: float, guard: float) -> bool:
    """Supervision itself ends a boot at the deadline; else the guard has to be over too."""
    return boot.length_s >= deadline + guard or (boot.followed_by == "supervision" and boot.length_s >= deadline)


def is_well_formed(trace: Trace, profile: Profile) -> Outcome:
    """HBT-002: every datagram well formed, right app id."""
    seen = datagrams(trace, profile)
    if not seen:
        return inconclusive(NO_BEATS)
    faults: dict[str, list[Datagram]] = {}
    for datagram in seen:
        if isinstance(datagram.content, Malformed):
            faults.setdefault(datagram.content.expected, []).append(datagram)
    tally = Tally()
    tally.good(counted(len(seen), "datagram"), *_references(seen))
    for expected, bad in faults.items():
        first = bad[0].content
        assert isinstance(first, Malformed)
        tally.findings.append(
            Finding(
                expected,
                f"{first.seen}, in {len(bad)} of {len(seen)} datagrams",
                f"heartbeat from {bad[0].event['address']}:{bad[0].event['port']}",
                "compare the datagram with contract 3; examples/clients/heartbeat.py builds one",
                tuple(datagram.event.reference for datagram in bad[:5]),
            )
        )
    return tally.outcome(NO_BEATS)


def _references(seen: Iterable[Datagram]) -> tuple[str, ...]:
    return few(datagram.event.reference for datagram in seen)


def counts_by_one(trace: Trace, profile: Profile) -> Outcome:
    """HBT-003: seq rises by exactly one between VM starts and guest reboots seen on the console."""
    seen, reboots = datagrams(trace, profile), guest_reboots(trace)
    tally, steps, ends = Tally(), 0, list[list[Datagram]]()
    for boot in boots(trace):
        inside = [d for d in seen if boot.begin + IN_FLIGHT_S < d.at <= boot.end]
        good = [(index, d) for index, d in enumerate(inside) if d.beat]
        compared = list[Datagram]()
        for (before_index, before), (index, after) in pairwise(good):
            if not any(before.at < reboot <= after.at for reboot in reboots):
                unread = index - before_index - 1
                _judge_step(tally, trace, (before, after), unread, profile.number("heartbeat.interval_s"))
                steps += 1
                compared += [before, after]
        ends += [[compared[0], compared[-1]]] if compared else []
    if steps:
        rises = f"seq rises by one, {counted(steps, 'time')} in {counted(len(ends), 'start')} of the VM"
        tally.good(rises, *_references(datagram for pair in ends for datagram in pair))
    return tally.outcome("no two heartbeats of one start were received")


def _judge_step(tally: Tally, trace: Trace, pair: tuple[Datagram, Datagram], unread: int, interval: float) -> None:
    """unread: malformed datagrams between the two, which HBT-002 owns, may have had the numbers that are missing.

    Numbers left out may be beats that a stalled guest never sent; no host makes an app say a number twice.
    """
    before, after = pair
    assert before.beat and after.beat
    step = after.beat.seq - before.beat.seq
    if 1 <= step <= 1 + unread:
        return
    left_out = max(0, step - 1 - unread)
    tally.findings.append(
        Finding(
            f"seq {before.beat.seq + 1} after {before.beat.seq}",
            f"{after.beat.seq}",
            f"heartbeats {place(trace, Span(before.at, after.at))}",
            "count every datagram once; an app that restarts inside its guest has to go on counting (keep seq on disk)",
            (before.event.reference, after.event.reference),
            Span(before.at, after.at) if left_out else None,
            left_out * interval,
        )
    )


def returns_after_failure(trace: Trace, profile: Profile) -> Outcome:
    """HBT-009: after a failure (suspended VM) the platform's reset brings the heartbeat back within the deadline."""
    tally, seen = Tally(), datagrams(trace, profile)
    states = sorted(trace.of("vm-state"), key=lambda event: event.at)
    suspended = [event.at for event in states if event["state"] == "suspended"]
    for boot in boots(trace):
        if boot.reason == "supervision" and any(at < boot.begin for at in suspended):
            judge_first_beat(tally, boot, seen, profile)
    return tally.outcome("no suspended VM was reset by supervision and observed for as long as the boot deadline")


def keeps_to_itself(trace: Trace, profile: Profile) -> Outcome:
    """HBT-010: no 10 s hold more than 20 datagrams; no heartbeat, nothing to its port, goes elsewhere."""
    tally, seen = Tally(), datagrams(trace, profile)
    _judge_floods(tally, trace, seen, profile)
    _judge_strays(tally, trace, profile)
    missing = uncaptured(trace)
    if missing:
        tally.unclear.append(f"{missing} was not captured without loss")
    if not seen:
        tally.unclear.append(NO_BEATS)
    captures = (f"capture:{nic}" for nic in trace.application.nics)
    tally.good(f"{counted(len(seen), 'heartbeat')}, all to the platform", *_references(seen), *captures)
    return tally.outcome(NO_BEATS)


def _judge_floods(tally: Tally, trace: Trace, seen: Sequence[Datagram], profile: Profile) -> None:
    """A guest that stood still sends what is due at once: the span reaches back to where it may have stood."""
    window, interval = 10.0, profile.number("heartbeat.interval_s")
    allowed = profile.number("heartbeat.rate_factor_max") * window / interval
    worst, first, start = 0, 0, 0
    for last, datagram in enumerate(seen):
        while datagram.at - seen[first].at >= window:
            first += 1
        if last - first + 1 > worst:
            worst, start = last - first + 1, first
    if worst > allowed:
        burst = seen[start : start + worst]
        tally.findings.append(
            Finding(
                f"at most {allowed:g} datagrams in {window:g} s",
                f"{worst}",
                place(trace, Span(burst[0].at, burst[-1].at)),
                "send one heartbeat an interval, and one extra at most at a change of state",
                _references(burst),
                Span(burst[0].at - window, burst[-1].at),
                (worst - allowed) * interval,
            )
        )


def _judge_strays(tally: Tally, trace: Trace, profile: Profile) -> None:
    platform, port = str(profile["network.platform"]), int(profile["heartbeat.port"])
    found: dict[str, list[str]] = {}
    for interface, at, packet in own_packets(trace):
        if (packet.destination, packet.dst_port) == (platform, port):
            continue
        is_beat = packet.proto == UDP and isinstance(decode(packet.payload), Beat)
        if packet.dst_port == port or is_beat:
            target = f"{packet.destination}:{packet.dst_port} over {interface}"
            found.setdefault(target, []).append(f"capture:{interface}@{at:.6f}")
    for target, evidence in found.items():
        tally.findings.append(
            Finding(
                f"heartbeats to {platform}:{port} only",
                counted(len(evidence), "packet"),
                f"to {target}",
                "send to the host and port of the OVF environment (racs.heartbeat.host and .port) alone",
                tuple(evidence[:5]),
            )
        )


def time_never_runs_back(trace: Trace, profile: Profile) -> Outcome:
    """HBT-011: from the first beat within 1 s of the platform's clock the guest's time never runs backwards."""
    tolerance, tally = profile.number("heartbeat.clock_backwards_tolerance_s"), Tally()
    seen = datagrams(trace, profile)
    for boot in boots(trace):
        good = list(_from_first_right(trace, beats_of(boot, seen), profile))
        for index, (before, after) in enumerate(pairwise(good)):
            back = _ran_back(before, after)
            if len(good) > index + 3:
                back = max(back, min(_set_back(before, later) for later in good[index + 1 : index + 4]))
            if back > tolerance:
                tally.findings.append(_runs_back(before, after, back - tolerance))
        if len(good) > 1:
            seen_good = f"{len(good)} heartbeats of start {boot.number} in the order of their time"
            tally.good(seen_good, good[0].event.reference, good[-1].event.reference)
    return tally.outcome("no two heartbeats with a right clock were received")


def _ran_back(before: Datagram, after: Datagram) -> float:
    """Seconds by which the later heartbeat's time is the earlier one."""
    return before.beat.time - after.beat.time if before.beat and after.beat else 0.0


def _set_back(before: Datagram, after: Datagram) -> float:
    """Seconds by which the guest's clock lost on ours, beyond what an NTP client slews.

    A clock that is set back by less than the interval ran backwards too, though the times of heartbeats still rise. One
    heartbeat may have been sent late; three in a row show the clock.
    """
    elapsed = after.at - before.at
    return elapsed * (1 - SLEW_MAX) + _ran_back(before, after)


def _runs_back(before: Datagram, after: Datagram, margin_s: float) -> Finding:
    assert before.beat and after.beat
    return Finding(
        "time that never runs backwards",
        f"{before.beat.time:.3f}, then {after.beat.time:.3f} after {after.at - before.at:.3f} s",
        f"heartbeats {before.beat.seq} and {after.beat.seq}",
        "let the NTP client slew the clock once it is right; step only at start",
        (before.event.reference, after.event.reference),
        Span(before.at, after.at),
        margin_s,
    )


def _from_first_right(trace: Trace, good: Iterable[Datagram], profile: Profile) -> Iterable[Datagram]:
    right = False
    for datagram in good:
        now = trace.platform_time(datagram.at)
        if now is not None and datagram.beat and abs(datagram.beat.time - now) <= profile.number("time.offset_must_s"):
            right = True
        if right:
            yield datagram


CHECKS: Mapping[str, Callable[[Trace, Profile], Outcome]] = {
    "HBT-001": comes_up,
    "HBT-002": is_well_formed,
    "HBT-003": counts_by_one,
    "HBT-004": keeps_the_rate,
    "HBT-005": has_no_gap,
    "HBT-006": is_regular,
    "HBT-007": outlives_services,
    "HBT-008": hangs,
    "HBT-009": returns_after_failure,
    "HBT-010": keeps_to_itself,
    "HBT-011": time_never_runs_back,
}
