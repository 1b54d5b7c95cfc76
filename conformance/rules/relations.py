"""What is to be said of several offload rules together: overlaps, and answers that are not selected."""

from collections.abc import Iterator, Sequence
from itertools import combinations

from conformance.application import Rule
from conformance.packet import Packet
from conformance.rules.boxes import Budget, Undecided
from conformance.rules.expression import Expression, Membership, Not, Or, evaluate, fields, mirrored
from conformance.rules.language import locate, mirrored_text
from conformance.rules.regions import Fields, Space
from conformance.rules.remark import IPV4, Remark, quoted, undecided
from conformance.rules.words import describe_packet

_OF_A_PACKET = {"dscp", "length"}


def review_overlaps(rules: Sequence[Rule], budget: Budget | None = None) -> tuple[Remark, ...]:
    """Rules of one direction that select the same IPv4 packets, pair by pair. Raises SubjectError as `parse`."""
    found, budget = list[Remark](), budget or Budget()
    for direction in dict.fromkeys(rule.direction for rule in rules):
        try:
            for remark in _overlaps([rule for rule in rules if rule.direction == direction], budget):
                found.append(remark)  # also where the next one is undecided
        except Undecided:
            found.append(undecided(f"rules for {direction}: which of them overlap"))
            break
    return tuple(found)


def _overlaps(rules: Sequence[Rule], budget: Budget) -> Iterator[Remark]:
    """Those of rules of one direction."""
    selected = {rule: locate(rule.text).expression for rule in rules}
    space = Space(*selected.values(), budget=budget)
    for one, other in combinations(selected, 2):
        packet = space.packet(IPV4, selected[one], selected[other])
        if packet is None:
            continue
        inside = [inner.name for inner, outer in ((one, other), (other, one))
                  if space.packet(IPV4, selected[inner], Not(selected[outer])) is None]  # fmt: skip
        seen = f"{one.name!r} and {other.name!r} both select {describe_packet(packet)}"
        more = f"; all that {inside[0]!r} selects" if inside else ""
        remedy = f"delete {inside[0]!r}, or narrow the other" if inside else "narrow one of them, or join them with ||"
        expected, where = "each packet selected by one rule", f"rules {one.name!r} and {other.name!r} {one.direction}"
        yield Remark("overlap", expected, seen + more, where, remedy, packet=packet)


def judge_together(rules: Sequence[Rule], budget: Budget | None = None) -> tuple[Remark, ...]:
    """Directions whose rules, none of which selects everything, together leave no IPv4 packet alone (DSC-005)."""
    found, budget = list[Remark](), budget or Budget()
    for direction in dict.fromkeys(rule.direction for rule in rules):
        where = f"rules for {direction}"
        whole = Or(tuple(locate(rule.text).expression for rule in rules if rule.direction == direction))
        try:
            if Space(whole, budget=budget).packet(IPV4, Not(whole)) is None:
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
    selected = {rule: locate(rule.text).expression for rule in rules}
    found, budget = list[Remark](), budget or Budget()
    for direction, back in (("uplink", "downlink"), ("downlink", "uplink")):
        where = f"rules for {back}"
        ends = users if direction == "uplink" else mirrored(users)
        answers = Not(Or(tuple(mirrored(one) for rule, one in selected.items() if rule.direction == back)))
        whole = Or(tuple(one for rule, one in selected.items() if rule.direction == direction))
        try:
            packet = Space(ends, whole, answers, budget=budget).packet(IPV4, ends, whole, answers)
        except Undecided:
            found.append(undecided(where))
            break
        if packet is None:
            continue
        rule = next(rule for rule, one in selected.items() if rule.direction == direction and selects(one, packet))
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
