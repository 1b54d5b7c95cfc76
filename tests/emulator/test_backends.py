"""The lab's servers: the HTTP core byte by byte, and the process itself on loopback with curl as a client."""

import hashlib
import http.client
import itertools
import json
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from emulator.control import send_setup
from emulator.webserver import BODY_BYTES_MAX, HEAD_BYTES_MAX, WebConnection, body_of


def answers(*pieces: bytes) -> tuple[bytes, bool]:
    """All that a connection answers to data in these pieces, and whether it closed."""
    connection = WebConnection("10.45.0.1:4711")
    return b"".join(answer for piece in pieces for answer in connection.receive(piece)), connection.closed


def request(first: str, *fields: str, body: bytes = b"") -> bytes:
    return "\r\n".join([first, *fields, "", ""]).encode() + body


HOST = "Host: example"
GET = request("GET /bytes/10 HTTP/1.1", HOST)
POST = request("POST /echo HTTP/1.1", HOST, "Content-Length: 5", body=b"hello")


@pytest.mark.parametrize(
    ("data", "status", "body", "closed"),
    [
        (GET, 200, body_of(10), False),
        (b"\r\n" + GET, 200, body_of(10), False),
        (request("GET /bytes/10?name=x HTTP/1.1", HOST), 200, body_of(10), False),
        (request("GET /bytes/0 HTTP/1.1", HOST), 200, b"", False),
        (request("HEAD /bytes/10 HTTP/1.1", HOST), 200, b"", False),
        (POST, 200, b"hello", False),
        (request("PUT /echo HTTP/1.1", HOST, "content-length: 0"), 200, b"", False),
        (request("GET /bytes/10 HTTP/1.1", HOST, "Connection: close"), 200, body_of(10), True),
        (request("GET /bytes/10 HTTP/1.1", HOST, "Connection: x, Close"), 200, body_of(10), True),
        (request("GET /bytes/10 HTTP/1.0"), 200, body_of(10), True),
        (request("GET /bytes/10 HTTP/1.0", "Connection: keep-alive"), 200, body_of(10), False),
        (request("GET /nothing HTTP/1.1", HOST), 404, b"404 Not Found\n", False),
        (request(f"GET /bytes/{BODY_BYTES_MAX + 1} HTTP/1.1", HOST), 404, b"404 Not Found\n", False),
        (request("POST /bytes/10 HTTP/1.1", HOST), 405, b"405 Method Not Allowed\n", False),
        (request("GET /echo HTTP/1.1", HOST), 405, b"405 Method Not Allowed\n", False),
        (request("GET / HTTP/1.1"), 400, b"400 Bad Request\n", True),
        (request("GET / HTTP/1.1", HOST, HOST), 400, b"400 Bad Request\n", True),
        (request("GET / HTTP/1.1", HOST, "no colon"), 400, b"400 Bad Request\n", True),
        (request("GET / HTTP/1.1", HOST, "Name : x"), 400, b"400 Bad Request\n", True),
        (request("POST /echo HTTP/1.1", HOST, "Content-Length: -1"), 400, b"400 Bad Request\n", True),
        (
            request("POST /echo HTTP/1.1", HOST, "Content-Length: 1", "Content-Length: 2"),
            400,
            b"400 Bad Request\n",
            True,
        ),
        (request("GET /"), 400, b"400 Bad Request\n", True),
        (b"SSH-2.0-client\r\n\r\n", 400, b"400 Bad Request\n", True),
        (request("GET / HTTP/2.0", HOST), 505, b"505 HTTP Version Not Supported\n", True),
        (request("POST /echo HTTP/1.1", HOST, "Transfer-Encoding: chunked"), 411, b"411 Length Required\n", True),
        (request("POST /echo HTTP/1.1", HOST, "Expect: tea"), 417, b"417 Expectation Failed\n", True),
        (request("POST /echo HTTP/1.1", HOST, f"Content-Length: {1 << 40}"), 413, b"413 Content Too Large\n", True),
        (b"x" * (HEAD_BYTES_MAX + 1), 431, b"431 Request Header Fields Too Large\n", True),
    ],
)
def test_one_request(data: bytes, status: int, body: bytes, closed: bool) -> None:
    answer, ended = answers(data)
    head, seen = answer.split(b"\r\n\r\n", 1)
    assert head.startswith(f"HTTP/1.1 {status} ".encode())
    assert seen == body
    assert ended is closed
    assert (b"Connection: close" in head) is closed
    assert b"X-Client: 10.45.0.1:4711" in head
    assert (b"Allow: " in head) is (status == 405)
    if status == 200 and body:
        assert f"X-SHA256: {hashlib.sha256(body).hexdigest()}".encode() in head


