"""The guard, without sockets: what reaches the broker, what the client is answered, what is recorded."""

from collections.abc import Sequence
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from conformance.application import Permission
from conformance.package import acl
from conformance.trace import faults
from emulator import mqttpackets
from emulator.account import Account
from emulator.guard import Action, Close, Guard, Peer, Published, ToBroker, ToClient
from emulator.mqtt import Framer, Packet, PacketType, Reason, encode, encode_text
from emulator.mqttpackets import V5, V311, Filter
from emulator.service import Note

PASSWORD = "a secret of the run"
PERMISSIONS = (
    Permission("subscribe", "racs/cell/+/load"),
    Permission("subscribe", "app/goon/#"),
    Permission("publish", "app/goon/#"),
)
ACCOUNT = Account("goon", PASSWORD, PERMISSIONS)
LEVELS = pytest.mark.parametrize("level", [V311, V5], ids=["3.1.1", "5"])


def connect(level: int, will: str = "", user: str = "goon", password: str = PASSWORD, client_id: str = "me") -> bytes:
    flags = 0xC2 | (0x24 if will else 0)
    empty = b"\0" if level == V5 else b""
    body = encode_text("MQTT") + bytes([level, flags, 0, 60]) + empty + encode_text(client_id)
    if will:
        body += empty + encode_text(will) + encode_text("gone")
    return encode(PacketType.CONNECT, body + encode_text(user) + encode_text(password))


def publish(level: int, topic: str, qos: int = 0, packet_id: int = 1, alias: int = 0, payload: bytes = b"x") -> bytes:
    properties = (b"\x03\x23" + alias.to_bytes(2, "big") if alias else b"\0") if level == V5 else b""
    identifier = packet_id.to_bytes(2, "big") if qos else b""
    return encode(PacketType.PUBLISH, encode_text(topic) + identifier + properties + payload, flags=qos << 1)


def subscribe(level: int, *filters: str, packet_id: int = 7) -> bytes:
    head = packet_id.to_bytes(2, "big") + (b"\0" if level == V5 else b"")
    return mqttpackets.subscribe(head, [Filter(topic, 1) for topic in filters])


def accepted(level: int, alias_maximum: int = 10) -> bytes:
    properties = b"\x03\x22" + alias_maximum.to_bytes(2, "big") if level == V5 else b""
    return encode(PacketType.CONNACK, b"\0\0" + properties)


class Session:
    """A guard and all that came out of it."""

    def __init__(self, level: int, account: Account = ACCOUNT, *, connected: bool = True, limit: int = 1 << 16) -> None:
        self.guard = Guard(account, Peer(3, "app", "10.199.0.9"), limit)
        self.client, self.broker = b"", b""
        self.notes: list[Note] = []
        self.published: list[Published] = []
        self.closed = False
        if connected:
            self.send(connect(level))
            self.answer(accepted(level))
            self.client, self.broker = b"", b""
            self.notes.clear()

    def send(self, *data: bytes) -> "Session":
        for piece in data:
            self._take(self.guard.from_client(piece, 1.0))
        return self

    def answer(self, *data: bytes) -> "Session":
        for piece in data:
            self._take(self.guard.from_broker(piece, 2.0))
        return self

    def _take(self, actions: Sequence[Action]) -> None:
        for action in actions:
            assert not self.closed, "nothing comes after Close"
            match action:
                case ToClient():
                    self.client += action.data
                case ToBroker():
                    self.broker += action.data
                case Note():
                    assert not faults(action.kind, action.fields)
                    self.notes.append(action)
                case Published():
                    self.published.append(action)
                case Close():
                    self.closed = True

    @property
    def attempts(self) -> list[tuple[str, str, bool]]:
        return [
            (note.fields["action"], note.fields["topic"], note.fields["allowed"])
            for note in self.notes
            if note.kind == "mqtt-attempt"
        ]

    @property
    def end(self) -> str:
        return next((str(note.fields["reason"]) for note in self.notes if note.kind == "mqtt-closed"), "")


@LEVELS
def test_an_allowed_connect_passes_byte_for_byte(level: int) -> None:
    session = Session(level, connected=False).send(connect(level, will="app/goon/will"))
    assert session.broker == connect(level, will="app/goon/will") and not session.client
    assert session.attempts == [("connect", "", True), ("will", "app/goon/will", True)]
    assert session.notes[0].fields["username"] == "goon" and session.notes[0].fields["client_id"] == "me"
    assert PASSWORD not in str(session.notes) and PASSWORD not in repr(ACCOUNT)


