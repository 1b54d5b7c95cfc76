"""The app's virtual machine: the verbs that the contract knows, and a note of everything that happens to it."""

import os
import signal
import threading
import time
import xml.etree.ElementTree as ET
from collections.abc import Callable
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, Literal

from conformance.errors import EnvironmentFault, SubjectError
from harness.console import Console, Note
from harness.disk import Overlay
from harness.domain_xml import MachineSpec, cdrom, domain_xml, machine_facts
from harness.hypervisor import Hypervisor

ROOT = Path("/run/racs/libvirt")  # short, and in the lab's own tmpfs
EVENT_DEADLINE_S = 30.0  # for libvirt to say what it has done
FIRMWARE_RESET_S = 1.0  # after a reset SeaBIOS resets once more (measured: 0.03 s later, nothing on the console yet)


class State(StrEnum):
    """What the machine is; CRASHED is off too, but by nobody's wish."""

    UNDEFINED = "undefined"
    OFF = "off"
    CRASHED = "crashed"
    RUNNING = "running"
    SUSPENDED = "suspended"


Cause = Literal["harness", "supervision"]
_ACTIVE = (State.RUNNING, State.SUSPENDED)


@dataclass(frozen=True, slots=True)
class _Change:
    """What a lifecycle event means: the state it leads to, and its name and cause in the trace."""

    state: State
    trace: str
    reason: str


# (event, detail) of virDomainEventType in libvirt-domain.h, its public ABI; what is not here changes nothing
_STARTED, _SUSPENDED, _RESUMED, _STOPPED = 2, 3, 4, 5
_CHANGES = {
    (0, 0): _Change(State.OFF, "defined", "harness"),
    (1, 0): _Change(State.UNDEFINED, "undefined", "harness"),
    (_STARTED, 0): _Change(State.RUNNING, "started", "harness"),
    (_SUSPENDED, 0): _Change(State.SUSPENDED, "suspended", "harness"),
    (_SUSPENDED, 2): _Change(State.SUSPENDED, "suspended", "hypervisor"),  # an I/O error: the host's disk is full
    (_RESUMED, 0): _Change(State.RUNNING, "resumed", "harness"),
    (_STOPPED, 0): _Change(State.OFF, "powered-off", "guest"),
    (_STOPPED, 1): _Change(State.OFF, "destroyed", "harness"),
    (_STOPPED, 2): _Change(State.CRASHED, "crashed", "hypervisor"),
    (_STOPPED, 5): _Change(State.CRASHED, "crashed", "hypervisor"),
}


