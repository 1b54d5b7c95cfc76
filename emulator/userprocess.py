"""The user plane's process: eNB, user plane service and EPC, each a core, around the sockets that the harness made.

Configuration (plain JSON):
    seed            integer: what TEIDs and cells (emulator/mobility.py) are drawn from
    ues             integer: how many UEs attach
    ue_networks     the profile's network.ues
    s1u             {"enb", "enb_ups", "epc_ups", "epc"}: the four addresses of S1-U
    app             {"type": transparent or terminating, "address": IPv4 address,
                     "vnics": [{"mac", "gateway_mac", "gateway"}, …] in the order of vnic_0, vnic_1 (-ul, -dl)}
    rules           [{"name", "direction", "text"}, …]: offload rules at start
    bypass          boolean: whether UE traffic bypasses the app at start

Commands: ``offload`` {rules}; ``bypass`` {active, reason};
``counters`` {} -> {"counters": {element: {reason: packets}}};
``flush`` {}: answered when every socket has been read empty. Events: ``attach``, ``bypass``, ``drop``.
"""

import asyncio
import errno
import os
import socket
import struct
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from ipaddress import IPv4Address
from typing import Any, Protocol

from conformance.application import Rule
from conformance.gtpu import PORT
from conformance.packet import mac_bytes
from conformance.rules.language import ParsedRule, read_rules
from emulator import enb, epc, ue, userplane
from emulator.control import Control, Handler, Setup
from emulator.datapath import Address, Element, Run, Source, segments
from emulator.mobility import cell_at

_AT_ONCE = 64  # packets of one port before the others have their turn
_BYTES_MAX = 9216  # S1-U has an MTU of 1,600; a buffer of 64 KiB would cost more than the packet
_DROPS_EVERY_S = 0.5
_SO_MEMINFO, _SK_MEMINFO_DROPS = 55, 8  # asm-generic/socket.h, linux/sock_diag.h


class _Port(Protocol):
    """An open socket or TUN. read raises BlockingIOError when it is empty, write OSError where the packet is lost."""

    descriptor: int

    def read(self) -> tuple[bytes, Address | None]: ...

    def write(self, data: bytes, peer: Address | None) -> None: ...

    def drops(self) -> int:
        """How many packets the kernel could not hold for us since the port was opened."""

    def close(self) -> None: ...


class _SocketPort:
    def __init__(self, opened: socket.socket) -> None:
        opened.setblocking(False)
        self.descriptor = opened.fileno()
        self._socket = opened
        self._datagrams = opened.family == socket.AF_INET

    def read(self) -> tuple[bytes, Address | None]:
        data, peer = self._socket.recvfrom(_BYTES_MAX)
        return data, peer if self._datagrams else None

    def write(self, data: bytes, peer: Address | None) -> None:
        if peer is None:
            self._socket.send(data)
        else:
            self._socket.sendto(data, peer)

    def drops(self) -> int:
        memory = self._socket.getsockopt(socket.SOL_SOCKET, _SO_MEMINFO, 4 * (_SK_MEMINFO_DROPS + 1))
        return int(struct.unpack_from("=I", memory, 4 * _SK_MEMINFO_DROPS)[0])

    def close(self) -> None:
        self._socket.close()


class _TunPort:
    def __init__(self, descriptor: int) -> None:
        os.set_blocking(descriptor, False)
        self.descriptor = descriptor

    def read(self) -> tuple[bytes, Address | None]:
        return os.read(self.descriptor, _BYTES_MAX), None

    def write(self, data: bytes, peer: Address | None) -> None:
        os.write(self.descriptor, data)

    def drops(self) -> int:
        return 0  # a TUN's are the interface's: the harness reads them (Network.queue_drops)

    def close(self) -> None:
        os.close(self.descriptor)


class Datapath:
    """Carries packets between the ports and their elements inside a with-block in an asyncio loop.

    Reads with add_reader and drains at most 64 packets a port and turn; asyncio's datagram endpoint is five times
    slower.
    """

    def __init__(self, ports: Mapping[str, _Port], elements: Mapping[str, Element]) -> None:
        self._ports = ports
        self._elements = elements
        self._sources = {name: Source(name) for name in ports}
        self._lost: Counter[str] = Counter()
        self._reported: Counter[str] = Counter()
        self._reported_at = time.monotonic()

    def __enter__(self) -> "Datapath":
        loop = asyncio.get_running_loop()
        for name, port in self._ports.items():
            loop.add_reader(port.descriptor, self._drain, name)
        return self

    def __exit__(self, *_: object) -> None:
        loop = asyncio.get_running_loop()
        for port in self._ports.values():
            loop.remove_reader(port.descriptor)
            port.close()

    def _drain(self, name: str) -> int:
        """Read a port until it is empty, 64 packets at most; how many there were."""
        port, element, source = self._ports[name], self._elements[name], self._sources[name]
        now = time.monotonic()
        for count in range(_AT_ONCE):
            try:
                data, peer = port.read()
            except BlockingIOError:
                return count
            from_peer = source if peer is None else Source(name, peer)
            for run in element.receive(data, len(data), from_peer, now):
                self._send(run)
        return _AT_ONCE

    def _send(self, run: Run) -> None:
        port = self._ports[run.port]
        for data in segments(run.buffer, run.segment_size):
            try:
                port.write(data, run.peer)
            except OSError as error:  # full queue, or a packet that the kernel refuses: either way ours, and told
                self._lost[f"{run.port} ({errno.errorcode.get(error.errno or 0, error.errno)})"] += 1

    async def flush(self) -> None:
        """Until all ports are empty, twice in a row: what was under way between two of them has arrived then."""
        idle = 0
        while idle < 2:
            idle = 0 if sum(self._drain(name) for name in self._ports) else idle + 1
            await asyncio.sleep(0)  # the control channel has its turn

    def report_drops(self, control: Control) -> None:
        """Note a ``drop`` event for each port that lost packets since the last call."""
        now = time.monotonic()
        total = self._lost + Counter({name: port.drops() for name, port in self._ports.items()})
        for where, count in (total - self._reported).items():
            fields = {"where": where, "count": count, "begin": self._reported_at, "end": now}
            control.note("drop", now, fields)
        self._reported, self._reported_at = total, now


