"""Whether an answer is one (contract 7): of a service or forward that declares a Probe or has a known port. Pure."""

import re
from dataclasses import dataclass

from conformance.application import Service
from conformance.profile import Profile
from conformance.trace import Event


@dataclass(frozen=True, slots=True)
class Fault:
    """partial is True where more of an answer, or one at all, might still have come: a busy host may delay it."""

    expected: str
    seen: str
    remedy: str
    partial: bool = False


def fault_of_answer(flow: Event, service: Service, profile: Profile) -> Fault | None:
    """What is wrong with the answer that a flow got from a service; None when nothing is.

    A Probe decides where there is one, else the protocol of a port that the profile knows, else an open connection.
    """
    answer = bytes.fromhex(flow["answer"])
    known = profile["user_plane.known_ports"].get(str(service.port), "")
    seen = _shown(answer) + (f" ({flow['error']})" if flow["error"] else "")
    if service.probe_expect:
        expected = bytes.fromhex(service.probe_expect)
        if not answer.startswith(expected[:64]):  # a flow keeps no more of an answer
            text, remedy = f"an answer that begins with {service.probe_expect}", "answer as the Probe says"
            return Fault(text, seen, remedy, expected.startswith(answer))
    elif known and not _speaks(known, answer, flow):
        text, remedy = f"an answer of {known} ({_LOOKS[known]})", f"speak {known} on port {service.port}"
        if not answer:
            remedy = f"let {known} listen on port {service.port} and answer in time (user_plane.service_answer_s)"
        return Fault(text, seen, remedy, not answer or (known in _CUT and not flow["completed"]))
    if not flow["completed"]:
        remedy = "answer within the profile's time (user_plane.service_answer_s)"
        return Fault("the exchange to complete", flow["error"] or "it did not", remedy, True)
    return None


_CUT = ("echo", "http")  # what came may be the beginning of a right answer, or a busy server's 503
_LOOKS = {
    "echo": "the same bytes",
    "ssh": 'a line that begins with "SSH-"',
    "http": "an HTTP status line below 500",
    "dns": "a DNS response",
    "ntp": "an NTP server's packet",
}


def _speaks(known: str, answer: bytes, flow: Event) -> bool:
    if known == "ssh":
        return answer.startswith(b"SSH-")
    if known == "http":
        return re.match(rb"HTTP/1\.[01] [1-4][0-9][0-9]( |\r|$)", answer) is not None  # RFC 9112 4
    if known == "dns":
        return len(answer) >= 12 and bool(answer[2] & 0x80)  # RFC 1035 4.1.1: QR
    if known == "ntp":
        return len(answer) >= 48 and answer[0] & 7 == 4  # RFC 5905 7.3: mode server
    expected = flow["expected_sha256"] or flow["sent_sha256"]
    return bool(expected) and flow["received_sha256"] == expected


def _shown(answer: bytes) -> str:
    return repr(answer[:32].decode("ascii", "backslashreplace")) if answer else "nothing"
