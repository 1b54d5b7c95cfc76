"""A message that an element of the platform publishes on the bus (contract 5). Pure."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Publication:
    """Published with QoS 0 on the broker's own side of the guard."""

    topic: str
    payload: bytes
    retain: bool = False


def publication(topic: str, fields: Mapping[str, Any], time: float, retain: bool = False) -> Publication:
    """A JSON object with the platform's clock in ``time`` (seconds since 1970), as all payloads of contract 5."""
    text = json.dumps({**fields, "time": round(time, 6)}, separators=(",", ":"))
    return Publication(topic, text.encode(), retain)
