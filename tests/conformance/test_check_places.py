"""Where a finding stands, for every finding of the corpus: a byte of a member; an XPath and its line; or a rule's text
with a caret under the place."""

import re
from pathlib import Path

import pytest
from corpus import Case, build, defects
from judging import IDS, judge

from conformance.package import Package
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
