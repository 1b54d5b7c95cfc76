"""The bus guard: what stands between an MQTT client and the broker, one `Guard` a connection. Sans-IO.

Neither mosquitto nor amqtt alone keeps the contract (deny by default for MQTT 3.1.1 and 5, every attempt seen): so the
guard reads what the client sends, records every attempted connect, will, publish and subscribe with its decision,
answers denials itself and hands the rest to the broker byte for byte. A denied

- connect is answered with CONNACK 5, in MQTT 5 with 0x86 or 0x87, and the connection ends;
- will is taken out of the CONNECT, as a denied publish is dropped: the connection itself is allowed;
- publish is dropped: 3.1.1 knows no refusal (3.3.5 there), so it is acknowledged, in MQTT 5 with reason 0x87;
- subscribe is answered 0x80 (0x87) for that filter; the other filters of the packet go to the broker.

Topic aliases are followed, never changed: a publish by alias is decided by the topic that the client last gave it. The
broker knows an older topic only where the newer one was denied, and then the alias is denied too.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from conformance.application import Access
from conformance.package import acl
from emulator import mqttpackets
from emulator.account import Account
from emulator.mqtt import Framer, Packet, PacketType, ProtocolError, Reason
from emulator.mqttpackets import V5, V311, Connect
from emulator.service import Note

PAYLOAD_CHARACTERS_MAX = 4096  # of the record: the message itself goes whole
TEXT_CHARACTERS_MAX = 1024  # of every other text in the record; a topic may have 65,535 bytes
_PROTOCOLS = {3: "3.1", V311: "3.1.1", V5: "5"}
_NOT_FROM_A_CLIENT = {
    PacketType.CONNACK,
    PacketType.SUBACK,
    PacketType.UNSUBACK,
    PacketType.PINGRESP,
    PacketType.AUTH,  # no authentication method was agreed on (4.12)
}


@dataclass(frozen=True, slots=True)
class Peer:
    """The client's end of a connection as the record names it; client is "app" or "lab"."""

    connection: int
    client: str
    address: str


@dataclass(frozen=True, slots=True)
class ToClient:
    data: bytes


@dataclass(frozen=True, slots=True)
class ToBroker:
    data: bytes


@dataclass(frozen=True, slots=True)
class Published:
    """An allowed publish on its way to the broker."""

    topic: str
    payload: bytes


@dataclass(frozen=True, slots=True)
class Close:
    """End the connection, both ends, once all before it is sent; it was recorded already."""


Action = ToClient | ToBroker | Published | Note | Close
Handler = Callable[[Packet, float], Sequence[Action]]


@dataclass(frozen=True, slots=True)
class _Message:
    """What an attempt is about; all empty for a connect."""

    topic: str = ""
    qos: int = 0
    retain: bool = False
    payload: bytes = b""


