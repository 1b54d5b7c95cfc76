"""What an offload rule can select, and which flows of UEs exercise it: exact, one value from each region is tried.

A field's regions lie between the values that the expression names; within one, no comparison changes its answer. What
that may cost is bounded: hostile rules are told as such, and hold nobody up.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Any, Literal

from conformance.application import Rule
from conformance.packet import TCP, UDP, WITH_PORTS
from conformance.rules.expression import (
    FIELDS,
    Address,
    And,
    Comparison,
    Expression,
    Membership,
    Network,
    Not,
    Or,
    Range,
    Value,
    fields,
    holds,
    mirrored,
)
from conformance.rules.language import ParsedRule, parse, read_rules

VALUES_MAX = 400_000  # what one analysis may compare, some tenths of a second; rules that people write take thousands
_RULE_VALUES_MAX = 100_000  # of planning one rule's flows
# in the order of the search; so looks a packet where no comparison cares
_USUAL: Mapping[str, int] = {
    "ip_version": 4, "proto": UDP, "dst_port": 7, "src_port": 40000, "dst_ip": 0xCB007101, "src_ip": 0x0A2D0001,
    "dscp": 0, "length": 60,
}  # fmt: skip
_ADDRESSES = ("dst_ip", "src_ip")

_FLOWS_MAX = 4  # a rule and protocol
# addresses that no server of a UE can have: the platform's own, UEs, loopback, link-local, multicast and above
_NO_SERVER = parse(
    "dst_ip in 0.0.0.0/8 || dst_ip in 10.0.0.0/8 || dst_ip in 127.0.0.0/8 || dst_ip in 169.254.0.0/16"
    " || dst_ip in 224.0.0.0..255.255.255.255"
)

Transport = Literal["tcp", "udp"]
_PROTOCOLS: tuple[tuple[Transport, int], ...] = (("tcp", TCP), ("udp", UDP))

Assigned = Mapping[str, Value | None]


class Undecided(Exception):
    """The expression is too intricate to be analysed: nothing is known about it."""


class Budget:
    """What an analysis may still cost, in values of comparisons looked at; several questions may share one."""

    def __init__(self, left: int = VALUES_MAX) -> None:
        self.left = left

    def spend(self, values: int) -> None:
        """Raises Undecided when nothing is left."""
        self.left -= values
        if self.left < 0:
            raise Undecided


@dataclass(frozen=True, slots=True)
class Fields:
    """A packet's values of the fields of the language; ports are None for a protocol without ports."""

    ip_version: int
    proto: int
    src_ip: Address
    dst_ip: Address
    src_port: int | None
    dst_port: int | None
    dscp: int
    length: int


def satisfying_packet(
    expression: Expression, constraint: Expression | None = None, budget: Budget | None = None
) -> Fields | None:
    """A packet that the expression (and the constraint) selects, or None when there is none. Raises Undecided."""
    whole = expression if constraint is None else And((constraint, expression))  # the constraint is the quicker no
    found: Any = _Search(budget or Budget()).run(whole, {}, tuple(_USUAL))
    return None if found is None else Fields(**found)


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
    inside = _breaks(_leaves(expression), field, 4)
    return tuple(sorted({0, *(value for value in inside if value <= (FIELDS[field] or 0))}))


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
    named = fields(expression)
    starts = region_starts(expression, "dst_port")
    for protocol, number in _PROTOCOLS:
        constraint = And((Comparison("ip_version", "==", 4), Comparison("proto", "==", number), ends))
        if satisfying_packet(expression, constraint, budget) is None:
            continue
        count = 0
        for begin, following in zip(starts, [*starts[1:], 65536], strict=True):
            ports = Membership("dst_port", (Range(max(begin, 1), following - 1),))
            found = satisfying_packet(expression, And((ports, constraint)), budget)
            if found is None:
                continue
            yield DrivenFlow(
                protocol,
                str(found.src_ip),
                (found.src_port or 0) if "src_port" in named else 0,
                str(found.dst_ip),
                found.dst_port or 0,
                found.dscp,
                found.length if "length" in named else 0,
            )
            count += 1
            if count == _FLOWS_MAX:
                break


