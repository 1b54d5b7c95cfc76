"""`racs lab`: an app in the emulated network for as long as its developer likes, watched and not judged."""

import math
import os
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from socket import socket
from typing import TYPE_CHECKING

from conformance.exitstatus import ExitStatus
from conformance.package import open_package
from conformance.trace import Event, describe_starvation
from harness.assembly import make_run_folder, refusal_of
from harness.entrance import require_lab
from harness.options import PackageOptions
from harness.screen import show
from harness.terminal import Relay, adopt, lab_of, listen
from harness.watch import Watch

if TYPE_CHECKING:  # they open libvirt: only where something is booted
    from harness.lab import Lab, LabSpec
    from harness.testbed import Testbed

CONSOLE_SOCKET = Path("/run/racs/console")  # of the lab's own tmpfs: QEMU's end of the serial port


@dataclass(frozen=True, slots=True)
class LabRequest:
    """What `racs lab` was asked for. terminals is the listener's descriptor in the process that entered the lab."""

    options: PackageOptions
    runs: Path
    accelerator: str
    seed: int
    terminals: int | None = None


def run_lab(request: LabRequest) -> int:
    """Boot the app, show how to reach it and what it does, until Ctrl-C; the exit status. Supervision only records.

    Replaces this process by itself inside the lab's namespaces. Evidence stays in a folder of its own below runs.
    """
    package = open_package(request.options.ova, request.options.profile)
    refusal = refusal_of(request.options, package)
    if refusal or package.application is None:
        _say(f"{refusal}; racs check says what is wrong")
        return ExitStatus.FAIL
    name = package.application.id
    with listen(name) if request.terminals is None else adopt(request.terminals) as listener:
        require_lab(request.options.profile, lambda: None, f"--terminals={listener.fileno()}")
        from harness.lab import LabSpec

        folder = make_run_folder(request.runs, f"{name}-lab", datetime.now(UTC))
        profile, evidence = request.options.profile, folder / "evidence"
        spec = LabSpec(package, profile, evidence, request.seed, request.accelerator, CONSOLE_SOCKET)
        try:
            _attend(spec, listener)
        except KeyboardInterrupt:
            _say("power is cut")
    _say(f"the lab is gone; what was recorded is in {folder}")
    return 0


def _attend(spec: "LabSpec", listener: socket) -> None:
    """The lab from its beginning to Ctrl-C; a second Ctrl-C leaves by KeyboardInterrupt."""
    from harness.testbed import Testbed

    with Testbed(spec, _say) as bed:
        bed.power_on()
        view = View(bed.lab.watch)
        with Relay(listener, CONSOLE_SOCKET, spec.evidence / "console.log"):
            show("\n".join(describe(bed.lab, lab_of(listener).pid)), sys.stdout)
            try:
                bed.lab.watch.wait_until(view.show, math.inf)
            except KeyboardInterrupt:
                _power_off(bed)
            view.show()


def _power_off(bed: "Testbed") -> None:
    bed.press_power_button()
    if not bed.is_off():
        _say("the app did not power off: power is cut")


def describe(lab: "Lab", keeper: int) -> Iterator[str]:
    """How to reach what is in the lab from another terminal, a line each; keeper is the lab's process outside."""
    application, plan = lab.application, lab.plan
    topology = plan.topology
    yield f"{application.id} {application.version} ({application.type}) runs under {lab.accelerator}; Ctrl-C ends it"
    for nic in topology.nics:
        yield f"  {nic.network:<14} {nic.address:<15} of {nic.mac}, gateway {nic.gateway}"
    for endpoint in application.endpoints:
        services = ", ".join(f"{service.protocol}/{service.port}" for service in endpoint.services)
        yield f"  {endpoint.fqdn:<14} {services}"
    domain = lab.profile["network.domain"]
    names = ", ".join(f"{name}.{domain}" for name in ("heartbeat", "mqtt", "ntp"))
    yield f"  {'platform':<14} {topology.platform:<15} {names}"
    if application.uses_bus:
        yield f"  {'bus':<14} user {application.id}, password {plan.password}"
    enter = f"{'' if os.geteuid() == 0 else 'sudo '}nsenter -t {keeper} -m -n"
    yield "in another terminal:"
    yield f"  racs lab console {keeper}"
    yield f"  {enter} ip netns exec ue0 bash   # as the UE {topology.ue_address(0)}; ue0 to ue{topology.ues - 1}"
    yield f"  {enter} ip netns exec sgi bash   # as a server of the operator or the internet"
    yield f"  {enter} bash   # as the platform"
    for forward in application.forwards:
        where = f"{forward.protocol}/{forward.from_port} of {topology.outside} is the app's {forward.to_port}"
        yield f"  {enter} ip netns exec outside bash   # {where}"


def _show_beat(event: Event) -> str:
    return f"beat from {event['address']}: {bytes.fromhex(event['data']).decode(errors='replace')}"


def _show_alarm(event: Event) -> str:
    return f"alarm {'cleared' if event['cleared'] else 'raised'} ({event['severity']}): {event['cause']}"


def _show_attempt(event: Event) -> str:
    decision = "" if event["allowed"] else f"  REFUSED: {event['reason']}"
    return f"bus {event['action']} {event['topic'] or event['username']}{decision}"


SHOWN: Mapping[str, Callable[[Event], str]] = {
    "vm-state": lambda event: f"machine {event['state']} by {event['reason']}",
    "dhcp-lease": lambda event: f"lease of {event['address']} on {event['network']}",
    "dns-query": lambda event: f"asks for {event['name']} {event['type']}: {event['answer'] or 'no answer'}",
    "ntp-request": lambda event: f"asks for the time{'' if event['answered'] else ': ' + event['reason']}",
    "beat": _show_beat,
    "supervision": lambda event: f"supervision would see: {event['state']} ({event['reason']})",
    "alarm": _show_alarm,
    "mqtt-attempt": _show_attempt,
    "mqtt-closed": lambda event: f"bus connection closed: {event['reason']}",
    "feature-status": lambda event: f"features {event['malformed'] or event['features']}",
    "host-starved": lambda event: f"this host is starved ({describe_starvation(event)}): times may be off",
    "drop": lambda event: f"the lab itself lost {event['count']} packets in {event['where']}",
}


class View:
    """What happens, a line each on standard error."""

    def __init__(self, watch: Watch) -> None:
        self._watch = watch
        self._begin = time.monotonic()
        self._shown: Counter[str] = Counter()

    def show(self) -> bool:
        """Print what is new since the last call; always false, as the condition of `Watch.wait_until` for ever."""
        fresh: list[Event] = []
        for kind in SHOWN:
            events = self._watch.seen(kind)[self._shown[kind] :]
            self._shown[kind] += len(events)
            fresh += events
        for event in sorted(fresh, key=lambda event: event.at):
            text = SHOWN[event.kind](event)
            # the app's own words go to a terminal: none of them may command it
            plain = "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)
            show(f"[{event.at - self._begin:8.1f} s] {plain}", sys.stderr)
        return False


def _say(text: str) -> None:
    show(f"racs: {text}", sys.stderr)
