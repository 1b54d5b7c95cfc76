"""A SHA-256 on a second core: a package and its image are digested at once in the time of one of them.

hashlib lets go of the interpreter while it digests a large part, so that a thread is enough.
"""

import hashlib
import os
import threading
from contextlib import AbstractContextManager, nullcontext
from queue import SimpleQueue
from types import TracebackType

from conformance.package.archive import Digest

_SMALL = 1 << 16  # bytes; below it a thread takes longer to be told than the digest takes


def cores() -> int:
    """How many cores this process may use."""
    return len(os.sched_getaffinity(0))


def whole_digest(processes: int = 1) -> AbstractContextManager[Digest]:
    """A SHA-256 for the whole of a package, on a core of its own where so many processes of ours leave one."""
    return BesideDigest() if cores() >= 2 * processes else nullcontext(hashlib.sha256())


class BesideDigest:
    """A SHA-256 that a thread of its own takes, one part at a time: `with` starts and ends the thread.

    A part is read until the next one is given, or the value asked for; both wait for the thread.
    """

    def __init__(self) -> None:
        self._digest = hashlib.sha256()
        self._parts: SimpleQueue[memoryview | None] = SimpleQueue()
        self._done: SimpleQueue[None] = SimpleQueue()
        self._busy = False
        # a daemon: whoever is interrupted before `with` is left waits for no thread at the interpreter's end
        self._thread = threading.Thread(target=self._run, name="digest", daemon=True)

    def __enter__(self) -> "BesideDigest":
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._parts.put(None)
        self._thread.join()

    def update(self, part: memoryview) -> None:
        self._wait()
        if len(part) < _SMALL:
            self._digest.update(part)
            return
        self._busy = True
        self._parts.put(part)

    def hexdigest(self) -> str:
        self._wait()
        return self._digest.hexdigest()

    def _wait(self) -> None:
        if self._busy:
            self._done.get()
            self._busy = False

    def _run(self) -> None:
        while (part := self._parts.get()) is not None:
            self._digest.update(part)
            self._done.put(None)
