"""What is to be said of one offload rule before a packet comes: what is broken, and what is only suspicious.

Every statement is exact (`analysis`) or is not made: what is too large to be decided is told as such.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from conformance.rules.boxes import Budget, Undecided
from conformance.rules.expression import And, Comparison, Expression, Membership, Not, Or, fields
from conformance.rules.language import Located, locate, point_at
from conformance.rules.regions import Space, spans
from conformance.rules.remark import IPV4, Kind, Remark, quoted, undecided

_ADDRESSES, _PORTS = {"src_ip", "dst_ip"}, {"src_port", "dst_port"}
_NOTHING = Membership("ip_version", ())  # holds for no packet


@dataclass(frozen=True, slots=True)
class _Given:
    """What holds beside a part of a rule; text is "" where it is not written so in the rule."""

    expression: Expression
    text: str = ""


def judge_rule(text: str, budget: Budget | None = None) -> tuple[Remark, ...]:
    """Why one rule is broken, one remark at most; or that it is undecided. Raises SubjectError as `parse`."""
    whole = locate(text)
    try:
        return tuple(_Review(text, whole, budget or Budget()).faults(whole))
    except Undecided:
        return (undecided(point_at(text, 0, len(text))),)


def review_rule(text: str, budget: Budget | None = None) -> tuple[Remark, ...]:
    """What is suspicious of a rule that is not broken, in the order of its text. Raises as `judge_rule`."""
    whole, found, last = locate(text), list[Remark](), tuple[Remark, ...]()
    try:
        _Review(text, whole, budget or Budget()).look_through(whole, found)
    except Undecided:  # what was found before is true all the same
        last = (undecided(point_at(text, 0, len(text))),)
    return (*sorted(found, key=lambda remark: remark.begin), *last)


class _Review:
    """One rule's text."""

    def __init__(self, text: str, whole: Located, budget: Budget) -> None:
        self._text = text
        self._space = Space(whole.expression, budget=budget)

    def faults(self, whole: Located) -> Iterator[Remark]:
        expected, remedy = "a rule that selects some IPv4 packets", "correct the condition, or delete the rule"
        if not self._never(IPV4, whole.expression):
            if self._never(IPV4, Not(whole.expression)):
                expected, remedy = "rules that leave some traffic alone", "select only the traffic that the app is for"
                yield self._remark("matches everything", expected, "all IPv4 packets selected", remedy, whole)
        elif not self._never(whole.expression):
            seen, remedy = "one that selects IPv6 packets only", "apps of this profile are IPv4: all else bypasses them"
            yield self._remark("IPv6 only", expected, seen, remedy, whole)
        else:
            try:
                part, why = self._culprit(whole, ())
            except Undecided:  # that it never matches is known all the same
                part, why = whole, ""
            seen = f"one that no packet can satisfy{why and ': '}{why}"
            yield self._remark("never matches", expected, seen, remedy, part)

    def look_through(self, whole: Located, found: list[Remark]) -> None:
        """Add what is suspicious."""
        found.extend(self._ports(whole))
        self._left(whole, (_Given(IPV4),), found)  # all else bypasses the app, whatever a rule says of it

    def _ports(self, whole: Located) -> Iterator[Remark]:
        named = fields(whole.expression)
        if named & _PORTS and "proto" not in named:
            leaf = next(leaf for leaf in _leaves(whole) if fields(leaf.expression) & _PORTS)
            seen = "ports without a protocol: those of TCP, UDP, DCCP, SCTP and UDP-Lite are all meant"
            remedy = "say which, such as proto==TCP && or proto in {TCP, UDP} &&"
            yield self._remark("ports of any protocol", "the protocol beside its ports", seen, remedy, leaf)

    def _left(self, located: Located, given: tuple[_Given, ...], found: list[Remark]) -> Expression:
        """What is left of an expression without the parts that change nothing where all of given holds beside it.

        found gets a remark for each. One after the other is left out, so that all of them may go.
        """
        match located.expression:
            case Not():
                inner = located.parts[0]
                if self._never(*_expressions(given), inner.expression):
                    found.append(self._dead(located, inner, given, "the exception never applies"))
                    return Not(_NOTHING)
                return Not(self._left(inner, given, found))
            case And():
                left = [_Given(part.expression, self._words(part)) for part in located.parts]
                for number, part in enumerate(located.parts):
                    beside = (*given, *left[:number], *left[number + 1 :])
                    left[number] = replace(left[number], expression=self._left(part, beside, found))
                return And(_expressions(left))
            case Or():
                return self._alternatives(located, given, found)
        return located.expression

    def _alternatives(self, located: Located, given: tuple[_Given, ...], found: list[Remark]) -> Expression:
        kept = list(located.parts)
        for part in reversed(located.parts):  # of two that say the same the first one stays
            others = [other for other in kept if other is not part]
            remark = self._alternative(part, others, given)
            if remark:
                found.append(remark)
                kept = others
        left = [part.expression for part in kept]
        for number, part in enumerate(kept):
            beside = Not(Or((*left[:number], *left[number + 1 :])))
            left[number] = self._left(part, (*given, _Given(beside)), found)
        return Or(tuple(left))

    def _alternative(self, part: Located, others: Sequence[Located], given: tuple[_Given, ...]) -> Remark | None:
        beside = _expressions(given)
        if self._never(*beside, part.expression):
            return self._dead(part, part, given, "it never holds")
        covered = Not(Or(tuple(other.expression for other in others)))
        if not others or not self._never(*beside, part.expression, covered):
            return None
        covers = (other for other in others if self._never(*beside, part.expression, Not(other.expression)))
        by = next(covers, None)
        where = f"{self._shown(by)} selects all its packets" if by else "others select all its packets together"
        seen = f"{self._shown(part)} adds nothing: {where}"
        return self._remark("idle part", "alternatives that each add packets", seen, "delete it, or correct it", part)

    def _dead(self, part: Located, inner: Located, given: tuple[_Given, ...], what: str) -> Remark:
        culprit, why = inner, "for it selects IPv6 packets only, which always bypass the app"
        if self._never(*_expressions(given[1:]), inner.expression):  # the first is that it is IPv4
            culprit, why = self._culprit(inner, given[1:])
        seen = f"{self._shown(part)}: {what}{why and ', '}{why}"
        remedy = "correct it, or delete it: the rule selects the same without it"
        return replace(self._remark("dead part", "parts that can hold", seen, remedy, inner), where=self._at(culprit))

    def _culprit(self, located: Located, given: tuple[_Given, ...]) -> tuple[Located, str]:
        """The first part at which something that never holds has become so, and why where that can be said simply."""
        if isinstance(located.expression, And):
            before = given
            for part in located.parts:
                if self._never(*_expressions(before), part.expression):
                    return self._culprit(part, before)
                before = (*before, _Given(part.expression, self._words(part)))
        if self._never(located.expression):
            return located, _reason_alone(located.expression)
        for one in given:
            if self._never(one.expression, located.expression):
                return located, _reason(located.expression, one)
        return located, "what else is asked rules it out" if given else ""

    def _never(self, *parts: Expression) -> bool:
        return self._space.packet(*parts) is None

    def _words(self, located: Located) -> str:
        return self._text[located.begin : located.end]

    def _shown(self, located: Located) -> str:
        return quoted(self._words(located))

    def _remark(self, kind: Kind, expected: str, seen: str, remedy: str, part: Located) -> Remark:
        return Remark(kind, expected, seen, self._at(part), remedy, part.begin, part.end)

    def _at(self, located: Located) -> str:
        return point_at(self._text, located.begin, located.end - located.begin)


def _expressions(given: Sequence[_Given]) -> tuple[Expression, ...]:
    return tuple(one.expression for one in given)


def _leaves(located: Located) -> Iterator[Located]:
    for part in located.parts:
        yield from _leaves(part)
    if not located.parts:
        yield located


def _reason_alone(expression: Expression) -> str:
    if not isinstance(expression, Comparison | Membership):
        return ""
    if not spans(expression):
        return "the range ends below its beginning" if isinstance(expression, Membership) else "there is no such value"
    if expression.field == "ip_version":
        return "there are IP versions 4 and 6 only"
    return "no IP packet is that short, its header included" if expression.field == "length" else ""


def _reason(expression: Expression, other: _Given) -> str:
    """Why a part cannot hold beside another, by the fields of both."""
    here, there = fields(expression), fields(other.expression)
    both = here | there
    if both <= _PORTS | {"proto"} and both & _PORTS and "proto" in here ^ there:
        return "packets of that protocol have no ports"
    if both <= _ADDRESSES | {"ip_version"} and here != there:
        return "a packet is of one IP version, and so are its addresses"
    if "length" in both and here != there:
        return "no such packet is that short, its headers included"
    return f"{quoted(other.text)} rules it out" if other.text else "what else is asked rules it out"
