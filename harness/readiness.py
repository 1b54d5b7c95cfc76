"""Whether an app's services are ready yet: a heartbeat does not say so (contract 3), trying them does."""

from harness.clients import together
from harness.traffic import FlowCall, Traffic


class Readiness:
    """Tries every declared service and forward, or every rule's flow, until each has answered once.

    Its traffic is a `Traffic` of its own, whose flows the trace keeps as attempts: they are never judged.
    """

    def __init__(self, traffic: Traffic) -> None:
        self._silent: list[FlowCall] = [
            *traffic.of_app(traffic.lightest),
            *traffic.of_forwards(traffic.lightest),
        ]

    def reached(self) -> bool:
        """Try once what has not answered; whether all has."""
        flows = together(self._silent)
        self._silent = [call for call, flow in zip(self._silent, flows, strict=True) if not flow.completed]
        return not self._silent