class _Search:
    """Assigns field after field; what is known is taken out of the expression, and no way leads on from false."""

    def __init__(self, budget: Budget) -> None:
        self._budget = budget

    def run(self, open_: Expression | bool, assigned: Assigned, left: Sequence[str]) -> Assigned | None:
        """open_ is what the expression still asks of the fields that are left."""
        if open_ is False:
            return None
        if not left:
            return assigned
        for value in self._candidates(left[0], open_, assigned):
            rest = open_ if open_ is True else self._reduced(open_, left[0], value)
            found = self.run(rest, {**assigned, left[0]: value}, left[1:])
            if found is not None:
                return found
        return None

    def _candidates(self, field: str, open_: Expression | bool, assigned: Assigned) -> Iterator[Value | None]:
        """One value from each region of a field, the usual one first for its own region."""
        if field == "ip_version":
            yield from (4, 6)  # there are no others (contract 2)
            return
        if field.endswith("_port") and assigned["proto"] not in WITH_PORTS:
            yield None
            return
        version = 6 if assigned["ip_version"] == 6 else 4
        low, high = _domain(field, assigned)
        leaves = () if isinstance(open_, bool) else tuple(_leaves(open_))
        starts = {low} | _breaks(leaves, field, version if field in _ADDRESSES else 4)
        self._budget.spend(len(leaves) + len(starts))
        if field == "proto":  # whether a packet has ports, and how short it can be, hangs on it
            starts |= {start for proto in WITH_PORTS for start in (proto, proto + 1)}
        inside = sorted(start for start in starts if low <= start <= high)
        usual = max(_USUAL[field], low)
        kind: Any = int if field not in _ADDRESSES else IPv4Address if version == 4 else IPv6Address
        yield kind(usual)
        for begin, following in zip(inside, [*inside[1:], high + 1], strict=True):
            if not begin <= usual < following:
                yield kind(begin)

    def _reduced(self, expression: Expression, field: str, value: Value | None) -> Expression | bool:
        """What is left of an expression once a field is known."""
        match expression:
            case And(operands):
                return self._joined(operands, field, value, decides=False)
            case Or(operands):
                return self._joined(operands, field, value, decides=True)
            case Not(operand):
                rest = self._reduced(operand, field, value)
                return not rest if isinstance(rest, bool) else Not(rest)
            case Comparison() | Membership():
                self._budget.spend(1 if isinstance(expression, Comparison) else len(expression.choices))
                return holds(expression, value) if expression.field == field else expression

    def _joined(
        self, operands: Sequence[Expression], field: str, value: Value | None, *, decides: bool
    ) -> Expression | bool:
        """Or is decided by one true operand, And by one false; the others fall away."""
        rest: list[Expression] = []
        for operand in operands:
            part = self._reduced(operand, field, value)
            if part is decides:
                return decides
            if not isinstance(part, bool):
                rest.append(part)
        if len(rest) < 2:
            return rest[0] if rest else not decides
        return Or(tuple(rest)) if decides else And(tuple(rest))


def _domain(field: str, assigned: Assigned) -> tuple[int, int]:
    """The least and the largest value that a packet can have, by what is known of it already."""
    six = assigned["ip_version"] == 6
    if field in _ADDRESSES:
        return 0, 2**128 - 1 if six else 2**32 - 1
    if field == "length":
        return (40 if six else 20) + {TCP: 20, UDP: 8}.get(int(assigned["proto"] or 0), 0), 65535
    return 0, FIELDS[field] or 0


def _breaks(leaves: Iterable[Comparison | Membership], field: str, version: int) -> set[int]:
    """Where regions of a field begin; of an address those of one IP version, numbers have 4."""
    found: set[int] = set()
    for leaf in (leaf for leaf in leaves if leaf.field == field):
        choices = (leaf.value,) if isinstance(leaf, Comparison) else leaf.choices
        for low, high in map(_ends, choices):
            if version == (4 if isinstance(low, int) else low.version):
                found.update((int(low), int(high) + 1))
    return found


def _leaves(expression: Expression) -> Iterator[Comparison | Membership]:
    match expression:
        case And(operands) | Or(operands):
            for operand in operands:
                yield from _leaves(operand)
        case Not(operand):
            yield from _leaves(operand)
        case Comparison() | Membership():
            yield expression


def _ends(choice: Value | Range | Network) -> tuple[Value, Value]:
    if isinstance(choice, Range):
        return choice.low, choice.high
    if isinstance(choice, IPv4Network | IPv6Network):
        return choice.network_address, choice.broadcast_address
    return choice, choice
