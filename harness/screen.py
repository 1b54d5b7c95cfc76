"""Lines for people, on streams whose reader may go away at any time."""

import errno
import os
import stat
import sys
from typing import TextIO


def show(text: str, stream: TextIO) -> None:
    """Print a line at once. A reader that has gone (`| head -1`, a closed terminal) gets no more; what the caller does
    goes on."""
    try:
        print(text, file=stream, flush=True)
    except OSError as error:
        if not _has_no_reader(stream, error):
            raise OSError(error.errno, error.strerror, stream.name) from error
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


def complain(text: str) -> None:
    """Tell what is in the way of a command, on standard error."""
    show(plain_lines(f"racs: {text}"), sys.stderr)


def plain(text: str) -> str:
    """A text that others chose, names of files too, on one line and without what a terminal would obey: what is not
    printable is escaped as Python writes it."""
    if text.isprintable():
        return text
    return "".join(one if one.isprintable() else one.encode("unicode_escape").decode("ascii") for one in text)


def plain_lines(text: str) -> str:
    """The same of a text that has lines."""
    return "\n".join(map(plain, text.split("\n")))


def is_coloured(stream: TextIO) -> bool:
    """Whether colours are wanted there: on a terminal, unless NO_COLOR says otherwise (no-color.org)."""
    return stream.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def columns(stream: TextIO) -> int:
    """How wide a terminal is; 0 for what is none, or does not say."""
    return os.get_terminal_size(stream.fileno()).columns if stream.isatty() else 0
