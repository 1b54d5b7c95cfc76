"""Whole verdicts over a package's bytes, for the tests of packages."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from package_parts import NOW, ROOT, issue

from conformance.catalogue import load as load_catalogue
from conformance.judge import judge_package
from conformance.package import Package, open_package
from conformance.package.certificate import Trust
from conformance.profile import load as load_profile
from conformance.verdict import Outcome, Verdict

PROFILE = load_profile()
CATALOGUE = load_catalogue()
TRUST = Trust("rd", (issue(ROOT),), NOW)
# What is inside the image (IMG) is judged over real file systems elsewhere.
IDS = [one.id for one in CATALOGUE.requirements.values() if one.scope == "package" and not one.id.startswith("IMG")]


@dataclass(frozen=True)
class Judged:
    package: Package
    outcomes: Mapping[str, Outcome]


def judge(folder: Path, data: bytes, trust: Trust = TRUST) -> Judged:
    path = folder / "app.ova"
    path.write_bytes(data)
    package = open_package(path, PROFILE)
    return Judged(package, {one: judge_package(CATALOGUE[one], package, PROFILE, trust) for one in IDS})


def with_verdict(outcomes: Mapping[str, Outcome], *verdicts: Verdict) -> set[str]:
    return {one for one, outcome in outcomes.items() if outcome.verdict in verdicts}


def failing(folder: Path, data: bytes, trust: Trust = TRUST) -> set[str]:
    return with_verdict(judge(folder, data, trust).outcomes, Verdict.FAIL)
