"""The chronicle of a run: its situations and steps, as the trace keeps and the report shows them."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from conformance.certification import Step
from conformance.trace import Trace
from conformance.verdict import Span
from harness.lab import Lab


class Recorded:
    """A situation's stretch of the trace, there when its block has ended."""

    trace: Trace


class Chronicle:
    """Names what is done. say gets a line of progress for each step; begin is when the situation under way began."""

    def __init__(self, lab: Lab, say: Callable[[str], None]) -> None:
        self._lab = lab
        self._say = say
        self._situation = ""
        self.begin = 0.0
        self.steps: tuple[Step, ...] = ()

    @contextmanager
    def recording(self, name: str, since: Trace | None = None) -> Iterator[Recorded]:
        """A named situation: its stretch of the trace is there when the block has ended.

        since makes it begin with an earlier stretch.
        """
        recorded, watch = Recorded(), self._lab.watch
        self._situation, self.begin = name, time.monotonic()
        watch.note("situation-begin", self.begin, "harness", {"name": name})
        try:
            yield recorded
        finally:
            end = time.monotonic()
            watch.note("situation-end", end, "harness", {"name": name})
            self._situation = ""
        first = since.span.begin if since and since.span else self.begin
        recorded.trace = self._lab.trace().within(Span(first, end))

    @contextmanager
    def step(self, keyword: str, *arguments: object) -> Iterator[list[str]]:
        """A step of the report: keyword, arguments, time, outcome; the block may add what it saw to the arguments."""
        begin, texts, outcome = time.monotonic(), [str(argument) for argument in arguments], "ok"
        self._say(" ".join([keyword, *texts]))
        try:
            yield texts
        except BaseException as error:
            outcome = str(error) or type(error).__name__
            raise
        finally:
            end = time.monotonic()
            fields = {"keyword": keyword, "arguments": texts, "begin": begin, "end": end, "outcome": outcome}
            self._lab.watch.note("step", end, "harness", fields)
            self.steps += (Step(self._situation, keyword, tuple(texts), begin, end, outcome),)
