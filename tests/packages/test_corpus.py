"""The corpus, package by package: a single defect fails its one id, what is right fails none (contract 1)."""

import re
from pathlib import Path

import pytest
from corpus import SOUND, Case, build, defects, load, variations
from judging import CATALOGUE, IDS, PROFILE, judge, with_verdict

from conformance.judge import not_bootable
from conformance.package import Package
from conformance.rules.language import read_rules
from conformance.verdict import Verdict


@pytest.mark.parametrize("case", [pytest.param(case, id=case.identity) for case in (SOUND, *load())])
def test_exactly_its_ids_fail(case: Case, tmp_path: Path) -> None:
    """All else passes, or is not judged for the very id that failed; and what would be booted can be."""
    judged = judge(tmp_path, build(case))
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


def assert_a_lab_can_be_built(package: Package) -> None:
    application = package.application
    assert application is not None
    assert application.nics[0] == "service" and len(application.nics) in (2, 3)
    assert len(read_rules(application.rules)) == len(application.rules)
    low, high = PROFILE["forwarding.ports"]
    assert all(low <= one.from_port <= high and 0 < one.to_port < 65536 for one in application.forwards)
    assert all(0 < service.port < 65536 for service in application.services)
    assert application.heartbeat_interval_s == PROFILE["heartbeat.interval_s"]


def test_each_id_in_force_has_a_defect_that_fails_it_alone() -> None:
    owed = {one for one in IDS if CATALOGUE[one].in_force}
    assert owed <= {case.fails for case in defects() if not case.besides}
    named = {one for case in load() for one in (*case.failing(), *case.undecided)}
    assert named <= set(IDS)


def test_the_corpus_is_what_it_is_said_to_be() -> None:
    """A lower bound for each side and each layer; names are for finding a case again."""
    assert len(defects()) >= 200 and len(variations()) >= 60
    identities = [case.identity for case in load()]
    assert len(set(identities)) == len(identities)
    assert all(case.why for case in variations())
    layers = {case.layer for case in load()}
    assert layers == {"archive", "manifest", "certificate", "xml", "descriptor", "rules", "acl", "image"}


def test_a_step_that_changes_nothing_is_an_error() -> None:
    for step in ({"in": "descriptor", "replace": "nowhere", "by": "x"}, {"in": "manifest", "unheard": "of"}):
        with pytest.raises(AssertionError):
            build(Case("x", steps=(step,)))
