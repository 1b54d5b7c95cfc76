"""How a run ends: its certification, the reports in its folder, and what stands there when they cannot be written."""

import shutil
from contextlib import suppress
from pathlib import Path

from conformance.certification import Certification
from conformance.errors import UsageError
from conformance.judge import Ledger
from conformance.package import Package
from conformance.profile import Profile
from harness.assembly import RunFacts, assemble
from harness.display import write_json
from harness.options import PackageOptions

PROFILE = "profile.toml"


def conclude(
    options: PackageOptions, package: Package, ledger: Ledger, facts: RunFacts, folder: Path, json_file: str | None
) -> Certification:
    """The certification of a run that has ended, with its reports written, and the profile among its evidence. What
    cannot be written is an error of the run's.

    Then no report that says otherwise stays behind: certification.json says so too, or there is none.
    """
    from reports import REPORTS, write_reports  # templates

    _keep_profile(options.profile, facts, folder)
    certification = assemble(options, package, ledger, facts)
    try:
        write_reports(certification, folder)
        if json_file:
            write_json(certification.to_json(), json_file)
    except (OSError, ValueError, UsageError) as error:
        facts.errors.append(f"a report could not be written: {error}")
        certification = assemble(options, package, ledger, facts)
        for name in REPORTS:
            _remove(folder / name)
        with suppress(OSError):
            write_reports(certification, folder, only="certification.json")
    return certification


def _keep_profile(profile: Profile, facts: RunFacts, folder: Path) -> None:
    """A digest alone would not say, a year later, by which numbers the app was judged."""
    path = folder / "evidence" / PROFILE
    try:
        path.write_bytes(profile.content)
    except OSError as error:
        _remove(path)
        facts.errors.append(f"the profile could not be kept as evidence: {error}")
    else:
        facts.evidence = {**facts.evidence, PROFILE: profile.digest}


def _remove(path: Path) -> None:
    with suppress(OSError):
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()
