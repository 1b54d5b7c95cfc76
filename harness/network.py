"""The lab's network, built inside private namespaces and gone again: links, addresses, firewall, and sockets in it.

with Network(application, profile) as network, network.sockets_for("time") as sockets:
    send_setup(channel, config, sockets)
"""

import os
import re
import select
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import TypeVar

from conformance.application import Application, Service
from conformance.errors import BrokenLab, UsageError
from conformance.profile import Profile
from emulator import forwarding
from harness import namespaces, topology
from harness.topology import GTPU_PORT, LAB, Topology

T = TypeVar("T")

_BACKEND_ADDRESS = "0.0.0.0"  # every address of the server networks is local there (AnyIP)
_NTP, _DNS = 123, 53
_FRAME_BYTES = 65535
_FRAMES_AT_ONCE = 64


class Network:
    """The topology of docs/interfaces.md for one app, up inside the with-block.

    Needs a private network and mount namespace with a /run of its own (harness/init.py). Raises UsageError where the
    machine lacks a tool or may not open TUNs, BrokenLab where the kernel refuses a part.
    """

    def __init__(self, application: Application, profile: Profile) -> None:
        self.topology: Topology = topology.plan(application, profile)
        self._application = application
        self._profile = profile
        self._stack = ExitStack()
        self._namespaces = namespaces.Namespaces(LAB)
        self.receive_buffers: dict[str, int] = {}

    def __enter__(self) -> "Network":
        _require_privacy()
        with ExitStack() as stack:
            stack.callback(self._remove)
            self._build(stack)
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def run_in(self, namespace: str, function: Callable[[], T]) -> T:
        """What function returns, called in a thread of that namespace ("racs" is the lab's own)."""
        return self._namespaces.run_in(namespace, function)

    @contextmanager
    def sockets_for(self, role: str, listeners: Sequence[Service] = ()) -> Iterator[Mapping[str, int]]:
        """The open descriptors of an emulator process by name (docs/interfaces.md), ours until the block ends.

        listeners are the ports of role "backends". "capture" has one AF_PACKET socket for each captured interface.
        """
        with ExitStack() as stack:
            opened: dict[str, int] = {}
            for name, namespace, make in self._table(role, listeners):
                made = self._namespaces.run_in(namespace, make)
                if isinstance(made, int):
                    stack.callback(os.close, made)
                    opened[name] = made
                else:
                    stack.enter_context(made)
                    opened[name] = made.fileno()
                    if made.type != socket.SOCK_STREAM:
                        self.receive_buffers[name] = namespaces.granted_buffer(made)
            yield opened

    @contextmanager
    def stand_in(self) -> Iterator[None]:
        """The namespace ``standin`` in the VM's place: on its links, with its addresses. Only while no VM runs."""
        with ExitStack() as stack:
            pairs = []
            for nic in self.topology.nics:
                ends = [self.run_in(name, lambda nic=nic: namespaces.open_tun(nic.network, tap=True))  # type: ignore[misc]
                        for name in (LAB, "standin")]  # fmt: skip  # mypy cannot infer a lambda with a default
                for end in ends:
                    stack.callback(os.close, end)
                pairs.append((ends[0], ends[1]))
            reader, writer = os.pipe()
            stack.callback(os.close, reader)
            wire = threading.Thread(target=_carry, args=(pairs, reader), name="stand-in")
            wire.start()
            stack.callback(wire.join)
            stack.callback(os.close, writer)
            yield

    def queue_drops(self) -> Mapping[str, int]:
        """Packets lost so far in front of each TUN as the emulator did not read them: the lab's loss, not the app's.

        A tap's are not here: a VM that does not read its NIC loses them itself.
        """
        tuns = {"ran": ("ues",), "sgi": ("sgi", "breakout")}
        tuns |= {f"ue{ue}": ("tun0",) for ue in range(self.topology.ues)}
        found: dict[str, int] = {}
        for namespace, names in tuns.items():
            text = self.run_in(namespace, Path("/proc/thread-self/net/dev").read_text)
            rows = {row.split(":")[0].strip(): row.split(":")[1].split() for row in text.splitlines()[2:]}
            found |= {f"{namespace}/{name}": int(rows[name][11]) for name in names}  # column 12: dropped on sending
        return found

    def _table(
        self, role: str, listeners: Sequence[Service]
    ) -> list[tuple[str, str, Callable[[], "socket.socket | int"]]]:
        """(name, namespace, how to open it) of each socket of a role."""
        plan = self.topology
        if role == "time":
            ports = {"heartbeat": int(self._profile["heartbeat.port"]), "ntp": _NTP, "dns": _DNS}
            own = [(name, LAB, _udp(plan.platform, port)) for name, port in ports.items()]
            return [*own, ("dns_operator", "sgi", _udp(plan.operator_dns, _DNS))]
        if role == "bus":
            port = int(self._profile["bus.port"])
            return [("bus", LAB, _tcp(plan.platform, port)), ("bus_probe", LAB, _tcp("127.0.0.1", 0))]
        if role == "userplane":
            vnics = [(f"vnic_{n}", LAB, _link(nic.network)) for n, nic in enumerate(plan.user_plane_nics)]
            return [
                ("s1u_enb_ups", LAB, _udp(topology.S1U_ENB_UPS, GTPU_PORT)),
                ("s1u_epc_ups", LAB, _udp(topology.S1U_EPC_UPS, GTPU_PORT)),
                ("s1u_enb", "ran", _udp(topology.S1U_ENB, GTPU_PORT)),
                ("s1u_epc", "epc", _udp(topology.S1U_EPC, GTPU_PORT)),
                *vnics,
                *((f"ue_tun_{ue}", f"ue{ue}", _tun("tun0")) for ue in range(plan.ues)),
                ("ran_tun", "ran", _tun("ues")),
                ("sgi_tun", "sgi", _tun("sgi")),
                ("breakout_tun", "sgi", _tun("breakout")),
            ]
        if role == "backends":
            openers = {"tcp": _tcp, "udp": _udp}
            return [
                (f"{item.protocol}_{item.port}", "sgi", openers[item.protocol](_BACKEND_ADDRESS, item.port))
                for item in listeners
            ]
        if role == "capture":
            return [(name, "sgi" if name == "sgi" else LAB, _link(name, False)) for name in plan.captured]
        raise ValueError(f"no such role: {role}")

    def _build(self, stack: ExitStack) -> None:
        plan = self.topology
        namespaces.write_settings(topology.kernel_settings(LAB))
        _run(["ip", "-batch", "-"], topology.namespaces_script(plan))
        stack.enter_context(self._namespaces)
        for name in plan.namespaces:
            self.run_in(name, lambda: namespaces.write_settings(topology.kernel_settings("")))
        _run(["ip", "-batch", "-"], topology.lab_script(plan))
        rules = forwarding.ruleset(self._application, self._profile, plan.nic("service").address)
        scripts: dict[tuple[str, ...], str] = {
            ("ip", "-n", name, "-batch", "-"): text for name, text in topology.namespace_scripts(plan).items()
        }
        scripts[("nft", "-f", "-")] = rules + topology.user_plane_guard(plan)
        _run_together(scripts)
        for end, (namespace, peer) in topology.VETHS.items():
            namespaces.complete_checksums(end)
            self.run_in(namespace, lambda peer=peer: namespaces.complete_checksums(peer))  # type: ignore[misc]
        namespaces.write_settings(topology.FORWARDING_SETTINGS)

    def _remove(self) -> None:
        """Takes away what is there, however far building came; what is not there is no fault."""
        tables = "".join(f"add table {name}\ndelete table {name}\n" for name in topology.TABLES)
        script = topology.teardown_script(self.topology)
        for command, text in ((["nft", "-f", "-"], tables), (["ip", "-force", "-batch", "-"], script)):
            with suppress(FileNotFoundError):
                subprocess.run(command, input=text, text=True, capture_output=True, check=False)


