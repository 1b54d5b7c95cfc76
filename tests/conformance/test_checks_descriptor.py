"""The checks of DSC and RES: they fail by the reader's faults, apply to whom they speak of, and need enough to pass."""

from functools import cache
from pathlib import Path

import pytest
from descriptor_cases import DOWNLINK, EXAMPLES, INVALID, UPLINK, VALID, Edit, more_sections, text_of
from package_parts import NOW, ROOT, Entry, issue, write_tar

from conformance import profile as profiles
from conformance.catalogue import load as load_catalogue
from conformance.checks.descriptor import CHECKS
from conformance.judge import judge_package, not_bootable
from conformance.package import Package, open_package
from conformance.package.certificate import Trust
from conformance.rules.language import read_rules
from conformance.verdict import Outcome, Verdict

PROFILE = profiles.load()
TRUST = Trust("rd", (issue(ROOT),), NOW)
SPOKEN_TO = {
    "goon": set(CHECKS) - {"DSC-005", "DSC-006", "DSC-011"},
    "lens": set(CHECKS) - {"DSC-007", "DSC-008", "DSC-010", "DSC-011"},
}


def packed(folder: Path, text: bytes | None, acl: bytes | None = None) -> Package:
    """A package with this descriptor; who signed it is none of these checks' business."""
    files = {"app.ovf": text, "auth/acl.xml": acl}
    path = folder / "app.ova"
    path.write_bytes(write_tar([Entry(name, data) for name, data in files.items() if data is not None]))
    return open_package(path, PROFILE)


@cache
def example_acl(example: str) -> bytes:
    return (EXAMPLES / example / "auth" / "acl.xml").read_bytes()


def judge(folder: Path, example: str, *edits: Edit) -> dict[str, Outcome]:
    package = packed(folder, text_of(example, *edits).encode(), example_acl(example))
    catalogue = load_catalogue()
    return {requirement: judge_package(catalogue[requirement], package, PROFILE, TRUST) for requirement in CHECKS}


def with_verdict(outcomes: dict[str, Outcome], *verdicts: Verdict) -> set[str]:
    return {requirement for requirement, outcome in outcomes.items() if outcome.verdict in verdicts}


@pytest.mark.parametrize("example", ["goon", "lens"])
def test_the_examples_pass_what_speaks_of_them(example: str, tmp_path: Path) -> None:
    outcomes = judge(tmp_path, example)
    assert with_verdict(outcomes, Verdict.PASS) == SPOKEN_TO[example]
    assert with_verdict(outcomes, Verdict.FAIL) == {"DSC-011"}
    assert all(outcome.reason for outcome in outcomes.values())


@pytest.mark.parametrize(("example", "edits"), [pytest.param(*case[1:], id=f"{case[1]}: {case[0]}") for case in VALID])
def test_valid_variations_fail_nothing(example: str, edits: tuple[Edit, ...], tmp_path: Path) -> None:
    outcomes = judge(tmp_path, example, *edits)
    assert with_verdict(outcomes, Verdict.FAIL, Verdict.NOT_JUDGED) - {"DSC-011"} == set()


@pytest.mark.parametrize(
    ("requirement", "example", "edits"),
    [
        pytest.param(one, *case[1:], id=f"{one} {case[0]}")
        for one, cases in INVALID.items()
        for case in cases
        if one in CHECKS
    ],
)
def test_one_defect_fails_its_one_requirement(
    requirement: str, example: str, edits: tuple[Edit, ...], tmp_path: Path
) -> None:
    outcomes = judge(tmp_path, example, *edits)
    assert with_verdict(outcomes, Verdict.FAIL) - {"DSC-011"} == {requirement}


