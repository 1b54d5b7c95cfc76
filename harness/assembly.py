"""A run's ledger and facts put together to a `Certification`: the one value that every report is made from."""

import os
import shutil
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cache
from hashlib import file_digest, sha256
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

from conformance.catalogue import load as load_catalogue
from conformance.certification import CertificateIdentity, Certification, Scope, Step, Whole, whole_verdict
from conformance.errors import UsageError
from conformance.judge import Ledger, judge_package, not_bootable
from conformance.profile import DEFAULT
from conformance.verdict import Verdict
from harness.options import REPOSITORY, TRUST_PROFILES, PackageOptions
from harness.screen import plain

if TYPE_CHECKING:
    from conformance.package import Package
    from conformance.package.certificate import Trust
    from conformance.profile import Profile

DISTRIBUTION = "racs-conformance"
_NAME_MAX = 48  # characters of a folder's name: with the time, and four bytes each, below 255
RD_NOTE = "R&D, not for deployment: the chain was judged against R&D roots (trust profile rd)"


@dataclass
class RunFacts:
    """What a certification tells beside the verdicts; filled while the run goes on."""

    scope: Scope
    started: datetime = field(default_factory=lambda: datetime.now(UTC))
    seed: int = 0
    accelerator: str = ""
    host: Mapping[str, str] = field(default_factory=dict)
    steps: tuple[Step, ...] = ()
    errors: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    evidence: Mapping[str, str] = field(default_factory=dict)
    selected: tuple[str, ...] = ()
    interrupted: bool = False
    missing: str = "nothing of this run judged it"


def assemble(options: PackageOptions, package: "Package", ledger: Ledger, facts: RunFacts) -> Certification:
    """The certification of a run that has ended, however it ended."""
    judgements = ledger.judgements(facts.missing)
    broken = (j for j in judgements if j.subject == "platform" and j.in_force and j.verdict is Verdict.FAIL)
    errors = (*facts.errors, *(f"the lab is broken, not the app: {j.id}: {j.reason}" for j in broken))
    verdict: Whole = whole_verdict(judgements, facts.interrupted, errors)
    notes = _trust_notes(options.trust) + _profile_notes(options.profile) + facts.notes
    return Certification(
        scope=facts.scope,
        verdict=verdict,
        trust=options.trust.profile,
        at=facts.started.isoformat(timespec="seconds"),
        duration_s=round((datetime.now(UTC) - facts.started).total_seconds(), 1),
        application=package.application.to_json() if package.application else {},
        package_file=plain(options.ova.name),
        digests={
            "package": package.sha256,
            "profile": options.profile.digest,
            "catalogue": ledger.catalogue.digest,
            "suite": suite_digest(),
        },
        profile=options.profile.id,
        profile_file=plain(options.profile.file),
        suite_version=version(DISTRIBUTION),
        chain=_chain(package, options.trust),
        seed=facts.seed,
        accelerator=facts.accelerator,
        host=facts.host,
        judgements=judgements,
        steps=facts.steps,
        errors=errors,
        notes=tuple(notes),
        evidence=facts.evidence,
        selected=facts.selected,
    )


def _trust_notes(trust: "Trust") -> list[str]:
    """Only production is production, and only now is now: what else was judged by stands beside the verdict."""
    notes = []
    if trust.profile == "rd":
        notes.append(RD_NOTE)
    elif trust.profile not in TRUST_PROFILES:
        notes.append(f"not judged for production: trust profile {trust.profile!r} is of this user's own making")
    if trust.as_of:
        notes.append(f"validity judged as of {trust.at.astimezone(UTC).isoformat(timespec='seconds')} (--at)")
    return notes


def _profile_notes(profile: "Profile") -> list[str]:
    """A profile may call itself what it likes; whether it is one of this suite's is said by its bytes."""
    if not profile.file:
        return []
    ours = f"not by the profile {DEFAULT} of this suite: no certification by the contract"
    return [f"judged by the numbers of {plain(profile.file)}, {ours}"]


