"""Lines for people, on streams whose reader may go away at any time."""

import os
from typing import TextIO


def show(text: str, stream: TextIO) -> None:
    """Print a line at once. A reader that has gone (`| head -1`) gets no more; what the caller does goes on."""
    try:
        print(text, file=stream, flush=True)
    except BrokenPipeError:
        silence(stream)


def silence(stream: TextIO) -> None:
    """Throw away what a stream still holds and what comes: Python would complain about it when it ends."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, stream.fileno())
    os.close(nowhere)
    stream.flush()  # now: whoever put the stream aside may put it back before Python's end