@pytest.mark.parametrize(
    ("example", "edits"),
    [pytest.param(*case[1:], id=f"{one} {case[0]}") for one, cases in INVALID.items() for case in cases],
)
def test_what_is_booted_all_the_same_is_an_app_that_a_lab_can_be_built_for(
    example: str, edits: tuple[Edit, ...], tmp_path: Path
) -> None:
    text = text_of(example, *edits).encode()
    package, outcomes = packed(tmp_path, text, example_acl(example)), judge(tmp_path, example, *edits)
    if not_bootable(outcomes):
        return
    application = package.application
    assert application is not None
    assert application.nics[0] == "service" and len(application.nics) in (2, 3)
    assert len(read_rules(application.rules)) == len(application.rules)
    low, high = PROFILE["forwarding.ports"]
    assert all(low <= one.from_port <= high and 0 < one.to_port < 65536 for one in application.forwards)
    assert all(0 < service.port < 65536 for service in application.services)
    assert application.heartbeat_interval_s == PROFILE["heartbeat.interval_s"]


@pytest.mark.parametrize("text", [None, b"", b"<a/>", b"noise", text_of("goon").encode()[:-30]])
def test_nothing_passes_without_a_descriptor(text: bytes | None, tmp_path: Path) -> None:
    package = packed(tmp_path, text)
    outcomes = {requirement: check(package, PROFILE, TRUST) for requirement, check in CHECKS.items()}
    failed = {"DSC-001"} if text is not None else set()
    assert with_verdict(outcomes, Verdict.FAIL) == failed
    assert with_verdict(outcomes, Verdict.NOT_JUDGED) == set(CHECKS) - failed
    assert all(outcome.reason for outcome in outcomes.values())


def test_nothing_passes_beyond_a_bound(tmp_path: Path) -> None:
    outcomes = judge(tmp_path, "goon", more_sections("<ovf:Info/>" * 10_000))
    assert with_verdict(outcomes, Verdict.NOT_JUDGED) == set(CHECKS)
    assert all("PKG-015" in outcome.reason for outcome in outcomes.values())


def test_nothing_but_its_own_faults_is_judged_in_an_invalid_descriptor(tmp_path: Path) -> None:
    edits = (("<ovf:Info>The boot disk</ovf:Info>", ""), ('interval="1.0"', 'interval="2"'))
    outcomes = judge(tmp_path, "goon", *edits)
    assert with_verdict(outcomes, Verdict.FAIL) - {"DSC-011"} == {"DSC-001", "DSC-014"}
    assert with_verdict(outcomes, Verdict.PASS) == {"DSC-002"}


def test_storage_is_not_judged_without_a_capacity(tmp_path: Path) -> None:
    outcomes = judge(tmp_path, "goon", ('ovf:capacity="2147483648"', 'ovf:capacity="${size}"'))
    assert with_verdict(outcomes, Verdict.NOT_JUDGED) == {"DSC-009", "RES-003"}


ACL = '<acl xmlns="urn:racs:acl:1" application="goon">{}</acl>'
SUBSCRIBE = '<allow access="subscribe" topic="racs/app/goon/properties"/>'
PUBLISH = '<allow access="publish" topic="app/goon/features"/>'


@pytest.mark.parametrize(
    ("acl", "verdict"),
    [
        (ACL.format(SUBSCRIBE + PUBLISH), Verdict.PASS),
        (ACL.format(SUBSCRIBE), Verdict.FAIL),
        (ACL.format(PUBLISH), Verdict.FAIL),
        (ACL.format(""), Verdict.FAIL),
        ("<acl/>", Verdict.NOT_JUDGED),
    ],
)
def test_features_need_the_bus(acl: str, verdict: Verdict, tmp_path: Path) -> None:
    package = packed(tmp_path, text_of("goon").encode(), acl.encode())
    assert CHECKS["DSC-010"](package, PROFILE, TRUST).verdict is verdict


def test_features_without_an_acl(tmp_path: Path) -> None:
    text = text_of("goon", ('<ovf:File ovf:id="acl" ovf:href="auth/acl.xml"/>', "")).encode()
    outcome = CHECKS["DSC-010"](packed(tmp_path, text), PROFILE, TRUST)
    assert outcome.verdict is Verdict.FAIL
    assert len(outcome.findings) == 2


