"""conformance.rules: what parses, what is refused and where, and that the compiled rule is the reference."""

import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rule_cases import EXPRESSIONS, PACKETS, packet, text_of

from conformance.application import Rule
from conformance.errors import SubjectError
from conformance.packet import Packet
from conformance.rules.expression import (
    FIELDS,
    And,
    Comparison,
    Expression,
    Not,
    Or,
    compile_rule,
    evaluate,
)
from conformance.rules.language import parse, read_rules

SEED = "4==ip_version && proto==TCP && (80==dst_port || 8080==dst_port)"


@pytest.mark.parametrize(
    ("text", "matching", "other"),
    [
        (SEED, {"proto": 6, "dst_port": 8080}, {"proto": 6, "dst_port": 81}),
        (SEED, {"proto": 6, "dst_port": 80}, {"proto": 17, "dst_port": 80}),
        ("dst_port != 80", {"dst_port": 81}, {"dst_port": 80}),
        ("dst_port != 80", {"dst_port": 0}, {"dst_port": None}),
        ("!(dst_port == 80)", {"dst_port": None}, {"dst_port": 80}),
        ("dst_port < 80", {"dst_port": 79}, {"dst_port": None}),
        ("80 > dst_port", {"dst_port": 79}, {"dst_port": 80}),
        ("80 <= dst_port", {"dst_port": 80}, {"dst_port": 79}),
        ("dst_port in 80..90", {"dst_port": 90}, {"dst_port": 91}),
        ("dst_port in 90..80", {"dst_port": 85, "proto": 6}, None),
        ("dst_port in { 80 ,8080 }", {"dst_port": 8080}, {"dst_port": None}),
        ("proto in {tcp, Udp, 1}", {"proto": 1}, {"proto": 2}),
        ("src_ip in 10.45.0.0/16", {}, {"src": "10.46.0.0"}),
        ("dst_ip == 203.0.113.9", {}, {"dst": "203.0.113.8"}),
        ("203.0.113.9 != dst_ip", {"dst": "203.0.113.8"}, {}),
        ("dst_ip in 203.0.113.1..203.0.113.9", {}, {"dst": "203.0.113.10"}),
        ("dst_ip in {203.0.113.1, 203.0.113.9}", {}, {"dst": "203.0.113.10"}),
        ("src_ip in 2001:db8::/32", {"src": "2001:db8::1", "dst": "::1"}, {}),
        ("src_ip != 10.45.0.1", {"src": "2001:db8::1", "dst": "::1"}, {}),
        ("src_ip == ::1 || dscp in 1..46 && length >= 60", {"dscp": 46}, {"dscp": 46, "length": 59}),
        ("!proto == UDP", {"proto": 6}, {}),
        ("!!\n(ip_version==6)", {"src": "::1", "dst": "::2"}, {}),
    ],
)
def test_meaning(text: str, matching: dict[str, object], other: dict[str, object] | None) -> None:
    expression = parse(text)
    selects = compile_rule(expression)
    if other is None:
        assert not evaluate(expression, packet(**matching))
        return
    assert evaluate(expression, packet(**matching)) is selects(packet(**matching)) is True
    assert evaluate(expression, packet(**other)) is selects(packet(**other)) is False


def test_and_binds_closer_than_or() -> None:
    one, two, three = (Comparison("dscp", "==", n) for n in (1, 2, 3))
    assert parse("dscp==1 || dscp==2 && dscp==3") == Or((one, And((two, three))))
    assert parse("(dscp==1 || dscp==2) && !dscp==3") == And((Or((one, two)), Not(three)))