@LEVELS
@pytest.mark.parametrize(
    ("changes", "account", "code"),
    [
        ({"password": "guessed"}, ACCOUNT, Reason.BAD_USER_NAME_OR_PASSWORD),
        ({"user": "other"}, ACCOUNT, Reason.BAD_USER_NAME_OR_PASSWORD),
        ({"user": ""}, ACCOUNT, Reason.BAD_USER_NAME_OR_PASSWORD),
        ({}, Account("goon", PASSWORD, None), Reason.NOT_AUTHORIZED),
    ],
)
def test_a_refused_connect(level: int, changes: dict[str, str], account: Account, code: int) -> None:
    session = Session(level, account, connected=False).send(connect(level, **changes) + subscribe(level, "app/goon/x"))
    assert session.closed and not session.broker
    assert session.client == (bytes([0x20, 3, 0, code, 0]) if level == V5 else bytes([0x20, 2, 0, 5]))
    assert session.attempts == [("connect", "", False)]
    assert "guessed" not in str(session.notes)


@pytest.mark.parametrize(("level", "answer"), [(3, "20020001"), (6, "20020084")])
def test_other_protocol_levels_are_refused(level: int, answer: str) -> None:
    name = "MQIsdp" if level == 3 else "MQTT"
    data = encode(PacketType.CONNECT, encode_text(name) + bytes([level, 2, 0, 60]) + encode_text("me"))
    session = Session(level, connected=False).send(data)
    assert session.client.hex() == answer and session.closed
    assert session.notes[0].fields["protocol"] == ("3.1" if level == 3 else "6")


def test_an_unnamed_session_that_is_to_be_kept_is_refused() -> None:
    body = (
        encode_text("MQTT") + bytes([V311, 0xC0, 0, 60]) + encode_text("") + encode_text("goon") + encode_text(PASSWORD)
    )
    session = Session(V311, connected=False).send(encode(PacketType.CONNECT, body))
    assert session.client == bytes([0x20, 2, 0, 2]) and session.closed


@LEVELS
def test_a_forbidden_will_is_taken_out(level: int) -> None:
    session = Session(level, connected=False).send(connect(level, will="racs/cell/a/load"))
    assert session.broker == connect(level)[:2] + session.broker[2:] and b"racs/cell" not in session.broker
    (packet,) = Framer(1 << 16).feed(session.broker)
    read = mqttpackets.read_connect(packet)
    assert read.will is None and (read.username, read.password) == ("goon", PASSWORD.encode())
    assert session.attempts == [("connect", "", True), ("will", "racs/cell/a/load", False)]


@LEVELS
@pytest.mark.parametrize("qos", [0, 1, 2])
def test_publish(level: int, qos: int) -> None:
    allowed, denied = publish(level, "app/goon/x", qos), publish(level, "app/other/x", qos, 2)
    session = Session(level).send(allowed + denied)
    assert session.broker == allowed
    assert session.published == [Published("app/goon/x", b"x")]
    assert session.attempts == [("publish", "app/goon/x", True), ("publish", "app/other/x", False)]
    kind = {0: b"", 1: b"\x40", 2: b"\x50"}[qos]
    answer = (b"\x03\0\x02\x87" if level == V5 else b"\x02\0\x02") if qos else b""
    assert session.client == kind + answer and not session.closed


def test_a_denied_handshake_ends_at_the_guard() -> None:
    pubrel = mqttpackets.acknowledge(PacketType.PUBREL, 2)
    session = Session(V311).send(publish(V311, "x", 2, 2), pubrel)
    assert session.client == bytes.fromhex("50020002" + "70020002") and not session.broker
    assert session.send(pubrel).broker == pubrel, "a second one belongs to another message"


@LEVELS
def test_subscribe_all_allowed_passes_byte_for_byte(level: int) -> None:
    data = subscribe(level, "racs/cell/+/load", "app/goon/x")
    suback = mqttpackets.suback(b"\0\x07" + (b"\0" if level == V5 else b""), [0, 1])
    session = Session(level).send(data).answer(suback)
    assert session.broker == data and session.client == suback


@LEVELS
def test_subscribe_all_denied_never_reaches_the_broker(level: int) -> None:
    topics = ("#", "+/cell/a/load", "$SYS/#", "$share/g/racs/cell/+/load", "racs/cell/#", "racs/app/+/properties")
    session = Session(level).send(subscribe(level, *topics))
    denied = 0x87 if level == V5 else 0x80
    head = b"\0\x07" + (b"\0" if level == V5 else b"")
    assert session.client == mqttpackets.suback(head, [denied] * 6) and not session.broker
    assert session.attempts == [("subscribe", topic, False) for topic in topics]


