"""A package that nobody could judge: it is not there, cannot be read, or crashed the process that judged it."""

import json
from dataclasses import dataclass
from pathlib import Path

from conformance.exitstatus import ExitStatus
from harness.screen import plain

SCHEMA = "racs-not-checked/1"


@dataclass(frozen=True, slots=True)
class NotChecked:
    """Why, and the exit status that it makes: USAGE where another path is to be given, else ERROR. No digest of the
    package is known, so it is no certification, not even a bad one."""

    package: Path
    exit_status: ExitStatus
    why: str

    def to_json(self, indent: int | None = 1) -> str:
        """The JSON of schema racs-not-checked/1; on one line without an indent."""
        value = {
            "schema": SCHEMA,
            "exit_status": self.exit_status,
            "verdict": "error",
            "package_file": plain(self.package.name),
            "errors": [plain(self.why)],
        }
        return json.dumps(value, indent=indent) + "\n"
