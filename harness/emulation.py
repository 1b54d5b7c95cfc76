"""The emulator's processes, seen from the harness: started before libvirt opens, commanded and listened to over one
SEQPACKET socket each (emulator/control.py)."""

import json
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from conformance.errors import BrokenLab, EnvironmentFault
from emulator.control import MESSAGE_BYTES_MAX, send_setup

ANSWER_DEADLINE_S = 15.0
STOP_DEADLINE_S = 1.0

OnEvent = Callable[[str, str, float, Mapping[str, Any]], None]
"""(role, kind, at, fields) of every event that a process sends up, called in that process's reader thread."""


class EmulatorProcess:
    """One process of the emulator. ``with`` starts it, `await_ready` waits until it serves; the end ends it.

    on_event gets the events; when the process ends by itself, a ``process-died`` event.
    """

    def __init__(self, role: str, config: Mapping[str, Any], sockets: Mapping[str, int], log: Path, on_event: OnEvent):
        self.role = role
        self._config = config
        self._sockets = sockets
        self._log = log
        self._on_event = on_event
        self._answers: dict[int, Mapping[str, Any]] = {}
        self._changed = threading.Condition()
        self._ending = False
        self._gone = False
        self._number = 0

    def __enter__(self) -> "EmulatorProcess":
        self._channel, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._channel.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, MESSAGE_BYTES_MAX * 2)
        theirs.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, MESSAGE_BYTES_MAX * 2)
        with theirs, self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "emulator.process", self.role, str(theirs.fileno())],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        send_setup(self._channel, self._config, self._sockets)
        self._reader = threading.Thread(target=self._read, name=f"emulator-{self.role}", daemon=True)
        self._reader.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ending = True
        self._channel.shutdown(socket.SHUT_RDWR)
        try:
            self._process.wait(STOP_DEADLINE_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._reader.join()
        self._channel.close()

    @property
    def pid(self) -> int:
        return self._process.pid

    def await_ready(self) -> None:
        """Wait until the process serves what it is there for. Raises as `command` does."""
        self.command("ready")

    def command(self, command: str, **arguments: object) -> Mapping[str, Any]:
        """Send a command and wait for its answer.

        Raises EnvironmentFault when the process has died or does not answer, BrokenLab when it refuses.
        """
        with self._changed:
            self._number += 1
            number = self._number
        message = json.dumps({"command": command, "id": number, **arguments}).encode()
        try:
            self._channel.send(message)
        except OSError as error:
            raise EnvironmentFault(
                f"the emulator's {self.role} process is gone ({error}); see {self._log.name}"
            ) from error
        deadline = time.monotonic() + ANSWER_DEADLINE_S
        with self._changed:
            answered = self._changed.wait_for(
                lambda: number in self._answers or self._gone, deadline - time.monotonic()
            )
            answer = self._answers.pop(number, None)
        if answer is None:
            state = "is gone" if answered else f"did not answer {command!r} in {ANSWER_DEADLINE_S:g} s"
            raise EnvironmentFault(f"the emulator's {self.role} process {state}; see {self._log.name}")
        if "error" in answer:
            raise BrokenLab(f"{self.role}: {command}: {answer['error']}")
        return answer

    def _read(self) -> None:
        while True:
            try:
                data = self._channel.recv(MESSAGE_BYTES_MAX)
            except OSError:
                data = b""
            if not data:
                break
            message = json.loads(data)
            if "answer" in message:
                with self._changed:
                    self._answers[message["answer"]] = message
                    self._changed.notify_all()
            else:
                self._on_event(
                    self.role, message["event"], float(message.get("at", time.monotonic())), message["fields"]
                )
        with self._changed:
            self._gone = True
            self._changed.notify_all()
        if not self._ending:
            status = self._process.wait()
            fields = {"process": f"emulator.{self.role}", "status": status}
            self._on_event(self.role, "process-died", time.monotonic(), fields)