WEB = (UPLINK, DOWNLINK)
SELECTIONS = [
    (WEB, Verdict.PASS, Verdict.PASS),
    (("proto==TCP", "proto==TCP"), Verdict.PASS, Verdict.PASS),
    (("ip_version==4", "ip_version==4"), Verdict.FAIL, Verdict.PASS),
    (("proto==TCP || proto!=TCP", DOWNLINK), Verdict.FAIL, Verdict.FAIL),
    (("ip_version==6", DOWNLINK), Verdict.FAIL, Verdict.FAIL),
    (("proto==TCP &amp;&amp; proto==UDP", DOWNLINK), Verdict.FAIL, Verdict.FAIL),
    (("proto==ICMP &amp;&amp; dst_port==80", "proto==ICMP &amp;&amp; src_port==80"), Verdict.FAIL, Verdict.PASS),
    ((UPLINK, "proto==TCP"), Verdict.PASS, Verdict.FAIL),
    (("proto==TCP", DOWNLINK), Verdict.PASS, Verdict.FAIL),
    ((UPLINK, UPLINK), Verdict.PASS, Verdict.FAIL),
    ((UPLINK, DOWNLINK + " &amp;&amp; dst_ip in 10.45.0.0/16"), Verdict.PASS, Verdict.PASS),
    ((UPLINK, DOWNLINK + " &amp;&amp; dst_ip in 10.45.0.0/17"), Verdict.PASS, Verdict.FAIL),
    ((UPLINK + " &amp;&amp; dscp==46", DOWNLINK), Verdict.PASS, Verdict.NOT_JUDGED),
]


@pytest.mark.parametrize(("rules", "selection", "symmetry"), SELECTIONS, ids=range(len(SELECTIONS)))
def test_what_rules_select(rules: tuple[str, str], selection: Verdict, symmetry: Verdict, tmp_path: Path) -> None:
    outcomes = judge(tmp_path, "lens", (UPLINK, "UP"), (DOWNLINK, "DOWN"), (">UP<", f">{rules[0]}<"),
                     (">DOWN<", f">{rules[1]}<"))  # fmt: skip
    assert (outcomes["DSC-005"].verdict, outcomes["DSC-006"].verdict) == (selection, symmetry)
    for outcome in (outcomes["DSC-005"], outcomes["DSC-006"]):
        assert all(f.expected and f.seen and f.where and f.remedy for f in outcome.findings)


def test_two_rules_that_select_everything_together(tmp_path: Path) -> None:
    extra = '<racs:Rule name="b" direction="uplink">!(proto==TCP)</racs:Rule></racs:Offload>'
    outcomes = judge(tmp_path, "lens", (UPLINK, "proto==TCP"), ("      </racs:Offload>", extra))
    assert outcomes["DSC-005"].verdict is Verdict.FAIL


def test_rules_that_nobody_can_see_through_are_said_to_be(tmp_path: Path) -> None:
    ports = " &amp;&amp; ".join(f"(src_port=={7 * n} || dst_port=={11 * n})" for n in range(1, 90))
    outcomes = judge(tmp_path, "lens", (UPLINK, ports))
    for one in ("DSC-005", "DSC-006"):
        assert outcomes[one].verdict is Verdict.INCONCLUSIVE
        assert "too intricate" in outcomes[one].reason


def test_rules_that_could_not_all_be_read_are_not_judged(tmp_path: Path) -> None:
    outcomes = judge(tmp_path, "lens", (UPLINK, UPLINK + " || proto==UDP" * 400))
    assert {outcomes[one].verdict for one in ("DSC-005", "DSC-006")} == {Verdict.NOT_JUDGED}


def test_what_is_in_force_has_a_known_bad_descriptor() -> None:
    """Each single defect of INVALID is judged above; DSC-006 has its in SELECTIONS, DSC-011 the examples themselves."""
    proved = INVALID.keys() | {"DSC-006", "DSC-011"}
    owed = {r.id for r in load_catalogue().requirements.values() if r.in_force and r.scope == "package"}
    assert {one for one in owed if one[:3] in ("DSC", "RES")} <= proved


def test_there_is_a_check_for_every_requirement() -> None:
    owed = {r.id for r in load_catalogue().requirements.values() if r.scope == "package" and r.id[:3] in ("DSC", "RES")}
    assert set(CHECKS) == owed
