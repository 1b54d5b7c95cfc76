"""What an offload rule selects, in plain English."""

from collections.abc import Mapping, Sequence
from ipaddress import IPv4Address, IPv6Address, summarize_address_range
from typing import Any

from conformance.rules.expression import FIELDS, And, Expression, Membership, Not, Or
from conformance.rules.language import PROTOCOLS
from conformance.rules.regions import Fields
from conformance.rules.simplification import SIX, Interval, complement, intervals, simplified

_SHOWN = 8  # of many values, before they are only counted
_PROTOCOL_NAMES: Mapping[int, str] = {number: name for name, number in PROTOCOLS.items()} | {
    58: "ICMPv6",
    136: "UDP-Lite",
}


def describe(expression: Expression) -> str:
    """A phrase such as "IPv4 TCP packets to port 80 or 8080", without a full stop; one line, whatever the rule."""
    return _phrase(simplified(expression))


def protocol_name(number: int) -> str:
    """ "TCP", or "protocol 253" where the rule language has no name for it."""
    return _PROTOCOL_NAMES.get(number, f"protocol {number}")


def _phrase(expression: Expression) -> str:
    match expression:
        case Or(operands):
            return f"either {', or '.join(map(_inside, operands))}"
        case Not(operand):
            return f"all packets but {_those(operand)}"
        case And(operands):
            return _conjunction(operands)
        case _:
            return _conjunction((expression,))


def _conjunction(operands: Sequence[Expression]) -> str:
    leaves = {one.field: intervals(one) for one in operands if isinstance(one, Membership)}
    text = _packets(leaves)
    choices = [_alternatives(one.operands) for one in operands if isinstance(one, Or)]
    nots = [_those(one.operand) for one in operands if isinstance(one, Not)]
    text += f" that are {', and '.join(choices)}" if choices else ""
    return text + (f"{',' if choices else ''} but not {' and not '.join(nots)}" if nots else "")


def _alternatives(operands: Sequence[Expression]) -> str:
    return f"either {' or '.join(_inside(one).removeprefix('packets ') for one in operands)}"


def _inside(expression: Expression) -> str:
    """A phrase as part of another: in parentheses where it has alternatives or exceptions of its own."""
    parts = expression.operands if isinstance(expression, And) else (expression,)
    text = _phrase(expression)
    return text if all(isinstance(part, Membership) for part in parts) else f"({text})"


def _those(expression: Expression) -> str:
    text = _inside(expression)
    return f"those {text.removeprefix('packets ')}" if text.startswith("packets ") else text


def _packets(leaves: Mapping[str, Sequence[Interval]]) -> str:
    """Conditions that hold together, each field once."""
    before, after = list[str](), list[str]()
    for field, words in (("ip_version", _version), ("proto", _protocol)):
        if field in leaves:
            adjective, phrase = words(leaves[field])
            before += [adjective] if adjective else []
            after += [phrase] if phrase else []
    for preposition, side in (("from", "src"), ("to", "dst")):
        port, address = leaves.get(f"{side}_port"), leaves.get(f"{side}_ip")
        ends = [_ports(port)] if port is not None else []
        ends += [_addresses(f"{side}_ip", address)] if address is not None else []
        if ends:
            after.append(f"{preposition} {' of '.join(ends)}")
    if "dscp" in leaves:
        after.append(f"with {_numbers('dscp', leaves['dscp'], 'DSCP', 'a DSCP')}")
    if "length" in leaves:
        after.append(f"of {_lengths(leaves['length'])}")
    return " ".join([*before, "packets", *after])


def _version(parts: Sequence[Interval]) -> tuple[str, str]:
    """As an adjective or as a phrase: there are versions 4 and 6 only."""
    there = [f"IPv{number}" for number in (4, 6) if any(part.low <= number <= part.high for part in parts)]
    return (" or ".join(there), "") if there else ("", "of an IP version that does not exist")


def _protocol(parts: Sequence[Interval]) -> tuple[str, str]:
    numbers = [number for part in parts for number in range(part.low, part.high + 1)]
    if numbers and all(number in _PROTOCOL_NAMES for number in numbers):
        return _listed([_PROTOCOL_NAMES[number] for number in numbers]), ""
    return "", f"of {_numbers('proto', parts, 'protocol', 'a protocol')}"


def _ports(parts: Sequence[Interval]) -> str:
    return _numbers("dst_port", parts, "port", "a port")


def _addresses(field: str, parts: Sequence[Interval]) -> str:
    return _choice(field, parts, "", "an address", "any address", "no address at all")


def _lengths(parts: Sequence[Interval]) -> str:
    text = _choice("length", parts, "", "a length", "any length", "no length at all")
    if "length" in text:
        return text
    return text.replace("or above", "bytes or more").replace("or below", "bytes or less") + (
        "" if text.endswith(("above", "below")) else " bytes"
    )


def _numbers(field: str, parts: Sequence[Interval], noun: str, one: str) -> str:
    return _choice(field, parts, f"{noun} ", one, f"any {noun}", f"no {noun} at all")


def _choice(field: str, parts: Sequence[Interval], noun: str, one: str, whole: str, none: str) -> str:
    others = complement(field, parts)
    if not parts:
        return none
    if not others:
        return whole
    if len(others) < len(parts):
        return f"{one} other than {_listed([text for part in others for text in _texts(field, part)])}"
    return noun + _listed([text for part in parts for text in _texts(field, part)])


def _texts(field: str, part: Interval) -> list[str]:
    """An interval as it is read: a value, a network, "80 to 90", "1024 or above"."""
    largest = FIELDS[field]
    if largest is None:
        return [_address_range(part)]
    low, high = part.low, part.high
    if high - low <= 1:
        names: Mapping[int, str] = _PROTOCOL_NAMES if field == "proto" else {}
        return [names.get(number, str(number)) for number in range(low, high + 1)]
    if high == largest:
        return [f"{low} or above"]
    return [f"{high} or below"] if low == 0 else [f"{low} to {high}"]


def _address_range(part: Interval) -> str:
    kind: Any = IPv6Address if part.space == SIX else IPv4Address
    if part.low == part.high:
        return str(kind(part.low))
    networks = list(summarize_address_range(kind(part.low), kind(part.high)))
    if len(networks) > 1:
        return f"{kind(part.low)} to {kind(part.high)}"
    return str(networks[0]) if networks[0].prefixlen else f"any IPv{networks[0].version} address"


def _listed(texts: Sequence[str]) -> str:
    if len(texts) > _SHOWN:
        texts = [*texts[: _SHOWN - 1], f"{len(texts) - _SHOWN + 1} others"]
    return " or ".join(filter(None, (", ".join(texts[:-1]), texts[-1])))


def describe_packet(packet: Fields) -> str:
    """A packet by its fields, as the rule language names them."""
    named = (
        ("ip_version", packet.ip_version), ("proto", _PROTOCOL_NAMES.get(packet.proto, packet.proto)),
        ("src_ip", packet.src_ip), ("src_port", packet.src_port), ("dst_ip", packet.dst_ip),
        ("dst_port", packet.dst_port), ("dscp", packet.dscp), ("length", packet.length),
    )  # fmt: skip
    return f"a packet with {', '.join(f'{field} {value}' for field, value in named if value is not None)}"
