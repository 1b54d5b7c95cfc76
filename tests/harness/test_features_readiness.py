"""AFM's hand and the wait for an app's services, with a lab that only writes down what it is told."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import pytest

from conformance.profile import load
from harness.features import Features
from harness.readiness import Readiness


@dataclass
class ListeningLab:
    """An app that reports what it was told last, or nothing at all."""

    application: Any
    answers: bool
    profile: Any = field(default_factory=load)
    told: list[list[str]] = field(default_factory=list)

    @property
    def watch(self) -> Any:
        return self

    def command(self, role: str, command: str, features: list[str]) -> None:
        assert (role, command) == ("bus", "feature-set")
        self.told.append(features)

    def seen(self, kind: str, since: float) -> list[dict[str, Any]]:
        assert kind == "feature-status"
        return [{"features": [{"id": f, "state": "on"} for f in self.told[-1]]}] if self.answers else []

    def wait_until(self, condition: Callable[[], object], deadline: float) -> None:
        assert bool(condition()) is self.answers


def app(*features: tuple[str, bool]) -> Any:
    return SimpleNamespace(features=[SimpleNamespace(id=name, default_on=on) for name, on in features])


def step(*_: object) -> AbstractContextManager[None]:
    return nullcontext()


@pytest.mark.parametrize("answers", [True, False])
@pytest.mark.parametrize(
    ("declared", "told"),
    [
        ([], []),
        ([("a", True)], [[], ["a"]]),
        ([("a", False)], [["a"], [], ["a"]]),  # what is off has to be on before it can be switched off
        ([("a", False), ("b", True)], [["a", "b"], ["b"], ["a", "b"], ["a"], ["a", "b"]]),
    ],
)
def test_every_feature_is_switched_off_and_on_and_all_are_on_then(
    declared: list[tuple[str, bool]], told: list[list[str]], answers: bool
) -> None:
    lab = ListeningLab(app(*declared), answers)
    features = Features(lab, step, 1.0)  # type: ignore[arg-type]  # what it uses of a lab
    assert features.active == tuple(name for name, on in declared if on)
    features.switch_all()
    assert lab.told == told
    assert features.active == tuple(name for name, _ in declared)


def test_what_has_answered_is_not_tried_again() -> None:
    tried: list[str] = []

    def flow(name: str, needed: int) -> Callable[[], Any]:
        def call() -> Any:
            tried.append(name)
            return SimpleNamespace(completed=tried.count(name) >= needed)

        return call

    traffic: Any = SimpleNamespace(
        lightest=None, of_app=lambda use: [flow("echo", 1), flow("web", 3)], of_forwards=lambda use: [flow("ssh", 2)]
    )
    readiness = Readiness(traffic)
    assert [readiness.reached() for _ in range(3)] == [False, False, True]
    assert (tried.count("echo"), tried.count("web"), tried.count("ssh")) == (1, 3, 2)
    assert readiness.reached()
