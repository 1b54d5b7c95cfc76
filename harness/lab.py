"""The lab: network, emulator, captures, DHCP and host meter put together around one app, without its machine."""

import os
import queue
import secrets
import socket
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from conformance.application import Application
from conformance.errors import BrokenLab, EnvironmentFault
from conformance.package import Package
from conformance.profile import Profile
from conformance.trace import Trace
from emulator import broker
from emulator.dhcp import DhcpServer
from emulator.platform import draw_clock, draw_rtc_shift
from harness import accelerator, configuration, host, topology
from harness.configuration import Plan
from harness.emulation import EmulatorProcess
from harness.network import Network
from harness.options import CACHE
from harness.recorder import Recorder
from harness.watch import Watch

SCRATCH = Path("/run/racs")  # of the lab's own tmpfs
ROLES = ("time", "userplane", "bus", "backends")


@dataclass(frozen=True, slots=True)
class LabSpec:
    """One run. profile is unscaled; accelerator may be "auto"; evidence is an empty folder.

    console_socket is where the app's serial console is served, None where nobody types into it.
    """

    package: Package
    profile: Profile
    evidence: Path
    seed: int
    accelerator: str
    console_socket: Path | None = None


class Lab:
    """``with`` builds the lab and takes it away again.

    on_action gets what supervision decides, {"action": "restart" or "bypass", ...}, in a thread of its own.
    """

    def __init__(self, spec: LabSpec, on_action: Callable[[Mapping[str, Any]], None]) -> None:
        assert spec.package.application is not None
        self.application: Application = spec.package.application
        self.spec = spec
        self._on_action = on_action
        self._actions: queue.Queue[Mapping[str, Any] | None] = queue.Queue()
        self._emulators: dict[str, EmulatorProcess] = {}
        self._lost: Mapping[str, int] = {}
        self._lost_at = 0.0
        self.host_facts: dict[str, str] = {}
        self.accelerator = ""  # until one was found: a lab that cannot be built has facts all the same

    def __enter__(self) -> "Lab":
        with ExitStack() as stack:
            self._build(stack)
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def _build(self, stack: ExitStack) -> None:
        chosen = self._choose_accelerator()
        self.accelerator = chosen.name
        self.profile = self.spec.profile.for_accelerator(chosen.name)
        self.host_facts = {name: str(fact) for name, fact in asdict(host.facts()).items()}
        self.host_facts["accelerator"] = f"{chosen.name}: {chosen.reason}"
        self.recorder = stack.enter_context(Recorder(self.spec.evidence))
        self.watch = Watch(self.recorder)
        self.plan = self._draw_plan()
        self._note_facts()
        self.network = stack.enter_context(Network(self.application, self.profile))
        SCRATCH.mkdir(exist_ok=True)
        self.scratch = Path(stack.enter_context(TemporaryDirectory(dir=SCRATCH, prefix="run-")))
        for role in ROLES:
            self._start_process(stack, role)
        with self.network.sockets_for("capture") as sockets:
            links, bytes_max = self.plan.topology.captured, self.profile["evidence.bytes_max"]
            self.recorder.start_captures(sockets, links, bytes_max)
        stack.enter_context(self._dhcp())
        self.meter = stack.enter_context(host.HostMeter(self.profile, self.watch.noter("meter")))
        for emulator in self._emulators.values():  # they start side by side, each takes its time
            emulator.await_ready()
        smallest = min(self.network.receive_buffers.values())
        self.host_facts["receive buffers"] = f"at least {smallest // 1024} KiB granted"
        thread = threading.Thread(target=self._hand_actions, name="actions")
        thread.start()
        stack.callback(thread.join)
        stack.callback(self._actions.put, None)

    def _choose_accelerator(self) -> accelerator.Accelerator:
        wanted = self.spec.accelerator
        if wanted == "auto":
            return accelerator.probe(CACHE)
        return accelerator.Accelerator("kvm" if wanted == "kvm" else "tcg", "asked for, not probed")

    def _draw_plan(self) -> Plan:
        seed, now = self.spec.seed, time.monotonic()
        clock = draw_clock(seed, self.profile, now, time.time())
        rtc_shift_s = draw_rtc_shift(seed, self.profile, clock.at_reference - time.time())
        plan = topology.plan(self.application, self.profile)
        # the password is a secret of this run alone: it opens nothing once the lab is gone
        return Plan(self.application, self.profile, plan, clock, rtc_shift_s, secrets.token_urlsafe(16), seed)

    def _note_facts(self) -> None:
        note, plan, now = self.watch.noter("harness"), self.plan, time.monotonic()
        facts = {
            "application": self.application.to_json(),
            "profile": self.profile.id,
            "accelerator": self.accelerator,
            "seed": plan.seed,
            "package_sha256": self.spec.package.sha256,
            "mac_addresses": dict(plan.topology.mac_addresses),
            "addresses": dict(plan.topology.addresses),
        }
        note("run", now, facts)
        self.recorder.note_clocks("harness")
        shift_s = plan.clock.time(now) - time.time()
        note("platform-clock", now, {**plan.clock.to_json(), "shift_s": round(shift_s, 3)})
        note("rtc", now, {"shift_s": round(plan.rtc_shift_s, 3)})

    def _start_process(self, stack: ExitStack, role: str) -> None:
        listeners: Sequence[Any] = ()
        if role == "time":
            config = configuration.time_process(self.plan)
        elif role == "userplane":
            config = configuration.userplane_process(self.plan)
        elif role == "bus":
            folder = self.scratch / "bus"
            folder.mkdir()
            config = configuration.bus_process(self.plan, folder, host.MOSQUITTO)
        else:
            config = {"http_ports": list(configuration.HTTP_PORTS)}
            listeners = configuration.backend_listeners(self.application)
        with self.network.sockets_for(role, listeners) as sockets:
            if role == "bus":
                self.bus_probe_port = _bound_port(sockets["bus_probe"])
            process = EmulatorProcess(role, config, sockets, self.log(role), self.on_event)
            self._emulators[role] = stack.enter_context(process)

    def _dhcp(self) -> DhcpServer:
        lease_s, domain = int(self.profile["network.lease_s"]), self.profile["network.domain"]
        links = configuration.dhcp_links(self.plan)
        return DhcpServer(links, domain, lease_s, self.scratch, self.watch.noter("dhcp"))

    @property
    def broker_socket(self) -> Path:
        """Where the broker itself listens, behind the guard."""
        return broker.socket_path(self.scratch / "bus")

    def log(self, role: str) -> Path:
        """What a process of the emulator has to say when something is wrong with it."""
        return self.spec.evidence / f"emulator-{role}.log"

    def on_event(self, role: str, kind: str, at: float, fields: Mapping[str, Any]) -> None:
        """An event of an emulator process: recorded, or, when it is an action, handed on."""
        if kind == "action":
            self._actions.put(fields)
        else:
            self.watch.note(kind, at, role, fields)

    def command(self, role: str, command: str, **arguments: object) -> Mapping[str, Any]:
        """Command an emulator process; see docs/interfaces.md for what each understands."""
        return self._emulators[role].command(command, **arguments)

    def pid(self, role: str) -> int:
        return self._emulators[role].pid

    def trace(self) -> Trace:
        """All that was recorded so far, once all packets under way have arrived."""
        self.command("userplane", "flush")
        self._note_queue_drops()
        self.watch.require_written()
        return self.recorder.trace()

    def _note_queue_drops(self) -> None:
        begin, self._lost_at = self._lost_at or time.monotonic(), time.monotonic()
        now_lost = self.network.queue_drops()
        for where, count in now_lost.items():
            fresh = count - self._lost.get(where, 0)
            if fresh:
                fields = {"where": f"queue of {where}", "count": fresh, "begin": begin, "end": self._lost_at}
                self.watch.note("drop", self._lost_at, "harness", fields)
        self._lost = now_lost

    def _hand_actions(self) -> None:
        while (action := self._actions.get()) is not None:
            try:
                self._on_action(action)
            except (EnvironmentFault, BrokenLab) as fault:
                step = {"keyword": f"supervision: {action['action']}", "arguments": [], "outcome": str(fault)}
                now = time.monotonic()
                self.watch.note("step", now, "harness", {**step, "begin": now, "end": now})


def _bound_port(descriptor: int) -> int:
    with socket.socket(fileno=os.dup(descriptor)) as listener:
        return int(listener.getsockname()[1])
