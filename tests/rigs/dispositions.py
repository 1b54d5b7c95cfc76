"""The usual dispositions of signals, however the tests were started: nohup and shells' background jobs ignore some, and
every process that a test starts would inherit that."""

import signal
from collections.abc import Iterator

import pytest


@pytest.fixture(scope="session", autouse=True)
def usual_signals() -> Iterator[None]:
    """SIGHUP, SIGINT and SIGTERM are heard."""
    before = {number: signal.getsignal(number) for number in (signal.SIGHUP, signal.SIGINT, signal.SIGTERM)}
    for number, handler in before.items():
        if handler is signal.SIG_IGN:
            usual = signal.default_int_handler if number is signal.SIGINT else signal.SIG_DFL
            signal.signal(number, usual)
    yield
    for number, handler in before.items():
        signal.signal(number, handler)
