"""What the user plane service costs: its packets a second against the kernel's own forwarding between the same veths.

    python tests/bench/bench_userplane.py

Run as root; it builds the lab's network in private namespaces. The sender has one core, the service the other; what
came out is counted by the kernel (interface statistics), in the same run for both. Each figure is the median of five.
"""

import os
import socket
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "live"))
from network_rig import PROFILE
from private_namespaces import privately
from userplane_rig import SEED, SERVER, config, lens

from conformance.gtpu import encode_g_pdu
from emulator.ue import attach
from harness.emulation import EmulatorProcess
from harness.namespaces import write_settings
from harness.network import Network

SECONDS, ROUNDS = 1.0, 5
FLOWS = 256
PORTS = {"past the app": 443, "to the app": 80}
SENDER = """
import os, socket, sys, time
os.sched_setaffinity(0, {0})
target, seconds, datagrams = sys.argv[1], float(sys.argv[2]), [bytes.fromhex(text) for text in sys.stdin.read().split()]
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
    sender.connect((target, 2152))
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        for datagram in datagrams:
            try:
                sender.send(datagram)
            except OSError:
                pass
"""


def datagrams(port: int, size: int) -> list[bytes]:
    """G-PDUs of as many flows, inner packets of size bytes."""
    bearers = attach(int(PROFILE["user_plane.ues"]), PROFILE["network.ues"], SEED)
    made = []
    for number in range(FLOWS):
        bearer = bearers[number % len(bearers)]
        header = (
            b"\x45\0" + size.to_bytes(2) + bytes(4) + b"\x40\6\0\0" + bearer.address.packed + socket.inet_aton(SERVER)
        )
        transport = (20000 + number).to_bytes(2) + port.to_bytes(2)
        made.append(encode_g_pdu(bearer.uplink_teid, (header + transport).ljust(size, b"\0")))
    return made


def rate(network: Network, sink: tuple[str, str], target: str, load: list[bytes]) -> float:
    """Packets a second that came out at sink, a link of a namespace, while the sender sends."""
    namespace, link = sink

    def received() -> int:
        text = network.run_in(namespace, Path("/proc/thread-self/net/dev").read_text)
        row = next(line for line in text.splitlines() if line.strip().startswith(f"{link}:"))
        return int(row.split(":")[1].split()[1])

    def send() -> None:
        command = [sys.executable, "-c", SENDER, target, str(SECONDS)]
        subprocess.run(command, input="\n".join(data.hex() for data in load), text=True, check=True)

    before = received()
    network.run_in("ran", send)
    return (received() - before) / SECONDS


@contextmanager
def kernel_forwarding(network: Network) -> Iterator[None]:
    """The lab's own namespace routes between the two links of S1-U."""

    def route() -> None:
        subprocess.run(["ip", "route", "add", "10.200.2.0/24", "via", "10.200.1.1"], check=True)

    network.run_in("ran", route)
    write_settings({"ipv4/conf/s1u-enb/forwarding": "1", "ipv4/conf/s1u-epc/forwarding": "1"})
    rules = "add chain ip racs forwarded { policy accept; }"
    subprocess.run(["nft", rules], check=True)
    yield
    write_settings({"ipv4/conf/s1u-enb/forwarding": "0", "ipv4/conf/s1u-epc/forwarding": "0"})
    network.run_in("ran", lambda: subprocess.run(["ip", "route", "del", "10.200.2.0/24"], check=True))


@contextmanager
def service(network: Network, folder: str, bypassed: bool) -> Iterator[None]:
    def ignore(role: str, kind: str, at: float, fields: Mapping[str, object]) -> None:
        pass

    settings = {**config(lens(1), network), "bypass": bypassed}
    with network.sockets_for("userplane") as sockets, network.stand_in():
        # eNB and EPC stay out of it: only the service's own sockets are read
        own = {name: fd for name, fd in sockets.items() if name in ("s1u_enb_ups", "s1u_epc_ups", "vnic_0")}
        with EmulatorProcess("userplane", settings, own, Path(folder, "log"), ignore) as process:
            process.command("counters")
            os.sched_setaffinity(process.pid, {1})
            yield


def median(measure: Callable[[], float]) -> float:
    return statistics.median(measure() for _ in range(ROUNDS))


def measure(network: Network, folder: str, size: int) -> None:
    """Print a line for each way that inner packets of this size can go."""
    past, to_app = datagrams(PORTS["past the app"], size), datagrams(PORTS["to the app"], size)
    figures: dict[str, float] = {}
    with service(network, folder, bypassed=True):
        figures["bypassed"] = median(lambda: rate(network, ("epc", "epc0"), "10.200.1.1", to_app))
    with service(network, folder, bypassed=False):
        figures["past the app"] = median(lambda: rate(network, ("epc", "epc0"), "10.200.1.1", past))
        figures["to the app"] = median(lambda: rate(network, ("standin", "user-plane"), "10.200.1.1", to_app))
    with kernel_forwarding(network):
        kernel = median(lambda: rate(network, ("epc", "epc0"), "10.200.2.2", past))
    for name, figure in figures.items():
        print(f"{size:5} B {name:14} {figure / kernel:5.2f} x kernel ({figure / 1000:.1f} of {kernel / 1000:.1f} kpps)")


@privately
def bench() -> None:
    with Network(lens(1), PROFILE) as network, tempfile.TemporaryDirectory() as folder:
        for size in (100, 1400):
            measure(network, folder, size)
        sys.stdout.flush()


if __name__ == "__main__":
    bench()
