"""A finished run as one value: what every report is made from, and its JSON (racs-certification/1). Pure."""

import dataclasses
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from conformance.exitstatus import ExitStatus, worst
from conformance.verdict import Finding, Verdict

SCHEMA = "racs-certification/1"
Scope = Literal["package", "selection", "certification"]
Whole = Literal["pass", "fail", "inconclusive", "error", "interrupted", "nothing ran"]
_VERDICTS: Mapping[ExitStatus, Whole] = {  # usage errors (4) never come this far
    ExitStatus.PASS: "pass",
    ExitStatus.FAIL: "fail",
    ExitStatus.INTERRUPTED: "interrupted",
    ExitStatus.ERROR: "error",
    ExitStatus.NOTHING_RAN: "nothing ran",
    ExitStatus.INCONCLUSIVE: "inconclusive",
}


@dataclass(frozen=True, slots=True)
class Judgement:
    """One requirement's place in a run.

    tests are the pytest items that judged it; stability is "" or "unstable, 2 of 3"; evidence is what a pass rests on.
    """

    id: str
    title: str
    level: str
    subject: str
    source: str
    what: str
    in_force: bool
    in_scope: bool
    verdict: Verdict
    reason: str
    remedy: str
    findings: tuple[Finding, ...] = ()
    seconds: float = 0.0
    tests: tuple[str, ...] = ()
    stability: str = ""
    evidence: tuple[str, ...] = ()

    @property
    def gates(self) -> bool:
        """Whether its verdict can fail or block the whole."""
        return self.in_force and self.in_scope and self.level == "MUST"


@dataclass(frozen=True, slots=True)
class Step:
    """A step of a situation, as the report shows it (keyword, arguments, time, outcome)."""

    situation: str
    keyword: str
    arguments: tuple[str, ...]
    begin: float
    end: float
    outcome: str


@dataclass(frozen=True, slots=True)
class CertificateIdentity:
    """A certificate: its subject for people, SHA-256 over its DER (its fingerprint), and its end (ISO 8601 UTC)."""

    subject: str
    sha256: str
    valid_until: str


@dataclass(frozen=True, slots=True)
class Certification:
    """A run. at is ISO 8601 UTC; digests has package, profile, catalogue, suite; errors are the suite's, a line each.

    profile is its id and profile_file the name of its file where that is not a profile of this suite's, else "".
    chain is what PKG-007 judged, the signer's certificate first; where PKG-007 passes, the last is the trusted root.
    host are facts (name to text); accelerator is "kvm", "tcg" or "" where nothing booted; notes say in sentences
    what a reader has to know beside the verdicts, what could not be built included. evidence has each file's name
    in the run's evidence folder and its SHA-256.
    """

    scope: Scope
    verdict: Whole
    trust: str
    at: str
    duration_s: float
    application: Mapping[str, Any]
    package_file: str
    digests: Mapping[str, str]
    profile: str
    profile_file: str
    suite_version: str
    chain: tuple[CertificateIdentity, ...]
    seed: int
    accelerator: str
    host: Mapping[str, str]
    judgements: tuple[Judgement, ...]
    steps: tuple[Step, ...] = ()
    errors: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    evidence: Mapping[str, str] = field(default_factory=dict)
    selected: tuple[str, ...] = field(default=())

    @property
    def certified(self) -> bool:
        """Whether it is the certification by the contract: all of it passed, by a profile of this suite's own."""
        return self.scope == "certification" and self.verdict == "pass" and not self.profile_file

    @property
    def exit_status(self) -> ExitStatus:
        return next(status for status, verdict in _VERDICTS.items() if verdict == self.verdict)

    def to_json(self, indent: int | None = 1) -> str:
        """The JSON of schema racs-certification/1; on one line without an indent."""
        value = {"schema": SCHEMA, "exit_status": self.exit_status} | dataclasses.asdict(self)
        value["requirements"] = value.pop("judgements")
        return json.dumps(value, indent=indent, default=str) + "\n"


def whole_verdict(judgements: Sequence[Judgement], interrupted: bool, errors: Sequence[str]) -> Whole:
    """The verdict of the whole from its parts: the worst that holds.

    A failed requirement of subject platform is a broken lab (error). An applicable MUST in force and in scope without
    pass or fail makes it inconclusive; nothing judged is never a pass.
    """
    broken = any(j.subject == "platform" and j.verdict is Verdict.FAIL and j.in_force for j in judgements)
    gating = [j for j in judgements if j.gates]
    judged = any(j.verdict in (Verdict.PASS, Verdict.FAIL) for j in judgements)
    could_not_tell = any(j.verdict is Verdict.INCONCLUSIVE for j in gating)
    has_gap = judged and any(j.verdict is Verdict.NOT_JUDGED for j in gating)
    holds = {
        ExitStatus.INTERRUPTED: interrupted,
        ExitStatus.ERROR: bool(errors) or broken,
        ExitStatus.FAIL: any(j.verdict is Verdict.FAIL for j in gating),
        ExitStatus.INCONCLUSIVE: could_not_tell or has_gap,
        ExitStatus.NOTHING_RAN: not judged,
        ExitStatus.PASS: True,
    }
    return _VERDICTS[worst(status for status, held in holds.items() if held)]
