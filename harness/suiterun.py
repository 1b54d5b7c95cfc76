"""One run of the suites: from pytest's items to a ledger of verdicts, a certification, its reports and exit status."""

import random
import re
import sys
import time
from collections.abc import Callable, Generator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from conformance.catalogue import load as load_catalogue
from conformance.certification import Certification
from conformance.errors import BrokenLab, EnvironmentFault, SubjectError, UsageError
from conformance.judge import Ledger
from conformance.package import Package, open_package
from conformance.verdict import Finding, Outcome, Verdict, failed, lab_gave_up, not_applicable, not_judged
from harness.assembly import (
    RunFacts,
    digest_files,
    judge_statically,
    make_run_folder,
    point_latest,
    refusal_of,
    remove_run_folder,
)
from harness.collection import Collection, nothing_selected, requirement_of
from harness.conclusion import conclude
from harness.display import render_certification, verdict_line
from harness.inspection.look import look_inside
from harness.interrupts import Interrupts, leave
from harness.options import PackageOptions, load_package_options, require_writable
from harness.screen import is_coloured, show, silence
from harness.situations import Unreached

if TYPE_CHECKING:
    from harness.testbed import Testbed

Judge = Callable[..., None]
RUN = "racs-run"  # the plug-in's name
_IDENTITY = re.compile(r"\b[A-Za-z]{3}-\d{3}\b")


@dataclass(frozen=True, slots=True)
class Request:
    """What the call asks for. refusal says why nothing may be booted, "" when the package's bytes can be trusted."""

    options: PackageOptions
    package: Package
    ledger: Ledger
    refusal: str
    accelerator: str
    seed: int
    runs: Path

    @property
    def boots(self) -> bool:
        return not self.refusal


def read_request(config: pytest.Config) -> Request:
    """Check the call and judge the package. Raises UsageError."""
    option = config.option
    if getattr(option, "numprocesses", None) or getattr(option, "tx", None):
        raise UsageError("suites/ runs one testbed: leave out -n (it is for tests/)")
    if option.json == "-" and not option.certify:
        raise UsageError("--json -: standard output is pytest's own here; give --json a file, or call racs certify")
    if option.ova is None:
        raise UsageError("no package to certify: pytest suites/ --ova app.ova")
    for identity in _IDENTITY.findall(option.keyword or ""):
        load_catalogue()[identity]  # names the nearest for one that does not exist
    _require_link(option.runs / "latest")
    if option.json and option.json != "-":
        require_writable(Path(option.json), "--json")
    options = load_package_options(option.ova, tuple(option.root), option.trust, option.profile)
    package = look_inside(open_package(options.ova, options.profile), options.profile)
    seed = option.seed if option.seed is not None else random.SystemRandom().randrange(2**32)
    ledger, refusal = Ledger(load_catalogue()), refusal_of(options, package)
    return Request(options, package, ledger, refusal, option.accelerator, seed, option.runs)


def _require_link(latest: Path) -> None:
    """What is called as the link to the last run but is none stays as it is. Raises UsageError."""
    if latest.exists() and not latest.is_symlink():
        raise UsageError(f"{latest} is no link: that name is the last run's; rename it, or give --runs another folder")


