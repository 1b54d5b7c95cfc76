"""Whole verdicts over a package's bytes, for the tests of packages."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from package_parts import NOW, ROOT, issue

from conformance.catalogue import load as load_catalogue
from conformance.inspection import Inspection
from conformance.judge import judge_package
from conformance.package import Package, open_package
from conformance.package.certificate import Trust
from conformance.package.clusters import GuestDisk
from conformance.package.qcow2 import View, parse
from conformance.profile import load as load_profile
from conformance.verdict import Outcome, Verdict
from harness.inspection.process import inspect

PROFILE = load_profile()
CATALOGUE = load_catalogue()
TRUST = Trust("rd", (issue(ROOT),), NOW)
ALL_IDS = [one.id for one in CATALOGUE.requirements.values() if one.scope == "package"]
# Without what is inside the image (IMG): the corpus's layer "content" alone has images with a guest in them.
IDS = [one for one in ALL_IDS if not one.startswith("IMG")]


@dataclass(frozen=True)
class Judged:
    package: Package
    outcomes: Mapping[str, Outcome]


def judge(folder: Path, data: bytes, trust: Trust = TRUST, inside: bool = False) -> Judged:
    """The verdicts over a package, by what is inside its image too where that is asked for."""
    path = folder / "app.ova"
    path.write_bytes(data)
    package = open_package(path, PROFILE)
    if inside:
        package = _looked_into(package)
    ids = ALL_IDS if inside else IDS
    return Judged(package, {one: judge_package(CATALOGUE[one], package, PROFILE, trust) for one in ids})


def _looked_into(package: Package) -> Package:
    """What harness.inspection.look does, without the process of its own, whose start takes longer than the look."""
    slice_ = package.image
    assert slice_ is not None
    data = package.path.read_bytes()[slice_.offset : slice_.offset + slice_.size]
    view = View(slice_.name, len(data), lambda at, count: data[at : at + count])
    known = [password for _, password in PROFILE["forwarding.passwords"]]
    seen = asdict(inspect(GuestDisk(view, parse(view)), known))
    return replace(package, inspection=Inspection.from_json(json.loads(json.dumps(seen))))


def with_verdict(outcomes: Mapping[str, Outcome], *verdicts: Verdict) -> set[str]:
    return {one for one, outcome in outcomes.items() if outcome.verdict in verdicts}


def failing(folder: Path, data: bytes, trust: Trust = TRUST) -> set[str]:
    return with_verdict(judge(folder, data, trust).outcomes, Verdict.FAIL)
