"""Exit statuses of `racs` and `pytest suites/`, and which one counts where several hold (docs/design.md 7)."""

from collections.abc import Iterable
from enum import IntEnum


class ExitStatus(IntEnum):
    """How a command ends. ERROR is the suite's or a broken lab; USAGE also says that the machine lacks something."""

    PASS = 0
    FAIL = 1
    INTERRUPTED = 2
    ERROR = 3
    USAGE = 4
    NOTHING_RAN = 5
    INCONCLUSIVE = 6


WORST_FIRST = (
    ExitStatus.INTERRUPTED,
    ExitStatus.USAGE,
    ExitStatus.ERROR,
    ExitStatus.FAIL,
    ExitStatus.INCONCLUSIVE,
    ExitStatus.NOTHING_RAN,
    ExitStatus.PASS,
)


def worst(statuses: Iterable[ExitStatus]) -> ExitStatus:
    """The one that counts of those that hold; there is at least one."""
    return min(statuses, key=WORST_FIRST.index)
