"""What the sample apps are made of, without a guest: echo, bus, environment, Lens's counting."""

import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

Example = Callable[[str], ModuleType]


class Served:
    """An Echo in a thread of its own, on ports that the kernel chose."""

    def __init__(self, module: ModuleType) -> None:
        self.echo = module.Echo("127.0.0.1", 0)
        self.udp = self.echo.datagrams.getsockname()
        self.tcp = self.echo.listener.getsockname()
        self.ended = False
        self.came: list[str] = []
        self.thread = threading.Thread(target=self.run)

    def run(self) -> None:
        while not self.ended:
            self.came += self.echo.serve(0.01)


@pytest.fixture
def served(example: Example) -> Iterator[Served]:
    served = Served(example("echo"))
    served.thread.start()
    yield served
    served.ended = True
    served.thread.join()
    for connection in list(served.echo.pending):
        served.echo.close(connection)
    served.echo.datagrams.close()
    served.echo.listener.close()
    served.echo.selector.close()


def test_every_datagram_comes_back_from_where_it_went(served: Served) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.settimeout(10)
        for size in (0, 1, 7, 1472, 1473, 9000, 60000):
            sock.sendto(bytes(size), served.udp)
            assert sock.recvfrom(65536) == (bytes(size), served.udp)
    assert served.came[0] == "127.0.0.1"


def test_a_long_stream_comes_back_whole(served: Served) -> None:
    sent = bytes(range(256)) * 8192
    with socket.create_connection(served.tcp, 10) as sock:
        writer = threading.Thread(target=write, args=(sock, sent))
        writer.start()
        received = bytearray()
        while chunk := sock.recv(65536):
            received += chunk
        writer.join()
    assert received == sent


def write(sock: socket.socket, data: bytes) -> None:
    sock.sendall(data)
    sock.shutdown(socket.SHUT_WR)


def test_a_hundred_clients_get_their_own_answer_at_once(served: Served) -> None:
    clients = [socket.create_connection(served.tcp, 10) for _ in range(100)]
    for number, sock in enumerate(clients):
        sock.sendall(b"%d" % number)
    for number, sock in enumerate(clients):
        assert sock.recv(100) == b"%d" % number
        sock.close()


def test_a_reset_connection_harms_nobody(served: Served) -> None:
    with socket.create_connection(served.tcp, 10) as sock:
        sock.sendall(b"x" * 1000)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    test_every_datagram_comes_back_from_where_it_went(served)


def test_with_the_feature_off_nothing_comes_back(example: Example) -> None:
    echo = example("echo").Echo("127.0.0.1", 0)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock, echo.datagrams, echo.listener, echo.selector:
        sock.sendto(b"hello", echo.datagrams.getsockname())
        assert echo.serve(10, answering=False) == ["127.0.0.1"]
        sock.setblocking(False)
        with pytest.raises(BlockingIOError):
            sock.recv(100)


@pytest.fixture
def bus(example: Example) -> Iterator[SimpleNamespace]:
    """A Bus whose broker is away."""
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    properties = {"racs.mqtt.host": "127.0.0.1", "racs.mqtt.port": str(port)}
    properties |= {"racs.mqtt.username": "goon", "racs.mqtt.password": "secret"}
    made = example("bus").Bus(properties, ["racs/cell/+/load"])
    yield made
    made.client.disconnect()
    made.client.loop_stop()


NONSENSE = [b"{", b"[1, 2]", b"17", b"null", b"\xff\xfe", b"[" * 60000, b'{"a": ' * 60000, b'"' + b"x" * 65000]


@pytest.mark.parametrize("payload", NONSENSE, ids=range(len(NONSENSE)))
def test_a_malformed_payload_is_left_out(bus: SimpleNamespace, payload: bytes) -> None:
    for data in (payload, b'{"load": 0.5}'):
        bus.received(None, None, SimpleNamespace(topic="racs/cell/7/load", payload=data))
    assert list(bus.messages()) == [("racs/cell/7/load", {"load": 0.5})]


