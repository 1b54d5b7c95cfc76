"""What suites/ is given by the run that is under way: the judge, the package and the testbed."""

import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import pytest

from conformance.judge import judge_trace
from conformance.package import Package
from conformance.trace import Trace
from conformance.verdict import Outcome, Verdict
from harness.display import describe
from harness.suiterun import RUN, Judge, SuiteRun

if TYPE_CHECKING:
    from harness.testbed import Testbed


def run_of(request: pytest.FixtureRequest) -> SuiteRun:
    run = request.config.pluginmanager.getplugin(RUN)
    assert isinstance(run, SuiteRun)
    return run


@pytest.fixture
def judge(request: pytest.FixtureRequest, record_property: Callable[[str, object], None]) -> Judge:
    """judge(requirement, trace or outcome): settle, write into the ledger, and tell pytest."""
    run, begin = run_of(request), time.monotonic()

    def judge(requirement: str, subject: Trace | Outcome) -> None:
        entry, profile = run.catalogue[requirement], run.request.options.profile
        outcome = judge_trace(entry, subject, profile) if isinstance(subject, Trace) else subject
        run.add(requirement, outcome, request.node.name, time.monotonic() - begin)
        if outcome.verdict is Verdict.FAIL and entry.level == "SHOULD":
            record_property("warning", outcome.reason)
        elif outcome.verdict is Verdict.FAIL:
            pytest.fail(describe(outcome), pytrace=False)
        elif outcome.verdict is not Verdict.PASS:
            pytest.skip(f"{outcome.verdict}: {outcome.reason}")

    return judge


@pytest.fixture(scope="session")
def package(request: pytest.FixtureRequest) -> Package:
    """The package under certification, read once."""
    return run_of(request).request.package


@pytest.fixture(scope="session")
def static_outcomes(request: pytest.FixtureRequest) -> dict[str, Outcome]:
    """The verdicts of scope "package"."""
    return run_of(request).judge_package()


@pytest.fixture(scope="session")
def bed(request: pytest.FixtureRequest) -> Iterator["Testbed"]:
    """The testbed: network, emulator and machine, with the app not yet started."""
    run = run_of(request)
    with run.make_testbed() as testbed:
        yield testbed
