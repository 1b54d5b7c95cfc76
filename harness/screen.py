"""Lines for people, on streams whose reader may go away at any time."""

import errno
import os
import stat
from typing import TextIO


def show(text: str, stream: TextIO) -> None:
    """Print a line at once. A reader that has gone (`| head -1`, a closed terminal) gets no more; what the caller does
    goes on."""
    try:
        print(text, file=stream, flush=True)
    except OSError as error:
        if not _has_no_reader(stream, error):
            raise
        silence(stream)


def _has_no_reader(stream: TextIO, error: OSError) -> bool:
    """EIO is a terminal that was closed (tty(4)), or else a file's disk."""
    hung_up = error.errno == errno.EIO and stat.S_ISCHR(os.fstat(stream.fileno()).st_mode)
    return isinstance(error, BrokenPipeError) or hung_up


def silence(stream: TextIO) -> None:
    """Throw away what a stream still holds and what comes: Python would complain about it when it ends."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, stream.fileno())
    os.close(nowhere)
    stream.flush()  # now: whoever put the stream aside may put it back before Python's end
