"""The app disturbed: power button, hang drill, failure and restart."""

from conformance.trace import Trace
from harness.situations import verifies
from harness.suiterun import Judge


@verifies("HBT-009", "OFT-008")
def test_comes_back_after_a_failure(requirement: str, failure: Trace, judge: Judge) -> None:
    judge(requirement, failure)


@verifies("LIF-002", "LIF-004")
def test_powers_off(requirement: str, power_button: Trace, judge: Judge) -> None:
    judge(requirement, power_button)


@verifies("HBT-008")
def test_heartbeat_stops_with_the_work(requirement: str, hang_drill: Trace, judge: Judge) -> None:
    judge(requirement, hang_drill)
