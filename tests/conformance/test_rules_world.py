"""What the analysis says of rules over all fields at once, held against brute force: the reference is asked of a packet
from everywhere between the values that the rules name."""

import itertools
from collections.abc import Iterable, Iterator
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from rule_cases import EXPRESSIONS, as_packet, text_of

from conformance.application import Direction, Rule
from conformance.packet import TCP, UDP, WITH_PORTS, Packet
from conformance.rules.analysis import can_match, matches_everything, satisfying_packet
from conformance.rules.expression import FIELDS, And, Comparison, Expression, Membership, Not, Or, Range, evaluate
from conformance.rules.language import parse
from conformance.rules.regions import Fields
from conformance.rules.relations import comparable, judge_together, review_overlaps, review_symmetry
from conformance.rules.remark import Kind
from conformance.rules.review import judge_rule, review_rule

FALSE = "ip_version==5"
USERS = Membership("src_ip", (IPv4Network("10.0.0.0/31"),))
PLAIN = {"ip_version": 4, "proto": UDP, "src_port": 7, "dst_port": 7, "dscp": 0, "length": 60}
EXCHANGED = {"src_ip": "dst_ip", "dst_ip": "src_ip", "src_port": "dst_port", "dst_port": "src_port"}


def values(expression: Expression) -> Iterator[tuple[str, Any]]:
    """Each value that an expression names, with its field."""
    match expression:
        case And(operands) | Or(operands):
            for operand in operands:
                yield from values(operand)
        case Not(operand):
            yield from values(operand)
        case Comparison(field, _, value):
            yield field, value
        case Membership(field, choices):
            for choice in choices:
                if isinstance(choice, Range):
                    yield from ((field, choice.low), (field, choice.high))
                elif isinstance(choice, IPv4Network | IPv6Network):
                    yield from ((field, choice[0]), (field, choice[-1]))
                else:
                    yield field, choice


SMALL = EXPRESSIONS.filter(lambda one: len(list(values(one))) <= 5)
SMALLER = EXPRESSIONS.filter(lambda one: len(list(values(one))) <= 3)


def around(named: Iterable[Any], plain: int, kind: Any = int, most: int = 2**32 - 1) -> list[Any]:
    """Every value named and both its neighbours; and one that nothing says anything of."""
    near = {int(value) + step for value in named if kind is int or isinstance(value, kind) for step in (-1, 0, 1)}
    return [kind(value) for value in sorted(near | {plain}) if 0 <= value <= most]


def world(*expressions: Expression) -> list[Packet]:
    """A packet for each way in which the expressions can tell packets apart."""
    named: dict[str, list[Any]] = {field: [] for field in FIELDS}
    for expression in expressions:
        for field, value in values(expression):
            named[field].append(value)
    numbers = {field: around(named[field], PLAIN[field], most=FIELDS[field] or 0) for field in PLAIN}
    found = []
    for version, proto in itertools.product((4, 6), {*numbers["proto"], TCP, UDP, 1, 132}):
        kind, header = (IPv4Address, 20) if version == 4 else (IPv6Address, 40)
        least = header + {TCP: 20, UDP: 8}.get(proto, 0)
        ends = [around(named[field], 99, kind) for field in ("src_ip", "dst_ip")]
        ports = [numbers[field] if proto in WITH_PORTS else [None] for field in ("src_port", "dst_port")]
        lengths = {max(length, least) for length in numbers["length"]}
        found += [
            as_packet(Fields(version, proto, *rest))
            for rest in itertools.product(*ends, *ports, numbers["dscp"], lengths)
        ]
    return found


def possible(found: Fields) -> bool:
    """Whether there can be such a packet at all."""
    least = (20 if found.ip_version == 4 else 40) + {TCP: 20, UDP: 8}.get(found.proto, 0)
    there = {port is not None for port in (found.src_port, found.dst_port)}
    return (
        found.src_ip.version == found.dst_ip.version == found.ip_version
        and there == {found.proto in WITH_PORTS}
        and least <= found.length <= 65535
    )


