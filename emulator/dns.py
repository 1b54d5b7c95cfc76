"""The service DNS (contract 2) without a socket: the platform's own names and the operator's zone, NXDOMAIN else.

A thin adapter of dnslib's codec. UDP only: no answer comes near 512 bytes, so none is ever truncated and no resolver
has a reason to ask over TCP (RFC 7766 5).
"""

from collections.abc import Mapping, Sequence

from dnslib import CLASS, EDNS0, QTYPE, RCODE, RR, A, DNSError, DNSHeader, DNSQuestion, DNSRecord

from emulator.service import Action, Address, Note, Send

TTL_S = 30
EDNS_BYTES = 1232
_HEADER_BYTES = 12
_IS_RESPONSE = 0x80


class DnsCore:
    """Answers A questions for the given names (any case, address in text); notes every question as ``dns-query``."""

    def __init__(self, names: Mapping[str, str]) -> None:
        self._names = {name.lower().rstrip("."): address for name, address in names.items()}
        self._away = False

    def pause(self) -> None:
        """The server is away: nothing is answered, all is noted."""
        self._away = True

    def resume(self) -> None:
        self._away = False

    def receive(self, data: bytes, source: Address, now: float) -> Sequence[Action]:
        if len(data) < _HEADER_BYTES or data[2] & _IS_RESPONSE:
            return [self._note("", "", source, "", now)]  # no question; an answer to an answer could go on for ever
        try:
            request = DNSRecord.parse(data)
            (question,) = request.questions  # RFC 9619: never more than one
            name = str(question.qname).rstrip(".").lower()
        except (DNSError, ValueError):
            refusal = DNSRecord(DNSHeader(id=int.from_bytes(data[:2]), qr=1, rcode=RCODE.FORMERR))  # RFC 1035 4.1.1
            return self._finish(refusal, ("", ""), source, now)
        reply = self._reply(request, question, name)
        return self._finish(reply, (name, str(QTYPE.get(question.qtype))), source, now)

    def wake(self, now: float) -> Sequence[Action]:
        return ()

    def next_wake(self) -> float | None:
        return None

    def _reply(self, request: DNSRecord, question: DNSQuestion, name: str) -> DNSRecord:
        reply = request.reply()
        reply.header.ad = 0  # RFC 6840 5.8: nothing is validated here
        if any(record.rtype == QTYPE.OPT for record in request.ar):
            reply.add_ar(EDNS0(udp_len=EDNS_BYTES))  # RFC 6891 6.1.1: an OPT is answered by an OPT
        if request.header.opcode:
            reply.header.rcode = RCODE.NOTIMP
        elif question.qclass != CLASS.IN:
            reply.header.rcode = RCODE.REFUSED
        elif name in self._names:
            if question.qtype in (QTYPE.A, QTYPE.ANY):
                reply.add_answer(RR(question.qname, QTYPE.A, rdata=A(self._names[name]), ttl=TTL_S))
        elif not self._is_above(name):
            reply.header.rcode = RCODE.NXDOMAIN
        return reply

    def _is_above(self, name: str) -> bool:
        """A name with known ones below it exists, empty (RFC 8020 2): NXDOMAIN would deny those too."""
        return not name or any(known.endswith(f".{name}") for known in self._names)

    def _finish(self, reply: DNSRecord, asked: tuple[str, str], source: Address, now: float) -> Sequence[Action]:
        if self._away:
            return [self._note(*asked, source, "", now)]
        code = str(RCODE.get(reply.header.rcode))
        records = " ".join(str(record.rdata) for record in reply.rr) or "NODATA"  # RFC 2308 1
        answer = code if reply.header.rcode else records
        return [Send(reply.pack(), source), self._note(*asked, source, answer, now)]

    def _note(self, name: str, kind: str, source: Address, answer: str, now: float) -> Note:
        return Note("dns-query", now, {"name": name, "type": kind, "address": source[0], "answer": answer})