@LEVELS
def test_subscribe_mixed(level: int) -> None:
    session = Session(level).send(subscribe(level, "#", "app/goon/a", "racs/#", "app/goon/b"))
    assert session.broker == subscribe(level, "app/goon/a", "app/goon/b")
    head = b"\0\x07" + (b"\x06\x1f\0\x03why" if level == V5 else b"")  # the broker's properties stay
    session.answer(mqttpackets.suback(head, [1, 2]))
    denied = 0x87 if level == V5 else 0x80
    assert session.client == mqttpackets.suback(head, [denied, 1, denied, 2])
    session.client = b""
    again = mqttpackets.suback(head, [0])
    assert session.answer(again).client == again, "the identifier is free again"


def test_a_topic_alias_is_the_topic_it_stands_for() -> None:
    first, second = publish(V5, "app/goon/x", alias=1), publish(V5, "", alias=1)
    session = Session(V5).send(first, second)
    assert session.broker == first + second
    session.broker = b""
    session.send(publish(V5, "racs/x", alias=1), publish(V5, "", alias=1))
    assert session.broker == b"" and not session.closed
    assert session.attempts[2:] == [("publish", "racs/x", False)] * 2
    renewed = publish(V5, "app/goon/y", alias=1)
    assert session.send(renewed, second).broker == renewed + second


def test_what_the_broker_delivers_is_recorded_and_passes() -> None:
    message, by_alias = publish(V5, "app/goon/x", alias=4, payload=b"12345"), publish(V5, "", alias=4)
    session = Session(V5).answer(message[:3], message[3:] + by_alias)
    assert session.client == message + by_alias
    assert [(note.kind, note.fields["topic"], note.fields["length"]) for note in session.notes] == [
        ("mqtt-delivered", "app/goon/x", 5),
        ("mqtt-delivered", "app/goon/x", 1),
    ]


ERRORS = {
    "not MQTT": (b"GET / HTTP/1.1\r\n\r\n", "flags"),
    "a second CONNECT": (connect(V5), "second CONNECT"),
    "CONNACK": (accepted(V5), "CONNACK from a client"),
    "AUTH": (b"\xf0\0", "AUTH from a client"),
    "an alias over the maximum": (publish(V5, "app/goon/x", alias=11), "alias 11 over the maximum 10"),
    "an alias never set": (publish(V5, "", alias=3), "without a topic"),
    "an empty topic": (publish(V5, ""), "without a topic"),
    "a wildcard in a topic": (publish(V5, "app/goon/+"), "no topic name"),
    "a wrong filter": (subscribe(V5, "app/goon/x", "app/goon/#/x"), "no topic filter"),
    "a packet over the limit": (publish(V5, "app/goon/x", payload=bytes(1 << 16)), "over the limit"),
    "a cut body": (b"\x32\x03\0\x01a", "cut short"),
}


@pytest.mark.parametrize(("data", "reason"), ERRORS.values(), ids=ERRORS)
def test_protocol_errors_end_the_connection(data: bytes, reason: str) -> None:
    session = Session(V5).send(data + publish(V5, "app/goon/after"))
    assert session.closed and session.end.startswith("protocol error: ") and reason in session.end
    assert session.broker == b"" and session.client[:2] == b"\xe0\x01" and session.client[2] >= 0x81
    assert session.send(publish(V5, "app/goon/later")).broker == b""
    silent = Session(V311).send(b"\xf0\0")
    assert silent.closed and silent.client == b"", "MQTT 3.1.1 has no DISCONNECT of the server"


@pytest.mark.parametrize("data", [publish(V311, "app/goon/x"), b"\xc0\0", b"\x10\x02\0\x04"])
def test_before_a_good_connect_nothing_passes(data: bytes) -> None:
    session = Session(V311, connected=False).send(data)
    assert session.closed and session.broker == session.client == b"" and "protocol error" in session.end


@pytest.mark.parametrize("topic", ["app/goon/+", "app/goon/#"])
def test_an_attempt_that_breaks_the_protocol_is_recorded_as_one(topic: str) -> None:
    assert Session(V311).send(publish(V311, topic)).attempts == [("publish", topic, False)]


def test_the_end_is_recorded_once() -> None:
    session = Session(V311).send(b"\xe0\0")
    assert session.broker == b"\xe0\0" and session.end == "disconnect" and session.closed
    assert session.guard.close("connection lost", 3.0) == ()
    lost = Session(V311)
    assert [type(action) for action in lost.guard.close("connection lost", 3.0)] == [Note, Close]


