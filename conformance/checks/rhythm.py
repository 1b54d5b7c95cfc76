"""Checks HBT-004 to HBT-007: how regularly the heartbeat comes (contract 3), by the kernel's stamps."""

import math
from collections.abc import Sequence
from itertools import pairwise

from conformance.checks.tally import Tally, beyond, miss
from conformance.checks.timeline import Datagram, Stretch, datagrams, longest, observed, outages, place, stretches
from conformance.profile import Profile
from conformance.trace import Trace
from conformance.verdict import Finding, Outcome, Span, Verdict, counted, inconclusive

NO_BEATS = "no heartbeat was received: there is nothing to judge (see HBT-001)"


def keeps_the_rate(trace: Trace, profile: Profile) -> Outcome:
    """HBT-004: mean rate within 5 % of the profile's over the longest stretch, at least the window."""
    stretch, window = longest(trace, profile), profile.number("heartbeat.window_s")
    if stretch is None:
        return inconclusive(NO_BEATS)
    length = stretch.span.end - stretch.span.begin
    if length < window - profile.number("heartbeat.interval_s"):
        return inconclusive(f"the longest undisturbed stretch is {length:.1f} s, {window:g} s are needed")
    deviation, rate = _rate_deviation(stretch, profile.number("heartbeat.interval_s"))
    limit, guard = profile.number("heartbeat.rate_tolerance"), profile.number("host.guard_rate")
    seen = f"{rate:.3f} heartbeats a second over {length:.1f} s ({deviation:+.1%})"
    tally = Tally()
    tally.add(
        beyond(abs(deviation), limit, guard),
        seen,
        Finding(
            f"1 heartbeat every {profile['heartbeat.interval_s']:g} s, {limit:.0%} more or less",
            seen,
            place(trace, stretch.span),
            "send by a fixed schedule (next = next + interval), not by a pause after the work",
            _ends(stretch.datagrams),
            stretch.span,
            miss(abs(deviation), limit, guard) * length,  # the beats too few or too many, times the interval
        ),
    )
    return tally.outcome(NO_BEATS)


def _ends(seen: Sequence[Datagram]) -> tuple[str, str]:
    return seen[0].event.reference, seen[-1].event.reference


def _rate_deviation(stretch: Stretch, interval: float) -> tuple[float, float]:
    """Relative deviation of the mean rate, and the rate; one extra beat at each change of state is allowed."""
    arrivals = [d.at for d in stretch.datagrams]
    silence = stretch.span.end - interval - arrivals[0]  # a beat that is not due yet is not missing
    elapsed = max(arrivals[-1] - arrivals[0], silence, 1e-9)
    states = [d.beat.state for d in stretch.datagrams if d.beat]
    changes = sum(a != b for a, b in pairwise(states))
    counts = range(max(0, len(arrivals) - 1 - changes), len(arrivals))
    count = min(counts, key=lambda n: abs(n * interval / elapsed - 1))
    return count * interval / elapsed - 1, count / elapsed


def has_no_gap(trace: Trace, profile: Profile) -> Outcome:
    """HBT-005: no gap longer than three intervals and the guard, by kernel stamps."""
    found = stretches(trace, profile)
    if not found:
        return inconclusive(NO_BEATS)
    tally = Tally()
    for stretch in found:
        judge_gaps(tally, trace, stretch.datagrams, stretch.span.end, profile)
    total = sum(stretch.span.end - stretch.span.begin for stretch in found)
    needed = profile.number("heartbeat.interval_s") * profile.number("heartbeat.missed_max")
    if total < needed:
        tally.unclear.append(f"{total:.1f} s were observed, no gap could have shown")
    tally.good(f"no gap in {total:.1f} s", *(end for stretch in found for end in _ends(stretch.datagrams)))
    return tally.outcome(NO_BEATS)


def judge_gaps(tally: Tally, trace: Trace, seen: Sequence[Datagram], end: float, profile: Profile) -> None:
    """Add the gaps between datagrams, and from the last one to the end, that are longer than three intervals."""
    limit = profile.number("heartbeat.interval_s") * profile.number("heartbeat.missed_max")
    guard = profile.number("host.guard_s")
    for before, after in zip(seen, (*seen[1:], None), strict=True):
        silence = Span(before.at, after.at if after else end)
        gap = silence.end - silence.begin
        if gap <= limit:
            continue
        text = f"a gap of {gap:.2f} s"
        between = f"between {_named(before)} and {_named(after)}" if after else f"after {_named(before)}, the last one"
        finding = Finding(
            f"a heartbeat at least every {limit:g} s",
            text,
            f"{between}, {place(trace, silence)}",
            "never block the loop that beats: time-outs on requests, names looked up once",
            tuple(datagram.event.reference for datagram in (before, after) if datagram),
            silence,
            miss(gap, limit, guard),
        )
        tally.add(Verdict.FAIL if gap > limit + guard else Verdict.INCONCLUSIVE, text, finding)


