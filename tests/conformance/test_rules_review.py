"""conformance.rules.review and relations: every statement is held against the naive reference over a small world."""

from collections.abc import Callable
from ipaddress import ip_network
from itertools import combinations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rule_cases import PORT_EXPRESSIONS, PORT_WORLD, as_packet, text_of
from test_rules_analysis import HOSTILE, UES, WEB_DOWN, WEB_UP, Counted, joined

from conformance import profile as profiles
from conformance.application import Application, Direction, Rule
from conformance.checks.selection import judge_selection, judge_symmetry
from conformance.errors import SubjectError
from conformance.packet import Packet
from conformance.rules.boxes import VALUES_MAX, Budget
from conformance.rules.expression import Expression, Membership, Not, Or, compile_rule, evaluate, mirrored
from conformance.rules.language import Located, locate, mirrored_text, parse
from conformance.rules.relations import judge_together, review_overlaps, review_symmetry, selects
from conformance.rules.remark import Remark
from conformance.rules.review import judge_rule, review_rule
from conformance.verdict import Verdict

PROFILE = profiles.load()
FALSE = "ip_version==5"
USERS = Membership("src_ip", (ip_network("10.45.0.0/16"),))

FAULTS = [
    (WEB_UP, "", "", ""),
    ("proto==ICMP && dst_port==80", "never matches", "dst_port==80", "packets of that protocol have no ports"),
    ("dst_port==80 && proto==ICMP", "never matches", "proto==ICMP", "packets of that protocol have no ports"),
    ("ip_version==5", "never matches", "ip_version==5", "IP versions 4 and 6 only"),
    ("ip_version==4 && src_ip==::1", "never matches", "src_ip==::1", "of one IP version"),
    ("src_ip==10.0.0.1 && dst_ip in ::/8", "never matches", "dst_ip in ::/8", "of one IP version"),
    ("proto==TCP && length < 30", "never matches", "length < 30", "no such packet is that short"),
    ("length < 10", "never matches", "length < 10", "no IP packet is that short"),
    ("dscp==1 && dst_port in 90..80", "never matches", "dst_port in 90..80", "ends below its beginning"),
    ("dst_port > 65535", "never matches", "dst_port > 65535", "no such value"),
    ("proto==TCP && dscp==1 && proto==UDP", "never matches", "proto==UDP", "`proto==TCP` rules it out"),
    ("proto!=TCP && (dscp==1 && proto==TCP)", "never matches", "proto==TCP", "`proto!=TCP` rules it out"),
    ("dscp==1 && !(length >= 0)", "never matches", "!(length >= 0)", "no packet can satisfy"),
    ("dscp>1 && (dscp==1 || dscp==0)", "never matches", "dscp==1 || dscp==0", "`dscp>1` rules it out"),
    (
        "dscp<3 && length<99 && (dscp==3 || length==99)",
        "never matches", "dscp==3 || length==99", "what else is asked rules it out",
    ),
    ("ip_version==6", "IPv6 only", "ip_version==6", "IPv6 packets only"),
    ("dst_ip in ::/0 && dst_port==80", "IPv6 only", "dst_ip in ::/0 && dst_port==80", "IPv6 packets only"),
    ("proto==TCP || proto!=TCP", "matches everything", "proto==TCP || proto!=TCP", "all IPv4 packets"),
    ("ip_version==4", "matches everything", "ip_version==4", "all IPv4 packets"),
]  # fmt: skip


def pointed(text: str, remark: Remark) -> str:
    """What the caret stands under, which is where the first line says."""
    place, shown, caret = remark.where.split("\n")
    under = "".join(one for one, mark in zip(shown, caret.ljust(len(shown)), strict=False) if mark == "^")
    assert text[int(place.removeprefix("character ")) - 1 :].startswith(under)
    return under


@pytest.mark.parametrize(("text", "kind", "under", "why"), FAULTS)
def test_broken_rules(text: str, kind: str, under: str, why: str) -> None:
    found = judge_rule(text)
    assert [remark.kind for remark in found] == ([kind] if kind else [])
    for remark in found:
        assert remark.broken
        assert pointed(text, remark) == text[remark.begin : remark.end] == under
        assert why in remark.seen
        assert remark.expected and remark.remedy


