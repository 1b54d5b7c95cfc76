"""What a terminal shows: the verdict table and findings. Results go to standard output, progress to standard error."""

import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from conformance.certification import Certification, Judgement
from conformance.verdict import Outcome, Verdict
from harness.screen import plain, plain_lines, show

_COLOURS = {
    Verdict.PASS: "32",
    Verdict.FAIL: "31;1",
    Verdict.INCONCLUSIVE: "33",
    Verdict.NOT_APPLICABLE: "2",
    Verdict.NOT_JUDGED: "2",
}
_WHOLE_COLOURS = {"pass": "32;1", "fail": "31;1", "error": "31;1"}


def render_certification(certification: Certification, report: Path | None, colour: bool) -> str:
    """The verdict table, the findings under it, the report's path and the verdict line."""
    in_force = [j for j in certification.judgements if j.in_force and j.in_scope]
    lines = [_row(judgement, colour) for judgement in in_force]
    lines += [_findings(judgement) for judgement in in_force if judgement.findings]
    drafts = sum(not j.in_force for j in certification.judgements)
    lines.append(
        f"\n{len(in_force)} requirements in force and in scope; {drafts} drafts are not judged yet (racs list)"
    )
    lines += [f"note: {plain(note)}" for note in certification.notes]
    lines += [f"error in the suite: {plain_lines(error)}" for error in certification.errors]
    if report is not None:
        lines.append(f"report: {report}")
    lines.append(verdict_line(certification, colour))
    return "\n".join(lines)


def render_brief(certification: Certification, colour: bool) -> str:
    """One package of several: what did not pass, the findings, and the verdict line; notes are for the end of all.

    What is not judged stands in one line for each reason: a broken archive leaves thirty ids open.
    """
    in_force = [j for j in certification.judgements if j.in_force and j.in_scope]
    settled = (Verdict.PASS, Verdict.NOT_APPLICABLE, Verdict.NOT_JUDGED)
    lines = [_row(judgement, colour) for judgement in in_force if judgement.verdict not in settled]
    unjudged: dict[str, list[str]] = {}
    for judgement in in_force:
        if judgement.verdict is Verdict.NOT_JUDGED:
            unjudged.setdefault(judgement.reason, []).append(judgement.id)
    lines += [f"not judged, as {plain(reason)}: {', '.join(ids)}" for reason, ids in unjudged.items()]
    lines += [_findings(judgement) for judgement in in_force if judgement.findings]
    lines += [f"error in the suite: {plain_lines(error)}" for error in certification.errors]
    return "\n".join([*lines, *([""] if lines else []), verdict_line(certification, colour)])


def verdict_line(certification: Certification, colour: bool) -> str:
    """The last line: the verdict of the whole, its scope, trust profile and counts."""
    counts = Counter(_verdict(j) for j in certification.judgements if j.in_force and j.in_scope)
    counted = ", ".join(f"{number} {verdict}" for verdict, number in sorted(counts.items()))
    name = certification.application.get("id", certification.package_file)
    text = "CERTIFIED" if certification.certified else certification.verdict.upper()
    by = f"scope {certification.scope}, trust {certification.trust}"
    if certification.profile_file:
        by += f", profile {certification.profile} of {certification.profile_file}"
    painted = _paint(text, _WHOLE_COLOURS.get(certification.verdict, "33;1"), colour)
    return f"{painted} {plain(str(name))} ({by}): {counted or 'nothing judged'}"


def write_json(text: str, target: str) -> None:
    """Write a result's JSON to a file, or to standard output for "-". Raises OSError."""
    if target == "-":
        show(text.rstrip(), sys.stdout)
        return
    try:
        Path(target).write_text(text, encoding="utf-8")
    except OSError as error:  # a full disk has no name of its own
        raise OSError(error.errno, error.strerror, target) from error


def describe(outcome: Outcome) -> str:
    """A failed outcome as the text that pytest shows."""
    parts: list[str] = []
    for finding in outcome.findings:
        rows: Sequence[tuple[str, str]] = (
            ("expected", finding.expected),
            ("seen", finding.seen),
            ("where", finding.where),
            ("mend", finding.remedy),
            ("evidence", ", ".join(finding.evidence)),
        )
        parts.append("\n".join(f"{name:<9} {text}" for name, text in rows if text))
    return "\n\n".join(parts)


def _verdict(judgement: Judgement) -> str:
    """As shown: a SHOULD that does not hold warns."""
    if judgement.verdict is Verdict.FAIL and judgement.level == "SHOULD":
        return "warning"
    return str(judgement.verdict)


def _row(judgement: Judgement, colour: bool) -> str:
    """A judgement in a line; why it is so, unless findings below say it."""
    text = _verdict(judgement)
    painted = _paint(f"{text:<14}", "33" if text == "warning" else _COLOURS[judgement.verdict], colour)
    reason = judgement.stability or ("" if judgement.findings else judgement.reason)
    return f"{judgement.id}  {painted} {judgement.title}" + (f"  [{plain(reason)}]" if reason else "")


def _findings(judgement: Judgement) -> str:
    """The findings of a judgement; a remedy that several in a row share stands under the last of them."""
    lines = [f"\n{judgement.id} {judgement.title}"]
    remedies = [finding.remedy or judgement.remedy for finding in judgement.findings]
    for finding, remedy, next_remedy in zip(judgement.findings, remedies, [*remedies[1:], ""], strict=True):
        parts = (
            ("expected", finding.expected),
            ("seen", finding.seen),
            ("where", finding.where),
            ("mend", "" if remedy == next_remedy else remedy),
            ("evidence", ", ".join(finding.evidence)),
        )
        lines += [f"  {name:<9} {plain_lines(text)}" for name, text in parts if text]
        lines.append("")
    return "\n".join(lines).rstrip()


def _paint(text: str, code: str, colour: bool) -> str:
    return f"\x1b[{code}m{text}\x1b[0m" if colour else text
