"""Clients against good and bad servers on loopback: what a flow says of each, and that each ends in time."""

import dataclasses
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from conformance.application import Application, Service
from conformance.profile import load
from conformance.trace_kinds import KINDS
from harness.clients import Clients, together
from harness.conversation import Exchange, Flow, Origin
from harness.network import Network
from harness.recorder import Recorder

HERE = Origin("platform", "racs", "127.0.0.1")  # the namespace that this process is in: nothing is built
APPLICATION = Application("goon", "terminating", "v", "p", "1.0", 1.0, ("service", "user-plane"))
Serve = Callable[[socket.socket], None]


@contextmanager
def tcp(serve: Serve) -> Iterator[int]:
    """A server of one connection on loopback; its port."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def accept() -> None:
            connection, _ = listener.accept()
            with connection:
                try:
                    serve(connection)
                except ConnectionError:
                    return  # the client gave up first

        thread = threading.Thread(target=accept)
        thread.start()
        yield listener.getsockname()[1]
        thread.join()


@contextmanager
def udp(serve: Callable[[socket.socket, bytes, tuple[str, int]], None]) -> Iterator[int]:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as opened:
        opened.bind(("127.0.0.1", 0))

        def answer() -> None:
            while True:
                data, client = opened.recvfrom(2048)
                if data == b"end of test":
                    return
                serve(opened, data, client)

        thread = threading.Thread(target=answer)
        thread.start()
        try:
            yield opened.getsockname()[1]
        finally:
            opened.sendto(b"end of test", opened.getsockname())
            thread.join()


@pytest.fixture
def clients(tmp_path: Path) -> Iterator[Clients]:
    with Recorder(tmp_path / "evidence") as recorder:
        yield Clients(Network(APPLICATION, load()), recorder.note, seed=7)


def to(port: int, deadline_s: float = 10.0) -> Exchange:
    return Exchange("flow", HERE, "127.0.0.1", port, deadline_s)


def echo(connection: socket.socket) -> None:
    while data := connection.recv(65536):
        connection.sendall(data)


def says(answer: bytes) -> Serve:
    """A server that reads a request and answers so."""

    def serve(connection: socket.socket) -> None:
        connection.recv(65536)
        connection.sendall(answer)

    return serve


def trickle(connection: socket.socket) -> None:
    """A byte at a time for ever: each read succeeds, the exchange must end all the same."""
    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n")
    while True:
        connection.sendall(b"x")
        time.sleep(0.01)  # the server's pace, not a wait for something


def silent(connection: socket.socket) -> None:
    connection.recv(1)
    while connection.recv(65536):
        pass


def test_tcp_echo(clients: Clients) -> None:
    with tcp(echo) as port:
        flow = clients.tcp_echo(to(port), 3_000_000)
    assert flow.completed, flow.error
    assert flow.sent == flow.received == 3_000_000
    assert flow.sent_sha256 == flow.expected_sha256 == flow.received_sha256
    assert (flow.answered_from, flow.server_port) == (f"127.0.0.1:{port}", port)
    assert len(bytes.fromhex(flow.answer)) == 64
    assert flow.begin < flow.end


def test_a_server_that_changes_what_it_echoes_is_expected_to(clients: Clients) -> None:
    def shout(opened: socket.socket, data: bytes, client: tuple[str, int]) -> None:
        opened.sendto(data.upper(), client)

    with udp(shout) as port:
        plain = clients.udp_echo(to(port), [0, 1, 1400])
        shouted = clients.udp_echo(to(port), [0, 1, 1400], bytes.upper)
    assert plain.completed and plain.received_sha256 != plain.expected_sha256
    assert shouted.completed and shouted.received_sha256 == shouted.expected_sha256
    assert shouted.received == shouted.sent == 1401


@pytest.mark.parametrize(
    ("serve", "error"),
    [
        (lambda connection: connection.sendall(connection.recv(10)), "closed the connection after"),
        (silent, "not done within 0.3 s"),
    ],
)
def test_tcp_echo_that_fails(clients: Clients, serve: Serve, error: str) -> None:
    with tcp(serve) as port:
        flow = clients.tcp_echo(to(port, 0.3), 200_000)
    assert not flow.completed
    assert error in flow.error or "reset" in flow.error


@pytest.mark.parametrize(
    ("serve", "completed", "names"),
    [
        (says(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\nX-Client: 1.2.3.4:5\r\n\r\nbody"), True, ""),
        (says(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"), True, ""),
        (says(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nbody\r\n0\r\n\r\n"), True, ""),
        (says(b"HTTP/1.1 500 Oh\r\nContent-Length: 0\r\n\r\n"), False, "500"),
        (says(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nbody"), False, "before the body's end"),
        (says(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nbo"), False, "IncompleteRead"),
        (says(b"SSH-2.0-OpenSSH\r\n"), False, "SSH"),
        (says(b""), False, "closed"),
        (silent, False, "not done within 0.3 s"),
        (trickle, False, "not done within 0.3 s"),
    ],
)
def test_http_get(clients: Clients, serve: Serve, completed: bool, names: str) -> None:
    with tcp(serve) as port:
        flow = clients.http_get(to(port, 10 if completed else 0.3), "/")
    assert flow.completed is completed, flow.error
    assert names in flow.error
    if serve is not silent:
        assert flow.received <= 1000
    if completed:
        assert bytes.fromhex(flow.answer).startswith(b"HTTP/1.1 ")


def test_http_get_says_what_the_server_saw(clients: Clients) -> None:
    with tcp(says(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\nX-Client: 1.2.3.4:5\r\n\r\nbody")) as port:
        flow = clients.http_get(to(port), "/")
    assert flow.peer_seen == "1.2.3.4:5"
    assert flow.received == 4


@pytest.mark.parametrize(
    ("protocol", "answer", "completed"),
    [
        (protocol, answer, completed)
        for protocol in ("tcp", "udp")
        for answer, completed in ((b"pong!", True), (b"pang!", False), (b"po", False))
    ],
)
def test_probe(clients: Clients, protocol: str, answer: bytes, completed: bool) -> None:
    service = Service(protocol, 1, b"ping".hex(), b"pong".hex())  # type: ignore[arg-type]  # from the table
    reply = lambda opened, data, client: opened.sendto(answer if data == b"ping" else b"", client)  # noqa: E731
    with tcp(says(answer)) if protocol == "tcp" else udp(reply) as port:
        flow = clients.probe(to(port), service)
    assert flow.completed is completed
    assert flow.pattern == "probe" and flow.protocol == protocol
    if not completed:
        assert flow.error


def test_an_answer_from_another_port_is_none(clients: Clients) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
        other.bind(("127.0.0.1", 0))
        with udp(lambda _, data, client: other.sendto(data, client)) as port:  # type: ignore[arg-type]
            flow = clients.udp_echo(to(port), [10])
    assert not flow.completed
    assert flow.answered_from.endswith(str(flow.server_port)) is False
    assert "not from who was asked" in flow.error


def closed_port(kind: socket.SocketKind) -> int:
    with socket.socket(socket.AF_INET, kind) as opened:
        opened.bind(("127.0.0.1", 0))
        return int(opened.getsockname()[1])


def test_closed_ports_are_told_at_once(clients: Clients) -> None:
    flows = (
        clients.udp_echo(to(closed_port(socket.SOCK_DGRAM), 60), [10]),
        clients.connect(to(closed_port(socket.SOCK_STREAM), 60)),
    )
    for flow in flows:
        assert "refused" in flow.error
        assert flow.end - flow.begin < 30


@pytest.mark.parametrize(("banner", "completed"), [(b"", True), (b"SSH-", True), (b"220 ", False)])
def test_connect(clients: Clients, banner: bytes, completed: bool) -> None:
    with tcp(lambda connection: connection.sendall(b"SSH-2.0-x\r\n")) as port:
        assert clients.connect(to(port), banner).completed is completed


def test_every_flow_is_in_the_trace(tmp_path: Path) -> None:
    with Recorder(tmp_path) as recorder:
        clients = Clients(Network(APPLICATION, load()), recorder.note, seed=7)
        with udp(lambda opened, data, client: opened.sendto(data, client)) as port:  # type: ignore[arg-type]
            flows = together([lambda: clients.udp_echo(to(port), [50]) for _ in range(10)])
        events = recorder.trace().of("flow")
    assert all(flow.completed for flow in flows)
    assert sorted(event["client_port"] for event in events) == sorted(flow.client_port for flow in flows)
    assert len({flow.client_port for flow in flows}) == 10
    assert len({flow.sent_sha256 for flow in flows}) == 1  # by name and seed
    assert {event.at for event in events} == {flow.end for flow in flows}


def test_together_keeps_the_order_and_tells_a_bug() -> None:
    assert together([lambda n=n: n for n in range(20)]) == tuple(range(20))  # type: ignore[misc]
    assert together([]) == ()
    with pytest.raises(ZeroDivisionError):
        together([lambda: 1 // 0])


def test_flow_is_the_kind_of_the_trace() -> None:
    assert [field.name for field in dataclasses.fields(Flow)] == list(KINDS["flow"].fields)