SUSPICIONS = [
    (WEB_UP, []),
    ("proto==TCP && (dst_port==80 || src_port==80)", []),
    ("dst_port==80 && length > 99", [("ports of any protocol", "dst_port==80", "TCP, UDP, DCCP, SCTP and UDP-Lite")]),
    ("proto!=TCP && dst_port==80", []),
    (
        "proto==TCP && (dst_port==80 || dst_port==443 || dst_port in 80..90)",
        [("idle part", "dst_port==80", "`dst_port in 80..90` selects all its packets")],
    ),
    ("proto==TCP || proto==TCP && dscp==1", [("idle part", "proto==TCP && dscp==1", "`proto==TCP` selects all")]),
    ("proto==TCP || proto==TCP", [("idle part", "proto==TCP", "adds nothing")]),
    (
        "dscp==5 || dscp < 5 || dscp in 6..9 || dscp in 4..7",
        [("idle part", "dscp in 4..7", "others select all its packets together")],
    ),
    (
        "proto==TCP && (dst_port==80 || src_ip==::1 && ip_version==4)",
        [
            (
                "dead part",
                "ip_version==4",
                "`src_ip==::1 && ip_version==4`: it never holds, a packet is of one IP version",
            )
        ],
    ),
    ("dscp==1 || ip_version==5", [("dead part", "ip_version==5", "IP versions 4 and 6 only")]),
    (
        "ip_version==4 && (src_ip==::1 || dscp==1)",
        [("dead part", "src_ip==::1", "a packet is of one IP version, and so are its addresses")],
    ),
    ("proto==ICMP && (dst_port==80 || dscp==1)", [("dead part", "dst_port==80", "protocol have no ports")]),
    ("proto==TCP && (length<30 || dscp==1)", [("dead part", "length<30", "no such packet is that short")]),
    ("dscp==1 || proto==TCP && proto==UDP", [("dead part", "proto==UDP", "`proto==TCP` rules it out")]),
    ("proto==TCP && (dscp==1 || ip_version==6)", [("dead part", "ip_version==6", "always bypass the app")]),
    (
        "proto==TCP && !(proto==UDP && dst_port==4)",
        [("dead part", "proto==UDP", "the exception never applies, `proto==TCP` rules it out")],
    ),
    ("proto==TCP && !(dst_port==4 || proto==UDP)", [("dead part", "proto==UDP", "it never holds")]),
    (
        "proto==TCP && (dst_port==80 || dst_port==443) && (dst_port==80 || dst_port==22)",
        [("dead part", "dst_port==443", "it never holds"), ("dead part", "dst_port==22", "it never holds")],
    ),
    ("proto==TCP && dst_port==80 || proto==TCP && dst_port==443 || proto==UDP && dst_port==443", []),
]


@pytest.mark.parametrize(("text", "expected"), SUSPICIONS)
def test_suspicious_rules(text: str, expected: list[tuple[str, str, str]]) -> None:
    assert judge_rule(text) == ()
    found = review_rule(text)
    assert [(remark.kind, pointed(text, remark)) for remark in found] == [one[:2] for one in expected]
    for remark, (_, _, why) in zip(found, expected, strict=True):
        assert not remark.broken
        assert why in remark.seen
        assert remark.expected and remark.remedy


def test_a_part_of_a_long_rule_is_found() -> None:
    text = " || ".join(f"dscp == {number % 60}" for number in range(120))
    found = review_rule(text)
    assert [remark.begin for remark in found] == [
        text.index(f"dscp == {number}", text.index("59")) for number in range(60)
    ]
    assert all(text[remark.begin : remark.end] == pointed(text, remark) for remark in found)


@pytest.mark.parametrize("text", ["", "dst_port == 70000", "src_ip == 80", "proto == 10.0.0.1", "dscp in 10.0.0.0/8"])
def test_what_does_not_parse_is_no_remark(text: str) -> None:
    for question in (judge_rule, review_rule):
        with pytest.raises(SubjectError):
            question(text)


