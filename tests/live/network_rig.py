"""What the live tests of network, captures and forwarding share: two apps, a ping, backends, captures."""

import json
import socket
import struct
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from conformance.application import Allow, Application, Forward, Rule, Service
from conformance.profile import load
from emulator.control import send_setup
from harness.network import Network
from harness.recorder import Recorder

PROFILE = load()
TERMINATING = Application(
    "goon", "terminating", "v", "p", "1.0", 1.0, ("service", "user-plane"),
    forwards=(Forward("tcp", 29001, 22),), allows=(Allow("tcp", 23, "service"),),
)  # fmt: skip
TRANSPARENT = Application(
    "lens", "transparent", "v", "p", "1.0", 1.0, ("service", "user-plane-ul", "user-plane-dl"),
    rules=(Rule("web", "uplink", "proto==TCP"), Rule("web", "downlink", "proto==TCP")),
)  # fmt: skip
BACKENDS = (Service("tcp", 7), Service("udp", 7), Service("tcp", 9000), Service("udp", 9000), Service("tcp", 80))


def said(*command: str) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=20).stdout


def ping(address: str, deadline_s: float = 5.0, through: str = "") -> bool:
    """An echo request of ours, and whether it was answered (there is no ping in a base system)."""
    with socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP) as raw:
        raw.settimeout(deadline_s)
        if through:
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, through.encode())
        body = struct.pack(">HH", 7, 1) + bytes(range(48))
        total = sum(struct.unpack(f">{len(body) // 2}H", body)) + 0x0800
        while total >> 16:
            total = (total & 0xFFFF) + (total >> 16)
        raw.sendto(struct.pack(">BBH", 8, 0, ~total & 0xFFFF) + body, (address, 0))
        with suppress(TimeoutError):
            while True:
                packet, (source, _) = raw.recvfrom(2048)
                if source == address and packet[20] == 0 and packet[28:] == body[4:]:
                    return True
        return False


@contextmanager
def backends(network: Network) -> Iterator[socket.socket]:
    """The real process on the listeners in sgi; yields its control channel."""
    with network.sockets_for("backends", BACKENDS) as sockets, backends_on(sockets) as channel:
        yield channel


@contextmanager
def backends_on(sockets: Mapping[str, int]) -> Iterator[socket.socket]:
    """The real process on these listeners; yields its control channel."""
    near, far = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    command = [sys.executable, "-m", "emulator.process", "backends", str(far.fileno())]
    with near:
        process = subprocess.Popen(command, pass_fds=[far.fileno()])
        far.close()
        send_setup(near, {"http_ports": [80]}, sockets)
        near.settimeout(20)
        near.send(json.dumps({"command": "resume", "id": 1}).encode())
        assert json.loads(near.recv(65536)) == {"answer": 1}
        try:
            yield near
        finally:
            near.close()
            status = process.wait(20)
    assert status == 0


@contextmanager
def captured(network: Network, folder: Path, bytes_max: int = 1 << 28) -> Iterator[Recorder]:
    with Recorder(folder) as made:
        with network.sockets_for("capture") as sockets:
            made.start_captures(sockets, network.topology.captured, bytes_max)
        with network.stand_in():
            yield made
