"""OFT and OTT over hand-made traces: what each check passes, fails and cannot tell."""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
from scapy.layers.inet import IP, TCP, UDP, fragment
from scapy.layers.l2 import Ether
from settling import FACT, check_margin

from conformance import gtpu
from conformance.application import Application, Effect, Endpoint, Rule, Service
from conformance.checks.traffic import CHECKS
from conformance.profile import load
from conformance.trace import Capture, Frame, Trace, make_trace
from conformance.verdict import Verdict

PROFILE = load()
UE, UE1, SERVER, APP = "10.45.0.1", "10.45.0.2", "203.0.113.9", "192.0.2.10"
UPLINK, DOWNLINK = {UE: 0x101, UE1: 0x103}, {UE: 0x102, UE1: 0x104}
RULES = (
    Rule("echo", "uplink", "proto in {TCP, UDP} && dst_port == 7"),
    Rule("echo", "downlink", "proto in {TCP, UDP} && src_port == 7"),
)
LENS = Application("lens", "transparent", "v", "p", "1.0", 1.0, ("service", "user-plane"), RULES)
ECHO, WEB, PROBED = Service("udp", 7), Service("tcp", 80), Service("udp", 5000, "70", "71")
GOON = replace(LENS, type="terminating", rules=(), endpoints=(Endpoint("goon.apps.example", (ECHO, WEB, PROBED)),))
SIZES: Sequence[int] = PROFILE["user_plane.payload_sizes"]
STREAM: int = PROFILE["user_plane.stream_bytes"]

CAPTURED = ("s1u-enb", "s1u-epc", "sgi", "user-plane")

Bytes = Callable[[bytes], Sequence[bytes]]


def as_is(packet: bytes) -> Sequence[bytes]:
    return [packet]


def nothing(packet: bytes) -> Sequence[bytes]:
    return []


def changed(**fields: Any) -> Bytes:
    """The app changes IP fields, or those of the transport named as udp_x; checksums are made right again."""

    def change(packet: bytes) -> Sequence[bytes]:
        read = IP(packet)
        del read.chksum
        if UDP in read:
            del read[UDP].chksum
        for name, value in fields.items():
            setattr(read[UDP] if name.startswith("udp_") else read, name.removeprefix("udp_"), value)
        return [bytes(read)]

    return change