@pytest.mark.parametrize(
    ("text", "under", "expected"),
    [
        ("", "", "comparisons"),
        ("dst_port ==", "", "comparisons"),
        ("(dst_port == 80", "", "comparisons"),
        ("dst_port == 80)", ")", "comparisons"),
        ("dst_port == -1", "-", "comparisons"),
        ("dst_port = 80", "=", "comparisons"),
        ("dst_port == 80 & dscp == 1", "&", "comparisons"),
        ("dst_port == 80 proto == TCP", "proto", "comparisons"),
        ("port == 80", "port", "one of the fields ip_version"),
        ("SRC_PORT == 80", "SRC_PORT", "one of the fields"),
        ("4 == 4", "4", "one of the fields"),
        ("{80} in dst_port", "{", "comparisons"),
        ("src_port == dst_port", "dst_port", "another field"),
        ("dst_port == TCP", "TCP", "a number for dst_port"),
        ("proto == WEB", "WEB", "number or name for proto"),
        ("dst_port == 10.0.0.1", "10.0.0.1", "a number for dst_port"),
        ("src_ip == 80", "80", "an IP address for src_ip"),
        ("src_ip == 10.0.0", "10.0.0", "an IP address"),
        ("src_ip == 10.0.0.0/8", "10.0.0.0/8", "an IP address"),
        ("src_ip < 10.0.0.1", "<", "no order"),
        ("10.0.0.1 >= src_ip", ">=", "no order"),
        ("dst_port == 65536", "65536", "from 0 to 65535"),
        ("dscp in 0..64", "64", "from 0 to 63"),
        ("proto == 256", "256", "from 0 to 255"),
        ("ip_version == 16", "16", "from 0 to 15"),
        ("length in {1, 65536}", "65536", "from 0 to 65535"),
        ("dst_port == 00000000080", "00000000080", "at most 10 digits"),
        ("src_ip in 10.45.0.1/16", "10.45.0.1/16", "no host bits in a CIDR: 10.45.0.0/16"),
        ("src_ip in 2001:db8::1/32", "2001:db8::1/32", "no host bits"),
        ("src_ip in 10.45.0.0/33", "10.45.0.0/33", "a CIDR such as"),
        ("src_ip in 10.0.0.0/255.0.0.0", "10.0.0.0/255.0.0.0", "a CIDR such as"),
        ("src_ip in 10.45.0.0", "10.45.0.0", "a CIDR, a range"),
        ("dst_port in 10.0.0.0/8", "10.0.0.0/8", "a range a..b"),
        ("dst_port in 80", "80", "a range a..b"),
        ("src_ip in ::1..10.0.0.1", "10.0.0.1", "same IP version as ::1"),
        ("!" * 33 + "dscp == 1", "!", "at most 32 levels"),
        ("(" * 33 + "dscp == 1" + ")" * 33, "(", "at most 32 levels"),
    ],
)
def test_errors_point_at_the_token(text: str, under: str, expected: str) -> None:
    with pytest.raises(SubjectError) as caught:
        parse(text)
    _, shown, caret = caught.value.where.split("\n")
    assert expected in caught.value.expected
    pointed = "".join(c for c, mark in zip(shown, caret.ljust(len(shown)), strict=False) if mark == "^")
    assert pointed == under
    if not under:
        assert caught.value.seen == "the end of the rule"
        assert caret.index("^") == len(shown.rstrip()) or not text


OPERANDS: dict[str, object] = {
    "0": 0, "15": 15, "16": 16, "63": 63, "64": 64, "255": 255, "256": 256, "65535": 65535, "65536": 65536,
    "TCP": "protocol", "icmpv6": "protocol", "WEB": "word", "10.0.0.1": 4, "::1": 6, "10.0.0.256": "word",
}  # fmt: skip


@pytest.mark.parametrize("field", FIELDS)
@pytest.mark.parametrize("sign", ["==", "!=", "<", "<=", ">", ">=", "in"])
def test_every_operand_that_does_not_fit_a_field_is_refused(field: str, sign: str) -> None:
    """Contract 6: a type that does not fit, a number out of range, an order between addresses."""
    largest = FIELDS[field]
    for text, kind in OPERANDS.items():
        address = "." in text or ":" in text
        if largest is None:
            fits = address and kind != "word" and sign in ("==", "!=", "in")
        elif kind == "protocol":
            fits = field == "proto"
        else:
            fits = not address and isinstance(kind, int) and kind <= largest
        turned = {"<": ">", "<=": ">=", ">": "<", ">=": "<="}.get(sign, sign)
        written = (
            [f"{field} in {{{text}}}", f"{field} in {text}..{text}"]
            if sign == "in"
            else [f"{field}{sign}{text}", f"{text} {turned} {field}"]
        )
        for rule in written:
            if fits:
                parse(rule)
                continue
            with pytest.raises(SubjectError) as caught:
                parse(rule)
            assert "^" in caught.value.where and caught.value.expected


