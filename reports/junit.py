"""junit.xml: a suite for each family of requirements, a case for each requirement in scope."""

from itertools import groupby

from junitparser import Failure, JUnitXml, Skipped, TestCase, TestSuite

from conformance.certification import Certification, Judgement
from conformance.verdict import Verdict
from reports.text import describe


def render(certification: Certification) -> bytes:
    """JUnit XML as CI servers read it: a failed MUST is a failure; what has no pass or fail is skipped, and why."""
    document = JUnitXml(f"RACS certification {certification.application.get('id', certification.package_file)}")
    in_scope = [judgement for judgement in certification.judgements if judgement.in_scope]
    for family, judgements in groupby(in_scope, key=lambda judgement: judgement.id.split("-")[0]):
        suite = TestSuite(family)
        suite.timestamp = certification.at
        for judgement in judgements:
            suite.add_testcase(_case(family, judgement))
        document.add_testsuite(suite)
    document.update_statistics()  # type: ignore[no-untyped-call]  # the library has no types
    return bytes(document.tostring())  # type: ignore[no-untyped-call]


def _case(family: str, judgement: Judgement) -> TestCase:
    case = TestCase(f"{judgement.id} {judgement.title}", f"racs.{family}", judgement.seconds)
    if judgement.verdict is Verdict.FAIL and judgement.level == "SHOULD":
        case.system_out = f"warning: {describe(judgement)}"
    elif judgement.verdict is Verdict.FAIL:
        failure = Failure(judgement.reason, "fail")
        failure.text = describe(judgement)
        case.result = [failure]
    elif judgement.verdict is Verdict.PASS:
        case.system_out = describe(judgement)
    else:
        case.result = [Skipped(f"{judgement.verdict}: {judgement.reason}")]
    return case
