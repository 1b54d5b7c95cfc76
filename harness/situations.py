"""What suites/ is written with, beside the testbed's verbs."""

from collections.abc import Callable

import pytest

Test = Callable[..., None]


def verifies(*requirements: str) -> Callable[[Test], Test]:
    """Marks a test: one pytest item, and one verdict, for each of these requirements (its argument ``requirement``)."""
    return pytest.mark.verifies(*requirements)


class Unreached(Exception):
    """A situation could not begin because something before it failed for which another requirement answers."""