async def serve(setup: Setup, channel: socket.socket) -> None:
    """Run the user plane until the harness closes the channel."""
    config = setup.config
    bearers = ue.attach(config["ues"], config["ue_networks"], config["seed"])
    elements = _elements(config, bearers, sum(name.startswith(enb.RADIO) for name in setup.descriptors))
    elements.service.offload(_rules(config["rules"]))
    elements.service.bypass(config["bypass"])
    ports: dict[str, _Port] = {
        name: _TunPort(descriptor) if "tun" in name else _SocketPort(setup.socket(name))
        for name, descriptor in setup.descriptors.items()
    }
    datapath = Datapath(ports, {name: elements.at(name) for name in ports})
    handlers: dict[str, Handler] = {}
    with Control(channel, handlers) as control, datapath:
        handlers.update(_commands(elements, datapath, control))
        _note_attached(control, config["seed"], bearers, config["s1u"]["enb"])
        while not control.closed.is_set():
            datapath.report_drops(control)
            with suppress(TimeoutError):
                async with asyncio.timeout(_DROPS_EVERY_S):
                    await control.closed.wait()


@dataclass(frozen=True, slots=True)
class _Elements:
    enb: enb.ENodeB
    service: userplane.UserPlane
    epc: epc.ServingGateway

    def at(self, port: str) -> Element:
        """The element that a port belongs to."""
        if port in (epc.S1U, epc.SGI):
            return self.epc
        return self.enb if port in (enb.S1U, enb.RADIO_SHARED) or port.startswith(enb.RADIO) else self.service


def _elements(config: Mapping[str, Any], bearers: Sequence[ue.Bearer], own_tuns: int) -> _Elements:
    address = {name: (text, PORT) for name, text in config["s1u"].items()}
    app = config["app"]
    vnics = tuple(
        userplane.Vnic(mac_bytes(vnic["mac"]), mac_bytes(vnic["gateway_mac"]), IPv4Address(vnic["gateway"]))
        for vnic in app["vnics"]
    )
    side = userplane.AppSide(app["type"], IPv4Address(app["address"]), vnics)
    return _Elements(
        enb.ENodeB(bearers, own_tuns, config["s1u"]["enb"], address["enb_ups"]),
        userplane.UserPlane(bearers, side, address["enb"], address["epc"]),
        epc.ServingGateway(bearers, config["s1u"]["epc"], address["epc_ups"]),
    )


def _rules(rules: Sequence[Mapping[str, Any]]) -> tuple[ParsedRule, ...]:
    return read_rules([Rule(rule["name"], rule["direction"], rule["text"]) for rule in rules])


def _commands(elements: _Elements, datapath: Datapath, control: Control) -> dict[str, Handler]:
    async def offload(message: Mapping[str, Any]) -> None:
        elements.service.offload(_rules(message["rules"]))

    async def bypass(message: Mapping[str, Any]) -> None:
        elements.service.bypass(message["active"])
        fields = {"active": message["active"], "reason": message.get("reason", "")}
        control.note("bypass", time.monotonic(), fields)

    async def counters(_: Mapping[str, Any]) -> Mapping[str, Any]:
        datapath.report_drops(control)
        named: dict[str, Element] = {"enb": elements.enb, "ups": elements.service, "epc": elements.epc}
        return {"counters": {name: dict(element.counters) for name, element in named.items()}}

    async def flush(_: Mapping[str, Any]) -> None:
        await datapath.flush()
        datapath.report_drops(control)

    return {"offload": offload, "bypass": bypass, "counters": counters, "flush": flush}


def _note_attached(control: Control, seed: int, bearers: Sequence[ue.Bearer], enb_address: str) -> None:
    now = time.monotonic()
    for bearer in bearers:
        fields = {
            "ue": bearer.ue,
            "address": str(bearer.address),
            "cell": cell_at(seed, bearer.ue, now),
            "enb_address": enb_address,
            "uplink_teid": bearer.uplink_teid,
            "downlink_teid": bearer.downlink_teid,
        }
        control.note("attach", now, fields)