def _named(datagram: Datagram) -> str:
    return f"heartbeat {datagram.beat.seq}" if datagram.beat else "a malformed heartbeat"


def is_regular(trace: Trace, profile: Profile) -> Outcome:
    """HBT-006: 95th percentile of the deviation of each interval from the profile's below 20 % of it."""
    stretch, window = longest(trace, profile), profile.number("heartbeat.window_s")
    interval = profile.number("heartbeat.interval_s")
    if stretch is None or stretch.datagrams[-1].at - stretch.datagrams[0].at < window - 2 * interval:
        return inconclusive(f"no undisturbed stretch of {window:g} s was observed")
    deviations = sorted(abs(gap - interval) / interval for gap in _regular_gaps(stretch.datagrams))
    if not deviations:
        return inconclusive("every interval has a change of state beside it")
    p95 = deviations[math.ceil(0.95 * len(deviations)) - 1]
    limit, guard = profile.number("heartbeat.jitter_p95_should"), profile.number("host.guard_rate")
    seen = f"a 95th percentile of {p95:.1%} over {counted(len(deviations), 'interval')}"
    finding = Finding(
        f"intervals within {limit:.0%} of {interval:g} s (95th percentile)",
        seen,
        place(trace, stretch.span),
        "send at start + n times the interval, from a work loop that never blocks for long",
        _ends(stretch.datagrams),
        stretch.span,
        _shaken_s(deviations, limit + guard) * interval,
    )
    tally = Tally()
    tally.add(beyond(p95, limit, guard), seen, finding)
    return tally.outcome(NO_BEATS)


def _shaken_s(deviations: Sequence[float], limit: float) -> float:
    """What a host must have cost, in intervals, to have brought so many deviations beyond the limit.

    One in twenty may be; a stall makes the intervals on both its sides deviate.
    """
    allowed = len(deviations) - math.ceil(0.95 * len(deviations))
    beyond_it = sorted(deviation - limit for deviation in deviations if deviation > limit)
    return sum(beyond_it[: len(beyond_it) - allowed]) / 2


def _regular_gaps(seen: Sequence[Datagram]) -> list[float]:
    """Intervals but for those beside a change of state, where an extra beat is allowed."""
    states = [d.beat.state if d.beat else "" for d in seen]
    return [seen[i + 1].at - seen[i].at for i in range(len(seen) - 1) if len(set(states[max(0, i - 1) : i + 3])) == 1]


def outlives_services(trace: Trace, profile: Profile) -> Outcome:
    """HBT-007: goes on, any state, while bus, NTP, DNS and backends are away for the window."""
    services, window = ("bus", "ntp", "dns", "backends"), profile.number("heartbeat.window_s")
    seen, end = datagrams(trace, profile), observed(trace).end
    away = _common([outages(trace, end, service) for service in services])
    running = next((d.at for d in seen if d.beat and d.beat.state == "running"), None)
    long = [
        span
        for span in away
        if span.end - span.begin >= window - profile.number("host.guard_s") and running and running <= span.begin
    ]
    if not long:
        return inconclusive(f"bus, NTP, DNS and backends were not away together for {window:g} s after a running beat")
    tally = Tally()
    for span in long:
        beats = [*[d for d in seen if d.at <= span.begin][-1:], *(d for d in seen if span.begin < d.at <= span.end)]
        judge_gaps(tally, trace, beats, span.end, profile)
        tally.good(f"no gap in {span.end - span.begin:.1f} s without services", *_ends(beats))
    return tally.outcome(NO_BEATS)


def _common(spans: Sequence[Sequence[Span]]) -> list[Span]:
    """What lies in a span of each list."""
    common = list(spans[0])
    for others in spans[1:]:
        common = [Span(max(a.begin, b.begin), min(a.end, b.end)) for a in common for b in others if a.overlaps(b)]
    return common
