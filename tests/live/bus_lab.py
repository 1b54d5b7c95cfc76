"""A real bus process for the live tests: ``python -m emulator.process bus``, its control channel and its events."""

import contextlib
import json
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from conformance.application import Application, Feature, Permission
from conformance.trace import Event, Trace, faults
from emulator.control import MESSAGE_BYTES_MAX, send_setup

PASSWORD = "a secret of the run"
APPLICATION = Application(
    id="goon",
    type="terminating",
    vendor="Example",
    product="GoOn",
    version="1.2.3",
    heartbeat_interval_s=1.0,
    nics=("service", "user-plane"),
    features=(
        Feature("goon.echo", "Echo", "RACS-GOON-001", True),
        Feature("goon.upper", "Upper", "RACS-GOON-002", False),
    ),
    acl=(
        Permission("subscribe", "racs/cell/+/load"),
        Permission("subscribe", "racs/app/goon/properties"),
        Permission("subscribe", "app/goon/#"),
        Permission("publish", "app/goon/#"),
    ),
)
RATES = {
    "cell_load_hz": 1.0,
    "cell_users_hz": 1.0,
    "ue_cell_hz": 0.1,
    "throughput_guidance_hz": 2.0,
    "location_hz": 0.2,
    "area_users_hz": 1.0,
}
DEADLINE_S = 20.0


class BusProcess:
    """The process under its control channel; ports by class of client, events as they came."""

    def __init__(self, channel: socket.socket, process: subprocess.Popen[bytes], ports: Mapping[str, int]) -> None:
        self.ports = ports
        self.process = process
        self._channel = channel
        self._changed = threading.Condition()
        self._events: list[Event] = []
        self._answers: dict[int, Mapping[str, Any]] = {}
        self._asked = 0
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def command(self, name: str, **arguments: Any) -> Mapping[str, Any]:
        self._asked += 1
        number = self._asked
        self._channel.send(json.dumps({"command": name, "id": number, **arguments}).encode())
        self.wait_for(lambda _: number in self._answers, f"an answer to {name}")
        return self._answers[number]

    def wait_for(self, condition: Callable[[Trace], bool], what: str) -> Trace:
        """Wait until the trace fulfils the condition."""
        deadline = time.monotonic() + DEADLINE_S
        with self._changed:
            while not condition(Trace(tuple(self._events))):
                left = deadline - time.monotonic()
                assert left > 0 and self._reader.is_alive(), f"no {what}; the last: {self._events[-5:]}"
                self._changed.wait(min(left, 1.0))
            return Trace(tuple(self._events))

    def _read(self) -> None:
        while data := self._channel.recv(MESSAGE_BYTES_MAX):
            message = json.loads(data)
            with self._changed:
                if "answer" in message:
                    self._answers[message["answer"]] = message
                else:
                    assert not faults(message["event"], message["fields"]), message
                    event = Event(message["at"], message["event"], "bus", message["fields"], len(self._events) + 1)
                    self._events.append(event)
                self._changed.notify_all()


@contextlib.contextmanager
def bus_process(mosquitto: Path, folder: Path, **changes: Any) -> Iterator[BusProcess]:
    """Start the process, end it by closing its channel; `changes` go into the configuration."""
    config = {
        "application": APPLICATION.to_json(),
        "password": PASSWORD,
        "clock": {"reference": 0.0, "at_reference": 1.7e9, "drift_ppm": 20.0},
        "seed": 7,
        "ues": [f"10.45.0.{ue + 1}" for ue in range(8)],
        "producers": RATES,
        "packet_bytes_max": 1 << 20,
        "mosquitto": str(mosquitto),
        "folder": str(folder),
        "swam_url": "",
        **changes,
    }
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    listeners = {name: _listener() for name in ("bus", "bus_probe")}
    with ours, contextlib.ExitStack() as stack:
        with theirs:
            command = [sys.executable, "-m", "emulator.process", "bus", str(theirs.fileno())]
            process = stack.enter_context(subprocess.Popen(command, pass_fds=(theirs.fileno(),)))
        send_setup(ours, config, {name: listener.fileno() for name, listener in listeners.items()})
        ports = {name: listener.getsockname()[1] for name, listener in listeners.items()}
        for listener in listeners.values():
            listener.close()
        bus = BusProcess(ours, process, ports)
        stack.callback(process.wait, DEADLINE_S)
        stack.callback(ours.shutdown, socket.SHUT_RDWR)
        bus.command("producers", factor=1.0)  # answered once the bus is up
        yield bus


def _listener() -> socket.socket:
    """A bound socket with a port that the kernel chose, bound by its number as the lab's are: it outlives an outage."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind(("127.0.0.1", port))
    return listener
