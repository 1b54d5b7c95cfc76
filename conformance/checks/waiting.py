"""How long a client waited in vain: what a busy host has to have cost before it explains a missing answer. Pure."""

from conformance.trace import Event, Trace
from conformance.verdict import Span

# A wait that is shorter shows nothing: the next answer may have been under way. Assumed.
_WHOLE_S = 1.0


def vain_span(trace: Trace, flow: Event) -> Span:
    """From when on a flow's server was asked without an answer: tries in this stretch whether it is ready count too."""
    server = _server(flow)
    tries = [event for event in trace.of("attempt") if _server(event) == server and event["end"] <= flow["begin"]]
    begin = flow["begin"]
    for event in sorted(tries, key=lambda event: float(event["end"]), reverse=True):
        if _is_answered(event):
            break
        begin = min(begin, event["begin"])
    return Span(begin, flow["end"])


def vain_s(trace: Trace, flow: Event) -> float:
    """Whole seconds waited for a flow that got nothing at all; 0 for one that got a part, or was given no time."""
    if _is_answered(flow):
        return 0.0
    span = vain_span(trace, flow)
    return whole_s(span.end - span.begin)


def whole_s(seconds: float) -> float:
    """A wait as the margin of a finding: 0 (any disturbance may explain it) where it was no whole second."""
    return seconds if seconds >= _WHOLE_S else 0.0


def _server(flow: Event) -> tuple[str, str, int]:
    return flow["protocol"], flow["server_address"], flow["server_port"]


def _is_answered(flow: Event) -> bool:
    return bool(flow["completed"] or flow["received"] or flow["answer"])
