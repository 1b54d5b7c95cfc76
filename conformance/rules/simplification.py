"""An expression with what it says of one field in one place gathered into ranges: the same answers, fewer parts.

Read by people (`words`) and by the analysis: no double negations, no conjunction inside a conjunction, each field at
most once in it, and every condition a membership of ranges that are in order and apart.
"""

from collections.abc import Iterable, Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from typing import NamedTuple

from conformance.rules.expression import (
    FIELDS,
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

NUMBERS, SIX = 4, 6  # the spaces that values lie in: numbers and IPv4 addresses, IPv6 addresses


class Interval(NamedTuple):
    """Values from low to high, both included, of one space."""

    space: int
    low: int
    high: int


def simplified(expression: Expression) -> Expression:
    """The same answer for every packet, gathered."""
    match expression:
        case And(operands):
            return _joined(And, [simplified(one) for one in operands])
        case Or(operands):
            return _joined(Or, [simplified(one) for one in operands])
        case Not(operand):
            return _negated(simplified(operand))
        case Comparison() | Membership():
            return _membership(expression.field, intervals(expression))


def intervals(leaf: Comparison | Membership) -> tuple[Interval, ...]:
    """The values for which a condition holds, in order and apart."""
    if isinstance(leaf, Membership):
        return united(_interval(choice) for choice in leaf.choices)
    same = _interval(leaf.value)
    if leaf.operator in ("==", "!="):
        return (same,) if leaf.operator == "==" else complement(leaf.field, (same,))
    begin = Interval(
        NUMBERS, 0, same.low if leaf.operator in ("<=", ">") else same.low - 1
    )  # only numbers have an order
    below = united([begin])
    return below if leaf.operator in ("<", "<=") else complement(leaf.field, below)


def united(parts: Iterable[Interval]) -> tuple[Interval, ...]:
    """In order, those that touch made one; what is empty falls away."""
    found: list[Interval] = []
    for part in sorted(part for part in parts if part.low <= part.high):
        if found and part.space == found[-1].space and part.low <= found[-1].high + 1:
            found[-1] = Interval(part.space, found[-1].low, max(part.high, found[-1].high))
        else:
            found.append(part)
    return tuple(found)


def complement(field: str, parts: Sequence[Interval]) -> tuple[Interval, ...]:
    """All other values that a field can have; parts are in order and apart."""
    found = []
    for whole in _spaces(field):
        begin = whole.low
        for part in (part for part in parts if part.space == whole.space):
            found.append(Interval(whole.space, begin, part.low - 1))
            begin = part.high + 1
        found.append(Interval(whole.space, begin, whole.high))
    return tuple(part for part in found if part.low <= part.high)


def _spaces(field: str) -> tuple[Interval, ...]:
    largest = FIELDS[field]
    if largest is None:
        return Interval(NUMBERS, 0, 2**32 - 1), Interval(SIX, 0, 2**128 - 1)
    return (Interval(NUMBERS, 0, largest),)


def _interval(choice: Value | Range | Network) -> Interval:
    if isinstance(choice, IPv4Network | IPv6Network):
        choice = Range(choice.network_address, choice.broadcast_address)
    low, high = (choice.low, choice.high) if isinstance(choice, Range) else (choice, choice)
    return Interval(SIX if isinstance(low, IPv6Address) else NUMBERS, int(low), int(high))


def _membership(field: str, parts: Sequence[Interval]) -> Membership:
    return Membership(field, tuple(Range(_value(field, one, one.low), _value(field, one, one.high)) for one in parts))


def _value(field: str, part: Interval, number: int) -> Value:
    if FIELDS[field] is not None:
        return number
    return IPv6Address(number) if part.space == SIX else IPv4Address(number)


def _negated(operand: Expression) -> Expression:
    """Of what is simplified already."""
    match operand:
        case Not(inner):
            return inner
        case Or(operands):
            return _joined(And, [_negated(one) for one in operands])
        case Membership(field, _) if not field.endswith("_port"):  # every packet has the others: contract 6
            return _membership(field, complement(field, intervals(operand)))
        case _:
            return Not(operand)


def _joined(kind: type[And] | type[Or], operands: Sequence[Expression]) -> Expression:
    """Of what is simplified: those of the same kind are drawn in, conditions of one field become one."""
    flat: list[Expression] = []
    for operand in operands:
        flat += operand.operands if isinstance(operand, And | Or) and type(operand) is kind else [operand]
    conditions: dict[str, list[Expression]] = {}
    merged: dict[str | Expression, None] = {}  # fields and other parts in order, none twice
    for one in flat:
        leaf = one.operand if isinstance(one, Not) else one
        if isinstance(leaf, Membership):
            conditions.setdefault(leaf.field, []).append(one)
        merged[leaf.field if isinstance(leaf, Membership) else one] = None
    whole = [_gathered(kind, conditions[one]) if isinstance(one, str) else one for one in merged]
    return whole[0] if len(whole) == 1 else kind(tuple(whole))


def _gathered(kind: type[And] | type[Or], parts: Sequence[Expression]) -> Expression:
    """One condition on the field that all parts speak of: a set of values, and the answer where the field is missing.

    Not says yes for a packet that does not have it, as ports may be.
    """
    if len(parts) == 1:
        return parts[0]
    pairs = [(one.operand, True) if isinstance(one, Not) else (one, False) for one in parts]
    leaves = [(leaf, negative) for leaf, negative in pairs if isinstance(leaf, Membership)]
    field = leaves[0][0].field
    missing = (any if kind is Or else all)(negative for _, negative in leaves)
    # Or unites the values for which parts hold, And those for which they do not (De Morgan)
    outside = [
        complement(field, intervals(leaf)) if negative is (kind is Or) else intervals(leaf) for leaf, negative in leaves
    ]
    joined = united(part for one in outside for part in one)
    values = complement(field, joined) if missing is (kind is Or) else joined
    return Not(_membership(field, values)) if missing else _membership(field, values)
