"""The bus process under real clients: mosquitto_pub, mosquitto_sub and paho, MQTT 3.1.1 and 5."""

import contextlib
import os
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import paho.mqtt.client as paho
import pytest
from bus_lab import DEADLINE_S, PASSWORD, BusProcess, bus_process
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from emulator import mqttpackets
from emulator.bus import CONNECTIONS_MAX
from emulator.mqtt import PacketType, encode, encode_text
from emulator.mqttpackets import Filter

pytestmark = pytest.mark.live

V311, V5 = MQTTProtocolVersion.MQTTv311, MQTTProtocolVersion.MQTTv5

PROTOCOLS = [pytest.param(V311, id="3.1.1"), pytest.param(V5, id="5")]


@pytest.fixture(scope="module")
def mosquitto(peer: Callable[[str], Path]) -> Path:
    return peer("mosquitto") / "usr/sbin/mosquitto"


@pytest.fixture(scope="module")
def bus(mosquitto: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[BusProcess]:
    folder = tmp_path_factory.mktemp("bus")
    with bus_process(mosquitto, folder) as process:
        yield process
    assert process.process.returncode == 0
    assert [path.name for path in folder.iterdir()] == ["report-1.json"], "the broker's folder is gone with it"


class Client:
    """A paho client whose callbacks are waited for."""

    def __init__(
        self, bus: BusProcess, protocol: MQTTProtocolVersion, password: str = PASSWORD, will: str = "", **options: Any
    ) -> None:
        self._changed = threading.Condition()
        self.messages: list[tuple[str, bytes]] = []
        self.connected: list[int] = []
        self.subscribed: list[list[int]] = []
        self.published: list[int] = []
        self.disconnected = 0
        self.paho = paho.Client(CallbackAPIVersion.VERSION2, protocol=protocol, **options)
        self.paho.username_pw_set("goon", password)
        if will:
            self.paho.will_set(will, b"gone")
        self.paho.on_connect = lambda _c, _u, _f, reason, _p: self._note(self.connected, reason.value)
        self.paho.on_subscribe = lambda _c, _u, _m, codes, _p: self._note(self.subscribed, [c.value for c in codes])
        self.paho.on_publish = lambda _c, _u, _m, reason, _p: self._note(self.published, reason.value)
        self.paho.on_message = lambda _c, _u, message: self._note(self.messages, (message.topic, message.payload))
        self.paho.on_disconnect = self._on_disconnect
        self.paho.reconnect_delay_set(1, 1)
        self.paho.connect("127.0.0.1", bus.ports["bus"])
        self.paho.loop_start()

    def __enter__(self) -> "Client":
        self.wait_for(lambda: bool(self.connected), "CONNACK")
        return self

    def __exit__(self, *_: object) -> None:
        self.paho.disconnect()
        self.paho.loop_stop()

    def _note(self, notes: list[Any], note: Any) -> None:
        with self._changed:
            notes.append(note)
            self._changed.notify_all()

    def _on_disconnect(self, *_: object) -> None:
        with self._changed:
            self.disconnected += 1
            self._changed.notify_all()

    def wait_for(self, condition: Callable[[], bool], what: str) -> None:
        with self._changed:
            assert self._changed.wait_for(condition, DEADLINE_S), f"no {what}"

    def subscribe(self, *filters: tuple[str, int]) -> list[int]:
        count = len(self.subscribed)
        self.paho.subscribe(list(filters))
        self.wait_for(lambda: len(self.subscribed) > count, "SUBACK")
        return self.subscribed[-1]

    def publish(self, topic: str, payload: bytes, qos: int = 1, retain: bool = False) -> int:
        """Publish and wait for the acknowledgement; its reason code."""
        count = len(self.published)
        self.paho.publish(topic, payload, qos, retain)
        self.wait_for(lambda: len(self.published) > count, "acknowledgement")
        return self.published[-1]


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("qos", [0, 1, 2])
def test_what_the_acl_allows_is_delivered(bus: BusProcess, protocol: MQTTProtocolVersion, qos: int) -> None:
    with Client(bus, protocol) as client:
        assert client.connected == [0]
        assert client.subscribe(("app/goon/echo", qos)) == [qos]
        payload = f"hello {protocol} {qos}".encode()
        assert client.publish("app/goon/echo", payload, qos) == 0
        client.wait_for(lambda: client.messages == [("app/goon/echo", payload)], "message")


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("qos", [1, 2])
def test_a_forbidden_publish_is_answered_and_dropped(bus: BusProcess, protocol: MQTTProtocolVersion, qos: int) -> None:
    topic = f"app/other/{protocol}/{qos}"
    with Client(bus, protocol) as client:
        code = client.publish(topic, b"no", qos)
        if qos == 1:  # of a refusing PUBREC paho takes no notice, and sends a PUBREL
            assert code == (0x87 if protocol == V5 else 0)
        assert client.publish("app/goon/after", b"yes", qos) < 0x80, "the connection goes on"
    trace = bus.wait_for(lambda t: any(e["topic"] == topic for e in t.of("mqtt-attempt")), "record")
    (attempt,) = (event for event in trace.of("mqtt-attempt") if event["topic"] == topic)
    assert not attempt["allowed"] and attempt["client"] == "app" and attempt["payload"] == "no"


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_subscribe_is_refused_filter_by_filter(bus: BusProcess, protocol: MQTTProtocolVersion) -> None:
    refused = 0x87 if protocol == V5 else 0x80
    with Client(bus, protocol) as client:
        asked = (("#", 0), ("racs/cell/+/load", 1), ("$SYS/#", 0), ("app/goon/mixed", 2), ("racs/app/+/properties", 0))
        assert client.subscribe(*asked) == [refused, 1, refused, 2, refused]
        assert client.subscribe(("racs/#", 0)) == [refused]
        client.wait_for(lambda: bool(client.messages), "cell load by the producers")
        assert {topic for topic, _ in client.messages} <= {f"racs/cell/cell-{n}/load" for n in (1, 2, 3)}


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_wrong_credentials_are_refused(bus: BusProcess, protocol: MQTTProtocolVersion) -> None:
    with Client(bus, protocol, password="guessed") as client:
        assert client.connected[0] == (0x86 if protocol == V5 else 0x87)  # paho's name for return code 5
    trace = bus.wait_for(lambda t: any(not e["allowed"] for e in t.of("mqtt-attempt")), "record")
    assert PASSWORD not in str(trace.events) and "guessed" not in str(trace.events)


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("topic", ["app/goon/will", "racs/cell/cell-1/load"])
def test_a_will_is_published_when_the_acl_allows_it(bus: BusProcess, protocol: MQTTProtocolVersion, topic: str) -> None:
    with Client(bus, protocol) as observer:
        observer.subscribe(("app/goon/will", 1), ("racs/cell/+/load", 1))
        client = Client(bus, protocol, will=topic)
        client.wait_for(lambda: bool(client.connected), "CONNACK")
        client.paho.loop_stop()
        client.paho.socket().close()  # type: ignore[union-attr]  # lost without DISCONNECT
        if topic.startswith("app/"):
            observer.wait_for(lambda: (topic, b"gone") in observer.messages, "will")
        else:
            lost = bus.wait_for(lambda t: any(e["action"] == "will" for e in t.of("mqtt-attempt")), "will's record")
            number = next(
                e["connection"] for e in lost.of("mqtt-attempt") if e["action"] == "will" and not e["allowed"]
            )
            bus.wait_for(lambda t: any(e["connection"] == number for e in t.of("mqtt-closed")), "its end")
            observer.publish("app/goon/will", b"after")
            observer.wait_for(lambda: ("app/goon/will", b"after") in observer.messages, "what came after")
            assert (topic, b"gone") not in observer.messages


def test_a_retained_message_stays(bus: BusProcess) -> None:
    with Client(bus, V311) as client:
        client.publish("app/goon/kept", b"kept", retain=True)
    with Client(bus, V5) as client:
        client.subscribe(("app/goon/kept", 1))
        client.wait_for(lambda: client.messages == [("app/goon/kept", b"kept")], "retained message")
        client.publish("app/goon/kept", b"", retain=True)


def test_topic_aliases_are_judged_by_the_topic_they_stand_for(bus: BusProcess) -> None:
    def alias(number: int) -> Properties:
        properties = Properties(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call]  # paho types it not
        properties.TopicAlias = number
        return properties

    with Client(bus, V5) as client:
        client.subscribe(("app/goon/#", 0))
        for topic, payload in (("app/goon/a", b"1"), ("", b"2"), ("app/other", b"3"), ("", b"4"), ("app/goon/b", b"5")):
            client.paho.publish(topic, payload, 0, properties=alias(1))
        client.wait_for(lambda: len(client.messages) == 3, "allowed messages")
        assert client.messages == [("app/goon/a", b"1"), ("app/goon/a", b"2"), ("app/goon/b", b"5")]


def test_mosquitto_clients(bus: BusProcess) -> None:
    common = ["-h", "127.0.0.1", "-p", str(bus.ports["bus_probe"]), "-u", "goon", "-P", PASSWORD]
    run = subprocess.run(
        ["mosquitto_sub", *common, "-t", "racs/app/goon/properties", "-C", "1", "-W", "10"],
        capture_output=True, text=True, timeout=30, check=True,
    )  # fmt: skip
    assert '"features":["goon.echo"]' in run.stdout
    refused = subprocess.run(
        ["mosquitto_pub", *common, "-V", "5", "-q", "1", "-t", "racs/x", "-m", "no"],
        capture_output=True, text=True, timeout=30, check=False,
    )  # fmt: skip
    assert "Not authorized" in refused.stderr
    trace = bus.wait_for(lambda t: any(e["topic"] == "racs/x" for e in t.of("mqtt-attempt")), "record")
    assert [e["client"] for e in trace.of("mqtt-attempt") if e["topic"] == "racs/x"] == ["lab"]


def test_features_are_switched_and_their_status_collected(bus: BusProcess) -> None:
    with Client(bus, V311) as client:
        client.subscribe(("racs/app/goon/properties", 1))
        client.wait_for(lambda: bool(client.messages), "retained properties")
        bus.command("feature-set", features=["goon.upper"])
        client.wait_for(lambda: b'"features":["goon.upper"]' in client.messages[-1][1], "properties")
        status = b'{"features":[{"id":"goon.upper","state":"on"},{"id":"goon.echo","state":"off"}],"time":1.7e9}'
        client.publish("app/goon/features", status, retain=True)
        trace = bus.wait_for(lambda t: bool(t.of("feature-status")), "status")
        assert trace.of("feature-status")[-1]["malformed"] == ""
        client.publish("app/goon/features", b"on", retain=True)
        bus.wait_for(lambda t: t.of("feature-status")[-1]["malformed"] != "", "malformed status")
        assert "error" in bus.command("feature-set", features=["unheard-of"])
    assert bus.command("swam-report")["report"]["features"][1]["state"] == "on"


def test_a_client_that_does_not_read_holds_up_nobody(mosquitto: Path, tmp_path: Path) -> None:
    with bus_process(mosquitto, tmp_path) as bus, Client(bus, V311) as client, raw_subscriber(bus, "app/goon/#"):
        client.subscribe(("app/goon/#", 0))
        before = resident_bytes(bus)
        for number in range(400):
            client.publish("app/goon/big", number.to_bytes(2, "big") * 50_000, qos=1)
        client.wait_for(lambda: len(client.messages) == 400, "what another one does not read")
        assert resident_bytes(bus) - before < 20_000_000, "40 MB wait for the one, and not in the guard"


def test_connections_are_bounded(mosquitto: Path, tmp_path: Path) -> None:
    with bus_process(mosquitto, tmp_path) as bus, contextlib.ExitStack() as stack:
        for _ in range(CONNECTIONS_MAX):
            stack.enter_context(socket.create_connection(("127.0.0.1", bus.ports["bus"])))
        with socket.create_connection(("127.0.0.1", bus.ports["bus"])) as one_more:
            one_more.settimeout(DEADLINE_S)
            with contextlib.suppress(ConnectionResetError):
                assert one_more.recv(1) == b""
        trace = bus.wait_for(lambda t: bool(t.of("mqtt-closed")), "record")
        assert "connections at once" in trace.of("mqtt-closed")[0]["reason"]


@contextlib.contextmanager
def raw_subscriber(bus: BusProcess, topic: str) -> Iterator[socket.socket]:
    """A client that subscribes and then reads no more."""
    body = encode_text("MQTT") + b"\4\xc2\0\0" + encode_text("deaf") + encode_text("goon") + encode_text(PASSWORD)
    with socket.create_connection(("127.0.0.1", bus.ports["bus"])) as client:
        client.sendall(encode(PacketType.CONNECT, body) + mqttpackets.subscribe(b"\0\1", [Filter(topic, 0)]))
        client.settimeout(DEADLINE_S)
        assert client.recv(9, socket.MSG_WAITALL) == mqttpackets.CONNECTED + b"\x90\x03\0\1\0"
        yield client


def resident_bytes(bus: BusProcess) -> int:
    pages = int(Path(f"/proc/{bus.process.pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_clients_come_back_after_an_outage(mosquitto: Path, tmp_path: Path, protocol: MQTTProtocolVersion) -> None:
    with bus_process(mosquitto, tmp_path) as bus, Client(bus, protocol) as client:
        client.subscribe(("racs/app/goon/properties", 1))
        client.wait_for(lambda: len(client.messages) == 1, "retained properties")
        bus.command("pause")
        client.wait_for(lambda: client.disconnected >= 1, "end of the connection")
        with pytest.raises(ConnectionRefusedError):
            paho.Client(CallbackAPIVersion.VERSION2).connect("127.0.0.1", bus.ports["bus"])
        bus.command("resume")
        client.wait_for(lambda: len(client.connected) == 2, "second CONNACK")
        client.subscribe(("racs/app/goon/properties", 1))
        client.wait_for(lambda: len(client.messages) == 2, "retained properties, published again")
        trace = bus.wait_for(
            lambda t: any(e["reason"] == "outage" for e in t.of("mqtt-closed")), "record of the outage"
        )
        assert not trace.of("process-died")


def test_a_broker_that_dies_is_told(mosquitto: Path, tmp_path: Path) -> None:
    with bus_process(mosquitto, tmp_path) as bus:
        children = Path(f"/proc/{bus.process.pid}/task/{bus.process.pid}/children").read_text().split()
        for child in children:
            os.kill(int(child), signal.SIGKILL)
        trace = bus.wait_for(lambda t: bool(t.of("process-died")), "process-died")
        assert dict(trace.of("process-died")[0].fields) == {"process": "mosquitto", "status": -9}


def test_the_broker_dies_with_its_process(mosquitto: Path, tmp_path: Path) -> None:
    with bus_process(mosquitto, tmp_path) as bus:
        (child,) = Path(f"/proc/{bus.process.pid}/task/{bus.process.pid}/children").read_text().split()
        bus.process.kill()
        deadline = time.monotonic() + DEADLINE_S
        while Path(f"/proc/{child}/cmdline").exists() and Path(f"/proc/{child}/cmdline").read_bytes():
            assert time.monotonic() < deadline, "mosquitto outlived the process that started it"
