"""The examples are no package: each is loaded the way the guest does it, by name from the folders of its app.toml."""

import importlib
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import pytest

EXAMPLES = Path(__file__).parents[2] / "examples"
NAMES = ("bus", "echo", "environment", "goon", "heartbeat", "lens", "ntp", "wire")


@pytest.fixture
def example() -> Iterator[Callable[[str], ModuleType]]:
    """example("echo") is that module of the examples."""
    before = list(sys.path)
    sys.path[:0] = [str(EXAMPLES / name) for name in ("clients", "guest", "goon", "lens")]
    yield importlib.import_module
    sys.path[:] = before
    for name in NAMES:
        sys.modules.pop(name, None)
