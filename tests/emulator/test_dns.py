"""The service DNS: what it knows, what it denies, and what it does with noise."""

import pytest
from dnslib import EDNS0, QTYPE, RCODE, DNSHeader, DNSQuestion, DNSRecord
from hypothesis import given, settings
from hypothesis import strategies as st

from conformance.profile import load
from emulator.dns import DnsCore
from emulator.platform import service_names
from emulator.service import Note, Send

SOURCE = ("10.199.0.10", 5353)
NAMES = {**service_names(load()), "goon.apps.example": "192.0.2.10"}


def ask(data: bytes, core: DnsCore | None = None) -> tuple[DNSRecord | None, Note]:
    *sent, note = (core or DnsCore(NAMES)).receive(data, SOURCE, 7.0)
    assert isinstance(note, Note) and note.kind == "dns-query" and note.at == 7.0
    if not sent:
        return None, note
    (send,) = sent
    assert isinstance(send, Send) and send.to == SOURCE and len(send.data) < 512
    return DNSRecord.parse(send.data), note


@pytest.mark.parametrize(
    ("name", "kind", "code", "answer"),
    [
        ("heartbeat.racs.internal", "A", "NOERROR", "10.199.0.1"),
        ("mqtt.racs.internal", "A", "NOERROR", "10.199.0.1"),
        ("NTP.Racs.Internal", "A", "NOERROR", "10.199.0.1"),
        ("goon.apps.example", "A", "NOERROR", "192.0.2.10"),
        ("goon.apps.example", "AAAA", "NOERROR", "NODATA"),
        ("racs.internal", "A", "NOERROR", "NODATA"),
        ("example", "A", "NOERROR", "NODATA"),
        (".", "NS", "NOERROR", "NODATA"),
        ("pool.ntp.org", "A", "NXDOMAIN", "NXDOMAIN"),
        ("xracs.internal", "A", "NXDOMAIN", "NXDOMAIN"),
        ("x.heartbeat.racs.internal", "A", "NXDOMAIN", "NXDOMAIN"),
        ("1.0.199.10.in-addr.arpa", "PTR", "NXDOMAIN", "NXDOMAIN"),
    ],
)
def test_answers(name: str, kind: str, code: str, answer: str) -> None:
    question = DNSRecord.question(name, kind)
    reply, note = ask(question.pack())
    assert reply is not None
    assert (reply.header.id, reply.header.qr, reply.header.ra) == (question.header.id, 1, 1)
    assert RCODE.get(reply.header.rcode) == code
    assert str(reply.q.qname) == str(question.q.qname)  # its letters as asked, a resolver may check them
    assert [str(record.rdata) for record in reply.rr] == ([answer] if answer[0].isdigit() else [])
    assert note.fields == {"name": name.lower().rstrip("."), "type": kind, "address": SOURCE[0], "answer": answer}


def test_edns_is_answered_with_edns() -> None:
    question = DNSRecord.question("ntp.racs.internal")
    question.add_ar(EDNS0(udp_len=4096))
    reply, _ = ask(question.pack())
    assert reply is not None and [record.rtype for record in reply.ar] == [QTYPE.OPT]


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (DNSRecord(DNSHeader(id=9, opcode=5), q=DNSQuestion("a.example")).pack(), "NOTIMP"),
        (DNSRecord(DNSHeader(id=9), q=DNSQuestion("version.bind", QTYPE.TXT, 3)).pack(), "REFUSED"),
        (DNSRecord(DNSHeader(id=9)).pack(), "FORMERR"),
        (DNSRecord(DNSHeader(id=9), questions=[DNSQuestion("a"), DNSQuestion("b")]).pack(), "FORMERR"),
        (DNSRecord(DNSHeader(id=9), q=DNSQuestion("a.example")).pack()[:-3], "FORMERR"),
    ],
)
def test_refusals(data: bytes, code: str) -> None:
    reply, note = ask(data)
    assert reply is not None and reply.header.id == 9
    assert RCODE.get(reply.header.rcode) == code
    assert note.fields["answer"] == code


@pytest.mark.parametrize("data", [b"", b"\0" * 11, DNSRecord.question("a.example").reply().pack()])
def test_no_question_is_noted_and_not_answered(data: bytes) -> None:
    reply, note = ask(data)
    assert reply is None and note.fields["answer"] == ""


def test_outage_is_silence_and_noted() -> None:
    core = DnsCore(NAMES)
    core.pause()
    reply, note = ask(DNSRecord.question("mqtt.racs.internal").pack(), core)
    assert reply is None
    assert note.fields["name"] == "mqtt.racs.internal" and note.fields["answer"] == ""
    core.resume()
    assert ask(DNSRecord.question("mqtt.racs.internal").pack(), core)[0] is not None


@settings(derandomize=True, max_examples=300, deadline=None)
@given(st.one_of(st.binary(max_size=80), st.binary(max_size=60).map(lambda tail: b"\0\1\1\0\0\1\0\0\0\0\0\0" + tail)))
def test_any_bytes_are_noted_once(data: bytes) -> None:
    actions = DnsCore(NAMES).receive(data, SOURCE, 1.0)
    assert [type(action) for action in actions] in ([Note], [Send, Note])


@settings(derandomize=True, max_examples=300, deadline=None)
@given(st.integers(0, 30), st.integers(0, 255))
def test_a_question_with_one_spoiled_byte_is_noted_once(position: int, value: int) -> None:
    data = bytearray(DNSRecord.question("mqtt.racs.internal").pack())
    data[position] = value
    actions = DnsCore(NAMES).receive(bytes(data), SOURCE, 1.0)
    assert [type(action) for action in actions] in ([Note], [Send, Note])
