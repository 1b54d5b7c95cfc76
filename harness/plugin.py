"""The pytest plug-in: inert unless something below suites/ is selected.

Then it checks the call (exit status 4 before anything starts), judges the package, and, when its bytes can be trusted,
re-executes the whole process inside the lab's private namespaces before any thread, socket or libvirt exists.
"""

import sys
from pathlib import Path

import pytest

from conformance.errors import UsageError
from harness.options import REPOSITORY

SUITES = REPOSITORY / "suites"


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("racs", "RACS conformance (suites/)")
    group.addoption("--ova", type=Path, metavar="FILE", help="the package to certify")
    group.addoption("--root", type=Path, action="append", default=[], metavar="FILE", help="trusted roots; repeatable")
    group.addoption("--trust", default="rd", help="trust profile: rd (default) or production")
    group.addoption("--profile", default="racs-1", help="profile id or file")
    group.addoption("--accelerator", choices=("auto", "kvm", "tcg"), default="auto", help="how the machine is emulated")
    group.addoption("--seed", type=int, help="draw every random choice from this seed")
    group.addoption("--runs", type=Path, default=Path("runs"), metavar="FOLDER", help="where runs leave their reports")
    group.addoption("--json", metavar="FILE", help="write the certification as JSON; - is standard output")
    group.addoption("--certify", action="store_true", help="show progress and the verdict table as `racs certify` does")


@pytest.hookimpl(tryfirst=True)
def pytest_cmdline_main(config: pytest.Config) -> None:
    if config.option.help or config.option.version:
        return
    if not _selects_suites(config):
        if config.option.ova is not None:
            raise pytest.UsageError(f"racs: {_stranger(config)}: pytest {SUITES} --ova app.ova")
        return
    if config.option.collectonly:
        from harness.collection import Listing  # inert until a suite is selected

        config.pluginmanager.register(Listing(config), "racs-listing")
        return
    from harness import fixtures, interrupts
    from harness.suiterun import RUN, SuiteRun, read_request

    interrupts.hold()
    try:
        request = read_request(config)
        if request.boots:
            from harness.entrance import require_lab

            require_lab(request.options.profile, _release_capture(config))
    except UsageError as error:
        raise pytest.UsageError(f"racs: {error}") from error
    config.pluginmanager.register(SuiteRun(config, request), RUN)
    config.pluginmanager.register(fixtures, "racs-fixtures")


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """The suites are collected when they were asked for, not with all that lies below a folder."""
    return True if collection_path == SUITES and not _selects_suites(config) else None


def _selects_suites(config: pytest.Config) -> bool:
    for argument in config.args:
        path = Path(config.invocation_params.dir, argument.split("::")[0]).resolve()
        if path == SUITES or SUITES in path.parents:
            return True
    return False


def _stranger(config: pytest.Config) -> str:
    """What is wrong with a call that has a package for the suites and does not select them."""
    paths = [argument.split("::")[0] for argument in config.args]
    for path in paths:
        if SUITES.name in Path(path).parts and not Path(config.invocation_params.dir, path).exists():
            return f"{path} is not here, the suites are elsewhere"
    return f"--ova is for the suites, {' '.join(paths)} is not of them"


def _release_capture(config: pytest.Config):  # type: ignore[no-untyped-def]  # a callable for the moment before exec
    def release() -> None:
        manager = config.pluginmanager.getplugin("capturemanager")
        if manager is not None:
            manager.stop_global_capturing()
        sys.stdout.flush()
        sys.stderr.flush()

    return release
