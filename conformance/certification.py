"""A finished run as one value: what every report is made from, and its JSON (racs-certification/1). Pure."""

import dataclasses
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from conformance.verdict import Finding, Verdict

SCHEMA = "racs-certification/1"
Scope = Literal["package", "selection", "certification"]
Whole = Literal["pass", "fail", "inconclusive", "error", "interrupted", "nothing ran"]


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
    def exit_status(self) -> int:
        """Design 6; usage errors (4) never come this far."""
        return {"pass": 0, "fail": 1, "interrupted": 2, "error": 3, "nothing ran": 5, "inconclusive": 6}[self.verdict]

    def to_json(self, indent: int | None = 1) -> str:
        """The JSON of schema racs-certification/1; on one line without an indent."""
        value = {"schema": SCHEMA, "exit_status": self.exit_status} | dataclasses.asdict(self)
        value["requirements"] = value.pop("judgements")
        return json.dumps(value, indent=indent, ensure_ascii=False, default=str) + "\n"


def whole_verdict(judgements: Sequence[Judgement], interrupted: bool, errors: Sequence[str]) -> Whole:
    """The verdict of the whole from its parts, in design 6's order: 2, 3, 1, 6, 5, 0.

    A failed requirement of subject platform is a broken lab (error). An applicable MUST in force and in scope without
    pass or fail makes it inconclusive; nothing judged is never a pass.
    """
    if interrupted:
        return "interrupted"
    broken = any(j.subject == "platform" and j.verdict is Verdict.FAIL and j.in_force for j in judgements)
    if errors or broken:
        return "error"
    gating = [j for j in judgements if j.gates]
    if any(j.verdict is Verdict.FAIL for j in gating):
        return "fail"
    judged = [j for j in judgements if j.verdict in (Verdict.PASS, Verdict.FAIL)]
    open_ones = [j for j in gating if j.verdict in (Verdict.INCONCLUSIVE, Verdict.NOT_JUDGED)]
    if open_ones and (judged or any(j.verdict is Verdict.INCONCLUSIVE for j in open_ones)):
        return "inconclusive"
    return "pass" if judged else "nothing ran"
