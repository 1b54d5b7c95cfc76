"""The user plane as the kernel carries it: processes, UEs, servers, captures, and a stand-in in the app's place."""

import os
import select
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from network_rig import PROFILE, backends, captured

from conformance.application import Application, Rule
from conformance.checks.traffic import CHECKS
from conformance.packet import mac_bytes
from conformance.trace import Trace
from conformance.verdict import Outcome
from harness import topology
from harness.clients import Clients
from harness.emulation import EmulatorProcess
from harness.namespaces import open_link
from harness.network import Network
from harness.recorder import Recorder

WEB = (
    Rule("web", "uplink", "4==ip_version && proto==TCP && (80==dst_port || 9000==dst_port)"),
    Rule("web", "downlink", "4==ip_version && proto==TCP && (80==src_port || 9000==src_port)"),
    Rule("echo", "uplink", "proto==UDP && dst_port==9000"),
    Rule("echo", "downlink", "proto==UDP && src_port==9000"),
)
SERVER = "203.0.113.9"
SEED = 4711

App = Callable[[int, bytes], Sequence[tuple[int, bytes]]]
"""(number of the vNIC, frame that came in) -> frames to send, each with its vNIC."""


def lens(nics: int) -> Application:
    names = ("user-plane",) if nics == 1 else ("user-plane-ul", "user-plane-dl")
    return Application("lens", "transparent", "v", "p", "1.0", 1.0, ("service", *names), WEB)


@dataclass
class Rig:
    network: Network
    clients: Clients
    recorder: Recorder
    process: EmulatorProcess

    def bypass(self, active: bool) -> None:
        self.process.command("bypass", active=active, reason="the test says so")

    @contextmanager
    def situation(self, name: str) -> Iterator[None]:
        self.recorder.note("situation-begin", time.monotonic(), "test", {"name": name})
        yield
        self.process.command("flush")
        self.recorder.note("situation-end", time.monotonic(), "test", {"name": name})

    def judge(self, requirement: str, situation: str) -> Outcome:
        trace = self.recorder.trace().situation(situation)
        assert trace is not None
        return CHECKS[requirement](trace, PROFILE)

    def trace(self) -> Trace:
        return self.recorder.trace()


@contextmanager
def rig(application: Application, folder: Path, app: App | None = None) -> Iterator[Rig]:
    """Everything up, UE traffic bypassing the app; app None leaves the stand-in's own kernel to answer."""
    with ExitStack() as stack:
        network = stack.enter_context(Network(application, PROFILE))
        recorder = stack.enter_context(captured(network, folder))
        stack.enter_context(backends(network))
        recorder.note("run", time.monotonic(), "test", _run(application, network))
        sockets = stack.enter_context(network.sockets_for("userplane"))

        def note(role: str, kind: str, at: float, fields: Mapping[str, Any]) -> None:
            recorder.note(kind, at, role, fields)

        log = folder / "userplane.log"
        process = EmulatorProcess("userplane", config(application, network), sockets, log, note)
        stack.enter_context(process)
        process.command("counters")
        if app is not None:
            stack.enter_context(_run_app(network, app))
        yield Rig(network, Clients(network, recorder.note, SEED), recorder, process)
        assert log.read_text() == ""


def config(application: Application, network: Network) -> Mapping[str, Any]:
    nics = network.topology.user_plane_nics
    s1u = {"enb": topology.S1U_ENB, "enb_ups": topology.S1U_ENB_UPS}
    s1u |= {"epc_ups": topology.S1U_EPC_UPS, "epc": topology.S1U_EPC}
    vnics = [{"mac": nic.mac, "gateway_mac": nic.gateway_mac, "gateway": nic.gateway} for nic in nics]
    return {
        "seed": SEED,
        "ues": PROFILE["user_plane.ues"],
        "ue_networks": PROFILE["network.ues"],
        "s1u": s1u,
        "app": {"type": application.type, "address": nics[0].address, "vnics": vnics},
        "rules": [{"name": r.name, "direction": r.direction, "text": r.text} for r in application.rules],
        "bypass": True,
    }


def _run(application: Application, network: Network) -> Mapping[str, Any]:
    plan = network.topology
    fields = {"application": application.to_json(), "profile": PROFILE.id, "accelerator": "tcg", "seed": SEED}
    more = {"mac_addresses": dict(plan.mac_addresses), "addresses": dict(plan.addresses)}
    return fields | {"package_sha256": ""} | more


@contextmanager
def _run_app(network: Network, app: App) -> Iterator[None]:
    """The app on the stand-in's vNICs, with AF_PACKET sockets as a real one would have them."""
    names = [nic.network for nic in network.topology.user_plane_nics]
    links = [network.run_in("standin", lambda name=name: open_link(name)) for name in names]  # type: ignore[misc]
    reader, writer = os.pipe()
    thread = threading.Thread(target=_bounce, args=(links, reader, app))
    thread.start()
    try:
        yield
    finally:
        os.close(writer)
        thread.join()
        os.close(reader)
        for link in links:
            link.close()


def _bounce(links: Sequence[socket.socket], stop: int, app: App) -> None:
    numbers = {link.fileno(): number for number, link in enumerate(links)}
    while True:
        ready, _, _ = select.select([stop, *numbers], [], [])
        if stop in ready:
            return
        for descriptor in ready:
            number = numbers[descriptor]
            for to, frame in app(number, links[number].recv(2048)):
                links[to].send(frame)


def bouncing(application: Application, change: Callable[[bytes], bytes] = bytes) -> App:
    """A transparent app: every IPv4 packet goes back to the gateway as change makes it, b"" loses it.

    In by one vNIC, out by the other where there are two.
    """
    nics = topology.plan(application, PROFILE).user_plane_nics
    heads = [mac_bytes(nic.gateway_mac) + mac_bytes(nic.mac) + b"\x08\x00" for nic in nics]

    def app(number: int, frame: bytes) -> Sequence[tuple[int, bytes]]:
        if frame[12:14] != b"\x08\x00":
            return []
        packet = change(frame[14:])
        to = len(nics) - 1 - number
        return [(to, heads[to] + packet)] if packet else []

    return app