@settings(derandomize=True, max_examples=250, deadline=None)
@given(PORT_EXPRESSIONS)
def test_a_rule_is_broken_if_and_only_if_brute_force_says_so(expression: Expression) -> None:
    four = [evaluate(expression, one) for one in PORT_WORLD if one.version == 4]
    six = [evaluate(expression, one) for one in PORT_WORLD if one.version == 6]
    kinds = [remark.kind for remark in judge_rule(text_of(expression))]
    if not any(four):
        assert kinds == ["IPv6 only" if any(six) else "never matches"]
    else:
        assert kinds == (["matches everything"] if all(four) else [])


def selected(text: str) -> list[bool]:
    """Of the IPv4 packets."""
    chosen = compile_rule(parse(text))
    return [chosen(one) for one in PORT_WORLD if one.version == 4]


def alternatives(located: Located) -> list[Located]:
    inner = [one for part in located.parts for one in alternatives(part)]
    return [*located.parts, *inner] if isinstance(located.expression, Or) else inner


@settings(derandomize=True, max_examples=250, deadline=None)
@given(PORT_EXPRESSIONS)
def test_parts_that_change_nothing_are_those_that_brute_force_finds(expression: Expression) -> None:
    text = text_of(expression)
    if judge_rule(text):
        return
    parts = [remark for remark in review_rule(text) if remark.kind.endswith("part")]
    whole = text
    for remark in reversed(parts):  # all of them may go, together and each alone
        assert selected(text[: remark.begin] + FALSE + text[remark.end :]) == selected(text)
        whole = whole[: remark.begin] + FALSE + whole[remark.end :]
    assert selected(whole) == selected(text)
    if not parts:
        for part in alternatives(locate(text)):
            assert selected(text[: part.begin] + FALSE + text[part.end :]) != selected(text)


def named(*texts: str) -> list[Rule]:
    return [Rule("abc"[number], "uplink", text) for number, text in enumerate(texts)]


def test_overlaps_are_told_with_a_packet_that_both_select() -> None:
    rules = named("proto==TCP && dst_port==80", "proto==TCP && dst_port in 1..90", "proto==UDP")
    (remark,) = review_overlaps([*rules, Rule("a", "downlink", "proto==TCP")])
    assert remark.kind == "overlap"
    assert remark.packet and remark.packet.dst_port == 80
    assert remark.seen == (
        "'a' and 'b' both select a packet with ip_version 4, proto TCP, src_ip 10.45.0.1, src_port 40000, dst_ip"
        " 203.0.113.1, dst_port 80, dscp 0, length 60; all that 'a' selects"
    )
    assert not remark.broken


@settings(derandomize=True, max_examples=120, deadline=None)
@given(st.lists(PORT_EXPRESSIONS, min_size=2, max_size=3))
def test_overlaps_are_those_that_brute_force_finds(expressions: list[Expression]) -> None:
    rules = named(*map(text_of, expressions))
    found = {remark.where: remark for remark in review_overlaps(rules)}
    four = [one for one in PORT_WORLD if one.version == 4]
    for (rule, one), (also, other) in combinations(zip(rules, expressions, strict=True), 2):
        both = any(evaluate(one, packet) and evaluate(other, packet) for packet in four)
        remark = found.get(f"rules {rule.name!r} and {also.name!r} uplink")
        assert (remark is not None) is both
        if remark and remark.packet:
            assert selects(one, remark.packet) and selects(other, remark.packet)
            inside = [
                name.name
                for name, inner, outer in ((rule, one, other), (also, other, one))
                if all(evaluate(outer, packet) for packet in four if evaluate(inner, packet))
            ]
            assert ("; all that" in remark.seen) is bool(inside)
            assert not inside or f"all that {inside[0]!r}" in remark.seen


def test_asymmetry_is_told_with_a_packet_and_the_rule_that_is_missing() -> None:
    rules = [Rule("web", "uplink", WEB_UP), Rule("web", "downlink", WEB_DOWN)]
    assert review_symmetry(rules, USERS) == ()
    (remark,) = review_symmetry([rules[0], Rule("web", "downlink", WEB_UP)], USERS)[:1]
    assert remark.packet and str(remark.packet.src_ip) in UES and remark.packet.dst_port == 80
    assert remark.where == "rules for downlink"
    assert remark.remedy.endswith(f"`{WEB_DOWN}`")
    assert review_symmetry(rules[:1], USERS)[0].seen.endswith(
        "selected for uplink by 'web', its answer is not for downlink"
    )


