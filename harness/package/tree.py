"""A tree of lines, as `racs inspect` prints it: to the width of a terminal, and as it comes into a file or a pipe."""

import textwrap
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TextIO

from harness.screen import columns, is_coloured, plain

_TEXT_COLUMNS_MIN = 24  # a tree deeper than the terminal is wide is cut by the terminal


@dataclass(frozen=True, slots=True)
class Node:
    """A line of the tree and what hangs on it; wrong lines are red on a terminal."""

    text: str
    branches: "Sequence[Node]" = ()
    wrong: bool = False


@dataclass(frozen=True, slots=True)
class _Strokes:
    """What lines begin with: a branch, the last one, what is beside a branch's own, and beside the last one's."""

    branch: str
    last: str
    beside: str
    nothing: str = "   "


_DRAWN = _Strokes("├─ ", "└─ ", "│  ")
_TYPED = _Strokes("|- ", "`- ", "|  ")  # where the locale has no others


def align(rows: Iterable[Sequence[str]]) -> list[str]:
    """Each row as a line, its cells below those of the others."""
    table = list(rows)
    widths = [max(map(len, cells)) for cells in zip(*table, strict=True)]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in table]


def amount(size: int) -> str:
    """Bytes for people: the exact number where it is small, else in the unit that fits."""
    for unit, name in ((2**30, "GiB"), (2**20, "MiB"), (2**10, "KiB")):
        if size >= unit:
            return f"{size / unit:.4g} {name}"
    return f"{size} bytes"


def draw(node: Node, stream: TextIO) -> str:
    """The tree's lines, fit for a stream."""
    try:
        _DRAWN.branch.encode(stream.encoding)
        strokes = _DRAWN
    except UnicodeEncodeError:
        strokes = _TYPED
    return "\n".join(_lines(node, strokes, is_coloured(stream), columns(stream)))


def _lines(node: Node, strokes: _Strokes, colour: bool, width: int) -> Iterator[str]:
    """width is what is left of the stream's columns, 0 where they have no end."""
    hanging = strokes.beside if node.branches else strokes.nothing
    for number, line in enumerate(_fold(plain(node.text), width, hanging)):
        begin, text = ("", line) if not number else (hanging, line.removeprefix(hanging))
        yield begin + (f"\x1b[31m{text}\x1b[0m" if colour and node.wrong else text)
    left = max(width - len(strokes.branch), _TEXT_COLUMNS_MIN) if width else 0
    for branch in node.branches:
        last = branch is node.branches[-1]
        first, *rest = _lines(branch, strokes, colour, left)
        yield (strokes.last if last else strokes.branch) + first
        yield from ((strokes.nothing if last else strokes.beside) + line for line in rest)


def _fold(text: str, width: int, hanging: str) -> list[str]:
    if not width or len(text) <= width:
        return [text]
    return textwrap.wrap(text, width, subsequent_indent=hanging, break_on_hyphens=False, drop_whitespace=True)
