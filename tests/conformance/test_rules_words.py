"""conformance.rules.words and simplification: rules read well, and mean what they meant before."""

from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rule_cases import EXPRESSIONS, PACKETS

from conformance.packet import Packet
from conformance.rules.expression import And, Comparison, Expression, Membership, Not, Or, Range, evaluate
from conformance.rules.language import CHARACTERS_MAX, DEPTH_MAX, parse
from conformance.rules.simplification import intervals, simplified
from conformance.rules.words import describe, protocol_name

PHRASES = [
    ("4==ip_version && proto==TCP && (80==dst_port || 8080==dst_port)", "IPv4 TCP packets to port 80 or 8080"),
    ("proto == ICMPv6 || proto in {udplite, 1}", "ICMP, ICMPv6 or UDP-Lite packets"),
    ("proto == 253", "packets of protocol 253"),
    ("proto != TCP", "packets of a protocol other than TCP"),
    ("proto <= 6", "packets of protocol 6 or below"),
    ("proto in 0..255", "packets of any protocol"),
    ("ip_version != 4", "IPv6 packets"),
    ("ip_version in 4..6", "IPv4 or IPv6 packets"),
    ("ip_version == 5", "packets of an IP version that does not exist"),
    ("dst_port != 80", "packets to a port other than 80"),
    ("dst_port != 80 && dst_port != 443", "packets to a port other than 80 or 443"),
    ("!(dst_port == 80)", "all packets but those to port 80"),
    ("!(dst_port in {80, 81}) && dst_port < 90", "packets to port 79 or below or 82 to 89"),
    ("!(dst_port in {80, 81}) || dst_port == 80", "all packets but those to port 81"),
    ("!(dst_port != 80)", "all packets but those to a port other than 80"),
    ("!!(dst_port == 80)", "packets to port 80"),
    ("dst_port > 1023 && dst_port < 2000", "packets to port 1024 to 1999"),
    ("dst_port in 80..81", "packets to port 80 or 81"),
    ("dst_port >= 0", "packets to any port"),
    ("dst_port in 90..80", "packets to no port at all"),
    ("src_port < 1024", "packets from port 1023 or below"),
    ("src_port < 0", "packets from no port at all"),
    ("dst_port in {1, 3, 5, 7, 9, 11, 13, 15}", "packets to port 1, 3, 5, 7, 9, 11, 13 or 15"),
    ("dst_port in {1, 3, 5, 7, 9, 11, 13, 15, 17}", "packets to port 1, 3, 5, 7, 9, 11, 13 or 2 others"),
    ("src_ip != 10.0.0.1", "packets from an address other than 10.0.0.1"),
    ("src_ip in 10.0.0.0/9 || src_ip in 10.128.0.0/9", "packets from 10.0.0.0/8"),
    ("src_ip in 10.0.0.1..10.0.0.9 && src_ip != ::1", "packets from 10.0.0.1 to 10.0.0.9"),
    ("dst_ip in 0.0.0.0/0", "packets to any IPv4 address"),
    ("dst_ip in 0.0.0.0/0 || dst_ip in ::/0", "packets to any address"),
    ("dst_ip == ::1 && dst_ip == 10.0.0.1", "packets to no address at all"),
    (
        "src_port == 9 && src_ip in 10.45.0.0/16 && dst_ip in {203.0.113.1, 2001:db8::1} && dst_port == 80",
        "packets from port 9 of 10.45.0.0/16 to port 80 of 203.0.113.1 or 2001:db8::1",
    ),
    ("dscp == 46 && length > 1000", "packets with DSCP 46 of 1001 bytes or more"),
    ("dscp != 0 && length in 40..60", "packets with DSCP 1 or above of 40 to 60 bytes"),
    ("length < 20 || length == 30", "packets of 19 bytes or less or 30 bytes"),
    ("length != 99", "packets of a length other than 99"),
    ("proto==TCP && dst_port==80 || proto==UDP", "either TCP packets to port 80, or UDP packets"),
    ("proto==TCP && (dst_port==80 || src_ip==::1)", "TCP packets that are either to port 80 or from ::1"),
    (
        "(dst_port==1 || dscp==9) && (src_port==2 || dst_ip==::1)",
        "packets that are either to port 1 or with DSCP 9, and either from port 2 or to ::1",
    ),
    ("proto==TCP && !(dst_ip==::1 && dst_port==22)", "TCP packets but not those to port 22 of ::1"),
    ("!(proto==TCP || dst_port==22)", "packets of a protocol other than TCP but not those to port 22"),
    (
        "!(proto==TCP && (dst_port==1 || src_port==1))",
        "all packets but (TCP packets that are either to port 1 or from port 1)",
    ),
    ("dscp==1 || !(dst_port==1)", "either packets with DSCP 1, or (all packets but those to port 1)"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "phrase"), PHRASES)
def test_rules_in_words(text: str, phrase: str) -> None:
    assert describe(parse(text)) == phrase


def test_names_of_protocols() -> None:
    assert (protocol_name(6), protocol_name(253)) == ("TCP", "protocol 253")


@settings(derandomize=True, max_examples=300, deadline=None)
@given(EXPRESSIONS, st.lists(PACKETS, min_size=6, max_size=10))
def test_what_is_simplified_means_the_same(expression: Expression, packets: list[Packet]) -> None:
    plain = simplified(expression)
    assert [evaluate(plain, one) for one in packets] == [evaluate(expression, one) for one in packets]
    assert simplified(plain) == plain
    assert "\n" not in describe(expression)


@settings(derandomize=True, max_examples=100, deadline=None)
@given(EXPRESSIONS)
def test_each_field_is_spoken_of_once_in_a_place_and_in_order(expression: Expression) -> None:
    for part in _parts(simplified(expression)):
        if isinstance(part, And | Or):
            inner = [one.operand if isinstance(one, Not) else one for one in part.operands]
            kinds = [one.field if isinstance(one, Membership) else one for one in inner]
            assert len(set(kinds)) == len(kinds) > 1
            assert not any(type(one) is type(part) for one in part.operands)
        elif isinstance(part, Membership):
            assert all(isinstance(choice, Range) for choice in part.choices)
            assert intervals(part) == tuple(sorted(intervals(part)))


def _parts(expression: Expression) -> Iterator[Expression]:
    assert not isinstance(expression, Comparison)
    yield expression
    for operand in [expression.operand] if isinstance(expression, Not) else getattr(expression, "operands", ()):
        yield from _parts(operand)


def test_the_largest_rules_are_told_at_once() -> None:
    deep = "dscp == 1"
    for level in range(DEPTH_MAX // 2):
        deep = f"!({deep} {'&&' if level % 2 else '||'} dst_port == {level})"
    assert describe(parse(deep)) == "all packets but those to no port at all with a DSCP other than 1"
    wide = " || ".join(f"dst_port == {number}" for number in range(1, 400, 2))[:CHARACTERS_MAX]
    assert describe(parse(wide)).endswith("or 193 others")
