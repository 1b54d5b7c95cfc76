"""One exchange of test traffic over one socket, with a deadline, and the `Flow` that it leaves in the trace."""

import hashlib
import socket
import time
from dataclasses import dataclass

ANSWER_BYTES = 64  # of an answer, kept in the flow
CHUNK_BYTES = 65536
_DATAGRAM_BYTES = 65535


@dataclass(frozen=True, slots=True)
class Origin:
    """Who speaks: kind is ue, outside, internet or platform."""

    kind: str
    namespace: str
    address: str


@dataclass(frozen=True, slots=True)
class Exchange:
    """What a flow is for (a name, unique in its situation), and between whom; deadline_s is for all of it together."""

    name: str
    origin: Origin
    address: str
    port: int
    deadline_s: float


@dataclass(frozen=True, slots=True)
class Flow:
    """A ``flow`` event of the trace, field by field (conformance.trace_kinds)."""

    name: str
    pattern: str
    origin: str
    protocol: str
    client_address: str
    client_port: int
    server_address: str
    server_port: int
    begin: float
    end: float
    completed: bool
    error: str
    sent: int
    received: int
    sent_sha256: str
    expected_sha256: str
    received_sha256: str
    answer: str
    answered_from: str
    peer_seen: str


class Conversation:
    """What passes over one socket, and the time that is left for it.

    Methods raise OSError, TimeoutError of them when the exchange's deadline is over.
    """

    def __init__(self, exchange: Exchange, opened: socket.socket) -> None:
        self.exchange = exchange
        self.socket = opened
        self.client_address, self.client_port = opened.getsockname()
        self.begin = time.monotonic()
        self._sent, self._received = hashlib.sha256(), hashlib.sha256()
        self.sent = self.received = 0
        self.answer = b""
        self.answered_from = self.expected_sha256 = self.peer_seen = ""

    def left(self) -> float:
        """Seconds. Raises TimeoutError when none is left."""
        left = self.begin + self.exchange.deadline_s - time.monotonic()
        if left <= 0:
            raise TimeoutError
        return left

    def connect(self) -> None:
        self.socket.settimeout(self.left())
        self.socket.connect((self.exchange.address, self.exchange.port))
        self.answered_from = f"{self.exchange.address}:{self.exchange.port}"

    def send(self, data: bytes) -> None:
        """All of data, over a connection."""
        self.socket.settimeout(self.left())
        self.socket.sendall(data)
        self.note_sent(data)

    def ask(self, data: bytes) -> bytes:
        """Send a datagram, return the next that comes, whoever sent it."""
        self.socket.settimeout(self.left())
        self.socket.sendto(data, (self.exchange.address, self.exchange.port))
        self.note_sent(data)
        answer, (address, port) = self.socket.recvfrom(_DATAGRAM_BYTES)
        self.answered_from = f"{address}:{port}"
        self.note_received(answer)
        self.note_answer(answer)
        if (address, port) != (self.exchange.address, self.exchange.port):
            raise ConnectionError(f"the answer came from {self.answered_from}, not from who was asked")
        return answer

    def read_until(self, count: int) -> None:
        """At least count bytes in all. Raises ConnectionError when the server ends before."""
        while self.received < count:
            self.socket.settimeout(self.left())
            self.read()

    def read(self) -> None:
        """What has come over the connection."""
        data = self.socket.recv(CHUNK_BYTES)
        if not data:
            raise ConnectionError(f"the server closed the connection after {self.received} bytes")
        self.note_received(data)
        self.note_answer(data)

    def note_sent(self, data: bytes) -> None:
        self._sent.update(data)
        self.sent += len(data)

    def note_received(self, data: bytes) -> None:
        self._received.update(data)
        self.received += len(data)

    def note_answer(self, data: bytes) -> None:
        """The first bytes of these stand in the flow."""
        self.answer += data[: ANSWER_BYTES - len(self.answer)]

    def flow(self, pattern: str, error: str) -> Flow:
        exchange = self.exchange
        return Flow(
            name=exchange.name,
            pattern=pattern,
            origin=exchange.origin.kind,
            protocol="udp" if self.socket.type == socket.SOCK_DGRAM else "tcp",
            client_address=self.client_address,
            client_port=self.client_port,
            server_address=exchange.address,
            server_port=exchange.port,
            begin=self.begin,
            end=time.monotonic(),
            completed=not error,
            error=error,
            sent=self.sent,
            received=self.received,
            sent_sha256=self._sent.hexdigest(),
            expected_sha256=self.expected_sha256,
            received_sha256=self._received.hexdigest(),
            answer=self.answer.hex(),
            answered_from=self.answered_from,
            peer_seen=self.peer_seen,
        )