def back(packet: Packet) -> Packet:
    return packet._replace(src_port=packet.dst_port, dst_port=packet.src_port)


@settings(derandomize=True, max_examples=150, deadline=None)
@given(PORT_EXPRESSIONS, PORT_EXPRESSIONS)
def test_asymmetry_is_what_brute_force_finds(up: Expression, down: Expression) -> None:
    four = [packet for packet in PORT_WORLD if packet.version == 4]
    rules = [Rule("a", "uplink", text_of(up)), Rule("a", "downlink", text_of(down))]
    everybody = Membership("src_ip", (ip_network("0.0.0.0/0"),))
    found = {remark.where.removeprefix("rules for "): remark for remark in review_symmetry(rules, everybody)}
    way: tuple[tuple[Direction, Expression, Expression], ...] = (("downlink", up, down), ("uplink", down, up))
    for other, selecting, answering in way:
        missed = any(evaluate(selecting, packet) and not evaluate(answering, back(packet)) for packet in four)
        assert (other in found) is missed
        if other in found and (packet := found[other].packet):
            assert selects(selecting, packet) and not selects(mirrored(answering), packet)


@settings(derandomize=True, max_examples=100, deadline=None)
@given(PORT_EXPRESSIONS)
def test_a_mirrored_text_is_the_mirrored_rule(expression: Expression) -> None:
    text = text_of(expression)
    assert parse(mirrored_text(text)) == mirrored(parse(text))
    assert mirrored_text(mirrored_text(text)) == text


def test_addresses_are_mirrored_too() -> None:
    assert mirrored_text("src_ip==::1&&!(dst_ip in 10.0.0.0/8)") == "dst_ip==::1&&!(src_ip in 10.0.0.0/8)"


LARGE = {
    **HOSTILE,
    "many alternatives": lambda n: joined(lambda i: f"dst_port == {2 * i} && dst_ip==10.0.{n}.{i % 250}", " || "),
    "alternatives of two": lambda n: joined(lambda i: f"(dscp=={i % 60} && length=={i + n} || src_port=={i})", " || "),
    # what a search for inputs that take long came up with
    "a wide one or a narrow one": lambda n: joined(lambda i: f"(proto<{i % 256} || dst_port>{3 * i} && src_port=={i})"),
    "exceptions one by one": lambda n: joined(lambda i: f"!(!(src_port!={i + n}))"),
    "wide alternatives": lambda n: joined(
        lambda i: f"(dscp<{2 * i % 64} || proto>{97 * i % 256} && length!={i})", "||"
    ),
}


@pytest.mark.parametrize("name", LARGE)
def test_hostile_rules_are_undecided_or_decided_within_their_budget(name: str) -> None:
    rules = [Rule(str(number), "uplink", LARGE[name](number)) for number in range(8)]
    questions: tuple[Callable[[Budget], object], ...] = (
        lambda budget: judge_rule(rules[0].text, budget),
        lambda budget: review_rule(rules[0].text, budget),
        lambda budget: review_overlaps(rules, budget),
        lambda budget: review_symmetry(rules, USERS, budget),
    )
    for question in questions:
        budget = Counted()
        question(budget)
        assert budget.looked <= VALUES_MAX * 1.1


WHOLE = [
    ("ports against ports", Verdict.FAIL),
    ("three fields", Verdict.FAIL),
    ("many alternatives", Verdict.PASS),
    ("exceptions one by one", Verdict.PASS),
    ("wide alternatives", Verdict.PASS),
    ("not this, not that", Verdict.INCONCLUSIVE),  # 32 unions of points: whether they cover all is a hard question
]


