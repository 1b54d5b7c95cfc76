"""The profile: every number and name of the contract, from a TOML file, as one object with dotted look-up. Pure but for
`load`, which reads a file of the package's own data or of the user."""

import hashlib
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any

from conformance.errors import UsageError

DEFAULT = "racs-1"
_FAULTS_SHOWN = 5


@dataclass(frozen=True)
class Profile:
    """A profile's tables: ``profile["heartbeat.window_s"]`` is a field; factor is the accelerator's, 1 unscaled.

    digest is SHA-256 over content, the bytes of its file. file is the name of the file of a profile of the user's own,
    "" for what is, byte by byte, one of this package's, wherever it was read.
    """

    tables: Mapping[str, Any]
    digest: str
    factor: float = 1.0
    file: str = ""
    content: bytes = field(default=b"", repr=False)

    @property
    def id(self) -> str:
        return str(self.tables["profile"]["id"])

    def __getitem__(self, path: str) -> Any:
        """The value at a dotted path, scaled: deadlines times, rates divided by the accelerator's factor."""
        value: Any = self.tables
        for part in path.split("."):
            value = value[part]
        if path in self.tables["accelerator"]["scaled_deadlines"]:
            return value * self.factor
        if path in self.tables["accelerator"]["scaled_rates"]:
            return value / self.factor
        return value

    def number(self, path: str) -> float:
        """A field that is a number, scaled."""
        return float(self[path])

    def for_accelerator(self, accelerator: str) -> "Profile":
        """The profile as it holds under "kvm" or "tcg"."""
        return replace(self, factor=float(self.tables["accelerator"][accelerator]))


def load(name: str = DEFAULT) -> Profile:
    """A profile by its id (one of the package's own) or by the path of a TOML file with racs-1's keys and kinds.

    Raises UsageError with what to do when there is none, it is no TOML, or a key or value is not as in racs-1.
    """
    own = _shipped(name)
    try:
        data = own.read_bytes() if own.is_file() else Path(name).read_bytes()
    except OSError as error:
        hint = f"give the id {DEFAULT} or the path of a profile file"
        raise UsageError(f"no profile {name!r} ({error}): {hint}") from error
    try:
        tables = tomllib.loads(data.decode())
    except (ValueError, RecursionError) as error:
        raise UsageError(f"{name}: no profile: {error}; compare it with racs-1.toml") from error
    file = ""
    if not own.is_file():
        _require_kinds(name, tables)
        shipped = _shipped(tables["profile"]["id"])
        file = "" if shipped.is_file() and shipped.read_bytes() == data else Path(name).name
    return Profile(tables, hashlib.sha256(data).hexdigest(), file=file, content=data)


def _shipped(name: str) -> Traversable:
    return resources.files("conformance") / "data" / "profiles" / f"{name}.toml"


def _require_kinds(name: str, tables: Mapping[str, Any]) -> None:
    from conformance.profile_rules import faults  # start-up time: racs-1 itself needs no look

    found = list(faults(tables, tomllib.loads(_shipped(DEFAULT).read_text(encoding="utf-8"))))
    if found:
        more = f"\n  and {len(found) - _FAULTS_SHOWN} more" if len(found) > _FAULTS_SHOWN else ""
        lines = found[0] if len(found) == 1 else "".join(f"\n  {fault}" for fault in found[:_FAULTS_SHOWN])
        raise UsageError(f"{name}: {lines}{more}")
