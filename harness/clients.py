"""Test traffic from UEs, outside, the internet and the platform: each exchange is one `Flow` of the trace.

Sockets are real ones of the kernel, made in the namespace of who speaks. What a flow proves is judged from captures;
a flow says what the client itself sent and got.
"""

import dataclasses
import hashlib
import http.client
import io
import random
import selectors
import socket
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Literal, TypeVar

from conformance.application import Service
from harness.conversation import ANSWER_BYTES, CHUNK_BYTES, Conversation, Exchange, Flow, Origin
from harness.network import Network

_IP_RECVERR = 11  # linux/in.h: ICMP errors reach a datagram socket that is not connected
_CLIENT_FIELD = "X-Client"  # how the lab's web server names whom it saw

T = TypeVar("T")
Protocol = Literal["udp", "tcp"]


class Clients:
    """Makes flows in a network and records each when it has ended. Methods may be called from several threads at once.

    note is `Recorder.note`; seed and a flow's name give its payload.
    """

    def __init__(
        self, network: Network, note: Callable[[str, float, str, Mapping[str, Any]], object], seed: int
    ) -> None:
        self._network = network
        self._note = note
        self._seed = seed

    def ue(self, number: int) -> Origin:
        topology = self._network.topology
        return Origin("ue", topology.ue_namespace(number), topology.ue_address(number))

    def outside(self) -> Origin:
        return Origin("outside", "outside", self._network.topology.outside_client)

    def internet(self, address: str) -> Origin:
        """A host of the internet or of the operator's backends, with any address of theirs."""
        return Origin("internet", "sgi", address)

    def platform(self) -> Origin:
        return Origin("platform", "racs", self._network.topology.platform)

    def udp_echo(self, exchange: Exchange, sizes: Sequence[int], echoed: Callable[[bytes], bytes] = bytes) -> Flow:
        """A datagram of each size, sent when the one before was answered; echoed is what the server makes of it."""

        def converse(talk: Conversation) -> None:
            payloads = [self._payload(f"{exchange.name} {number}", size) for number, size in enumerate(sizes)]
            talk.expected_sha256 = hashlib.sha256(b"".join(map(echoed, payloads))).hexdigest()
            for payload in payloads:
                talk.ask(payload)

        return self._run("udp-echo", "udp", exchange, converse)

    def tcp_echo(self, exchange: Exchange, count: int, echoed: Callable[[bytes], bytes] = bytes) -> Flow:
        """A stream of count bytes, written while its echo is read; complete when as many bytes have come back."""

        def converse(talk: Conversation) -> None:
            payload = self._payload(exchange.name, count)
            talk.expected_sha256 = hashlib.sha256(echoed(payload)).hexdigest()
            talk.connect()
            _stream(talk, payload)

        return self._run("tcp-echo", "tcp", exchange, converse)

    def http_get(self, exchange: Exchange, path: str, body_sha256: str = "", host: str = "") -> Flow:
        """A GET over a connection of its own; complete when a status below 500 and the whole body came.

        What counts as received is the body.
        """

        def converse(talk: Conversation) -> None:
            talk.expected_sha256 = body_sha256
            talk.connect()
            name = host or f"{exchange.address}:{exchange.port}"
            talk.send(f"GET {path} HTTP/1.1\r\nHost: {name}\r\nConnection: close\r\n\r\n".encode("ascii"))
            _read_response(talk)

        return self._run("http", "tcp", exchange, converse)

    def probe(self, exchange: Exchange, service: Service) -> Flow:
        """A declared service's Probe (contract 1): complete when the answer begins as expected."""

        def converse(talk: Conversation) -> None:
            expected = bytes.fromhex(service.probe_expect)
            if service.protocol == "udp":
                talk.ask(bytes.fromhex(service.probe_send))
            else:
                talk.connect()
                talk.send(bytes.fromhex(service.probe_send))
                talk.read_until(len(expected))
            _require_beginning(talk, expected)

        return self._run("probe", service.protocol, exchange, converse)

    def connect(self, exchange: Exchange, banner: bytes = b"") -> Flow:
        """Open a TCP connection; with a banner, complete when the server's first bytes are these."""

        def converse(talk: Conversation) -> None:
            talk.connect()
            talk.read_until(len(banner))
            _require_beginning(talk, banner)

        return self._run("connect", "tcp", exchange, converse)

    def _run(
        self, pattern: str, protocol: Protocol, exchange: Exchange, converse: Callable[[Conversation], None]
    ) -> Flow:
        kind = socket.SOCK_DGRAM if protocol == "udp" else socket.SOCK_STREAM

        def make() -> socket.socket:
            made = socket.socket(socket.AF_INET, kind)
            if protocol == "udp":
                made.setsockopt(socket.IPPROTO_IP, _IP_RECVERR, 1)
            made.bind((exchange.origin.address, 0))
            return made

        with self._network.run_in(exchange.origin.namespace, make) as opened:
            talk = Conversation(exchange, opened)
            error = ""
            try:
                converse(talk)
            except TimeoutError:
                error = f"not done within {exchange.deadline_s:g} s"
            except (OSError, http.client.HTTPException) as fault:
                error = getattr(fault, "strerror", None) or str(fault) or type(fault).__name__
            flow = talk.flow(pattern, error)
        self._note("flow", flow.end, "clients", dataclasses.asdict(flow))
        return flow

    def _payload(self, name: str, size: int) -> bytes:
        return random.Random(f"{self._seed} {name}").randbytes(size)


