"""The platform as its guests see it: its clock, and the names and addresses of its services. Values only."""

import random
from collections.abc import Mapping
from dataclasses import asdict, dataclass

from conformance.profile import Profile

# An app whose clock follows the host, or the RTC that it was given, must be told from one that follows our NTP: shifts
# nearer than this to each other or to zero are not drawn.
APART_S = 60.0

NTP_PORT = 123
DNS_PORT = 53


@dataclass(frozen=True, slots=True)
class PlatformClock:
    """The platform's clock, a pure function of monotonic time: shifted against the host's and drifting (contract 4).

    reference is monotonic seconds, at_reference the platform's time then, seconds since 1970; its JSON form is the
    fields themselves.
    """

    reference: float
    at_reference: float
    drift_ppm: float

    def time(self, now: float) -> float:
        """Seconds since 1970 at monotonic `now`."""
        return self.at_reference + (now - self.reference) * (1 + self.drift_ppm * 1e-6)

    def to_json(self) -> dict[str, float]:
        return asdict(self)


def draw_clock(seed: int, profile: Profile, reference: float, host_time: float) -> PlatformClock:
    """The run's clock from its seed: host_time is the host's, seconds since 1970, at monotonic `reference`."""
    chance = random.Random(f"platform-clock {seed}")
    drift_max = profile.number("time.drift_ppm_max")
    shift = _draw_shift(chance, profile.number("time.shift_max_s"))
    return PlatformClock(reference, host_time + shift, chance.uniform(-drift_max, drift_max))


def draw_rtc_shift(seed: int, profile: Profile, clock_shift_s: float) -> float:
    """The shift of the guest's real-time clock against the host's, in seconds, far from the platform clock's own."""
    chance = random.Random(f"rtc {seed}")
    shift = _draw_shift(chance, profile.number("time.rtc_shift_max_s"))
    return shift if abs(shift - clock_shift_s) >= APART_S else -shift


def _draw_shift(chance: random.Random, largest: float) -> float:
    return chance.choice((-1, 1)) * chance.uniform(min(APART_S, largest), largest)


def service_names(profile: Profile) -> Mapping[str, str]:
    """The names that the service DNS answers of its own, each with its address (contract 2)."""
    address, domain = str(profile["network.platform"]), str(profile["network.domain"])
    return {f"{name}.{domain}": address for name in profile["network.names"]}