@dataclass
class Scene:
    """A run on the making: `exchange` plays one flow through all points of capture, an app in the middle."""

    application: Application = LENS
    events: list[tuple[float, str, Mapping[str, Any]]] = field(default_factory=list)
    frames: dict[str, list[Frame]] = field(
        default_factory=lambda: {n: [] for n in ("s1u-enb", "s1u-epc", "sgi", "user-plane")}
    )
    drops: dict[str, int] = field(default_factory=dict)
    now: float = 100.0
    port: int = 40000

    def __post_init__(self) -> None:
        addresses = {"service": "10.199.0.10", "user-plane": APP if self.application is GOON else "10.198.0.2"}
        self.note("run", application=self.application.to_json(), addresses=addresses)
        for ue, teid in UPLINK.items():
            self.note("attach", address=ue, uplink_teid=teid, downlink_teid=DOWNLINK[ue])
        self.note("bypass", active=False)

    def note(self, kind: str, **fields: Any) -> None:
        self.events.append((self.now, kind, fields))

    def see(self, interface: str, data: bytes, from_lab: bool) -> None:
        self.now += 0.001
        self.frames[interface].append(Frame(self.now, data, from_lab))

    def tunnelled(self, interface: str, teid: int, inner: bytes, from_lab: bool) -> None:
        outer = IP(src="10.200.1.1", dst="10.200.1.2") / UDP(sport=2152, dport=2152) / gtpu.encode_g_pdu(teid, inner)
        self.see(interface, bytes(Ether() / outer), from_lab)

    def carry(self, packet: bytes, app: Bytes | None, teid: int | None = None) -> None:
        """One packet on its way; app None: it bypasses. teid: of a wrong bearer into which it re-enters."""
        read = IP(packet)
        uplink = read.src in UPLINK
        ue = read.src if uplink else read.dst
        near, far = ("s1u-enb", "s1u-epc") if uplink else ("s1u-epc", "s1u-enb")
        bearer = UPLINK.get(ue) if uplink else DOWNLINK.get(ue)
        if bearer is not None:
            if not uplink:
                self.see("sgi", packet, from_lab=True)
            self.tunnelled(near, bearer, packet, from_lab=False)
        onward = [packet]
        if app is not None:
            self.see("user-plane", bytes(Ether())[:12] + b"\x08\0" + packet, from_lab=True)
            onward = list(app(packet))
            for out in onward:
                self.see("user-plane", bytes(Ether())[:12] + b"\x08\0" + out, from_lab=False)
        for out in onward:
            out_read = IP(out)
            out_ue = out_read.src if uplink else out_read.dst
            if bearer is None or out_ue not in UPLINK:
                continue
            self.tunnelled(far, teid or (UPLINK if uplink else DOWNLINK)[out_ue], out, from_lab=True)
            if uplink:
                self.see("sgi", out, from_lab=False)

    def exchange(
        self,
        up: Bytes | None = as_is,
        down: Bytes | None = as_is,
        payload: bytes = b"ping",
        server_port: int = 7,
        teid: int | None = None,
        ue: str = UE,
        **fields: Any,
    ) -> "Scene":
        """A datagram and its echo; fields are those of the flow event that differ."""
        begin, self.port = self.now, self.port + 1
        ask = IP(src=ue, dst=SERVER, id=self.port) / UDP(sport=self.port, dport=server_port) / payload
        answer = IP(src=SERVER, dst=ue, id=self.port) / UDP(sport=server_port, dport=self.port) / payload
        self.carry(bytes(ask), up, teid)
        self.carry(bytes(answer), down)
        return self.flow(begin, "udp", SERVER, server_port, client_address=ue, **fields)

    def flow(self, begin: float, protocol: str, server: str, server_port: int, **fields: Any) -> "Scene":
        whole: dict[str, Any] = {
            "name": f"flow {self.port}",
            "origin": "ue",
            "protocol": protocol,
            "client_address": UE,
        }
        whole |= {"client_port": self.port, "server_address": server, "server_port": server_port, "completed": True}
        whole |= {"begin": begin, "end": self.now, "answered_from": f"{server}:{server_port}"}
        self.note("flow", **(whole | fields))
        return self

    def stream(self, count: int = STREAM, app: Bytes = as_is, **fields: Any) -> "Scene":
        """A TCP flow of so many bytes, of which one packet each way is looked at."""
        begin, self.port = self.now, self.port + 1
        self.carry(bytes(IP(src=UE, dst=SERVER) / TCP(sport=self.port, dport=7, flags="A") / b"x"), app)
        self.carry(bytes(IP(src=SERVER, dst=UE) / TCP(sport=7, dport=self.port, flags="A") / b"x"), app)
        return self.flow(begin, "tcp", SERVER, 7, sent=count, received=count, **fields)

    def all_sizes(self) -> "Scene":
        for size in SIZES:
            self.exchange(payload=bytes(size))
        return self

    def situation(self, name: str, kind: str) -> "Scene":
        self.now += 0.01
        self.note(f"situation-{kind}", name=name)
        self.now += 0.01
        return self

    def trace(self) -> Trace:
        links = {name: "ip" if name == "sgi" else "ethernet" for name in self.frames}
        captures = {n: Capture(n, links[n], tuple(f), self.drops.get(n, 0)) for n, f in self.frames.items()}
        whole = make_trace(self.events)
        return replace(whole, captures=captures)


def judged(requirement: str, scene: Scene, verdict: str, says: str = "") -> None:
    outcome = CHECKS[requirement](scene.trace(), PROFILE)
    text = " ".join([outcome.reason, *(f"{f.expected} {f.seen} {f.where} {f.remedy}" for f in outcome.findings)])
    assert (outcome.verdict.value, says in text) == (verdict, True), text
    if outcome.verdict is Verdict.FAIL:
        assert all(finding.evidence and finding.remedy for finding in outcome.findings)


def with_control(completed: bool, server_port: int = 7) -> Scene:
    scene = Scene().situation("control", "begin")
    scene.exchange(None, None, server_port=server_port, completed=completed)
    return scene.situation("control", "end")


