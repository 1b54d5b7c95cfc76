"""What ends a run from outside: Ctrl-C, a CI job that is cancelled (SIGTERM), a terminal that is closed (SIGHUP). Never
lost, and taken only when a report can be made of what there is."""

import os
import signal
import sys
import time
from contextlib import suppress
from typing import NoReturn

from harness.start import INTERRUPTED

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
AGAIN_S = 0.5
SAME_S = 1.0  # one cancellation may come several times: from whoever cancels, who signals all, and from the keeper


def as_ctrl_c() -> None:
    """A command without a report of its own ends by any of these as by Ctrl-C: it clears up behind itself."""
    for number in _heard():
        signal.signal(number, signal.default_int_handler)


def hold() -> None:
    """From now on, also after exec, what ends a run waits for `Interrupts.take`."""
    signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)


def leave(status: int) -> NoReturn:
    """End this process now, not waiting for threads that still wait for an answer of the app."""
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError):  # a terminal that was closed
            stream.flush()
    os._exit(status)


def _heard() -> tuple[signal.Signals, ...]:
    """What is ignored, as SIGHUP below nohup, stays ignored."""
    return tuple(number for number in SIGNALS if signal.getsignal(number) is not signal.SIG_IGN)


class Interrupts:
    """Of one run: its end begins with the first signal, and a second one does not wait for it."""

    def __init__(self) -> None:
        self._first_at = 0.0
        self._ending = False

    def take(self) -> None:
        """From now on a signal raises KeyboardInterrupt; at once where it was sent meanwhile."""
        for number in (*_heard(), signal.SIGALRM):
            signal.signal(number, self._interrupt)
        complain = sys.unraisablehook
        sys.unraisablehook = lambda dropped: None if dropped.exc_type is KeyboardInterrupt else complain(dropped)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)

    def end(self) -> None:
        """The run is ending: none raises any more, which would cost the report."""
        signal.setitimer(signal.ITIMER_REAL, 0)
        self._ending = True

    def _interrupt(self, number: int, _: object) -> None:
        """Raises again until `end`: Python drops an exception that is raised while it collects garbage."""
        now = time.monotonic()
        self._first_at = self._first_at or now
        if number != signal.SIGALRM and now - self._first_at > SAME_S:
            os._exit(INTERRUPTED)  # the lab's init takes everything with it
        if not self._ending:
            signal.setitimer(signal.ITIMER_REAL, AGAIN_S)
            raise KeyboardInterrupt
