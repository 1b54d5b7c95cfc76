"""The catalogue names what a check looks at; what it does look at is seen over the unit tables' traces."""

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import test_checks_bus as bus
import test_checks_clock as clock
import test_checks_features as features
import test_checks_forwarding as forwarding
import test_checks_guest as guest
import test_checks_heartbeat as heartbeat
import test_checks_traffic as traffic
from corpus import SOUND, Case, build, defects, variations
from judging import IDS, TRUST
from run_traces import run, started

from conformance.catalogue import load as load_catalogue
from conformance.checks import TRACE_MODULES, package_check, trace_check
from conformance.errors import BrokenLab
from conformance.judge import judge_package
from conformance.package import open_package
from conformance.profile import Profile
from conformance.profile import load as load_profile
from conformance.trace import Event, Frame, Trace, make_trace
from conformance.verdict import REFERENCES_MAX, Outcome, Span, Verdict

CATALOGUE = load_catalogue()
JUDGED = [r.id for r in CATALOGUE.requirements.values() if r.scope == "run" and trace_check(r.id)]
MODULES = {
    "guest": guest,
    "heartbeat": heartbeat,
    "clock": clock,
    "bus": bus,
    "traffic": traffic,
    "forwarding": forwarding,
    "features": features,
}
# Facts of every run, of which every check reads the app.
OF_ALL = {"run"}


@dataclass(frozen=True)
class WatchedTrace(Trace):
    """Notes the kinds of events that are asked for."""

    seen: set[str] = field(default_factory=set)

    def of(self, *kinds: str) -> tuple[Event, ...]:
        self.seen.update(kinds)
        return super().of(*kinds)

    def everywhere(self, *kinds: str) -> tuple[Event, ...]:
        self.seen.update(kinds)
        return super().everywhere(*kinds)

    def frames(self, interface: str) -> tuple[Frame, ...]:
        self.seen.add("capture")
        return super().frames(interface)

    def captured(self, interface: str) -> bool:
        self.seen.add("capture")
        return super().captured(interface)

    def within(self, span: Span) -> "WatchedTrace":
        return WatchedTrace(self.events, self.captures, span, self.seen)

    def situation(self, name: str) -> Trace | None:
        self.seen.update(("situation-begin", "situation-end"))
        return super().situation(name)

    def platform_time(self, at: float) -> float | None:
        self.seen.add("platform-clock")
        return super().platform_time(at)


@dataclass(frozen=True)
class WatchedProfile(Profile):
    """Notes the paths that are read."""

    seen: set[str] = field(default_factory=set)

    def __getitem__(self, path: str) -> Any:
        self.seen.add(path)
        return super().__getitem__(path)


@cache
def traces_of(module: str) -> tuple[Trace, ...]:
    """Every trace of a module's unit tables."""
    return tuple(_traces(MODULES[module]))


def _traces(module: ModuleType) -> Iterator[Trace]:
    for function in list(vars(module).values()):
        for mark in getattr(function, "pytestmark", ()):
            if mark.name == "parametrize":
                for row in mark.args[1]:
                    for value in getattr(row, "values", row) if isinstance(row, Sequence) else ():
                        yield from _trace(module, value)


def _trace(module: ModuleType, value: object) -> Iterator[Trace]:
    """A table's value as a trace: it is one, makes one, or holds the rows or captures of one."""
    if isinstance(value, Trace):
        yield value
    elif isinstance(value, forwarding.Scene | traffic.Scene):
        yield value.trace()
    elif module is traffic and isinstance(value, Mapping):
        yield from (traffic.served(origin, **value).trace() for origin in ("ue", "internet"))
    elif module is clock and isinstance(value, list):
        yield run(started(), value)
    elif module is bus and isinstance(value, list):
        yield make_trace([bus.run(), *bus.BEATS, *value])
    elif module is bus and isinstance(value, Mapping):
        yield Trace(make_trace([bus.run(bus.OFF_THE_BUS)]).events, value)
    elif module is features and isinstance(value, list):
        yield make_trace([features.RUN, features.CONNECT, *value, features.END])


@pytest.mark.parametrize("requirement", JUDGED)
def test_the_catalogue_names_what_a_check_looks_at(requirement: str) -> None:
    check = trace_check(requirement)
    assert check is not None
    kinds, paths = set[str](), set[str]()
    whole = load_profile()
    profile = WatchedProfile(whole.tables, whole.digest, seen=paths)
    for trace in traces_of(TRACE_MODULES[requirement[:3]]):
        try:
            check(WatchedTrace(trace.events, trace.captures, trace.span, kinds), profile)
        except BrokenLab:
            continue  # the case of a guard that decides otherwise
    named = CATALOGUE[requirement]
    assert sorted(named.kinds) == sorted(kinds - OF_ALL)
    assert sorted(named.reads) == sorted(paths)