def _chain(package: "Package", trust: "Trust") -> tuple[CertificateIdentity, ...]:
    """Who signed and whom that rests on: names can be anybody's, fingerprints cannot."""
    from cryptography.hazmat.primitives.hashes import SHA256  # start-up time

    from conformance.checks.signature import certificates_judged
    from conformance.package.chain_names import describe

    return tuple(
        CertificateIdentity(
            describe(certificate), certificate.fingerprint(SHA256()).hex(), certificate.not_valid_after_utc.isoformat()
        )
        for certificate in certificates_judged(package, trust)
    )


def judge_statically(options: PackageOptions, package: "Package", ledger: Ledger, ids: Sequence[str]) -> str:
    """Judge these ids of scope "package" into the ledger; why the package must not be booted, or ""."""
    found = {}
    for identity in ids:
        found[identity] = judge_package(ledger.catalogue[identity], package, options.profile, options.trust)
        ledger.add(identity, found[identity])
    return not_bootable(found)


def refusal_of(options: PackageOptions, package: "Package") -> str:
    """Why nothing of this package may be booted; "" when its bytes can be trusted."""
    ledger = Ledger(load_catalogue())
    static = [r.id for r in ledger.catalogue.requirements.values() if r.scope == "package" and r.in_force]
    refusal = judge_statically(options, package, ledger, static)
    if not refusal and package.application is None:
        return "the descriptor does not say what the app is: nothing of it was booted"
    return refusal


def make_run_folder(runs: Path, name: str, started: datetime) -> Path:
    """A new folder RUNS/TIME-NAME with an empty evidence folder in it. Raises UsageError where it cannot be made.

    name may be a stranger's file's: of it so much is taken that the folder can be, and be shown.
    """
    name = "".join(one if one.isprintable() else "_" for one in name[:_NAME_MAX])
    stamp, number = started.strftime("%Y%m%dT%H%M%SZ"), 1
    try:
        runs.mkdir(parents=True, exist_ok=True)
        while True:
            folder = runs.resolve() / (f"{stamp}-{name}" if number == 1 else f"{stamp}-{name}-{number}")
            with suppress(FileExistsError):  # of a run that began in the same second
                folder.mkdir()
                (folder / "evidence").mkdir()
                return folder
            number += 1
    except OSError as error:
        raise UsageError(f"{runs}: {error.strerror}; give --runs a folder that can be written") from error


def point_latest(folder: Path) -> None:
    """RUNS/latest is the run that began last, whatever becomes of it. Raises UsageError where that cannot be said."""
    fresh = folder.parent / f".latest-{os.getpid()}"
    try:
        fresh.symlink_to(folder.name)
        fresh.replace(folder.parent / "latest")
    except OSError as error:
        raise UsageError(f"{folder.parent}: {error.strerror}; give --runs a folder that can be written") from error


def remove_run_folder(folder: Path) -> None:
    """Undo `make_run_folder` and `point_latest` for a run that never took place."""
    latest = folder.parent / "latest"
    if latest.is_symlink() and latest.readlink() == Path(folder.name):
        latest.unlink()
    shutil.rmtree(folder, ignore_errors=True)


@cache
def suite_digest() -> str:
    """SHA-256 over the suite's own sources (names and bytes), so that a report says which suite judged."""
    digest = sha256(version(DISTRIBUTION).encode())
    for room in ("conformance", "emulator", "harness", "suites"):
        for path in sorted((REPOSITORY / room).rglob("*")):
            if path.is_file() and path.suffix in {".py", ".toml", ".xsd", ".lark"}:
                digest.update(f"{path.relative_to(REPOSITORY)}\0".encode() + path.read_bytes())
    return digest.hexdigest()


def digest_files(folder: Path) -> dict[str, str]:
    """Name and SHA-256 of each file directly in a folder: the evidence as the report pins it."""
    found = {}
    for path in sorted(folder.iterdir()):
        if path.is_file():
            with path.open("rb") as file:
                found[path.name] = file_digest(file, "sha256").hexdigest()
    return found
