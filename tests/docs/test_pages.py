"""What README and docs say is so: links lead somewhere, commands and options exist, exit statuses are the code's."""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import click
import pytest

from conformance.certification import Certification, Whole
from conformance.exitstatus import WORST_FIRST, ExitStatus
from harness import cli, plugin

REPOSITORY = Path(__file__).resolve().parents[2]
PAGES = sorted([*REPOSITORY.glob("*.md"), *REPOSITORY.glob("docs/*.md"), *REPOSITORY.glob("examples/*.md")])
LINK = re.compile(r"\]\(([^)\s]+)\)")
CODE = re.compile(r"^ {4,}(.*)$|`([^`\n]+)`", re.MULTILINE)
PATH = re.compile(r"\b(?:conformance|emulator|harness|reports|suites|tests|examples|docs|requirements)/[\w./*-]+")
ORDER = re.compile(r"\b\d(?:(?: [a-z ]+)?(?:,| and)\s+\d){4,}")
WITH_ORDER = ("docs/design.md", "docs/how-to.md")
ROW = re.compile(r"^\| (\d) \|([a-z ]*)\|", re.MULTILINE)
PICTURE_BYTES_MAX = 300_000
OF_PYTEST = {"-k", "-m", "-n", "-x"}  # those of pytest's own that the pages use


def names(pages: list[Path]) -> list[str]:
    return [str(page.relative_to(REPOSITORY)) for page in pages]


def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as repositories' web pages make them."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def commands(page: Path) -> Iterator[list[str]]:
    """The command lines of racs and of pytest over suites/ that stand in a page's code, each as words."""
    for block, span in CODE.findall(page.read_text(encoding="utf-8")):
        try:
            words = shlex.split(block or span, comments=True)
        except ValueError:  # a line of output with a quotation mark of its own
            continue
        begins = [n for n, word in enumerate(words) if word in {"racs", "./racs"} or word == "pytest"]
        for begin in begins[:1]:
            ends = [n for n, word in enumerate(words) if n > begin and word in {"|", ">", "&&", ";"}]
            yield words[begin : min(ends, default=len(words))]


@pytest.mark.parametrize("page", PAGES, ids=names(PAGES))
def test_links_lead_somewhere(page: Path) -> None:
    for link in LINK.findall(page.read_text(encoding="utf-8")):
        if link.startswith("https://"):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), link
        assert not anchor or anchor in anchors(target), link


@pytest.mark.parametrize("page", PAGES, ids=names(PAGES))
def test_paths_that_are_named_are_there(page: Path) -> None:
    for path in PATH.findall(page.read_text(encoding="utf-8")):
        assert list(REPOSITORY.glob(path.rstrip("./"))), path


def pytest_options() -> set[str]:
    """The options that the plug-in adds to pytest."""
    found: set[str] = set()

    class Group:
        def addoption(self, name: str, **_: Any) -> None:
            found.add(name)

    class Parser:
        def getgroup(self, *_: str) -> Group:
            return Group()

    plugin.pytest_addoption(Parser())  # type: ignore[arg-type]  # all of a Parser that the plug-in uses
    return found


def known_options(command: click.Command) -> set[str]:
    declared = {option for parameter in command.params for option in (*parameter.opts, *parameter.secondary_opts)}
    return declared | {"-h", "--help"}


@pytest.mark.parametrize("page", PAGES, ids=names(PAGES))
def test_commands_and_options_exist(page: Path) -> None:
    for words in commands(page):
        line = " ".join(words)
        if words[0] != "pytest" and len(words) > 1 and words[1] != "pytest":
            if words[1].startswith("-"):
                known = known_options(cli.commands) | {"--version"}
            else:
                assert words[1] in cli.commands.commands, line
                known = known_options(cli.commands.commands[words[1]])
                known |= {"-e"} if words[1] == "test" else set()  # tox's
        else:
            known = pytest_options() | OF_PYTEST
        options = {word.split("=")[0] for word in words if re.match(r"--?[a-z]", word)}
        assert options <= known, f"{line}: {options - known}"


def test_every_command_is_told_of() -> None:
    told = {words[1] for page in PAGES for words in commands(page) if len(words) > 1 and words[0] != "pytest"}
    assert set(cli.commands.commands) <= told


def test_readme_has_the_exit_statuses() -> None:
    def status(verdict: Whole) -> ExitStatus:
        return Certification("package", verdict, "rd", "", 0, {}, "", {}, "", "", "", (), 0, "", {}, ()).exit_status

    expected = {status(verdict): verdict for verdict in get_args(Whole)} | {ExitStatus.USAGE: ""}
    rows = ROW.findall((REPOSITORY / "README.md").read_text(encoding="utf-8"))
    assert {int(number): verdict.strip() for number, verdict in rows} == expected
    for verdict in get_args(Whole):
        assert status(verdict).name == verdict.upper().replace(" ", "_")


def test_the_order_of_exit_statuses_is_the_same_everywhere() -> None:
    assert sorted(WORST_FIRST) == list(ExitStatus)
    texts = {name: (REPOSITORY / name).read_text(encoding="utf-8") for name in ("README.md", *WITH_ORDER)}
    texts["racs check --help"] = str(cli.check.help)
    for name, text in texts.items():
        orders = [[int(number) for number in re.findall(r"\d", order)] for order in ORDER.findall(text)]
        assert orders and all(order == list(WORST_FIRST) for order in orders), (name, orders)


def test_picture_of_a_report_is_small() -> None:
    assert (REPOSITORY / "docs" / "report.png").stat().st_size <= PICTURE_BYTES_MAX
