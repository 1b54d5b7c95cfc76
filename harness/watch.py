"""Events as they come in: recorded, and waited for. No suite sleeps; it waits for a condition, with a deadline."""

import threading
import time
from collections import defaultdict
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from conformance.errors import EnvironmentFault, UsageError
from conformance.trace import Event, describe_end
from harness.recorder import Recorder

T = TypeVar("T")


class Watch:
    """Records events from any thread and wakes who waits for what they bring about."""

    def __init__(self, recorder: Recorder) -> None:
        self._recorder = recorder
        self._seen: dict[str, list[Event]] = defaultdict(list)
        self._changed = threading.Condition()
        self._unwritten: UsageError | None = None

    def note(self, kind: str, at: float, source: str, fields: Mapping[str, Any]) -> None:
        """Record an event. A full disk is raised where the run waits next, or asks for its trace: a thread has nobody
        to tell."""
        try:
            event = self._recorder.note(kind, at, source, fields)
        except UsageError as error:
            with self._changed:
                self._unwritten = self._unwritten or error
                self._changed.notify_all()
            return
        with self._changed:
            self._seen[kind].append(event)
            self._changed.notify_all()

    def require_written(self) -> None:
        """Raises UsageError when an event could not be written: nothing may be judged without it."""
        with self._changed:
            if self._unwritten:
                raise self._unwritten

    def noter(self, source: str) -> Callable[[str, float, Mapping[str, Any]], None]:
        """note(kind, at, fields) for one source."""

        def note(kind: str, at: float, fields: Mapping[str, Any]) -> None:
            self.note(kind, at, source, fields)

        return note

    def seen(self, kind: str, since: float = 0.0) -> tuple[Event, ...]:
        """The events of a kind with at >= since."""
        with self._changed:
            return tuple(event for event in self._seen[kind] if event.at >= since)

    def let_pass(self, until: float) -> None:
        """Wait for nothing but time, to a monotonic instant; a process of the lab that dies ends it too."""
        self.wait_until(lambda: False, until)

    def wait_until(self, condition: Callable[[], T], deadline: float) -> T:
        """The first true value of condition, looked at whenever an event came; its last value at the deadline.

        deadline is monotonic seconds. Raises EnvironmentFault as soon as a process of the lab has died or the lab gave
        the machine up, UsageError when evidence cannot be written.
        """
        while True:
            value = condition()
            with self._changed:
                self.require_written()
                for ended in (*self._seen["process-died"], *self._seen["lab-fault"]):
                    raise EnvironmentFault(describe_end(ended))
                left = deadline - time.monotonic()
                if value or left <= 0:
                    return value
                # conditions are looked at between events too: some hold with time alone
                self._changed.wait(min(left, 0.2))
