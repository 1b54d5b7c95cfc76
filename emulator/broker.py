"""mosquitto behind the guard: its process, and the platform's own connection to it.

The broker listens on a socket in a folder of its own and nowhere else: whoever reaches it there is the platform, which
may do all. Clients reach it through the guard only (emulator/bus.py).
"""

import asyncio
import os
import secrets
import shutil
import socket
from collections import deque
from contextlib import AsyncExitStack
from pathlib import Path

from conformance.errors import EnvironmentFault
from emulator import mqttpackets
from emulator.publication import Publication

START_DEADLINE_S = 10.0
STOP_DEADLINE_S = 3.0
CONNECT_DEADLINE_S = 5.0
_BACKLOG_PAUSE_S = 0.01
_SOCKET = "bus.sock"
# `user root` keeps mosquitto from looking for a user of its own. Without max_queued_messages 0: with it 2.0.11 cuts
# clients. No $SYS topics: nobody of the contract's world may read them.
_CONFIGURATION = """\
listener 0 {socket}
allow_anonymous true
persistence false
user root
sys_interval 0
max_packet_size {packet_bytes_max}
log_dest stderr
log_type error
log_type warning
log_type notice
log_type information
connection_messages false
"""


def socket_path(folder: Path) -> Path:
    """Where the broker of a folder listens while it runs."""
    return folder / "broker" / _SOCKET


Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class Broker:
    """A mosquitto process, from ``async with`` to its end; it dies with this process however that ends.

    folder is the caller's: there, and nowhere else, the broker keeps what it needs, no longer than the with-block.
    Entering raises EnvironmentFault with the broker's own words when it does not come up.
    """

    def __init__(self, binary: Path, folder: Path, packet_bytes_max: int) -> None:
        self._binary = binary
        self._folder = folder / "broker"
        self._packet_bytes_max = packet_bytes_max
        self._words: deque[str] = deque(maxlen=20)

    async def __aenter__(self) -> "Broker":
        async with AsyncExitStack() as stack:
            self._folder.mkdir(mode=0o700)
            stack.callback(shutil.rmtree, self._folder)
            self._descriptor = os.open(self._folder, os.O_PATH | os.O_DIRECTORY)
            stack.callback(os.close, self._descriptor)
            text = _CONFIGURATION.format(socket=_SOCKET, packet_bytes_max=self._packet_bytes_max)
            (self._folder / "mosquitto.conf").write_text(text)
            await self._start()
            stack.push_async_callback(self._stop)
            await self._wait_until_it_runs()
            self._reader = asyncio.create_task(self._read_on())
            self._stack = stack.pop_all()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stack.aclose()
        await self._reader

    async def connect(self) -> Streams:
        """A connection to the broker. Raises OSError when it cannot be had, TimeoutError included."""
        # by this path, as a socket's has 108 bytes at most (unix(7)) and the folder may be deep
        path = f"/proc/self/fd/{self._descriptor}/{_SOCKET}"
        connection = socket.socket(socket.AF_UNIX)
        try:
            connection.setblocking(False)
            async with asyncio.timeout(CONNECT_DEADLINE_S):
                while not _connected(connection, path):
                    await asyncio.sleep(_BACKLOG_PAUSE_S)
            return await asyncio.open_unix_connection(sock=connection)
        except BaseException:
            connection.close()
            raise

    async def ended(self) -> int:
        """Wait until the process ended; its exit status, negative for a signal."""
        return await self._process.wait()

    @property
    def last_words(self) -> str:
        return " | ".join(self._words)

    async def _start(self) -> None:
        command = ("setpriv", "--pdeathsig", "KILL", "--", str(self._binary.absolute()), "-c", "mosquitto.conf")
        try:
            self._process = await asyncio.create_subprocess_exec(
                *command,
                cwd=self._folder,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.DEVNULL,
                stderr=asyncio.subprocess.PIPE,
            )
        except OSError as error:
            raise EnvironmentFault(f"the broker cannot be started: {error}") from error

    async def _stop(self) -> None:
        if self._process.returncode is not None:
            return
        self._process.terminate()
        try:
            async with asyncio.timeout(STOP_DEADLINE_S):
                await self._process.wait()
        except TimeoutError:
            self._process.kill()
            await self._process.wait()

    async def _wait_until_it_runs(self) -> None:
        try:
            async with asyncio.timeout(START_DEADLINE_S):
                while line := await self._read_line():
                    if line.endswith(" running"):
                        return
        except TimeoutError:
            why = f"was not up after {START_DEADLINE_S:g} s"
        else:
            why = f"ended with status {await self._process.wait()}"
        raise EnvironmentFault(f"the broker {why}: {self.last_words}")

    async def _read_line(self) -> str:
        assert self._process.stderr  # it was asked for
        line = (await self._process.stderr.readline()).decode(errors="replace")
        self._words.append(line.strip())
        return line.rstrip()

    async def _read_on(self) -> None:
        while await self._read_line():
            pass


def _connected(connection: socket.socket, path: str) -> bool:
    """False while the broker's backlog is full: Linux says EAGAIN then, which asyncio takes for a connect under way."""
    try:
        connection.connect(path)
    except BlockingIOError:
        return False
    return True


class Publisher:
    """The platform's own connection to the broker: publishes with QoS 0, from ``async with`` to its end."""

    def __init__(self, broker: Broker) -> None:
        self._broker = broker

    async def __aenter__(self) -> "Publisher":
        reader, self._writer = await self._broker.connect()
        # a name that no app can hit: a client that takes another's identifier ends its connection
        self._writer.write(mqttpackets.connect(f"racs-{secrets.token_hex(8)}"))
        answer = await reader.readexactly(4)
        if answer != mqttpackets.CONNECTED:
            raise EnvironmentFault(f"the broker refused the platform's own connection: {answer.hex()}")
        return self

    async def __aexit__(self, *_: object) -> None:
        self._writer.close()

    async def publish(self, publication: Publication) -> None:
        """Hand a message to the broker. Raises ConnectionError when it went away."""
        self._writer.write(mqttpackets.publish(publication.topic, publication.payload, publication.retain))
        await self._writer.drain()
