"""junit.xml: a suite for each family of requirements, a case for each requirement in scope."""

import re
from collections.abc import Iterable, Mapping
from itertools import groupby

from junitparser import Error, Failure, JUnitXml, Properties, Property, Skipped, TestCase, TestSuite

from conformance.certification import Certification, Judgement
from conformance.verdict import Verdict
from reports.text import describe

# what XML 1.0 has no room for (clause 2.2): colours on a console, bytes in a name that are no text
_NO_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def render(certification: Certification) -> bytes:
    """JUnit XML as CI servers read it: a failed MUST is a failure; what has no pass or fail is skipped, and why.

    What stands beside a verdict is in properties, of the case as pytest writes them, and for the whole of each suite;
    the whole text of a judgement is its case's output. An error in the suite is a case of its own.
    """
    document = JUnitXml(_text(f"RACS certification {certification.application.get('id', certification.package_file)}"))
    in_scope = [judgement for judgement in certification.judgements if judgement.in_scope]
    for family, judgements in groupby(in_scope, key=lambda judgement: judgement.id.split("-")[0]):
        document.add_testsuite(_suite(certification, family, map(_case, judgements)))
    if certification.errors:
        document.add_testsuite(_suite(certification, "suite", map(_error, certification.errors)))
    document.update_statistics()  # type: ignore[no-untyped-call]  # the library has no types
    return bytes(document.tostring())  # type: ignore[no-untyped-call]


def _suite(certification: Certification, name: str, cases: Iterable[TestCase]) -> TestSuite:
    suite = TestSuite(name)
    suite.timestamp = certification.at
    facts = {
        "verdict": certification.verdict,
        "scope": certification.scope,
        "trust": certification.trust,
        "profile": certification.profile,
        "package.sha256": certification.digests.get("package", ""),
    }
    for key, value in (*facts.items(), *(("note", note) for note in certification.notes)):
        suite.add_property(key, _text(value))
    for case in cases:
        suite.add_testcase(case)
    return suite


def _case(judgement: Judgement) -> TestCase:
    case = TestCase(f"{judgement.id} {judgement.title}", f"racs.{judgement.id.split('-')[0]}", judgement.seconds)
    failed = judgement.verdict is Verdict.FAIL
    warning = judgement.reason if failed and judgement.level == "SHOULD" else ""
    facts = {
        "verdict": str(judgement.verdict),
        "level": judgement.level,
        "subject": judgement.subject,
        "source": judgement.source,
        "warning": warning,
        "stability": judgement.stability,
        "evidence": ", ".join(judgement.evidence),
    }
    case.append(_properties(facts))  # type: ignore[no-untyped-call]  # the library has no types
    if failed and not warning:
        failure = Failure(_text(judgement.reason), "fail")
        failure.text = _text(describe(judgement))
        case.result = [failure]
    elif not failed and judgement.verdict is not Verdict.PASS:
        case.result = [Skipped(_text(f"{judgement.verdict}: {judgement.reason}"))]
    case.system_out = _text(f"warning: {describe(judgement)}" if warning else describe(judgement))
    return case


def _error(line: str) -> TestCase:
    case = TestCase("error in the suite", "racs.suite", 0.0)
    case.result = [Error(_text(line), "error")]
    return case


def _properties(facts: Mapping[str, str]) -> Properties:
    """Those that are not empty."""
    properties = Properties()  # type: ignore[no-untyped-call]  # the library has no types
    for key, value in facts.items():
        if value:
            properties.add_property(Property(key, _text(value)))
    return properties


def _text(text: str) -> str:
    return _NO_XML.sub(lambda found: found[0].encode("unicode_escape").decode("ascii"), text)
