"""The platform's report for SWAM (contract 8): which apps and features are in use, counted since the last report.

A report is numbered and kept in a folder until SWAM took it: it is never lost, and as every try of it carries the same
Idempotency-Key (draft-ietf-httpapi-idempotency-key-header), never counted twice. The folder is the only state.
"""

import http.client
import json
import os
import uuid
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from conformance.application import Application

POST_DEADLINE_S = 5.0
_WAITING, _TAKEN = ".json", ".taken.json"


@dataclass(frozen=True, slots=True)
class Usage:
    """A feature as the report shows it; count and delta are of instances in which it is on."""

    id: str
    name: str
    salesItem: str  # spelt as in the descriptor
    state: str
    count: int
    delta: int


@dataclass(frozen=True, slots=True)
class Report:
    """One deployed app; count and delta are of its instances, time is the platform's clock."""

    key: str
    time: float
    application: str
    version: str
    count: int
    delta: int
    features: tuple[Usage, ...]

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> "Report":
        """The inverse of `to_json`."""
        return cls(**{**value, "features": tuple(Usage(**usage) for usage in value["features"])})


class Outbox:
    """Reports in a folder of the caller's: ``report-N.json`` waits for SWAM, ``report-N.taken.json`` SWAM took."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def report(self, application: Application, active: Collection[str], time: float, deployed: bool = True) -> Report:
        """Make the next report and keep it until SWAM takes it. active are the ids of the features that are on."""
        last = self._last()
        number = last[0] + 1 if last else 1
        before = last[1] if last else None
        count = int(deployed)
        usages = []
        for feature in application.features:
            on = int(deployed and feature.id in active)
            was = next((usage.count for usage in before.features if usage.id == feature.id), 0) if before else 0
            state = "on" if on else "off"
            usages.append(Usage(feature.id, feature.name, feature.sales_item, state, on, on - was))
        key = f"{before.key.split('/')[0] if before else uuid.uuid4()}/{number}"
        delta = count - (before.count if before else 0)
        made = Report(key, time, application.id, application.version, count, delta, tuple(usages))
        self._keep(number, made)
        return made

    def waiting(self) -> Sequence[Path]:
        """The reports that SWAM has not taken, oldest first."""
        return [path for path in self._paths() if not path.name.endswith(_TAKEN)]

    def forward(self, url: str) -> bool:
        """Post what waits, oldest first; False when SWAM did not take all: try again later."""
        for path in self.waiting():
            if not _post(url, path.read_bytes()):
                return False
            path.rename(path.with_name(path.name.removesuffix(_WAITING) + _TAKEN))
        return True

    def _paths(self) -> list[Path]:
        return sorted(self._folder.glob("report-*.json"), key=_number)

    def _last(self) -> tuple[int, Report] | None:
        paths = self._paths()
        return (_number(paths[-1]), Report.from_json(json.loads(paths[-1].read_bytes()))) if paths else None

    def _keep(self, number: int, report: Report) -> None:
        path = self._folder / f"report-{number}{_WAITING}"
        part = path.with_suffix(".part")  # renamed when whole: a report is there or is not
        with part.open("w") as file:
            json.dump(report.to_json(), file)
            file.flush()
            os.fsync(file.fileno())
        part.rename(path)


def _number(path: Path) -> int:
    return int(path.name.removeprefix("report-").split(".")[0])


def _post(url: str, body: bytes) -> bool:
    """Whether SWAM took it: any 2xx."""
    parts = urlsplit(url)
    kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
    connection = kind(parts.hostname or "", parts.port, timeout=POST_DEADLINE_S)
    headers = {"Content-Type": "application/json", "Idempotency-Key": json.loads(body)["key"]}
    try:
        connection.request("POST", parts.path or "/", body, headers)
        return 200 <= connection.getresponse().status < 300
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()
