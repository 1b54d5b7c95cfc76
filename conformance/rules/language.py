"""The offload rule language of contract 6: from text to an expression. What expressions mean: `expression`.

4==ip_version && proto==TCP && (80==dst_port || 8080==dst_port)
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cache, lru_cache
from ipaddress import ip_address, ip_network
from typing import TYPE_CHECKING, Any

from conformance.application import Direction, Rule
from conformance.errors import SubjectError
from conformance.rules.expression import (
    FIELDS,
    And,
    Comparison,
    Expression,
    Membership,
    Network,
    Not,
    Or,
    Range,
    Value,
    compile_rule,
    evaluate,
)

if TYPE_CHECKING:
    from lark import Lark, Token, Tree

__all__ = [
    "Expression", "Located", "ParsedRule", "compile_rule", "evaluate", "locate", "mirrored_text", "parse", "point_at",
    "read_rules",
]  # fmt: skip

CHARACTERS_MAX = 4096  # racs-1's package.rule_characters_max, for callers without a profile
DEPTH_MAX = 32  # package.rule_depth_max
_DIGITS_MAX = 10  # contract 1, bounds
_POINTED_MAX = 80  # characters that a caret stands under, and
_AROUND = 40  # those shown before and after them
_SIGNS = {"=": "==", "&": "&& (in a descriptor &amp;&amp;)", "|": "||"}  # what is written for it in other languages

# IANA "Assigned Internet Protocol Numbers"; upper and lower case are the same
PROTOCOLS = {
    "ICMP": 1, "IGMP": 2, "TCP": 6, "UDP": 17, "DCCP": 33, "GRE": 47, "ESP": 50, "AH": 51, "ICMPV6": 58, "OSPF": 89,
    "SCTP": 132, "UDPLITE": 136,
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class ParsedRule:
    name: str
    direction: Direction
    expression: Expression


@dataclass(frozen=True, slots=True)
class Located:
    """An expression and where it stands in the rule's text, with those that it is joined of."""

    expression: Expression
    begin: int
    end: int
    parts: "tuple[Located, ...]" = ()


_GRAMMAR = r"""
?start: or
?or: and ("||" and)*
?and: not ("&&" not)*
?not: "!" not -> negation | "(" or ")" | comparison
?comparison: WORD ORDER WORD -> order | WORD "in" WORD -> inside | WORD "in" WORD ".." WORD -> range
    | WORD "in" "{" WORD ("," WORD)* "}" -> set
ORDER: "==" | "!=" | "<=" | ">=" | "<" | ">"
WORD: /([A-Za-z0-9_:\/]|\.(?!\.))+/
%ignore /\s+/
"""


def parse(text: str, characters_max: int = CHARACTERS_MAX, depth_max: int = DEPTH_MAX) -> Expression:
    """The expression of a rule's text. Raises SubjectError, whose `where` shows the text, a caret under the fault.

    Exceeded bounds name their requirement, PKG-015.
    """
    return locate(text, characters_max, depth_max).expression


def locate(text: str, characters_max: int = CHARACTERS_MAX, depth_max: int = DEPTH_MAX) -> Located:
    """The same with the place of every part. Raises as `parse`."""
    return _parsed(text, characters_max, depth_max)


def mirrored_text(text: str) -> str:
    """A rule's text with source and destination exchanged, as it is written otherwise: what selects the answers."""
    return re.sub(r"\b(src|dst)(?=_(ip|port)\b)", lambda found: {"src": "dst", "dst": "src"}[found[0]], text)