def test_levels_and_characters_at_their_bounds() -> None:
    parse("!(" * 16 + "dscp == 1" + ")" * 16)
    parse(" || ".join(["(dscp == 1)"] * 200))
    with pytest.raises(SubjectError, match="at most 4096 characters"):
        parse("dscp == 1".ljust(4097))
    parse("dscp == 1".ljust(4096))
    with pytest.raises(SubjectError, match="at most 2 levels"):
        parse("(!(dscp == 1))", depth_max=2)


@pytest.mark.parametrize(
    "text",
    [
        "dscp == 1".ljust(4097),
        "(" * 33 + "dscp == 1" + ")" * 33,
        "!" * 33 + "(dscp == 1)",
        "dst_port == 00000000080",
        "proto in {6, 99999999999}",
        "dst_ip in 10.0.0.0/00000000008",
    ],
)
def test_what_exceeds_a_bound_is_the_bounds_own_requirement(text: str) -> None:
    with pytest.raises(SubjectError) as caught:
        parse(text)
    assert caught.value.requirement == "PKG-015"
    assert caught.value.remedy


@pytest.mark.parametrize("text", ["dst_port == 9999999999", "proto == 0000000256", "dst_ip in 10.0.0.0/0000000033"])
def test_what_is_within_the_bounds_and_wrong_is_not(text: str) -> None:
    with pytest.raises(SubjectError) as caught:
        parse(text)
    assert caught.value.requirement == ""


def test_a_fault_in_a_long_rule_is_shown_with_its_surroundings() -> None:
    with pytest.raises(SubjectError) as caught:
        parse(" || ".join(["dscp == 1"] * 100) + " || nonsense == 1")
    assert "character 1305" not in caught.value.where
    assert all(len(line) < 100 for line in caught.value.where.split("\n"))
    assert "nonsense" in caught.value.where


def test_rules_of_one_name_and_direction() -> None:
    up, down = Rule("web", "uplink", "dst_port == 80"), Rule("web", "downlink", "src_port == 80")
    assert [rule.direction for rule in read_rules((up, down))] == ["uplink", "downlink"]
    with pytest.raises(SubjectError, match="'web' uplink"):
        read_rules((up, down, Rule("web", "uplink", "dst_port == 81")))


@settings(derandomize=True, max_examples=300, deadline=None)
@given(EXPRESSIONS, st.lists(PACKETS, min_size=4, max_size=8))
def test_compiled_agrees_with_the_reference(expression: Expression, packets: list[Packet]) -> None:
    selects = compile_rule(expression)
    for each in packets:
        assert selects(each) is evaluate(expression, each)


@settings(derandomize=True, max_examples=150, deadline=None)
@given(EXPRESSIONS, st.lists(PACKETS, min_size=4, max_size=8))
def test_what_is_written_out_and_parsed_means_the_same(expression: Expression, packets: list[Packet]) -> None:
    again = parse(text_of(expression))
    assert [evaluate(again, each) for each in packets] == [evaluate(expression, each) for each in packets]


@settings(derandomize=True, max_examples=300, deadline=None)
@given(st.text(alphabet="()!&|=<> .,{}/:0189abdstprcoTCPin_\n", max_size=40))
def test_noise_is_an_expression_or_a_named_fault(text: str) -> None:
    try:
        expression = parse(text)
    except SubjectError as fault:
        assert "^" in fault.where
    else:
        evaluate(expression, packet())


def test_struct_of_a_real_packet_is_judged() -> None:
    from conformance.packet import parse as read

    header = struct.pack("!BBHHHBBHII", 0x45, 46 << 2, 40, 1, 0, 64, 6, 0, 0x0A2D0001, 0xCB007109)
    data = header + struct.pack("!HHIIHHHH", 40000, 8080, 0, 0, 0x5002, 0, 0, 0)
    assert compile_rule(parse(SEED + " && dscp == 46"))(read(data))