@settings(derandomize=True, max_examples=3000, deadline=None)
@given(SMALL)
def test_verdicts_on_one_rule(expression: Expression) -> None:
    answers = {version: [evaluate(expression, one) for one in world(expression) if one.version == version]
               for version in (4, 6)}  # fmt: skip
    for version in (4, 6):
        assert can_match(expression, 4 if version == 4 else 6) is any(answers[version])
        assert matches_everything(expression, 4 if version == 4 else 6) is all(answers[version])
    kind: list[Kind] = []
    if not any(answers[4]):
        kind = ["IPv6 only"] if any(answers[6]) else ["never matches"]
    elif all(answers[4]):
        kind = ["matches everything"]
    assert [remark.kind for remark in judge_rule(text_of(expression))] == kind
    for asked in (expression, Not(expression)):
        found = satisfying_packet(asked)
        assert found is None or (possible(found) and evaluate(asked, as_packet(found)))


@settings(derandomize=True, max_examples=400, deadline=None)
@given(SMALL)
def test_parts_that_change_nothing(expression: Expression) -> None:
    text = text_of(expression)
    four = [one for one in world(expression) if one.version == 4]
    selected = [evaluate(expression, one) for one in four]
    if not any(selected) or all(selected):
        return
    for remark in review_rule(text):
        if remark.kind in ("dead part", "idle part"):
            without = parse(text[: remark.begin] + FALSE + text[remark.end :])
            assert [evaluate(without, one) for one in four] == selected


@settings(derandomize=True, max_examples=300, deadline=None)
@given(st.lists(SMALLER, min_size=2, max_size=2), st.sampled_from(["uplink", "downlink"]))
def test_verdicts_on_two_rules(expressions: list[Expression], other: Direction) -> None:
    one, two = expressions
    rules = [Rule("a", "uplink", text_of(one)), Rule("b", other, text_of(two))]
    four = [packet for packet in world(*expressions) if packet.version == 4]
    both = [(evaluate(one, packet), evaluate(two, packet)) for packet in four]
    if other == "uplink":
        assert bool(judge_together(rules)) is all(map(any, both))
        (remark,) = review_overlaps(rules) or (None,)
        assert (remark is not None) is any(map(all, both))
        if remark:
            assert remark.packet and possible(remark.packet)
            assert all(evaluate(expression, as_packet(remark.packet)) for expression in expressions)
    else:
        assert [bool(judge_together([rule])) for rule in rules] == [all(answers) for answers in zip(*both, strict=True)]
        assert review_overlaps(rules) == ()


def answer(packet: Packet) -> Packet:
    return packet._replace(src=packet.dst, dst=packet.src, src_port=packet.dst_port, dst_port=packet.src_port)


@settings(derandomize=True, max_examples=300, deadline=None)
@given(SMALLER, SMALLER)
def test_answers_that_are_not_selected(up: Expression, down: Expression) -> None:
    rules = [Rule("a", "uplink", text_of(up)), Rule("a", "downlink", text_of(down))]
    if not comparable(rules):
        return
    found = {remark.where.removeprefix("rules for "): remark.packet for remark in review_symmetry(rules, USERS)}
    whole = And((up, down, USERS))
    back = And(tuple(Comparison(EXCHANGED.get(field, field), "==", value) for field, value in values(whole)))
    four = [one for one in world(whole, back) if one.version == 4]
    for other, selecting, answering, of_user in (("downlink", up, down, True), ("uplink", down, up, False)):
        missed = any(
            evaluate(USERS, one if of_user else answer(one))
            and evaluate(selecting, one)
            and not evaluate(answering, answer(one))
            for one in four
        )
        assert (other in found) is missed
        packet = found.get(other)
        if packet:
            assert possible(packet)
            asked = as_packet(packet)
            assert evaluate(USERS, asked if of_user else answer(asked))
            assert evaluate(selecting, asked) and not evaluate(answering, answer(asked))