class SuiteRun(Collection):
    """The plug-in of a run that is really to take place; see harness/plugin.py for when it is registered."""

    def __init__(self, config: pytest.Config, request: Request) -> None:
        super().__init__(config)
        # a warning in a library is no reason to call a vendor's app or the suite broken
        config.addinivalue_line("filterwarnings", "default")
        self.config = config
        self.request = request
        self.ledger = request.ledger
        self.interrupts = Interrupts()
        self.facts = RunFacts(
            "certification", seed=request.seed, missing=request.refusal or "nothing of this run judged it"
        )
        if config.option.keyword or config.option.markexpr:
            self.facts.scope = "selection"
        self.testbed: Testbed | None = None
        self.folder = Path()
        self.certification: Certification | None = None
        self.lacking = ""
        self.nothing = ""

    # collection

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_collection_modifyitems(
        self, config: pytest.Config, items: list[pytest.Item]
    ) -> Generator[None, None, None]:
        before = len(items)
        yield
        drafts = self.drop_drafts(config, items)
        before -= len(drafts)
        if not items:
            self.nothing = nothing_selected(config, sorted({requirement_of(item) for item in drafts}))
        ids = {requirement_of(item) for item in items} - {""}
        required = {r.id for r in self.catalogue.requirements.values() if r.in_force}
        if len(items) < before or ids != required:
            self.facts.scope = "selection"
            self.facts.selected = tuple(sorted(ids))
            self.ledger.in_scope = frozenset(ids)

    @pytest.hookimpl(tryfirst=True)
    def pytest_collection(self) -> None:
        self.interrupts.take()  # from here on a report is made of what there is

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        if report.failed:
            self.facts.errors.append(f"{report.nodeid}: {report.longreprtext.splitlines()[-1]}")

    # running

    def pytest_sessionstart(self) -> None:
        application = self.request.package.application
        name = application.id if application else self.request.options.ova.stem
        try:
            self.folder = make_run_folder(self.request.runs, name, self.facts.started)
            point_latest(self.folder)
        except UsageError as error:
            raise pytest.UsageError(f"racs: {error}") from error

    def add(self, requirement: str, outcome: Outcome, test: str, seconds: float = 0.0) -> None:
        """Enter a verdict."""
        self.ledger.add(requirement, outcome, test, seconds)
        self._tell(requirement, outcome)

    def judge_package(self) -> dict[str, Outcome]:
        """The verdicts of scope "package" by id."""
        ledger = Ledger(self.catalogue)
        ids = [r.id for r in self.catalogue.requirements.values() if r.scope == "package" and r.in_force]
        judge_statically(self.request.options, self.request.package, ledger, ids)
        return {identity: outcomes[0] for identity, outcomes in ledger.outcomes.items()}

    def make_testbed(self) -> "Testbed":
        """The run's testbed, not yet entered; its facts are the run's."""
        from harness.lab import LabSpec  # opens libvirt
        from harness.testbed import Testbed

        request = self.request
        evidence = self.folder / "evidence"
        spec = LabSpec(request.package, request.options.profile, evidence, request.seed, request.accelerator)
        self.testbed = Testbed(spec, self.say)
        return self.testbed

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_setup(self, item: pytest.Item) -> None:
        identity = requirement_of(item)
        if not identity:
            return
        entry, application = self.catalogue[identity], self.request.package.application
        outcome = None
        if entry.scope == "run" and self.request.refusal:
            outcome = not_judged(self.request.refusal)
        elif application is not None and not entry.applies_to(application):
            outcome = not_applicable(f"it speaks of {entry.when} apps")
        if outcome is not None:
            self.ledger.add(identity, outcome, item.name)
            pytest.skip(f"{outcome.verdict}: {outcome.reason}")

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(
        self, item: pytest.Item, call: pytest.CallInfo[None]
    ) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        report = yield
        error = call.excinfo.value if call.excinfo else None
        if error is None or isinstance(error, (pytest.skip.Exception, pytest.fail.Exception, KeyboardInterrupt)):
            return report
        identity, outcome = requirement_of(item), None
        if isinstance(error, EnvironmentFault):
            outcome = lab_gave_up(str(error))
        elif isinstance(error, Unreached):
            outcome = not_judged(str(error))
        elif isinstance(error, SubjectError):
            outcome = failed([Finding(error.expected, error.seen, error.where, error.remedy)])
        if identity and outcome is not None:
            self.add(identity, outcome, item.name)
        if outcome is not None and outcome.verdict is not Verdict.FAIL:
            report.outcome = "skipped"
            report.longrepr = (str(item.path), 0, f"{outcome.verdict}: {error}")
        elif isinstance(error, UsageError):
            self.lacking = str(error)
        elif outcome is None:
            place = "the lab is broken" if isinstance(error, BrokenLab) else type(error).__name__
            line = f"{item.name}: {place}: {error}"
            if not any(known.endswith(line.split(": ", 1)[1]) for known in self.facts.errors):
                self.facts.errors.append(line)
        return report

    @pytest.hookimpl(tryfirst=True)
    def pytest_keyboard_interrupt(self) -> None:
        self.interrupts.end()
        self.facts.interrupted = True
        self.facts.missing = "the run was interrupted before"

    # ending

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self, session: pytest.Session, exitstatus: int) -> None:
        if exitstatus == pytest.ExitCode.USAGE_ERROR:  # such as a -k that is no expression: nothing took place
            remove_run_folder(self.folder)
            return
        if exitstatus == pytest.ExitCode.INTERNAL_ERROR:
            self.facts.errors.append("internal error of the suite; the text stands above")
        self.interrupts.end()  # what there is will be reported
        request, option = self.request, self.config.option
        with self._released():
            if self.testbed is not None:
                self._take_facts(self.testbed)
            self.certification = conclude(
                request.options, request.package, self.ledger, self.facts, self.folder, option.json
            )
            printed = not option.certify or self._print_result(self.certification)
        status = self.certification.exit_status if printed else pytest.ExitCode.INTERNAL_ERROR
        session.exitstatus = pytest.ExitCode.USAGE_ERROR if self.lacking and status != 2 else status

    @pytest.hookimpl(trylast=True)
    def pytest_unconfigure(self) -> None:
        if self.certification is not None and self.facts.interrupted:
            leave(self.certification.exit_status)

    def pytest_terminal_summary(self, terminalreporter: Any) -> None:
        if self.certification is None:
            return
        terminalreporter.section("RACS certification")
        colour = terminalreporter.hasmarkup
        for why in filter(None, (self.lacking, self.nothing)):
            terminalreporter.write_line(f"racs: {why}")
        terminalreporter.write_line(render_certification(self.certification, self._report, colour))

    def _print_result(self, certification: Certification) -> bool:
        """Whether the result could be shown; a reader that went away did not want it."""
        try:
            for why in filter(None, (self.lacking, self.nothing)):
                show(f"racs: {why}", sys.stderr)
            if self.config.option.json == "-":
                show(verdict_line(certification, is_coloured(sys.stderr)), sys.stderr)
            else:
                show(render_certification(certification, self._report, is_coloured(sys.stdout)), sys.stdout)
        except OSError as error:
            silence(sys.stdout)
            show(f"racs: standard output cannot be written: {error.strerror}", sys.stderr)
            return False
        return True

    @property
    def _report(self) -> Path | None:
        report = self.folder / "report.html"
        return report if report.exists() else None

    def _take_facts(self, bed: "Testbed") -> None:
        self.facts.accelerator = bed.lab.accelerator
        self.facts.host = bed.lab.host_facts
        self.facts.steps = bed.steps
        self.facts.evidence = digest_files(self.folder / "evidence")

    def say(self, text: str) -> None:
        """Progress, to standard error, in `racs certify` only (pytest has a display of its own)."""
        if self.config.option.certify:
            elapsed = time.time() - self.facts.started.timestamp()
            with self._released():
                show(f"[{elapsed:6.1f} s] {text}", sys.stderr)

    def _released(self) -> AbstractContextManager[None]:
        """Out of the hands of pytest's capture, which would show it at the end or never."""
        manager = self.config.pluginmanager.getplugin("capturemanager")
        return nullcontext() if manager is None else manager.global_and_fixture_disabled()

    def _tell(self, requirement: str, outcome: Outcome) -> None:
        self.say(f"{requirement} {outcome.verdict}: {outcome.reason}")
