"""The traffic that the suites ask for: which flows speak for which requirement, by whom and to whom."""

import ipaddress
import random
import socket
import struct
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

from dnslib import DNSRecord

from conformance.application import Forward, Service
from conformance.packet import TCP, UDP
from conformance.rules.analysis import DrivenFlow, plan_flows, satisfying_packet
from conformance.rules.expression import And, Comparison, mirrored
from conformance.rules.language import read_rules
from emulator.webserver import body_of
from harness import namespaces
from harness.clients import Clients, together
from harness.configuration import ECHO_PORT, HTTP_PORTS, Plan, app_address
from harness.conversation import Exchange, Flow, Origin
from harness.emulation import EmulatorProcess, OnEvent
from harness.network import Network

INTERNET_HOST, OPERATOR_HOST = 9, 10  # host numbers in the profile's server networks
DATAGRAM_SIZES = (1, 64, 512, 1200)
BRIEF_SIZES = (1, 1400)
STREAM_BYTES = 65536
FORWARDING_CLIENTS_AT_ONCE = 64
_KNOWN_BANNERS = {22: b"SSH-"}

FlowCall = Callable[[], Flow]
NoteFlow = Callable[[str, float, str, Mapping[str, Any]], object]
"""(kind, at, source, fields) of each flow that has ended, called in the flow's own thread."""


@dataclass(frozen=True, slots=True)
class Use:
    """How an app is used: payload sizes and a stream, in bytes, and how long an answer and a whole stream may take."""

    sizes: Sequence[int]
    stream_bytes: int
    answer_s: float
    stream_s: float