@lru_cache(maxsize=128)  # a package's rules are asked for several times; these are as many as it may have
def _parsed(text: str, characters_max: int, depth_max: int) -> Located:
    from lark.exceptions import UnexpectedInput  # lark costs 50 ms: only where a rule is read

    if len(text) > characters_max:
        expected, remedy = f"a rule of at most {characters_max} characters", "shorten or split it"
        raise _exceeded(SubjectError(expected, f"{len(text)}"), remedy)
    _bound_depth(text, depth_max)
    try:
        tree = _parser().parse(text)
    except UnexpectedInput as error:
        token = getattr(error, "token", None)  # none where a character begins no token at all
        begin = error.pos_in_stream or 0
        seen = str(token) if token is not None else text[begin]
        expected = "comparisons such as dst_port == 80, joined by &&, || and !"
        if not seen:
            raise _fault(text, len(text.rstrip()), 1, expected, "the end of the rule") from None
        remedy = f"write {_SIGNS[seen]}" if seen in _SIGNS else ""
        raise _fault(text, begin, len(seen), expected, repr(seen), remedy) from None
    return _Builder(text).build(tree)


def read_rules(
    rules: Sequence[Rule], characters_max: int = CHARACTERS_MAX, depth_max: int = DEPTH_MAX
) -> tuple[ParsedRule, ...]:
    """All rules of an app, parsed. Raises SubjectError on the first faulty one and on two of a name and direction."""
    seen: dict[tuple[str, str], Rule] = {}
    parsed = []
    for rule in rules:
        if (rule.name, rule.direction) in seen:
            where = f"rule {rule.name!r} {rule.direction}"
            raise SubjectError("one rule of a name and direction", "two", where, "join them with || or rename one")
        seen[rule.name, rule.direction] = rule
        parsed.append(ParsedRule(rule.name, rule.direction, parse(rule.text, characters_max, depth_max)))
    return tuple(parsed)


@cache
def _parser() -> "Lark":
    from lark import Lark

    return Lark(_GRAMMAR, parser="lalr", propagate_positions=True)


def _bound_depth(text: str, depth_max: int) -> None:
    """Levels are parentheses and negations; bounded before parsing, so that no hostile rule exhausts the stack."""
    open_levels: list[int] = []
    pending = 0
    for match in re.finditer(r"!(?!=)|[()]|[^\s()!]+", text):
        token = match.group()
        if token == "!":
            pending += 1
        elif token == "(":
            open_levels.append(pending + 1)
            pending = 0
        else:
            pending = 0
            if token == ")" and open_levels:
                open_levels.pop()
        if sum(open_levels) + pending > depth_max:
            expected = f"at most {depth_max} levels of parentheses and !"
            remedy = "take away parentheses that change nothing, or split the rule in two"
            raise _exceeded(_fault(text, match.start(), 1, expected, "more"), remedy)


def _exceeded(fault: SubjectError, remedy: str) -> SubjectError:
    """A bound has an owner of its own; what else is wrong with a rule is its reader's to name."""
    return SubjectError(fault.expected, fault.seen, fault.where, remedy, "PKG-015")


def _fault(text: str, at: int, length: int, expected: str, seen: str, remedy: str = "") -> SubjectError:
    return SubjectError(expected, seen, point_at(text, at, length), remedy)


def point_at(text: str, at: int, length: int) -> str:
    """Three lines: the place, the text, carets under it; what is long is shown with 40 characters before and after."""
    length = max(1, min(length, _POINTED_MAX))
    begin, end = max(0, at - _AROUND), min(len(text), at + length + _AROUND)
    excerpt = "".join(" " if character.isspace() else character for character in text[begin:end])
    caret = " " * (at - begin) + "^" * max(1, min(length, end - at))
    return f"character {at + 1}\n  {excerpt}\n  {caret}"


