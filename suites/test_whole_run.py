"""What holds from the first packet to the last: judged when the machine is gone."""

from conformance.trace import Trace
from harness.situations import verifies
from harness.suiterun import Judge


@verifies(
    "RES-005",
    "HBT-002",
    "HBT-003",
    "HBT-010",
    "HBT-011",
    "NTP-004",
    "NTP-005",
    "BUS-002",
    "BUS-006",
    "BUS-007",
    "LIF-005",
)
def test_whole_run(requirement: str, whole_run: Trace, judge: Judge) -> None:
    judge(requirement, whole_run)
