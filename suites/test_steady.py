"""The app at work, undisturbed: the longest stretch of the run."""

from conformance.trace import Trace
from harness.situations import verifies
from harness.suiterun import Judge


@verifies("LIF-001", "RES-004", "HBT-001")
def test_start(requirement: str, started: Trace, judge: Judge) -> None:
    judge(requirement, started)


@verifies("HBT-004", "HBT-005", "HBT-006")
def test_beats_steadily(requirement: str, steady: Trace, judge: Judge) -> None:
    judge(requirement, steady)


@verifies("NTP-001", "NTP-002", "NTP-003")
def test_follows_the_platforms_clock(requirement: str, steady: Trace, judge: Judge) -> None:
    judge(requirement, steady)


@verifies("BUS-001")
def test_uses_the_bus(requirement: str, steady: Trace, judge: Judge) -> None:
    judge(requirement, steady)


@verifies("OFT-001", "OFT-003", "OFT-004")
def test_passes_selected_flows(requirement: str, steady: Trace, judge: Judge) -> None:
    judge(requirement, steady)


@verifies("OTT-002", "OTT-003")
def test_serves(requirement: str, steady: Trace, judge: Judge) -> None:
    judge(requirement, steady)


@verifies("FWD-001")
def test_answers_on_forwarded_ports(requirement: str, steady: Trace, judge: Judge) -> None:
    judge(requirement, steady)


@verifies("AFM-001")
def test_takes_up_features(requirement: str, steady: Trace, judge: Judge) -> None:
    judge(requirement, steady)
