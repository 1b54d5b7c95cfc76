"""Hand-made runs for the tables of the checks over traces: an app "goon" that starts at 10 s and beats from 20 s on."""

import json
import struct
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from ipaddress import IPv4Address
from typing import Any, Literal

from conformance.application import Application, Endpoint, Rule, Service
from conformance.trace import Capture, Frame, Trace, make_trace
from conformance.verdict import Span

Row = tuple[float, str, Mapping[str, Any]]

START, FIRST = 10.0, 20.0
PLATFORM_AT_ZERO = 1_700_000_000.0
ADDRESSES = {"service": "10.199.0.10", "user-plane": "192.0.2.10"}
PLATFORM, GATEWAY = "10.199.0.1", "192.0.2.1"
VM_MAC, LAB_MAC = bytes.fromhex("525400000001"), bytes.fromhex("020000000001")

GOON = Application(
    id="goon",
    type="terminating",
    vendor="Example",
    product="GoOn",
    version="1.0",
    heartbeat_interval_s=1.0,
    nics=("service", "user-plane"),
    endpoints=(Endpoint("goon.apps.example", (Service("udp", 7),)),),
    drills=("hang",),
)
LENS = replace(
    GOON, id="lens", type="transparent", endpoints=(), rules=(Rule("web", "uplink", "proto==TCP && dst_port==80"),)
)


def run(
    *parts: Iterable[Row],
    app: Application = GOON,
    span: tuple[float, float] | None = None,
    captures: Iterable[Capture] = (),
) -> Trace:
    """A run's trace: its facts, then these rows in the order of their time."""
    facts: list[Row] = [
        (0.0, "run", {"application": app.to_json(), "accelerator": "kvm", "addresses": ADDRESSES}),
        (0.0, "platform-clock", {"at_reference": PLATFORM_AT_ZERO}),
        (0.0, "machine", {"cpus": 1, "memory_mib": 1024}),
    ]
    rows = sorted((row for part in parts for row in part), key=lambda row: row[0])
    made = make_trace([*facts, *rows])
    return Trace(made.events, {c.interface: c for c in captures}, Span(*span) if span else None)


def vm(at: float, state: str, boot: int = 1, reason: str = "harness", drill: str = "") -> list[Row]:
    return [(at, "vm-state", {"state": state, "boot": boot, "reason": reason, "drill": drill})]


def started(at: float = START, boot: int = 1, drill: str = "") -> list[Row]:
    """Defined and started, with the first line of a kernel on the console two seconds later."""
    line = {"text": "[    0.000000] Linux version 6.1.0", "boot": boot}
    return [*vm(at - 1, "defined", boot - 1), *vm(at, "started", boot, drill=drill), (at + 2, "console-line", line)]


def datagram(at: float, data: bytes) -> Row:
    return (at, "beat", {"data": data.hex(), "length": len(data), "address": ADDRESSES["service"], "port": 40000})


def beat_data(seq: int, time: float, state: str = "running", app: str = "goon") -> bytes:
    return json.dumps({"racs": "heartbeat/1", "app": app, "seq": seq, "time": time, "state": state}).encode()


def beat(at: float, seq: int, state: str = "running", app: str = "goon", off: float = 0.0) -> Row:
    """off: the guest's clock against the platform's, seconds."""
    return datagram(at, beat_data(seq, PLATFORM_AT_ZERO + at + off, state, app))


def beats(
    begin: float, end: float, seq: int = 0, interval: float = 1.0, off: float = 0.0, app: str = "goon"
) -> list[Row]:
    """Regular running beats from begin to just before end."""
    count = int((end - begin) / interval + 0.999999)
    return [beat(begin + n * interval, seq + n, app=app, off=off) for n in range(count)]


def at_end(at: float) -> list[Row]:
    """An event that says nothing but that the recording went on until then."""
    return [(at, "step", {"keyword": "observe", "outcome": "ok", "begin": at, "end": at})]


def outage(begin: float, end: float, *services: str) -> list[Row]:
    return [
        (at, "outage", {"service": service, "away": away})
        for service in services
        for at, away in ((begin, True), (end, False))
    ]


def udp(
    at: float,
    destination: str,
    port: int,
    payload: bytes = b"",
    source: str = ADDRESSES["service"],
    from_lab: bool = False,
) -> Frame:
    """An Ethernet frame with a UDP datagram from port 40000; checksums are left out, no check here reads them."""
    addresses = IPv4Address(source).packed + IPv4Address(destination).packed
    length = 28 + len(payload)
    packet = struct.pack("!BBHHHBBH", 0x45, 0, length, 0, 0, 64, 17, 0) + addresses
    packet += struct.pack("!HHHH", 40000, port, length - 20, 0) + payload
    ends = VM_MAC + LAB_MAC if from_lab else LAB_MAC + VM_MAC
    return Frame(at, ends + b"\x08\x00" + packet, from_lab)


def arp(at: float, operation: Literal["request", "reply"]) -> Frame:
    """The lab asks for the VM's address on the service network, the VM answers."""
    asks = operation == "request"
    lab, app = IPv4Address(PLATFORM).packed, IPv4Address(ADDRESSES["service"]).packed
    body = struct.pack("!HHBBH", 1, 0x0800, 6, 4, 1 if asks else 2)
    body += LAB_MAC + lab + bytes(6) + app if asks else VM_MAC + app + LAB_MAC + lab
    ends = b"\xff" * 6 + LAB_MAC if asks else LAB_MAC + VM_MAC
    return Frame(at, ends + b"\x08\x06" + body + bytes(18), asks)


def captured(*service: Frame, user_plane: Sequence[Frame] = (), drops: int = 0) -> tuple[Capture, ...]:
    """Both NICs of the app."""
    return (
        Capture("service", "ethernet", service, drops),
        Capture("user-plane", "ethernet", tuple(user_plane)),
    )
