"""The serial console: no line and no byte lost, whatever the pieces in which it comes."""

import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from conformance.trace import faults
from harness.console import LINE_CHARACTERS_MAX, Console, LineCutter

DEADLINE_S = 20.0


@pytest.mark.parametrize(
    ("data", "lines", "rest"),
    [
        (b"", [], []),
        (b"one\ntwo\r\n", ["one", "two"], []),
        (b"\n\n", ["", ""], []),
        (b"login: ", [], ["login: "]),
        (b"\xff\xc3\xa4\n", ["\ufffdä"], []),
        (b"x" * 5000 + b"\n", ["x" * 4096, "x" * 904], []),
        (b"x" * 4096 + b"\n", ["x" * 4096], []),
        (b"x" * 9000, ["x" * 4096, "x" * 4096], ["x" * 808]),
    ],
)
def test_lines(data: bytes, lines: list[str], rest: list[str]) -> None:
    cutter = LineCutter()
    assert cutter.feed(data) == lines
    assert cutter.rest() == rest


@settings(derandomize=True, max_examples=100)
@given(st.lists(st.text(st.characters(codec="ascii"), max_size=6000), max_size=5), st.integers(1, 3000))
def test_pieces_make_no_difference_and_nothing_is_lost(lines: list[str], size: int) -> None:
    data = "\n".join(lines).encode()
    cutter = LineCutter()
    got = [line for at in range(0, len(data), size) for line in cutter.feed(data[at : at + size])] + cutter.rest()
    assert all(len(line) <= LINE_CHARACTERS_MAX for line in got)
    assert "".join(got).replace("\r", "") == data.decode().replace("\n", "").replace("\r", "")


class Recorded:
    """Notes, and a wait for them."""

    def __init__(self) -> None:
        self.lines: list[tuple[str, int]] = []
        self._changed = threading.Condition()

    def note(self, kind: str, _at: float, fields: Mapping[str, Any]) -> None:
        assert faults(kind, fields) == ""
        with self._changed:
            self.lines.append((fields["text"], fields["boot"]))
            self._changed.notify_all()

    def wait_for(self, line: tuple[str, int]) -> None:
        with self._changed:
            assert self._changed.wait_for(lambda: line in self.lines, DEADLINE_S), self.lines


def test_lines_come_while_the_guest_writes_and_know_their_boot(tmp_path: Path) -> None:
    seen, path = Recorded(), tmp_path / "console.log"
    with Console(path, seen.note) as console, path.open("ab", buffering=0) as guest:
        console.begin_boot(1)
        guest.write(b"first\n")
        seen.wait_for(("first", 1))
        assert console.wrote_since_boot()
        guest.write(b"cut off by the res")
        console.begin_boot(2)
        assert not console.wrote_since_boot()
        guest.write(b"second\nno end")
        seen.wait_for(("second", 2))
    assert seen.lines == [("first", 1), ("cut off by the res", 1), ("second", 2), ("no end", 2)]
    assert path.read_bytes() == b"first\ncut off by the ressecond\nno end"


def test_what_was_there_before_is_not_told_again(tmp_path: Path) -> None:
    seen, path = Recorded(), tmp_path / "console.log"
    path.write_bytes(b"of an earlier run\n")
    with Console(path, seen.note), path.open("ab", buffering=0) as guest:
        guest.write(b"new\n")
    assert seen.lines == [("new", 0)]


def test_a_flood_is_read_to_its_end(tmp_path: Path) -> None:
    seen, path = Recorded(), tmp_path / "console.log"
    with Console(path, seen.note) as console, path.open("ab", buffering=0) as guest:
        for boot in (1, 2):
            console.begin_boot(boot)
            guest.write(b"".join(b"%d line\n" % number for number in range(20000)))
    assert seen.lines == [(f"{number} line", boot) for boot in (1, 2) for number in range(20000)]
