"""OTT: what a terminating app serves, to UEs and from outside (contract 6 and 7). Pure."""

from collections.abc import Sequence
from dataclasses import replace

from conformance.application import Service
from conformance.checks.crossing import Crossings, attached, key_of
from conformance.checks.spoken import fault_of_answer
from conformance.checks.waiting import vain_s, vain_span, whole_s
from conformance.profile import Profile
from conformance.trace import Event, Trace
from conformance.verdict import Finding, Outcome, counted, failed, few, inconclusive, passed


def resolves_names(trace: Trace, profile: Profile) -> Outcome:
    """OTT-001: every FQDN of the app resolves in the operator's DNS to the app's address."""
    del profile  # every check has the same signature
    address = app_address(trace)
    findings, unasked, proof = [], [], list[str]()
    for endpoint in trace.application.endpoints:
        asked = [q for q in trace.of("dns-query") if q["name"] == endpoint.fqdn.lower() and q["type"] == "A"]
        proof += [query.reference for query in asked[:1]]
        if not asked:
            unasked.append(endpoint.fqdn)
        wrong = [query for query in asked if query["answer"].split() != [address]]
        if wrong:
            seen = wrong[0]["answer"] or "no answer"
            where, remedy = f"name {endpoint.fqdn}", "a fault of the lab: report it"
            findings.append(Finding(address, seen, where, remedy, (wrong[0].reference,)))
    if findings:
        return failed(findings)
    if unasked or not proof:
        return inconclusive(f"nobody asked for {', '.join(unasked) or 'a name of the app'}")
    return passed(f"resolved to {address}: {counted(len(trace.application.endpoints), 'name')}", proof)


def serves_ues(trace: Trace, profile: Profile) -> Outcome:
    """OTT-002: every declared service answers a UE, from the app's own address."""
    return _serves(trace, profile, ("ue",))


def serves_outside(trace: Trace, profile: Profile) -> Outcome:
    """OTT-003: every declared service answers from outside RACS."""
    return _serves(trace, profile, ("internet", "outside"))


def app_address(trace: Trace) -> str:
    """A terminating app's own address: its lease on the user plane."""
    return next((address for name, address in trace.run["addresses"].items() if name != "service"), "")


def _serves(trace: Trace, profile: Profile, origins: Sequence[str]) -> Outcome:
    crossings = Crossings(trace)
    if crossings.missing:
        return inconclusive(f"not every packet was captured on {crossings.missing}")
    findings, doubts, proof = [], [], list[str]()
    for service in trace.application.services:
        flows = _flows(trace, service, origins)
        if not flows:
            doubts.append(f"nobody asked for {service.protocol}/{service.port}")
        for flow in flows:
            proof.append(flow.reference)
            judged = _judge(flow, service, profile, crossings, trace)
            findings += [judged] if isinstance(judged, Finding) else []
            doubts += [judged] if isinstance(judged, str) and judged else []
    if findings:
        return failed(findings)
    if doubts or not proof:
        return inconclusive("; ".join(doubts[:3]) or "the app declares no service")
    services, times = (counted(*one) for one in ((len(trace.application.services), "service"), (len(proof), "time")))
    captures = [f"capture:{nic}" for nic in trace.application.nics if nic != "service"]
    return passed(f"{services} answered {times} from {app_address(trace)}", [*few(proof, 6), *captures])


def _flows(trace: Trace, service: Service, origins: Sequence[str]) -> list[Event]:
    asked = (app_address(trace), service.protocol, service.port)
    return [
        flow
        for flow in trace.of("flow")
        if flow["origin"] in origins and (flow["server_address"], flow["protocol"], flow["server_port"]) == asked
    ]


def _judge(flow: Event, service: Service, profile: Profile, crossings: Crossings, trace: Trace) -> Finding | str:
    """What is wrong with an exchange, why nothing can be told of it, or ""."""
    key = key_of(flow)
    up, down = crossings.way(key, True), crossings.way(key, False)
    if not up.to_app:
        return f"no packet of flow {flow['name']!r} reached the app's vNIC"
    where = f"{service.protocol}/{service.port} of {flow['server_address']}, asked by {flow['client_address']}"

    evidence = (flow.reference, (down.from_app or up.to_app)[0].evidence)
    span, server = vain_span(trace, flow), f"{flow['server_address']}:{flow['server_port']}"
    if not down.from_app:
        error = f" ({flow['error']})" if flow["error"] else ""
        seen = f"{counted(len(up.to_app), 'packet')} reached the vNIC, none answered{error}"
        remedy = f"listen on {flow['server_address']} (or on all addresses), and let the guest's own firewall admit it"
        margin_s = whole_s(span.end - min(up.to_app[0].at, span.begin))
        return Finding("an answer", seen, where, remedy, evidence, span, margin_s)
    if flow["answered_from"] not in ("", server):
        remedy = "answer from the address that was asked"
        return Finding(f"an answer from {server}", f"one from {flow['answered_from']}", where, remedy, evidence)
    fault = fault_of_answer(flow, service, profile)
    if fault:
        finding = Finding(fault.expected, fault.seen, where, fault.remedy, evidence)
        return replace(finding, span=span, margin_s=vain_s(trace, flow)) if fault.partial else finding
    bearer = next((event for event in attached(trace) if event["address"] == flow["client_address"]), None)
    if bearer is not None and not any(seen.teid == bearer["downlink_teid"] for seen in down.onward):
        return f"no answer to flow {flow['name']!r} was seen in the UE's bearer"
    return ""
