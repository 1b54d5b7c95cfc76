"""What a call of the suites says when it selects nothing, or cannot be carried out where it was made."""

import sys
from pathlib import Path

import command_line
import pytest
from command_line import RACS, REPOSITORY, Delivery, deliver

PYTEST = (sys.executable, "-m", "pytest", "-c", str(REPOSITORY / "pyproject.toml"))


@pytest.fixture(scope="module")
def delivery(tmp_path_factory: pytest.TempPathFactory) -> Delivery:
    return deliver(tmp_path_factory.mktemp("delivery"))


@pytest.fixture
def calls(delivery: Delivery, tmp_path: Path) -> list[str]:
    """A package that nothing of is booted, and whom to trust."""
    (tmp_path / "zeros.ova").write_bytes(bytes(10240))
    return ["zeros.ova", f"--root={delivery.root}"]


@pytest.mark.parametrize(
    ("select", "says"),
    [
        ("nosuch", "-k 'nosuch' selects nothing: "),
        ("HBT-03", "-k 'HBT-03' selects nothing: the nearest id is HBT-"),
        ("RES-006", "-k 'RES-006' selects nothing: the nearest id is RES-006, a draft"),
        ("HBT-005 and NTP-001", "-k 'HBT-005 and NTP-001' selects nothing: "),
        ("HBT-006", "-k 'HBT-006' selects drafts only (HBT-006): "),
    ],
)
def test_a_selection_of_nothing_says_so(select: str, says: str, calls: list[str], tmp_path: Path) -> None:
    certified = command_line.run([RACS, "certify", *calls, "-k", select], tmp_path)
    assert (certified.status, says in certified.err) == (5, True), certified.said
    ova, root = calls
    command = [*PYTEST, str(REPOSITORY / "suites"), f"--ova={ova}", root, "-k", select]
    plain = command_line.run(command, tmp_path)
    assert (plain.status, says in plain.said) == (5, True), plain.said


def test_a_selection_of_something_says_nothing_of_it(calls: list[str], tmp_path: Path) -> None:
    ended = command_line.run([RACS, "certify", *calls, "-k", "PKG-001 or HBT-006"], tmp_path)
    assert ended.status == 1 and "selects" not in ended.said, ended.said


@pytest.mark.parametrize("kind", ["folder", "file"])
def test_what_is_called_latest_is_left_alone(kind: str, calls: list[str], tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    runs.mkdir()
    latest = runs / "latest"
    latest.mkdir() if kind == "folder" else latest.write_text("mine")
    ended = command_line.run([RACS, "certify", *calls], tmp_path)
    assert ended.status == 4 and "runs/latest" in ended.err and "rename it" in ended.err, ended.said
    assert list(runs.iterdir()) == [latest] and not latest.is_symlink()


def test_suites_that_are_elsewhere_are_told_where(calls: list[str], tmp_path: Path) -> None:
    ended = command_line.run([RACS, "pytest", "suites/", "--ova", *calls], tmp_path)
    assert ended.status == 4, ended.said
    assert "suites/ is not here" in ended.err and str(REPOSITORY / "suites") in ended.err, ended.err


def test_a_package_without_suites_is_told_what_they_are(calls: list[str], tmp_path: Path) -> None:
    (tmp_path / "suites").mkdir()
    ended = command_line.run([RACS, "pytest", "suites/", "--ova", *calls], tmp_path)
    assert ended.status == 4 and "--ova is for the suites" in ended.err, ended.said
    assert str(REPOSITORY / "suites") in ended.err, ended.err
