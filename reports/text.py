"""A judgement in plain text: what JUnit, Allure and terminals show."""

from conformance.certification import Judgement


def describe(judgement: Judgement) -> str:
    """Reason and findings, a line each part: expected, seen, where, how to mend it, evidence."""
    rests_on = f"\nevidence  {', '.join(judgement.evidence)}" if judgement.evidence else ""
    blocks = [] if judgement.findings else [judgement.reason + rests_on]
    for finding in judgement.findings:
        parts = (
            ("expected", finding.expected),
            ("seen", finding.seen),
            ("where", finding.where),
            ("mend", finding.remedy or judgement.remedy),
            ("evidence", ", ".join(finding.evidence)),
        )
        blocks.append("\n".join(f"{name:<9} {text}" for name, text in parts if text))
    return "\n\n".join(blocks)