def test_long_texts_are_cut_in_the_record_only() -> None:
    topic, payload = "app/goon/" + "ü" * 20_000, "ß".encode() * 9000
    data = publish(V311, topic, payload=payload)
    session = Session(V311).send(data)
    assert session.broker == data
    fields = session.notes[0].fields
    assert len(fields["topic"]) == 1024 and fields["payload"] == "ß" * 4096


# -- whatever a client sends -------------------------------------------------------------------------------------------

TOPICS = st.sampled_from(
    ["app/goon/x", "app/goon/y", "app/other/x", "racs/cell/a/load", "", "app/goon/+", "$SYS/x", "app/goon"]
)
FILTERS = st.sampled_from(
    [
        "racs/cell/+/load",
        "racs/cell/a/load",
        "app/goon/#",
        "#",
        "+/#",
        "racs/#",
        "$share/g/app/goon/x",
        "app/goon/#/x",
        "",
    ]
)


@st.composite
def packets(draw: st.DrawFn, level: int) -> bytes:
    match draw(st.integers(0, 9)):
        case 0 | 1 | 2 | 3:
            qos = draw(st.integers(0, 2))
            alias = draw(st.integers(0, 3)) if level == V5 else 0
            return publish(level, draw(TOPICS), qos, draw(st.integers(1, 3)), alias)
        case 4 | 5 | 6:
            return subscribe(level, *draw(st.lists(FILTERS, min_size=1, max_size=4)), packet_id=draw(st.integers(1, 3)))
        case 7:
            return mqttpackets.acknowledge(PacketType.PUBREL, draw(st.integers(1, 3)))
        case 8:
            return draw(st.sampled_from([b"\xc0\0", connect(level), b"\xe0\0"]))
        case _:
            return encode(
                draw(st.sampled_from(list(PacketType))), draw(st.binary(max_size=20)), draw(st.integers(0, 15))
            )


@st.composite
def soups(draw: st.DrawFn) -> tuple[int, list[bytes]]:
    level = draw(st.sampled_from([V311, V5]))
    will = draw(st.sampled_from(["", "app/goon/will", "racs/will"]))
    return level, [connect(level, will), *draw(st.lists(packets(level), max_size=12))]


def forwarded(level: int, data: bytes) -> list[Packet]:
    return list(Framer(1 << 20).feed(data))


@given(soups())
@settings(derandomize=True, max_examples=600, deadline=None)
def test_the_broker_never_gets_what_the_acl_forbids(soup: tuple[int, list[bytes]]) -> None:
    level, data = soup
    session = Session(level, connected=False).send(data[0]).answer(accepted(level, 2)).send(*data[1:])
    aliases: dict[int, str] = {}  # as a broker keeps them
    for packet in forwarded(level, session.broker):
        match packet.type:
            case PacketType.CONNECT:
                will = mqttpackets.read_connect(packet).will
                assert will is None or acl.decide(PERMISSIONS, "publish", will.topic)
            case PacketType.PUBLISH:
                read = mqttpackets.read_publish(packet, level)
                topic = read.topic or aliases[read.alias]
                if read.alias:
                    aliases[read.alias] = topic
                assert acl.decide(PERMISSIONS, "publish", topic)
            case PacketType.SUBSCRIBE:
                for item in mqttpackets.read_subscribe(packet, level).filters:
                    assert acl.decide(PERMISSIONS, "subscribe", item.topic)


@given(soups(), st.lists(st.integers(0, 400), max_size=6))
@settings(derandomize=True, max_examples=200, deadline=None)
def test_how_the_stream_is_cut_makes_no_difference(soup: tuple[int, list[bytes]], cuts: list[int]) -> None:
    level, data = soup
    whole, pieces = Session(level, connected=False), Session(level, connected=False)
    stream = b"".join(data)
    edges = [0, *sorted(min(cut, len(stream)) for cut in cuts), len(stream)]
    whole.send(stream)
    pieces.send(*(stream[begin:end] for begin, end in pairwise(edges)))
    assert (whole.client, whole.broker, whole.notes) == (pieces.client, pieces.broker, pieces.notes)


@given(st.binary(max_size=200), st.binary(max_size=200))
@settings(derandomize=True, max_examples=400, deadline=None)
def test_noise_never_raises(before: bytes, after: bytes) -> None:
    assert not Session(V5, connected=False).send(before).broker
    Session(V5).send(after).answer(before)