class Traffic:
    """Flows of one run. Names of flows are unique in their situation and say what they are for."""

    def __init__(self, plan: Plan, network: Network, note: NoteFlow) -> None:
        self._plan = plan
        self._network = network
        self._application = plan.application
        self._clients = Clients(network, note, plan.seed)
        self._uses = 0
        profile = plan.profile
        self._internet = _host(profile["network.internet"], INTERNET_HOST)
        self._operator = _host(profile["network.operator_backends"], OPERATOR_HOST)
        self._answer_s = profile.number("user_plane.service_answer_s")
        stream_s = profile.number("user_plane.stream_deadline_s")
        self.thorough = Use(
            profile["user_plane.payload_sizes"], profile["user_plane.stream_bytes"], self._answer_s, stream_s
        )
        self.brief = Use(BRIEF_SIZES, STREAM_BYTES, self._answer_s, stream_s)
        # of an app that is to stay silent: as long as an answer of a sound one is waited for on a fast host
        silent_s = self._answer_s / profile.factor
        self.hopeless = Use(BRIEF_SIZES, 0, silent_s, silent_s)
        self.lightest = Use((1,), 1, silent_s, silent_s)

    # the app in use

    def use_app(self, use: Use) -> tuple[Flow, ...]:
        """Every declared service from UEs and from outside, or every rule's flows both ways."""
        return together(self.of_app(use))

    def of_app(self, use: Use) -> list[FlowCall]:
        """What `use_app` runs, a call for each flow."""
        self._uses += 1
        if self._application.type == "terminating":
            return self._service_flows(use)
        return self._selected_flows(use)

    def _service_flows(self, use: Use) -> list[FlowCall]:
        ues = random.Random(f"ues {self._plan.seed} {self._uses}").sample(range(self._plan.topology.ues), 2)
        origins = [self._clients.ue(ue) for ue in ues] + [self._clients.internet(self._internet)]
        services = self._application.services
        return [self._service_flow(service, origin, use) for service in services for origin in origins]

    def _service_flow(self, service: Service, origin: Origin, use: Use) -> FlowCall:
        name = f"{service.protocol}/{service.port} from {origin.kind} {origin.address}, {self._uses}"
        exchange = Exchange(name, origin, app_address(self._plan), service.port, use.answer_s)
        if service.probe_expect:
            return lambda: self._clients.probe(exchange, service)
        return self._known_protocol(service.protocol, exchange)

    def _known_protocol(self, protocol: str, exchange: Exchange) -> FlowCall:
        """Speaks what the profile says of the port (user_plane.known_ports); any other TCP port has to accept."""
        known = self._plan.profile["user_plane.known_ports"].get(str(exchange.port), "")
        if protocol == "udp" and known in _DATAGRAM_QUESTIONS:
            question = _DATAGRAM_QUESTIONS[known]
            return lambda: self._clients.probe(exchange, question)
        if protocol == "udp":
            return lambda: self._clients.udp_echo(exchange, DATAGRAM_SIZES)
        if known == "echo":
            return lambda: self._clients.tcp_echo(exchange, STREAM_BYTES)
        if known == "http":
            return lambda: self._clients.http_get(exchange, "/")
        return lambda: self._clients.connect(exchange, _KNOWN_BANNERS.get(exchange.port, b""))

    def _selected_flows(self, use: Use) -> list[FlowCall]:
        profile, plan = self._plan.profile, self._plan
        ues = [plan.topology.ue_address(ue) for ue in range(plan.topology.ues)]
        servers = [profile["network.internet"], profile["network.operator_backends"]]
        driven = plan_flows(self._application.rules, ues, servers).flows
        calls: list[FlowCall] = []
        for number, flow in enumerate(driven):
            calls += self._driven_flow(flow, (number + self._uses) % plan.topology.ues, use)
        return calls

    def _driven_flow(self, flow: DrivenFlow, ue: int, use: Use) -> list[FlowCall]:
        """One driven flow as its exchanges: over UDP all sizes, over TCP all sizes and a stream."""
        origin = self._clients.ue(ue)
        stem = f"{flow.protocol}/{flow.server_port} of UE {ue}, {self._uses}"

        def exchange(what: str) -> Exchange:
            return Exchange(f"{stem}: {what}", origin, flow.server_address, flow.server_port, use.stream_s)

        if flow.protocol == "udp":
            return [lambda: self._clients.udp_echo(exchange("every size"), use.sizes)]
        if flow.server_port not in HTTP_PORTS:
            return [lambda: self._clients.tcp_echo(exchange("stream"), use.stream_bytes)]
        calls: list[FlowCall] = [lambda: self._get(exchange("stream"), use.stream_bytes)]
        for size in use.sizes:
            calls.append(lambda size=size: self._get(exchange(f"{size} bytes"), size))  # type: ignore[misc]
        return calls

    def _get(self, exchange: Exchange, size: int) -> Flow:
        return self._clients.http_get(exchange, f"/bytes/{size}", sha256(body_of(size)).hexdigest())

    def of_forwards(self, use: Use) -> list[FlowCall]:
        """A call for each flow to a forwarded port from outside."""
        return [self._forward_flow(forward, use) for forward in self._application.forwards]

    def _forward_flow(self, forward: Forward, use: Use) -> FlowCall:
        outside = self._plan.topology.outside
        name = f"forward {forward.protocol}/{forward.from_port} to {forward.to_port}"
        exchange = Exchange(name, self._clients.outside(), outside, forward.from_port, use.answer_s)
        declared = (
            s for s in self._application.services if (s.protocol, s.port) == (forward.protocol, forward.to_port)
        )
        service = next(declared, None)
        if service is not None and service.probe_expect:
            return lambda: self._clients.probe(exchange, service)
        return self._spoken_at(forward, exchange)

    def _spoken_at(self, forward: Forward, exchange: Exchange) -> FlowCall:
        """As `_known_protocol`, by the port that the forward leads to."""
        known = self._plan.profile["user_plane.known_ports"].get(str(forward.to_port), "")
        if forward.protocol == "udp":
            return self._known_protocol("udp", exchange)
        if known == "http":
            return lambda: self._clients.http_get(exchange, "/")
        if known == "echo":
            return lambda: self._clients.tcp_echo(exchange, STREAM_BYTES)
        return lambda: self._clients.connect(exchange, _KNOWN_BANNERS.get(forward.to_port, b""))

    # the lab without the app

    @contextmanager
    def stand_in_services(self, log: Path, on_event: OnEvent) -> Iterator[None]:
        """Echo and HTTP on the stand-in, on the ports that the app declares and forwards lead to."""
        ports = {(s.protocol, s.port) for s in self._application.services}
        ports |= {(f.protocol, f.to_port) for f in self._application.forwards}
        with ExitStack() as stack:
            sockets = {}
            for protocol, port in sorted(ports):
                opened = self._network.run_in("standin", lambda p=protocol, n=port: _listen(p, n))  # type: ignore[misc]
                sockets[f"{protocol}_{port}"] = stack.enter_context(opened).fileno()
            config = {"http_ports": list(HTTP_PORTS)}
            stack.enter_context(EmulatorProcess("backends", config, sockets, log, on_event))
            yield

    def control(self) -> None:
        """Flows that no rule selects, to the internet and to the operator's servers, from every UE."""
        calls: list[FlowCall] = []
        for ue in range(self._plan.topology.ues):
            for address in (self._internet, self._operator):
                calls += self._unselected_flows(self._clients.ue(ue), address)
        together(calls)

    def _unselected_flows(self, origin: Origin, address: str) -> list[FlowCall]:
        def exchange(what: str, port: int) -> Exchange:
            return Exchange(f"{what} of {origin.address} to {address}", origin, address, port, self._answer_s)

        calls: list[FlowCall] = []
        if not self._selects("udp", ECHO_PORT):
            calls.append(lambda: self._clients.udp_echo(exchange("unselected udp", ECHO_PORT), DATAGRAM_SIZES))
        if not self._selects("tcp", ECHO_PORT):
            calls.append(lambda: self._clients.tcp_echo(exchange("unselected tcp", ECHO_PORT), STREAM_BYTES))
        for port in HTTP_PORTS:
            if not self._selects("tcp", port):
                calls.append(lambda port=port: self._get(exchange("unselected http", port), 1400))  # type: ignore[misc]
        return calls

    def _selects(self, protocol: str, port: int) -> bool:
        """Whether some rule can select a packet to this server port, or the answer to it."""
        asked = And((Comparison("proto", "==", TCP if protocol == "tcp" else UDP), Comparison("dst_port", "==", port)))
        for rule in read_rules(self._application.rules):
            expression = rule.expression if rule.direction == "uplink" else mirrored(rule.expression)
            if satisfying_packet(expression, asked) is not None:
                return True
        return False

    def resolve_endpoints(self) -> None:
        """A UE asks the operator's name server for each endpoint; what it answers is in its own record."""
        origin = self._clients.ue(0)
        for number, endpoint in enumerate(self._application.endpoints):
            question = DNSRecord.question(endpoint.fqdn)
            expected = struct.pack(">H", question.header.id)
            exchange = Exchange(
                f"resolve {endpoint.fqdn}, {number}", origin, self._plan.topology.operator_dns, 53, self._answer_s
            )
            self._clients.probe(exchange, Service("udp", 53, question.pack().hex(), expected.hex()))

    def ask_for_address(self) -> None:
        """An ARP request for the app on its service NIC: whether its operating system lives (RFC 826)."""
        nic = self._plan.topology.nic("service")
        ours, broadcast = bytes.fromhex(nic.gateway_mac.replace(":", "")), b"\xff" * 6
        head = struct.pack(">6s6sHHHBBH", broadcast, ours, 0x0806, 1, 0x0800, 6, 4, 1)
        body = ours + socket.inet_aton(nic.gateway) + bytes(6) + socket.inet_aton(nic.address)
        with namespaces.open_link(nic.network) as link:
            link.send(head + body)

    def probe_undeclared_ports(self) -> None:
        """Every TCP port of the forwarding range, and where forwards lead to, straight: only Forwards may answer."""
        low, high = self._plan.profile["forwarding.ports"]
        outside, vm = self._plan.topology.outside, self._plan.topology.nic("service").address
        limit_s = self._plan.profile.number("forwarding.scan_answer_s")
        targets = [(outside, port) for port in range(low, high + 1)]
        targets += [(address, f.to_port) for f in self._application.forwards for address in (outside, vm)]
        calls = [self._scan(address, port, limit_s) for address, port in targets]
        for first in range(0, len(calls), FORWARDING_CLIENTS_AT_ONCE):
            together(calls[first : first + FORWARDING_CLIENTS_AT_ONCE])

    def _scan(self, address: str, port: int, limit_s: float) -> FlowCall:
        exchange = Exchange(f"scan {address}:{port}", self._clients.outside(), address, port, limit_s)
        return lambda: self._clients.connect(exchange)


def _host(network: str, number: int) -> str:
    return str(ipaddress.ip_network(network)[number])


def _listen(protocol: str, port: int) -> socket.socket:
    return (namespaces.open_tcp if protocol == "tcp" else namespaces.open_udp)("0.0.0.0", port)


# A DNS question for the root's name servers, and an NTPv4 client request: what such a server answers whoever asks.
_DATAGRAM_QUESTIONS = {
    "dns": Service("udp", 53, "7261010000010000000000000000020001", "7261"),
    "ntp": Service("udp", 123, "e3" + "00" * 47, ""),
}
