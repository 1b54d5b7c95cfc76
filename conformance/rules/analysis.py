"""What an offload rule can select, and which flows of UEs exercise it: exact, one value of each region stands for all.

What that may cost is bounded: hostile rules are told as such, and hold nobody up.
"""

from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from ipaddress import ip_address, ip_network
from itertools import islice
from typing import Literal

from conformance.application import Rule
from conformance.packet import TCP, UDP
from conformance.rules.boxes import Budget, Undecided
from conformance.rules.expression import (
    FIELDS,
    And,
    Comparison,
    Expression,
    Membership,
    Not,
    Range,
    fields,
    mirrored,
)
from conformance.rules.language import ParsedRule, parse, read_rules
from conformance.rules.regions import Fields, Space, leaves, spans

_RULE_VALUES_MAX = 100_000  # of planning one rule's flows
_FLOWS_MAX = 4  # a rule and protocol
# addresses that no server of a UE can have: the platform's own, UEs, loopback, link-local, multicast and above
_NO_SERVER = parse(
    "dst_ip in 0.0.0.0/8 || dst_ip in 10.0.0.0/8 || dst_ip in 127.0.0.0/8 || dst_ip in 169.254.0.0/16"
    " || dst_ip in 224.0.0.0..255.255.255.255"
)

Transport = Literal["tcp", "udp"]
_PROTOCOLS: tuple[tuple[Transport, int], ...] = (("tcp", TCP), ("udp", UDP))


def satisfying_packet(
    expression: Expression, constraint: Expression | None = None, budget: Budget | None = None
) -> Fields | None:
    """A packet that the expression (and the constraint) selects, or None when there is none. Raises Undecided."""
    parts = (expression,) if constraint is None else (expression, constraint)
    return Space(*parts, budget=budget or Budget()).packet(*parts)


def can_match(expression: Expression, ip_version: Literal[4, 6] | None = None, budget: Budget | None = None) -> bool:
    """Whether some packet (of that IP version) is selected. Raises Undecided."""
    constraint = None if ip_version is None else Comparison("ip_version", "==", ip_version)
    return satisfying_packet(expression, constraint, budget) is not None


def matches_everything(
    expression: Expression, ip_version: Literal[4, 6] | None = None, budget: Budget | None = None
) -> bool:
    """Whether every packet (of that IP version) is selected. Raises Undecided."""
    return not can_match(Not(expression), ip_version, budget)


def region_starts(expression: Expression, field: str) -> tuple[int, ...]:
    """The values, in order, at which an answer can change as a field that is a number grows; 0 is the first."""
    found = {start for leaf in leaves(expression) if leaf.field == field for span in spans(leaf) for start in span}
    return tuple(sorted({0, *(start for start in found if start <= (FIELDS[field] or 0))}))


@dataclass(frozen=True, slots=True)
class DrivenFlow:
    """A flow that a UE opens. client_port, dscp and length (of an IP packet, in bytes) are 0 where any will do."""

    protocol: Transport
    client_address: str
    client_port: int
    server_address: str
    server_port: int
    dscp: int
    length: int


@dataclass(frozen=True, slots=True)
class DrivingPlan:
    """flows exercise all rules but the unreachable ones, which no packet of an emulated UE can satisfy."""

    flows: tuple[DrivenFlow, ...]
    unreachable: tuple[Rule, ...]


def plan_flows(rules: Sequence[Rule], ues: Sequence[str], servers: Sequence[str]) -> DrivingPlan:
    """What to drive, by the addresses of the UEs and the networks of the servers that are there anyway.

    A flow for each protocol and server port that a rule tells apart, at most four a rule and protocol; where a rule
    asks for a server elsewhere the flow names it. A rule too intricate to be analysed gets no flow. Raises SubjectError
    on rules that do not parse.
    """
    from_ues: Expression = Membership("src_ip", tuple(map(ip_address, ues)))
    usual: Expression = Membership("dst_ip", tuple(map(ip_network, servers)))
    flows: dict[DrivenFlow, None] = {}  # in order, none twice
    unreachable = []
    for rule, parsed in zip(rules, read_rules(rules), strict=True):
        budget, found = Budget(_RULE_VALUES_MAX), list[DrivenFlow]()
        with suppress(Undecided):
            found += _flows(parsed, And((from_ues, usual)), budget)
            if not found:
                found += _flows(parsed, And((from_ues, Not(_NO_SERVER))), budget)
            if not found:
                unreachable.append(rule)
        flows |= dict.fromkeys(found)
    return DrivingPlan(tuple(flows), tuple(unreachable))


def served_ports(rules: Sequence[Rule]) -> frozenset[tuple[Transport, int]]:
    """Protocol and port of every server that the flows for these rules may want, whatever its address."""
    found = list[DrivenFlow]()
    for rule in read_rules(rules):
        with suppress(Undecided):
            found += _flows(rule, Not(_NO_SERVER), Budget(_RULE_VALUES_MAX))
    return frozenset((flow.protocol, flow.server_port) for flow in found)


def _flows(rule: ParsedRule, ends: Expression, budget: Budget) -> Iterator[DrivenFlow]:
    expression = rule.expression if rule.direction == "uplink" else mirrored(rule.expression)
    starts = region_starts(expression, "dst_port")
    ports = [
        Membership("dst_port", (Range(max(begin, 1), following - 1),))
        for begin, following in zip(starts, [*starts[1:], 65536], strict=True)
    ]
    space = Space(expression, ends, *ports, budget=budget)
    for protocol, number in _PROTOCOLS:
        asked = (Comparison("ip_version", "==", 4), Comparison("proto", "==", number), ends, expression)
        if space.packet(*asked) is None:
            continue
        packets = (space.packet(one, *asked) for one in ports)
        for found in islice(filter(None, packets), _FLOWS_MAX):
            yield _flow(protocol, found, fields(expression))


def _flow(protocol: Transport, found: Fields, named: frozenset[str]) -> DrivenFlow:
    """The flow of a packet, by the fields that its rule names."""
    return DrivenFlow(
        protocol,
        str(found.src_ip),
        (found.src_port or 0) if "src_port" in named else 0,
        str(found.dst_ip),
        found.dst_port or 0,
        found.dscp,
        found.length if "length" in named else 0,
    )
