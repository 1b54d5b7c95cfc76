"""The flows of a situation that an app's offload rules select, with what was seen of each. Pure."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

from conformance.application import Rule
from conformance.checks.crossing import Crossings, FlowKey, Seen, Way, attached, key_of
from conformance.errors import SubjectError
from conformance.packet import Packet
from conformance.profile import Profile
from conformance.rules.analysis import plan_flows
from conformance.rules.expression import compile_rule
from conformance.rules.language import read_rules
from conformance.trace import Event, Trace
from conformance.verdict import Outcome, inconclusive

NamedSelector = tuple[tuple[str, str], Callable[[Packet], bool]]


@dataclass(frozen=True, slots=True)
class Direction:
    """One direction of a selected flow: way is all of it, selected what rules selected of what entered.

    teid is that of the bearer into which the app's packets have to re-enter.
    """

    uplink: bool
    way: Way
    selected: tuple[Seen, ...]
    teid: int

    @property
    def name(self) -> str:
        return "uplink" if self.uplink else "downlink"

    @property
    def handed(self) -> tuple[Seen, ...]:
        """The selected packets that did reach the app."""
        given = {seen.packet.data for seen in self.way.to_app}
        return tuple(seen for seen in self.selected if seen.packet.data in given)


@dataclass(frozen=True, slots=True)
class SelectedFlow:
    """A flow of a UE and its two directions; rules are name and direction of those that selected a packet of it."""

    event: Event
    key: FlowKey
    directions: tuple[Direction, ...]
    rules: frozenset[tuple[str, str]]

    @property
    def where(self) -> str:
        e = self.event
        client, server = f"{e['client_address']}:{e['client_port']}", f"{e['server_address']}:{e['server_port']}"
        return f"flow {e['name']!r}, {e['protocol'].upper()} {client} to {server}"


class Selection:
    """What the rules of the trace's app select in its stretch."""

    def __init__(self, trace: Trace, profile: Profile) -> None:
        self._trace = trace
        self._profile = profile
        self.crossings = Crossings(trace)

    @property
    def obstacle(self) -> Outcome | None:
        """Why nothing can be told from this trace, None where it can."""
        if self.crossings.missing:
            return inconclusive(f"not every packet was captured on {self.crossings.missing}")
        if not attached(self._trace):
            return inconclusive("no UE was attached")
        if self.unreadable:
            return inconclusive(self.unreadable)
        if not self.flows:
            return inconclusive(self.untried() or "the app has no offload rule")
        return None

    @cached_property
    def unreadable(self) -> str:
        """Why the rules say nothing: one does not parse; "" where all do."""
        try:
            read_rules(self._trace.application.rules)
        except SubjectError as error:
            return f"an offload rule does not parse, see DSC-005: {error}"
        return ""

    @cached_property
    def flows(self) -> tuple[SelectedFlow, ...]:
        """In the order of their ends. Not to be asked where the rules are unreadable."""
        selectors: list[NamedSelector] = [
            ((rule.name, rule.direction), compile_rule(rule.expression))
            for rule in read_rules(self._trace.application.rules)
        ]
        bearers = {event["address"]: event for event in attached(self._trace)}
        found = []
        for event in self._trace.of("flow"):
            bearer = bearers.get(event["client_address"])
            if event["origin"] == "ue" and bearer is not None:
                flow = self._read(event, bearer, selectors)
                found += [flow] if flow.rules else []
        return tuple(found)

    def _read(self, event: Event, bearer: Event, selectors: Sequence[NamedSelector]) -> SelectedFlow:
        key = key_of(event)
        directions: list[Direction] = []
        rules: set[tuple[str, str]] = set()
        for name in ("uplink", "downlink"):
            way = self.crossings.way(key, name == "uplink")
            selected: dict[int, Seen] = {}
            for rule, selects in selectors:
                mine = (
                    {n: seen for n, seen in enumerate(way.entered) if selects(seen.packet)} if rule[1] == name else {}
                )
                rules |= {rule} if mine else set()
                selected |= mine
            packets = tuple(seen for _, seen in sorted(selected.items()))
            directions.append(Direction(name == "uplink", way, packets, bearer[f"{name}_teid"]))
        return SelectedFlow(event, key, tuple(directions), frozenset(rules))

    def untried(self) -> str:
        """The rules of which no selected packet was seen, each with the reason; "" when all were exercised."""
        exercised = {rule for flow in self.flows for rule in flow.rules}
        impossible = {(rule.name, rule.direction) for rule in self._unsatisfiable()}
        reasons = []
        for rule in self._trace.application.rules:
            if (rule.name, rule.direction) not in exercised:
                can_be = (rule.name, rule.direction) not in impossible
                what = "no packet was seen of" if can_be else "no packet of an emulated UE can satisfy"
                reasons.append(f"{what} rule {rule.name!r} {rule.direction}")
        return "; ".join(reasons)

    def _unsatisfiable(self) -> tuple[Rule, ...]:
        """Rules that no packet of an emulated UE can satisfy, as far as that is known."""
        ues = [event["address"] for event in attached(self._trace)]
        servers = [self._profile["network.internet"], self._profile["network.operator_backends"]]
        return plan_flows(self._trace.application.rules, ues, servers).unreachable

    def control_completed(self, flow: SelectedFlow) -> bool | None:
        """Whether the same server answered in the control situation, without the app; None where it was not asked."""
        control = self._trace.situation("control")
        if control is None:
            return None
        server = (flow.event["protocol"], flow.event["server_port"])
        same = [
            event["completed"]
            for event in control.of("flow")
            if event["origin"] == "ue" and (event["protocol"], event["server_port"]) == server
        ]
        return any(same) if same else None

    def bypassed(self, flow: SelectedFlow) -> bool:
        """Whether UE traffic bypassed the app at some time of the flow, by the platform's own word."""
        active = False
        for event in self._trace.everywhere("bypass"):
            if event.at <= flow.event["begin"]:
                active = event["active"]
            elif event.at <= flow.event["end"]:
                active = active or event["active"]
        return active
