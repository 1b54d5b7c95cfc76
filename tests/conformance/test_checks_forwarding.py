"""FWD over hand-made traces: what each check passes, fails and cannot tell."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
from scapy.layers.inet import IP, TCP, UDP
from scapy.layers.l2 import Ether
from settling import FACT, check_margin

from conformance.application import Allow, Application, Forward
from conformance.checks.forwarding import CHECKS
from conformance.profile import Profile, load
from conformance.trace import Capture, Frame, Trace, make_trace
from conformance.verdict import Verdict

PROFILE = load()
OUTSIDE, CLIENT, PLATFORM, VM = "198.18.0.1", "198.18.0.2", "10.199.0.1", "10.199.0.10"
SSH, DNS = Forward("tcp", 29001, 22), Forward("udp", 29002, 53)
BANNER = b"SSH-2.0-x\r\n"
RESPONSE = b"\0\1\x81\x80" + bytes(12)


def app(*forwards: Forward) -> Application:
    return Application(
        "goon", "terminating", "v", "p", "1", 1.0, ("service", "user-plane"),
        forwards=forwards, allows=(Allow("tcp", 8022, "service"), Allow("tcp", 9022, "user-plane")),
    )  # fmt: skip


@dataclass
class Scene:
    application: Application = field(default_factory=lambda: app(SSH, DNS))
    events: list[tuple[float, str, Mapping[str, Any]]] = field(default_factory=list)
    frames: dict[str, list[Frame]] = field(default_factory=lambda: {"service": [], "outside": []})
    drops: dict[str, int] = field(default_factory=dict)
    now: float = 100.0
    port: int = 40000

    def __post_init__(self) -> None:
        addresses = {"service": VM, "user-plane": "192.0.2.10"}
        self.events.append((self.now, "run", {"application": self.application.to_json(), "addresses": addresses}))

    def see(self, interface: str, packet: Any, from_lab: bool) -> None:
        self.now += 0.001
        self.frames[interface].append(Frame(self.now, bytes(Ether() / packet), from_lab))

    def ask(self, forward: Forward, answer: bytes | None, inside: bytes | None = b"", **fields: Any) -> "Scene":
        """The client asks the forwarded port; inside is what the VM answers on the service NIC (None: nothing)."""
        begin, self.port = self.now, self.port + 1
        kind = TCP if forward.protocol == "tcp" else UDP
        x, y = forward.from_port, forward.to_port
        self.see("outside", IP(src=CLIENT, dst=OUTSIDE) / kind(sport=self.port, dport=x), False)
        self.see("service", IP(src=PLATFORM, dst=VM) / kind(sport=self.port, dport=y), True)
        if inside is not None:
            self.see("service", IP(src=VM, dst=PLATFORM) / kind(sport=y, dport=self.port) / inside, False)
        if answer is not None:
            self.see("outside", IP(src=OUTSIDE, dst=CLIENT) / kind(sport=x, dport=self.port) / answer, True)
        whole = {"answer": (answer or b"").hex(), "completed": answer is not None, "begin": begin}
        return self.flow(forward.protocol, OUTSIDE, x, **(whole | fields))

    def flow(self, protocol: str, server: str, server_port: int, **fields: Any) -> "Scene":
        whole = {"name": f"f{self.port}", "origin": "outside", "protocol": protocol, "client_address": CLIENT}
        ends = {"client_port": self.port, "server_address": server, "server_port": server_port, "end": self.now}
        self.events.append((self.now, "flow", {"begin": self.now, **whole, **ends, **fields}))
        return self

    def try_(self, server: str, port: int, flags: str = "RA", protocol: str = "tcp", noted: bool = True) -> "Scene":
        """A connection attempt from outside and what came back."""
        begin, self.port = self.now, self.port + 1
        if protocol == "tcp":
            self.see("outside", IP(src=CLIENT, dst=server) / TCP(sport=self.port, dport=port, flags="S"), False)
            self.see("outside", IP(src=server, dst=CLIENT) / TCP(sport=port, dport=self.port, flags=flags), True)
        else:
            self.see("outside", IP(src=CLIENT, dst=server) / UDP(sport=self.port, dport=port), False)
            if flags == "SA":
                self.see("outside", IP(src=server, dst=CLIENT) / UDP(sport=port, dport=self.port), True)
        return self.flow(protocol, server, port, begin=begin) if noted else self

    def trace(self) -> Trace:
        captures = {n: Capture(n, "ethernet", tuple(f), self.drops.get(n, 0)) for n, f in self.frames.items()}
        return replace(make_trace(self.events), captures=captures)


def judged(requirement: str, scene: Scene, verdict: str, says: str, profile: Profile = PROFILE) -> None:
    outcome = CHECKS[requirement](scene.trace(), profile)
    text = " ".join([outcome.reason, *(f"{f.expected} {f.seen} {f.where} {f.remedy}" for f in outcome.findings)])
    assert (outcome.verdict.value, says in text) == (verdict, True), text
    if outcome.verdict is Verdict.FAIL:
        assert all(finding.evidence and finding.remedy for finding in outcome.findings)


@pytest.mark.parametrize(
    ("scene", "verdict", "says"),
    [
        (Scene().ask(SSH, BANNER).ask(DNS, RESPONSE), "pass", "2 forwarded ports answered"),
        (Scene().ask(SSH, None, None).ask(DNS, RESPONSE), "fail", "1 packet, none answered forward tcp/29001 to 22"),
        (Scene().ask(SSH, None).ask(DNS, RESPONSE), "fail", 'begins with "SSH-"'),
        (Scene().ask(SSH, b"HTTP/1.1 200 OK").ask(DNS, RESPONSE), "fail", "an answer of ssh"),
        (Scene().ask(SSH, BANNER).ask(DNS, b"\0\1\x01\x80" + bytes(12)), "fail", "a DNS response"),
        (Scene().ask(SSH, BANNER, completed=False, error="late").ask(DNS, RESPONSE), "fail", "late"),
        (Scene().ask(SSH, BANNER), "inconclusive", "nobody asked for udp/29002"),
        (Scene(drops={"service": 1}).ask(SSH, BANNER).ask(DNS, RESPONSE), "inconclusive", "captured on service"),
        (Scene(drops={"outside": 1}).ask(SSH, BANNER).ask(DNS, RESPONSE), "inconclusive", "captured on outside"),
    ],
)
def test_fwd_001(scene: Scene, verdict: str, says: str) -> None:
    judged("FWD-001", scene, verdict, says)


def test_fwd_001_what_the_platform_did_not_forward_is_not_the_apps() -> None:
    scene = Scene(app(SSH)).ask(SSH, BANNER)
    scene.frames["service"].clear()
    judged("FWD-001", scene, "inconclusive", "forwarded nothing of flow")
    scene = Scene(app(SSH)).ask(SSH, BANNER)
    scene.frames["outside"].pop()
    judged("FWD-001", scene, "inconclusive", "was seen outside")


def everywhere(ssh_flags: str = "RA", dns_flags: str = "RA") -> Scene:
    scene = Scene()
    for address in (OUTSIDE, VM):
        scene.try_(address, 22, ssh_flags if address == VM else "RA")
        scene.try_(address, 53, dns_flags if address == VM else "RA", protocol="udp")
    return scene


@pytest.mark.parametrize(
    ("scene", "verdict", "says"),
    [
        (everywhere(), "pass", "no other way reaches 2 forwarded services"),
        (everywhere(ssh_flags="SA"), "fail", f"tcp/22 of {VM} from outside"),
        (everywhere(dns_flags="SA"), "fail", f"udp/53 of {VM} from outside"),
        (Scene().try_(OUTSIDE, 22), "inconclusive", "nobody tried tcp/22 of 10.199.0.10, udp/53"),
        (Scene(drops={"outside": 1}), "inconclusive", "outside"),
    ],
)
def test_fwd_002(scene: Scene, verdict: str, says: str) -> None:
    judged("FWD-002", scene, verdict, says)


def test_fwd_002_a_port_forwarded_to_itself_is_no_other_way() -> None:
    same = Forward("tcp", 29005, 29005)
    judged("FWD-002", Scene(app(same)).try_(OUTSIDE, 29005, "SA").try_(VM, 29005), "pass", "1 forwarded")


SMALL = Profile({**PROFILE.tables, "forwarding": {**PROFILE.tables["forwarding"], "ports": [29000, 29004]}}, "")


def scanned(ports: Sequence[int], accepting: int = 0, **fields: Any) -> Scene:
    scene = Scene(**fields)
    for port in ports:
        scene.try_(OUTSIDE, port, "SA" if port == accepting else "RA", noted=False)
    return scene


@pytest.mark.parametrize(
    ("scene", "verdict", "says"),
    [
        (scanned(range(29000, 29005)), "pass", "4 undeclared ports accepted nothing"),
        (scanned(range(29000, 29005), accepting=29001), "pass", "4 undeclared"),
        (scanned(range(29000, 29005), accepting=29002), "fail", "tcp/29002 of 198.18.0.1"),
        (scanned(range(29000, 29004)), "inconclusive", "1 of 4 undeclared ports were not tried"),
        (scanned(range(29000, 29005), drops={"service": 1}), "inconclusive", "service"),
    ],
)
def test_fwd_003(scene: Scene, verdict: str, says: str) -> None:
    judged("FWD-003", scene, verdict, says, SMALL)


def beside(accepting: Sequence[int], tried: Sequence[int] = range(1, 65536), drops: int = 0) -> Scene:
    """A scan from beside the VM: SYNs patched from one packet, as 65,535 made singly would take a while."""
    scene = Scene(drops={"service": drops})
    syn = bytearray(bytes(Ether() / IP(src=PLATFORM, dst=VM) / TCP(sport=9, flags="S")))
    accept = bytearray(bytes(Ether() / IP(src=VM, dst=PLATFORM) / TCP(dport=9, flags="SA")))
    reset = bytearray(bytes(Ether() / IP(src=VM, dst=PLATFORM) / TCP(dport=9, flags="RA")))
    frames = scene.frames["service"]
    for port in tried:
        syn[36:38] = accept[34:36] = reset[34:36] = port.to_bytes(2)
        frames.append(Frame(100.0, bytes(syn), True))
        frames.append(Frame(100.0, bytes(accept if port in accepting else reset), False))
    return scene


@pytest.mark.parametrize(
    ("scene", "verdict", "says"),
    [
        (beside([22, 8022]), "pass", "65535 ports tried"),
        (beside([22, 9022]), "fail", "tcp/9022 of 10.199.0.10"),
        (beside([53], range(50, 60)), "fail", "tcp/53"),
        (beside([22], range(1, 65535)), "inconclusive", "1 of 65535 ports were not tried"),
        (beside([22], [], drops=1), "inconclusive", "service"),
    ],
)
def test_fwd_005(scene: Scene, verdict: str, says: str) -> None:
    judged("FWD-005", scene, verdict, says)


def waiting(scene: Scene, seconds: float, tries: Sequence[float] = ()) -> Scene:
    """The scene's last flow ended so many seconds after its begin; before it, tries to see whether it is ready."""
    _, kind, fields = scene.events[-1]
    flow = {**fields, "end": fields["begin"] + seconds}
    early = [{**flow, "begin": fields["begin"] - ago, "end": fields["begin"] - ago + 0.1} for ago in tries]
    scene.events[-1:] = [*((one["end"], "attempt", one) for one in early), (flow["end"], kind, flow)]
    return scene


