"""The checks of DSC and RES: whom they speak of, and that they need enough to pass. Single defects and valid variations
are the corpus's, tests/packages."""

from pathlib import Path

import pytest
from corpus import build, descriptor_text, edited
from judging import CATALOGUE, PROFILE, TRUST, judge, with_verdict
from package_parts import Entry, write_tar

from conformance.checks.descriptor import CHECKS
from conformance.judge import judge_package
from conformance.package import Package, open_package
from conformance.verdict import Outcome, Verdict

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
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


def of_descriptor(package: Package) -> dict[str, Outcome]:
    return {one: judge_package(CATALOGUE[one], package, PROFILE, TRUST) for one in CHECKS}


@pytest.mark.parametrize("example", ["goon", "lens"])
def test_the_examples_pass_what_speaks_of_them(example: str, tmp_path: Path) -> None:
    text = (EXAMPLES / example / f"{example}.ovf").read_text(encoding="utf-8")
    text = text.replace("{size}", "327680").replace("{capacity}", "2147483648")
    package = packed(tmp_path, text.encode(), (EXAMPLES / example / "auth" / "acl.xml").read_bytes())
    outcomes = of_descriptor(package)
    assert with_verdict(outcomes, Verdict.PASS) == SPOKEN_TO[example]
    assert with_verdict(outcomes, Verdict.FAIL) == {"DSC-011"}
    assert all(outcome.reason for outcome in outcomes.values())


def test_all_examples_are_tried() -> None:
    assert {path.stem for path in EXAMPLES.glob("*/*.ovf")} == SPOKEN_TO.keys()


@pytest.mark.parametrize("text", [None, b"", b"<a/>", b"noise", descriptor_text(edited()).encode()[:-30]])
def test_nothing_passes_without_a_descriptor(text: bytes | None, tmp_path: Path) -> None:
    package = packed(tmp_path, text)
    outcomes = {requirement: check(package, PROFILE, TRUST) for requirement, check in CHECKS.items()}
    failed = {"DSC-001"} if text is not None else set()
    assert with_verdict(outcomes, Verdict.FAIL) == failed
    assert with_verdict(outcomes, Verdict.NOT_JUDGED) == set(CHECKS) - failed
    assert all(outcome.reason for outcome in outcomes.values())


def test_nothing_but_its_own_faults_is_judged_in_an_invalid_descriptor(tmp_path: Path) -> None:
    case = edited(("<ovf:Info>The boot disk</ovf:Info>", ""), ('interval="1.0"', 'interval="2"'))
    outcomes = {one: found for one, found in judge(tmp_path, build(case)).outcomes.items() if one in CHECKS}
    assert with_verdict(outcomes, Verdict.FAIL) == {"DSC-001", "DSC-014"}
    assert with_verdict(outcomes, Verdict.PASS) == {"DSC-002"}


def test_storage_is_not_judged_without_a_capacity(tmp_path: Path) -> None:
    outcomes = judge(tmp_path, build(edited(('ovf:capacity="{capacity}"', 'ovf:capacity="${size}"')))).outcomes
    assert with_verdict(outcomes, Verdict.NOT_JUDGED) == {"DSC-009", "RES-003"}


def test_features_without_an_acl_miss_both_rules(tmp_path: Path) -> None:
    text = descriptor_text(edited(('<ovf:File ovf:id="acl" ovf:href="auth/acl.xml"/>', ""))).encode()
    outcome = CHECKS["DSC-010"](packed(tmp_path, text), PROFILE, TRUST)
    assert outcome.verdict is Verdict.FAIL
    assert len(outcome.findings) == 2


def test_rules_that_nobody_can_see_through_are_said_to_be(tmp_path: Path) -> None:
    """Whether 31 unions of many points cover everything, or each other's answers, is beyond any bound worth having."""
    points = [[f"!(src_port=={i + n} &amp;&amp; dst_port=={i + n})" for i in range(1, 115)] for n in range(31)]
    unions = map(" &amp;&amp; ".join, points)
    rules = "".join(f'<racs:Rule name="{n}" direction="{way}">{text}</racs:Rule>'
                    for n, text in enumerate(unions) for way in ("uplink", "downlink"))  # fmt: skip
    case = edited(("<racs:Offload>", f"<racs:Offload>{rules}"), base="transparent")
    outcomes = judge(tmp_path, build(case)).outcomes
    for one in ("DSC-005", "DSC-006"):
        assert outcomes[one].verdict is Verdict.INCONCLUSIVE
        assert "too intricate" in outcomes[one].reason


def test_there_is_a_check_for_every_requirement() -> None:
    owed = {r.id for r in CATALOGUE.requirements.values() if r.scope == "package" and r.id[:3] in ("DSC", "RES")}
    assert set(CHECKS) == owed
