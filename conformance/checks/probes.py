"""BUS-003 (platform): the lab's own probes of the bus, as their clients saw it, against ACL and record."""

from conformance.application import Access
from conformance.package import acl
from conformance.profile import Profile
from conformance.trace import Event, Trace
from conformance.verdict import Finding, Outcome, counted, failed, inconclusive, not_applicable, passed

_PROTOCOLS = ("3.1.1", "5")


def enforcement(trace: Trace, _: Profile) -> Outcome:
    """BUS-003 (platform): what the ACL forbids is refused, what it allows is delivered, by the lab's own probes."""
    permissions = trace.application.acl
    if permissions is None:
        return not_applicable("the app has no auth/acl.xml: there is nothing to probe")
    probes = trace.of("mqtt-probe")
    recorded = {
        (event["protocol"], event["action"], event["topic"], event["allowed"])
        for event in trace.of("mqtt-attempt")
        if event["client"] == "lab"
    }
    findings, asked = [], set()
    for event in probes:
        allowed, seen = _probe_expected(trace, event), _probe_seen(event)
        asked.add((event["protocol"], event["action"] == "connect", allowed))
        wanted = "let through" if allowed else "refused"
        if seen != wanted:
            findings.append(_probe_finding(event, wanted, seen))
        elif (event["protocol"], event["action"], event["topic"], allowed) not in recorded:
            findings.append(_probe_finding(event, "in the record of the bus", "missing there"))
    if findings:
        return failed(findings)
    needed = {
        (protocol, connect, allowed)
        for protocol in _PROTOCOLS
        for connect in (True, False)
        for allowed in (True, False)
    }
    if not permissions:
        needed = {item for item in needed if item[1] or not item[2]}
    if needed - asked:
        return inconclusive(
            f"not all was asked, both protocols, allowed and forbidden things, by {counted(len(probes), 'probe')}"
        )
    seen = f"{counted(len(probes), 'probe')}: what the ACL allows arrived, what it forbids was refused and recorded"
    return passed(seen, (probe.reference for probe in probes))


def _probe_expected(trace: Trace, event: Event) -> bool:
    if event["action"] == "connect":
        return bool(event["credentials"] == "own")
    access: Access = "subscribe" if event["action"] == "subscribe" else "publish"
    return acl.decide(trace.application.acl or (), access, event["topic"]) is not None


def _probe_seen(event: Event) -> str:
    """What became of a probe, as its client and the far end saw it."""
    if event["action"] == "connect":
        return "let through" if event["accepted"] else "refused"
    if event["delivered"]:
        return "let through" if event["accepted"] else "refused, and delivered all the same"
    silent = event["action"] == "will" or (event["action"] == "publish" and event["protocol"] == "3.1.1")
    return "refused" if silent or not event["accepted"] else "accepted, and not delivered"


def _probe_finding(event: Event, expected: str, seen: str) -> Finding:
    what = f"{event['action']} {event['topic']}".strip()
    where = f"MQTT {event['protocol']}, credentials: {event['credentials']}"
    return Finding(f"{what} {expected}", seen, where, "a fault of the lab: report it", (event.reference,))
