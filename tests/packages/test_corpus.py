"""The corpus, package by package: a single defect fails its one id, what is right fails none (contract 1)."""

import re
from collections import Counter
from collections.abc import Mapping
from operator import sub
from pathlib import Path

import pytest
from content_parts import SECRET
from corpus import SOUND, Case, build, defects, load, variations
from judging import ALL_IDS, PROFILE, judge, with_verdict

from conformance.judge import not_bootable
from conformance.package import Package
from conformance.rules.language import read_rules
from conformance.verdict import Outcome, Verdict

# Single defects and valid variations of each layer.
LEAST = {
    "archive": (111, 10),
    "manifest": (44, 2),
    "certificate": (76, 22),
    "xml": (44, 20),
    "descriptor": (240, 59),
    "rules": (54, 15),
    "acl": (57, 7),
    "image": (103, 27),
    "content": (146, 69),
}
ALONE_LEAST = 4  # defects that fail an id and no other


@pytest.mark.parametrize("case", [pytest.param(case, id=case.identity) for case in (SOUND, *load())])
def test_exactly_its_ids_fail(case: Case, tmp_path: Path) -> None:
    """All else passes, or is not judged for the very id that failed; and what would be booted can be."""
    judged = judge(tmp_path, build(case), inside=case.layer == "content")
    outcomes = judged.outcomes
    failed = with_verdict(outcomes, Verdict.FAIL)
    assert failed == case.failing(), {one: outcomes[one].reason for one in failed}
    open_ = with_verdict(outcomes, Verdict.NOT_JUDGED, Verdict.INCONCLUSIVE)
    for one in open_ - case.undecided.keys():
        named = set(re.findall(r"[A-Z]{3}-\d{3}", outcomes[one].reason))
        assert named & failed, f"{one} is open for none of what failed: {outcomes[one].reason}"
    assert case.undecided.keys() <= open_
    for one in failed:
        assert outcomes[one].findings
        for finding in outcomes[one].findings:
            assert finding.expected and finding.seen and finding.where and finding.remedy, one
    if not not_bootable(outcomes):
        assert_a_lab_can_be_built(judged.package)
    if case.layer == "content":
        assert_named_and_not_shown(case, outcomes)


def assert_named_and_not_shown(case: Case, outcomes: Mapping[str, Outcome]) -> None:
    """What is in a file is told by the file's place; and no report holds a secret."""
    told = " ".join(finding.where for one in case.failing() for finding in outcomes[one].findings)
    if case.fails in ("IMG-002", "IMG-003", "IMG-004"):
        assert any(step["path"] in told for step in case.steps if "path" in step), told
    assert SECRET[:40] not in str(outcomes) and SECRET[:40].upper() not in str(outcomes)


def assert_a_lab_can_be_built(package: Package) -> None:
    application = package.application
    assert application is not None
    assert application.nics[0] == "service" and len(application.nics) in (2, 3)
    assert len(read_rules(application.rules)) == len(application.rules)
    low, high = PROFILE["forwarding.ports"]
    assert all(low <= one.from_port <= high and 0 < one.to_port < 65536 for one in application.forwards)
    assert all(0 < service.port < 65536 for service in application.services)
    assert application.heartbeat_interval_s == PROFILE["heartbeat.interval_s"]


def test_each_id_has_defects_that_fail_it_alone() -> None:
    """No id, drafts too, that no single defect trips, and none that rests on one or two of them."""
    alone = Counter(case.fails for case in defects() if not case.besides)
    assert {one: alone[one] for one in ALL_IDS if alone[one] < ALONE_LEAST} == {}
    named = {one for case in load() for one in (*case.failing(), *case.undecided)}
    assert named <= set(ALL_IDS)


def test_the_corpus_is_what_it_is_said_to_be() -> None:
    """Lower bounds: cases are added and not lost. Names are for finding a case again."""
    counted = {
        layer: (sum(case.layer == layer for case in defects()), sum(case.layer == layer for case in variations()))
        for layer in {case.layer for case in load()}
    }
    assert counted.keys() == LEAST.keys()
    fewer = {layer: counted[layer] for layer in LEAST if min(map(sub, counted[layer], LEAST[layer])) < 0}
    assert fewer == {}
    identities = [case.identity for case in load()]
    assert len(set(identities)) == len(identities)
    assert all(case.why for case in variations())


def test_a_step_that_changes_nothing_is_an_error() -> None:
    for step in ({"in": "descriptor", "replace": "nowhere", "by": "x"}, {"in": "manifest", "unheard": "of"}):
        with pytest.raises(AssertionError):
            build(Case("x", steps=(step,)))