def rules(*texts: str) -> Application:
    return replace(LENS, rules=tuple(Rule(f"r{n}", "uplink", text) for n, text in enumerate(texts)))


@pytest.mark.parametrize(
    ("scene", "verdict", "says"),
    [
        (Scene().exchange().exchange(ue=UE1), "pass", "2 flows completed through the app, 2 packets uplink and 2 down"),
        (Scene().exchange().exchange(server_port=53), "pass", "1 flow"),
        (Scene().exchange(changed(ttl=63)), "pass", ""),
        (Scene().exchange(up=nothing, completed=False, error="timed out"), "fail", "1 packet uplink reached it, none"),
        (Scene().exchange(down=nothing, completed=False), "fail", "1 packet downlink reached it, none came back"),
        (Scene().exchange(down=nothing), "fail", "downlink"),
        (Scene().exchange().exchange(up=nothing, completed=False), "fail", "flow 40002"),
        (Scene().exchange(teid=0x999), "fail", "TEID 0x00000999"),
        (Scene().exchange(up=changed(src="10.198.0.2"), completed=False), "fail", "none came back"),
        (with_control(True).exchange(completed=False, error="refused"), "fail", "refused (uplink 1 in, 1 out"),
        (with_control(False).exchange(completed=False), "inconclusive", "did not complete without the app either"),
        (Scene().exchange(completed=False, error="e"), "inconclusive", "no control without the app"),
        (Scene().exchange(server_port=53), "inconclusive", "no packet was seen of rule 'echo' uplink"),
        (Scene().exchange(None, None), "inconclusive", "handed no packet of"),
        (Scene(rules("proto == UDP", "dst_port == 53")).exchange(), "inconclusive", "seen of rule 'r1' uplink"),
        (Scene(rules("proto == UDP", "proto == ICMP")).exchange(), "inconclusive", "can satisfy rule 'r1' uplink"),
        (Scene(rules("proto == ICMP")).exchange(), "inconclusive", "no packet of an emulated UE can satisfy rule 'r0'"),
        (Scene(rules("proto = UDP")).exchange(), "inconclusive", "DSC-005"),
        (Scene(drops={"s1u-epc": 1}).exchange(), "inconclusive", "s1u-epc"),
        (Scene(drops={"user-plane": 1}).exchange(), "inconclusive", "user-plane"),
    ],
)
def test_oft_001(scene: Scene, verdict: str, says: str) -> None:
    judged("OFT-001", scene, verdict, says)


@pytest.mark.parametrize("requirement", ["OFT-001", "OFT-002", "OFT-003", "OFT-004", "OFT-008"])
def test_rules_that_do_not_parse_crash_nothing(requirement: str) -> None:
    judged(requirement, Scene(rules("proto = UDP")).exchange(), "inconclusive", "DSC-005")


def test_oft_001_bypassed_flows_prove_nothing() -> None:
    scene = Scene()
    scene.note("bypass", active=True)
    judged("OFT-001", scene.exchange(None, None), "inconclusive", "UE traffic bypassed the app")


def test_oft_001_without_ues() -> None:
    scene = Scene().exchange()
    scene.events = [event for event in scene.events if event[1] != "attach"]
    judged("OFT-001", scene, "inconclusive", "no UE was attached")


@pytest.mark.parametrize(
    ("scene", "verdict", "says"),
    [
        (Scene().exchange(), "pass", "1 flow had the same addresses and ports"),
        (Scene().exchange(peer_seen=f"{UE}:40001"), "pass", ""),
        (Scene().exchange(peer_seen=f"{UE}:1024"), "fail", f"it saw {UE}:1024"),
        (Scene().exchange(answered_from=f"{SERVER}:8"), "fail", f"answers from {SERVER}:8"),
        (Scene().exchange(changed(udp_sport=9)), "fail", f"{UE}:9 to {SERVER}:7"),
        (Scene().exchange(changed(src="10.198.0.2"), completed=False), "fail", f"10.198.0.2:40001 to {SERVER}:7"),
        (Scene().exchange(changed(dst="203.0.113.8"), completed=False), "fail", "to 203.0.113.8:7"),
        (Scene().exchange(down=changed(src="203.0.113.8")), "fail", "203.0.113.8:7 to 10.45.0.1"),
        (Scene().exchange(nothing, completed=False), "inconclusive", "see OFT-001"),
        (Scene().exchange(completed=False), "inconclusive", "see OFT-001"),
        (Scene(drops={"sgi": 2}).exchange(), "inconclusive", "sgi"),
        (Scene(drops={"s1u-enb": 2}).exchange(), "inconclusive", "s1u-enb"),
    ],
)
def test_oft_003(scene: Scene, verdict: str, says: str) -> None:
    judged("OFT-003", scene, verdict, says)


