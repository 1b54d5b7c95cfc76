"""The emulator's time process: heartbeat with supervision, NTP and service DNS on handed-over sockets.

Configuration (plain JSON):

    app                          application id
    interval_s                   of the heartbeat, seconds
    missed_max                   intervals without a heartbeat: failed
    boot_deadline_s              seconds from start or reset to the first heartbeat, scaled for the accelerator
    restarts_before_escalation   restarts in a row
    clock                        PlatformClock.to_json()
    names                        the platform's own names (emulator.platform.service_names), each with its address
    zone                         the operator's zone: names (the app's FQDN), each with its address

Sockets, UDP and bound: ``heartbeat``, ``ntp``, ``dns`` (the service DNS), ``dns_operator`` (the zone alone, for UEs).

Commands (docs/interfaces.md): ``pause`` and ``resume`` {service: ntp or dns}, ``supervise`` {acting}, ``expect`` {},
``vm-off`` {}, ``kiss`` {active} (kiss-o'-death RATE).
Beside events of the trace it sends ``action`` messages: {"action": "restart", "why"} and {"action": "bypass", "active",
"why"}, for the harness to carry out.
"""

import socket
import time
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from emulator.control import Control, Handler, Setup
from emulator.dns import DnsCore
from emulator.heartbeat import HeartbeatCore, Supervised
from emulator.ntp import NtpCore
from emulator.platform import PlatformClock
from emulator.service import Action, Alarm, Bypass, Note, Restart, Service, realtime_minus_monotonic

_SUPERVISED = ("app", "interval_s", "missed_max", "boot_deadline_s", "restarts_before_escalation")


async def serve(setup: Setup, channel: socket.socket) -> None:
    """Run the three services until the harness closes the channel. Raises KeyError where config lacks a key."""
    config = setup.config
    clock = PlatformClock(**config["clock"])
    heartbeat = HeartbeatCore(Supervised(**{name: config[name] for name in _SUPERVISED}), clock)
    ntp = NtpCore(clock, time.monotonic)
    dns, operator = DnsCore({**config["names"], **config["zone"]}), DnsCore(config["zone"])

    def perform(action: Action) -> None:
        _report(control, action)

    supervision = Service("heartbeat", heartbeat, setup.socket("heartbeat"), perform)
    control = Control(channel, _handlers(heartbeat, supervision, ntp, dns))
    with (
        control,
        supervision,
        Service("ntp", ntp, setup.socket("ntp"), perform),
        Service("dns", dns, setup.socket("dns"), perform),
        Service("operator's dns", operator, setup.socket("dns_operator"), perform),
    ):
        pair = {"process": "time", "realtime_minus_monotonic": realtime_minus_monotonic()}
        control.note("clock-pair", time.monotonic(), pair)
        await control.closed.wait()


def _handlers(heartbeat: HeartbeatCore, supervision: Service, ntp: NtpCore, dns: DnsCore) -> Mapping[str, Handler]:
    services: Mapping[str, NtpCore | DnsCore] = {"ntp": ntp, "dns": dns}

    async def pause(message: Mapping[str, Any]) -> None:
        services[message["service"]].pause()

    async def resume(message: Mapping[str, Any]) -> None:
        services[message["service"]].resume()

    async def kiss(message: Mapping[str, Any]) -> None:
        ntp.kiss(bool(message["active"]))

    async def supervise(message: Mapping[str, Any]) -> None:
        supervision.run(heartbeat.supervise(bool(message["acting"]), time.monotonic()))

    async def expect(_: Mapping[str, Any]) -> None:
        supervision.run(heartbeat.expect(time.monotonic()))

    async def vm_off(_: Mapping[str, Any]) -> None:
        supervision.run(heartbeat.vm_off(time.monotonic()))

    return {
        "pause": pause,
        "resume": resume,
        "kiss": kiss,
        "supervise": supervise,
        "expect": expect,
        "vm-off": vm_off,
    }


def _report(control: Control, action: Action) -> None:
    """An action of a core as a message to the harness; a Send never comes here, the service has sent it."""
    match action:
        case Note(kind, at, fields):
            control.note(kind, at, fields)
        case Alarm():
            control.note("alarm", time.monotonic(), asdict(action))
        case Restart(why):
            control.note("action", time.monotonic(), {"action": "restart", "why": why})
        case Bypass(active, why):
            control.note("action", time.monotonic(), {"action": "bypass", "active": active, "why": why})
