"""The message bus on the network: TCP listeners, and a guard between each of their connections and the broker.

The adapter of emulator/guard.py: streams with back-pressure, so that a client that does not read holds up itself only,
and a bounded number of connections.
"""

import asyncio
import socket
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import count

from emulator.account import Account
from emulator.broker import Streams
from emulator.guard import Action, Close, Guard, Peer, Published, ToBroker, ToClient
from emulator.service import Note

CONNECTIONS_MAX = 400  # two descriptors each, of the usual 1,024
CLOSE_DEADLINE_S = 2.0
_CHUNK_BYTES = 1 << 16

Connect = Callable[[], Awaitable[Streams]]


@dataclass(frozen=True, slots=True)
class Observer:
    """Who hears of what passes the bus: note of every event, published of every allowed publish and whose it is."""

    note: Callable[[Note], None]
    published: Callable[[str, Published], Awaitable[None]]


class Bus:
    """The bus's listeners by class of client ("app", "lab"); opened and closed as often as wanted, closed at first.

    The listeners are bound sockets that stay the caller's. While the bus is closed a client's connect is refused, as
    by a host without a broker.
    """

    def __init__(
        self, account: Account, listeners: Mapping[str, socket.socket], packet_bytes_max: int, observer: Observer
    ):
        self._account = account
        self._listeners = listeners
        self._packet_bytes_max = packet_bytes_max
        self._observer = observer
        self._numbers = count(1)
        self._servers: list[asyncio.Server] = []
        self._connections: dict[_Connection, asyncio.Task[None]] = {}
        self.failed: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def open(self, connect: Connect) -> None:
        """Accept clients, each with a connection to the broker of its own."""
        for client, listener in self._listeners.items():

            async def accepted(
                reader: asyncio.StreamReader, writer: asyncio.StreamWriter, client: str = client
            ) -> None:
                await self._accept(reader, writer, client, connect)

            self._servers.append(await asyncio.start_server(accepted, sock=listener.dup()))

    async def close(self, reason: str) -> None:
        """Refuse clients and cut those that are there; reason stands in the record."""
        for server in self._servers:
            server.close()
        self._servers.clear()
        for listener in self._listeners.values():
            _stop_listening(listener)
        for connection in tuple(self._connections):
            connection.cut(reason)
        await asyncio.gather(*self._connections.values(), return_exceptions=True)

    async def _accept(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, client: str, connect: Connect
    ) -> None:
        peer = Peer(next(self._numbers), client, writer.get_extra_info("peername")[0])
        guard = Guard(self._account, peer, self._packet_bytes_max)
        connection = _Connection(guard, peer, self._observer, reader, writer)
        if len(self._connections) >= CONNECTIONS_MAX:
            connection.cut(f"more than {CONNECTIONS_MAX} connections at once")
            return
        task = asyncio.current_task()
        assert task  # start_server runs its callback as one
        self._connections[connection] = task
        try:
            await connection.run(connect)
        except Exception as error:  # a bug of ours: whoever runs the bus has to hear of it
            if not self.failed.done():
                self.failed.set_exception(error)
        finally:
            del self._connections[connection]


class _Connection:
    """One client's connection and the broker's end of it."""

    def __init__(
        self, guard: Guard, peer: Peer, observer: Observer, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self._guard = guard
        self._peer = peer
        self._observer = observer
        self._client = reader
        self._writers: dict[type[ToClient | ToBroker], asyncio.StreamWriter] = {ToClient: writer}

    async def run(self, connect: Connect) -> None:
        try:
            broker, self._writers[ToBroker] = await connect()
        except OSError:
            return self.cut("the broker is away")
        pumps = [
            asyncio.create_task(self._pump(self._client, self._guard.from_client, "connection lost")),
            asyncio.create_task(self._pump(broker, self._guard.from_broker, "closed by the broker")),
        ]
        try:
            done, _ = await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for pump in pumps:
                pump.cancel()
            await asyncio.gather(*pumps, return_exceptions=True)
            await self._close()
        for pump in done:
            pump.result()

    def cut(self, reason: str) -> None:
        """End it now, whatever is under way."""
        for action in self._guard.close(reason, time.monotonic()):
            if isinstance(action, Note):
                self._observer.note(action)
        for writer in self._writers.values():
            writer.transport.abort()

    async def _pump(
        self, reader: asyncio.StreamReader, receive: Callable[[bytes, float], Sequence[Action]], at_end: str
    ) -> None:
        while data := await _read(reader):
            if await self._perform(receive(data, time.monotonic())):
                return
        await self._perform(self._guard.close(at_end, time.monotonic()))

    async def _perform(self, actions: Sequence[Action]) -> bool:
        """Carry out actions; True when the connection is to end."""
        ending = False
        # one write for a chunk's packets, not one for each
        out: dict[type[ToClient | ToBroker], bytearray] = {ToClient: bytearray(), ToBroker: bytearray()}
        for action in actions:
            match action:
                case ToClient() | ToBroker():
                    out[type(action)] += action.data
                case Published():
                    await self._observer.published(self._peer.client, action)
                case Close():
                    ending = True
                case Note():
                    self._observer.note(action)
        for end, data in out.items():
            if data:
                self._writers[end].write(bytes(data))
                if not ending:
                    await _drain(self._writers[end])
        return ending

    async def _close(self) -> None:
        for writer in self._writers.values():
            writer.close()
        try:
            async with asyncio.timeout(CLOSE_DEADLINE_S):
                for writer in self._writers.values():
                    await writer.wait_closed()
        except OSError:  # TimeoutError is one: it does not take the rest, or is gone
            for writer in self._writers.values():
                writer.transport.abort()


async def _read(reader: asyncio.StreamReader) -> bytes:
    """What came; nothing at the connection's end, however it ended."""
    try:
        return await reader.read(_CHUNK_BYTES)
    except OSError:
        return b""


async def _drain(writer: asyncio.StreamWriter) -> None:
    with suppress(OSError):  # lost: reading tells
        await writer.drain()


def _stop_listening(listener: socket.socket) -> None:
    """Refuse connects, the port still ours: Linux ends listening by shutdown, and listen() begins it again."""
    try:
        listener.shutdown(socket.SHUT_RDWR)
    except OSError:
        return  # it does not listen
