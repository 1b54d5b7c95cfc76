"""A profile's values, found by their dotted path and shown as they stand in TOML. Pure."""

import json
from collections.abc import Mapping
from typing import Any

_SHOWN_CHARACTERS = 60


def value_at(tables: Mapping[str, Any], path: str) -> Any:
    """The value at a dotted path; None where there is none."""
    value: Any = tables
    for part in path.split("."):
        value = value.get(part) if isinstance(value, dict) else None
    return value


def show(value: Any) -> str:
    """A value as it stands in TOML, for one line."""
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= _SHOWN_CHARACTERS else text[: _SHOWN_CHARACTERS - 1] + "…"
