"""PKG-001 to PKG-015 over whole packages: valid variations pass all, one defect trips its one id."""

import os
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Literal

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from package_cases import FAR_ROOT, RSA_ROOT, VALID, chained
from package_defects import DEFECTS, TWICE
from package_parts import BEGIN, LEAF, NOW, ROOT, Kit, issue, make_qcow2, with_sha1

from conformance.catalogue import load as load_catalogue
from conformance.checks.package import CHECKS
from conformance.judge import judge_package
from conformance.package import Package, open_package
from conformance.package.certificate import Trust
from conformance.profile import load
from conformance.verdict import Outcome, Verdict

PROFILE = load()
TRUST = Trust("rd", (issue(ROOT),), NOW)


def judge(folder: Path, data: bytes, trust: Trust = TRUST) -> dict[str, Outcome]:
    path = folder / "app.ova"
    path.write_bytes(data)
    package = open_package(path, PROFILE)
    catalogue = load_catalogue()
    return {requirement: judge_package(catalogue[requirement], package, PROFILE, trust) for requirement in CHECKS}


def with_verdict(outcomes: dict[str, Outcome], verdict: Verdict) -> set[str]:
    return {requirement for requirement, outcome in outcomes.items() if outcome.verdict is verdict}


@pytest.mark.parametrize("name", VALID)
def test_valid_packages_pass(name: str, tmp_path: Path) -> None:
    outcomes = judge(tmp_path, VALID[name].build())
    passing = with_verdict(outcomes, Verdict.PASS) | with_verdict(outcomes, Verdict.NOT_APPLICABLE)
    assert {key: outcome.reason for key, outcome in outcomes.items() if key not in passing} == {}


@pytest.mark.parametrize(
    ("kit", "requirement"), [pytest.param(kit, one, id=f"{one} {name}") for name, kit, one in DEFECTS]
)
def test_one_defect_fails_its_one_requirement(kit: Kit, requirement: str, tmp_path: Path) -> None:
    outcomes = judge(tmp_path, kit.build())
    assert {key: outcomes[key].reason for key in with_verdict(outcomes, Verdict.FAIL)}.keys() == {requirement}
    for finding in outcomes[requirement].findings:
        assert finding.expected and finding.seen and finding.where and finding.remedy


@pytest.mark.parametrize(("kit", "requirements"), [pytest.param(kit, ids, id=name) for name, kit, ids in TWICE])
def test_what_the_contract_names_twice(kit: Kit, requirements: set[str], tmp_path: Path) -> None:
    assert with_verdict(judge(tmp_path, kit.build()), Verdict.FAIL) == requirements


def test_every_requirement_has_a_defect_that_fails_it() -> None:
    assert {requirement for _, _, requirement in DEFECTS} == set(CHECKS)


def test_what_was_not_seen_never_passes(tmp_path: Path) -> None:
    outcomes = judge(tmp_path, b"")
    assert with_verdict(outcomes, Verdict.PASS) == set()
    assert all("PKG-001" in outcomes[one].reason for one in with_verdict(outcomes, Verdict.NOT_JUDGED))


@settings(
    max_examples=150, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(place=st.floats(0, 1, exclude_max=True), bit=st.integers(0, 7))
def test_any_flipped_bit_fails(place: float, bit: int, tmp_path: Path) -> None:
    data = bytearray(FLIPPED)
    at = int(place * len(data))
    data[at] ^= 1 << bit
    assert with_verdict(judge(tmp_path, bytes(data)), Verdict.FAIL), f"bit {bit} of byte {at}"


FLIPPED = Kit(image=make_qcow2(bits=9, virtual_size=32768)).build()


def test_package_says_what_the_app_declares(tmp_path: Path) -> None:
    path = tmp_path / "app.ova"
    path.write_bytes(Kit().build())
    package: Package = open_package(path, PROFILE)
    assert package.application is not None
    assert (package.application.id, package.application.uses_bus, package.faults) == ("probe", True, ())
    assert package.image is not None
    assert path.read_bytes()[package.image.offset :][: package.image.size] == make_qcow2()


@pytest.mark.parametrize("kind", ["folder", "nothing", "fifo"])
def test_what_cannot_be_opened_raises_oserror(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "x.ova"
    if kind == "folder":
        path.mkdir()
    elif kind == "fifo":
        os.mkfifo(path)
    with pytest.raises(OSError):
        open_package(path, PROFILE)


def test_a_trust_profile_without_the_root_fails(tmp_path: Path) -> None:
    outcomes = judge(tmp_path, Kit().build(), Trust("production", (issue(FAR_ROOT),), NOW))
    assert with_verdict(outcomes, Verdict.FAIL) == {"PKG-007"}
    assert "production" in outcomes["PKG-007"].findings[0].expected


@pytest.mark.parametrize(("profile", "fails"), [("production", {"PKG-007"}), ("rd", set())])
def test_a_root_for_rd_is_none_for_production(
    tmp_path: Path, profile: Literal["production", "rd"], fails: set[str]
) -> None:
    root = replace(ROOT, name="R&D root", unit="R&D, not for deployment")
    outcomes = judge(tmp_path, chained(issue(LEAF, root)).build(), Trust(profile, (issue(root),), NOW))
    assert with_verdict(outcomes, Verdict.FAIL) == fails
    assert not fails or "take this root out" in outcomes["PKG-007"].findings[0].remedy


def test_the_root_s_own_signature_may_be_weak(tmp_path: Path) -> None:
    weak_root = with_sha1(issue(RSA_ROOT), RSA_ROOT.key)
    kit = chained(issue(LEAF, RSA_ROOT), weak_root)
    assert with_verdict(judge(tmp_path, kit.build(), Trust("rd", (weak_root,), NOW)), Verdict.FAIL) == set()


def test_validity_includes_both_ends(tmp_path: Path) -> None:
    for at, fails in ((BEGIN, False), (BEGIN - timedelta(seconds=1), True)):
        outcomes = judge(tmp_path, Kit().build(), Trust("rd", (issue(ROOT),), at))
        assert ("PKG-007" in with_verdict(outcomes, Verdict.FAIL)) is fails


def test_a_bad_line_is_no_missing_line_besides(tmp_path: Path) -> None:
    kit = next(kit for label, kit, _ in DEFECTS if label == "CR LF")
    assert [finding.where[:14] for finding in judge(tmp_path, kit.build())["PKG-004"].findings] == [
        f"app.mf, line {line}" for line in (1, 2, 3)
    ]


def test_remedies_name_the_command(tmp_path: Path) -> None:
    for name, command in (("CR LF", "sha256sum"), ("GNU magic", "tar --format=ustar"), ("odd digits", "openssl dgst")):
        kit, requirement = next((kit, one) for label, kit, one in DEFECTS if label == name)
        assert command in judge(tmp_path, kit.build())[requirement].findings[0].remedy