MARGINS = [
    ("FWD-001", waiting(Scene(app(SSH)).ask(SSH, None, None), 2.0), 2.0),
    ("FWD-001", waiting(Scene(app(SSH)).ask(SSH, None), 2.0), 2.0),  # accepted, and silent
    ("FWD-001", waiting(Scene(app(SSH)).ask(SSH, None, error="Connection refused"), 0.01), 0.0),
    ("FWD-001", waiting(Scene(app(SSH)).ask(SSH, None, error="Connection refused"), 0.1, (30.0, 20.0)), 30.1),
    ("FWD-001", Scene(app(SSH)).ask(SSH, b"HTTP/1.1 200 OK"), FACT),
    ("FWD-001", waiting(Scene(app(SSH)).ask(SSH, BANNER, completed=False, error="late"), 2.0), 0.0),  # got a part
    ("FWD-002", Scene(app(SSH)).try_(OUTSIDE, 22, "SA").try_(VM, 22), FACT),
    ("FWD-003", Scene(app(SSH)).try_(OUTSIDE, 29002, "SA"), FACT),
]


@pytest.mark.parametrize(("requirement", "scene", "margin_s"), MARGINS, ids=range(len(MARGINS)))
def test_what_a_busy_host_explains(requirement: str, scene: Scene, margin_s: float | None) -> None:
    check_margin(CHECKS[requirement](scene.trace(), PROFILE), margin_s)


def test_an_answered_try_ends_the_wait() -> None:
    scene = waiting(Scene(app(SSH)).ask(SSH, None), 0.1, (30.0, 20.0, 10.0))
    at, kind, fields = scene.events[-3]
    scene.events[-3] = (at, kind, {**fields, "completed": True})
    check_margin(CHECKS["FWD-001"](scene.trace(), PROFILE), 10.1)