def together(flows: Sequence[Callable[[], T]]) -> tuple[T, ...]:
    """What each returns, all of them run at once, a thread each."""
    if not flows:
        return ()
    with ThreadPoolExecutor(len(flows), "flow") as threads:
        return tuple(future.result() for future in [threads.submit(flow) for flow in flows])


def _stream(talk: Conversation, payload: bytes) -> None:
    """Write and read at once, or both sides' buffers fill and neither goes on."""
    talk.socket.setblocking(False)
    unsent = memoryview(payload)
    with selectors.DefaultSelector() as selector:
        selector.register(talk.socket, selectors.EVENT_READ | selectors.EVENT_WRITE)
        while talk.received < len(payload):
            ready = selector.select(talk.left())
            events = ready[0][1] if ready else 0
            if events & selectors.EVENT_WRITE and unsent:
                count = talk.socket.send(unsent[:CHUNK_BYTES])
                talk.note_sent(bytes(unsent[:count]))
                unsent = unsent[count:]
                if not unsent:
                    selector.modify(talk.socket, selectors.EVENT_READ)
            if events & selectors.EVENT_READ:
                talk.read()


class _ResponseStream(io.RawIOBase):
    """What http.client reads a response from: the deadline holds for each of its reads."""

    def __init__(self, talk: Conversation) -> None:
        self._talk = talk

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        self._talk.socket.settimeout(self._talk.left())
        count = self._talk.socket.recv_into(buffer)
        self._talk.note_answer(bytes(buffer[:count]))
        return count

    def makefile(self, _: str) -> io.BufferedReader:
        return io.BufferedReader(self)


def _read_response(talk: Conversation) -> None:
    response = http.client.HTTPResponse(_ResponseStream(talk), method="GET")  # type: ignore[arg-type]  # needs makefile
    response.begin()
    talk.peer_seen = response.getheader(_CLIENT_FIELD) or ""
    while data := response.read(CHUNK_BYTES):
        talk.note_received(data)
    if response.length:
        raise ConnectionError(f"the server closed the connection {response.length} bytes before the body's end")
    if response.status >= 500:
        raise ConnectionError(f"the server answered {response.status} {response.reason}")


def _require_beginning(talk: Conversation, expected: bytes) -> None:
    seen = talk.answer[: len(expected)]
    if seen != expected[:ANSWER_BYTES]:
        raise ConnectionError(f"expected an answer that begins with {expected.hex()}, got {seen.hex() or 'none'}")
