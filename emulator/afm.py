"""AFM, application and feature management (contract 5 and 8): switches features, collects their status. Sans-IO."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from conformance.application import Application
from emulator.producers import Clock
from emulator.publication import Publication, publication
from emulator.service import Note


@dataclass(frozen=True, slots=True)
class Status:
    """A usage status as the app published it; malformed says what is wrong with it, "" when nothing is."""

    features: tuple[dict[str, str], ...]
    malformed: str = ""


class Afm:
    """The features of one deployed app. active are the ids of those that are on, in the descriptor's order."""

    def __init__(self, application: Application, clock: Clock) -> None:
        self._application = application
        self._clock = clock
        self.active = tuple(feature.id for feature in application.features if feature.default_on)

    @property
    def status_topic(self) -> str:
        return f"app/{self._application.id}/features"

    def properties(self, now: float) -> Publication:
        """The app's properties as they are, retained: published when the bus comes up and at each change."""
        topic = f"racs/app/{self._application.id}/properties"
        return publication(topic, {"features": list(self.active)}, self._clock.time(now), retain=True)

    def set_features(self, active: Sequence[str], now: float) -> tuple[Publication, Note]:
        """Switch on exactly these features. Raises ValueError for one that the app does not declare."""
        declared = [feature.id for feature in self._application.features]
        unknown = sorted(set(active) - set(declared))
        if unknown:
            raise ValueError(
                f"the app declares no feature {', '.join(unknown)}; it has {', '.join(declared) or 'none'}"
            )
        self.active = tuple(identity for identity in declared if identity in active)
        return self.properties(now), Note("feature-set", now, {"features": list(self.active)})

    def receive(self, payload: bytes, now: float) -> Note:
        """A usage status that the app published on `status_topic`."""
        status = read_status(payload)
        return Note("feature-status", now, {"features": list(status.features), "malformed": status.malformed})


def read_status(payload: bytes) -> Status:
    """Read a usage status (contract 5): a JSON object with time and a list of features, each with id and state."""
    try:
        message = json.loads(payload)
    except (ValueError, RecursionError):
        return Status((), "no JSON in UTF-8")
    if not isinstance(message, dict) or not isinstance(message.get("features"), list):
        return Status((), "no JSON object with a list features")
    features = tuple(_read_feature(item) for item in message["features"])
    if None in features:
        return Status((), 'a feature that is no object {"id": ..., "state": "on" or "off"}')
    read = tuple(feature for feature in features if feature)
    if len({feature["id"] for feature in read}) < len(read):
        return Status(read, "a feature stands in the list twice")
    time = message.get("time")
    if isinstance(time, bool) or not isinstance(time, int | float):
        return Status(read, "no number time (the platform's clock)")
    return Status(read)


def _read_feature(item: Any) -> dict[str, str] | None:
    if not isinstance(item, dict) or not isinstance(item.get("id"), str) or item.get("state") not in ("on", "off"):
        return None
    return {"id": item["id"], "state": item["state"]}
