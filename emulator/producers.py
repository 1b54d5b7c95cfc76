"""The platform's producers (contract 5): cell load, users, cell ID, throughput guidance, location, users in area.

Sans-IO. What they say is consistent with where the UEs are (emulator/mobility.py) and a function of (seed, now) only.
"""

import heapq
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from functools import partial
from typing import Protocol

from emulator import mobility
from emulator.publication import Publication, publication

_CELL_CAPACITY_KBPS = 100_000
_UPLINK_SHARE = 0.25
_WAVE_S = 60.0
_SPREAD = 0.618  # the golden ratio: multiples of it, modulo 1, lie evenly


class Clock(Protocol):
    """The platform's clock (emulator/platform.py)."""

    def time(self, now: float) -> float:
        """Seconds since 1970 at a monotonic instant."""
        ...


@dataclass(frozen=True, slots=True)
class Rates:
    """Messages per second and subject (cell, UE, area): the profile's table ``producers``."""

    cell_load_hz: float
    cell_users_hz: float
    ue_cell_hz: float
    throughput_guidance_hz: float
    location_hz: float
    area_users_hz: float

    def times(self, factor: float) -> "Rates":
        """The rates of a load test."""
        return Rates(*(factor * getattr(self, rate.name) for rate in fields(self)))


@dataclass(frozen=True, slots=True)
class Population:
    """The UEs: where they are follows from the seed, addresses are in the order of their indices."""

    seed: int
    addresses: Sequence[str]

    def __iter__(self) -> Iterator[tuple[int, str]]:
        return iter(enumerate(self.addresses))

    def in_cell(self, cell: str, now: float) -> list[str]:
        return [address for ue, address in self if mobility.cell_at(self.seed, ue, now) == cell]

    def in_area(self, area: str, now: float) -> list[str]:
        return [address for ue, address in self if mobility.area_at(self.seed, ue, now) == area]


@dataclass(order=True, slots=True)
class _Turn:
    """A message that is due, and how to tell from the time of sending when its next one is."""

    due: float
    order: int
    make: Callable[[float], Publication] = field(compare=False)
    next_due: Callable[[float], float] = field(compare=False)


class Producers:
    """All producers of one platform: everything once at the start, then at the rates, and a UE's cell at each handover.

    `wake` when `next_wake` says so; a wake that comes late skips what it missed.
    """

    def __init__(self, population: Population, clock: Clock, rates: Rates, now: float) -> None:
        self._population = population
        self._clock = clock
        self.set_rates(rates, now)

    def set_rates(self, rates: Rates, now: float) -> None:
        """Begin anew at other rates."""
        self._turns: list[_Turn] = []
        for cell in mobility.CELLS:
            self._add(rates.cell_load_hz, now, partial(self._load, cell))
            self._add(rates.cell_users_hz, now, partial(self._users, cell))
        for area in mobility.AREAS:
            self._add(rates.area_users_hz, now, partial(self._area, area))
        for ue, address in self._population:
            self._add(rates.ue_cell_hz, now, partial(self._cell, ue, address))
            self._add(rates.throughput_guidance_hz, now, partial(self._guidance, ue, address))
            self._add(rates.location_hz, now, partial(self._location, ue, address))
            handover = partial(mobility.next_handover, self._population.seed, ue)
            turn = _Turn(handover(now), len(self._turns), partial(self._cell, ue, address), handover)
            heapq.heappush(self._turns, turn)

    def next_wake(self) -> float:
        """When the next message is due, monotonic seconds; infinity for never."""
        return self._turns[0].due if self._turns else math.inf

    def wake(self, now: float) -> Sequence[Publication]:
        """The messages that are due."""
        made = []
        while self._turns and self._turns[0].due <= now:
            turn = self._turns[0]
            made.append(turn.make(now))
            heapq.heapreplace(self._turns, replace(turn, due=turn.next_due(now)))
        return made

    def _add(self, rate_hz: float, now: float, make: Callable[[float], Publication]) -> None:
        if rate_hz <= 0:
            return
        order = len(self._turns)
        anchor = now - order * _SPREAD % 1 / rate_hz  # after the first round they come evenly, not all at once
        heapq.heappush(self._turns, _Turn(now, order, make, partial(_next_beat, anchor, 1 / rate_hz)))

    def _load(self, cell: str, now: float) -> Publication:
        fields = {"cell": cell, "load": round(self._load_of(cell, now), 3)}
        return self._publication(f"racs/cell/{cell}/load", fields, now)

    def _users(self, cell: str, now: float) -> Publication:
        fields = {"cell": cell, "users": len(self._population.in_cell(cell, now))}
        return self._publication(f"racs/cell/{cell}/users", fields, now)

    def _area(self, area: str, now: float) -> Publication:
        fields = {"area": area, "users": self._population.in_area(area, now)}
        return self._publication(f"racs/area/{area}/users", fields, now)

    def _cell(self, ue: int, address: str, now: float) -> Publication:
        fields = {"ue": address, "cell": mobility.cell_at(self._population.seed, ue, now)}
        return self._publication(f"racs/ue/{address}/cell", fields, now)

    def _guidance(self, ue: int, address: str, now: float) -> Publication:
        cell = mobility.cell_at(self._population.seed, ue, now)
        share = _CELL_CAPACITY_KBPS / len(self._population.in_cell(cell, now))
        downlink_kbps = round(share * (1 - 0.5 * self._load_of(cell, now)))
        fields = {"ue": address, "downlink_kbps": downlink_kbps, "uplink_kbps": round(downlink_kbps * _UPLINK_SHARE)}
        return self._publication(f"racs/ue/{address}/throughput-guidance", fields, now)

    def _location(self, ue: int, address: str, now: float) -> Publication:
        place = mobility.location_at(self._population.seed, ue, now)
        fields = {"ue": address, "lat": round(place.latitude, 6), "lon": round(place.longitude, 6)}
        return self._publication(f"racs/ue/{address}/location", fields | {"accuracy_m": mobility.ACCURACY_M}, now)

    def _load_of(self, cell: str, now: float) -> float:
        """0 to 1: mostly the cell's part of the users, and some of it comes and goes."""
        part = len(self._population.in_cell(cell, now)) / max(len(self._population.addresses), 1)
        wave = math.sin(2 * math.pi * now / _WAVE_S + mobility.CELLS.index(cell))
        return 0.1 + 0.8 * part + 0.1 * wave * wave

    def _publication(self, topic: str, fields: Mapping[str, object], now: float) -> Publication:
        return publication(topic, fields, self._clock.time(now))


def _next_beat(anchor: float, period_s: float, now: float) -> float:
    """The first instant after now that is a whole number of periods from the anchor."""
    beats = math.floor((now - anchor) / period_s) + 1
    while anchor + beats * period_s <= now:  # rounding
        beats += 1
    return anchor + beats * period_s
