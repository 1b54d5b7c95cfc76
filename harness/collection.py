"""What a call selects of the suites: one item a requirement, no drafts; and why, when that is nothing."""

import difflib
import re
from collections.abc import Generator, Sequence

import pytest

from conformance.catalogue import load as load_catalogue

_LIKE_AN_ID = re.compile(r"\b[A-Za-z]{2,4}-?\d+\b")


class Collection:
    """What turns @verifies into one item a requirement, and leaves drafts out."""

    def __init__(self, config: pytest.Config) -> None:
        self.catalogue = load_catalogue()
        config.addinivalue_line("markers", "verifies(*ids): the requirements that a test of suites/ judges")

    def pytest_generate_tests(self, metafunc: pytest.Metafunc) -> None:
        marker = metafunc.definition.get_closest_marker("verifies")
        if marker is not None:
            metafunc.parametrize("requirement", marker.args, ids=list(marker.args))

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_collection_modifyitems(
        self, config: pytest.Config, items: list[pytest.Item]
    ) -> Generator[None, None, None]:
        yield
        self.drop_drafts(config, items)

    def drop_drafts(self, config: pytest.Config, items: list[pytest.Item]) -> list[pytest.Item]:
        """Leave drafts out of what the call selects; those that were dropped."""
        drafts = [item for item in items if (i := requirement_of(item)) and not self.catalogue[i].in_force]
        config.hook.pytest_deselected(items=drafts)
        items[:] = [item for item in items if item not in drafts]
        return drafts


def requirement_of(item: pytest.Item) -> str:
    """The id that an item judges, "" for an item that judges none."""
    callspec = getattr(item, "callspec", None)
    return str(callspec.params.get("requirement", "")) if callspec else ""


def nothing_selected(config: pytest.Config, drafts: Sequence[str]) -> str:
    """Why a call has nothing to judge: drafts are the ids that it did select."""
    option, requirements = config.option, load_catalogue().requirements
    words = " ".join(f"{name} {text!r}" for name, text in (("-k", option.keyword), ("-m", option.markexpr)) if text)
    selection = words or "the call"
    if drafts:
        return (
            f"{selection} selects drafts only ({', '.join(drafts)}): a draft is not in force, nothing is judged by it"
        )
    near = [difflib.get_close_matches(one.upper(), requirements, n=1) for one in _LIKE_AN_ID.findall(option.keyword)]
    named = [f"{one[0]}{'' if requirements[one[0]].in_force else ', a draft'}" for one in near if one]
    hint = f"the nearest id is {', '.join(named)}" if named else "give ids such as HBT-005, `racs list` shows them"
    return f"{selection} selects nothing: {hint}"


class Listing(Collection):
    """pytest's --collect-only: shows what would be judged, and as nothing ran it is no pass."""

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self, session: pytest.Session, exitstatus: int) -> None:
        if exitstatus == pytest.ExitCode.OK:
            session.exitstatus = pytest.ExitCode.NO_TESTS_COLLECTED
