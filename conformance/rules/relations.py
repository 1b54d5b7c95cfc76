"""What is to be said of several offload rules together: overlaps, and answers that are not selected."""

from collections.abc import Sequence
from itertools import combinations

from conformance.application import Rule
from conformance.packet import Packet
from conformance.rules.analysis import Budget, Fields, Undecided, matches_everything
from conformance.rules.expression import Expression, Membership, Not, Or, evaluate, fields, mirrored
from conformance.rules.language import locate, mirrored_text
from conformance.rules.remark import IPV4, Remark, ask, quoted, undecided
from conformance.rules.simplification import simplified
from conformance.rules.words import describe_packet

_OF_A_PACKET = {"dscp", "length"}


def review_overlaps(rules: Sequence[Rule], budget: Budget | None = None) -> tuple[Remark, ...]:
    """Rules of one direction that select the same IPv4 packets, pair by pair. Raises SubjectError as `parse`."""
    found, budget = list[Remark](), budget or Budget()
    plain = {rule: simplified(locate(rule.text).expression) for rule in rules}
    pairs = [pair for pair in combinations(plain, 2) if pair[0].direction == pair[1].direction]
    for one, other in pairs:
        try:
            packet = ask(budget, IPV4, plain[one], plain[other])
            if packet is None:
                continue
            inside = [inner.name for inner, outer in ((one, other), (other, one))
                      if ask(budget, IPV4, plain[inner], Not(plain[outer])) is None]  # fmt: skip
        except Undecided:
            found.append(undecided(f"rules for {one.direction}: which of them overlap"))
            break
        seen = f"{one.name!r} and {other.name!r} both select {describe_packet(packet)}"
        more = f"; all that {inside[0]!r} selects" if inside else ""
        remedy = f"delete {inside[0]!r}, or narrow the other" if inside else "narrow one of them, or join them with ||"
        expected, where = "each packet selected by one rule", f"rules {one.name!r} and {other.name!r} {one.direction}"
        found.append(Remark("overlap", expected, seen + more, where, remedy, packet=packet))
    return tuple(found)


def judge_together(rules: Sequence[Rule], budget: Budget | None = None) -> tuple[Remark, ...]:
    """Directions whose rules, none of which selects everything, together leave no IPv4 packet alone (DSC-005)."""
    found, budget = list[Remark](), budget or Budget()
    for direction in dict.fromkeys(rule.direction for rule in rules):
        where = f"rules for {direction}"
        whole = simplified(Or(tuple(locate(rule.text).expression for rule in rules if rule.direction == direction)))
        try:
            if matches_everything(whole, 4, budget):
                expected, remedy = "rules that leave some traffic alone", "select only the traffic that the app is for"
                found.append(
                    Remark("matches everything", expected, "all IPv4 packets selected together", where, remedy)
                )
        except Undecided:
            found.append(undecided(where))
    return tuple(found)


def comparable(rules: Sequence[Rule]) -> bool:
    """Whether rules tell which flow a packet belongs to: an answer has a DSCP and a length of its own."""
    return not any(_OF_A_PACKET & fields(locate(rule.text).expression) for rule in rules)


def review_symmetry(rules: Sequence[Rule], users: Membership, budget: Budget | None = None) -> tuple[Remark, ...]:
    """IPv4 packets of UEs (users: those of uplink) that are selected one way and their answers are not.

    Of rules that are `comparable`. Raises SubjectError as `parse`.
    """
    plain = {rule: simplified(locate(rule.text).expression) for rule in rules}
    found, budget = list[Remark](), budget or Budget()
    for direction, back in (("uplink", "downlink"), ("downlink", "uplink")):
        where = f"rules for {back}"
        ends = users if direction == "uplink" else mirrored(users)
        answers = Not(Or(tuple(mirrored(one) for rule, one in plain.items() if rule.direction == back)))
        whole = Or(tuple(one for rule, one in plain.items() if rule.direction == direction))
        try:
            packet = ask(budget, IPV4, ends, whole, answers)
        except Undecided:
            found.append(undecided(where))
            break
        if packet is None:
            continue
        rule = next(rule for rule, one in plain.items() if rule.direction == direction and selects(one, packet))
        seen = f"{describe_packet(packet)} is selected for {direction} by {rule.name!r}, its answer is not for {back}"
        remedy = f"add its mirror image to the rules for {back}: {quoted(mirrored_text(rule.text), 400)}"
        found.append(
            Remark("asymmetric", "the answers to selected packets selected too", seen, where, remedy, packet=packet)
        )
    return tuple(found)


def selects(expression: Expression, found: Fields) -> bool:
    """What the reference says of a packet that has these fields."""
    return evaluate(
        expression,
        Packet(
            b"", found.ip_version, found.proto, int(found.src_ip), int(found.dst_ip), found.src_port, found.dst_port,
            found.dscp, found.length, 64, 0, 0, False, 20, 20, None,
        ),
    )  # fmt: skip
