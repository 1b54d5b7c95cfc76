"""The lab's own probes of the bus, with the app's credentials: proof that its ACL is enforced (BUS-003).

Real clients (paho-mqtt) speak MQTT 3.1.1 and 5 through the guard; an observer on the broker itself, behind the guard,
says what really arrived there. Each probe becomes an ``mqtt-probe`` event.
"""

import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from paho.mqtt.subscribeoptions import SubscribeOptions

from conformance.errors import EnvironmentFault
from harness.lab import Lab

ANSWER_DEADLINE_S = 10.0
MARKER = "lab/marker"
_VERSIONS = {"3.1.1": MQTTProtocolVersion.MQTTv311, "5": MQTTProtocolVersion.MQTTv5}
_FAILURE = 0x80  # MQTT 5 2.4: reason codes from here on are failures; 3.1.1 3.9.3: so is SUBACK's


@dataclass
class _Client:
    """A connection and what came over it so far."""

    client: mqtt.Client
    changed: threading.Condition = field(default_factory=threading.Condition)
    connected: bool | None = None
    answers: dict[int, bool] = field(default_factory=dict)
    messages: set[tuple[str, bytes]] = field(default_factory=set)

    def await_answer(self, number: int) -> bool:
        with self.changed:
            if not self.changed.wait_for(lambda: number in self.answers, ANSWER_DEADLINE_S):
                raise EnvironmentFault(f"the bus did not answer a probe within {ANSWER_DEADLINE_S:g} s")
            return self.answers[number]

    def await_message(self, topic: str, payload: bytes, deadline_s: float) -> bool:
        with self.changed:
            return self.changed.wait_for(lambda: (topic, payload) in self.messages, deadline_s)


def probe_permissions(lab: Lab) -> None:
    """Try what the app's ACL allows and what it forbids, in both versions of MQTT."""
    with _open(lab, "5", behind_guard=True) as observer:
        observer.await_answer(_subscribe(observer, "#"))
        for protocol in _VERSIONS:
            prober = _Prober(lab, protocol, observer)
            prober.connect()
            prober.publish()
            prober.subscribe()


class _Prober:
    def __init__(self, lab: Lab, protocol: str, observer: _Client) -> None:
        self._lab = lab
        self._protocol = protocol
        self._observer = observer
        self._identity = lab.application.id
        self._count = 0

    def connect(self) -> None:
        user, password = self._identity, self._lab.plan.password
        for credentials, name, secret in (
            ("own", user, password),
            ("wrong password", user, f"{password}x"),
            ("other user", f"{user}x", password),
        ):
            with _open(self._lab, self._protocol, name, secret) as client:
                self._note("connect", "", bool(client.connected), bool(client.connected), credentials)

    def publish(self) -> None:
        allowed = [p.topic for p in self._lab.application.acl or () if p.access == "publish"]
        with _open(self._lab, self._protocol, self._identity, self._lab.plan.password) as client:
            for topic in [*map(concrete, allowed), "racs/cell/probe/load", f"app/{self._identity}x/probe"]:
                payload = self._token()
                number = client.client.publish(topic, payload, qos=1).mid
                accepted = client.await_answer(number)
                self._note("publish", topic, accepted, self._arrived(topic, payload))

    def subscribe(self) -> None:
        allowed = [p.topic for p in self._lab.application.acl or () if p.access == "subscribe"]
        forbidden = ["#", f"racs/app/{self._identity}x/properties"]
        for topic_filter in [*allowed, *forbidden]:
            with _open(self._lab, self._protocol, self._identity, self._lab.plan.password) as client:
                accepted = client.await_answer(_subscribe(client, topic_filter))
                topic, payload = concrete(topic_filter), self._token()
                self._observer.client.publish(topic, payload)
                if accepted:
                    delivered = client.await_message(topic, payload, ANSWER_DEADLINE_S)
                else:
                    self._settle()
                    delivered = client.await_message(topic, payload, 0)
                self._note("subscribe", topic_filter, accepted, delivered)

    def _arrived(self, topic: str, payload: bytes) -> bool:
        """Whether the broker got it: what was sent before a marker is there when the marker is."""
        self._settle()
        return self._observer.await_message(topic, payload, 0)

    def _settle(self) -> None:
        marker = self._token()
        self._observer.client.publish(MARKER, marker)
        if not self._observer.await_message(MARKER, marker, ANSWER_DEADLINE_S):
            raise EnvironmentFault("the broker did not deliver to the lab's own observer")

    def _token(self) -> bytes:
        self._count += 1
        return f"probe {self._protocol} {self._lab.plan.seed} {self._count}".encode()

    def _note(self, action: str, topic: str, accepted: bool, delivered: bool, credentials: str = "own") -> None:
        fields = {
            "protocol": self._protocol,
            "action": action,
            "credentials": credentials,
            "topic": topic,
            "accepted": accepted,
            "delivered": delivered,
        }
        self._lab.watch.note("mqtt-probe", time.monotonic(), "clients", fields)


