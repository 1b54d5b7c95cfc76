"""The trace: what was seen, the contract between the rooms (docs/trace.md, JSON Schema racs-trace/1). Pure.

A trace is a sequence of events in the order in which they were recorded, one JSON object a line, and the captures
(pcapng files) that its ``capture`` events name. ``at`` is monotonic seconds of the lab's host. Checks read it, nothing
here writes it: recording is harness/recorder.py.
"""

import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from conformance.application import Application
from conformance.errors import BrokenLab
from conformance.trace_kinds import KINDS
from conformance.verdict import Disturbance, Span

SCHEMA = "racs-trace/1"

# What a disturbance may have cost an app, by what was measured. A lag is one of the lab's own wake-ups; a guest that
# many threads serve may have lost a multiple of it. Assumed; a starved host in the live tests slowed a guest by less
# than half of this. A wait of QEMU for a CPU is the guest's own loss: its CPU and its devices may have waited in turn.
COST_FACTOR = 20.0
WAIT_COST_FACTOR = 2.0


@dataclass(frozen=True, slots=True)
class Event:
    """One line of a trace. line is its 1-based number in trace.jsonl (0 for a hand-made one)."""

    at: float
    kind: str
    source: str
    fields: Mapping[str, Any]
    line: int = 0

    def __getitem__(self, name: str) -> Any:
        return self.fields[name]

    @property
    def reference(self) -> str:
        """How a finding names this event as its evidence."""
        return f"trace:{self.line}"

    def to_json(self) -> str:
        return json.dumps(
            {"at": round(self.at, 6), "kind": self.kind, "source": self.source, **self.fields},
            ensure_ascii=False,
            separators=(",", ":"),
        )


@dataclass(frozen=True, slots=True)
class Frame:
    """A captured packet: an Ethernet frame, or an IP packet on an interface without link layer (see `Capture`).

    from_lab is True for what the lab sent into the interface (to the VM), False for what came out of it.
    """

    at: float
    data: bytes
    from_lab: bool


@dataclass(frozen=True, slots=True)
class Capture:
    """All frames of one interface; link is "ethernet" or "ip", drops what the kernel could not hand over."""

    interface: str
    link: str
    frames: tuple[Frame, ...]
    drops: int = 0

    def between(self, span: Span) -> tuple[Frame, ...]:
        return tuple(frame for frame in self.frames if span.begin <= frame.at <= span.end)


@dataclass(frozen=True)
class Trace:
    """Events and captures of one run, or a stretch of it (span). Event.at need not rise strictly: see docs/trace.md."""

    events: tuple[Event, ...]
    captures: Mapping[str, Capture] = field(default_factory=dict)
    span: Span | None = None

    def of(self, *kinds: str) -> tuple[Event, ...]:
        """The events of these kinds inside the span."""
        unknown = set(kinds) - KINDS.keys()
        if unknown:
            raise KeyError(f"no such kind of event: {', '.join(sorted(unknown))}")
        return tuple(event for event in self._inside if event.kind in kinds)

    def everywhere(self, *kinds: str) -> tuple[Event, ...]:
        """The events of these kinds of the whole run, whatever the span: facts such as ``run`` hold everywhere."""
        return tuple(event for event in self.events if event.kind in kinds)

    def frames(self, interface: str) -> tuple[Frame, ...]:
        """Captured packets of an interface inside the span; empty where it was not captured (see `captured`)."""
        capture = self.captures.get(interface)
        if capture is None:
            return ()
        return capture.between(self.span) if self.span else capture.frames

    def captured(self, interface: str) -> bool:
        """Whether the interface was captured without a loss: only then is a missing packet evidence."""
        capture = self.captures.get(interface)
        return capture is not None and capture.drops == 0

    def within(self, span: Span) -> "Trace":
        """The same trace, looked at through a narrower window."""
        return Trace(self.events, self.captures, span)

    def situation(self, name: str) -> "Trace | None":
        """The last finished stretch of that name (``situation-begin`` to ``situation-end``), or None."""
        ends = [event for event in self.events if event.kind == "situation-end" and event["name"] == name]
        begins = [event for event in self.events if event.kind == "situation-begin" and event["name"] == name]
        if not ends or not begins:
            return None
        return self.within(Span(begins[-1].at, ends[-1].at))

    @cached_property
    def _inside(self) -> tuple[Event, ...]:
        if self.span is None:
            return self.events
        return tuple(event for event in self.events if self.span.begin <= event.at <= self.span.end)

    @cached_property
    def run(self) -> Event:
        """The ``run`` event, which every recorded trace begins with. Raises BrokenLab where it is missing."""
        for event in self.events:
            if event.kind == "run":
                return event
        raise BrokenLab("the lab recorded a trace without a run event")

    @cached_property
    def application(self) -> Application:
        return Application.from_json(self.run["application"])

    @property
    def accelerator(self) -> str:
        """ "kvm" or "tcg"."""
        return str(self.run["accelerator"])

    @cached_property
    def disturbances(self) -> tuple[Disturbance, ...]:
        """When the host could not tell, and what happened: what `verdict.settle` needs."""
        found = []
        for event in self.events:
            if event.kind == "host-starved":
                seconds = _cost_of_starvation(event)
                what = f"host starved ({describe_starvation(event)})"
            elif event.kind == "clock-step":
                seconds, what = COST_FACTOR * abs(event["step_s"]), f"the host's clock stepped by {event['step_s']:g} s"
            elif event.kind == "drop":
                seconds, what = math.inf, f"the lab's own {event['where']} lost {event['count']} packets"
            else:
                continue
            found.append(Disturbance(Span(event["begin"], event["end"]), f"{what}, {event.reference}", seconds))
        return tuple(found)

    def platform_time(self, at: float) -> float | None:
        """Seconds since 1970 on the platform's shifted clock at a monotonic instant; None where it was not recorded."""
        clock = next((event for event in self.events if event.kind == "platform-clock"), None)
        if clock is None:
            return None
        return float(clock["at_reference"] + (at - clock["reference"]) * (1 + clock["drift_ppm"] * 1e-6))


