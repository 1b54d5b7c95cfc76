"""Port forwarding and firewall with a stand-in at the VM's place: what the app declares gets through, nothing else."""

import socket
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from network_rig import PROFILE, TERMINATING, backends_on, ping
from private_namespaces import privately

from conformance.application import Allow, Forward
from harness import namespaces
from harness.clients import Clients
from harness.conversation import Exchange, Flow, Origin
from harness.network import Network
from harness.recorder import Recorder

pytestmark = pytest.mark.live

APPLICATION = replace(
    TERMINATING,
    forwards=(Forward("tcp", 29001, 22), Forward("tcp", 29080, 80), Forward("udp", 29002, 5000)),
    allows=(Allow("tcp", 23, "service"), Allow("udp", 5001, "service"), Allow("tcp", 24, "user-plane")),
)
VM = "10.199.0.10"
SILENCE_S = 0.4  # long enough for a loopback answer that must not come


class Answering:
    """Servers in the stand-in: a banner on TCP ports, echo on UDP ports; who came is kept."""

    def __init__(self, network: Network) -> None:
        self._network = network
        self._stack = ExitStack()
        self.seen: list[tuple[int, str]] = []

    def __enter__(self) -> "Answering":
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def serve(self, protocol: str, port: int) -> None:
        openers = {"tcp": namespaces.open_tcp, "udp": namespaces.open_udp}
        opened = self._network.run_in("standin", lambda: openers[protocol]("0.0.0.0", port))
        handler = self._greet if protocol == "tcp" else self._echo
        thread = threading.Thread(target=handler, args=(opened, port))
        thread.start()
        self._stack.callback(opened.close)
        self._stack.callback(thread.join)
        self._stack.callback(opened.shutdown if protocol == "tcp" else self._stop(opened), socket.SHUT_RDWR)

    def _stop(self, opened: socket.socket) -> Callable[[int], object]:
        """A datagram of ours ends the echo; shutdown does not wake an unconnected socket."""
        address = opened.getsockname()

        def stop(_: int) -> None:
            def send() -> None:
                with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
                    sender.sendto(b"stop", ("127.0.0.1", address[1]))

            self._network.run_in("standin", send)

        return stop

    def _greet(self, listener: socket.socket, port: int) -> None:
        while True:
            try:
                connection, (address, _) = listener.accept()
            except OSError:
                return
            with connection:
                self.seen.append((port, address))
                connection.sendall(b"SSH-2.0-standin\r\n")

    def _echo(self, opened: socket.socket, port: int) -> None:
        while True:
            data, client = opened.recvfrom(2048)
            if data == b"stop":
                return
            self.seen.append((port, client[0]))
            opened.sendto(data, client)


class Asking:
    """One client's tries; every one has a deadline."""

    def __init__(self, clients: Clients, origin: Origin) -> None:
        self._clients = clients
        self._origin = origin

    def tcp(self, address: str, port: int, deadline_s: float = SILENCE_S) -> Flow:
        exchange = Exchange(f"tcp {port}", self._origin, address, port, deadline_s)
        return self._clients.connect(exchange, b"SSH-")

    def udp(self, address: str, port: int, deadline_s: float = SILENCE_S) -> Flow:
        return self._clients.udp_echo(Exchange(f"udp {port}", self._origin, address, port, deadline_s), [40])


@contextmanager
def lab(folder: Path) -> Iterator[tuple[Network, Clients, Answering]]:
    with (
        Network(APPLICATION, PROFILE) as network,
        Recorder(folder / "evidence") as recorder,
        network.stand_in(),
        Answering(network) as servers,
    ):
        yield network, Clients(network, recorder.note, seed=1), servers


@privately
def test_declared_forwards_reach_the_vm(tmp_path: Path) -> None:
    with lab(tmp_path) as (_, clients, servers):
        servers.serve("tcp", 22)
        servers.serve("udp", 5000)
        outside = Asking(clients, clients.outside())
        ssh, datagram = outside.tcp("198.18.0.1", 29001, 10), outside.udp("198.18.0.1", 29002, 10)
        assert ssh.completed, ssh.error
        assert bytes.fromhex(ssh.answer).startswith(b"SSH-2.0")
        assert datagram.completed, datagram.error
        assert datagram.answered_from == "198.18.0.1:29002"
        assert set(servers.seen) == {(22, "10.199.0.1"), (5000, "10.199.0.1")}  # masqueraded


