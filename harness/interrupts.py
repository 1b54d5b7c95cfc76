"""Ctrl-C in a run: never lost, taken once, and only when a report can be made of what there is."""

import os
import signal
import sys
from typing import NoReturn

AGAIN_S = 0.5


def hold() -> None:
    """From now on, also after exec, Ctrl-C waits for `take`."""
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})


def take() -> None:
    """From now on Ctrl-C raises KeyboardInterrupt; at once where it was pressed meanwhile."""
    for number in (signal.SIGINT, signal.SIGALRM):
        signal.signal(number, _interrupt)
    complain = sys.unraisablehook
    sys.unraisablehook = lambda dropped: None if dropped.exc_type is KeyboardInterrupt else complain(dropped)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})


def _interrupt(*_: object) -> NoReturn:
    """Raises again until `ignore`: Python drops an exception that is raised while it collects garbage."""
    signal.setitimer(signal.ITIMER_REAL, AGAIN_S)
    raise KeyboardInterrupt


def ignore() -> None:
    """The run is ending: one more Ctrl-C would cost the report, or leave the lab half there."""
    signal.setitimer(signal.ITIMER_REAL, 0)
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def leave(status: int) -> NoReturn:
    """End this process now, not waiting for threads that still wait for an answer of the app."""
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    os._exit(status)
