"""What a run was asked for, checked before anything starts: bad input ends here with exit status 4."""

import os
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from conformance.errors import UsageError
from conformance.profile import Profile
from conformance.profile import load as load_profile

if TYPE_CHECKING:
    from conformance.package.certificate import Trust

TRUST_PROFILES = ("rd", "production")
REPOSITORY = Path(__file__).resolve().parent.parent
CACHE = REPOSITORY / ".cache"


@dataclass(frozen=True, slots=True)
class PackageOptions:
    """Which package, by which profile and whose trust; look_inside whether the file systems in its image are judged."""

    ova: Path
    profile: Profile
    trust: "Trust"
    look_inside: bool = True


def trust_folder(trust: str) -> Path:
    """Where a user keeps the roots of a trust profile."""
    base = os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config"
    return Path(base) / "racs" / "trust" / trust


def load_package_options(
    ova: Path, roots: tuple[Path, ...], trust: str, profile: str, at: datetime | None = None
) -> PackageOptions:
    """Raises UsageError for a path that is not there, an unreadable root, an unknown trust profile or profile."""
    require_file(ova, "package")
    if trust not in TRUST_PROFILES:
        raise UsageError(f"no trust profile {trust!r}: choose one of {', '.join(TRUST_PROFILES)}")
    return PackageOptions(ova, load_profile(profile), load_trust(roots, trust, at))


def load_trust(roots: tuple[Path, ...], trust: str, at: datetime | None = None) -> "Trust":
    """The roots given, or those of the user's folder of this trust profile; none at all is a UsageError."""
    from conformance.package.certificate import Trust  # start-up time
    from harness.ca import load_roots

    folder = trust_folder(trust)
    files = roots or (tuple(sorted(p for p in folder.iterdir() if p.is_file())) if folder.is_dir() else ())
    if not files:
        raise UsageError(
            f"no root certificate for the trust profile {trust!r}: give --root FILE or put one into {folder}"
            + ("; `./racs ca` makes an R&D root and puts it there" if trust == "rd" else "")
        )
    return Trust(trust, load_roots(files), at or datetime.now(UTC))  # type: ignore[arg-type]


def require_file(path: Path, what: str) -> None:
    """Raises UsageError unless path is a file that can be read."""
    if path.is_dir():
        raise UsageError(f"{path} is a folder; give the {what}'s file")
    if not path.exists():
        raise UsageError(f"{path} is not there; give the path of the {what}")
    if not path.is_file():
        raise UsageError(f"{path} is no regular file; give the {what}'s file")
    if not os.access(path, os.R_OK):
        raise UsageError(f"{path} cannot be read; check its permissions")


def require_writable(path: Path, what: str) -> None:
    """Raises UsageError unless a file can be written there: asked before a run, not found out after it."""
    folder = path.absolute().parent
    if path.is_dir() or not folder.is_dir() or not os.access(path if path.exists() else folder, os.W_OK):
        raise UsageError(f"{what} {path}: cannot be written; give a file in a folder that is there")
