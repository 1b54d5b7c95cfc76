"""Every report of one finished run: read back by the format's own readers, and hostile text stays text."""

import json
import re
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import pytest
from jsonschema import Draft202012Validator
from junitparser import JUnitXml

from conformance.catalogue import load
from conformance.certification import CertificateIdentity, Certification, Judgement, Step
from conformance.judge import Ledger
from conformance.verdict import Finding, Span, failed, inconclusive, not_applicable, passed
from harness.display import verdict_line
from reports import allure, html, junit, write_reports

SCHEMA = Path(__file__).parents[2] / "conformance" / "data" / "schemas" / "racs-certification-1.json"
HOSTILE = '<script src="http://evil.example/x.js"></script>'


@pytest.fixture
def certification() -> Certification:
    ledger = Ledger(load())
    ledger.add("PKG-001", passed("6 members", ["package:goon.ovf@0"]), "test_package[PKG-001]", 0.1)
    finding = Finding("a beat a second", f"a gap of 4 s {HOSTILE}", "beats", "", ("trace:17",), Span(10, 14))
    ledger.add("HBT-005", failed([finding]))
    ledger.add("PKG-009", failed([Finding("90 days", "12 days")]))
    ledger.add("NTP-002", replace(inconclusive("the host was starved"), findings=(finding,)))
    ledger.add("OFT-001", not_applicable("the app is not transparent"))
    return Certification(
        scope="certification",
        verdict="fail",
        trust="rd",
        at="2026-11-23T12:00:00+00:00",
        duration_s=101.5,
        application={"id": "goon", "product": HOSTILE, "vendor": "Example", "version": "1.0", "type": "terminating"},
        package_file="goon.ova",
        digests={name: "0" * 64 for name in ("package", "suite", "catalogue", "profile")},
        profile="racs-1",
        profile_file="",
        suite_version="0.1.0",
        chain=(
            CertificateIdentity(HOSTILE, "a" * 64, "2027-11-23T12:00:00+00:00"),
            CertificateIdentity("Example root", "b" * 64, "2036-11-23T12:00:00+00:00"),
        ),
        seed=7,
        accelerator="tcg",
        host={"kernel": "6.1"},
        judgements=ledger.judgements("nothing judged it"),
        steps=(Step("steady", "power on", ("drill",), 1.0, 2.5, "ok"),),
        notes=("R&D, not for deployment",),
        evidence={"trace.jsonl": "1" * 64},
    )


def test_json_follows_its_schema(certification: Certification) -> None:
    value = json.loads(certification.to_json())
    Draft202012Validator(json.loads(SCHEMA.read_text())).validate(value)
    assert value["exit_status"] == 1
    assert {r["id"]: r["verdict"] for r in value["requirements"]}["HBT-005"] == "fail"


def test_junit_counts_failed_musts_only(certification: Certification) -> None:
    document = JUnitXml.fromstring(junit.render(certification))
    assert (document.failures, document.tests) == (1, len(certification.judgements))
    cases = {case.name.split()[0]: case for suite in document for case in suite}
    assert "a gap of 4 s" in cases["HBT-005"].result[0].text
    assert cases["PKG-001"].is_passed and cases["PKG-009"].is_passed
    assert cases["NTP-002"].is_skipped and cases["HBT-001"].is_skipped


def cases_of(certification: Certification) -> dict[str, ElementTree.Element]:
    """By id, as a reader that knows nothing of ours finds them."""
    document = ElementTree.fromstring(junit.render(certification))
    return {case.attrib["name"].split()[0]: case for case in document.iter("testcase")}


def properties(element: ElementTree.Element) -> list[tuple[str, str]]:
    return [(one.attrib["name"], one.attrib["value"]) for one in element.findall("properties/property")]


def test_junit_says_what_stands_beside_a_verdict(certification: Certification) -> None:
    unstable = [
        replace(one, stability="unstable, 2 of 3") if one.id == "PKG-001" else one for one in certification.judgements
    ]
    cases = cases_of(replace(certification, judgements=tuple(unstable)))
    assert properties(cases["PKG-001"]) == [
        ("verdict", "pass"),
        ("level", "MUST"),
        ("subject", "app"),
        ("source", load()["PKG-001"].source + " " + load()["PKG-001"].clause),
        ("stability", "unstable, 2 of 3"),
        ("evidence", "package:goon.ovf@0"),
    ]
    assert ("warning", "expected 90 days, saw 12 days") in properties(cases["PKG-009"])
    assert "warning" not in dict(properties(cases["HBT-005"]))
    # what was withdrawn for the host's sake is still to be read
    withdrawn = cases["NTP-002"].findtext("system-out")
    assert cases["NTP-002"].find("skipped") is not None and withdrawn and "a gap of 4 s" in withdrawn


def test_junit_says_what_holds_for_the_whole(certification: Certification) -> None:
    certification = replace(certification, notes=("R&D, not for deployment", "a second note"))
    suites = ElementTree.fromstring(junit.render(certification)).findall("testsuite")
    assert len(suites) > 5
    for suite in suites:
        told = properties(suite)
        assert told[:3] == [("verdict", "fail"), ("scope", "certification"), ("trust", "rd")]
        assert [value for name, value in told if name == "note"] == ["R&D, not for deployment", "a second note"]


