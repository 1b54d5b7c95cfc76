"""The operator's hand on AFM: which of the app's features are active, and how each is switched off and on."""

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from functools import partial

from harness.lab import Lab

SETTLE_S = 0.5  # the deadline counts from when the bus published, a little after it was told to

Step = Callable[..., AbstractContextManager[object]]


class Features:
    """``active`` are the ids of the active features in the descriptor's order: its defaults, then what was switched.

    step is `Chronicle.step`; guard_s is waited beyond the profile's limit.
    """

    def __init__(self, lab: Lab, step: Step, guard_s: float) -> None:
        self._lab = lab
        self._step = step
        self._guard_s = guard_s
        self._declared = tuple(feature.id for feature in lab.application.features)
        self.active = tuple(feature.id for feature in lab.application.features if feature.default_on)

    def publish(self) -> float:
        """Tell the app what is active; when that was."""
        at = time.monotonic()
        if self._declared:
            self._lab.command("bus", "feature-set", features=list(self.active))
        return at

    def switch_all(self) -> None:
        """Switch every declared feature off and on once, waiting for the status each time; then all are on."""
        for feature, on in self._changes():
            wanted = {feature} if on else set()
            self.active = tuple(f for f in self._declared if f in wanted | set(self.active) - {feature})
            limit_s = self._lab.profile.number("afm.feature_taken_up_s")
            wait_s = limit_s + self._guard_s + SETTLE_S
            with self._step("switch a feature", f"{feature} {'on' if on else 'off'}"):
                begin = self.publish()
                self._lab.watch.wait_until(partial(self._taken_up, begin), begin + wait_s)

    def _changes(self) -> Iterator[tuple[str, bool]]:
        """Feature and whether it is switched on: one that is off has to be on before it can be switched off."""
        for feature in self._declared:
            if feature not in self.active:
                yield feature, True
            yield feature, False
            yield feature, True

    def _taken_up(self, since: float) -> bool:
        return any(
            sorted(f["id"] for f in event["features"] if f.get("state") == "on") == sorted(self.active)
            for event in self._lab.watch.seen("feature-status", since)
        )
