"""The time services between real peers: ``python tests/live/time_rig.py FOLDER CHRONYD`` inside private namespaces.

One veth joins the lab's own namespace to ``guest``, where foreign clients run. Prints what they said, and the events
of the services, as one JSON object.
"""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from conformance.profile import load
from emulator.dhcp import DhcpServer, Link
from emulator.platform import PlatformClock, service_names
from harness.emulation import EmulatorProcess

MAC, ADDRESS, PLATFORM = "52:54:00:00:00:01", "10.199.0.10", "10.199.0.1"
UP_MAC, UP_ADDRESS, GATEWAY = "52:54:00:00:00:02", "192.0.2.10", "192.0.2.1"
SHIFT_S = -1800.25
LINKS = """
link add service type veth peer name eth0 netns guest address 52:54:00:00:00:01
link add user-plane type veth peer name eth1 netns guest address 52:54:00:00:00:02
link set service up
link set user-plane up
address add 10.199.0.1/24 dev service
address add 192.0.2.1/24 dev user-plane
"""
UDHCPC_SCRIPT = """#!/bin/sh
[ "$1" = bound ] || exit 0
env > "$OUT"
ip address add "$ip/$mask" dev "$interface"
"""


def run(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    return done.stdout + done.stderr


def in_guest(*command: str) -> str:
    return run("ip", "netns", "exec", "guest", *command)


def make_links() -> None:
    subprocess.run(["ip", "netns", "add", "guest"], check=True)
    subprocess.run(["ip", "-batch", "-"], input=LINKS, text=True, check=True)
    for name in ("lo", "eth0", "eth1"):
        in_guest("ip", "link", "set", name, "up")
    for name in ("service", "user-plane"):
        run("ethtool", "-K", name, "tx", "off")  # raw-socket DHCP clients see checksums that nobody completed


def lease(folder: Path, interface: str) -> Mapping[str, str]:
    script, out = folder / "udhcpc.sh", folder / f"lease-{interface}"
    script.write_text(UDHCPC_SCRIPT)
    script.chmod(0o755)
    asked = [part for option in (1, 3, 6, 12, 15, 28, 42, 121) for part in ("-O", str(option))]
    said = in_guest(
        "env", f"OUT={out}", "busybox", "udhcpc", "-f", "-q", "-n", "-t", "3", "-T", "1", "-i", interface,
        "-s", str(script), *asked,
    )  # fmt: skip
    if not out.exists():
        raise SystemExit(f"no lease on {interface}: {said}")
    return dict(line.partition("=")[::2] for line in out.read_text().splitlines())


def udp(port: int) -> socket.socket:
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.bind((PLATFORM, port))
    return sock


def config() -> dict[str, Any]:
    clock = PlatformClock(time.monotonic(), time.time() + SHIFT_S, 20.0)
    return {
        "app": "goon",
        "interval_s": 1.0,
        "missed_max": 3,
        "boot_deadline_s": 60.0,
        "restarts_before_escalation": 3,
        "clock": clock.to_json(),
        "names": dict(service_names(load())),
        "zone": {"goon.apps.example": "192.0.2.10"},
    }


def ask_all(folder: Path, chronyd: str) -> dict[str, Any]:
    found: dict[str, Any] = {"service": lease(folder, "eth0"), "user-plane": lease(folder, "eth1")}
    found["chronyd"] = in_guest(
        chronyd, "-Q", "-U", "-u", "root", "-t", "20", "-f", "/dev/null", f"server {PLATFORM} iburst maxsamples 4",
        f"pidfile {folder}/chronyd.pid", "cmdport 0", "bindcmdaddress /",
    )  # fmt: skip
    found["ntpdig"] = in_guest("ntpdig", "-j", PLATFORM)
    dig = ("dig", f"@{PLATFORM}", "+tries=1", "+time=3")
    found["dig"] = {
        name: in_guest(*dig, "+short", name).strip()
        for name in ("heartbeat.racs.internal", "Mqtt.racs.internal", "ntp.racs.internal", "goon.apps.example")
    }
    found["dig-unknown"] = in_guest(*dig, "pool.ntp.org")
    found["dig-aaaa"] = in_guest(*dig, "ntp.racs.internal", "AAAA")
    return found


def main() -> None:
    folder, chronyd = Path(sys.argv[1]), sys.argv[2]
    make_links()
    events: list[dict[str, Any]] = []
    links = [
        Link("service", MAC, ADDRESS, PLATFORM, "255.255.255.0"),
        Link("user-plane", UP_MAC, UP_ADDRESS, GATEWAY, "255.255.255.0", routed=True),
    ]

    def note(kind: str, at: float, fields: Mapping[str, Any]) -> None:
        events.append({"kind": kind, "at": at, **fields})

    sockets = {"heartbeat": udp(7400), "ntp": udp(123), "dns": udp(53), "dns_operator": udp(5353)}
    numbers = {name: sock.fileno() for name, sock in sockets.items()}
    with (
        DhcpServer(links, "racs.internal", 3600, folder, note) as dhcp,
        EmulatorProcess("time", config(), numbers, folder / "time.log", lambda _, *event: note(*event)) as process,
    ):
        process.command("supervise", acting=False)
        found = ask_all(folder, chronyd)
        process.command("pause", service="dns")
        found["dig-away"] = in_guest("dig", f"@{PLATFORM}", "+tries=1", "+time=1", "ntp.racs.internal")
        os.kill(dhcp.pid, signal.SIGKILL)
        deadline = time.monotonic() + 10
        while not any(event["kind"] == "process-died" for event in events) and time.monotonic() < deadline:
            time.sleep(0.01)
    json.dump({**found, "events": events}, sys.stdout)


if __name__ == "__main__":
    main()
