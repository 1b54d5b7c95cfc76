"""An offload rule's expression (contract 6) as a value, and what it says of a packet.

`evaluate` is the naive reference that says what an expression means; `compile_rule` is the fast one. Both read
`conformance.packet.Packet`. A comparison with a field that the packet does not have is false, != included. Every packet
has addresses: each differs from every address of the other IP version. A range whose end lies below its beginning
holds nothing.
"""

import operator
from collections.abc import Callable
from dataclasses import dataclass, replace
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from typing import Any, Literal, cast

from conformance.packet import Packet

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network
Value = int | Address
Order = Literal["==", "!=", "<", "<=", ">", ">="]

# field name: the largest number it can hold; None for addresses
FIELDS = {
    "ip_version": 15,
    "proto": 255,
    "src_ip": None,
    "dst_ip": None,
    "src_port": 65535,
    "dst_port": 65535,
    "dscp": 63,
    "length": 65535,
}


@dataclass(frozen=True, slots=True)
class Comparison:
    field: str
    operator: Order
    value: Value


@dataclass(frozen=True, slots=True)
class Range:
    """Both ends included."""

    low: Value
    high: Value


@dataclass(frozen=True, slots=True)
class Membership:
    """The field's value is in one of the choices."""

    field: str
    choices: tuple[Value | Range | Network, ...]


@dataclass(frozen=True, slots=True)
class Not:
    operand: "Expression"


@dataclass(frozen=True, slots=True)
class And:
    operands: tuple["Expression", ...]


@dataclass(frozen=True, slots=True)
class Or:
    operands: tuple["Expression", ...]


Expression = Comparison | Membership | Not | And | Or


_ORDERS: dict[str, Callable[[Any, Any], bool]] = {
    "==": operator.eq, "!=": operator.ne, "<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge,
}  # fmt: skip


def evaluate(expression: Expression, packet: Packet) -> bool:
    """What an expression says of a packet: the reference, written to be read. A field not there compares as false."""
    match expression:
        case And(operands):
            return all(evaluate(operand, packet) for operand in operands)
        case Or(operands):
            return any(evaluate(operand, packet) for operand in operands)
        case Not(operand):
            return not evaluate(operand, packet)
        case Comparison() | Membership():
            return holds(expression, field_value(packet, expression.field))


def holds(leaf: Comparison | Membership, found: Value | None) -> bool:
    """What a comparison or membership says of its field's value; None is a field that the packet does not have."""
    if found is None:
        return False
    if isinstance(leaf, Comparison):
        return _ORDERS[leaf.operator](found, leaf.value)
    return any(_contains(choice, found) for choice in leaf.choices)


def field_value(packet: Packet, field: str) -> Value | None:
    """A packet's value of a field of the language, None where it has none."""
    if field in ("src_ip", "dst_ip"):
        return ip_address(packet.source if field == "src_ip" else packet.destination)
    number: int | None = packet.version if field == "ip_version" else getattr(packet, field)
    return number


def fields(expression: Expression) -> frozenset[str]:
    """The fields that an expression names."""
    match expression:
        case And(operands) | Or(operands):
            return frozenset().union(*map(fields, operands))
        case Not(operand):
            return fields(operand)
        case Comparison() | Membership():
            return frozenset({expression.field})


_MIRRORED = {"src_ip": "dst_ip", "dst_ip": "src_ip", "src_port": "dst_port", "dst_port": "src_port"}


def mirrored(expression: Expression) -> Expression:
    """The expression with source and destination exchanged: what it says of a packet this says of the packet back."""
    match expression:
        case And(operands):
            return And(tuple(map(mirrored, operands)))
        case Or(operands):
            return Or(tuple(map(mirrored, operands)))
        case Not(operand):
            return Not(mirrored(operand))
        case Comparison() | Membership():
            return replace(expression, field=_MIRRORED.get(expression.field, expression.field))


def _contains(choice: Value | Range | Network, found: Value) -> bool:
    if isinstance(choice, Range):
        low: Any = choice.low  # of the same type as high, which the type checker is not told
        return type(low) is type(found) and low <= cast(Any, found) <= choice.high
    if isinstance(choice, IPv4Network | IPv6Network):
        return found in choice
    return found == choice


def compile_rule(expression: Expression) -> Callable[[Packet], bool]:
    """The same answer as `evaluate` from one generated Python function over the packet's numbers."""
    names: dict[str, Any] = {}
    source = f"def selects(packet):\n    return {_source(expression)}\n"
    exec(source, names)  # made of our own operators, attribute names and numbers only
    selects: Callable[[Packet], bool] = names["selects"]
    return selects


def _source(expression: Expression) -> str:
    match expression:
        case And(operands):
            return "(" + " and ".join(map(_source, operands)) + ")"
        case Or(operands):
            return "(" + " or ".join(map(_source, operands)) + ")"
        case Not(operand):
            return f"(not {_source(operand)})"
        case Comparison(field, order, value):
            return _present(field, _comparison_source(field, order, value))
        case Membership(field, choices):
            return _present(field, " or ".join(_choice_source(field, choice) for choice in choices))


_ATTRIBUTES = {
    "ip_version": "packet.version", "proto": "packet.proto", "src_ip": "packet.src", "dst_ip": "packet.dst",
    "src_port": "packet.src_port", "dst_port": "packet.dst_port", "dscp": "packet.dscp", "length": "packet.length",
}  # fmt: skip


def _present(field: str, condition: str) -> str:
    return f"({_ATTRIBUTES[field]} is not None and ({condition}))" if field.endswith("_port") else f"({condition})"


def _comparison_source(field: str, order: Order, value: Value) -> str:
    if isinstance(value, int):
        return f"{_ATTRIBUTES[field]} {order} {value}"
    same = _choice_source(field, value)
    return f"not {same}" if order == "!=" else same


def _choice_source(field: str, choice: Value | Range | Network) -> str:
    """One choice of a membership; addresses are compared with their version, being numbers here."""
    attribute = _ATTRIBUTES[field]
    if isinstance(choice, IPv4Network | IPv6Network):
        choice = Range(choice.network_address, choice.broadcast_address)
    low, high = (choice.low, choice.high) if isinstance(choice, Range) else (choice, choice)
    condition = f"{int(low)} <= {attribute} <= {int(high)}"
    return condition if isinstance(low, int) else f"(packet.version == {low.version} and {condition})"
