"""Where `racs` begins: what has to hold before anything of size is imported."""

import io
import os
import sys

from conformance.exitstatus import ExitStatus

INTERRUPTED = ExitStatus.INTERRUPTED


def main() -> None:
    """Run the command line. A Ctrl-C that comes this early ends it as a later one does, without a traceback."""
    try:
        from harness.interrupts import as_ctrl_c

        as_ctrl_c()
        open_standard_streams()
        from harness.cli import main

        main()
    except KeyboardInterrupt:
        os._exit(INTERRUPTED)


def open_standard_streams() -> None:
    """Have standard input, output and error, if need be on /dev/null: whoever closed one wants nothing of it, and files
    that are opened later must not take its number. What their locale has no signs for is escaped."""
    for number, name, mode in ((0, "stdin", "r"), (1, "stdout", "w"), (2, "stderr", "w")):
        try:
            os.fstat(number)
        except OSError:
            nowhere = os.open(os.devnull, os.O_RDWR)
            if nowhere != number:
                os.dup2(nowhere, number)
                os.close(nowhere)
            os.set_inheritable(number, True)
            stream = open(number, mode, closefd=False, encoding="utf-8")  # noqa: SIM115  # for as long as we run
            setattr(sys, name, stream)
    for said in (sys.stdout, sys.stderr):
        assert isinstance(said, io.TextIOWrapper)
        said.reconfigure(errors="backslashreplace")
