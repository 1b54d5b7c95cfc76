"""Where a UE is: a pure function of (seed, ue, now), so that producers and user plane agree without messages.

UEs drive round a ring road, all at one speed; the cells are equal sectors of the ring, so that a handover is always one
to a neighbour. UEs stand the golden ratio apart: whenever you look, eight of them leave no cell empty.
"""

import math
import random
from dataclasses import dataclass
from functools import lru_cache

CELLS = ("cell-1", "cell-2", "cell-3")
AREAS = ("north", "south")
_CENTRE_LATITUDE, _CENTRE_LONGITUDE = 47.4979, 19.0402
_RADIUS_M = 800.0
_METRES_PER_DEGREE = 111_320.0  # of latitude
_LAP_S = 240.0
_GOLDEN_RATIO = (math.sqrt(5) - 1) / 2
ACCURACY_M = 25.0


@dataclass(frozen=True, slots=True)
class Location:
    """WGS 84 degrees."""

    latitude: float
    longitude: float


def cell_at(seed: int, ue: int, now: float) -> str:
    """The cell that serves the UE (index from 0) at a monotonic instant."""
    return CELLS[math.floor(_turns(seed, ue, now) * len(CELLS)) % len(CELLS)]


def location_at(seed: int, ue: int, now: float) -> Location:
    """Where the UE is at a monotonic instant."""
    angle = 2 * math.pi * _turns(seed, ue, now)
    north_m, east_m = _RADIUS_M * math.sin(angle), _RADIUS_M * math.cos(angle)
    longitude_scale = _METRES_PER_DEGREE * math.cos(math.radians(_CENTRE_LATITUDE))
    return Location(_CENTRE_LATITUDE + north_m / _METRES_PER_DEGREE, _CENTRE_LONGITUDE + east_m / longitude_scale)


def area_at(seed: int, ue: int, now: float) -> str:
    """The area that the UE is in at a monotonic instant: one side of the ring's centre."""
    return AREAS[0] if location_at(seed, ue, now).latitude >= _CENTRE_LATITUDE else AREAS[1]


def next_handover(seed: int, ue: int, now: float) -> float:
    """An instant after now at which the UE is in another cell: the first, to the microsecond."""
    ahead = 1 - _turns(seed, ue, now) * len(CELLS) % 1
    at = now + ahead * _LAP_S / len(CELLS)
    while cell_at(seed, ue, at) == cell_at(seed, ue, now):  # rounding left it on this side of the border
        at += 1e-6
    return at


def _turns(seed: int, ue: int, now: float) -> float:
    """Where on the ring, 0 to 1."""
    return (_start(seed) + ue * _GOLDEN_RATIO + now / _LAP_S) % 1.0


@lru_cache(maxsize=64)
def _start(seed: int) -> float:
    return random.Random(f"mobility {seed}").random()
