"""Packets and expressions of the rule language: named, and drawn from a small world in which they meet."""

import itertools
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address

from hypothesis import strategies as st

from conformance.packet import WITH_PORTS, Packet
from conformance.rules.expression import FIELDS, And, Comparison, Expression, Membership, Not, Or, Range
from conformance.rules.regions import Fields


def packet(**fields: object) -> Packet:
    """A UDP packet 10.45.0.1:40000 > 203.0.113.9:53 of 60 bytes, but for what is given (addresses as text)."""
    values = {"proto": 17, "src": "10.45.0.1", "dst": "203.0.113.9", "src_port": 40000, "dst_port": 53} | fields
    src, dst = ip_address(str(values.pop("src"))), ip_address(str(values.pop("dst")))
    rest: dict[str, object] = {
        "dscp": 0,
        "length": 60,
        "ttl": 64,
        "identification": 0,
        "fragment_offset": 0,
        "more_fragments": False,
    }
    rest |= {"header_length": 20, "payload_offset": 28, "tcp_flags": None, "version": src.version, "data": b""}
    return Packet(**(rest | values | {"src": int(src), "dst": int(dst)}))  # type: ignore[arg-type]


_SMALL = {"ip_version": [4, 6], "proto": [6, 17], "dscp": [0, 1, 2], "length": [40, 41, 42]}
_FOUR = [IPv4Address("10.0.0.0") + n for n in range(4)]
_SIX = [IPv6Address(int(_FOUR[0]) + n) for n in range(4)]  # the same numbers: versions must be told apart


def _numbers(field: str) -> st.SearchStrategy[int]:
    return st.sampled_from(_SMALL.get(field, [79, 80, 81]))


@st.composite
def _leaves(draw: st.DrawFn) -> Expression:
    field = draw(st.sampled_from(sorted(FIELDS)))
    if FIELDS[field] is None:
        value = draw(st.sampled_from(_FOUR + _SIX))
        if draw(st.booleans()):
            return Comparison(field, draw(st.sampled_from(("==", "!="))), value)
        family = _FOUR if value.version == 4 else _SIX
        network = (IPv4Network if value.version == 4 else IPv6Network)((int(family[0]), value.max_prefixlen - 1))
        return Membership(field, (draw(st.sampled_from([network, Range(value, family[-2]), value])),))
    if draw(st.booleans()):
        return Comparison(field, draw(st.sampled_from(("==", "!=", "<", "<=", ">", ">="))), draw(_numbers(field)))
    return Membership(field, (Range(draw(_numbers(field)), draw(_numbers(field))), draw(_numbers(field))))


EXPRESSIONS = st.recursive(
    _leaves(),
    lambda inner: st.one_of(
        inner.map(Not),
        st.tuples(inner, inner).map(And),
        st.tuples(inner, inner).map(Or),
    ),
    max_leaves=8,
)


@st.composite
def _packets(draw: st.DrawFn) -> Packet:
    addresses: st.SearchStrategy[object] = st.sampled_from(draw(st.sampled_from([_FOUR, _SIX])))
    ports = st.one_of(st.none(), st.sampled_from([79, 80, 81]))
    return packet(
        src=draw(addresses), dst=draw(addresses), src_port=draw(ports), dst_port=draw(ports),
        proto=draw(_numbers("proto")), dscp=draw(_numbers("dscp")), length=draw(_numbers("length")),
    )  # fmt: skip


PACKETS = _packets()


def text_of(expression: Expression) -> str:  # noqa: PLR0911  (one a shape of the language)
    match expression:
        case Comparison(field, order, value):
            return f"{field} {order} {value}"
        case Membership(field, (Range(low, high),)):
            return f"{field} in {low}..{high}"
        case Membership(field, (IPv4Network() | IPv6Network() as network,)):
            return f"{field} in {network}"
        case Membership(field, (Range(low, high), value)):
            return f"({field} in {low}..{high} || {field} in {{{value}}})"
        case Membership(field, values):
            return f"{field} in {{{', '.join(map(str, values))}}}"
        case Not(operand):
            return f"!({text_of(operand)})"
        case And(operands) | Or(operands):
            sign = ") && (" if isinstance(expression, And) else ") || ("
            return "(" + sign.join(map(text_of, operands)) + ")"


def as_packet(found: Fields) -> Packet:
    return Packet(
        b"", found.ip_version, found.proto, int(found.src_ip), int(found.dst_ip), found.src_port, found.dst_port,
        found.dscp, found.length, 64, 0, 0, False, 20, 20, None,
    )  # fmt: skip


_PORTS, _PROTOS = (0, 1, 2, 3), (0, 1, 6, 17)


@st.composite
def _port_leaves(draw: st.DrawFn) -> Expression:
    field, values = draw(
        st.sampled_from([("src_port", _PORTS), ("dst_port", _PORTS), ("proto", _PROTOS), ("ip_version", (4, 6))])
    )
    number = st.sampled_from(values)
    if draw(st.booleans()):
        return Comparison(field, draw(st.sampled_from(("==", "!=", "<", "<=", ">", ">="))), draw(number))
    return Membership(field, (Range(draw(number), draw(number)),))


PORT_EXPRESSIONS = st.recursive(
    _port_leaves(),
    lambda inner: st.one_of(inner.map(Not), st.tuples(inner, inner).map(And), st.tuples(inner, inner).map(Or)),
    max_leaves=6,
)
# beyond the values that leaves name every further value behaves as one of these
PORT_WORLD = [
    as_packet(Fields(version, proto, IPv4Address(1), IPv4Address(2), src, dst, 0, 60))
    for version, proto in itertools.product((4, 6), (*_PROTOS, 2, 255, 132))
    for src, dst in itertools.product((*_PORTS, 4, 65535) if proto in WITH_PORTS else (None,), repeat=2)
]