def test_a_huge_payload_and_a_flood_cost_no_memory(bus: SimpleNamespace) -> None:
    bus.received(None, None, SimpleNamespace(topic="t", payload=b" " * 262144))
    assert not bus.inbox
    for _ in range(5000):
        bus.received(None, None, SimpleNamespace(topic="t", payload=b"{}"))
    assert len(bus.inbox) == 1000
    assert len(list(bus.messages(50))) == 50


def test_publishing_without_a_broker_is_no_error(bus: SimpleNamespace) -> None:
    bus.publish("app/goon/features", {"features": []}, retain=True)


ENVIRONMENT = """<?xml version="1.0" encoding="UTF-8"?>
<{prefix}Environment xmlns{colon}{name}="http://schemas.dmtf.org/ovf/environment/1"
    xmlns:oe="http://schemas.dmtf.org/ovf/environment/1" oe:id="vm"><{prefix}PropertySection>
  <{prefix}Property oe:key="racs.app.id" oe:value="goon"/>
  <{prefix}Property oe:value="hang-after:10" oe:key="racs.drill"/>
  <{prefix}Property oe:key="a.b" oe:value="1 &amp; 2 ä"/>
</{prefix}PropertySection></{prefix}Environment>"""


@pytest.mark.parametrize(("prefix", "colon", "name"), [("", "", ""), ("e:", ":", "e")], ids=["default", "prefixed"])
def test_the_environment_is_read_by_namespace(
    example: Example, tmp_path: Path, prefix: str, colon: str, name: str
) -> None:
    path = tmp_path / "ovf-env.xml"
    path.write_text(ENVIRONMENT.format(prefix=prefix, colon=colon, name=name), encoding="utf-8")
    environment = example("environment")
    properties = environment.read(path)
    assert properties == {"racs.app.id": "goon", "racs.drill": "hang-after:10", "a.b": "1 & 2 ä"}
    assert environment.hang_after(properties) == 10
    assert environment.hang_after({"racs.drill": ""}) is None


def test_a_nic_is_found_by_its_address(example: Example) -> None:
    environment = example("environment")
    name = next(path.name for path in Path("/sys/class/net").iterdir() if (path / "address").read_text().strip())
    mac = Path(f"/sys/class/net/{name}/address").read_text().strip()
    assert Path(f"/sys/class/net/{environment.interface(mac.upper())}/address").read_text().strip() == mac
    with pytest.raises(LookupError):
        environment.interface("02:ff:ff:ff:ff:fe")


def request(payload: bytes, port: int = 80, fragment: int = 0) -> bytes:
    head = bytes([0x45, 0, 0, 0, 0, 0, fragment >> 8, fragment & 255, 64, 6, 0, 0, 10, 45, 0, 2, 203, 0, 113, 1])
    return head + bytes([0x9C, 0x40, port >> 8, port & 255]) + bytes(8) + b"\x50" + bytes(7) + payload


@pytest.mark.parametrize(
    ("packet", "counted"),
    [
        (request(b"GET / HTTP/1.1\r\n"), 1),
        (request(b"POST /x HTTP/1.1\r\n", port=8080), 1),
        (request(b"GET / HTTP/1.1\r\n", port=443), 0),
        (request(b"ello, GET /"), 0),
        (request(b""), 0),
        (request(b"GET / HTTP/1.1\r\n", fragment=185), 0),
    ],
    ids=["get", "post", "other port", "middle of a stream", "empty", "later fragment"],
)
def test_lens_counts_requests(example: Example, packet: bytes, counted: int) -> None:
    lens = SimpleNamespace(requests={})
    example("lens").Lens.count(lens, memoryview(packet))
    assert lens.requests == ({"10.45.0.2": 1} if counted else {})


@settings(derandomize=True, max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(noise=st.binary(min_size=20, max_size=80), protocol=st.sampled_from([0x45, 0x46, 0x4F, 0x40, 0x60]))
def test_lens_counts_no_nonsense_and_never_fails(example: Example, noise: bytes, protocol: int) -> None:
    lens = SimpleNamespace(requests={})
    example("lens").Lens.count(lens, memoryview(bytes([protocol]) + noise[1:9] + b"\x06" + noise[10:]))