@privately
def test_nothing_else_from_outside_reaches_the_vm_or_the_platform(tmp_path: Path) -> None:
    with lab(tmp_path) as (network, clients, servers), network.sockets_for("bus"):
        for port in (22, 23, 8000):
            servers.serve("tcp", port)
        servers.serve("udp", 5001)
        outside = Asking(clients, clients.outside())
        for address, port in (
            ("198.18.0.1", 29000), ("198.18.0.1", 29002), ("198.18.0.1", 22), ("198.18.0.1", 1883),
            (VM, 22), (VM, 29001), ("10.199.0.1", 1883), ("10.199.0.1", 29001), ("192.0.2.10", 22),
        ):  # fmt: skip
            assert not outside.tcp(address, port).completed, (address, port)
        with namespaces.open_tcp("198.18.0.1", 8001):
            plain = Exchange("platform's own", clients.outside(), "198.18.0.1", 8001, SILENCE_S)
            assert "refused" in clients.connect(plain).error
        for address, port in (("198.18.0.1", 29001), ("198.18.0.1", 5001), (VM, 5000), (VM, 5001)):
            assert not outside.udp(address, port).completed, (address, port)
        assert servers.seen == []
        closed = outside.tcp("198.18.0.1", 29000, 10)
        assert "refused" in closed.error  # at once: a scan of the range is fast
        assert network.run_in("outside", lambda: ping("198.18.0.1"))


@privately
def test_the_platform_opens_allows_and_forwards_only(tmp_path: Path) -> None:
    with lab(tmp_path) as (_, clients, servers):
        for port in (22, 23, 24, 25):
            servers.serve("tcp", port)
        for port in (5001, 5002):
            servers.serve("udp", port)
        platform = Asking(clients, clients.platform())
        opened = [port for port in (22, 23) if platform.tcp(VM, port, 10).completed]
        opened += [port for port in (24, 25) if platform.tcp(VM, port).completed]
        assert opened == [22, 23]
        assert platform.udp(VM, 5001, 10).completed and not platform.udp(VM, 5002).completed
        assert ping(VM)


@privately
def test_the_app_reaches_the_platform_and_no_further(tmp_path: Path) -> None:
    with (
        lab(tmp_path) as (network, clients, _),
        network.sockets_for("bus"),
        network.sockets_for("time") as time_sockets,
    ):
        app = Origin("platform", "standin", VM)
        bus = clients.connect(Exchange("bus", app, "10.199.0.1", 1883, 10))
        assert bus.completed, bus.error
        for name, port in (("heartbeat", 7400), ("ntp", 123), ("dns", 53)):
            with socket.socket(fileno=time_sockets[name]) as service:
                clients.udp_echo(Exchange(name, app, "10.199.0.1", port, 0.05), [30])
                service.settimeout(10)
                assert service.recvfrom(2048)[1][0] == VM
                service.detach()
        with network.run_in("outside", lambda: namespaces.open_tcp("198.18.0.2", 8000)):
            route = ["ip", "route", "add", "198.18.0.0/24", "via", "10.199.0.1", "dev", "service"]
            network.run_in("standin", lambda: subprocess.run(route, check=True))
            outward = clients.connect(Exchange("out", app, "198.18.0.2", 8000, SILENCE_S))
            assert not outward.completed
            with namespaces.open_tcp("198.18.0.1", 8001):
                assert not clients.connect(Exchange("own", app, "198.18.0.1", 8001, SILENCE_S)).completed


@privately
def test_curl_through_a_forward(tmp_path: Path) -> None:
    with lab(tmp_path) as (network, _, _), ExitStack() as stack:
        listener = network.run_in("standin", lambda: namespaces.open_tcp("0.0.0.0", 80))
        stack.enter_context(listener)
        stack.enter_context(backends_on({"tcp_80": listener.fileno()}))
        command = ["curl", "-sS", "-m", "20", "-D", "-", "http://198.18.0.1:29080/bytes/100000"]
        curl = network.run_in("outside", lambda: subprocess.run(command, capture_output=True, check=True))
        head, body = curl.stdout.split(b"\r\n\r\n", 1)
        assert len(body) == 100_000
        assert b"X-Client: 10.199.0.1:" in head