def _udp(address: str, port: int) -> Callable[[], socket.socket]:
    return lambda: namespaces.open_udp(address, port)


def _tcp(address: str, port: int) -> Callable[[], socket.socket]:
    return lambda: namespaces.open_tcp(address, port)


def _link(interface: str, ignore_outgoing: bool = True) -> Callable[[], socket.socket]:
    return lambda: namespaces.open_link(interface, ignore_outgoing)


def _tun(name: str) -> Callable[[], int]:
    return lambda: namespaces.open_tun(name)


def _require_privacy() -> None:
    """Never a change of the host's own network: a private namespace has no route before we add one."""
    if len(Path("/proc/thread-self/net/route").read_text().splitlines()) > 1:
        raise BrokenLab(
            "the lab's network is built inside private namespaces only (harness/init.py); this one has routes"
        )
    if not os.access("/dev/net/tun", os.R_OK | os.W_OK):
        raise UsageError(
            "/dev/net/tun cannot be opened: load the module tun, or as an administrator: chmod 666 /dev/net/tun"
        )


def _run(command: Sequence[str], script: str) -> None:
    _run_together({tuple(command): script})


def _run_together(scripts: Mapping[tuple[str, ...], str]) -> None:
    """Commands with their standard input, side by side. Raises BrokenLab with what the first that failed said."""
    running = []
    try:
        for command in scripts:
            pipe = subprocess.PIPE
            running.append(subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=subprocess.STDOUT, text=True))
    except FileNotFoundError as error:
        for process in running:
            process.kill()
            process.communicate()
        raise UsageError(f"{error.filename} is missing: install the packages iproute2 and nftables") from error
    for process, script in zip(running, scripts.values(), strict=True):
        assert process.stdin is not None
        with suppress(BrokenPipeError):  # it gave up before the end: its exit status says so
            process.stdin.write(script)
            process.stdin.close()
        process.stdin = None
    outputs = [process.communicate()[0] for process in running]
    for process, (command, script), output in zip(running, scripts.items(), outputs, strict=True):
        if process.returncode != 0:
            raise BrokenLab(f"{' '.join(command)}: {output.strip()}{_failed_line(output, script)}")


def _failed_line(output: str, script: str) -> str:
    """The line that ``ip -batch`` gives by its number only."""
    number = re.search(r"Command failed -:(\d+)", output)
    return f" ({script.splitlines()[int(number[1]) - 1]})" if number else ""


def _carry(pairs: Sequence[tuple[int, int]], stop: int) -> None:
    """A wire between the two taps of each pair, both ways, until stop reads as closed. A full queue loses the frame."""
    other = dict(pairs) | {there: here for here, there in pairs}
    poller = select.poll()
    for descriptor in (stop, *other):
        poller.register(descriptor, select.POLLIN | select.POLLHUP)
    while True:
        for descriptor, _ in poller.poll():
            if descriptor == stop:
                return
            with suppress(BlockingIOError):
                for _ in range(_FRAMES_AT_ONCE):
                    os.write(other[descriptor], os.read(descriptor, _FRAME_BYTES))
