"""The message bus (contract 5): what the app attempted, judged again from its ACL.

An attempt is a fact, however busy the host was: findings about one have no span, so that no disturbance withdraws them.
Findings about a deadline have one.
"""

from collections.abc import Callable, Iterator, Mapping

from conformance.application import Access
from conformance.checks import abstinence, probes
from conformance.checks.tally import miss
from conformance.checks.timeline import observed, place
from conformance.errors import BrokenLab
from conformance.package import acl
from conformance.profile import Profile
from conformance.trace import Event, Trace
from conformance.verdict import Finding, Outcome, Span, counted, failed, few, inconclusive, not_applicable, passed

_PROTOCOLS = ("3.1.1", "5")
_TOPIC_CHARACTERS_MAX = 1024  # a longer topic is cut in the record: it cannot be judged again
_INTERRUPTED = ("reset", "suspended", "powered-off", "destroyed")


def credentials(trace: Trace, profile: Profile) -> Outcome:
    """BUS-001: connects with its own credentials, and no others, within the deadline.

    Looks at the whole run, whatever the trace's span: a connection is made once.
    """
    if not trace.application.uses_bus:
        return not_applicable("the app has no auth/acl.xml: it is not on the bus")
    attempts = [event for event in trace.everywhere("mqtt-attempt") if _of_app(event) and event["action"] == "connect"]
    foreign = list(_foreign_credentials(attempts, trace.application.id))
    if foreign:
        return failed(foreign)
    beats = trace.everywhere("beat")
    if not beats:
        return inconclusive("no heartbeat came: the deadline for the bus begins with the first")
    first = beats[0].at
    limit_s, guard_s = profile.number("bus.connect_deadline_s"), profile.number("host.guard_s")
    connected = next((event for event in attempts if event["allowed"]), None)
    after_s = connected.at - first if connected else float("inf")
    if connected and after_s < limit_s - guard_s:
        when = f"{abs(after_s):.1f} s {'after' if after_s > 0 else 'before'} the first heartbeat"
        return passed(f"connected as {connected['username']} {when}", (beats[0].reference, connected.reference))
    window = Span(first, first + limit_s + guard_s)
    end = connected.at if connected else observed(trace).end
    why = _could_not_connect(trace, window)
    if not why and abs(after_s - limit_s) <= guard_s:
        why = f"connected after {after_s:.1f} s, within {guard_s:g} s of the limit {limit_s:g} s"
    if why:
        return inconclusive(why)
    finding = Finding(
        f"a connection to the bus within {limit_s:g} s of the first heartbeat",
        f"one after {after_s:.1f} s" if connected else f"none in {end - first:.0f} s",
        f"{counted(len(attempts), 'attempt')} to connect, {place(trace, Span(first, end))}",
        "connect to racs.mqtt.host and racs.mqtt.port of the OVF environment at start, and try again until it works",
        (beats[0].reference, *((connected.reference,) if connected else ())),
        Span(first, end),
        miss(after_s, limit_s, guard_s) if connected else end - first,
    )
    return failed([finding])


def _foreign_credentials(attempts: list[Event], application: str) -> Iterator[Finding]:
    for event in attempts:
        if event["allowed"] and event["username"] != application:
            raise BrokenLab(f"the bus admitted the user {event['username']!r}, see {event.reference}")
        if event["allowed"] or event["protocol"] not in _PROTOCOLS:  # some clients try other versions in turn
            continue
        yield Finding(
            f"connects as {application} with the password of the OVF environment, and no others",
            f"one as {event['username']!r}: {event['reason']}",
            f"connection {event['connection']} from {event['address']}, client id {event['client_id']!r}",
            "use racs.mqtt.username and racs.mqtt.password, read at each start; the password is new in every run",
            (event.reference,),
        )


def _could_not_connect(trace: Trace, window: Span) -> str:
    """Why a missing connection proves nothing."""
    end = observed(trace).end
    if end < window.end:
        return f"the record ends {end - window.begin:.1f} s after the first heartbeat"
    for event in trace.everywhere("vm-state"):
        if _in(event, window) and event["state"] in _INTERRUPTED and event["reason"] in ("harness", "supervision"):
            return f"the VM was {event['state']} by the {event['reason']} before the deadline, {event.reference}"
    for event in trace.everywhere("outage"):
        if (
            event.at <= window.end
            and event["service"] == "bus"
            and event["away"]
            and not _came_back(trace, event, window)
        ):
            return f"the bus was taken away before the deadline, {event.reference}"
    return _lost_record(trace)


