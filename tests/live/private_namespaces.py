"""Runs a test in a child with private network and mount namespaces and a /run of its own, as the lab has them."""

import ctypes
import functools
import os
import signal
import tempfile
import traceback
from collections.abc import Callable
from typing import ParamSpec

import pytest

_CLONE_NEWNS, _CLONE_NEWNET = 0x00020000, 0x40000000
_MS_REC, _MS_PRIVATE = 16384, 1 << 18
_DEADLINE_S = 120

P = ParamSpec("P")


def privately(test: Callable[P, None]) -> Callable[P, None]:
    """The test, in a forked child; its failure is this one's, with its traceback."""

    @functools.wraps(test)
    def run(*args: P.args, **kwargs: P.kwargs) -> None:
        with tempfile.TemporaryFile("w+") as said:
            child = os.fork()
            if child == 0:
                signal.alarm(_DEADLINE_S)
                status = 1
                try:
                    _enter()
                    test(*args, **kwargs)
                    status = 0
                except BaseException:
                    traceback.print_exc(file=said)
                    said.flush()
                finally:
                    os._exit(status)
            _, result = os.waitpid(child, 0)
            if result != 0:
                said.seek(0)
                pytest.fail(said.read() or f"the child ended with {os.waitstatus_to_exitcode(result)}", pytrace=False)

    return run


def _enter() -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    for result in (
        libc.unshare(_CLONE_NEWNS | _CLONE_NEWNET),
        libc.mount(b"none", b"/", b"", ctypes.c_ulong(_MS_REC | _MS_PRIVATE), None),
        libc.mount(b"tmpfs", b"/run", b"tmpfs", ctypes.c_ulong(0), None),
    ):
        if result != 0:
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
