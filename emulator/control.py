"""The control channel between harness.testbed and an emulator process: one SEQPACKET socket, JSON messages, file
descriptors beside the first one. Commands go down, events and answers come up.

    down  {"command": NAME, "id": N, ...arguments}      up  {"answer": N, ...result} or {"answer": N, "error": TEXT}
                                                        up  {"event": KIND, "at": SECONDS, "fields": {...}}
The first message down is ``setup``; its ``sockets`` name the descriptors that come with it, in order.
"""

import asyncio
import json
import socket
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

MESSAGE_BYTES_MAX = 1 << 17
DESCRIPTORS_MAX = 64

Handler = Callable[[Mapping[str, Any]], Awaitable[Mapping[str, Any] | None]]


@dataclass(frozen=True, slots=True)
class Setup:
    """What a process is started with: its role's configuration (plain JSON) and the open sockets by name."""

    config: Mapping[str, Any]
    descriptors: Mapping[str, int]

    def socket(self, name: str) -> socket.socket:
        """The open socket of this name; the caller owns it from here."""
        return socket.socket(fileno=self.descriptors[name])


def receive_setup(channel: socket.socket) -> Setup:
    """Wait for the first message. Raises ConnectionError when the harness went away instead."""
    data, descriptors, _, _ = socket.recv_fds(channel, MESSAGE_BYTES_MAX, DESCRIPTORS_MAX)
    if not data:
        raise ConnectionError("the harness closed the control channel before set-up")
    message = json.loads(data)
    return Setup(message["config"], dict(zip(message["sockets"], descriptors, strict=True)))


def send_setup(channel: socket.socket, config: Mapping[str, Any], sockets: Mapping[str, int]) -> None:
    """The harness's side of `receive_setup`."""
    data = json.dumps({"command": "setup", "config": config, "sockets": list(sockets)}).encode()
    socket.send_fds(channel, [data], list(sockets.values()))


async def _ready(_: Mapping[str, Any]) -> None:
    pass


class Control:
    """A process's end of the channel, inside its asyncio loop.

    handlers answer commands by name: an async function of the message that returns the answer's fields. "ready" is
    answered without one: by then the process serves. `note` records an event. `closed` is set when the harness went
    away: the process ends then.
    """

    def __init__(self, channel: socket.socket, handlers: Mapping[str, Handler]) -> None:
        self._channel = channel
        self._handlers = handlers
        self._tasks: set[asyncio.Task[None]] = set()
        self.closed = asyncio.Event()
        channel.setblocking(False)

    def __enter__(self) -> "Control":
        asyncio.get_running_loop().add_reader(self._channel, self._readable)
        return self

    def __exit__(self, *_: object) -> None:
        asyncio.get_running_loop().remove_reader(self._channel)
        for task in self._tasks:
            task.cancel()

    def note(self, kind: str, at: float, fields: Mapping[str, Any]) -> None:
        """Record an event: fields are those of conformance.trace_kinds."""
        self._send({"event": kind, "at": at, "fields": fields})

    def _send(self, message: Mapping[str, Any]) -> None:
        data = json.dumps(message, default=str).encode()
        self._channel.setblocking(True)  # the harness drains all the while; an event is never thrown away
        try:
            self._channel.send(data)
        except (BrokenPipeError, ConnectionResetError):
            self.closed.set()
        finally:
            self._channel.setblocking(False)

    def _readable(self) -> None:
        try:
            data = self._channel.recv(MESSAGE_BYTES_MAX)
        except BlockingIOError:
            return
        except ConnectionResetError:
            data = b""
        if not data:
            asyncio.get_running_loop().remove_reader(self._channel)
            self.closed.set()
            return
        task = asyncio.get_running_loop().create_task(self._answer(json.loads(data)))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _answer(self, message: Mapping[str, Any]) -> None:
        try:
            handler = _ready if message["command"] == "ready" else self._handlers[message["command"]]
            result = await handler(message) or {}
        except Exception as error:  # every fault of a command is told to who asked, not lost in a task
            self._send({"answer": message["id"], "error": f"{type(error).__name__}: {error}"})
            return
        self._send({"answer": message["id"], **result})
