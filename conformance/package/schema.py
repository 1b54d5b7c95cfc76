"""What a schema has against a document, in the words of a finding: the element or attribute, what stood there, and what
is allowed. libxml2 judges; its own sentences speak to who knows XML Schema."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from importlib import resources
from pathlib import Path

from lxml import etree

from conformance.package.document import FINDINGS_MAX, PREFIXES, place
from conformance.verdict import Finding

_SHOWN_MAX = 40  # characters of a value
_CHOICES_MAX = 6
_ACL = "racs-acl.xsd"
_ACL_ATTRIBUTES = {"acl": "application", "allow": "access and topic"}
_VALUES = {
    "Port": "a port, a number from 1 to 65535",
    "Datagram": "bytes in hex, two digits each",
    "boolean": '"true" or "false"',
    "unsignedShort": "a whole number from 0 to 65535",
    "unsignedInt": "a whole number, not below 0",
    "unsignedLong": "a whole number, not below 0",
}


@cache
def _schema(file: str) -> etree.XMLSchema:
    path = Path(str(resources.files("conformance") / "data" / "schemas" / file))
    return etree.XMLSchema(etree.parse(str(path), etree.XMLParser(no_network=True)))


def validate(root: etree._Element, schema: str, name: str) -> tuple[Finding, ...]:
    """What data/schemas/SCHEMA, with what it imports, has against the tree: at most ten findings, in document order."""
    rules = _schema(schema)
    if rules.validate(root):
        return ()
    found: dict[tuple[str, str], Finding] = {}
    for error in rules.error_log:  # type: ignore[attr-defined]  # lxml-stubs forget that a log is iterable
        element = _resolve(root, error.path)
        words = _words(error.message, element, schema)
        where = place(name, element, words.attribute)
        finding = Finding(words.expected, words.seen, where, _remedy(error.message, schema))
        found.setdefault((where, words.seen), finding)
        if len(found) == FINDINGS_MAX:
            break
    return tuple(found.values())


def _resolve(root: etree._Element, path: str | None) -> etree._Element:
    """The element at libxml2's path, step by step with the prefixes of the document; the last that can be followed."""
    node = root
    for step in (path or "").split("/")[2:]:
        name, _, index = step.rstrip("]").partition("[")
        same = [child for child in node.iterchildren(etree.Element) if name in ("*", _spelled(child))]
        at = int(index) - 1 if index.isdigit() else 0
        if at >= len(same):
            break
        node = same[at]
    return node


def _spelled(element: etree._Element) -> str:
    local = etree.QName(element).localname
    return f"{element.prefix}:{local}" if element.prefix else local


@dataclass(frozen=True, slots=True)
class _Words:
    """attribute is the one that the finding speaks of where it stands there, "" for the element as a whole."""

    expected: str
    seen: str
    attribute: str = ""


_REQUIRED = re.compile(r".*The attribute '([^']+)' is required but missing\.", re.DOTALL)
_REFUSED = re.compile(r".*The attribute '([^']+)' is not allowed\.", re.DOTALL)
_CHOICE = re.compile(r".*is not an element of the set \{(.*)\}\.", re.DOTALL)
_PATTERN = re.compile(r".*is not accepted by the pattern '(.*)'\.", re.DOTALL)
_TYPE = re.compile(r".*is not a valid value of the (?:local )?\w+ type(?: '(?:\{[^}]*\}|xs:)?(\w+)')?\.", re.DOTALL)
_MISSING = re.compile(r".*Missing child element\(s\)\. Expected is (?:one of )?\( (.*) \)\.", re.DOTALL)
_OTHER = re.compile(r".*This element is not expected\.(?: Expected is (?:one of )?\( (.*) \)\.)?", re.DOTALL)
_ATTRIBUTE = re.compile(r"Element '[^']*', attribute '([^']+)'")


def _words(message: str, element: etree._Element, schema: str) -> _Words:
    shown = _name(element.tag)
    if found := _REQUIRED.fullmatch(message):
        return _Words(f"the attribute {_name(found[1])} on {shown}", "none")
    if found := _REFUSED.fullmatch(message):
        own = _ACL_ATTRIBUTES.get(etree.QName(element).localname) if schema == _ACL else None
        expected = f"{shown} with {own} only" if own else f"no attribute {_name(found[1])} on {shown}"
        return _Words(expected, _value(element, found[1]), _name(found[1]))
    if found := _CHOICE.fullmatch(message) or _PATTERN.fullmatch(message) or _TYPE.fullmatch(message):
        subject = _ATTRIBUTE.match(message)
        attribute = subject[1] if subject else ""
        about = f"{_name(attribute)} of {shown}" if attribute else shown
        return _Words(f"{_allowed(found)} as {about}", _value(element, attribute), attribute and _name(attribute))
    if found := _MISSING.fullmatch(message):
        return _Words(f"{_choices(found[1])} in {shown}", f"{shown} without")
    if found := _OTHER.fullmatch(message):
        above = element.getparent()
        inside = f" in {_name(above.tag)}" if above is not None else ""
        return _Words(_choices(found[1]) + f" here{inside}" if found[1] else f"nothing more{inside}", shown)
    return _of_content(message, element, shown, schema)


