"""A trace's boots, heartbeats and undisturbed stretches: what the checks of heartbeat, clock and guest share. Pure."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from conformance.heartbeat import Beat, Malformed, decode
from conformance.profile import Profile
from conformance.trace import Event, Trace
from conformance.verdict import Span

IN_FLIGHT_S = 0.2  # a datagram that the guest sent before its reset may be stamped as late as this after it
KERNEL_LINE = re.compile(r"Linux version \d|^\[ *\d+\.\d{6}\]")
_KERNEL_BEGINS = re.compile(r"Linux version \d")
_BEGINS, _ENDS = ("started", "reset"), ("powered-off", "crashed", "destroyed", "undefined")
_PLANNED = "harness"


@dataclass(frozen=True, slots=True)
class Boot:
    """From a start or reset to the next one, to a planned end, or to the end of what was observed.

    event is its start or reset. begin is when the guest began to run: of a VM that was reset while suspended, its
    resume. A guest that powers off unasked has not ended its boot: it is still expected to beat. followed_by is the
    reason of what ended it, "" for the end of the observation.
    """

    event: Event
    begin: float
    end: float
    reason: str
    drill: str
    followed_by: str
    suspended: tuple[Span, ...]

    @property
    def number(self) -> int:
        return int(self.event["boot"])

    @property
    def length_s(self) -> float:
        return self.end - self.begin


@dataclass(frozen=True, slots=True)
class Datagram:
    """One datagram to the heartbeat port, decoded; a beat of another app counts as malformed."""

    event: Event
    content: Beat | Malformed

    @property
    def at(self) -> float:
        return self.event.at

    @property
    def beat(self) -> Beat | None:
        return self.content if isinstance(self.content, Beat) else None


@dataclass(frozen=True, slots=True)
class Stretch:
    """Undisturbed running: begins with a datagram; ends with a planned disturbance, or where the observation ends."""

    span: Span
    datagrams: tuple[Datagram, ...]


def observed(trace: Trace) -> Span:
    """What the trace shows: its span, or from its first to its last event."""
    if trace.span is not None:
        return trace.span
    times = [event.at for event in trace.events] or [0.0]
    return Span(min(times), max(times))


def place(trace: Trace, span: Span) -> str:
    """Where a stretch lies, in words: "42.0 s to 47.5 s after start 1 of the VM"; before any, after the run's begin."""
    starts = [event for event in trace.everywhere("vm-state") if event["state"] in _BEGINS and event.at <= span.begin]
    start = max(starts, key=lambda event: event.at, default=trace.run)
    begin, end = (f"{at - start.at:.1f} s" for at in (span.begin, span.end))
    since = f"start {start['boot']} of the VM" if starts else "the run's begin"
    return f"{begin if begin == end else f'{begin} to {end}'} after {since}"


def datagrams(trace: Trace, profile: Profile) -> tuple[Datagram, ...]:
    """All datagrams to the heartbeat port inside the span, in order of arrival."""
    app = trace.application.id
    bytes_max = int(profile["heartbeat.datagram_bytes_max"])
    found = []
    for event in sorted(trace.of("beat"), key=lambda event: event.at):
        content = decode(bytes.fromhex(event["data"]), bytes_max, event["length"])
        if isinstance(content, Beat) and content.app != app:
            content = Malformed(f'"app":"{app}"', f'"app":{ascii(content.app)[:60]}')
        found.append(Datagram(event, content))
    return tuple(found)


def boots(trace: Trace) -> tuple[Boot, ...]:
    """The boots that reach into the span, from the whole run's changes of state."""
    end = observed(trace).end
    events = sorted(trace.everywhere("vm-state"), key=lambda event: event.at)
    starts = [event for event in events if event["state"] in _BEGINS]
    found = []
    for index, start in enumerate(starts):
        following = starts[index + 1] if index + 1 < len(starts) else None
        limit = min(end, following.at) if following else end
        stop = next((e for e in events if start.at < e.at <= limit and _is_planned_end(e)), None)
        last = stop or (following if following and following.at <= end else None)
        span = Span(_running_from(start, events), stop.at if stop else limit)
        found.append(
            Boot(
                event=start,
                begin=span.begin,
                end=span.end,
                reason=start["reason"],
                drill=start["drill"],
                followed_by=last["reason"] if last else "",
                suspended=_suspensions(events, span),
            )
        )
    return tuple(boot for boot in found if boot.begin <= end and boot.end >= observed(trace).begin)


def _is_planned_end(event: Event) -> bool:
    return event["state"] in _ENDS and event["reason"] == _PLANNED


def _running_from(start: Event, events: Sequence[Event]) -> float:
    before = [e["state"] for e in events if e.at < start.at and e["state"] != "reset"]
    if start["state"] != "reset" or before[-1:] != ["suspended"]:
        return start.at
    return next((e.at for e in events if e.at >= start.at and e["state"] == "resumed"), start.at)