@pytest.mark.parametrize(("name", "verdict"), WHOLE)
def test_as_many_rules_as_an_app_may_have_of_the_largest_size(name: str, verdict: Verdict) -> None:
    """What it takes is bounded by what is counted, which no clock need tell."""
    ways: tuple[Direction, Direction] = ("uplink", "downlink")
    rules = [Rule(str(number // 2), ways[number % 2], LARGE[name](number)) for number in range(64)]
    budget = Counted()
    for rule in rules:
        judge_rule(rule.text, budget)
    judge_together(rules, budget)
    assert budget.looked <= VALUES_MAX * 1.1
    assert judge_selection(lens(*rules), PROFILE).verdict is verdict


def test_what_is_undecided_is_said() -> None:
    rules = [Rule(str(number), "uplink", HOSTILE["three fields"](number)) for number in range(2)]
    (judged,) = judge_rule(rules[0].text, Budget(1_000))
    assert (judged.kind, judged.broken) == ("undecided", False)
    assert "too large to decide" in judged.seen
    for review in (judge_together, review_overlaps):
        assert [remark.kind for remark in review(rules, Budget(1_000))] == ["undecided"]
    assert [remark.kind for remark in review_symmetry(rules, USERS, Budget(1_000))] == ["undecided"]


def test_what_was_found_before_it_became_too_large_is_kept() -> None:
    text = f"dst_port==80 && ({' || '.join(['dscp==1'] * 40)})"
    found = review_rule(text, Budget(1_000))
    assert [remark.kind for remark in found[:2]] == ["ports of any protocol", "idle part"]
    assert found[-1].kind == "undecided"
    assert len(found) < len(review_rule(text)) == 40


def test_a_packet_that_fits_is_found_by_the_reference() -> None:
    rules = named("dst_ip in 10.0.0.0/8 && src_ip==10.45.0.9", "!(dst_ip==10.0.0.0)")
    (remark,) = review_overlaps(rules)
    assert remark.packet
    assert all(evaluate(parse(rule.text), as_packet(remark.packet)) for rule in rules)
    assert not selects(Not(parse(rules[0].text)), remark.packet)


def lens(*rules: Rule) -> Application:
    nics = ("service", "user-plane")
    return Application("lens", "transparent", "Vendor", "Lens", "1.0", 1.0, nics, rules)


def test_a_check_fails_for_what_is_broken_and_shows_where() -> None:
    rules = lens(Rule("a", "uplink", "dscp==1 && proto==ICMP && dst_port==80"), Rule("b", "downlink", "ip_version==4"))
    outcome = judge_selection(rules, PROFILE)
    assert outcome.verdict is Verdict.FAIL
    never, everything = outcome.findings
    assert never.seen == "one that no packet can satisfy: packets of that protocol have no ports"
    assert never.where == (
        "descriptor, rule 'a' uplink, character 27\n"
        "  dscp==1 && proto==ICMP && dst_port==80\n"
        "                            ^^^^^^^^^^^^"
    )
    assert everything.where.startswith("descriptor, rule 'b' downlink, character 1\n")


def test_a_check_says_what_is_suspicious_with_its_pass() -> None:
    sound = "2 rules, each with packets to select, none for all"
    rules = lens(Rule("web", "uplink", WEB_UP), Rule("web", "downlink", WEB_DOWN))
    assert judge_selection(rules, PROFILE).reason == sound
    outcome = judge_selection(lens(*rules.rules, Rule("b", "uplink", f"proto==UDP && dscp==1 || {WEB_UP}")), PROFILE)
    assert outcome.verdict is Verdict.PASS
    assert "; no fault, but worth a look: 'web' and 'b' both select" in outcome.reason
    outcome = judge_selection(lens(Rule("a", "uplink", "dst_port==80 || dst_port==80"), rules.rules[1]), PROFILE)
    assert outcome.reason.startswith(f"{sound}; no fault, but worth a look: ports without a protocol")
    assert outcome.reason.endswith("(and 1 more: racs rule --ova)")
    assert "\n" not in outcome.reason


def test_a_check_tells_the_mirror_image_that_is_missing() -> None:
    outcome = judge_symmetry(lens(Rule("a", "uplink", WEB_UP), Rule("a", "downlink", WEB_UP)), PROFILE)
    assert [finding.where for finding in outcome.findings] == [
        "descriptor, rules for downlink", "descriptor, rules for uplink"
    ]  # fmt: skip
    assert all(f"`{WEB_DOWN}`" in finding.remedy for finding in outcome.findings)
