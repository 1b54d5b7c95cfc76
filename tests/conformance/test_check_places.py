"""Where a finding stands, for every finding of the corpus: a byte of a member; an XPath and its line; or a rule's text
with a caret under the place."""

import re
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path

import pytest
from corpus import SOUND, Case, build, defects, descriptor_text
from cryptography import x509
from cryptography.x509.oid import NameOID
from judging import IDS, PROFILE, judge
from lxml import etree
from package_parts import NOW, ROOT, issue

from conformance.package import Package
from conformance.package.certificate import Trust
from conformance.package.chain_names import show
from conformance.package.descriptor import read
from conformance.package.document import PREFIXES
from conformance.verdict import Finding, Verdict

_BYTE = re.compile(r"[^\n]+\bbyte (?P<byte>\d+)\b[^\n]*")
_XPATH = re.compile(
    r"(?P<document>descriptor|auth/acl\.xml), (?P<path>(?:/[\w:.-]+(?:\[\d+\])?)+(?:/@[\w:]+)?) \(line (?P<line>\d+)\)"
    r"(?:, rules for (?:uplink|downlink)|, character (?P<at>\d+)\n(?P<rule>[^\n]*)\n(?P<blanks> *)\^+)?"
)
_CARET = re.compile(r"descriptor, rule '[^\n]*, character (?P<at>\d+)\n(?P<rule>[^\n]+)\n(?P<blanks> *)\^+")


@pytest.mark.parametrize("case", [pytest.param(case, id=case.identity) for case in defects() if case.fails in IDS])
def test_every_finding_says_where_and_what_to_do(case: Case, tmp_path: Path) -> None:
    judged = judge(tmp_path, build(case))
    findings = [
        finding
        for outcome in judged.outcomes.values()
        if outcome.verdict is Verdict.FAIL
        for finding in outcome.findings
    ]
    assert findings
    for finding in findings:
        assert_is_a_place(finding.where, judged.package)
        assert_is_plain(finding, judged.package)


def assert_is_a_place(where: str, package: Package) -> None:
    if found := _BYTE.fullmatch(where):
        assert int(found["byte"]) <= package.size, where
    elif found := _XPATH.fullmatch(where):
        suffix = ".ovf" if found["document"] == "descriptor" else found["document"]
        member = package.archive.sole(suffix)
        assert member and member.content is not None
        assert not found["at"] or len(found["blanks"]) <= len(found["rule"]), where  # the end of the text counts
        assert 1 <= int(found["line"]) <= member.content.replace(b"\r", b"\n").count(b"\n") + 1, where
    else:
        found = _CARET.fullmatch(where)
        assert found, f"no place: {where!r}"
        assert len(found["blanks"]) < len(found["rule"]), where


def assert_is_plain(finding: Finding, package: Package) -> None:
    """No text is missing, none is another program's or a repr of ours, and commands name the package's own files."""
    for text in (finding.expected, finding.seen, finding.remedy):
        assert text and text == text.strip(), finding
        assert all(character.isprintable() for character in text), finding
    assert "Element '" not in finding.seen and "{http" not in finding.seen, finding
    if package.archive.sole(".ovf"):
        assert not re.search(r"\bNAME\.", finding.remedy), finding


OPTIONAL = (
    '<ovf:Item ovf:required="false"><rasd:ElementName>sound</rasd:ElementName>'
    "<rasd:InstanceID>99</rasd:InstanceID><rasd:ResourceType>35</rasd:ResourceType></ovf:Item>"
)


@pytest.mark.parametrize("places", [(), (0,), (2, 2, 4), (5, 6), (6,)])
def test_an_xpath_counts_what_was_passed_over(places: Sequence[int]) -> None:
    """Optional hardware that the profile does not know is taken out before the rest is judged: before these items."""
    parts = descriptor_text(SOUND).replace(">21</rasd:ResourceType>", ">35</rasd:ResourceType>").split("<ovf:Item>")
    head, *items = [part if number == 0 else f"<ovf:Item>{part}" for number, part in enumerate(parts)]
    last, end, tail = items[-1].partition("</ovf:Item>")
    items = [*items[:-1], last + end, tail]
    text = head + "".join(OPTIONAL * places.count(number) + item for number, item in enumerate(items))
    (fault,) = (one for one in read(text.encode(), PROFILE).faults if one.requirement == "DSC-012")
    found = _XPATH.fullmatch(fault.finding.where)
    assert found
    namespaces = {prefix: uri for uri, prefix in PREFIXES.items() if prefix != "xml"}
    hits = etree.fromstring(text.encode()).xpath(found["path"], namespaces=namespaces)
    assert isinstance(hits, list)
    (hit,) = hits
    assert isinstance(hit, etree._Element)
    assert hit.findtext("{*}ElementName") == "Console"
    assert str(hit.sourceline) == found["line"]


def test_a_root_that_was_not_delivered_is_told_at_what_it_issued(tmp_path: Path) -> None:
    at = NOW + timedelta(days=9000)
    findings = judge(tmp_path, build(), Trust("rd", (issue(ROOT),), at)).outcomes["PKG-007"].findings
    wheres = [finding.where for finding in findings]
    assert [where.partition(" (")[0] for where in wheres] == [
        "app.cert, line 2",
        "app.cert, line 11",
        "app.cert, line 11",
    ]
    assert wheres[2].endswith("the certificate of CN=middle, and the root that issued it, CN=root")
    data = (tmp_path / "app.ova").read_bytes()
    for where in wheres:
        byte = re.search(r"(\d+) of the archive", where)
        assert byte and data[int(byte[1]) :].startswith(b"-----BEGIN CERTIFICATE-----")


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("R&D, not for deployment", r"CN=R&D\, not for deployment"),
        ("a\\b", r"CN=a\\b"),
        ("x" * 64, "CN=" + "x" * 64),
        ("a\nb\x9b", r"CN=a\0Ab\C2\9B"),
        ("\u202eetoor", r"CN=\E2\80\AEetoor"),
    ],
)
def test_names_are_shown_whole_as_rfc_4514_writes_them(value: str, shown: str) -> None:
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, value)])
    assert show(name) == shown
    long = x509.Name([x509.NameAttribute(NameOID.ORGANIZATIONAL_UNIT_NAME, f"{n} " * 30) for n in range(10, 17)])
    assert show(long) == long.rfc4514_string()
