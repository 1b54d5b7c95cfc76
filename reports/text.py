"""A judgement in plain text: what JUnit, Allure and terminals show."""

from conformance.certification import Judgement


def describe(judgement: Judgement) -> str:
    """Reason and findings, a line each part: expected, seen, where, how to mend it, evidence."""
    blocks = [] if judgement.findings else [judgement.reason]
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
