"""auth/acl.xml: what an app may publish and subscribe (contract 5), and MQTT's topic filters (MQTT 5.0 section 4.7)."""

import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import TYPE_CHECKING, cast

from conformance.application import Access, Permission
from conformance.package.fault import Fault
from conformance.profile import Profile
from conformance.verdict import Finding

if TYPE_CHECKING:
    from lxml import etree

PATH = "auth/acl.xml"
_NAMESPACE = "urn:racs:acl:1"
_BYTES_MAX = 65535  # MQTT 5.0 1.5.4: a UTF-8 string's length is two bytes


@dataclass(frozen=True, slots=True)
class AccessList:
    """The ACL as read. application is the id that it names, "" for none; permissions are all that could be read."""

    faults: tuple[Fault, ...]
    application: str = ""
    permissions: tuple[Permission, ...] = ()
    where: str = field(default=PATH, compare=False)
    """Where it names the application."""


def read(data: bytes, profile: Profile) -> AccessList:
    """Read auth/acl.xml; bad content becomes faults of PKG-012 (document), 013 (grants), 014 (shadowed rules) and 015.

    The grants are judged for the application that the ACL names; whether that is the descriptor's is for the caller.
    """
    from conformance.package import document, schema  # lxml: only who reads a package pays for its import

    parsed = document.parse(data, profile, PATH, "PKG-012")
    if parsed.root is None:
        return AccessList(parsed.faults)
    findings = schema.validate(parsed.root, "racs-acl.xsd", PATH)
    application = parsed.root.get("application", "")
    rules = [_Rule.of(element) for element in parsed.root.iter(f"{{{_NAMESPACE}}}allow")]
    where = document.place(PATH, parsed.root, "application")
    faults = [Fault("PKG-012", finding) for finding in findings]
    if not findings:
        sound = [rule for rule in rules if not _overreach(rule.permission, application)]
        faults += islice(_excessive(rules, application), document.FINDINGS_MAX)
        faults += islice(_shadowed(sound), document.FINDINGS_MAX)
    return AccessList(tuple(faults), application, tuple(rule.permission for rule in rules if rule.readable), where)


@dataclass(frozen=True, slots=True)
class _Rule:
    permission: Permission
    element: "etree._Element"

    @classmethod
    def of(cls, element: "etree._Element") -> "_Rule":
        return cls(Permission(cast(Access, element.get("access", "")), element.get("topic", "")), element)

    @property
    def readable(self) -> bool:
        return self.permission.access in ("publish", "subscribe") and bool(self.permission.topic)

    @property
    def where(self) -> str:
        from conformance.package import document  # see read

        return document.place(PATH, self.element)


def _excessive(rules: Sequence[_Rule], application: str) -> Iterator[Fault]:
    for rule in rules:
        defect = _overreach(rule.permission, application)
        if defect:
            expected, remedy = defect
            seen = f"{rule.permission.access} {rule.permission.topic[:80]!r}"
            yield Fault("PKG-013", Finding(expected, seen, rule.where, remedy))


def _shadowed(sound: Sequence[_Rule]) -> Iterator[Fault]:
    """Of the rules that PKG-013 lets stand: a SHOULD that follows from a failed MUST is not reported besides."""
    known: dict[Access, _Known] = {"publish": _Known(), "subscribe": _Known()}
    for rule in sound:
        known[rule.permission.access].add(rule)
    for rule in sound:
        wider = known[rule.permission.access].wider(rule)
        if wider:
            access, topic = rule.permission.access, rule.permission.topic
            seen = f"{access} {topic!r}, covered by {wider.permission.topic!r} ({wider.where})"
            remedy = "keep the narrower rule if it is enough, else delete it"
            yield Fault("PKG-014", Finding("no rule that another one covers", seen, rule.where, remedy))


