"""The heartbeat service without a socket: notes every datagram, and supervises the app (contract 3).

Three intervals without a heartbeat = failed: traffic bypasses the app and its VM is restarted; after three restarts in
a row without a heartbeat within the boot deadline the failure is escalated and the app stays bypassed. Each step raises
an alarm toward the network manager and clears it. What happens to the VM by plan comes in by `expect` and `vm_off`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from conformance.heartbeat import Beat, decode
from emulator.platform import PlatformClock
from emulator.service import Action, Address, Alarm, Bypass, Note, Restart

NOTED_BYTES_MAX = 2048


class State(StrEnum):
    """Where supervision is; OFF: no VM runs."""

    OFF = "off"
    WAITING = "waiting"
    ALIVE = "alive"
    FAILED = "failed"
    STOPPING = "stopping"
    ESCALATED = "escalated"


class Input(StrEnum):
    """What moves it; SPENT is a silence after the last allowed restart."""

    EXPECT = "the VM was started or reset"
    VM_OFF = "the VM is off"
    BEAT = "a heartbeat came"
    STOPPING = "the app says that it is stopping"
    SILENCE = "no heartbeat in time"
    SPENT = "no heartbeat after the last restart"


_S, _I = State, Input
# Whatever is not in the table leaves the state as it is. FAILED hears beats only while no restart is under way.
TRANSITIONS: Mapping[tuple[State, Input], State] = {
    **{(state, _I.EXPECT): _S.WAITING for state in State},
    **{(state, _I.VM_OFF): _S.OFF for state in State},
    (_S.WAITING, _I.BEAT): _S.ALIVE,
    (_S.WAITING, _I.STOPPING): _S.STOPPING,
    (_S.WAITING, _I.SILENCE): _S.FAILED,
    (_S.WAITING, _I.SPENT): _S.ESCALATED,
    (_S.ALIVE, _I.BEAT): _S.ALIVE,
    (_S.ALIVE, _I.STOPPING): _S.STOPPING,
    (_S.ALIVE, _I.SILENCE): _S.FAILED,
    (_S.FAILED, _I.BEAT): _S.ALIVE,
    (_S.FAILED, _I.STOPPING): _S.STOPPING,
    (_S.STOPPING, _I.BEAT): _S.ALIVE,
}


@dataclass(frozen=True, slots=True)
class Supervised:
    """What supervision needs to know of an app and of the profile."""

    app: str
    interval_s: float
    missed_max: int
    boot_deadline_s: float
    restarts_before_escalation: int


class HeartbeatCore:
    """Notes ``beat``, ``supervision``; answers with Bypass, Restart and Alarm.

    Bypass follows the app's planned comings and goings always; upon a failure the app is bypassed and restarted only
    while supervision is acting, else the failure is recorded and its alarm raised.
    """

    def __init__(self, supervised: Supervised, clock: PlatformClock) -> None:
        self._supervised = supervised
        self._clock = clock
        self._acting = False
        self._state = State.OFF
        self._deadline: float | None = None
        self._expected_at = 0.0
        self._restarts = 0
        self._restarting = False
        self._bypassed: bool | None = None
        self._alarms: dict[str, str] = {}  # cause to severity, of those raised and not cleared

    @property
    def state(self) -> State:
        return self._state

    def expect(self, now: float) -> Sequence[Action]:
        """The VM was started or reset (by plan, or because we asked): wait for its first heartbeat."""
        if not self._restarting:
            self._restarts = 0
        self._restarting = False
        self._expected_at = now
        return self._move(Input.EXPECT, now)

    def vm_off(self, now: float) -> Sequence[Action]:
        """The VM is off by plan: nothing is expected."""
        self._restarts, self._restarting = 0, False
        return self._move(Input.VM_OFF, now)

    def supervise(self, acting: bool, now: float) -> Sequence[Action]:
        """Act upon failures from now on, or only record them; a failure that stands is acted upon at once."""
        self._acting = acting
        if not acting:
            self._restarting = False
        if acting and self._state is State.FAILED and not self._restarting:
            return self._act(now, "supervision acts from now on")
        return ()

    def receive(self, data: bytes, source: Address, now: float) -> Sequence[Action]:
        note = Note(
            "beat",
            now,
            {"data": data[:NOTED_BYTES_MAX].hex(), "length": len(data), "address": source[0], "port": source[1]},
        )
        late = self.wake(now) if self._deadline is not None and now > self._deadline else ()
        beat = decode(data)
        if not isinstance(beat, Beat) or beat.app != self._supervised.app or now < self._expected_at:
            return [*late, note]  # the last: sent before the reset
        if self._restarting:
            return [*late, note]
        return [*late, note, *self._move(Input.STOPPING if beat.state == "stopping" else Input.BEAT, now)]

    def wake(self, now: float) -> Sequence[Action]:
        if self._deadline is None or now < self._deadline:
            return ()
        spent = self._state is State.WAITING and self._restarts >= self._supervised.restarts_before_escalation
        return self._move(Input.SPENT if spent else Input.SILENCE, now)

    def next_wake(self) -> float | None:
        return self._deadline

    def _move(self, cause: Input, now: float) -> Sequence[Action]:
        before = self._state
        after = TRANSITIONS.get((before, cause))
        if after is None:
            return ()
        why = self._why(before, cause)
        self._state = after
        self._deadline = self._next_deadline(after, now)
        changed: list[Action] = []
        if after is not before or cause is Input.EXPECT:
            changed.append(Note("supervision", now, {"state": str(after), "acting": self._acting, "reason": why}))
        return [*changed, *self._enter(after, now, why)]

    def _next_deadline(self, state: State, now: float) -> float | None:
        if state is State.WAITING:
            return now + self._supervised.boot_deadline_s
        if state is State.ALIVE:
            return now + self._supervised.missed_max * self._supervised.interval_s
        return None

    def _why(self, state: State, cause: Input) -> str:
        if cause is Input.SILENCE and state is State.ALIVE:
            return f"no heartbeat for {self._supervised.missed_max} intervals"
        if cause is Input.SILENCE:
            return f"no heartbeat within {self._supervised.boot_deadline_s:g} s of the start"
        if cause is Input.SPENT:
            return f"no heartbeat after {self._restarts} restarts in a row"
        return str(cause)

    def _enter(self, state: State, now: float, why: str) -> Sequence[Action]:
        if state is State.ALIVE:
            self._restarts = 0
            return [*self._bypass(False, why), *self._clear_alarms(now)]
        if state is State.FAILED:
            alarm = self._raise("heartbeat lost", "major", now)
            return [*alarm, *(self._act(now, why) if self._acting else ())]
        if state is State.ESCALATED:
            return [*self._bypass(True, why), *self._raise("restarts exhausted", "critical", now)]
        cleared = self._clear_alarms(now) if state in (State.OFF, State.STOPPING) else ()
        return [*self._bypass(True, why), *cleared]

    def _act(self, now: float, why: str) -> Sequence[Action]:
        self._restarts += 1
        self._restarting = True
        return [*self._bypass(True, why), Restart(why)]

    def _bypass(self, active: bool, why: str) -> Sequence[Action]:
        if self._bypassed is active:
            return ()
        self._bypassed = active
        return [Bypass(active, why)]

    def _raise(self, cause: str, severity: str, now: float) -> Sequence[Action]:
        if cause in self._alarms:
            return ()
        self._alarms[cause] = severity
        return [self._alarm(cause, severity, now, cleared=False)]

    def _clear_alarms(self, now: float) -> Sequence[Action]:
        cleared = [self._alarm(cause, severity, now, cleared=True) for cause, severity in self._alarms.items()]
        self._alarms.clear()
        return cleared

    def _alarm(self, cause: str, severity: str, now: float, cleared: bool) -> Alarm:
        return Alarm(self._supervised.app, severity, self._clock.time(now), cause, cleared)