def test_oft_003_other_flows_of_the_same_client_are_no_strangers() -> None:
    scene = Scene().exchange()
    begin = scene.now
    scene.exchange().exchange()
    scene.events[-1] = (scene.now, "flow", {**scene.events[-1][2], "begin": begin})
    judged("OFT-003", scene, "pass")


MODIFIES = replace(LENS, effects=(Effect("echo", "modifies"),))


def recut(packet: bytes) -> Sequence[bytes]:
    pieces = fragment(IP(packet), fragsize=512)  # type: ignore[no-untyped-call]
    return [bytes(piece) for piece in reversed(pieces)]


def wrong_udp_checksum(packet: bytes) -> Sequence[bytes]:
    return [packet[:26] + bytes([packet[26] ^ 1]) + packet[27:]]


def wrong_header_checksum(packet: bytes) -> Sequence[bytes]:
    return [packet[:8] + bytes([packet[8] - 1]) + packet[9:]]


def other_payload(packet: bytes) -> Sequence[bytes]:
    return [packet[:-1] + b"!"]


@pytest.mark.parametrize(
    ("scene", "verdict", "says"),
    [
        (Scene().all_sizes().stream(), "pass", "28 packets of 14 flows left the app as they came"),
        (Scene().all_sizes().exchange(changed(ttl=63)), "pass", ""),
        (Scene().all_sizes().exchange(recut, recut, payload=bytes(1400)), "pass", ""),
        (Scene().all_sizes().exchange(changed(ttl=62)), "fail", "TTL 64 or 63 TTL 62"),
        (Scene().all_sizes().exchange(changed(ttl=65)), "fail", "TTL 65"),
        (Scene().all_sizes().exchange(wrong_header_checksum), "fail", "a right IPv4 header checksum"),
        (Scene().all_sizes().exchange(wrong_udp_checksum), "fail", "a right UDP checksum"),
        (Scene().all_sizes().exchange(changed(tos=4)), "fail", "byte 1 of the packet (IP header)"),
        (Scene().all_sizes().exchange(other_payload), "fail", "(payload)"),
        (Scene().all_sizes().exchange(changed(id=3)), "fail", "only packets that reached the app"),
        (Scene().all_sizes().exchange(expected_sha256="aa", received_sha256="bb"), "fail", "SHA-256 aa"),
        (Scene().all_sizes().stream(app=changed(tos=8)), "fail", "IP header"),
        (Scene().exchange(), "inconclusive", f"no datagram of {SIZES[0]}, "),
        (Scene().stream(STREAM - 1), "inconclusive", "the longest stream"),
        (Scene().all_sizes().exchange(nothing, completed=False), "inconclusive", "see OFT-001"),
        (Scene(MODIFIES).all_sizes().exchange(other_payload), "not applicable", "no rule has the effect preserves"),
        (Scene(drops={"s1u-enb": 1}).all_sizes(), "inconclusive", "s1u-enb"),
        (Scene(rules("dst_port == 99")).exchange(), "inconclusive", "rule 'r0'"),
    ],
)
def test_oft_004(scene: Scene, verdict: str, says: str) -> None:
    judged("OFT-004", scene, verdict, says)


