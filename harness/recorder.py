"""The recorder: every event of a run as a line of trace.jsonl, every captured packet in a pcapng file beside it.

What is on disk is whole up to the last event, also after SIGKILL: each line is written at once.
"""

import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from errno import ENOSPC
from pathlib import Path
from typing import Any

from conformance import capture
from conformance.errors import BrokenLab, EnvironmentFault, SubjectError, UsageError
from conformance.trace import Capture, Event, Trace, faults
from emulator.control import MESSAGE_BYTES_MAX, send_setup

TRACE_FILE = "trace.jsonl"
_ANSWER_S = 20.0  # a starved host may be slow; a capture process that says nothing for so long is lost


class Recorder:
    """Writes a run's evidence into a folder, inside a with-block; for use by any thread.

    `note` records an event, `start_captures` the packets, `trace` is all of it so far. Raises UsageError where the
    folder cannot be written.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._events: list[Event] = []
        self._lock = threading.Lock()
        self._file = -1
        self._captures: CaptureProcess | None = None
        self._lost: dict[str, int] = {}
        self._flushed_at = 0.0

    def __enter__(self) -> "Recorder":
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC
            self._file = os.open(self._folder / TRACE_FILE, flags, 0o644)
        except OSError as error:
            raise UsageError(f"{self._folder}: evidence cannot be written: {error.strerror}") from error
        return self

    def __exit__(self, *_: object) -> None:
        if self._captures is not None:
            self._captures.close()
            self._captures = None
        os.close(self._file)
        self._file = -1

    def note(self, kind: str, at: float, source: str, fields: Mapping[str, Any]) -> Event:
        """Record an event: at is monotonic seconds, fields are exactly those of conformance.trace_kinds."""
        problem = faults(kind, fields)
        if problem:
            raise ValueError(problem)
        with self._lock:
            event = Event(at, kind, source, dict(fields), len(self._events) + 1)
            line = (event.to_json() + "\n").encode(errors="replace")
            try:
                if os.write(self._file, line) < len(line):
                    raise OSError(ENOSPC, os.strerror(ENOSPC))
            except OSError as error:
                raise UsageError(f"{self._folder / TRACE_FILE}: {error.strerror}; make room and run again") from error
            self._events.append(event)
        return event

    def note_clocks(self, process: str) -> None:
        """Record this instant on both clocks of the host, as `process` reads them."""
        now = time.monotonic()
        self.note("clock-pair", now, "recorder", {"process": process, "realtime_minus_monotonic": time.time() - now})

    def start_captures(self, sockets: Mapping[str, int], links: Mapping[str, str], bytes_max: int) -> None:
        """Capture interfaces from now on: sockets are AF_PACKET descriptors by interface, links its link type.

        bytes_max bounds all files together; what comes after it counts as dropped, and `flush` says so.
        """
        files = {name: self._folder / f"{name}.pcapng" for name in sockets}
        self._captures = CaptureProcess(files, links)
        self._captures.start(sockets, bytes_max)
        self._flushed_at = time.monotonic()
        for name, path in files.items():
            self.note("capture", self._flushed_at, "recorder", {"interface": name, "file": path.name})
        self.note_clocks("capture")

    def flush(self) -> None:
        """Everything that crossed a captured interface before this call is in its file after it.

        Packets lost since the last call become ``drop`` events. Raises EnvironmentFault when the capture process died.
        """
        if self._captures is None:
            return
        try:
            losses = self._captures.flush()
        except EnvironmentFault:
            status = self._captures.close()
            self._captures = None
            self.note("process-died", time.monotonic(), "recorder", {"process": "capture", "status": status})
            raise
        begin, self._flushed_at = self._flushed_at, time.monotonic()
        for where, count in losses.items():
            if count > self._lost.get(where, 0):
                fresh = {"where": where, "count": count - self._lost.get(where, 0)}
                self._lost[where] = count
                self.note("drop", self._flushed_at, "recorder", {**fresh, "begin": begin, "end": self._flushed_at})

    def trace(self) -> Trace:
        """All that was recorded so far, captures flushed and loaded."""
        self.flush()
        with self._lock:
            events = tuple(self._events)
        return Trace(events, load_captures(self._folder, events))


def load_captures(folder: Path, events: tuple[Event, ...]) -> Mapping[str, Capture]:
    """The captures that ``capture`` events name, by interface. Raises BrokenLab on a file that is none: it is ours."""
    found = {}
    for event in events:
        if event.kind == "capture":
            try:
                found[event["interface"]] = capture.decode((folder / event["file"]).read_bytes())
            except SubjectError as error:
                raise BrokenLab(f"{event['file']}: {error}") from error
    return found


class CaptureProcess:
    """The harness's side of harness/capture.py."""

    def __init__(self, files: Mapping[str, Path], links: Mapping[str, str]) -> None:
        self._files = {name: [str(path), links[name]] for name, path in files.items()}
        self._lock = threading.Lock()
        self._asked = 0
        self._channel: socket.socket | None = None
        self._process: subprocess.Popen[bytes] | None = None

    def start(self, sockets: Mapping[str, int], bytes_max: int) -> None:
        """Returns when the rings are filling. Raises EnvironmentFault when the process does not come up."""
        self._channel, far = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._channel.settimeout(_ANSWER_S)
        with far:
            command = [sys.executable, "-m", "harness.capture", str(far.fileno())]
            self._process = subprocess.Popen(command, pass_fds=(far.fileno(),), stdin=subprocess.DEVNULL)
        send_setup(self._channel, {"files": self._files, "bytes_max": bytes_max}, sockets)
        try:
            self._receive()
        except EnvironmentFault:
            self.close()
            raise

    def flush(self) -> Mapping[str, int]:
        """Packets lost since the beginning, by what lost them, in words."""
        with self._lock:
            self._asked += 1
            assert self._channel is not None
            try:
                self._channel.send(json.dumps({"command": "flush", "id": self._asked}).encode())
            except OSError as error:
                raise EnvironmentFault(f"the capture process is gone: {error.strerror}") from error
            answer = self._receive()
        losses = {f"capture of {name}": count for name, count in answer["drops"].items()}
        full = "no room left: evidence.bytes_max or the disk"
        return losses | {f"capture of {name} ({full})": count for name, count in answer["unwritten"].items()}

    def close(self) -> int:
        """End the process after a last flush of its own; its exit status."""
        assert self._channel is not None and self._process is not None
        self._channel.close()
        try:
            return self._process.wait(_ANSWER_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            return self._process.wait()

    def _receive(self) -> Mapping[str, Any]:
        assert self._channel is not None
        try:
            data = self._channel.recv(MESSAGE_BYTES_MAX)
        except OSError as error:
            raise EnvironmentFault(f"the capture process does not answer: {error}") from error
        if not data:
            raise EnvironmentFault("the capture process ended by itself")
        answer: Mapping[str, Any] = json.loads(data)
        return answer