class Machine:
    """One app's machine of the contract, in the process that entered the lab's namespaces.

    ``with`` opens the hypervisor and the console; its end destroys and undefines what is left. Verbs return when
    libvirt has said that it happened; they raise SubjectError where the machine is not running any more, and
    EnvironmentFault where the lab could not do it, also from then on when the host's disk was full or the overlay grew
    over the profile's host.overlay_bytes_max. note(kind, at, fields) gets vm-state, power-button, machine, lab-fault
    and console-line, from several threads.
    """

    def __init__(self, spec: MachineSpec, note: Note, root: Path = ROOT) -> None:
        self._spec = spec
        self._note = note
        self._root = root
        log = spec.console.with_name("libvirt.log")
        self._hypervisor = Hypervisor(root, log, spec.namespace, self._on_silence)
        self._console = Console(spec.console, note)
        self._definition = ExitStack()  # what lives from define to undefine
        self._domain: Any = None
        self._changed = threading.Condition()
        self._state = State.UNDEFINED
        self._fault = ""
        self._boot = 0
        self._boot_at = 0.0
        self._presses = 0
        self._starting = False
        self._resetting: Cause | None = None
        self._environment: tuple[Path | None, str] = (None, "")
        self._drill = ""

    def __enter__(self) -> "Machine":
        with ExitStack() as stack:
            stack.enter_context(self._console)
            stack.enter_context(self._hypervisor)
            for identifier in self._hypervisor.call(self._register):
                stack.callback(self._hypervisor.call, _deregister(identifier))
            stack.callback(self._clear)
            self._open = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._open.close()

    def state(self) -> State:
        return self._state

    @property
    def boot(self) -> int:
        """Starts and resets of the guest so far."""
        return self._boot

    @property
    def process(self) -> int:
        """Number of QEMU's process, of a machine that was started."""
        return int((self._root / "run" / "qemu" / f"{self._spec.name}.pid").read_text())

    def wait_for(self, state: State, deadline_s: float) -> bool:
        """Whether the machine came into this state in time. Raises EnvironmentFault where the lab failed meanwhile."""
        with self._changed:
            self._changed.wait_for(lambda: self._state is state or bool(self._fault), deadline_s)
            self._check()
            return self._state is state

    def define(self) -> None:
        """The machine exists, with a fresh disk, and is off."""
        self._overlay = self._definition.enter_context(Overlay(self._spec.image, self._spec.folder))
        definition = domain_xml(self._spec, self._overlay.path, None)
        self._hypervisor.call(lambda connection: self._take(connection.defineXML(definition)))
        self._await(lambda: self._state is State.OFF, "defined")

    def insert_environment(self, iso: Path, drill: str = "") -> None:
        """The CD-ROM that the guest has from its next start or reset on; drill is the ``racs.drill`` written on it."""
        self._environment = (iso, drill)

    def start(self) -> None:
        before = self._boot
        self._change_environment(live=False)
        self._starting = True
        try:
            self._act("create")
            self._await(lambda: self._boot > before, "started")
        finally:
            self._starting = False
        # told by its event when the disk has grown so far
        self._act("setBlockThreshold", "vda", int(self._spec.profile["host.overlay_bytes_max"]))
        self._note("machine", time.monotonic(), machine_facts(self._act("XMLDesc", 0)))

    def reset(self, by: Cause = "harness") -> None:
        """A hard reset: the guest boots again at once, from the same disk; a suspended one runs again."""
        self._resetting = by
        try:
            if self._state is not State.SUSPENDED:  # a running guest could close the tray of a drive that changes
                self._act("suspend")
            self._change_environment(live=True)
            self._act("reset", 0)
            self._act("resume")
            self._await(lambda: self._resetting is None, "reset")
        finally:
            self._resetting = None

    def press_button(self) -> None:
        """The ACPI power button; what the guest makes of it is seen by `wait_for`."""
        self._presses += 1
        self._note("power-button", time.monotonic(), {"press": self._presses})
        self._act("shutdownFlags", 1)  # VIR_DOMAIN_SHUTDOWN_ACPI_POWER_BTN

    def suspend(self) -> None:
        """The guest's CPU stands still."""
        self._act("suspend")
        self._await(lambda: self._state is State.SUSPENDED, "suspended")

    def resume(self) -> None:
        self._act("resume")
        self._await(lambda: self._state is State.RUNNING, "resumed")

    def destroy(self) -> None:
        """Power is cut. Does nothing to a machine that is off."""
        if self._state in _ACTIVE:
            self._hypervisor.call(lambda _: _cut_power(self._domain))
            self._await(lambda: self._state not in _ACTIVE, "destroyed")

    def undefine(self) -> None:
        """The machine and its disk are gone; the console's file stays. Does nothing to one that is not defined."""
        if self._state is State.UNDEFINED:
            return
        self._hypervisor.call(lambda _: self._domain.undefine())
        self._await(lambda: self._state is State.UNDEFINED, "undefined")
        self._domain = None
        self._definition.close()

    def overlay_bytes(self) -> int:
        """What the guest's writes take on the host's disk by now."""
        return self._overlay.allocated_bytes()

    def _take(self, domain: Any) -> None:
        self._domain = domain  # in the worker: it is there though an interrupt ended the waiting for it

    def _clear(self) -> None:
        try:
            self._hypervisor.call(self._abandon)  # behind whatever an interrupted verb had begun
            self.destroy()
            self.undefine()
        finally:
            self._definition.close()

    def _abandon(self, _connection: Any) -> None:
        if self._domain is not None and self._domain.isActive():
            _cut_power(self._domain)

    def _act(self, verb: str, *arguments: object) -> Any:
        """A method of libvirt's domain. Of a machine that is off it asks too much: that is the app's doing."""
        self._check()
        try:
            return self._hypervisor.call(lambda _: getattr(self._domain, verb)(*arguments))
        except EnvironmentFault as fault:
            if verb != "create" and self._state not in _ACTIVE:
                seen = f"it is {self._state} ({verb} asked for)"
                raise SubjectError("the app's machine running", seen, "console.log", "see its last lines") from fault
            raise

    def _change_environment(self, live: bool) -> None:
        iso, drill = self._environment
        drive = ET.tostring(cdrom(iso), encoding="unicode")
        # VIR_DOMAIN_AFFECT_LIVE and VIR_DOMAIN_DEVICE_MODIFY_FORCE (the guest may hold the tray), or _CONFIG
        self._act("updateDeviceFlags", drive, 1 | 4 if live else 2)
        self._drill = drill

    def _await(self, condition: Callable[[], bool], what: str) -> None:
        with self._changed:
            if not self._changed.wait_for(condition, EVENT_DEADLINE_S):
                why = self._fault or f"libvirt did not say within {EVENT_DEADLINE_S:g} s that the machine is {what}"
                raise EnvironmentFault(why)

    def _check(self) -> None:
        if self._fault:
            raise EnvironmentFault(self._fault)

    # what libvirt says, in its event thread: nothing here calls libvirt

    def _register(self, connection: Any) -> list[int]:
        handlers = {0: self._on_lifecycle, 1: self._on_reboot, 6: self._on_io_error, 24: self._on_overgrown}
        return [connection.domainEventRegisterAny(None, event, handler, None) for event, handler in handlers.items()]

    def _on_lifecycle(self, _connection: Any, _domain: Any, event: int, detail: int, _opaque: None) -> None:
        change = _CHANGES.get((event, detail))
        if change is None or (event == _STOPPED and self._state not in _ACTIVE):
            return  # or a start that failed: the verb says why
        if change.reason == "harness" and event in (_SUSPENDED, _RESUMED) and (self._starting or self._resetting):
            if event == _RESUMED:
                self._end_reset()
            return  # a part of the verb, not one of its own
        reason = "hypervisor" if change.trace == "destroyed" and self._fault else change.reason
        if event == _STARTED:
            self._begin_boot()
        self._tell(change.state, change.trace, reason)

    def _on_reboot(self, *_: object) -> None:
        firmware = time.monotonic() - self._boot_at < FIRMWARE_RESET_S and not self._console.wrote_since_boot()
        if self._resetting:
            self._begin_boot()
            self._tell(State.RUNNING, "reset", self._resetting)
        elif not firmware:
            self._begin_boot()
            self._tell(self._state, "reset", "guest")

    def _end_reset(self) -> None:
        with self._changed:
            self._resetting = None
            self._changed.notify_all()

    def _on_io_error(self, _connection: Any, _domain: Any, path: str, *rest: Any) -> None:
        if rest[2] == "enospc":
            self._give_up(f"no space left on the host below {self._spec.folder}: free some and run again")

    def _on_overgrown(self, *_: object) -> None:
        limit = int(self._spec.profile["host.overlay_bytes_max"])
        self._give_up(f"the app wrote more than {limit} bytes to its disk (host.overlay_bytes_max of the profile)")

    def _on_silence(self) -> None:
        """libvirt waits for QEMU without an end, and QEMU for whatever holds it."""
        with suppress(OSError, ValueError):
            os.kill(self.process, signal.SIGKILL)
        self._give_up(
            "QEMU did not answer libvirt: it was stopped, or waits for the host's disk; mend that and run again"
        )

    def _begin_boot(self) -> None:
        self._console.begin_boot(self._boot + 1)
        self._presses = 0
        self._boot_at = time.monotonic()
        self._boot += 1

    def _tell(self, state: State, trace: str, reason: str) -> None:
        fields = {"state": trace, "reason": reason, "boot": self._boot, "drill": self._drill}
        self._note("vm-state", time.monotonic(), fields)
        with self._changed:
            self._state = state
            self._changed.notify_all()

    def _give_up(self, why: str) -> None:
        with self._changed:
            self._fault = self._fault or why
            self._changed.notify_all()
        self._note("lab-fault", time.monotonic(), {"why": why})
        self._hypervisor.post(lambda _: _cut_power(self._domain))


def _cut_power(domain: Any) -> None:
    try:
        domain.destroy()
    except Exception:  # whatever libvirt says of a machine that went off by itself just now
        if domain.isActive():
            raise


def _deregister(identifier: int) -> Callable[[Any], None]:
    def deregister(connection: Any) -> None:
        connection.domainEventDeregisterAny(identifier)

    return deregister