@pytest.mark.parametrize(
    ("scene", "verdict", "says"),
    [
        (Scene().exchange(None, None, server_port=53), "pass", "1 flow crossed as the same bytes"),
        (Scene().exchange(as_is, None, server_port=53), "fail", "no packet on a vNIC"),
        (Scene().exchange(None, None, server_port=53, completed=False), "fail", "the flow to complete"),
        (Scene().exchange(None, None, server_port=53, teid=5), "fail", "1 of 1 are missing, 1 are others"),
        (Scene().exchange(), "inconclusive", "no UE sent anything"),
        (Scene(drops={"user-plane": 1}).exchange(None, None, server_port=53), "inconclusive", "user-plane"),
    ],
)
def test_oft_002(scene: Scene, verdict: str, says: str) -> None:
    judged("OFT-002", scene, verdict, says)


def test_oft_002_bytes_changed_before_sgi() -> None:
    scene = Scene().exchange(None, None, server_port=53)
    first = scene.frames["sgi"][0]
    scene.frames["sgi"][0] = replace(first, data=first.data[:-1] + b"!")
    judged("OFT-002", scene, "fail", "the same packets on SGi")


def switched(during: Bytes | None, after: Bytes | None, **fields: Any) -> Scene:
    """Beats, a failure, a flow past the app, and one through it again."""
    scene = Scene()
    scene.note("beat")
    scene.now += 3.0
    scene.note("bypass", active=True)
    scene.now += 0.1
    scene.exchange(during, during, **fields)
    scene.now += 0.1
    scene.note("bypass", active=False)
    scene.now += 0.1
    return scene.exchange(after, after)


def late(gap_s: float) -> Scene:
    scene = Scene()
    scene.note("beat")
    scene.now += 1.0
    scene.exchange(nothing, nothing, completed=False)
    scene.now += gap_s
    scene.note("bypass", active=True)
    scene.now += 0.1
    scene.exchange(None, None)
    scene.now += 0.1
    scene.note("bypass", active=False)
    scene.now += 0.1
    return scene.exchange()


def not_back() -> Scene:
    """The app gets its flows again, and they do not complete."""
    scene = switched(None, as_is)
    at, kind, fields = scene.events[-1]
    scene.events[-1] = (at, kind, {**fields, "completed": False, "error": "not done within 8 s"})
    return scene


@pytest.mark.parametrize(
    ("scene", "verdict", "says"),
    [
        (not_back(), "fail", "complete through the app again"),
        (switched(None, as_is), "pass", "1 flow bypassed the app, 1 passed its vNIC"),
        (switched(as_is, as_is), "inconclusive", "no packet on a vNIC while bypassed"),
        (switched(None, None), "inconclusive", "packets on a vNIC, not bypassed"),
        (switched(None, as_is, completed=False), "inconclusive", "complete past the app"),
        (late(2.0), "pass", ""),
        (late(3.0), "inconclusive", "bypass within 3.5 s"),
        (Scene().exchange(), "inconclusive", "not made to bypass"),
    ],
)
def test_oft_008(scene: Scene, verdict: str, says: str) -> None:
    judged("OFT-008", scene, verdict, says)


def test_oft_008_needs_flows_on_both_sides() -> None:
    scene = switched(None, as_is)
    scene.events.pop()
    judged("OFT-008", scene, "inconclusive", "both are needed")


def asked(scene: Scene, service: Service, origin: str = "ue", **fields: Any) -> Scene:
    """A client asks the app; fields: answer (bytes or None), source, and those of the flow event."""
    answer: bytes | None = fields.pop("answer", b"ping")
    source: str = fields.pop("source", APP)
    begin, scene.port = scene.now, scene.port + 1
    client = UE if origin == "ue" else SERVER
    kind = UDP if service.protocol == "udp" else TCP
    scene.carry(bytes(IP(src=client, dst=APP) / kind(sport=scene.port, dport=service.port) / b"ping"), nothing)
    if answer is not None:
        back = bytes(IP(src=source, dst=client) / kind(sport=service.port, dport=scene.port) / answer)
        scene.see("user-plane", bytes(Ether())[:12] + b"\x08\0" + back, from_lab=False)
        if origin == "ue":
            scene.tunnelled("s1u-enb", DOWNLINK[UE], back, from_lab=True)
    digest = hashlib.sha256(b"ping").hexdigest()
    whole = {
        "answer": (answer or b"").hex(),
        "completed": answer is not None,
        "client_address": client,
        "origin": origin,
    }
    whole |= {"sent_sha256": digest, "received_sha256": hashlib.sha256(answer or b"").hexdigest()}
    whole |= {"answered_from": f"{source}:{service.port}" if answer is not None else ""}
    return scene.flow(begin, service.protocol, APP, service.port, **(whole | fields))


