"""UE traffic through eNB, user plane service and EPC to real servers, past and through a stand-in for the app."""

import hashlib
import json
import os
import select
import signal
import socket
import subprocess
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import pytest
from network_rig import PROFILE, TERMINATING, backends_on
from private_namespaces import privately
from scapy.layers.inet import IP, TCP, UDP, fragment
from scapy.layers.inet6 import IPv6
from scapy.packet import Raw
from userplane_rig import SERVER, Rig, bouncing, lens, rig

from conformance.application import Endpoint, Service
from conformance.verdict import Verdict
from emulator.webserver import body_of
from harness.clients import together
from harness.conversation import Exchange, Flow, Origin
from harness.namespaces import open_link, open_udp

pytestmark = pytest.mark.live

SIZES: Sequence[int] = PROFILE["user_plane.payload_sizes"]
STREAM: int = PROFILE["user_plane.stream_bytes"]


def flows(lab: Rig, name: str, stream: int = 1400) -> list[Callable[[], Flow]]:
    """What the rules select (ports 80 and 9000) and what not (port 7), from two UEs."""
    digest = hashlib.sha256(body_of(stream)).hexdigest()
    return [call for ue in (0, 3) for call in _flows_of(lab, lab.clients.ue(ue), name, (stream, digest))]


def _flows_of(lab: Rig, origin: Origin, name: str, stream: tuple[int, str]) -> list[Callable[[], Flow]]:
    def exchange(what: str, port: int) -> Exchange:
        return Exchange(f"{what} {name} {origin.address}", origin, SERVER, port, 20.0)

    clients, (count, digest) = lab.clients, stream
    return [
        lambda: clients.http_get(exchange("web", 80), f"/bytes/{count}", digest),
        lambda: clients.udp_echo(exchange("echo", 9000), SIZES),
        lambda: clients.tcp_echo(exchange("stream", 9000), count),
        lambda: clients.udp_echo(exchange("past", 7), SIZES),
    ]


@pytest.mark.parametrize("nics", [1, 2])
def test_through_a_bouncing_app(nics: int, tmp_path: Path) -> None:
    through_a_bouncing_app(nics, tmp_path)
    for link in ("s1u-enb", "s1u-epc"):
        decoded_by_tshark(tmp_path / f"{link}.pcapng")


@privately
def through_a_bouncing_app(nics: int, folder: Path) -> None:
    application = lens(nics)
    with rig(application, folder, bouncing(application)) as lab:
        with lab.situation("bypass"):
            assert all(flow.completed for flow in together(flows(lab, "bypassed")))
        lab.bypass(False)
        with lab.situation("through"):
            assert all(flow.completed for flow in together(flows(lab, "through", STREAM)))
        with lab.situation("switch"):
            lab.bypass(True)
            assert all(flow.completed for flow in together(flows(lab, "down")))
            lab.bypass(False)
            assert all(flow.completed for flow in together(flows(lab, "back")))
        passing = {
            "through": ("OFT-001", "OFT-002", "OFT-003", "OFT-004"),
            "bypass": ("OFT-002",),
            "switch": ("OFT-008",),
        }
        for situation, requirements in passing.items():
            for requirement in requirements:
                outcome = lab.judge(requirement, situation)
                assert outcome.verdict is Verdict.PASS, (requirement, situation, outcome)
        assert lab.judge("OFT-001", "bypass").verdict is Verdict.INCONCLUSIVE
        assert lab.trace().of("drop") == ()


def decoded_by_tshark(capture: Path) -> None:
    """Every datagram is GTP-U to another implementation, which has nothing to complain of in it."""
    command = ["tshark", "-r", str(capture), "-T", "json", "-e", "frame.number", "-e", "gtp.teid", "-e", "gtp.length"]
    fields = ["-e", "_ws.malformed", "-e", "_ws.expert.message", "-Y", "udp.port == 2152"]
    done = subprocess.run([*command, *fields], capture_output=True, text=True, check=True, timeout=120)
    packets = [packet["_source"]["layers"] for packet in json.loads(done.stdout)]
    assert len(packets) > 1000
    assert all("gtp.teid" in packet for packet in packets)
    assert [packet for packet in packets if "_ws.malformed" in packet] == []
    complaints = {text for packet in packets for text in packet.get("_ws.expert.message", []) if "GTP" in text}
    assert complaints == set()


def losing_downlink(packet: bytes) -> bytes:
    return b"" if packet[16:19] == b"\x0a\x2d\0" else packet


def rewriting_ports(packet: bytes) -> bytes:
    read = IP(packet)
    if UDP in read and read[UDP].dport == 9000:
        read[UDP].dport = 7
        del read[UDP].chksum
    return bytes(read)


@pytest.mark.parametrize(
    ("change", "failed", "says"),
    [
        (losing_downlink, ("OFT-001",), "1 packet downlink reached it, none came back"),
        (rewriting_ports, ("OFT-003",), ":7"),
    ],
)
@privately
def test_apps_that_misbehave_fail(
    tmp_path: Path, change: Callable[[bytes], bytes], failed: Sequence[str], says: str
) -> None:
    application = lens(1)
    with rig(application, tmp_path, bouncing(application, change)) as lab:
        lab.bypass(False)
        with lab.situation("through"):
            exchange = Exchange("echo", lab.clients.ue(0), SERVER, 9000, 1.0)
            assert not lab.clients.udp_echo(exchange, [4]).completed
        outcomes = [lab.judge(requirement, "through") for requirement in failed]
        assert {outcome.verdict for outcome in outcomes} == {Verdict.FAIL}
        assert says in outcomes[0].findings[0].seen


