"""The heartbeat's wire format (contract 3): one UDP datagram of UTF-8 JSON. Assumed: the guide is not public."""

import json
import math
from dataclasses import dataclass
from typing import Any, Literal, get_args

DATAGRAM_BYTES_MAX = 512
SEQ_MAX = (1 << 53) - 1  # the largest integer that every JSON reader keeps exactly (RFC 8259 6)
_MARK = "heartbeat/1"
_FIELDS = ("racs", "app", "seq", "time", "state")

State = Literal["starting", "running", "stopping"]


@dataclass(frozen=True, slots=True)
class Beat:
    """A well-formed heartbeat; time is the guest's clock in seconds since 1970 UTC."""

    app: str
    seq: int
    time: float
    state: State


@dataclass(frozen=True, slots=True)
class Malformed:
    """What is wrong with a datagram: two noun phrases for the app developer."""

    expected: str
    seen: str


class _Wrong(Exception):
    def __init__(self, expected: str, seen: str) -> None:
        super().__init__()
        self.found = Malformed(expected, seen)


def decode(data: bytes, bytes_max: int = DATAGRAM_BYTES_MAX, length: int | None = None) -> Beat | Malformed:
    """Read a datagram. length is its whole length where data holds only its beginning."""
    size = len(data) if length is None else length
    if size > bytes_max:
        return Malformed(f"a datagram of at most {bytes_max} bytes", f"{size} bytes")
    try:
        return _beat(_object(data))
    except _Wrong as wrong:
        return wrong.found


def _object(data: bytes) -> dict[str, Any]:
    try:
        value = json.loads(data.decode(), object_pairs_hook=_once, parse_constant=_no_constant)
    except UnicodeDecodeError as error:
        raise _Wrong("UTF-8 text", f"{data[:40]!r}, broken at byte {error.start}") from error
    except (ValueError, RecursionError) as error:
        raise _Wrong("a JSON object", f"{data[:40]!r}: {error}") from error
    if not isinstance(value, dict):
        raise _Wrong("a JSON object", f"{data[:40]!r}")
    return value


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """RFC 8259 4: what a name that stands twice means differs from reader to reader."""
    names = [name for name, _ in pairs]
    for name in _FIELDS:
        if names.count(name) > 1:
            raise _Wrong(f"the field {name!r} once", f"it {names.count(name)} times")
    return dict(pairs)


def _no_constant(name: str) -> None:
    raise _Wrong("JSON numbers (RFC 8259 6)", name)


def _beat(value: dict[str, Any]) -> Beat:
    for name in _FIELDS:
        if name not in value:
            raise _Wrong(f"the field {name!r}", "an object without it")
    if value["racs"] != _MARK:
        raise _Wrong(f'"racs":"{_MARK}"', _shown("racs", value))
    app, seq, time, state = (value[name] for name in _FIELDS[1:])
    if not isinstance(app, str):
        raise _Wrong('"app" to be a string', _shown("app", value))
    if isinstance(seq, bool) or not isinstance(seq, int) or not 0 <= seq <= SEQ_MAX:
        raise _Wrong('"seq" to be an integer from 0 to 2^53-1, without fraction or exponent', _shown("seq", value))
    if state not in get_args(State):
        raise _Wrong(f'"state" to be one of {", ".join(get_args(State))}', _shown("state", value))
    return Beat(app, seq, _seconds(value, time), state)


def _seconds(value: dict[str, Any], time: object) -> float:
    if not isinstance(time, bool) and isinstance(time, int | float):
        try:
            seconds = float(time)
        except OverflowError:
            seconds = math.inf
        if math.isfinite(seconds):
            return seconds
    raise _Wrong('"time" to be a number, seconds since 1970 UTC', _shown("time", value))


def _shown(name: str, value: dict[str, Any]) -> str:
    return f'"{name}":{json.dumps(value[name])[:60]}'
