"""AFM: what it publishes, and what it makes of an app's usage status."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from conformance.application import Application, Feature
from conformance.trace import faults
from emulator.afm import Afm, read_status
from emulator.platform import PlatformClock

GOON = Application(
    "goon", "terminating", "Example", "GoOn", "1.0", 1.0, ("service",),
    features=(Feature("echo", "Echo", "S-1", True), Feature("upper", "Upper", "S-2", False)),
)  # fmt: skip


def afm() -> Afm:
    return Afm(GOON, PlatformClock(0.0, 1.7e9, 0.0))


def test_the_defaults_are_on_at_first() -> None:
    told = afm().properties(5.0)
    assert (told.topic, told.retain) == ("racs/app/goon/properties", True)
    assert json.loads(told.payload) == {"features": ["echo"], "time": 1.7e9 + 5}


def test_switching() -> None:
    element = afm()
    told, note = element.set_features(["upper", "echo"], 6.0)
    assert json.loads(told.payload)["features"] == ["echo", "upper"], "in the descriptor's order"
    assert note.kind == "feature-set" and note.fields == {"features": ["echo", "upper"]}
    assert element.properties(7.0).payload != told.payload and element.active == ("echo", "upper")
    with pytest.raises(ValueError, match="declares no feature gold"):
        element.set_features(["gold"], 8.0)
    assert element.active == ("echo", "upper")


GOOD = {"features": [{"id": "echo", "state": "on"}, {"id": "upper", "state": "off"}], "time": 1.0}
MALFORMED = {
    "no JSON": (b"on", "no JSON"),
    "no UTF-8": (b"\xff", "no JSON"),
    "a list": (b"[]", "no JSON object"),
    "no features": (b'{"time":1}', "list features"),
    "features no list": (b'{"features":{},"time":1}', "list features"),
    "a feature without state": (b'{"features":[{"id":"echo"}],"time":1}', "no object"),
    "an unknown state": (b'{"features":[{"id":"echo","state":true}],"time":1}', "no object"),
    "a feature as text": (b'{"features":["echo"],"time":1}', "no object"),
    "twice": (b'{"features":[{"id":"echo","state":"on"},{"id":"echo","state":"off"}],"time":1}', "twice"),
    "no time": (b'{"features":[]}', "time"),
    "time as text": (b'{"features":[],"time":"1"}', "time"),
    "deep": (b"[" * 100_000, "no JSON"),
}


def test_a_good_status() -> None:
    note = afm().receive(json.dumps({**GOOD, "further": 1}).encode(), 9.0)
    assert note.fields == {"features": GOOD["features"], "malformed": ""} and not faults(note.kind, note.fields)


@pytest.mark.parametrize(("payload", "why"), MALFORMED.values(), ids=MALFORMED)
def test_a_malformed_status(payload: bytes, why: str) -> None:
    assert why in read_status(payload).malformed


KEYS = st.sampled_from(["features", "id", "state", "time"])
VALUES = st.recursive(
    st.none() | st.booleans() | st.text(max_size=5) | st.sampled_from(["on", "off"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=4),
    max_leaves=8,
)


@given(st.binary(max_size=100) | VALUES.map(lambda value: json.dumps(value).encode()))
@settings(derandomize=True, max_examples=300)
def test_noise_never_raises(payload: bytes) -> None:
    note = afm().receive(payload, 1.0)
    assert not faults(note.kind, note.fields)
