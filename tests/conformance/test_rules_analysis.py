"""conformance.rules.analysis: exact answers, held against brute force over small worlds."""

from collections.abc import Callable
from contextlib import suppress
from itertools import accumulate

import pytest
from hypothesis import given, settings
from rule_cases import PORT_EXPRESSIONS, PORT_WORLD, as_packet

from conformance.application import Rule
from conformance.rules.analysis import (
    DrivenFlow,
    can_match,
    matches_everything,
    plan_flows,
    region_starts,
    satisfying_packet,
    served_ports,
)
from conformance.rules.boxes import VALUES_MAX, Budget, Undecided
from conformance.rules.expression import And, Expression, Not, Or, evaluate, mirrored
from conformance.rules.language import CHARACTERS_MAX, parse

UES = [f"10.45.0.{n}" for n in range(1, 9)]
SERVERS = ["198.51.100.0/24", "203.0.113.0/24"]
WEB_UP = "4==ip_version && proto==TCP && (80==dst_port || 8080==dst_port)"
WEB_DOWN = "4==ip_version && proto==TCP && (80==src_port || 8080==src_port)"


@pytest.mark.parametrize(
    ("text", "four", "six"),
    [
        (WEB_UP, True, False),
        ("dst_port == 80", True, True),
        ("ip_version == 6", False, True),
        ("ip_version == 5", False, False),
        ("src_ip == ::1", False, True),
        ("src_ip == ::1 && dst_ip == 10.0.0.1", False, False),
        ("src_ip in 2001:db8::/32 || dst_port == 1 && ip_version == 4", True, True),
        ("proto == ICMP && dst_port == 80", False, False),
        ("proto == ICMP && dst_port != 80", False, False),
        ("proto == ICMP && !(dst_port == 80)", True, True),
        ("dst_port in 90..80", False, False),
        ("dst_port > 80 && dst_port < 82 && dst_port != 81", False, False),
        ("dst_port > 80 && dst_port < 83 && dst_port != 81", True, True),
        ("length < 20", False, False),
        ("length < 40", True, False),
        ("length < 40 && proto == TCP", False, False),
        ("length < 40 && proto == UDP", True, False),
        ("dst_ip in 10.0.0.0/8 && !(dst_ip in 10.0.0.0/9) && dst_ip in 10.0.0.0..10.128.0.0", True, False),
        ("dst_ip in 10.0.0.0/8 && !(dst_ip in 10.0.0.0/9) && dst_ip in 10.0.0.0..10.127.255.255", False, False),
        ("proto == TCP && !(proto in 1..6) || dscp == 3 && dscp == 4", False, False),
    ],
)
def test_what_can_match(text: str, four: bool, six: bool) -> None:
    expression = parse(text)
    assert can_match(expression, 4) is four
    assert can_match(expression, 6) is six
    assert can_match(expression) is (four or six)
    found = satisfying_packet(expression)
    assert found is None or evaluate(expression, as_packet(found))


@pytest.mark.parametrize(
    ("text", "everything", "of_four"),
    [
        ("length >= 20", True, True),
        ("length >= 21", False, False),
        ("ip_version == 4 || ip_version == 6", True, True),
        ("ip_version == 4", False, True),
        ("dst_port in 0..65535", False, False),
        ("dst_port in 0..65535 || !(dst_port >= 0)", True, True),
        ("src_ip in 0.0.0.0/1 || src_ip in 128.0.0.0/1", False, True),
        ("src_ip in 0.0.0.0/1 || src_ip in 128.0.0.0/2", False, False),
        (WEB_UP, False, False),
        (f"!({WEB_UP}) || {WEB_UP}", True, True),
    ],
)
def test_what_matches_everything(text: str, everything: bool, of_four: bool) -> None:
    assert matches_everything(parse(text)) is everything
    assert matches_everything(parse(text), 4) is of_four


def test_an_expression_of_many_choices_is_decided_and_not_guessed() -> None:
    ports = [f"(src_port == {2 * n} || dst_port == {3 * n + 1})" for n in range(1, 60)]
    lengths = [f"(dscp == {n % 60} || length == {n + 100})" for n in range(1, 40)]
    assert satisfying_packet(parse(" && ".join([*ports, *lengths]))) is None
    found = satisfying_packet(parse(" && ".join(f"!{one}" for one in [*ports, *lengths])))
    assert found and all(not evaluate(parse(one), as_packet(found)) for one in [*ports, *lengths])
    with pytest.raises(Undecided):
        satisfying_packet(parse(" && ".join(ports)), budget=Budget(100))


def joined(part: Callable[[int], str], by: str = " && ") -> str:
    """As many parts as a rule has room for."""
    parts = [part(number) for number in range(1, 500)]
    room = accumulate(len(one) + len(by) for one in parts)
    return by.join(one for one, end in zip(parts, room, strict=True) if end <= CHARACTERS_MAX)


HOSTILE = {
    "ports against ports": lambda n: joined(lambda i: f"(src_port == {7 * i + n} || dst_port == {11 * i + n})"),
    "three fields": lambda n: joined(lambda i: f"(dscp == {i % 60} || length == {i + n} || src_port == {i})"),
    "addresses": lambda n: joined(lambda i: f"(src_ip == 10.{i % 250}.0.{n} || dst_ip == 11.{i % 250}.0.{n})"),
    "not this, not that": lambda n: joined(lambda i: f"!(src_port == {i + n} && dst_port == {i + n})"),
}