OK = b"HTTP/1.1 200 OK\r\n"


def served(origin: str = "ue", **hows: Mapping[str, Any]) -> Scene:
    """All services asked once; hows: `asked`'s fields by service (echo, web, probed)."""
    scene = asked(Scene(GOON), ECHO, origin, **hows.get("echo", {}))
    asked(scene, WEB, origin, **{"answer": OK, **hows.get("web", {})})
    return asked(scene, PROBED, origin, **{"answer": b"\x71!", **hows.get("probed", {})})


SERVED: list[tuple[Mapping[str, Any], str, str]] = [
    ({}, "pass", "3 services answered 3 times from 192.0.2.10"),
    ({"echo": {"answer": None}}, "fail", "1 packet reached the vNIC, none answered"),
    ({"echo": {"answer": None, "error": "Connection refused"}}, "fail", "none answered (Connection refused)"),
    ({"echo": {"answer": b"pong"}}, "fail", "an answer of echo"),
    ({"echo": {"answer": b"PING", "expected_sha256": hashlib.sha256(b"PING").hexdigest()}}, "pass", ""),
    ({"echo": {"answered_from": "192.0.2.11:7"}}, "fail", "one from 192.0.2.11:7"),
    ({"web": {"answer": b"HTTP/1.1 500 X\r\n"}}, "fail", "an HTTP status line below 500"),
    ({"web": {"answer": b"HTTP/1.1 404 X\r\n"}}, "pass", ""),
    ({"web": {"answer": b"", "completed": False, "error": "refused"}}, "fail", "nothing (refused)"),
    ({"web": {"completed": False, "error": "not done within 2 s"}}, "fail", "not done within 2 s"),
    ({"probed": {"answer": b"\x72"}}, "fail", "begins with 71"),
]


@pytest.mark.parametrize("requirement", ["OTT-002", "OTT-003"])
@pytest.mark.parametrize(("how", "verdict", "says"), SERVED)
def test_ott_002_003(requirement: str, how: Mapping[str, Any], verdict: str, says: str) -> None:
    judged(requirement, served("ue" if requirement == "OTT-002" else "internet", **how), verdict, says)


@pytest.mark.parametrize("requirement", ["OTT-002", "OTT-003"])
def test_ott_002_003_cannot_tell(requirement: str) -> None:
    origin, other = ("ue", "internet") if requirement == "OTT-002" else ("internet", "ue")
    judged(requirement, served(other), "inconclusive", "nobody asked for udp/7")
    lost = served(origin)
    lost.drops["user-plane"] = 3
    judged(requirement, lost, "inconclusive", "user-plane")
    unheard = served(origin)
    unheard.frames["user-plane"].clear()
    judged(requirement, unheard, "inconclusive", "reached the app's vNIC")


def test_ott_002_answers_must_be_in_the_bearer() -> None:
    scene = served()
    scene.frames["s1u-enb"] = [frame for frame in scene.frames["s1u-enb"] if not frame.from_lab]
    judged("OTT-002", scene, "inconclusive", "in the UE's bearer")


def named(*answers: str) -> Scene:
    scene = Scene(GOON)
    for answer in answers:
        scene.note("dns-query", name="goon.apps.example", type="A", answer=answer)
    scene.note("dns-query", name="goon.apps.example", type="AAAA", answer="")
    return scene


@pytest.mark.parametrize(
    ("scene", "verdict", "says"),
    [
        (named("192.0.2.10"), "pass", "resolved to 192.0.2.10: 1 name"),
        (named("192.0.2.11"), "fail", "192.0.2.11"),
        (named("192.0.2.10", "NXDOMAIN"), "fail", "NXDOMAIN"),
        (named(""), "fail", "no answer"),
        (named(), "inconclusive", "nobody asked for goon.apps.example"),
    ],
)
def test_ott_001(scene: Scene, verdict: str, says: str) -> None:
    judged("OTT-001", scene, verdict, says)


