"""`racs check` of several packages: on all cores, a process each, shown in the order given as results come."""

import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

from conformance.catalogue import load as load_catalogue
from conformance.checks import package_check
from conformance.exitstatus import ExitStatus, worst
from harness.assembly import suite_digest
from harness.display import render_brief
from harness.options import PackageOptions
from harness.package.batch import Ended, judge_each
from harness.package.checking import judge_package, prepare_json
from harness.package.digest import cores
from harness.package.unchecked import NotChecked
from harness.screen import is_coloured, plain, show


@dataclass(frozen=True, slots=True)
class Judged:
    """What one of several packages came to: exit status and verdict, what a terminal shows of it, its line of JSON."""

    status: ExitStatus
    verdict: str
    text: str
    line: str
    notes: tuple[str, ...] = ()


def check_packages(packages: Sequence[PackageOptions], json_file: str | None) -> ExitStatus:
    """Judge the packages; prints what is to be mended in each and its verdict, or a line of JSON each (JSON Lines).

    One that cannot be opened, or crashes its process, is told as such and the others are judged all the same. Returns
    the worst exit status (design 7). Raises UsageError where the JSON cannot be written.
    """
    prepare_json(json_file)
    _load_once()
    processes, colour = min(cores(), len(packages)), is_coloured(sys.stdout)
    told: list[Judged] = []
    ends = judge_each(len(packages), processes, lambda number: _judge(packages[number], processes, colour))
    try:
        with closing(ends), _lines(json_file) as lines:
            for options, ended in zip(packages, ends, strict=True):
                judged = _judged(options, ended)
                told.append(judged)
                if json_file != "-":
                    show(f"{plain(str(options.ova))}\n{judged.text}\n", sys.stdout)
                if lines:
                    show(judged.line, lines)
    except KeyboardInterrupt:
        show(f"racs: interrupted: {len(told)} of {len(packages)} packages were judged", sys.stderr)
        raise
    if json_file != "-":
        show(_summary(told), sys.stdout)
    return worst(judged.status for judged in told)


def _load_once() -> None:
    """What every process needs is there before they part."""
    from conformance.package import acl, certificate, descriptor, image, manifest  # noqa: F401  # start-up time

    suite_digest()
    for identity in load_catalogue().requirements:
        package_check(identity)


@contextmanager
def _lines(json_file: str | None) -> Iterator[TextIO | None]:
    """Where the lines of JSON go, if anywhere."""
    if json_file is None or json_file == "-":
        yield sys.stdout if json_file else None
        return
    with Path(json_file).open("w", encoding="utf-8") as file:
        yield file


def _judge(options: PackageOptions, processes: int, colour: bool) -> Judged:
    """Judge one package, in a process of its own."""
    judged = judge_package(options, processes)
    if isinstance(judged, NotChecked):
        return _not_checked(judged)
    text, line = render_brief(judged, colour), judged.to_json(indent=None).rstrip()
    return Judged(judged.exit_status, judged.verdict, text, line, judged.notes)


def _judged(options: PackageOptions, ended: Ended[Judged]) -> Judged:
    why = f"error in the suite: {ended.why}: please report it"
    return ended.result or _not_checked(NotChecked(options.ova, ExitStatus.ERROR, why))


def _not_checked(one: NotChecked) -> Judged:
    return Judged(one.exit_status, "not checked", f"NOT CHECKED: {plain(one.why)}", one.to_json(indent=None).rstrip())


def _summary(told: Sequence[Judged]) -> str:
    """The last lines: what every package's reader has to know, and how many came to what."""
    notes = [f"note: {note}" for note in dict.fromkeys(note for judged in told for note in judged.notes)]
    counts = Counter(judged.verdict for judged in told)
    counted = ", ".join(f"{number} {verdict}" for verdict, number in sorted(counts.items()))
    return "\n".join([*notes, f"{len(told)} packages: {counted}"])