def _came_back(trace: Trace, away: Event, window: Span) -> bool:
    """Whether an outage was over before the window began."""
    return any(
        event["service"] == "bus" and not event["away"] and away.at <= event.at < window.begin
        for event in trace.everywhere("outage")
    )


def attempts(trace: Trace, _: Profile) -> Outcome:
    """BUS-002: never attempts a publish or subscribe that its ACL does not allow. A will is a publish."""
    permissions = trace.application.acl
    if permissions is None:
        return not_applicable("the app has no auth/acl.xml: it is not on the bus")
    seen = [event for event in trace.of("mqtt-attempt") if _of_app(event)]
    made = [event for event in seen if event["action"] != "connect"]
    forbidden: dict[tuple[str, str], list[Event]] = {}
    for event in made:
        if not _allowed(trace, event):
            forbidden.setdefault((event["action"], event["topic"]), []).append(event)
    if forbidden:
        return failed(_forbidden_finding(*what, events) for what, events in forbidden.items())
    lost = _lost_record(trace)
    if lost:
        return inconclusive(lost)
    if not any(event["allowed"] for event in seen):
        return inconclusive("the app was never connected to the bus")
    ends = (made or seen)[0].reference, (made or seen)[-1].reference
    return passed(f"{counted(len(made), 'attempt')} to publish or subscribe, all allowed by {acl.PATH}", ends)


def _allowed(trace: Trace, event: Event) -> bool:
    """The judge's own decision. Raises BrokenLab where the guard decided otherwise."""
    if len(event["topic"]) >= _TOPIC_CHARACTERS_MAX:
        return bool(event["allowed"])
    access: Access = "subscribe" if event["action"] == "subscribe" else "publish"
    allowed = acl.decide(trace.application.acl or (), access, event["topic"]) is not None
    if allowed != event["allowed"]:
        said = "allowed" if event["allowed"] else "denied"
        raise BrokenLab(f"the guard {said} {event['action']} {event['topic']!r} against the ACL, see {event.reference}")
    return allowed


def _forbidden_finding(action: str, topic: str, events: list[Event]) -> Finding:
    access = "subscribe" if action == "subscribe" else "publish"
    times = f", {len(events)} times" if len(events) > 1 else ""
    return Finding(
        "only publishes and subscribes that auth/acl.xml allows",
        f"{'a will for' if action == 'will' else action} {topic!r}{times}: {events[0]['reason']}",
        f"connection {events[0]['connection']}, client id {events[0]['client_id']!r}",
        f'remove it from the app, or add <allow access="{access}" topic="..."/> if the contract lets an app have it',
        tuple(event.reference for event in events[:5]),
    )


def usage(trace: Trace, _: Profile) -> Outcome:
    """BUS-006: every permission is used at least once in the run; with wildcards any match will do."""
    permissions = trace.application.acl
    if permissions is None:
        return not_applicable("the app has no auth/acl.xml: it is not on the bus")
    made = [event for event in trace.of("mqtt-attempt") if _of_app(event) and event["allowed"]]
    if not made:
        return inconclusive("the app was never connected to the bus")
    unused, proof = [], []
    for permission in permissions:
        actions = ("subscribe",) if permission.access == "subscribe" else ("publish", "will")
        uses = (e for e in made if e["action"] in actions and acl.covers(permission.topic, e["topic"]))
        use = next(uses, None)
        unused += [] if use else [permission]
        proof += [use.reference] if use else []
    if not unused:
        return passed(f"each of {counted(len(permissions), 'permission')} was used", proof or [made[0].reference])
    lost = _lost_record(trace)
    if lost:
        return inconclusive(lost)
    return failed(
        Finding(
            "every permission used at least once",
            f"{permission.access} {permission.topic} never",
            acl.PATH,
            "drop the permission, or use it in every run",
            few((made[0].reference, made[-1].reference)),
        )
        for permission in unused
    )


def _of_app(event: Event) -> bool:
    return bool(event["client"] == "app")


def _in(event: Event, span: Span) -> bool:
    return span.begin <= event.at <= span.end


def _lost_record(trace: Trace) -> str:
    """Why the bus's record may lack something; "" when it is whole."""
    for event in trace.everywhere("process-died"):
        if event["process"] in ("bus", "mosquitto"):
            return f"the lab's own {event['process']} process ended, {event.reference}"
    return ""


CHECKS: Mapping[str, Callable[[Trace, Profile], Outcome]] = {
    "BUS-001": credentials,
    "BUS-002": attempts,
    "BUS-003": probes.enforcement,
    "BUS-006": usage,
    "BUS-007": abstinence.abstinence,
}