class _Builder:
    """Turns lark's tree into an expression and holds every operand to its field's type."""

    def __init__(self, text: str) -> None:
        self._text = text

    def build(self, tree: "Tree[Token]") -> Located:
        children: list[Any] = tree.children
        kind = str(tree.data)
        parts = tuple(self.build(child) for child in children) if kind in ("or", "and", "negation") else ()
        operands = tuple(part.expression for part in parts)
        expression: Expression
        match kind:
            case "or":
                expression = Or(operands)
            case "and":
                expression = And(operands)
            case "negation":
                expression = Not(operands[0])
            case "order":
                expression = self._order(*children)
            case _:
                expression = self._membership(kind, *children)
        return Located(expression, tree.meta.start_pos, tree.meta.end_pos, parts)

    def _membership(self, kind: str, name: "Token", *operands: "Token") -> Membership:
        field = self._field(name)
        if kind == "inside":
            return Membership(field, (self._network(field, operands[0]),))
        values = tuple(self._value(field, operand) for operand in operands)
        if kind == "set":
            return Membership(field, values)
        low, high = values
        if type(low) is not type(high):
            raise self._wrong(operands[1], f"an address of the same IP version as {low}")
        return Membership(field, (Range(low, high),))

    def _order(self, left: "Token", order: "Token", right: "Token") -> Comparison:
        if left in FIELDS and right in FIELDS:
            raise self._wrong(right, f"a value to compare {left} with, not another field")
        sign: Any = str(order)
        if left not in FIELDS and right in FIELDS:
            left, right, sign = right, left, _MIRRORED[sign]
        if left not in FIELDS and (left[0].isdigit() or left.upper() in PROTOCOLS):
            left, right = right, left  # of two words that are no field, the one that is no value was meant as one
        field = self._field(left)
        if FIELDS[field] is None and "/" in right:
            network = f"{field} in {right}"
            remedy = f"write {network if sign == '==' else f'!({network})'}"
            raise self._wrong(right, f"an IP address for {field}", remedy)
        value = self._value(field, right)
        if not isinstance(value, int) and sign not in ("==", "!="):
            raise self._wrong(order, "== or !=, addresses have no order (a network is `in` a CIDR)")
        return Comparison(field, sign, value)

    def _field(self, token: "Token") -> str:
        if token not in FIELDS:
            meant = get_close_matches(token.lower(), FIELDS, 1)
            raise self._wrong(
                token, f"one of the fields {', '.join(FIELDS)}", *(f"did you mean {one}?" for one in meant)
            )
        return str(token)

    def _value(self, field: str, token: "Token") -> Value:
        largest = FIELDS[field]
        if largest is None:
            try:
                return ip_address(str(token))
            except ValueError:
                raise self._wrong(token, f"an IP address for {field}") from None
        if field == "proto" and token.upper() in PROTOCOLS:
            return PROTOCOLS[token.upper()]
        if not re.fullmatch("[0-9]+", token):
            kind = "a protocol's number or name" if field == "proto" else "a number"
            raise self._wrong(token, f"{kind} for {field}")
        self._bound_digits(token, token)
        if int(token) > largest:
            raise self._wrong(token, f"a number from 0 to {largest} for {field}", f"write a number from 0 to {largest}")
        return int(token)

    def _network(self, field: str, token: "Token") -> Network:
        if FIELDS[field] is not None or "/" not in token:
            expected = "a CIDR, a range a..b or" if FIELDS[field] is None else "a range a..b or"
            raise self._wrong(token, f"{expected} a set {{a, b}} behind `{field} in`")
        address, _, length = token.partition("/")
        self._bound_digits(token, length)
        try:
            network = ip_network((address, int(length)), strict=False)
        except ValueError:
            raise self._wrong(token, "a CIDR such as 203.0.113.0/24") from None
        if network.network_address != ip_address(address):
            raise self._wrong(token, f"no host bits in a CIDR: {network}", f"write {network}")
        return network

    def _bound_digits(self, token: "Token", digits: str) -> None:
        if digits.isdigit() and len(digits) > _DIGITS_MAX:
            expected, seen = f"numbers of at most {_DIGITS_MAX} digits", f"{len(digits)} digits"
            remedy = "write the number without leading zeros"
            raise _exceeded(_fault(self._text, token.start_pos or 0, len(token), expected, seen), remedy)

    def _wrong(self, token: "Token", expected: str, remedy: str = "") -> SubjectError:
        return _fault(self._text, token.start_pos or 0, len(token), expected, repr(str(token)), remedy)


_MIRRORED = {"==": "==", "!=": "!=", "<": ">", "<=": ">=", ">": "<", ">=": "<="}