def test_junit_shows_errors_of_the_suite(certification: Certification) -> None:
    """Or a run that can vouch for nothing would look like one in which things were skipped."""
    broken = replace(certification, verdict="error", errors=("the lab is broken", "a report could not be written"))
    document = JUnitXml.fromstring(junit.render(broken))
    assert (document.errors, document.tests) == (2, len(certification.judgements) + 2)
    assert "the lab is broken" in junit.render(broken).decode()
    assert JUnitXml.fromstring(junit.render(certification)).errors == 0


def test_what_is_no_xml_fails_no_report(certification: Certification) -> None:
    """A console has colours; a file's name may be no text."""
    odd = Finding("no console line with 'BUG:'", "\x1b[31mBUG:\x00 \udc80\uffff", "start 1", "", ("trace:9",))
    judgements = [replace(one, reason=odd.seen, findings=(odd,)) for one in certification.judgements]
    document = ElementTree.fromstring(junit.render(replace(certification, judgements=tuple(judgements))))
    assert "\\x1b[31mBUG:\\x00 \\udc80\\uffff" in (document.findtext("testsuite/testcase/system-out") or "")


def test_html_is_one_file_and_escapes(certification: Certification) -> None:
    text = html.render(certification).decode()
    assert HOSTILE not in text
    assert "&lt;script" in text
    outside = re.findall(r"""(?:src|href)\s*=\s*["'](?!#)""", text) + re.findall(r"@import|url\(", text)
    assert not outside
    drafts = sum(not j.in_force for j in certification.judgements)
    assert f"<b>{drafts}</b> are drafts" in text
    assert "R&amp;D, not for deployment" in text


def test_every_report_says_what_a_pass_rests_on(certification: Certification) -> None:
    proof = "package:goon.ovf@0"
    document = JUnitXml.fromstring(junit.render(certification))
    cases = {case.name.split()[0]: case for suite in document for case in suite}
    assert proof in cases["PKG-001"].system_out
    assert proof in html.render(certification).decode()
    assert any(proof.encode() in content for content in allure.render(certification).values())
    requirements = {one["id"]: one for one in json.loads(certification.to_json())["requirements"]}
    assert requirements["PKG-001"]["evidence"] == [proof]


def test_html_says_how_to_find_a_packet(certification: Certification) -> None:
    page = html.render(replace(certification, evidence={"trace.jsonl": "00"})).decode()
    assert "<code>realtime_minus_monotonic</code>" in page and "<code>frame.time_epoch</code>" in page


def test_html_links_lead_to_findings(certification: Certification) -> None:
    text = html.render(certification).decode()
    assert set(re.findall(r'href="#([^"]+)"', text)) <= set(re.findall(r' id="([^"]+)"', text))
    assert '<a href="#HBT-005">' in text


def test_html_never_asks_the_app_to_mend_the_lab(certification: Certification) -> None:
    def broken(judgement: Judgement) -> Judgement:
        return replace(judgement, subject="platform") if judgement.id == "HBT-005" else judgement

    text = html.render(replace(certification, judgements=tuple(map(broken, certification.judgements)))).decode()
    assert "The lab is broken" in text and "What to mend" not in text
    assert "The lab is broken" not in html.render(certification).decode()


def test_html_says_certified_only_for_a_whole_pass(certification: Certification) -> None:
    whole = replace(certification, verdict="pass")
    assert "<strong>certified</strong>" in html.render(whole).decode()
    for other in (replace(whole, scope="selection"), replace(whole, scope="package"), certification):
        assert "<strong>certified</strong>" not in html.render(other).decode()


def test_html_says_who_signed_and_by_what_was_judged(certification: Certification) -> None:
    text = html.render(certification).decode()
    assert "a" * 64 in text and "b" * 64 in text and "valid until 2036-11-23" in text
    assert "<b>racs-1</b></td>" in text and "0.1.0 <code>sha256" in text


def test_a_profile_of_another_content_never_certifies(certification: Certification) -> None:
    other = replace(certification, verdict="pass", profile_file="lax.toml")
    text = html.render(other).decode()
    assert "<strong>certified</strong>" not in text and "<strong>pass</strong>" in text
    assert "<b>racs-1</b> of lax.toml, which is not a profile of this suite" in text
    line = verdict_line(other, colour=False)
    assert line.startswith("PASS goon (scope certification, trust rd, profile racs-1 of lax.toml): ")
    assert verdict_line(replace(other, profile_file=""), colour=False).startswith("CERTIFIED goon ")


def test_allure_statuses(certification: Certification) -> None:
    files = allure.render(certification)
    results = [json.loads(content) for name, content in files.items() if name.endswith("-result.json")]
    statuses = {result["historyId"]: result["status"] for result in results}
    expected = {
        "PKG-001": "passed",
        "HBT-005": "failed",
        "PKG-009": "passed",
        "NTP-002": "broken",
        "OFT-001": "skipped",
    }
    assert {name: statuses[name] for name in expected} == expected
    assert files == allure.render(certification)


def test_all_are_written(certification: Certification, tmp_path: Path) -> None:
    write_reports(certification, tmp_path)
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {"certification.json", "report.html", "junit.xml", "allure-results"}


def test_a_report_that_does_not_fit_is_not_there_by_half(certification: Certification, tmp_path: Path) -> None:
    (tmp_path / "junit.xml").mkdir()  # nothing can be moved there
    with pytest.raises(OSError):
        write_reports(certification, tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {"certification.json", "junit.xml"}