def raw_exchange(lab: Rig, packets: Sequence[bytes]) -> list[bytes]:
    """Packets out of UE 0's TUN as they are, and all that comes out on SGi for as many."""
    ue = lab.network.run_in("ue0", lambda: open_link("tun0"))
    sgi = lab.network.run_in("sgi", lambda: open_link("sgi"))
    found: list[bytes] = []
    with ue, sgi:
        for packet in packets:
            ue.send(packet)
        while len(found) < len(packets) and select.select([sgi], [], [], 5.0)[0]:
            found.append(sgi.recv(2048))
    return found


@privately
def test_crafted_packets_cross_as_they_are(tmp_path: Path) -> None:
    ue = "10.45.0.1"
    large = IP(src=ue, dst=SERVER, id=9) / UDP(sport=1, dport=9000) / Raw(bytes(4000))
    crafted = [
        *(bytes(piece) for piece in fragment(large, fragsize=1480)),  # type: ignore[no-untyped-call]
        bytes(IP(src=ue, dst=SERVER, id=10) / UDP(sport=1, dport=9000) / bytes(1472)),
        bytes(IP(src=ue, dst=SERVER, id=11, options=b"\x94\x04\0\0") / UDP(sport=1, dport=9000) / b"x"),
        bytes(IP(src=ue, dst=SERVER, id=12, ttl=1) / TCP(sport=1, dport=80, flags="A")),  # no answer to the answer
        bytes(IP(src=ue, dst=SERVER, id=13, proto=47) / b"gre"),
        bytes(IPv6(src="2001:db8:45::1", dst="2001:db8::9") / TCP(sport=1, dport=80)),
        bytes(IP(src=ue, dst=SERVER, id=14) / UDP(sport=1, dport=9000, chksum=1) / b"wrong"),
    ]
    to_app: list[bytes] = []
    application = lens(1)

    def remember(packet: bytes) -> bytes:
        to_app.extend([packet] if packet[12:16] == socket.inet_aton(ue) else [])  # servers answer some of them
        return packet

    with rig(application, tmp_path, bouncing(application, remember)) as lab:
        assert raw_exchange(lab, crafted) == crafted
        assert to_app == []
        lab.bypass(False)
        assert sorted(raw_exchange(lab, crafted)) == sorted(crafted)
        neither_gre_nor_ipv6 = [packet for packet in crafted if packet[0] >> 4 == 4 and packet[9] != 47]
        assert to_app == neither_gre_nor_ipv6
        assert lab.trace().of("drop") == ()


@privately
def test_a_terminating_app_is_reached_from_ues_and_outside(tmp_path: Path) -> None:
    endpoint = Endpoint("goon.apps.example", (Service("udp", 9000),))
    with rig(replace(TERMINATING, endpoints=(endpoint,)), tmp_path) as lab, ExitStack() as stack:
        server = stack.enter_context(lab.network.run_in("standin", lambda: open_udp("0.0.0.0", 9000)))
        stack.enter_context(backends_on({"udp_9000": server.fileno()}))
        ue, address = lab.clients.ue(2), lab.network.topology.user_plane_nics[0].address
        lab.bypass(False)
        with lab.situation("served"):
            for origin in (ue, lab.clients.internet(SERVER)):
                assert lab.clients.udp_echo(Exchange(origin.kind, origin, address, 9000, 5.0), SIZES).completed
            assert lab.clients.udp_echo(Exchange("past", ue, SERVER, 9000, 5.0), SIZES).completed
        for requirement in ("OTT-002", "OTT-003", "OTT-006"):
            outcome = lab.judge(requirement, "served")
            assert outcome.verdict is Verdict.PASS, (requirement, outcome)
        lab.bypass(True)
        assert not lab.clients.udp_echo(Exchange("down", ue, address, 9000, 0.5), [4]).completed


@privately
def test_lost_packets_are_told(tmp_path: Path) -> None:
    with rig(lens(1), tmp_path) as lab:
        os.kill(lab.process.pid, signal.SIGSTOP)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as flood:
            flood.connect(("10.200.1.2", 2152))
            for _ in range(20000):  # more than the largest buffer that the eNB's socket can have
                flood.send(bytes(1400))
        os.kill(lab.process.pid, signal.SIGCONT)
        lab.process.command("flush")
        drops = [event for event in lab.trace().of("drop") if event["where"] == "s1u_enb"]
        assert sum(event["count"] for event in drops) > 0


@privately
def test_curl_in_a_ue_behind_the_app(tmp_path: Path) -> None:
    application = lens(1)
    with rig(application, tmp_path, bouncing(application)) as lab:
        lab.bypass(False)
        command = ["curl", "-sS", "--max-time", "20", f"http://{SERVER}/bytes/100000"]
        done = lab.network.run_in("ue1", lambda: subprocess.run(command, capture_output=True, check=False))
        assert (done.stderr, done.stdout) == (b"", body_of(100000))
