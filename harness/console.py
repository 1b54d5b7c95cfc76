"""The serial console: QEMU appends to a file, which is kept whole as evidence; this follows it line by line."""

import ctypes
import os
import select
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

Note = Callable[[str, float, Mapping[str, Any]], None]

LINE_CHARACTERS_MAX = 4096  # of the trace's console-line; longer lines come in pieces
_READ_BYTES = 65536
_IN_MODIFY, _IN_NONBLOCK, _IN_CLOEXEC = 0x2, 0o4000, 0o2000000  # <sys/inotify.h>


class LineCutter:
    """Cuts a byte stream into lines of text: ends at line feed, carriage returns before it and undecodable bytes go.

    No byte is lost: a line longer than the limit comes in pieces, `rest` gives what no line end has closed yet.
    """

    def __init__(self) -> None:
        self._open = b""

    def feed(self, data: bytes) -> list[str]:
        *whole, self._open = (self._open + data).split(b"\n")
        lines = [piece for line in whole for piece in _pieces(line)]
        while len(self._open) > LINE_CHARACTERS_MAX:
            lines.append(_text(self._open[:LINE_CHARACTERS_MAX]))
            self._open = self._open[LINE_CHARACTERS_MAX:]
        return lines

    def rest(self) -> list[str]:
        line, self._open = self._open, b""
        return _pieces(line) if line else []


def _pieces(line: bytes) -> list[str]:
    line = line.rstrip(b"\r")
    cuts = range(0, max(len(line), 1), LINE_CHARACTERS_MAX)
    return [_text(line[cut : cut + LINE_CHARACTERS_MAX]) for cut in cuts]


def _text(data: bytes) -> str:
    return data.decode(errors="replace")


class Console:
    """Follows ``path`` while the ``with`` block lasts and notes each line as ``console-line`` within milliseconds.

    A thread waits on inotify. Call `begin_boot` when the guest starts or was reset: what is in the file by then belongs
    to the boot before. note is called from that thread. At the end of the block the file has been read to its end.
    """

    def __init__(self, path: Path, note: Note) -> None:
        self._path = path
        self._note = note
        self._cutter = LineCutter()
        self._boot = 0
        self._offset = 0
        self._boot_offset = 0
        self._boundaries: list[tuple[int, int]] = []  # (file offset, boot that begins there), ascending
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self._follow, name="console", daemon=True)

    def __enter__(self) -> "Console":
        self._file = os.open(self._path, os.O_RDONLY | os.O_CREAT | os.O_CLOEXEC, 0o644)
        self._offset = os.lseek(self._file, 0, os.SEEK_END)
        self._inotify = _watch(self._path)
        self._stop_reading, self._stop_writing = os.pipe()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._stop_writing)
        self._thread.join()
        for descriptor in (self._file, self._inotify, self._stop_reading):
            os.close(descriptor)

    def begin_boot(self, boot: int) -> None:
        """From the file's present end on, lines belong to this boot."""
        with self._lock:
            self._boot_offset = os.fstat(self._file).st_size
            self._boundaries.append((self._boot_offset, boot))

    def wrote_since_boot(self) -> bool:
        """Whether the guest has written anything since the last `begin_boot`."""
        return os.fstat(self._file).st_size > self._boot_offset

    def _follow(self) -> None:
        poll = select.poll()
        poll.register(self._inotify, select.POLLIN)
        poll.register(self._stop_reading, select.POLLIN | select.POLLHUP)
        while not any(descriptor == self._stop_reading for descriptor, _ in poll.poll()):
            os.read(self._inotify, _READ_BYTES)  # only says that there is more
            self._drain()
        self._drain()
        self._hand(self._cutter.rest())

    def _drain(self) -> None:
        while True:
            with self._lock:  # over both: a boot that begins in between would be read past
                boundary = self._boundaries[0] if self._boundaries else None
                due = boundary is not None and boundary[0] <= self._offset
                wanted = min(_READ_BYTES, boundary[0] - self._offset) if boundary else _READ_BYTES
                data = b"" if due else os.pread(self._file, wanted, self._offset)
                if due:
                    self._boundaries.pop(0)
            if boundary and due:
                self._hand(self._cutter.rest())  # a line that the reset cut off
                self._boot = boundary[1]
            elif not data:
                return
            self._offset += len(data)
            self._hand(self._cutter.feed(data))

    def _hand(self, lines: list[str]) -> None:
        at = time.monotonic()
        for text in lines:
            self._note("console-line", at, {"text": text, "boot": self._boot})


def _watch(path: Path) -> int:
    """An inotify descriptor that becomes readable when the file was written to (inotify(7); Python has no binding)."""
    libc = ctypes.CDLL(None, use_errno=True)
    descriptor = int(libc.inotify_init1(_IN_NONBLOCK | _IN_CLOEXEC))
    if descriptor < 0 or libc.inotify_add_watch(descriptor, os.fsencode(path), _IN_MODIFY) < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), str(path))
    return descriptor
