"""Bounded XML documents of a package (contract 1, "XML"): descriptor and ACL go through the same door.

Two passes. The first is expat's stream of events, which counts and builds nothing, so that a hostile document is
refused in bounded time and memory; the second is lxml's tree with line numbers, over what the first let through.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from xml.parsers import expat

from lxml import etree

from conformance.package.fault import Fault
from conformance.profile import Profile
from conformance.verdict import Finding

PREFIXES = {
    "http://schemas.dmtf.org/ovf/envelope/2": "ovf",
    "http://schemas.dmtf.org/wbem/wscim/1/cim-schema/2/CIM_VirtualSystemSettingData": "vssd",
    "http://schemas.dmtf.org/wbem/wscim/1/cim-schema/2/CIM_ResourceAllocationSettingData": "rasd",
    "http://schemas.dmtf.org/wbem/wscim/1/cim-schema/2/CIM_EthernetPortAllocationSettingData": "epasd",
    "http://schemas.dmtf.org/wbem/wscim/1/cim-schema/2/CIM_StorageAllocationSettingData": "sasd",
    "http://www.w3.org/2001/XMLSchema-instance": "xsi",
    "http://www.w3.org/XML/1998/namespace": "xml",
    "urn:racs:application:1": "racs",
    "urn:racs:acl:1": "acl",
}
FINDINGS_MAX = 10  # of one kind: more are echoes of the first, and a hostile document has thousands
_UTF16_MARKS = (b"\xff\xfe", b"\xfe\xff")


@dataclass(frozen=True, slots=True)
class Document:
    """root is None where the bytes are no document that may be read; faults then say why."""

    root: etree._Element | None
    faults: tuple[Fault, ...] = ()


class _Refused(Exception):
    """The scan stops at the first thing that must not be read on; the fault says which."""

    def __init__(self, fault: Fault) -> None:
        super().__init__(fault.finding.seen)
        self.fault = fault


def parse(data: bytes, profile: Profile, name: str, requirement: str) -> Document:
    """The document in data; name is what findings call it, requirement the id that owns its structure.

    Bounds are PKG-015's (profile table "package"); all else that keeps it from being read is requirement's.
    """
    try:
        encoding = _encoding(data, name, requirement)
    except _Refused as refused:
        return Document(None, (refused.fault,))
    try:
        _Scan(profile, name, requirement).run(data, encoding)
        told = None if encoding == "utf-16" else encoding  # libxml2, once told, takes the big-endian form for noise
        parser = etree.XMLParser(
            encoding=told, resolve_entities=False, no_network=True, load_dtd=False, huge_tree=False,
            remove_comments=True, remove_pis=True,
        )  # fmt: skip
        return Document(etree.fromstring(data, parser))
    except _Refused as refused:
        return Document(None, (refused.fault,))
    except etree.XMLSyntaxError as error:
        return Document(None, (Fault(requirement, _of_namespaces(error, data, encoding, name)),))


def _of_namespaces(error: etree.XMLSyntaxError, data: bytes, encoding: str, name: str) -> Finding:
    """What is left for libxml2 to find: expat was not asked for namespaces."""
    line = error.lineno or 1
    before = data.decode(encoding, "replace").split("\n")[: line - 1]
    offset = len("".join(f"{one}\n" for one in before).encode(encoding))
    seen = str(error.msg).partition(", line ")[0]
    expected = "a well-formed XML document with namespaces"
    return Finding(expected, seen, f"{name}, line {line} (byte {offset})", _MEND_XML)


_MEND_EMPTY = "write it, as the files in examples/goon are"
_MEND_XML = "correct the XML there; `xmllint --noout FILE` shows the same place"


def _encoding(data: bytes, name: str, requirement: str) -> str:
    """UTF-16 by its byte order mark (XML 1.0 4.3.3), else UTF-8: what the document declares must agree."""
    if data.strip(b" \t\r\n"):
        return "utf-16" if data.startswith(_UTF16_MARKS) else "utf-8"
    seen = "nothing but blanks" if data else "an empty file"
    raise _Refused(Fault(requirement, Finding("an XML document", seen, f"{name}, byte 0", _MEND_EMPTY)))


class _Scan:
    """Counts what expat reports and stops at the first bound exceeded. Namespace declarations count as attributes."""

    def __init__(self, profile: Profile, name: str, requirement: str) -> None:
        self._limits = profile["package"]
        self._name = name
        self._requirement = requirement
        self._elements = 0
        self._depth = 0

    def run(self, data: bytes, encoding: str) -> None:
        self._parser = parser = expat.ParserCreate(encoding)
        self._encoding = encoding
        parser.ordered_attributes = True
        parser.XmlDeclHandler = self._declaration
        parser.StartDoctypeDeclHandler = self._doctype
        parser.StartElementHandler = self._start
        parser.EndElementHandler = self._end
        if len(data) > self._limits["xml_bytes_max"]:
            limit = self._limits["xml_bytes_max"]
            raise self._bound("bytes", limit, len(data), f"{self._name}, byte {limit}")
        try:
            parser.Parse(data, True)
        except expat.ExpatError as error:
            where = f"{self._name}, line {error.lineno}, column {error.offset + 1} (byte {parser.ErrorByteIndex})"
            finding = Finding("a well-formed XML document", expat.ErrorString(error.code), where, _MEND_XML)
            raise _Refused(Fault(self._requirement, finding)) from error

    def _where(self) -> str:
        return f"{self._name}, line {self._parser.CurrentLineNumber} (byte {self._parser.CurrentByteIndex})"

    def _bound(self, what: str, limit: int, seen: int, where: str) -> _Refused:
        remedy = "make the document smaller: the contract bounds what a platform has to read"
        return _Refused(Fault("PKG-015", Finding(f"at most {limit} {what}", str(seen), where, remedy)))

    def _declaration(self, version: str, encoding: str | None, standalone: int) -> None:
        if version != "1.0" or (encoding and encoding.lower() != self._encoding):
            seen = f'version="{version}" encoding="{encoding or ""}" in {self._encoding.upper()} bytes'
            remedy = 'save it as UTF-8 and begin it with <?xml version="1.0" encoding="UTF-8"?>'
            finding = Finding("XML 1.0 in UTF-8, or in UTF-16 with its byte order mark", seen, self._where(), remedy)
            raise _Refused(Fault(self._requirement, finding))

    def _doctype(self, name: str, system: str | None, public: str | None, internal: int) -> None:
        remedy = "delete the <!DOCTYPE ...>: entities are refused, whatever they say"
        finding = Finding("no document type declaration", f"<!DOCTYPE {name[:40]}", self._where(), remedy)
        raise _Refused(Fault(self._requirement, finding))

    def _start(self, name: str, attributes: Sequence[str]) -> None:
        self._elements += 1
        self._depth += 1
        for what, count, limit in (
            ("elements", self._elements, self._limits["xml_elements_max"]),
            ("levels of elements", self._depth, self._limits["xml_depth_max"]),
            ("attributes on one element", len(attributes) // 2, self._limits["xml_attributes_max"]),
        ):
            if count > limit:
                raise self._bound(what, limit, count, self._where())

    def _end(self, name: str) -> None:
        self._depth -= 1


def place(name: str, element: etree._Element, attribute: str = "") -> str:
    """Where something stands, for a Finding: document, XPath and line."""
    return f"{name}, {locate(element)}{'/@' + attribute if attribute else ''} (line {element.sourceline})"


def locate(element: etree._Element) -> str:
    """The XPath of an element with the usual prefixes; an index where it has siblings of its name."""
    tree = element.getroottree()
    root, path = tree.getroot(), tree.getelementpath(element)  # {namespace}name[index]/..., from below the root
    steps = [root.tag, *([] if element is root else _STEP.findall(path))]
    nodes = reversed([element, *element.iterancestors()])
    prefixes = {uri: prefix for prefix, uri in element.nsmap.items() if prefix} | PREFIXES
    return "".join(f"/{_spelled(_recount(step, node), prefixes)}" for step, node in zip(steps, nodes, strict=True))


_STEP = re.compile(r"(?:\{[^}]*\})?[^/]+")
_NAMESPACE = re.compile(r"^\{([^}]*)\}")
_INDEX = re.compile(r"\[(\d+)\]$")
_MARK = "taken-out"


def _spelled(step: str, prefixes: Mapping[str, str]) -> str:
    return _NAMESPACE.sub(lambda found: f"{prefixes[found[1]]}:" if found[1] in prefixes else "", step)


def take_out(parent: etree._Element, element: etree._Element) -> None:
    """Take an element out of the tree, leaving a mark by which `locate` counts it still."""
    parent.replace(element, etree.ProcessingInstruction(_MARK, _marked(element)))


def _marked(element: etree._Element) -> str:
    return str(element.tag).replace("?>", "")  # which ends a mark


def _recount(step: str, node: etree._Element) -> str:
    """A step with its index among siblings that were taken out, too."""
    parent = node.getparent()
    if parent is None or next(parent.iterchildren(etree.ProcessingInstruction), None) is None:
        return step
    mark, found = _marked(node), _INDEX.search(step)
    before = sum(one.text == mark for one in node.itersiblings(etree.ProcessingInstruction, preceding=True))
    behind = any(one.text == mark for one in node.itersiblings(etree.ProcessingInstruction))
    if not before and (found or not behind):
        return step
    return f"{_INDEX.sub('', step)}[{before + (int(found[1]) if found else 1)}]"


class Collector:
    """The faults of one document in the order found: at most ten of an id, so that a hostile document stays cheap."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._faults: list[Fault] = []

    def add(
        self, requirement: str, element: etree._Element, expected: str, seen: str, remedy: str, within: str = ""
    ) -> None:
        """Note that something at element breaks this requirement; within says where in its text."""
        if self.count(requirement) < FINDINGS_MAX:
            where = place(self._name, element) + (f", {within}" if within else "")
            self._faults.append(Fault(requirement, Finding(expected, seen, where, remedy)))

    def count(self, requirement: str) -> int:
        """How many faults of this id there are so far."""
        return sum(fault.requirement == requirement for fault in self._faults)

    def extend(self, faults: Iterable[Fault]) -> None:
        """Take over faults that were found elsewhere."""
        self._faults.extend(faults)

    @property
    def faults(self) -> tuple[Fault, ...]:
        return tuple(self._faults)