@pytest.mark.parametrize("text_of", HOSTILE.values(), ids=HOSTILE)
def test_hostile_rules_cost_no_more_than_their_budget(text_of: Callable[[int], str]) -> None:
    whole = Or(tuple(parse(text_of(number)) for number in range(64)))
    for question in (can_match, matches_everything):
        budget = Counted()
        with suppress(Undecided):
            question(whole, 4, budget)
        assert budget.looked <= VALUES_MAX + 64 * CHARACTERS_MAX  # and the one look that went beyond it


class Counted(Budget):
    """Counts what is really looked at, whatever is left."""

    looked = 0

    def spend(self, values: int) -> None:
        self.looked += values
        super().spend(values)


def test_rules_that_people_write_cost_little() -> None:
    rules = [f"4==ip_version && proto in {{TCP, UDP}} && dst_port in {{{n}, {n + 1}}} && dst_ip in 203.0.{n % 250}.0/24"
             for n in range(80, 8080, 125)]  # fmt: skip
    assert len(rules) == 64
    whole, budget = Or(tuple(map(parse, rules))), Budget()
    assert not matches_everything(whole, 4, budget)
    assert satisfying_packet(And((whole, Not(mirrored(mirrored(whole))))), budget=budget) is None
    assert budget.left > VALUES_MAX / 2


def test_a_rule_too_intricate_to_plan_for_keeps_the_others_from_nothing() -> None:
    elsewhere = joined(lambda i: f"dst_port=={2 * i} && dst_ip==10.0.0.{i % 250}", " || ")[:4000]
    hostile = Rule("a", "uplink", f"proto==UDP && ({elsewhere[: elsewhere.rindex(' ||')]} || dst_port==9999)")
    plan = plan_flows([hostile, Rule("web", "uplink", WEB_UP)], UES, SERVERS)
    assert [flow.server_port for flow in plan.flows] == [80, 8080]
    assert plan.unreachable == ()  # nobody knows
    assert served_ports([hostile, Rule("web", "uplink", WEB_UP)]) == {("tcp", 80), ("tcp", 8080)}


def test_region_starts() -> None:
    assert region_starts(parse("dst_port == 80 || dst_port in 100..200 || dst_port > 65534"), "dst_port") == (
        0, 80, 81, 100, 201, 65535,
    )  # fmt: skip
    assert region_starts(parse("dst_port <= 65535"), "dst_port") == (0,)


@settings(derandomize=True, max_examples=200, deadline=None)
@given(PORT_EXPRESSIONS)
def test_exact_against_brute_force(expression: Expression) -> None:
    answers = [evaluate(expression, packet) for packet in PORT_WORLD]
    assert can_match(expression) is any(answers)
    assert matches_everything(expression) is all(answers)
    back = [packet._replace(src_port=packet.dst_port, dst_port=packet.src_port) for packet in PORT_WORLD]
    assert [evaluate(mirrored(expression), packet) for packet in back] == answers


def test_flows_of_the_web_rules() -> None:
    rules = [Rule("web", "uplink", WEB_UP), Rule("web", "downlink", WEB_DOWN)]
    plan = plan_flows(rules, UES, SERVERS)
    assert plan.flows == tuple(DrivenFlow("tcp", "10.45.0.1", 0, "203.0.113.1", port, 0, 0) for port in (80, 8080))
    assert plan.unreachable == ()
    assert served_ports(rules) == {("tcp", 80), ("tcp", 8080)}


@pytest.mark.parametrize(
    ("rule", "flow"),
    [
        (Rule("a", "uplink", "proto==UDP && dst_ip == 8.8.8.8"), ("udp", "10.45.0.1", 0, "8.8.8.8", 7, 0, 0)),
        (Rule("a", "uplink", "proto==UDP && src_ip == 10.45.0.5"), ("udp", "10.45.0.5", 0, "203.0.113.1", 7, 0, 0)),
        (Rule("a", "downlink", "proto==TCP && dst_port == 5000"), ("tcp", "10.45.0.1", 5000, "203.0.113.1", 7, 0, 0)),
        (
            Rule("a", "uplink", "proto==UDP && dscp == 46 && length > 999 && dst_ip in 198.51.100.0/24"),
            ("udp", "10.45.0.1", 0, "198.51.100.0", 7, 46, 1000),
        ),
        (Rule("a", "uplink", "proto==UDP && dst_port > 6000"), ("udp", "10.45.0.1", 0, "203.0.113.1", 6001, 0, 0)),
    ],
)
def test_flows_that_need_something(rule: Rule, flow: tuple[object, ...]) -> None:
    plan = plan_flows([rule], UES, SERVERS)
    assert plan.flows == (DrivenFlow(*flow),)  # type: ignore[arg-type]
    assert (rule in plan.unreachable) is False


@pytest.mark.parametrize(
    "text", ["proto == ICMP", "ip_version == 6", "src_ip == 10.45.1.1", "src_ip == 192.0.2.1", "dst_ip in 10.0.0.0/8"]
)
def test_rules_that_no_emulated_ue_can_satisfy(text: str) -> None:
    rule = Rule("a", "uplink", text)
    assert plan_flows([rule], UES, SERVERS) == plan_flows([rule], UES, SERVERS)
    assert plan_flows([rule], UES, SERVERS).unreachable == (rule,)


def test_a_rule_of_many_ports_is_driven_by_a_few() -> None:
    text = "proto==UDP && dst_port in {" + ", ".join(str(n) for n in range(1000, 1600, 2)) + "}"
    assert len(plan_flows([Rule("a", "uplink", text)], UES, SERVERS).flows) == 4