@cache
def judged(requirement: str) -> tuple[tuple[Trace, Outcome], ...]:
    """Every trace of a check's module's unit tables, and what the check makes of it."""
    check, module = trace_check(requirement), TRACE_MODULES[requirement[:3]]
    assert check is not None
    profile = forwarding.SMALL if module == "forwarding" else load_profile()
    found = []
    for trace in traces_of(module):
        with suppress(BrokenLab):
            found.append((trace, check(trace, profile)))
    return tuple(found)


def outcomes_of(requirement: str) -> tuple[Outcome, ...]:
    return tuple(outcome for _, outcome in judged(requirement))


@pytest.mark.parametrize("requirement", JUDGED)
def test_a_pass_says_what_it_rests_on(requirement: str) -> None:
    passes = [outcome for outcome in outcomes_of(requirement) if outcome.verdict is Verdict.PASS]
    assert passes
    for outcome in passes:
        assert 1 <= len(outcome.evidence) <= REFERENCES_MAX, outcome
        assert all(re.fullmatch(r"trace:\d+|capture:[a-z0-9-]+(@\d+\.\d{6})?", one) for one in outcome.evidence), (
            outcome
        )


@pytest.mark.parametrize("requirement", JUDGED)
def test_a_fail_leads_to_its_evidence(requirement: str) -> None:
    """Every finding says expected, seen, where and how to fix, and names what of the trace it rests on."""
    for trace, outcome in judged(requirement):
        for finding in outcome.findings:
            parts = {name: getattr(finding, name) for name in ("expected", "seen", "where", "remedy", "evidence")}
            assert [name for name, part in parts.items() if not part] == [], finding
            assert [one for one in finding.evidence if not _resolves(one, trace)] == [], finding


def _resolves(reference: str, trace: Trace) -> bool:
    kind, _, rest = reference.partition(":")
    name, _, at = rest.partition("@")
    if kind == "trace":
        return name in {str(event.line) for event in trace.events}
    capture = trace.captures.get(name)
    return capture is not None and (not at or any(f"{frame.at:.6f}" == at for frame in capture.frames))


@pytest.mark.parametrize("requirement", [one for one in JUDGED if CATALOGUE[one].in_force])
def test_unit_tables_bring_about_every_verdict(requirement: str) -> None:
    seen = {outcome.verdict for outcome in outcomes_of(requirement)}
    assert {Verdict.PASS, Verdict.FAIL, Verdict.INCONCLUSIVE} <= seen


def test_the_catalogue_names_what_reading_and_checking_a_package_looks_at(tmp_path: Path) -> None:
    """Who of a package's ids reads what is between them and the readers: together they name all of it."""
    named = {path for one in CATALOGUE.requirements.values() if one.scope == "package" for path in one.reads}
    whole, opened = load_profile(), set[str]()
    path = tmp_path / "app.ova"
    cases = (*variations(), *(case for case in defects() if case.fails in ("PKG-008", "PKG-015")))
    for case in cases:
        path.write_bytes(build(case))
        package = open_package(path, WatchedProfile(whole.tables, whole.digest, seen=opened))
        for requirement in CATALOGUE.requirements.values():
            check = package_check(requirement.id) if requirement.scope == "package" else None
            read = set[str]()
            if check is not None:
                check(package, WatchedProfile(whole.tables, whole.digest, seen=read), TRUST)
            assert read <= set(requirement.reads), requirement.id
    assert opened - {"package"} <= named  # the reader of XML takes the whole table of bounds


# What is inside the image (IMG) is judged over real file systems.
JUDGED_BY_BYTES = [one for one in IDS if CATALOGUE[one].in_force]


def test_the_corpus_brings_about_pass_and_fail(tmp_path: Path) -> None:
    """One defect of each id is enough; a pass names the members that it rests on."""
    path, profile = tmp_path / "app.ova", load_profile()
    seen: dict[str, set[Verdict]] = {requirement: set() for requirement in JUDGED_BY_BYTES}
    apps = (SOUND, Case("transparent", base="transparent"))
    for case in (*apps, *{case.fails: case for case in defects()}.values()):
        path.write_bytes(build(case))
        package = open_package(path, profile)
        for requirement in JUDGED_BY_BYTES:
            outcome = judge_package(CATALOGUE[requirement], package, profile, TRUST)
            seen[requirement].add(outcome.verdict)
            assert (outcome.verdict is Verdict.PASS) is bool(outcome.evidence), requirement
            assert all(re.fullmatch(r"package:.+@\d+", one) for one in outcome.evidence)
    assert {one for one, verdicts in seen.items() if not {Verdict.PASS, Verdict.FAIL} <= verdicts} == set()
