"""Sound apps certify, by the commands that a user types: both samples, and a guest that shares no line with them."""

import sys
from pathlib import Path

import pytest
from known_bad import REPOSITORY, SHORT, Run, Workshop, certify, command

pytestmark = pytest.mark.live

FOREIGN_IDS = {"OTT-002", "OTT-003", "HBT-001", "HBT-009", "LIF-002", "NTP-002", "BUS-007"}


@pytest.fixture(scope="session")
def workshop(tmp_path_factory: pytest.TempPathFactory) -> Workshop:
    return Workshop(tmp_path_factory.mktemp("sound"))


def require_certified(run: Run) -> None:
    assert run.status == 0, run.explain()
    assert (run.report["scope"], run.report["verdict"]) == ("certification", "pass"), run.explain()
    open_ones = run.verdicts("inconclusive") | run.verdicts("not judged") | run.verdicts("fail")
    assert not open_ones, run.explain()


def test_goon_by_the_first_command_of_the_readme(tmp_path: Path) -> None:
    runs = tmp_path / "a place with blänks"
    words = [REPOSITORY / "racs", "certify", "--runs", runs, "--json", runs / "result.json"]
    run = certify([str(word) for word in words], runs)
    require_certified(run)
    assert "CERTIFIED goon" in run.output
    assert (runs / "latest" / "report.html").is_file()
    assert [path.name for path in tmp_path.iterdir()] == [runs.name]


@pytest.mark.parametrize("app", ["lens", "foreign"])
def test_other_apps_soon(app: str, workshop: Workshop, tmp_path: Path) -> None:
    ova = workshop.package(app)
    require_certified(certify(command(ova, workshop.root, tmp_path, "--profile", SHORT), tmp_path))


def test_the_foreign_guest_by_pytest(workshop: Workshop, tmp_path: Path) -> None:
    """`pytest suites/` from the project's folder, a selection of ids."""
    ova = workshop.package("foreign")
    words = [sys.executable, "-m", "pytest", REPOSITORY / "suites", f"--rootdir={REPOSITORY}", "--ova", ova]
    words += ["-c", REPOSITORY / "pyproject.toml", "--root", workshop.root, "--profile", SHORT, "--runs", tmp_path]
    words += ["--json", tmp_path / "result.json", "-k", " or ".join(sorted(FOREIGN_IDS))]
    run = certify([str(word) for word in words], tmp_path)
    assert (run.status, run.report["scope"]) == (0, "selection"), run.explain()
    assert run.verdicts("pass") == FOREIGN_IDS, run.explain()


@pytest.mark.nightly
@pytest.mark.parametrize("app", ["lens", "foreign"])
def test_other_apps_by_the_profile_that_counts(app: str, workshop: Workshop, tmp_path: Path) -> None:
    require_certified(certify(command(workshop.package(app), workshop.root, tmp_path), tmp_path))
