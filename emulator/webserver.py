"""The web server of the lab's backends: HTTP/1.1 (RFC 9112) as a core without a socket, one object a connection.

    GET /bytes/N    N bytes that are the same in every run      POST or PUT /echo    the request's body
Every answer says what the server saw: ``X-Client: address:port``, and ``X-SHA256``, the digest of the body.
"""

import hashlib
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

HEAD_BYTES_MAX = 16384
BODY_BYTES_MAX = 64 << 20

_REQUEST_LINE = re.compile(r"([!#$%&'*+.^_`|~0-9A-Za-z-]+) (\S+) HTTP/(\d)\.(\d)")  # RFC 9112 3
_FIELD = re.compile(r"([!#$%&'*+.^_`|~0-9A-Za-z-]+):[ \t]*(.*?)[ \t]*")  # RFC 9112 5
_BYTES = re.compile(r"/bytes/(\d{1,8})")
_REASONS = {
    200: "OK",
    400: "Bad Request",
    404: "Not Found",
    405: "Method Not Allowed",
    411: "Length Required",
    413: "Content Too Large",
    417: "Expectation Failed",
    431: "Request Header Fields Too Large",
    505: "HTTP Version Not Supported",
}


def body_of(size: int) -> bytes:
    """What ``GET /bytes/SIZE`` answers."""
    return hashlib.shake_128(b"racs lab").digest(size)


@dataclass(frozen=True, slots=True)
class _Request:
    method: str
    target: str
    version: tuple[int, int]
    fields: Mapping[str, str]  # names in lower case

    @property
    def persists(self) -> bool:
        """RFC 9112 9.3."""
        options = {option.strip().lower() for option in self.fields.get("connection", "").split(",")}
        return "close" not in options and (self.version >= (1, 1) or "keep-alive" in options)


class _Refused(Exception):
    """A request that ends the connection with this status: what follows it cannot be told apart any more."""

    def __init__(self, status: int) -> None:
        super().__init__(status)
        self.status = status


class WebConnection:
    """One connection: `receive` what the client sent, send what it yields; closed when nothing more will come of it."""

    def __init__(self, peer: str) -> None:
        self._peer = peer
        self._buffer = bytearray()
        self._request: _Request | None = None
        self._length = 0
        self.closed = False

    def receive(self, data: bytes) -> Iterator[bytes]:
        """The answers that data completes, in order."""
        self._buffer += data
        try:
            while not self.closed:
                if self._request is None:
                    head = self._take_head()
                    if head is None:
                        return
                    self._request = _parse_head(head)
                    self._length = _body_length(self._request)
                    if "100-continue" in self._request.fields.get("expect", "").lower():  # RFC 9110 10.1.1
                        yield b"HTTP/1.1 100 Continue\r\n\r\n"
                if len(self._buffer) < self._length:
                    return
                body = bytes(self._buffer[: self._length])
                del self._buffer[: self._length]
                request, self._request = self._request, None
                self.closed = not request.persists
                yield self._answer(request, body)
        except _Refused as refused:
            self.closed = True
            yield self._response(refused.status, _text(refused.status))

    def _take_head(self) -> str | None:
        while self._buffer.startswith(b"\r\n"):  # RFC 9112 2.2: ignore an empty line before a request
            del self._buffer[:2]
        end = self._buffer.find(b"\r\n\r\n")
        if end > HEAD_BYTES_MAX or (end < 0 and len(self._buffer) > HEAD_BYTES_MAX):
            raise _Refused(431)
        if end < 0:
            return None
        head = self._buffer[:end].decode("latin-1")
        del self._buffer[: end + 4]
        return head

    def _answer(self, request: _Request, body: bytes) -> bytes:
        wanted = _BYTES.fullmatch(request.target.partition("?")[0])
        if wanted and int(wanted[1]) <= BODY_BYTES_MAX:
            allowed, answer = ("GET", "HEAD"), body_of(int(wanted[1]))
        elif request.target == "/echo":
            allowed, answer = ("POST", "PUT"), body
        elif request.target == "/":
            allowed, answer = ("GET", "HEAD"), b"This is a server of the lab: GET /bytes/N, POST /echo\n"
        else:
            return self._response(404, _text(404), request)
        if request.method not in allowed:
            return self._response(405, _text(405), request, f"Allow: {', '.join(allowed)}\r\n")
        return self._response(200, answer, request)

    def _response(self, status: int, body: bytes, request: _Request | None = None, further: str = "") -> bytes:
        head = (
            f"HTTP/1.1 {status} {_REASONS[status]}\r\n"
            f"Content-Type: application/octet-stream\r\nContent-Length: {len(body)}\r\n"
            f"X-Client: {self._peer}\r\nX-SHA256: {hashlib.sha256(body).hexdigest()}\r\n"
            f"Connection: {'close' if self.closed else 'keep-alive'}\r\n{further}\r\n"
        )
        return head.encode("latin-1") + (b"" if request and request.method == "HEAD" else body)


def _text(status: int) -> bytes:
    return f"{status} {_REASONS[status]}\n".encode()


def _parse_head(head: str) -> _Request:
    first, *lines = head.split("\r\n")
    line = _REQUEST_LINE.fullmatch(first)
    if not line:
        raise _Refused(400)
    version = int(line[3]), int(line[4])
    if version[0] != 1:
        raise _Refused(505)
    fields: dict[str, str] = {}
    for text in lines:
        field = _FIELD.fullmatch(text)
        if not field:
            raise _Refused(400)
        name = field[1].lower()
        if name in ("host", "content-length") and name in fields:  # RFC 9112 3.2, 6.3
            raise _Refused(400)
        fields[name] = f"{fields[name]}, {field[2]}" if name in fields else field[2]
    if version >= (1, 1) and "host" not in fields:  # RFC 9112 3.2
        raise _Refused(400)
    return _Request(line[1], line[2], version, fields)


def _body_length(request: _Request) -> int:
    if "transfer-encoding" in request.fields:
        raise _Refused(411)  # RFC 9112 6.3: a server may insist on a length; the lab's clients all give one
    if "expect" in request.fields and request.fields["expect"].lower() != "100-continue":
        raise _Refused(417)
    length = request.fields.get("content-length", "0")
    if not re.fullmatch(r"\d{1,19}", length):
        raise _Refused(400)
    if int(length) > BODY_BYTES_MAX:
        raise _Refused(413)
    return int(length)