def _of_content(message: str, element: etree._Element, shown: str, schema: str) -> _Words:
    if "No matching global declaration available for the validation root" in message:
        namespace = etree.QName(element).namespace
        expected = "the root element acl of namespace urn:racs:acl:1" if schema == _ACL else "an Envelope of OVF 2"
        return _Words(expected, f"{etree.QName(element).localname} of namespace {namespace or 'none'}")
    if "Character content" in message:
        texts = (element.text, *(child.tail for child in element))
        text = next((text.strip() for text in texts if text and text.strip()), "")
        return _Words(f"no text in {shown}", f"the text {_quoted(text)}")
    if "Element content is not allowed" in message:
        return _Words(f"no elements in {shown}", ", ".join(_name(child.tag) for child in list(element)[:_CHOICES_MAX]))
    for namespace, prefix in PREFIXES.items():  # what is left is rare: a wildcard's, an abstract element's
        message = message.replace(f"{{{namespace}}}", f"{prefix}:")
    reason = message.partition(": ")[2].rstrip(".") or message
    return _Words(f"{shown} as the schema {schema} has it", " ".join(reason.split()))


def _allowed(found: re.Match[str]) -> str:
    """What may stand there, by the facet or type that refused it."""
    if found.re is _CHOICE:
        return " or ".join(f'"{choice}"' for choice in re.findall(r"'([^']*)'", found[1]))
    if found.re is _PATTERN:
        return f"a value of the form {found[1]}"
    return _VALUES.get(found[1] or "", f"a value of type {found[1]}" if found[1] else "another value")


def _choices(listed: str) -> str:
    """libxml2's list of elements: A, or one of A, B."""
    tags = [tag for tag in listed.split(", ") if not tag.startswith("##")]
    names = [_name(tag) for tag in tags]
    if len(tags) < len(listed.split(", ")):
        names.append("an element of another namespace")
    more = f" and {len(names) - _CHOICES_MAX} more" if len(names) > _CHOICES_MAX else ""
    return (f"one of {', '.join(names[:_CHOICES_MAX])}" if len(names) > 1 else names[0]) + more


def _name(tag: object) -> str:
    """A tag or an attribute's name with the usual prefix; as {namespace}name where there is none for it."""
    text = str(tag)
    namespace, _, local = text[1:].rpartition("}") if text.startswith("{") else ("", "", text)
    if not namespace:
        return local
    return f"{PREFIXES[namespace]}:{local}" if namespace in PREFIXES else f"{local} of namespace {namespace}"


def _value(element: etree._Element, attribute: str) -> str:
    if attribute:
        return f"{_name(attribute)}={_quoted(element.get(attribute, ''))}"
    return _quoted((element.text or "").strip())


def _quoted(text: str) -> str:
    plain = " ".join(text.split())
    return f'"{plain[:_SHOWN_MAX]}{"…" if len(plain) > _SHOWN_MAX else ""}"'


# What real tools write that the standard's schema refuses, and what to do about it.
_REMEDIES = (
    ("SettingData.xsd", "drop the `.xsd` at the end of the CIM namespaces: the schema of OVF 2 spells them without"),
    ("EthernetPortItem': This element is not expected",
     "put Item first, then EthernetPortItem, then StorageItem: the order is part of the schema"),
    ("AllocationSettingData}",
     "give each hardware item ElementName and InstanceID, children in alphabetical order, all in the item's namespace"),
    ("not expected", "compare the order and the names of the elements with examples/goon/goon.ovf"),
    ("", "compare it with examples/goon/goon.ovf"),
)  # fmt: skip
_ACL_REMEDIES = (
    ("No matching global declaration",
     'begin with <acl xmlns="urn:racs:acl:1" application="ID">, as examples/goon/auth/acl.xml does'),
    ("'enumeration'", 'write access="publish" or access="subscribe"; an app that does both has a rule for each'),
    ("is required but missing", "add the attribute, without a prefix, as in examples/goon/auth/acl.xml"),
    ("", "compare it with examples/goon/auth/acl.xml: allow elements with access and topic, and nothing else"),
)  # fmt: skip


def _remedy(message: str, schema: str) -> str:
    missing = _REQUIRED.fullmatch(message)
    if missing and schema != _ACL:
        name = _name(missing[1])
        return f'add {name}="..." to the element, {"with its" if ":" in name else "without a"} prefix'
    remedies: Iterable[tuple[str, str]] = _ACL_REMEDIES if schema == _ACL else _REMEDIES
    return next(remedy for mark, remedy in remedies if mark in message)