class Guard:
    """One connection. Feed what comes from either end; carry out the actions in their order until `Close`."""

    def __init__(self, account: Account, peer: Peer, packet_bytes_max: int) -> None:
        self._account = account
        self._peer = peer
        self._client_framer = Framer(packet_bytes_max)
        self._broker_framer = Framer(1 << 28)  # MQTT's own limit: what the broker holds came through a guard
        self._connect = Connect(0)
        self._aliases: dict[int, str] = {}
        self._alias_maximum = 0  # until CONNACK tells, the client must use none (3.2.2.3.8)
        self._broker_aliases: dict[int, str] = {}
        self._partly_denied: dict[int, tuple[bool, ...]] = {}  # packet identifier to the decisions on its filters
        self._dropped: set[int] = set()  # identifiers of denied QoS 2 publishes in their handshake (4.3.3)
        self._closed = False

    def from_client(self, data: bytes, now: float) -> Sequence[Action]:
        """What the client sent, in pieces of any size."""
        return self._run(self._client_framer, data, now, self._client_packet)

    def from_broker(self, data: bytes, now: float) -> Sequence[Action]:
        """What the broker sent, in pieces of any size."""
        return self._run(self._broker_framer, data, now, self._broker_packet)

    def close(self, reason: str, now: float) -> Sequence[Action]:
        """The connection ended, or has to: one record, whoever calls how often."""
        if self._closed:
            return ()
        self._closed = True
        return Note("mqtt-closed", now, {"connection": self._peer.connection, "reason": reason}), Close()

    def _run(self, framer: Framer, data: bytes, now: float, handle: Handler) -> Sequence[Action]:
        actions: list[Action] = []
        if self._closed:
            return actions
        try:
            for packet in framer.feed(data):
                actions += handle(packet, now)
                if self._closed:
                    break
        except ProtocolError as error:
            actions += self._break_off(error.reason, error.code, now)
        return actions

    def _break_off(self, reason: str, code: Reason, now: float) -> Sequence[Action]:
        """End the connection for what the client must not send (4.13)."""
        told = (ToClient(mqttpackets.disconnect(code)),) if self._connect.level == V5 else ()
        return *told, *self.close(f"protocol error: {reason}", now)

    def _client_packet(self, packet: Packet, now: float) -> Sequence[Action]:
        if not self._connect.level:
            if packet.type is not PacketType.CONNECT:
                raise ProtocolError(f"{packet.type.name} before CONNECT", Reason.PROTOCOL_ERROR)
            return self._on_connect(packet, now)
        match packet.type:
            case PacketType.PUBLISH:
                return self._on_publish(packet, now)
            case PacketType.SUBSCRIBE:
                return self._on_subscribe(packet, now)
            case PacketType.PUBREL if (packet_id := mqttpackets.read_packet_id(packet)) in self._dropped:
                self._dropped.discard(packet_id)
                return (ToClient(mqttpackets.acknowledge(PacketType.PUBCOMP, packet_id)),)
            case PacketType.DISCONNECT:
                return ToBroker(packet.data), *self.close("disconnect", now)
            case PacketType.CONNECT:
                raise ProtocolError("a second CONNECT", Reason.PROTOCOL_ERROR)
            case kind if kind in _NOT_FROM_A_CLIENT:
                raise ProtocolError(f"{kind.name} from a client", Reason.PROTOCOL_ERROR)
        return (ToBroker(packet.data),)

    def _on_connect(self, packet: Packet, now: float) -> Sequence[Action]:
        connect = mqttpackets.read_connect(packet)
        refusal = self._account.refusal(connect)
        if refusal:
            refused = Connect(connect.level, connect.client_id, connect.username)
            code = refusal.code if connect.level >= V5 else refusal.return_code
            return (
                self._attempt(refused, "connect", now, allowed=False, reason=refusal.reason),
                ToClient(mqttpackets.connack(code, connect.level)),
                *self.close(f"connect refused: {refusal.reason}", now),
            )
        self._connect = connect
        actions: list[Action] = [
            self._attempt(connect, "connect", now, allowed=True, reason="the credentials of the application")
        ]
        data, will = packet.data, connect.will
        if will:
            allowed, reason = self._decide("publish", will.topic)
            message = _Message(will.topic, will.qos, will.retain, will.payload)
            actions.append(self._attempt(connect, "will", now, message, allowed=allowed, reason=reason))
            if not allowed:
                data = mqttpackets.without_will(packet, will)
        return *actions, ToBroker(data)

    def _on_publish(self, packet: Packet, now: float) -> Sequence[Action]:
        level = self._connect.level
        publish = mqttpackets.read_publish(packet, level)
        topic = self._resolve(publish.topic, publish.alias)
        allowed, reason = self._decide("publish", topic)
        message = _Message(topic, publish.qos, publish.retain, publish.payload)
        attempt = self._attempt(self._connect, "publish", now, message, allowed=allowed, reason=reason)
        if allowed:
            return attempt, Published(topic, publish.payload), ToBroker(packet.data)
        if not _is_topic_name(topic):
            return attempt, *self._break_off("PUBLISH to no topic name", Reason.TOPIC_NAME_INVALID, now)
        if publish.qos == 0:
            return (attempt,)
        kind = PacketType.PUBACK if publish.qos == 1 else PacketType.PUBREC
        if level == V5:  # a PUBREC of 0x80 or more ends the handshake (4.3.3)
            return attempt, ToClient(mqttpackets.acknowledge(kind, publish.packet_id, Reason.NOT_AUTHORIZED))
        if publish.qos == 2:
            self._dropped.add(publish.packet_id)
        return attempt, ToClient(mqttpackets.acknowledge(kind, publish.packet_id))

    def _resolve(self, topic: str, alias: int) -> str:
        """The topic of a publish (3.3.2.3.4)."""
        if alias > self._alias_maximum:
            raise ProtocolError(
                f"topic alias {alias} over the maximum {self._alias_maximum}", Reason.TOPIC_ALIAS_INVALID
            )
        if not topic:
            topic = self._aliases.get(alias, "")
            if not topic:
                raise ProtocolError("PUBLISH without a topic", Reason.PROTOCOL_ERROR)
        if alias:
            self._aliases[alias] = topic
        return topic

    def _on_subscribe(self, packet: Packet, now: float) -> Sequence[Action]:
        subscribe = mqttpackets.read_subscribe(packet, self._connect.level)
        actions: list[Action] = []
        decisions = []
        for item in subscribe.filters:
            allowed, reason = self._decide("subscribe", item.topic)
            decisions.append(allowed)
            message = _Message(item.topic, item.qos)
            actions.append(self._attempt(self._connect, "subscribe", now, message, allowed=allowed, reason=reason))
        if any(acl.filter_defect(item.topic) for item in subscribe.filters):  # 4.7.1; MQTT 3.1.1 4.7.1
            return *actions, *self._break_off("SUBSCRIBE to no topic filter", Reason.TOPIC_FILTER_INVALID, now)
        if all(decisions):
            self._partly_denied.pop(subscribe.packet_id, None)
            return *actions, ToBroker(packet.data)
        if not any(decisions):
            head = subscribe.packet_id.to_bytes(2, "big") + (b"\0" if self._connect.level == V5 else b"")
            return *actions, ToClient(mqttpackets.suback(head, self._codes(decisions, b"")))
        self._partly_denied[subscribe.packet_id] = tuple(decisions)
        left = [item for item, allowed in zip(subscribe.filters, decisions, strict=True) if allowed]
        return *actions, ToBroker(mqttpackets.subscribe(subscribe.head, left))

    def _codes(self, decisions: Sequence[bool], granted: bytes) -> list[int]:
        """A SUBACK's codes in the order of the filters; granted are the broker's for the allowed ones."""
        denied = Reason.NOT_AUTHORIZED if self._connect.level == V5 else 0x80
        codes = iter(granted)
        return [next(codes) if allowed else denied for allowed in decisions]

    def _broker_packet(self, packet: Packet, now: float) -> Sequence[Action]:
        match packet.type:
            case PacketType.CONNACK:
                self._alias_maximum = mqttpackets.read_topic_alias_maximum(packet, self._connect.level)
            case PacketType.PUBLISH:
                return self._delivered(packet, now), ToClient(packet.data)
            case PacketType.SUBACK if decisions := self._partly_denied.pop(mqttpackets.read_packet_id(packet), None):
                split = len(packet.body) - sum(decisions)
                codes = self._codes(decisions, packet.body[split:])
                return (ToClient(mqttpackets.suback(packet.body[:split], codes)),)
        return (ToClient(packet.data),)

    def _delivered(self, packet: Packet, now: float) -> Note:
        publish = mqttpackets.read_publish(packet, self._connect.level)
        topic = publish.topic or self._broker_aliases.get(publish.alias, "")
        if publish.alias:
            self._broker_aliases[publish.alias] = topic
        fields = {"connection": self._peer.connection, "topic": topic[:TEXT_CHARACTERS_MAX]}
        fields["length"] = len(publish.payload)
        return Note("mqtt-delivered", now, fields)

    def _decide(self, access: Access, topic: str) -> tuple[bool, str]:
        rule = acl.decide(self._account.permissions or (), access, topic)
        if rule is None:
            return False, acl.filter_defect(topic) or f"no {access} of auth/acl.xml covers it"
        return True, f"allow {rule.access} {rule.topic}"

    def _attempt(
        self, connect: Connect, action: str, now: float, message: _Message = _Message(), *, allowed: bool, reason: str
    ) -> Note:
        fields = {
            "connection": self._peer.connection,
            "client": self._peer.client,
            "address": self._peer.address,
            "protocol": _PROTOCOLS.get(connect.level, str(connect.level)),
            "client_id": connect.client_id[:TEXT_CHARACTERS_MAX],
            "username": (connect.username or "")[:TEXT_CHARACTERS_MAX],
            "action": action,
            "topic": message.topic[:TEXT_CHARACTERS_MAX],
            "qos": message.qos,
            "retain": message.retain,
            "payload": message.payload[: 4 * PAYLOAD_CHARACTERS_MAX].decode(errors="replace")[:PAYLOAD_CHARACTERS_MAX],
            "allowed": allowed,
            "reason": reason[:TEXT_CHARACTERS_MAX],
        }
        return Note("mqtt-attempt", now, fields)


def _is_topic_name(topic: str) -> bool:
    """MQTT 4.7.1: wildcards must not stand in the name of a topic."""
    return not acl.filter_defect(topic) and "+" not in topic and "#" not in topic