def _cost_of_starvation(event: Event) -> float:
    if event["what"] == "steal":
        return float(COST_FACTOR * event["value"] * (event["end"] - event["begin"]))
    return float(event["value"] * (WAIT_COST_FACTOR if event["what"] == "waiting" else COST_FACTOR))


def describe_starvation(event: Event) -> str:
    """A ``host-starved`` event in words, with its figures."""
    what, value, limit = event["what"], event["value"], event["limit"]
    if what == "steal":
        return f"{value:.0%} of the CPU time was stolen, limit {limit:.0%}"
    if what == "lag":
        return f"woke {value * 1000:.0f} ms late, limit {limit * 1000:g} ms"
    if what == "stopped":
        return f"QEMU was stopped for {value:.1f} s by a signal or a debugger"
    cause = "for a disk or for memory" if what == "blocked" else "for a CPU"
    return f"QEMU waited {value:.1f} s {cause}, limit {limit:g} s"


def describe_end(event: Event) -> str:
    """In words why the run can tell no more, of a ``process-died`` or ``lab-fault`` event."""
    if event.kind == "process-died":
        return f"{event['process']} of the lab died (status {event['status']})"
    return str(event["why"])


def read_events(lines: Iterable[str]) -> Iterator[Event]:
    """Events of trace.jsonl. Raises BrokenLab with the line's number on what is no event of racs-trace/1."""
    for number, line in enumerate(lines, 1):
        try:
            value = json.loads(line)
            at, kind, source = value.pop("at"), value.pop("kind"), value.pop("source")
        except (ValueError, KeyError, AttributeError, TypeError) as error:
            raise BrokenLab(
                f"line {number} of the trace is no event with at, kind and source: {line[:80]!r}"
            ) from error
        problem = faults(kind, value)
        if problem:
            raise BrokenLab(f"line {number} of the trace is no event of {SCHEMA}: {problem}")
        yield Event(float(at), kind, source, value, number)


def faults(kind: str, fields: Mapping[str, Any]) -> str:
    """What is wrong with an event's fields by the table of kinds; "" when nothing is."""
    if kind not in KINDS:
        return f"unknown kind {kind!r}"
    declared = KINDS[kind].fields
    missing = sorted(declared.keys() - fields.keys())
    further = sorted(fields.keys() - declared.keys())
    if missing or further:
        return f"{kind}: missing {missing}, unknown {further}"
    for name, value in fields.items():
        if not declared[name].accepts(value):
            return f"{kind}.{name}: {value!r} is no {declared[name].type}"
    return ""


def make_trace(events: Sequence[tuple[float, str, Mapping[str, Any]]]) -> Trace:
    """A hand-made trace from (at, kind, fields), for unit tables: fields left out get the kind's empty value."""
    made = []
    for line, (at, kind, fields) in enumerate(events, 1):
        whole = {name: fields.get(name, declared.empty) for name, declared in KINDS[kind].fields.items()}
        whole.update(fields)
        problem = faults(kind, whole)
        if problem:
            raise ValueError(problem)
        made.append(Event(at, kind, "test", whole, line))
    return Trace(tuple(made))
