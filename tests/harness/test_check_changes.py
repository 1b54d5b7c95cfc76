"""A package that somebody writes to while it is read: neither fails nor passes."""

import os
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from harness.package.checking import unchanged


def append(path: Path) -> None:
    with path.open("ab") as file:
        file.write(b"x")


def replace(path: Path) -> None:
    other = path.with_suffix(".new")
    other.write_bytes(path.read_bytes())
    os.replace(other, path)


CHANGES: Mapping[str, Callable[[Path], None]] = {
    "longer": append,
    "shorter": lambda path: os.truncate(path, 1),
    "another": replace,
    "gone": Path.unlink,
}


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("fails", [False, True], ids=["read", "unreadable"])
def test_a_change_is_told_whatever_came_of_it(change: str, fails: bool, tmp_path: Path) -> None:
    path = tmp_path / "app.ova"
    path.write_bytes(b"some bytes")
    with pytest.raises(OSError, match="it changed while it was read") as told, unchanged(path):
        CHANGES[change](path)
        if fails:
            raise ValueError("half a table")
    assert told.value.filename == str(path)


def test_what_stays_as_it_is_keeps_its_result_or_its_error(tmp_path: Path) -> None:
    path = tmp_path / "app.ova"
    path.write_bytes(b"some bytes")
    with unchanged(path):
        path.read_bytes()
    with pytest.raises(ValueError, match="ours"), unchanged(path):
        raise ValueError("ours")
    with pytest.raises(FileNotFoundError), unchanged(tmp_path / "missing"):
        (tmp_path / "missing").read_bytes()
