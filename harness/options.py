"""What a run was asked for, checked before anything starts: bad input ends here with exit status 4."""

import os
import stat
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


def trust_profiles() -> tuple[str, ...]:
    """The contract's trust profiles, then those of the user's own: each a folder of roots beside theirs."""
    own = [path.name for path in _entries(trust_folder("")) if path.is_dir()]
    return tuple(dict.fromkeys((*TRUST_PROFILES, *own)))


def load_package_options(
    ova: Path, roots: tuple[Path, ...], trust: str, profile: str, at: datetime | None = None
) -> PackageOptions:
    """Raises UsageError for a path that is not there, an unreadable root, an unknown trust profile or profile."""
    require_file(ova, "package")
    return PackageOptions(ova, load_profile(profile), load_trust(roots, trust, at))


def load_trust(roots: tuple[Path, ...], trust: str, at: datetime | None = None) -> "Trust":
    """The roots given, files or folders of files, or those of the user's folder of this trust profile.

    Raises UsageError for an unknown trust profile, with roots too: a slip of the pen must not make one up, whose rules
    are not production's. No root at all is one as well.
    """
    known = trust_profiles()
    if trust not in known:
        raise UsageError(
            f"no trust profile {trust!r}: choose one of {', '.join(known)}; "
            f"one of your own is a folder of root certificates in {trust_folder('')}"
        )
    from conformance.package.certificate import Trust  # start-up time
    from harness.packaging.ca import load_roots

    folder = trust_folder(trust)
    files = _files(roots) if roots else _folder_files(folder)
    if not files:
        raise UsageError(
            f"no root certificate for the trust profile {trust!r}: give --root FILE or put one into {folder}"
            + ("; `./racs ca` makes an R&D root and puts it there" if trust == "rd" else "")
        )
    return Trust(trust, tuple(dict.fromkeys(load_roots(files))), at or datetime.now(UTC), at is not None)


def _files(roots: tuple[Path, ...]) -> tuple[Path, ...]:
    """The files given, and those in the folders given."""
    files: list[Path] = []
    for path in roots:
        found = _folder_files(path) if os.path.isdir(path) else (path,)  # also of what cannot be reached
        if not found:
            raise UsageError(f"--root {path}: the folder holds no file; give one with root certificates (PEM)")
        files += found
    return tuple(files)


def _folder_files(folder: Path) -> tuple[Path, ...]:
    return tuple(path for path in _entries(folder) if path.is_file())


def _entries(folder: Path) -> tuple[Path, ...]:
    """What is directly in a folder, in order, hidden things apart; nothing where there is no folder."""
    try:
        return tuple(sorted(path for path in folder.iterdir() if not path.name.startswith(".")))
    except FileNotFoundError:
        return ()
    except OSError as error:
        raise UsageError(f"{folder} cannot be read: {error.strerror}") from error


def require_file(path: Path, what: str) -> None:
    """Raises UsageError unless path is a file that can be read."""
    try:
        mode = path.stat().st_mode
    except (FileNotFoundError, NotADirectoryError) as error:
        raise UsageError(f"{path} is not there; give the path of the {what}") from error
    except OSError as error:
        raise UsageError(f"{path} cannot be reached: {error.strerror}; give the path of the {what}") from error
    if stat.S_ISDIR(mode):
        raise UsageError(f"{path} is a folder; give the {what}'s file")
    if not stat.S_ISREG(mode):
        raise UsageError(f"{path} is no regular file; give the {what}'s file")
    if not os.access(path, os.R_OK):
        raise UsageError(f"{path} cannot be read; check its permissions")


def require_writable(path: Path, what: str) -> None:
    """Raises UsageError unless a file can be written there: asked before a run, not found out after it."""
    folder = path.absolute().parent
    if path.is_dir() or not folder.is_dir() or not os.access(path if path.exists() else folder, os.W_OK):
        raise UsageError(f"{what} {path}: cannot be written; give a file in a folder that is there")
