"""What a reader of the package found wrong: a finding, and the id of the requirement that owns the defect."""

from dataclasses import dataclass

from conformance.verdict import Finding


@dataclass(frozen=True, slots=True)
class Fault:
    """One defect of a package. Readers collect them all and never raise on bad content; checks turn them into outcomes
    (contract 1, "Which id")."""

    requirement: str
    finding: Finding
