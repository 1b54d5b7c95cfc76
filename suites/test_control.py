"""The platform's own promises, proved without the app: a fail here is a broken lab, never the app's."""

from conformance.trace import Trace
from harness.situations import verifies
from harness.suiterun import Judge


@verifies("BUS-003", "OFT-002", "OTT-001", "OTT-006", "FWD-002", "FWD-003")
def test_lab_keeps_the_platforms_promises(requirement: str, control: Trace, judge: Judge) -> None:
    judge(requirement, control)
