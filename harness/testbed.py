"""The testbed: the lab and the app's machine in it, and the verbs that the suites are written in."""

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from typing import Any

from conformance.certification import Step
from conformance.checks.guest import LEFTOVERS
from conformance.errors import BrokenLab, EnvironmentFault
from conformance.heartbeat import Beat, decode
from conformance.trace import Trace
from harness import leftovers
from harness.busprobe import probe_permissions
from harness.chronicle import Chronicle, Recorded
from harness.clients import together
from harness.configuration import start_facts
from harness.disk import ImageSlice, environment_xml, write_iso
from harness.domain_xml import MachineSpec, Nic
from harness.features import Features
from harness.lab import Lab, LabSpec
from harness.machine import Machine, State
from harness.readiness import Readiness
from harness.situations import Unreached
from harness.traffic import Traffic

OPERATION_DEADLINE_S = 30.0
SETTLE_S = 2.0  # beyond a window's end, so that its last beats are in
_RUNNING = ("started", "reset", "resumed")  # states from which a boot deadline counts


class Testbed:
    """``with`` builds the lab and takes it away again; the machine is defined and started by verbs.

    say gets a line of progress for each step.
    """

    __test__ = False  # the name begins as pytest's test classes do

    def __init__(self, spec: LabSpec, say: Callable[[str], None]) -> None:
        self.lab = Lab(spec, self._act)
        self._stack = ExitStack()
        self._machine: Machine | None = None
        self._before: leftovers.Look | None = None
        self._chronicle = Chronicle(self.lab, say)
        self._started_at = 0.0
        self._drill = ""

    def __enter__(self) -> "Testbed":
        with ExitStack() as stack:
            lab = stack.enter_context(self.lab)
            self.profile, self._watch, self._plan = lab.profile, lab.watch, lab.plan
            self._application = lab.application
            self._traffic = Traffic(lab.plan, lab.network, lab.watch.note)
            self._attempts = Traffic(lab.plan, lab.network, self._note_attempt)
            self._features = Features(lab, self._step, self._guard_s)
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def _act(self, action: Mapping[str, Any]) -> None:
        """Carry out what supervision decided."""
        if action["action"] == "bypass":
            self.lab.command("userplane", "bypass", active=action["active"], reason=action["why"])
        elif self._machine is not None:
            self.lab.command("time", "expect")
            self._started_at = time.monotonic()
            self._machine.reset("supervision")
            if self._machine.state() is State.SUSPENDED:
                self._machine.resume()

    def recording(self, name: str, since: Trace | None = None) -> AbstractContextManager[Recorded]:
        """A named situation, see `Chronicle.recording`."""
        return self._chronicle.recording(name, since)

    def _step(self, keyword: str, *arguments: object) -> AbstractContextManager[list[str]]:
        return self._chronicle.step(keyword, *arguments)

    @property
    def steps(self) -> tuple[Step, ...]:
        """The steps taken so far, as the report shows them."""
        return self._chronicle.steps

    def trace(self) -> Trace:
        """All that was recorded so far."""
        return self.lab.trace()

    # the machine

    def power_on(self, drill: str = "") -> None:
        """Define the machine if need be and start it, with a fresh OVF environment."""
        with self._step("power on", drill or "no drill"):
            machine = self._defined()
            iso = self.lab.scratch / "environment.iso"
            start = start_facts(self._plan, self._features.active, drill)
            write_iso(environment_xml(self._application, start, self.profile), iso)
            machine.insert_environment(iso, drill)
            self._features.publish()
            self.lab.command("time", "expect")
            self._started_at = time.monotonic()
            self._drill = drill
            machine.start()
            self.lab.meter.watch(machine.process)

    def _defined(self) -> Machine:
        if self._machine is None:
            self._machine = self._stack.enter_context(self._make_machine())
            self._before = leftovers.look(self.lab.spec.evidence)
        if self._machine.state() is State.UNDEFINED:
            self._machine.define()
        return self._machine

    def _make_machine(self) -> Machine:
        package, evidence = self.lab.spec.package, self.lab.spec.evidence
        assert package.image is not None
        spec = MachineSpec(
            name=f"racs-{self._application.id}",
            image=ImageSlice(package.path, package.image.offset, package.image.size),
            nics=tuple(Nic(nic.network, nic.network, nic.mac) for nic in self._plan.topology.nics),
            profile=self.profile,
            accelerator="kvm" if self.lab.accelerator == "kvm" else "tcg",
            folder=evidence,
            console=evidence / "console.log",
            console_socket=self.lab.spec.console_socket,
            rtc_shift_s=round(self._plan.rtc_shift_s),
        )
        return Machine(spec, self._watch.noter("machine"))

    def ensure_running(self) -> None:
        """The app runs and beats, or `Unreached`."""
        if self._machine is None or self._machine.state() is not State.RUNNING or self._drill:
            self.ensure_off()
            self.power_on()
        if not self.await_first_beat():
            raise Unreached("the app never sent a heartbeat (HBT-001)")

    def ensure_off(self) -> None:
        """The machine is off, if need be by pulling its plug."""
        if self._machine is not None and self._machine.state() in (State.RUNNING, State.SUSPENDED):
            with self._step("pull the plug"):
                self._machine.destroy()
            self.lab.command("time", "vm-off")

    def await_first_beat(self) -> bool:
        """Wait for a beat since the last start or reset, up to the boot deadline; whether there was one."""
        deadline_s = self.profile.number("heartbeat.boot_deadline_s")
        running = [e.at for e in self._watch.seen("vm-state", self._started_at) if e["state"] in _RUNNING]
        deadline = max(running, default=self._started_at) + deadline_s + self._guard_s
        with self._step("await the first heartbeat", f"{deadline_s:g} s"):
            return bool(self._watch.wait_until(self._beats, deadline))

    def _beats(self) -> bool:
        return bool(self._watch.seen("beat", self._started_at))

    @property
    def _guard_s(self) -> float:
        return self.profile.number("host.guard_s")

    def await_bus(self) -> None:
        """Wait until an app that uses the bus has connected, its features are reported, up to the connect deadline."""
        if self._application.uses_bus:
            deadline_s = self.profile.number("bus.connect_deadline_s")
            with self._step("await the app on the bus", f"{deadline_s:g} s"):
                self._watch.wait_until(self._reported, self._first_beat_at + deadline_s + self._guard_s)

    def await_ready(self) -> None:
        """Wait until all that the app serves, forwards or passes has answered once, up to the ready deadline.

        What tries it stands in the trace as attempts, which nothing judges.
        """
        deadline_s = self.profile.number("user_plane.ready_deadline_s")
        deadline = self._first_beat_at + deadline_s + self._guard_s
        with self._step("await the app's services", f"{deadline_s:g} s"):
            if self._watch.wait_until(self._in_path, deadline):
                self._watch.wait_until(Readiness(self._attempts).reached, deadline)

    def _in_path(self) -> bool:
        switches = self._watch.seen("bypass", self._started_at)
        return bool(switches) and not switches[-1]["active"]

    def _note_attempt(self, _: str, at: float, source: str, fields: Mapping[str, Any]) -> None:
        self._watch.note("attempt", at, source, fields)

    @property
    def _first_beat_at(self) -> float:
        return float(self._watch.seen("beat", self._started_at)[0].at)

    def _on_bus(self) -> bool:
        attempts = self._watch.seen("mqtt-attempt", self._started_at)
        return any(a["client"] == "app" and a["action"] == "connect" and a["allowed"] for a in attempts)

    def _reported(self) -> bool:
        wanted = bool(self._application.features)
        return self._on_bus() and (not wanted or bool(self._watch.seen("feature-status", self._started_at)))

    def observe_window(self) -> None:
        """Let the app alone until the longest window from its first beat is full."""
        window_s = max(self.profile["heartbeat.window_s"], self.profile["time.synchronised_deadline_s"])
        with self._step("observe", f"until {window_s:g} s after the first heartbeat"):
            self._watch.let_pass(self._first_beat_at + window_s + self._guard_s + SETTLE_S)

    def press_power_button(self) -> None:
        """Press the button, again after a third of the time, and wait for power-off."""
        machine = self._defined()
        limit_s = self.profile.number("lifecycle.power_off_s")
        begin = time.monotonic()
        with self._step("press the power button", f"{limit_s:g} s"):
            for part in (limit_s / 3, limit_s + self._guard_s):
                machine.press_button()
                if self._watch.wait_until(self.is_off, begin + part):
                    break
        if self.is_off():
            self.lab.command("time", "vm-off")

    def is_off(self) -> bool:
        """Whether the machine has no power, for whatever reason."""
        return self._machine is None or self._machine.state() in (State.OFF, State.CRASHED, State.UNDEFINED)

    @contextmanager
    def supervision(self) -> Iterator[None]:
        """Supervision acts, and does not only record, while the block lasts."""
        with self._step("let supervision act"):
            self.lab.command("time", "supervise", acting=True)
        try:
            yield
        finally:
            self.lab.command("time", "supervise", acting=False)

    def suspend(self) -> None:
        """The whole machine stands still: a failure as supervision sees it."""
        with self._step("suspend the machine"):
            self._defined().suspend()

    def await_bypass(self) -> None:
        """Wait until supervision has taken the app out of the users' way, and use what it served meanwhile."""
        begin, limit_s = self._chronicle.begin, self._failure_limit_s
        with self._step("await the bypass", f"{limit_s:g} s"):
            bypassed = self._watch.wait_until(lambda: self._bypassed(begin), time.monotonic() + limit_s)
        if bypassed and self._application.type == "transparent":
            with self._step("use what the app passed, past it"):
                self._traffic.use_app(self._traffic.brief)

    def _bypassed(self, since: float) -> bool:
        return any(event["active"] for event in self._watch.seen("bypass", since))

    def await_reset(self) -> None:
        """Wait until supervision has reset the machine."""
        begin = self._chronicle.begin
        limit_s = self._failure_limit_s
        with self._step("await the reset by supervision", f"{limit_s:g} s"):
            if not self._watch.wait_until(lambda: self._was_reset(begin), time.monotonic() + limit_s):
                raise EnvironmentFault("supervision did not reset the machine")

    @property
    def _failure_limit_s(self) -> float:
        return float(self._silence_s + OPERATION_DEADLINE_S)

    @property
    def _silence_s(self) -> float:
        """After so long without a heartbeat an app has failed."""
        return float(self.profile["heartbeat.missed_max"] * self.profile["heartbeat.interval_s"])

    def _was_reset(self, since: float) -> bool:
        return any(event["state"] == "reset" for event in self._watch.seen("vm-state", since))

    def await_hang(self) -> None:
        """Watch the app hang: past the drill's time and supervision's, its system asked for and its service used."""
        running = [e.at for e in self._watch.seen("beat", self._started_at) if _is_running(e["data"])]
        if not running:
            return
        hang = running[0] + self.profile["heartbeat.hang_after_s"]
        with self._step("watch the app hang", f"{hang - running[0]:g} s after its first running beat"):
            self._watch.let_pass(hang + self._guard_s)
            self._traffic.ask_for_address()
            self._traffic.use_app(self._traffic.hopeless)
            self._watch.let_pass(hang + 2 * self._silence_s)

    def remove_machine(self) -> None:
        """Undefine the machine; what it leaves behind, LIF-005 sees."""
        if self._machine is None or self._machine.state() is State.UNDEFINED:
            return
        self.ensure_off()
        with self._step("undefine the machine"):
            self._machine.undefine()
        assert self._before is not None
        with suppress(BrokenLab), self._step(LEFTOVERS) as told:
            now = leftovers.look(self.lab.spec.evidence)
            told.extend(now.told)
            leftovers.require_none(self._before, now)

    # traffic: see harness/traffic.py

    @contextmanager
    def stand_in(self) -> Iterator[None]:
        """A host of ours in the app's place, with its addresses and what it declares to serve; nothing bypasses it."""
        with ExitStack() as stack:
            with self._step("put a stand-in in the app's place"):
                stack.enter_context(self.lab.network.stand_in())
                log = self.lab.log("stand-in")
                stack.enter_context(self._traffic.stand_in_services(log, self.lab.on_event))
                self.lab.command("userplane", "bypass", active=False, reason="a stand-in is there")
            yield
            self.lab.command("userplane", "bypass", active=True, reason="the stand-in goes")

    def use_app_bypassed(self) -> None:
        """What a transparent app will pass, past it: that servers answer is no proof of the app's."""
        if self._application.type == "transparent":
            with self._step("use what the app will pass, without it"):
                self._traffic.use_app(self._traffic.brief)

    def exchange_control_traffic(self) -> None:
        with self._step("exchange traffic that no rule selects"):
            self._traffic.control()

    def use_services(self, briefly: bool = False) -> None:
        with self._step("use what the app serves or passes", *(["briefly"] if briefly else [])):
            self._traffic.use_app(self._traffic.brief if briefly else self._traffic.thorough)

    def use_forwards(self) -> None:
        if self._application.forwards:
            with self._step("use the forwarded ports"):
                together(self._traffic.of_forwards(self._traffic.brief))

    def probe_undeclared_ports(self) -> None:
        with self._step("try ports that nobody declared"):
            self._traffic.probe_undeclared_ports()

    def resolve_endpoints(self) -> None:
        if self._application.endpoints:
            with self._step("resolve the app's names"):
                self._traffic.resolve_endpoints()

    def probe_bus_permissions(self) -> None:
        if self._application.uses_bus:
            with self._step("try the bus with the app's credentials"):
                probe_permissions(self.lab)

    def switch_features(self) -> None:
        """Switch every declared feature off and on once, waiting for the status each time; then all are on."""
        if self._on_bus():  # else nobody is there to be told
            self._features.switch_all()


def _is_running(data: str) -> bool:
    beat = decode(bytes.fromhex(data))
    return isinstance(beat, Beat) and beat.state == "running"
