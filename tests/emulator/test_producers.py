"""Where UEs are, and the producers that tell it."""

import json
from collections import Counter, defaultdict
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from conformance import profile as profiles
from emulator import mobility
from emulator.platform import PlatformClock
from emulator.producers import Population, Producers, Rates

SEED, UES = 7, tuple(f"10.45.0.{ue + 1}" for ue in range(8))
CLOCK = PlatformClock(100.0, 1.7e9, 50.0)
RATES = Rates(**profiles.load()["producers"])
PEOPLE = Population(SEED, UES)

seeds, ues, instants = st.integers(0, 2**64), st.integers(0, 1000), st.floats(0, 1e7)


@given(seeds, instants)
@settings(derandomize=True, max_examples=300)
def test_eight_ues_leave_no_cell_empty(seed: int, now: float) -> None:
    assert {mobility.cell_at(seed, ue, now) for ue in range(8)} == set(mobility.CELLS)


@given(seeds, ues, instants)
@settings(derandomize=True, max_examples=300)
def test_a_handover_is_the_next_and_to_a_neighbour(seed: int, ue: int, now: float) -> None:
    at = mobility.next_handover(seed, ue, now)
    before, after = (mobility.CELLS.index(mobility.cell_at(seed, ue, t)) for t in (now, at))
    assert after == (before + 1) % len(mobility.CELLS)
    assert now < at <= now + 81
    assert mobility.cell_at(seed, ue, now + (at - now) * 0.99) == mobility.cell_at(seed, ue, now)


@given(seeds, ues, instants)
@settings(derandomize=True, max_examples=100)
def test_location_and_area_agree(seed: int, ue: int, now: float) -> None:
    here, soon = mobility.location_at(seed, ue, now), mobility.location_at(seed, ue, now + 0.1)
    assert abs(here.latitude - soon.latitude) < 1e-4 and abs(here.longitude - soon.longitude) < 1e-4
    assert mobility.area_at(seed, ue, now) == ("north" if here.latitude >= 47.4979 else "south")


def collect(producers: Producers, begin: float, end: float) -> list[tuple[float, str, dict[str, Any]]]:
    made, now = [], begin
    while (now := max(now, producers.next_wake())) < end:
        made += [(now, p.topic, json.loads(p.payload)) for p in producers.wake(now)]
    return made


def test_rates() -> None:
    made = collect(Producers(PEOPLE, CLOCK, RATES, 1000.0), 1000.0, 1100.0)
    counts = Counter("/".join([*topic.split("/")[:2], topic.split("/")[-1]]) for _, topic, _ in made)
    assert counts["racs/cell/load"] in range(300, 304) and counts["racs/cell/users"] in range(300, 304)
    assert counts["racs/area/users"] in range(200, 203)
    assert counts["racs/ue/throughput-guidance"] in range(1600, 1609)
    assert counts["racs/ue/location"] in range(160, 169)
    assert counts["racs/ue/cell"] in range(80 + 8, 80 + 8 + 17)  # and a handover or two each


def test_everything_is_told_at_once() -> None:
    topics = {publication.topic for publication in Producers(PEOPLE, CLOCK, RATES, 50.0).wake(50.0)}
    assert topics == {
        *(f"racs/cell/{cell}/{what}" for cell in mobility.CELLS for what in ("load", "users")),
        *(f"racs/area/{area}/users" for area in mobility.AREAS),
        *(f"racs/ue/{ue}/{what}" for ue in UES for what in ("cell", "throughput-guidance", "location")),
    }


def test_payloads_agree_with_where_the_ues_are() -> None:
    cells: dict[str, set[str]] = defaultdict(set)
    for now, topic, fields in collect(Producers(PEOPLE, CLOCK, RATES, 1000.0), 1000.0, 1200.0):
        assert fields["time"] == pytest.approx(CLOCK.time(now), abs=1e-5)
        match topic.split("/"):
            case ["racs", "cell", cell, "load"]:
                assert fields["cell"] == cell and 0 <= fields["load"] <= 1
            case ["racs", "cell", cell, "users"]:
                assert fields["users"] == len(PEOPLE.in_cell(cell, now))
            case ["racs", "area", area, "users"]:
                assert fields["users"] == PEOPLE.in_area(area, now)
            case ["racs", "ue", ue, "cell"]:
                assert fields["ue"] == ue and ue in PEOPLE.in_cell(fields["cell"], now)
                cells[ue].add(fields["cell"])
            case ["racs", "ue", ue, "throughput-guidance"]:
                assert fields["downlink_kbps"] > fields["uplink_kbps"] > 0
            case ["racs", "ue", ue, "location"]:
                assert fields["accuracy_m"] > 0 and abs(fields["lat"] - 47.5) < 0.1
            case other:
                raise AssertionError(other)
    assert all(len(seen) >= 3 for seen in cells.values()), "every UE went round the ring"


def test_a_handover_is_told_when_it_happens() -> None:
    producers = Producers(PEOPLE, CLOCK, Rates(0, 0, 0, 0, 0, 0), 1000.0)
    first = min(mobility.next_handover(SEED, ue, 1000.0) for ue in range(8))
    assert producers.next_wake() == first and not producers.wake(first - 0.001)
    (told,) = producers.wake(first)
    assert told.topic.endswith("/cell")


def test_a_late_wake_skips_what_it_missed() -> None:
    producers = Producers(PEOPLE, CLOCK, RATES, 1000.0)
    producers.wake(1000.0)
    assert len(producers.wake(1050.0)) <= 3 + 3 + 2 + 8 * 4 and producers.next_wake() > 1050.0


def test_rates_of_a_load_test() -> None:
    producers = Producers(PEOPLE, CLOCK, RATES, 1000.0)
    usual = len(collect(producers, 1000.0, 1020.0))
    producers.set_rates(RATES.times(2), 1020.0)
    assert len(collect(producers, 1020.0, 1040.0)) == pytest.approx(2 * usual, rel=0.1)


def test_nobody_there() -> None:
    producers = Producers(Population(SEED, ()), CLOCK, RATES, 0.0)
    assert {
        json.loads(p.payload)["users"] for p in producers.wake(0.0) if "/cell/" in p.topic and "users" in p.topic
    } == {0}
