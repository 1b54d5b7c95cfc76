"""Fields of packets cut into regions: within one, no comparison of the expressions at hand changes its answer.

What a packet can be at all is said here too, in the rule language's own terms: of one IP version with both addresses,
with ports or without by its protocol, and no shorter than its headers.
"""

from bisect import bisect
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_network
from typing import Any

from conformance.packet import TCP, UDP, WITH_PORTS
from conformance.rules.boxes import ALWAYS, NEVER, Box, Budget, Every, Node, every, find_box, some
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
)

# so looks a packet where no comparison cares
_USUAL: Mapping[str, int] = {
    "ip_version": 4, "proto": UDP, "dst_port": 7, "src_port": 40000, "dst_ip": 0xCB007101, "src_ip": 0x0A2D0001,
    "dscp": 0, "length": 60,
}  # fmt: skip
_SIX = 2**32  # IPv6 addresses follow those of IPv4 on one line
_ENDS: Mapping[str, int] = {field: _SIX + 2**128 if most is None else most + 1 for field, most in FIELDS.items()}
_NUMBERS = {field: number for number, field in enumerate(FIELDS)}
Span = tuple[int, int]  # from, and the first one no more


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


def _laws() -> Expression:
    """What holds for every packet: IP versions (RFC 791, RFC 8200), headers of TCP and UDP (RFC 9293, RFC 768)."""
    ports = Membership("proto", tuple(WITH_PORTS))
    both = [
        Membership(f"{side}_ip", (ip_network(whole),)) for whole in ("0.0.0.0/0", "::/0") for side in ("src", "dst")
    ]
    there = [Comparison(f"{side}_port", ">=", 0) for side in ("src", "dst")]
    versions = [Comparison("ip_version", "==", version) for version in (4, 6)]
    laws: list[Expression] = [
        Or((And((versions[0], *both[:2])), And((versions[1], *both[2:])))),
        Or((And((ports, *there)), And((Not(ports), *map(Not, there))))),
    ]
    for version, header in zip(versions, (20, 40), strict=True):
        laws.append(Or((Not(version), Comparison("length", ">=", header))))
        for proto, more in ((TCP, 20), (UDP, 8)):
            short = And((version, Comparison("proto", "==", proto), Comparison("length", "<", header + more)))
            laws.append(Not(short))
    return And(tuple(laws))


_LAWS = _laws()


class Space:
    """All packets, in the regions that some expressions tell apart: whatever is asked of it is made of these."""

    def __init__(self, *expressions: Expression, budget: Budget) -> None:
        """Raises Undecided."""
        self._budget = budget
        starts: dict[str, set[int]] = {field: {0, _ENDS[field]} for field in FIELDS}
        for expression in (*expressions, _LAWS):
            for leaf in leaves(expression):
                found = spans(leaf)
                budget.spend(1 + len(found))
                starts[leaf.field].update(*found)
        for field in ("src_port", "dst_port"):  # the last region: a packet without ports
            starts[field].add(_ENDS[field] + 1)
        self._starts = {field: sorted(one) for field, one in starts.items()}
        self._places = {field: {start: place for place, start in enumerate(one)} for field, one in self._starts.items()}
        self._whole = tuple((1 << len(self._starts[field]) - 1) - 1 for field in FIELDS)
        self._usual = tuple(
            sum(1 << bisect(self._starts[field], start) - 1 for start in _usual_starts(field)) for field in FIELDS
        )
        self._nodes: dict[tuple[int, bool], tuple[Expression, Node]] = {}
        self._laws = self.node(_LAWS)

    def node(self, expression: Expression, negated: bool = False) -> Node:
        """An expression (or its contrary) over the regions of its fields."""
        if isinstance(expression, Comparison | Membership):
            return self._condition(expression, negated)
        key = (id(expression), negated)
        if key not in self._nodes:  # they are kept, so that no other one gets this id
            self._nodes[key] = (expression, self._joined(expression, negated))
        return self._nodes[key][1]

    def packet(self, *parts: Expression) -> Fields | None:
        """A packet that satisfies all parts, or None when there is none. Raises Undecided."""
        self._budget.spend(len(parts))
        box = find_box(self._whole, [self._laws, *map(self.node, parts)], self._usual, self._budget)
        return None if box is None else Fields(**{field: self._value(field, box) for field in FIELDS})

    def _joined(self, expression: And | Or | Not, negated: bool) -> Node:
        if isinstance(expression, Not):
            return self.node(expression.operand, not negated)
        self._budget.spend(len(expression.operands))
        joined = every if isinstance(expression, And) is not negated else some
        return joined([self.node(operand, negated) for operand in expression.operands])

    def _condition(self, leaf: Comparison | Membership, negated: bool) -> Node:
        number, regions = _NUMBERS[leaf.field], self._regions(leaf)
        if negated:
            regions ^= self._whole[number]
        if regions == self._whole[number]:
            return ALWAYS
        return Every(((number, regions),)) if regions else NEVER

    def _regions(self, leaf: Comparison | Membership) -> int:
        """Where a condition holds, as bits; those of a set are put in byte by byte, as long numbers are slow."""
        places, regions = self._places[leaf.field], 0
        single = bytearray(len(places) // 8 + 1)
        for begin, end in spans(leaf):
            place, after = places[begin], places[end]
            if after == place + 1:
                single[place // 8] |= 1 << place % 8
            else:
                regions |= (1 << after) - (1 << place)
        return regions | int.from_bytes(single, "little")

    def _value(self, field: str, box: Box) -> Any:
        """The usual value where it is inside, else the least; None for no port."""
        regions, starts = box[_NUMBERS[field]], self._starts[field]
        usual = (start for start in _usual_starts(field) if regions >> bisect(starts, start) - 1 & 1)
        start = next(usual, starts[(regions & -regions).bit_length() - 1])
        if FIELDS[field] is None:
            return IPv4Address(start) if start < _SIX else IPv6Address(start - _SIX)
        return start if start < _ENDS[field] else None


def leaves(expression: Expression) -> Iterator[Comparison | Membership]:
    """The comparisons and memberships that an expression is joined of."""
    match expression:
        case And(operands) | Or(operands):
            for operand in operands:
                yield from leaves(operand)
        case Not(operand):
            yield from leaves(operand)
        case Comparison() | Membership():
            yield expression


def spans(leaf: Comparison | Membership) -> list[Span]:
    """Where a condition holds, none of them empty; IPv6 addresses count on from 2**32."""
    if isinstance(leaf, Membership):
        return [(begin, after) for begin, after in map(_span, leaf.choices) if begin < after]
    (begin, after), end = _span(leaf.value), _ENDS[leaf.field]
    match leaf.operator:
        case "==":
            return [(begin, after)]
        case "!=":
            found = [(0, begin), (after, end)]
        case "<":
            found = [(0, begin)]
        case "<=":
            found = [(0, after)]
        case ">":
            found = [(after, end)]
        case ">=":
            found = [(begin, end)]
    return [(begin, after) for begin, after in found if begin < after]


def _span(choice: Value | Range | Network) -> Span:
    if isinstance(choice, int):
        return choice, choice + 1
    if isinstance(choice, Range):
        return _span(choice.low)[0], _span(choice.high)[1]
    if isinstance(choice, IPv4Network | IPv6Network):
        return _span(choice.network_address)[0], _span(choice.broadcast_address)[1]
    begin = int(choice) if choice.version == 4 else _SIX + int(choice)
    return begin, begin + 1


def _usual_starts(field: str) -> tuple[int, ...]:
    usual = _USUAL[field]
    return (usual, _SIX + usual) if FIELDS[field] is None else (usual,)
