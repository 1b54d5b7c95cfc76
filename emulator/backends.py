"""The servers of operator and internet, a process of the emulator: echo on every port, HTTP on the web's.

Each listener has all addresses of the server networks (AnyIP), so an answer must name the address that was asked.
Config: ``{"http_ports": [80, 8080]}``. Commands: ``pause`` (connections break, new ones are refused, datagrams are
thrown away) and ``resume``.
"""

import asyncio
import socket
import struct
import time
from collections.abc import Awaitable, Callable, Mapping
from contextlib import ExitStack, suppress
from typing import Any

from emulator.control import Control, Setup
from emulator.service import IP_PKTINFO, SO_RXQ_OVFL
from emulator.webserver import WebConnection

_PKTINFO = struct.Struct("=I4s4s")  # interface, address to answer from, address asked
_DATAGRAM_BYTES = 65535
_DATAGRAMS_AT_ONCE = 64
_CHUNK_BYTES = 65536

Conversation = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Send back what comes, until the client ends its side."""
    while data := await reader.read(_CHUNK_BYTES):
        writer.write(data)
        await writer.drain()


async def serve_web(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """HTTP/1.1 until either side closes."""
    address, port = writer.get_extra_info("peername")
    connection = WebConnection(f"{address}:{port}")
    while not connection.closed and (data := await reader.read(_CHUNK_BYTES)):
        for answer in connection.receive(data):
            writer.write(answer)
            await writer.drain()


class TcpServer:
    """One listener and its connections."""

    def __init__(self, listener: socket.socket, conversation: Conversation) -> None:
        self._listener = listener
        self._conversation = conversation
        self._writers: set[asyncio.StreamWriter] = set()
        self._server: asyncio.Server | None = None

    async def resume(self) -> None:
        if self._server is None:
            self._listener.listen(1024)  # after a pause: the port that it was bound to is still its own
            self._server = await asyncio.start_server(self._converse, sock=self._listener.dup())

    async def pause(self) -> None:
        if self._server is not None:
            self._server.close()  # first: asyncio would try to accept on what no longer listens
            self._server = None
            self._listener.shutdown(socket.SHUT_RDWR)  # Linux: stops listening, so that new connections are refused
        for writer in self._writers:
            writer.transport.abort()

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        try:
            with suppress(ConnectionError):  # the client's, or a pause
                await self._conversation(reader, writer)
        finally:
            self._writers.discard(writer)
            writer.close()


class UdpEcho:
    """Sends every datagram back, from the address it came to; counts what its socket lost."""

    def __init__(self, opened: socket.socket, name: str, note: Callable[[str, float, Mapping[str, Any]], None]) -> None:
        self._socket = opened
        self._name = name
        self._note = note
        self._paused = False
        self._lost = 0
        self._since = time.monotonic()
        opened.setblocking(False)
        opened.setsockopt(socket.IPPROTO_IP, IP_PKTINFO, 1)
        opened.setsockopt(socket.SOL_SOCKET, SO_RXQ_OVFL, 1)

    async def resume(self) -> None:
        self._paused = False

    async def pause(self) -> None:
        self._paused = True

    def answer(self) -> None:
        """Drain the socket; what does not fit into its send buffer is lost, as on any server."""
        for _ in range(_DATAGRAMS_AT_ONCE):
            try:
                data, ancillary, _, client = self._socket.recvmsg(_DATAGRAM_BYTES, 256)
            except BlockingIOError:
                return
            except OSError:  # an ICMP error of an earlier answer: the client went away
                continue
            asked = self._read(ancillary)
            if asked is not None and not self._paused:
                source = (socket.IPPROTO_IP, IP_PKTINFO, _PKTINFO.pack(0, asked, bytes(4)))
                with suppress(OSError):
                    self._socket.sendmsg([data], [source], 0, client)

    def _read(self, ancillary: list[tuple[int, int, bytes]]) -> bytes | None:
        """The address that the datagram came to; loss is noted by the way."""
        asked = None
        for level, kind, value in ancillary:
            if (level, kind) == (socket.IPPROTO_IP, IP_PKTINFO):
                asked = _PKTINFO.unpack_from(value)[2]
            elif (level, kind) == (socket.SOL_SOCKET, SO_RXQ_OVFL):
                self._count(struct.unpack("=I", value)[0])
        return asked

    def _count(self, lost: int) -> None:
        begin, self._since = self._since, time.monotonic()
        if lost > self._lost:
            fields = {"where": f"backend {self._name}", "count": lost - self._lost, "begin": begin, "end": self._since}
            self._lost = lost
            self._note("drop", self._since, fields)


async def serve(setup: Setup, channel: socket.socket) -> None:
    """Serve on the listeners handed over (``tcp_PORT``, ``udp_PORT``) until the harness closes the channel."""
    web = set(setup.config["http_ports"])
    servers: list[TcpServer | UdpEcho] = []

    async def pause(_: Mapping[str, Any]) -> None:
        for server in servers:
            await server.pause()

    async def resume(_: Mapping[str, Any]) -> None:
        for server in servers:
            await server.resume()

    with ExitStack() as stack, Control(channel, {"pause": pause, "resume": resume}) as control:
        for name in setup.descriptors:
            opened = stack.enter_context(setup.socket(name))
            protocol, port = name.split("_")
            if protocol == "tcp":
                servers.append(TcpServer(opened, serve_web if int(port) in web else echo))
            else:
                server = UdpEcho(opened, name, control.note)
                asyncio.get_running_loop().add_reader(opened, server.answer)
                servers.append(server)
        await resume({})
        await control.closed.wait()
        await pause({})