def _suspensions(events: Iterable[Event], within: Span) -> tuple[Span, ...]:
    spans, since = [], None
    for event in events:
        if not within.begin <= event.at <= within.end:
            continue
        if event["state"] == "suspended":
            since = event.at if since is None else since
        elif event["state"] == "resumed" and since is not None:
            spans.append(Span(since, event.at))
            since = None
    return (*spans, *(() if since is None else (Span(since, within.end),)))


def beats_of(boot: Boot, seen: Iterable[Datagram]) -> tuple[Datagram, ...]:
    """The app's own well-formed heartbeats of a boot."""
    return tuple(d for d in seen if d.beat and boot.begin + IN_FLIGHT_S < d.at <= boot.end)


def hang_instant(boot: Boot, seen: Iterable[Datagram]) -> float | None:
    """When the app's work stops in a boot with the hang drill; None without drill or running beat (contract 6)."""
    found = re.fullmatch(r"hang-after:(\d+)", boot.drill)
    running = next((d.at for d in beats_of(boot, seen) if d.beat and d.beat.state == "running"), None)
    return running + int(found[1]) if found and running is not None else None


def guest_reboots(trace: Trace) -> tuple[float, ...]:
    """When a kernel began anew on the console within one boot of the VM."""
    again, begun = [], set()
    for event in trace.everywhere("console-line"):
        if _KERNEL_BEGINS.search(event["text"]):
            if event["boot"] in begun:
                again.append(event.at)
            begun.add(event["boot"])
    return tuple(again)


def stretches(trace: Trace, profile: Profile) -> tuple[Stretch, ...]:
    """The undisturbed stretches: no planned restart, suspension, outage, power button, hang drill or announced stop.

    A restart that nobody planned does not end one: its silence is the app's.
    """
    seen, end = datagrams(trace, profile), observed(trace).end
    found = []
    for life in _lives(boots(trace)):
        span = Span(life[0].begin + IN_FLIGHT_S, life[-1].end)
        for part in _without(span, _disturbances(trace, profile, life, seen, end)):
            inside = tuple(d for d in seen if part.begin <= d.at <= part.end)
            if inside:
                found.append(Stretch(Span(inside[0].at, part.end), inside))
    return tuple(found)


def longest(trace: Trace, profile: Profile) -> Stretch | None:
    """The longest undisturbed stretch."""
    return max(stretches(trace, profile), key=lambda s: s.span.end - s.span.begin, default=None)


def _lives(found: Sequence[Boot]) -> list[list[Boot]]:
    """Boots that follow each other without a plan belong together."""
    lives: list[list[Boot]] = []
    for boot in found:
        last = lives[-1][-1] if lives else None
        if last is None or boot.reason == _PLANNED or last.end != boot.begin:
            lives.append([boot])
        else:
            lives[-1].append(boot)
    return lives


def _disturbances(
    trace: Trace, profile: Profile, life: Sequence[Boot], seen: Sequence[Datagram], end: float
) -> list[Span]:
    begin, until = life[0].begin, life[-1].end
    spans = [span for boot in life for span in boot.suspended] + outages(trace, end)
    stops = [event.at for event in trace.everywhere("power-button")]
    stops += [hang for boot in life if (hang := hang_instant(boot, seen)) is not None]
    stops += _announced_stops(trace, profile, seen, end)
    return spans + [Span(stop, until) for stop in stops if begin <= stop <= until]


def outages(trace: Trace, end: float, service: str = "") -> list[Span]:
    """When a service of the platform was away on purpose; of all services where none is named."""
    away: dict[str, float] = {}
    spans = []
    for event in sorted(trace.everywhere("outage"), key=lambda event: event.at):
        if event["away"]:
            away.setdefault(event["service"], event.at)
        elif event["service"] in away:
            begin = away.pop(event["service"])
            spans.append((event["service"], Span(begin, event.at)))
    spans += [(name, Span(begin, end)) for name, begin in away.items()]
    return [span for name, span in spans if service in ("", name)]


def _announced_stops(trace: Trace, profile: Profile, seen: Sequence[Datagram], end: float) -> list[float]:
    """Stopping beats that a power-off follows in time: who says so and stays up has announced nothing."""
    within = profile.number("lifecycle.power_off_s")
    offs = [event.at for event in trace.everywhere("vm-state") if event["state"] in _ENDS]
    return [
        d.at
        for d in seen
        if d.beat
        and d.beat.state == "stopping"
        and (d.at + within > end or any(d.at <= off <= d.at + within for off in offs))
    ]


def _without(span: Span, holes: Iterable[Span]) -> list[Span]:
    parts, begin = [], span.begin
    for hole in sorted(holes, key=lambda hole: hole.begin):
        if hole.begin > begin:
            parts.append(Span(begin, min(hole.begin, span.end)))
        begin = max(begin, hole.end)
    if begin < span.end:
        parts.append(Span(begin, span.end))
    return [part for part in parts if part.begin < part.end]