def concrete(topic_filter: str) -> str:
    """A topic that a filter matches (MQTT 5 4.7)."""
    levels = ["probe" if level in {"+", "#"} else level for level in topic_filter.split("/")]
    return "/".join(levels)


def _subscribe(client: _Client, topic_filter: str) -> int:
    options = SubscribeOptions(qos=1)
    five = client.client.protocol == MQTTProtocolVersion.MQTTv5
    _, number = (
        client.client.subscribe(topic_filter, options=options) if five else client.client.subscribe(topic_filter, 1)
    )
    assert number is not None
    return number


@contextmanager
def _open(lab: Lab, protocol: str, user: str = "", password: str = "", behind_guard: bool = False) -> Iterator[_Client]:
    """A client whose connect was answered, one way or the other."""
    made = mqtt.Client(
        CallbackAPIVersion.VERSION2,
        protocol=_VERSIONS[protocol],
        transport="unix" if behind_guard else "tcp",
        reconnect_on_failure=False,
    )
    client = _Client(made)
    _listen(client)
    if user:
        made.username_pw_set(user, password)
    with ExitStack() as stack:
        try:
            if behind_guard:
                made.connect(str(lab.broker_socket))
            else:
                made.connect("127.0.0.1", lab.bus_probe_port)
        except OSError as error:
            raise EnvironmentFault(f"the bus does not accept a probe's connection: {error}") from error
        made.loop_start()
        stack.callback(made.loop_stop)
        stack.callback(made.disconnect)
        with client.changed:
            if not client.changed.wait_for(lambda: client.connected is not None, ANSWER_DEADLINE_S):
                raise EnvironmentFault(f"the bus did not answer a probe's CONNECT within {ANSWER_DEADLINE_S:g} s")
        yield client


def _listen(client: _Client) -> None:
    def tell(change: Any) -> None:
        with client.changed:
            change()
            client.changed.notify_all()

    def on_connect(_c: Any, _u: Any, _flags: Any, reason: Any, _properties: Any) -> None:
        tell(lambda: setattr(client, "connected", not reason.is_failure))

    def on_publish(_c: Any, _u: Any, number: int, reason: Any, _properties: Any) -> None:
        tell(lambda: client.answers.__setitem__(number, reason.value < _FAILURE))

    def on_subscribe(_c: Any, _u: Any, number: int, reasons: Any, _properties: Any) -> None:
        tell(lambda: client.answers.__setitem__(number, all(reason.value < _FAILURE for reason in reasons)))

    def on_message(_c: Any, _u: Any, message: mqtt.MQTTMessage) -> None:
        tell(lambda: client.messages.add((message.topic, bytes(message.payload))))

    made = client.client
    made.on_connect, made.on_publish, made.on_subscribe, made.on_message = (
        on_connect,
        on_publish,
        on_subscribe,
        on_message,
    )
