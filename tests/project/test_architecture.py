"""The walls: who may import whom, who knows sockets and clocks, and that catalogue, checks, suites and tests agree."""

import ast
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from conformance.catalogue import load
from conformance.checks import package_check, trace_check
from conformance.profile import load as load_profile
from conformance.trace_kinds import KINDS

REPOSITORY = Path(__file__).resolve().parents[2]
ROOMS = ("conformance", "emulator", "harness", "suites", "reports")
MAY_IMPORT = {
    "conformance": {"conformance"},
    "emulator": {"emulator", "conformance"},
    "reports": {"reports", "conformance"},
    "harness": {"harness", "emulator", "conformance", "reports"},
    "suites": {"harness", "conformance"},
}
IMPURE = {
    "socket",
    "subprocess",
    "threading",
    "multiprocessing",
    "asyncio",
    "time",
    "os",
    "select",
    "selectors",
    "signal",
}
# Pure but for reading the file that they are given: modules of conformance/ that open a path.
READS_FILES = {"conformance/profile.py", "conformance/catalogue.py", "conformance/package/__init__.py"}
LINES_MAX = 350
SUITE_IDS = re.compile(r"\b[A-Z]{3}-\d{3}\b")


def modules(room: str) -> Iterator[tuple[Path, ast.Module]]:
    for path in sorted((REPOSITORY / room).rglob("*.py")):
        yield path, ast.parse(path.read_text(encoding="utf-8"))


def imports(tree: ast.Module) -> set[str]:
    """Top-level names of everything that a module imports, wherever in it."""
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found.add(node.module.split(".")[0])
    return found


@pytest.mark.parametrize("room", ROOMS)
def test_imports_point_one_way(room: str) -> None:
    for path, tree in modules(room):
        wrong = (imports(tree) & set(ROOMS)) - MAY_IMPORT[room]
        assert not wrong, f"{path.relative_to(REPOSITORY)} imports {wrong}"


def test_conformance_is_pure() -> None:
    for path, tree in modules("conformance"):
        name = str(path.relative_to(REPOSITORY))
        wrong = imports(tree) & IMPURE - ({"os"} if name in READS_FILES else set())
        assert not wrong, f"{name} imports {wrong}"


def test_modules_stay_small() -> None:
    long = {
        str(path.relative_to(REPOSITORY)): lines
        for room in ROOMS
        for path in (REPOSITORY / room).rglob("*.py")
        if (lines := len(path.read_text(encoding="utf-8").splitlines())) > LINES_MAX
    }
    assert not long, f"more than {LINES_MAX} lines: does each do one thing? {long}"


def suite_ids() -> set[str]:
    """The ids that suites/ verifies, ranges written out by the tests themselves."""
    found = set()
    for path, _ in modules("suites"):
        text = path.read_text(encoding="utf-8")
        found |= set(SUITE_IDS.findall(text))
        for prefix, first, after in re.findall(
            r'f"([A-Z]{3})-\{number:03\}" for number in range\((\d+), (\d+)\)', text
        ):
            found |= {f"{prefix}-{number:03}" for number in range(int(first), int(after))}
    return found


def test_what_is_in_force_has_check_suite_and_words() -> None:
    """That unit cases bring about its verdicts is for tests/conformance/test_checks_catalogue.py to say."""
    verified = suite_ids()
    missing = []
    for requirement in load().requirements.values():
        if not requirement.in_force:
            continue
        check = (package_check if requirement.scope == "package" else trace_check)(requirement.id)
        for what, there in (
            ("check", check is not None),
            ("suite test", requirement.id in verified),
            ("rationale", requirement.rationale),
            ("remedy", requirement.remedy),
        ):
            if not there:
                missing.append(f"{requirement.id}: no {what}")
    assert not missing, missing


def test_what_is_in_force_has_a_known_bad_app_that_boots() -> None:
    """Requirements of scope package have mutated packages instead, those of subject platform broken labs."""
    table = tomllib.loads((REPOSITORY / "tests" / "apps" / "expectations.toml").read_text(encoding="utf-8"))
    failed = {identity for entry in table.values() for identity in entry["fails"]}
    wanted = {r.id for r in load().requirements.values() if r.in_force and r.scope == "run" and r.subject == "app"}
    assert wanted <= failed, f"no fault in tests/apps/expectations.toml fails {sorted(wanted - failed)}"
    named = failed | {identity for entry in table.values() for identity in entry.get("may", {})}
    assert named <= set(load().requirements)


def test_suites_name_known_ids_only() -> None:
    assert suite_ids() <= set(load().requirements)


def test_catalogue_reads_profile_and_trace_that_exist() -> None:
    profile = load_profile()
    for requirement in load().requirements.values():
        for field in requirement.reads:
            profile[field]
        assert set(requirement.kinds) <= KINDS.keys(), requirement.id


def test_nothing_names_a_machine_path_or_registry() -> None:
    words = re.compile(r"/work/|pypi\.org|deb\.debian|registry\.npm")
    for path in REPOSITORY.rglob("*"):
        relative = path.relative_to(REPOSITORY)
        if (
            relative.parts[0] in {".git", ".venv", ".cache", ".tox", "runs"}
            or not path.is_file()
            or path == Path(__file__)
        ):
            continue
        if path.suffix in {".py", ".md", ".toml", ".txt", ".ini", ".xml", ".ovf"} or path.name in {"racs", "run"}:
            assert not words.search(path.read_text(encoding="utf-8", errors="replace")), relative