@pytest.mark.parametrize(
    ("scene", "verdict", "says"),
    [
        (Scene(GOON).exchange(None, None), "pass", "1 flow"),
        (Scene(GOON).exchange(as_is, as_is), "fail", "no packet on a vNIC"),
        (served(), "inconclusive", "not for the app"),
    ],
)
def test_ott_006(scene: Scene, verdict: str, says: str) -> None:
    judged("OTT-006", scene, verdict, says)


def waiting(scene: Scene, seconds: float) -> Scene:
    """The scene's last flow was waited for so many seconds longer."""
    scene.now += seconds
    _, kind, fields = scene.events[-1]
    scene.events[-1] = (scene.now, kind, {**fields, "end": scene.now})
    return scene


SILENT: Mapping[str, Any] = {"answer": None, "error": "not done within 2 s"}
OPEN: Mapping[str, Any] = {"answer": b"", "completed": False, "error": "not done within 2 s"}
BUSY: Mapping[str, Any] = {
    "answer": b"HTTP/1.1 503 Busy\r\n",
    "completed": False,
    "error": "the server answered 503 Busy",
}
MARGINS = [
    ("OFT-001", waiting(Scene().exchange(nothing, completed=False), 8.0), 8.0),
    ("OFT-001", Scene().exchange(nothing, completed=False), 0.0),
    ("OFT-001", waiting(with_control(True).exchange(completed=False, error="late"), 8.0), 8.0),
    ("OFT-001", waiting(with_control(True).exchange(completed=False, received=9), 8.0), 0.0),  # got a part
    ("OFT-001", waiting(Scene().exchange(changed(dst="10.198.0.1"), completed=False), 8.0), 8.0),
    ("OFT-001", Scene().exchange(teid=0x999), FACT),
    ("OFT-003", Scene().exchange(peer_seen=f"{UE}:1024"), FACT),
    ("OFT-003", Scene().exchange(answered_from=f"{SERVER}:8"), FACT),
    ("OFT-003", Scene().exchange(changed(udp_sport=9)), FACT),
    ("OFT-004", Scene().all_sizes().exchange(expected_sha256="aa", received_sha256="bb"), FACT),
    ("OFT-004", Scene().all_sizes().exchange(other_payload), FACT),
    ("OFT-004", Scene().all_sizes().exchange(changed(ttl=62)), FACT),
    ("OFT-002", Scene().exchange(as_is, None, server_port=53), FACT),
    ("OFT-002", waiting(Scene().exchange(None, None, server_port=53, completed=False), 2.0), 2.0),
    ("OFT-002", Scene().exchange(None, None, server_port=53, teid=5), 0.0),
    ("OTT-006", Scene(GOON).exchange(as_is, as_is), FACT),
    ("OTT-002", waiting(asked(Scene(GOON), ECHO, **SILENT), 2.0), 2.0),
    ("OTT-002", waiting(asked(Scene(GOON), WEB, **OPEN), 2.0), 2.0),
    ("OTT-002", waiting(asked(Scene(GOON), WEB, **BUSY), 2.0), 0.0),
    ("OTT-002", waiting(asked(Scene(GOON), PROBED, answer=b"", completed=False, error="late"), 2.0), 2.0),
    ("OTT-002", asked(Scene(GOON), PROBED, answer=b"\x72"), FACT),
    ("OTT-002", asked(Scene(GOON), ECHO, answer=b"pong"), FACT),
    ("OTT-002", asked(Scene(GOON), ECHO, answered_from="192.0.2.11:7"), FACT),
    ("OTT-003", waiting(asked(Scene(GOON), ECHO, "internet", **SILENT), 2.0), 2.0),
]


@pytest.mark.parametrize(("requirement", "scene", "margin_s"), MARGINS, ids=range(len(MARGINS)))
def test_what_a_busy_host_explains(requirement: str, scene: Scene, margin_s: float | None) -> None:
    check_margin(CHECKS[requirement](scene.trace(), PROFILE), margin_s)


def test_a_wrong_address_from_the_dns_is_a_fact() -> None:
    scene = Scene(GOON)
    scene.note("dns-query", name="goon.apps.example", type="A", answer="192.0.2.11")
    check_margin(CHECKS["OTT-001"](scene.trace(), PROFILE), FACT)
