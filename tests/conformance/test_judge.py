"""From outcomes to what may be booted, and from evidence to a verdict that the host did not make."""

from dataclasses import replace

import pytest
from run_traces import GOON, START, Row, at_end, run, started

from conformance.application import Permission
from conformance.catalogue import load
from conformance.judge import judge_trace, not_bootable
from conformance.profile import DEFAULT
from conformance.profile import load as load_profile
from conformance.verdict import Finding, Outcome, Verdict, failed, inconclusive, not_applicable, not_judged, passed

BROKEN = failed([Finding("one thing", "another")])
SOUND = {one.id: passed("") for one in load().requirements.values() if one.scope == "package"}
TRUST, NOTHING = "the package cannot be trusted", "nothing of it was booted"


@pytest.mark.parametrize(
    ("outcomes", "why"),
    [
        ({}, ""),
        ({"DSC-005": not_applicable("the app is terminating")}, ""),
        ({"PKG-005": BROKEN}, f"{TRUST} (PKG-005): {NOTHING}"),
        ({"PKG-006": BROKEN, "PKG-005": BROKEN}, f"{TRUST} (PKG-005, PKG-006): {NOTHING}"),
        ({"PKG-008": BROKEN}, f"{TRUST} (PKG-008): {NOTHING}"),
        ({"PKG-015": BROKEN}, f"{TRUST} (PKG-015): {NOTHING}"),
        ({"DSC-002": BROKEN}, f"the descriptor does not say what the app is (DSC-002): {NOTHING}"),
        ({"DSC-008": BROKEN}, f"the descriptor contradicts itself (DSC-008): {NOTHING}"),
        (
            {"PKG-007": BROKEN, "DSC-004": BROKEN, "DSC-010": BROKEN},
            f"{TRUST} (PKG-007), the descriptor contradicts itself (DSC-004, DSC-010): {NOTHING}",
        ),
        ({"DSC-005": BROKEN}, f"its offload rules cannot be carried out (DSC-005): {NOTHING}"),
        ({"DSC-005": inconclusive("too intricate")}, f"its offload rules cannot be carried out (DSC-005): {NOTHING}"),
        ({"PKG-012": BROKEN}, f"auth/acl.xml does not say what the app may do on the bus (PKG-012): {NOTHING}"),
        # what follows from a failed one is not named besides
        (
            {"DSC-001": BROKEN, "DSC-003": not_judged("")},
            f"the descriptor does not say what the app is (DSC-001): {NOTHING}",
        ),
        ({"PKG-011": not_judged("there is no image")}, f"{TRUST} (PKG-011): {NOTHING}"),
    ],
)  # fmt: skip
def test_what_a_lab_is_not_built_from(outcomes: dict[str, Outcome], why: str) -> None:
    assert not_bootable(SOUND | outcomes) == why


# An app that asks for two CPUs is booted on the contract's machine: it fails for that, and shows what else it does.
BOOTED = {"RES-001", "RES-002", "RES-003", "PKG-009", "PKG-013", "PKG-014", "DSC-006", "DSC-009", "DSC-011", "DSC-012"}
BOOTED |= {"DSC-013", *(one for one in SOUND if one.startswith("IMG-"))}


@pytest.mark.parametrize("requirement", SOUND)
def test_what_merely_fails_is_booted_and_nothing_else(requirement: str) -> None:
    assert (not_bootable(SOUND | {requirement: BROKEN}) == "") is (requirement in BOOTED)


@pytest.mark.parametrize(
    ("event", "said"),
    [
        ((), ""),
        (
            (20.0, "process-died", {"process": "emulator.bus", "status": -9}),
            "emulator.bus of the lab died (status -9), trace:7; run again, on a machine with nothing else to do",
        ),
        ((20.0, "lab-fault", {"why": "no room: free some and run again"}), "no room: free some and run again, trace:7"),
    ],
)  # fmt: skip
def test_a_lab_that_could_not_go_on_blames_nobody_and_says_what_to_do(event: Row | tuple[()], said: str) -> None:
    """An app that never beats, and a lab that may be why."""
    silent = run(started(), [event] if event else [], at_end(START + 600))
    outcome = judge_trace(load()["HBT-001"], silent, load_profile(DEFAULT))
    assert outcome.verdict is (Verdict.INCONCLUSIVE if event else Verdict.FAIL)
    assert outcome.reason == said or not event


def test_what_does_not_speak_of_an_app_is_not_left_open_by_a_capture_that_died() -> None:
    on_the_bus = replace(GOON, acl=(Permission("publish", "app/goon/status"),))
    died = (20.0, "process-died", {"process": "capture", "status": -9})
    for app, verdict in ((GOON, Verdict.INCONCLUSIVE), (on_the_bus, Verdict.NOT_APPLICABLE)):
        trace = run(started(), [died], at_end(90), app=app)
        assert judge_trace(load()["BUS-007"], trace, load_profile(DEFAULT)).verdict is verdict
        assert load()["BUS-007"].applies_to(app) is (verdict is Verdict.INCONCLUSIVE)