@settings(max_examples=60, derandomize=True)
@given(st.lists(st.integers(0, len(GET + POST + GET)), max_size=6))
def test_how_data_comes_in_pieces_changes_nothing(cuts: list[int]) -> None:
    whole = GET + POST + GET  # pipelined, RFC 9112 9.3.2
    edges = [0, *sorted(cuts), len(whole)]
    pieces = [whole[begin:end] for begin, end in itertools.pairwise(edges)]
    assert answers(*pieces) == answers(*(bytes([byte]) for byte in whole)) == answers(whole)
    assert answers(whole)[0].count(b"HTTP/1.1 200") == 3


def test_a_client_that_waits_is_told_to_go_on() -> None:
    connection = WebConnection("x")
    head = request("POST /echo HTTP/1.1", HOST, "Content-Length: 2", "Expect: 100-continue")
    assert list(connection.receive(head)) == [b"HTTP/1.1 100 Continue\r\n\r\n"]
    assert list(connection.receive(b"o")) == []
    (answer,) = connection.receive(b"k")
    assert answer.endswith(b"\r\n\r\nok")


def test_nothing_after_a_refused_request_is_answered() -> None:
    assert answers(b"rubbish\r\n\r\n", GET)[0].count(b"HTTP/1.1 ") == 1


@contextmanager
def process(**listeners: socket.socket) -> Iterator[socket.socket]:
    """`emulator.process backends` on these listeners; yields the control channel."""
    near, far = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    web = [int(name.split("_")[1]) for name in listeners if name.startswith("tcp_80")]
    with near:
        command = [sys.executable, "-m", "emulator.process", "backends", str(far.fileno())]
        running = subprocess.Popen(command, pass_fds=[far.fileno()])
        far.close()
        send_setup(near, {"http_ports": web}, {name: opened.fileno() for name, opened in listeners.items()})
        near.settimeout(30)
        try:
            yield near
        finally:
            near.close()
            status = running.wait(30)
    assert status == 0


def command(channel: socket.socket, name: str) -> None:
    channel.send(json.dumps({"command": name, "id": 1}).encode())
    assert json.loads(channel.recv(65536)) == {"answer": 1}


def listener() -> socket.socket:
    """On a free port, asked for by its number as the lab's are: only such a port outlives a shutdown."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    return socket.create_server(("127.0.0.1", port))


@pytest.fixture
def lab() -> Iterator[dict[str, socket.socket]]:
    with ExitStack() as stack:
        made = {name: stack.enter_context(listener()) for name in ("tcp_7", "tcp_80")}
        made["udp_7"] = stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
        made["udp_7"].bind(("127.0.0.1", 0))
        yield made


def test_curl_and_http_client(lab: dict[str, socket.socket]) -> None:
    port = lab["tcp_80"].getsockname()[1]
    with process(**lab):
        curl = ["curl", "-sS", "-m", "20", f"http://127.0.0.1:{port}/bytes/70000", f"http://127.0.0.1:{port}/bytes/3"]
        assert subprocess.run(curl, capture_output=True, check=True).stdout == body_of(70000) + body_of(3)
        upload = ["curl", "-sS", "-m", "20", "--data-binary", "@-", f"http://127.0.0.1:{port}/echo"]
        body = bytes(range(256)) * 10_000  # over a mebibyte curl expects 100-continue
        assert subprocess.run(upload, input=body, capture_output=True, check=True).stdout == body
        with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=20)) as connection:
            for size in (0, 1, 100_000):  # over one connection
                connection.request("GET", f"/bytes/{size}")
                response = connection.getresponse()
                own = connection.sock.getsockname()
                assert response.getheader("X-Client") == f"{own[0]}:{own[1]}"
                assert response.read() == body_of(size)


def test_echo_ends_when_the_client_has(lab: dict[str, socket.socket]) -> None:
    with process(**lab), socket.create_connection(lab["tcp_7"].getsockname(), 20) as client:
        client.sendall(b"x" * 50_000)
        client.shutdown(socket.SHUT_WR)
        received = b""
        while data := client.recv(65536):
            received += data
        assert received == b"x" * 50_000


def refused(address: tuple[str, int]) -> bool:
    try:
        socket.create_connection(address, 20).close()
    except ConnectionRefusedError:
        return True
    return False


def test_an_outage_refuses_breaks_and_heals(lab: dict[str, socket.socket]) -> None:
    address, datagrams = lab["tcp_7"].getsockname(), lab["udp_7"].getsockname()
    with (
        process(**lab) as channel,
        socket.create_connection(address, 20) as old,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking,
    ):
        old.sendall(b"x")
        assert old.recv(1) == b"x"
        command(channel, "pause")
        old.settimeout(20)
        assert old.recv(1) == b""
        assert refused(address)
        asking.sendto(b"lost", datagrams)
        command(channel, "resume")
        assert not refused(address)
        asking.settimeout(20)
        asking.sendto(b"found", datagrams)
        assert asking.recv(100) == b"found"


def test_a_listener_of_another_name_is_a_loud_bug(lab: dict[str, socket.socket]) -> None:
    with pytest.raises(AssertionError), process(surprise=lab["tcp_7"]) as channel:
        assert channel.recv(1) == b""
