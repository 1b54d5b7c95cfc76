"""`racs build-app`, `racs build-ova`, `racs ca`, and the sample app that `racs certify` takes when it gets none."""

from dataclasses import dataclass
from pathlib import Path

from harness.options import REPOSITORY

CACHE = REPOSITORY / ".cache"


@dataclass(frozen=True, slots=True)
class PackageParts:
    """The files a package is made of; acl None means auth/acl.xml beside the descriptor, where there is one."""

    ovf: Path
    image: Path
    privatekey: Path
    certificate: Path
    acl: Path | None = None


@dataclass(frozen=True, slots=True)
class Sample:
    ova: Path
    root: Path