class _Known:
    """Rules by the levels of their filters: 10,000 of them are compared in bounded time, unlike pair by pair.

    Holds no filter that begins with a wildcard: PKG-013 has refused those.
    """

    def __init__(self) -> None:
        self._next: dict[str, _Known] = {}
        self._rule: _Rule | None = None

    def add(self, rule: _Rule) -> None:
        """Put a rule at the end of its levels; of two equal filters the first stays."""
        node = self
        for level in rule.permission.topic.split("/"):
            node = node._next.setdefault(level, _Known())
        node._rule = node._rule or rule

    def wider(self, rule: _Rule) -> _Rule | None:
        """Another rule whose filter covers this one's (see `covers`)."""
        levels = rule.permission.topic.split("/")
        stack = [(self, 0)]
        while stack:
            node, index = stack.pop()
            ends = [node._next["#"]] if "#" in node._next else []
            if index == len(levels):
                ends.append(node)
            elif levels[index] != "#":
                stack += [(node._next[key], index + 1) for key in {levels[index], "+"} if key in node._next]
            for end in ends:
                if end._rule and end._rule is not rule:
                    return end._rule
        return None


def _overreach(permission: Permission, application: str) -> tuple[str, str] | None:
    """What the platform would have expected and what to do, for a rule that it never grants (contract 5); else None."""
    defect = filter_defect(permission.topic)
    if defect:
        return f"a valid MQTT topic filter, but {defect}", "by MQTT 4.7, + and # fill a whole level and # stands last"
    own = f"app/{application}/"
    if permission.access == "publish":
        allowed: tuple[str, ...] = (own,)
    else:
        allowed = ("racs/cell/", "racs/ue/", "racs/area/", f"racs/{own}", own)
    if permission.topic.startswith(allowed):
        return None
    return f"an app may {permission.access} only below {', '.join(allowed)}", "name the topics that the app really uses"


def filter_defect(topic_filter: str) -> str:
    """What makes this no topic filter by MQTT 5.0 4.7.1 and 4.7.3, or ""."""
    if not topic_filter:
        return "it is empty"
    if any(unicodedata.category(one) == "Cc" for one in topic_filter):  # 1.5.4: a server may close on them, ours does
        return "it holds a control character"
    if len(topic_filter.encode("utf-8", "replace")) > _BYTES_MAX:
        return f"it is longer than {_BYTES_MAX} bytes"
    levels = topic_filter.split("/")
    if any(len(level) > 1 and ("#" in level or "+" in level) for level in levels):
        return "a wildcard shares its level with other characters"
    return "# is not the last level" if "#" in levels[:-1] else ""


def matches(topic_filter: str, topic: str) -> bool:
    """Whether a topic name matches a topic filter (MQTT 5.0 4.7). Filters and names that are none match nothing."""
    if filter_defect(topic_filter) or filter_defect(topic) or "#" in topic or "+" in topic:
        return False
    return covers(topic_filter, topic)


def covers(topic_filter: str, other: str) -> bool:
    """Whether every topic that filter other matches is matched by topic_filter. Both are valid filters.

    A topic name is a filter that matches itself. Comparing level by level is exact, as there is no end of level names.
    """
    wide, narrow = topic_filter.split("/"), other.split("/")
    if narrow[0].startswith("$") and wide[0] in ("#", "+"):
        return False  # 4.7.2: a filter that begins with a wildcard matches no topic that begins with $
    if narrow == ["#"] and wide == ["+", "#"]:
        return True  # every topic has a first level
    for index, level in enumerate(wide):
        if level == "#":
            return True  # 4.7.1.2: the parent level included, so narrow may end here
        if index == len(narrow) or narrow[index] == "#" or level not in ("+", narrow[index]):
            return False
    return len(wide) == len(narrow)


def decide(permissions: Sequence[Permission], access: Access, topic: str) -> Permission | None:
    """The permission that allows it, the first in order; None: denied, as all that nothing allows (contract 5).

    For "publish" topic is a topic name, for "subscribe" a topic filter, of which one permission must allow all.
    """
    if filter_defect(topic):
        return None
    allows = matches if access == "publish" else covers
    return next((p for p in permissions if p.access == access and allows(p.topic, topic)), None)
