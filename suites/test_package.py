"""The package as delivered: judged without booting it."""

from conformance.verdict import Outcome
from harness.situations import verifies
from harness.suiterun import Judge


@verifies(
    *(f"PKG-{number:03}" for number in range(1, 16)),
    *(f"DSC-{number:03}" for number in range(1, 15)),
    *(f"RES-{number:03}" for number in range(1, 4)),
    *(f"IMG-{number:03}" for number in range(1, 6)),
)
def test_package(requirement: str, static_outcomes: dict[str, Outcome], judge: Judge) -> None:
    judge(requirement, static_outcomes[requirement])
