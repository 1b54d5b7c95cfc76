"""A small lab of its own for images: real dnsmasq, mosquitto and QEMU, a shifted time server and a heartbeat listener.

Runs inside private namespaces (harness/init.py) and shares nothing with the emulator, so that image and emulator are
not each other's only witness. `guest_rig.py SETUP.json` prints one JSON object: what the guest did.
"""

import json
import select
import socket
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

Process = subprocess.Popen[bytes]
SHIFT_S = 1800.0
MACS = ("52:54:00:00:00:01", "52:54:00:00:00:02")


def main() -> None:
    setup = json.loads(Path(sys.argv[1]).read_text())
    with ExitStack() as stack:
        work = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        rig = Rig(setup, work, stack)
        rig.observe(setup["seconds"], setup.get("steps", {}))
        rig.press_button()
        print(json.dumps(rig.seen))


class Rig:
    """What stands around the guest; `seen` is what it did."""

    def __init__(self, setup: Any, work: Path, stack: ExitStack) -> None:
        self.setup, self.work = setup, work
        self.seen: dict[str, Any] = {"beats": [], "ntp": [], "strays": 0, "steps": {}}
        user = setup["network"]
        for tap, address in (("tap0", "10.199.0.1/24"), ("tap1", f"{user['gateway']}/{user['prefix']}")):
            run(f"ip tuntap add {tap} mode tap; ip link set {tap} up; ip address add {address} dev {tap}")
            run(f"ethtool -K {tap} tx off")  # else DHCP's checksums are left to a device that is none
        run("ip address add 203.0.113.9/32 dev lo")
        stack.enter_context(child(dnsmasq(user, work / "dns.log")))
        if setup.get("mosquitto"):
            stack.enter_context(self._bus())
        self.sockets = {name: udp(port) for name, port in (("beat", 7400), ("ntp", 123), ("other", 7401))}
        self.started = time.monotonic()
        self.machine = stack.enter_context(self._machine())

    @contextmanager
    def _bus(self) -> Iterator[None]:
        configuration = self.work / "mosquitto.conf"
        configuration.write_text("listener 1883 10.199.0.1\nallow_anonymous true\nuser root\n")
        with child([self.setup["mosquitto"], "-c", str(configuration)]):
            wait_for(accepts)
            follow = ["mosquitto_sub", "-h", "10.199.0.1", "-t", "#", "-F", "%r %t %p"]
            with (self.work / "bus.log").open("w") as log, child(follow, stdout=log):
                yield

    @contextmanager
    def _machine(self) -> Iterator[Process]:
        work = self.work
        (work / "cd").mkdir()
        (work / "cd/ovf-env.xml").write_text(environment(self.setup["properties"]), encoding="utf-8")
        run(f"xorriso -as mkisofs -quiet -R -J -o {work}/env.iso {work}/cd 2>/dev/null")
        run(f"qemu-img create -q -f qcow2 -F qcow2 -b {self.setup['image']} {work}/overlay.qcow2")
        words = [
            "qemu-system-x86_64 -machine q35,accel=tcg -cpu Nehalem -smp 1 -m 1024 -nodefaults -display none",
            f"-serial file:{self.setup['console']} -qmp unix:{work}/qmp,server=on,wait=off",
            f"-drive file={work}/overlay.qcow2,if=virtio,format=qcow2 -device virtio-scsi-pci",
            f"-drive file={work}/env.iso,if=none,id=cd,media=cdrom,readonly=on,format=raw -device scsi-cd,drive=cd",
            "-device virtio-rng-pci -rtc base=2024-01-01T00:00:00",
        ]
        for number, mac in enumerate(MACS):
            words.append(f"-netdev tap,id=n{number},ifname=tap{number},script=no,downscript=no")
            words.append(f"-device virtio-net-pci,netdev=n{number},mac={mac},csum=off,guest_csum=off")
        with child(" ".join(words).split()) as machine:
            yield machine

    def observe(self, seconds: float, steps: dict[str, str]) -> None:
        """Listen until so many seconds after the first beat and until every step has ended.

        The steps (name to shell command) run one after the other, the first 5 s after the first beat.
        """
        deadline = time.monotonic() + 60
        waiting = list(steps.items())
        name, step, first = "", None, None
        while (time.monotonic() < deadline or step or (waiting and first)) and self.machine.poll() is None:
            self._listen(0.1)
            if first is None and self.seen["beats"]:
                first = time.monotonic()
                self.seen["first_beat_s"] = self.seen["beats"][0]["at"]
                deadline = first + seconds
            if step and step.poll() is not None:
                self.seen["steps"][name] = step.communicate()[0].decode()
                step = None
            if not step and waiting and first and time.monotonic() > first + 5:
                name, command = waiting.pop(0)
                step = subprocess.Popen(["timeout", "30", "sh", "-c", command], stdout=subprocess.PIPE)

    def _listen(self, timeout: float) -> None:
        ready, _, _ = select.select(list(self.sockets.values()), [], [], timeout)
        at = time.monotonic() - self.started
        for sock in ready:
            data, peer = sock.recvfrom(2048)
            if sock is self.sockets["beat"]:
                try:
                    beat = json.loads(data)
                except ValueError:
                    beat = {"malformed": data.decode("utf-8", "replace")}
                self.seen["beats"].append({"at": at, "size": len(data), "now": time.time() + SHIFT_S, **beat})
            elif sock is self.sockets["ntp"]:
                self.seen["ntp"].append({"at": at, "request": data.hex()})
                if len(data) >= 48 and data[0] & 7 == 3:
                    sock.sendto(answer(data), peer)
            else:
                self.seen["strays"] += 1

    def press_button(self) -> None:
        pressed = time.monotonic()
        if self.machine.poll() is None:
            with socket.socket(socket.AF_UNIX) as control:
                control.connect(str(self.work / "qmp"))
                control.sendall(b'{"execute": "qmp_capabilities"}\n{"execute": "system_powerdown"}\n')
                while self.machine.poll() is None and time.monotonic() < pressed + self.setup.get("power_off_s", 30):
                    self._listen(0.1)
            self._listen(0.1)
        self.seen["power_off_s"] = None if self.machine.poll() is None else time.monotonic() - pressed
        if self.setup.get("mosquitto"):
            self.seen["bus"] = (self.work / "bus.log").read_text().splitlines()
        self.seen["dns"] = [
            line.split(": ", 1)[-1] for line in (self.work / "dns.log").read_text().splitlines() if "query[" in line
        ]


