"""allure-results/: one result for each requirement in scope, in the model of allure-python-commons."""

import json
import uuid
from collections.abc import Mapping
from datetime import datetime

import attr
from allure_commons.model2 import Label, Parameter, StatusDetails, TestResult

from conformance.certification import Certification, Judgement
from conformance.verdict import Verdict
from reports.text import describe

_STATUS = {Verdict.PASS: "passed", Verdict.FAIL: "failed", Verdict.INCONCLUSIVE: "broken"}


def render(certification: Certification) -> Mapping[str, bytes]:
    """File name to content. Same certification, same files: identifiers are derived, not drawn."""
    files = {
        f"{_identity(certification, judgement.id)}-result.json": _encode(_result(certification, judgement))
        for judgement in certification.judgements
        if judgement.in_scope
    }
    facts = {
        "verdict": certification.verdict,
        "scope": certification.scope,
        "trust": certification.trust,
        "profile": certification.profile,
        "profile.file": certification.profile_file,
        "suite.version": certification.suite_version,
        "seed": str(certification.seed),
        "package.sha256": certification.digests.get("package", ""),
    }
    lines = [f"{name}={value}" for name, value in (facts | dict(certification.host)).items()]
    files["environment.properties"] = "\n".join(line.replace("\n", " ") for line in lines).encode() + b"\n"
    return files


def _identity(certification: Certification, requirement: str) -> uuid.UUID:
    return uuid.uuid5(uuid.NAMESPACE_URL, f"urn:racs:{certification.at}:{certification.digests}:{requirement}")


def _result(certification: Certification, judgement: Judgement) -> TestResult:
    begin = int(datetime.fromisoformat(certification.at).timestamp() * 1000)
    warning = judgement.verdict is Verdict.FAIL and judgement.level == "SHOULD"
    return TestResult(
        uuid=str(_identity(certification, judgement.id)),
        historyId=judgement.id,
        testCaseId=judgement.id,
        fullName=f"racs.{judgement.id}",
        name=f"{judgement.id} {judgement.title}",
        description=judgement.what,
        status="passed" if warning else _STATUS.get(judgement.verdict, "skipped"),
        statusDetails=StatusDetails(message=judgement.reason, trace=describe(judgement)),
        stage="finished",
        start=begin,
        stop=begin + int(judgement.seconds * 1000),
        labels=[
            Label("suite", judgement.id.split("-")[0]),
            Label("severity", "critical" if judgement.level == "MUST" else "minor"),
            Label("framework", "racs-conformance"),
            *([Label("tag", "warning")] if warning else []),
        ],
        parameters=[Parameter("verdict", str(judgement.verdict)), Parameter("source", judgement.source)],
    )


def _encode(result: TestResult) -> bytes:
    value = attr.asdict(result, filter=lambda _, item: item not in (None, []))
    return json.dumps(value, ensure_ascii=False, indent=1).encode()
