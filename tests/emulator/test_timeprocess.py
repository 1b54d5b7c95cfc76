"""The time process as the harness starts it: a real process, real sockets on loopback, the control channel."""

import json
import socket
import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from dnslib import DNSRecord

from conformance.errors import BrokenLab
from conformance.trace import faults
from emulator.platform import PlatformClock
from harness.emulation import EmulatorProcess

DEADLINE_S = 20.0
NAMES = ("heartbeat", "ntp", "dns", "dns_operator")
INTERVAL_S = 0.1
BEAT = json.dumps({"racs": "heartbeat/1", "app": "goon", "seq": 1, "time": 1.0, "state": "running"}).encode()
NTP_REQUEST = b"\x23" + bytes(39) + b"tx-stamp"


class Rig:
    """The process, its addresses, and its events as they come."""

    def __init__(self) -> None:
        self.events: list[tuple[str, float, Mapping[str, Any]]] = []
        self.changed = threading.Condition()
        self.process: EmulatorProcess
        self.addresses: dict[str, Any] = {}

    def heard(self, _role: str, kind: str, at: float, fields: Mapping[str, Any]) -> None:
        with self.changed:
            self.events.append((kind, at, fields))
            self.changed.notify_all()

    def await_event(self, kind: str, **wanted: object) -> tuple[float, Mapping[str, Any]]:
        """The first event of this kind with these fields."""

        def found() -> tuple[float, Mapping[str, Any]] | None:
            fitting = ((at, f) for k, at, f in self.events if k == kind and wanted.items() <= f.items())
            return next(fitting, None)

        with self.changed:
            event = self.changed.wait_for(found, DEADLINE_S)
        assert event, f"no {kind} with {wanted} among {self.events}"
        return event

    def ask(self, service: str, data: bytes, timeout_s: float = DEADLINE_S) -> bytes:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
            client.settimeout(timeout_s)
            client.sendto(data, self.addresses[service])
            return client.recv(2048)

    def beat(self, data: bytes = BEAT) -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
            client.sendto(data, self.addresses["heartbeat"])


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Rig]:
    made = Rig()
    sockets = {name: socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for name in NAMES}
    for name, sock in sockets.items():
        sock.bind(("127.0.0.1", 0))
        made.addresses[name] = sock.getsockname()
    config = {
        "app": "goon",
        "interval_s": INTERVAL_S,
        "missed_max": 3,
        "boot_deadline_s": 60.0,
        "restarts_before_escalation": 3,
        "clock": PlatformClock(time.monotonic(), time.time() + 1234.5, 0.0).to_json(),
        "names": {"ntp.racs.internal": "10.199.0.1"},
        "zone": {"goon.apps.example": "192.0.2.10"},
    }
    numbers = {name: sock.fileno() for name, sock in sockets.items()}
    with EmulatorProcess("time", config, numbers, tmp_path / "time.log", made.heard) as made.process:
        for sock in sockets.values():
            sock.close()
        yield made
    said = (tmp_path / "time.log").read_text()
    assert said == ""
    for kind, _, fields in made.events:
        assert kind == "action" or faults(kind, fields) == "", (kind, fields)


def test_beats_are_noted_with_the_time_they_came(rig: Rig) -> None:
    begin = time.monotonic()
    rig.beat()
    at, fields = rig.await_event("beat")
    assert begin - 0.01 <= at <= time.monotonic()
    assert bytes.fromhex(fields["data"]) == BEAT


def test_supervision_acts_when_told_to(rig: Rig) -> None:
    rig.process.command("supervise", acting=True)
    rig.process.command("expect", boot=1)
    rig.await_event("action", action="bypass", active=True)
    rig.beat()
    rig.await_event("action", action="bypass", active=False)
    rig.await_event("action", action="restart")  # and no second beat
    _, alarm = rig.await_event("alarm", cleared=False)
    assert alarm["time"] - time.time() == pytest.approx(1234.5, abs=DEADLINE_S)
    failed_at, _ = rig.await_event("supervision", state="failed", acting=True)
    beat_at, _ = rig.await_event("beat")
    assert failed_at - beat_at >= 3 * INTERVAL_S - 0.001
    rig.process.command("expect", boot=2)
    rig.beat()
    rig.await_event("alarm", cleared=True)
    rig.process.command("vm-off")
    rig.await_event("supervision", state="off")


def test_supervision_records_only_by_default(rig: Rig) -> None:
    rig.process.command("expect", boot=1)
    rig.beat()
    rig.await_event("supervision", state="failed", acting=False)
    assert not [fields for kind, _, fields in rig.events if fields.get("action") == "restart"]


def test_ntp_and_dns_answer_and_can_be_taken_away(rig: Rig) -> None:
    assert rig.ask("ntp", NTP_REQUEST)[24:32] == b"tx-stamp"
    question = DNSRecord.question("goon.apps.example").pack()
    assert str(DNSRecord.parse(rig.ask("dns", question)).rr[0].rdata) == "192.0.2.10"
    rig.process.command("pause", service="ntp")
    rig.process.command("pause", service="dns")
    for service, data in (("ntp", NTP_REQUEST), ("dns", question)):
        with pytest.raises(TimeoutError):
            rig.ask(service, data, timeout_s=0.3)
    rig.await_event("ntp-request", answered=False, reason="outage")
    rig.await_event("dns-query", answer="")
    rig.process.command("resume", service="ntp")
    rig.process.command("kiss", active=True)
    assert rig.ask("ntp", NTP_REQUEST)[12:16] == b"RATE"


def test_a_command_that_nobody_knows_is_refused_and_the_process_lives(rig: Rig) -> None:
    with pytest.raises(BrokenLab, match="bus"):
        rig.process.command("pause", service="bus")
    rig.beat()
    rig.await_event("beat")


def test_the_clocks_are_noted_as_a_pair(rig: Rig) -> None:
    _, fields = rig.await_event("clock-pair", process="time")
    assert fields["realtime_minus_monotonic"] == pytest.approx(time.time() - time.monotonic(), abs=1.0)