def answer(request: bytes) -> bytes:
    """An SNTP answer of a clock that is SHIFT_S ahead of the host's (RFC 5905, 7.3)."""
    now = time.time() + SHIFT_S + 2208988800
    stamp = struct.pack("!II", int(now) % 2**32, int(now % 1 * 2**32))
    head = struct.pack("!BBbbII4s", request[0] & 0x38 | 4, 2, request[2], -20, 655, 655, b"\x7f\x7f\x01\x01")
    return head + stamp + request[40:48] + stamp + stamp


def environment(properties: dict[str, str]) -> str:
    name = "http://schemas.dmtf.org/ovf/environment/1"
    rows = "".join(f'<Property oe:key="{key}" oe:value="{value}"/>' for key, value in properties.items())
    return (
        f'<?xml version="1.0" encoding="UTF-8"?><Environment xmlns="{name}" xmlns:oe="{name}" oe:id="vm">'
        f"<PropertySection>{rows}</PropertySection></Environment>"
    )


def dnsmasq(user: dict[str, str], log: Path) -> list[str]:
    """DHCP of both networks and the platform's names."""
    words = [
        "dnsmasq --no-daemon --user=root --conf-file=/dev/null --no-resolv --no-hosts --no-ping --leasefile-ro",
        "--bind-interfaces --interface=tap0 --interface=tap1 --except-interface=lo --domain=racs.internal",
        f"--log-queries --log-facility={log}",
        "--dhcp-range=tag:tap0,10.199.0.10,10.199.0.10,1h --dhcp-option=tag:tap0,3",
        "--dhcp-option=tag:tap0,6,10.199.0.1 --dhcp-option=tag:tap0,42,10.199.0.1",
        f"--dhcp-range=tag:tap1,{user['address']},{user['address']},{user['mask']},1h --dhcp-option=tag:tap1,6",
        f"--dhcp-option=tag:tap1,3,{user['gateway']} --dhcp-option=tag:tap1,121,0.0.0.0/0,{user['gateway']}",
        *(f"--address=/{name}.racs.internal/10.199.0.1" for name in ("heartbeat", "mqtt", "ntp")),
    ]
    return " ".join(words).split()


def accepts() -> bool:
    with socket.socket() as sock:
        return sock.connect_ex(("10.199.0.1", 1883)) == 0


@contextmanager
def child(words: list[str], stdout: object = subprocess.DEVNULL) -> Iterator[Process]:
    with subprocess.Popen(words, stdout=stdout, stdin=subprocess.DEVNULL) as process:  # type: ignore[call-overload]
        try:
            yield process
        finally:
            process.kill()


def run(command: str) -> None:
    subprocess.run(["sh", "-ec", command], check=True, stdout=subprocess.DEVNULL)


def udp(port: int) -> socket.socket:
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.bind(("10.199.0.1", port))
    return sock


def wait_for(condition: Callable[[], bool], deadline_s: float = 10) -> None:
    end = time.monotonic() + deadline_s
    while not condition():
        if time.monotonic() > end:
            raise TimeoutError("condition not met")
        time.sleep(0.02)


if __name__ == "__main__":
    main()
