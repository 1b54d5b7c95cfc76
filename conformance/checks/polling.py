"""Checks NTP-006 to NTP-008: how often the guest asks for the time, and whether it heeds kiss-o'-death (contract 4)."""

from itertools import pairwise
from statistics import median

from conformance.checks.tally import Tally, beyond, miss
from conformance.checks.timeline import boots, observed, outages, place
from conformance.profile import Profile
from conformance.trace import Event, Trace
from conformance.verdict import Finding, Outcome, Span, Verdict, counted, few, inconclusive, not_applicable

KISS = "kiss-o'-death RATE"  # the reason of an ntp-request that was answered so


def own_events(trace: Trace, kind: str) -> list[Event]:
    """What the app itself asked, in order of arrival; the lab and UEs ask the same servers."""
    own = trace.run["addresses"].values()
    return sorted((event for event in trace.of(kind) if event["address"] in own), key=lambda event: event.at)


def requests_of(trace: Trace) -> list[Event]:
    """The app's NTP requests to the platform's server, in order of arrival."""
    return own_events(trace, "ntp-request")


def obeys_kiss_of_death(trace: Trace, profile: Profile) -> Outcome:
    """NTP-006: after kiss-o'-death RATE no faster than before and at most one request in 8 s (a burst excepted)."""
    requests = requests_of(trace)
    kissed = next((index for index, event in enumerate(requests) if event["reason"] == KISS), None)
    if kissed is None:
        return inconclusive("no kiss-o'-death was sent to the app")
    slowest = profile.number("time.kiss_of_death_gap_s")
    before = [b.at - a.at for a, b in pairwise(requests[: kissed + 1]) if b.at - a.at >= slowest]
    after = requests[kissed:]
    if len(after) < 3:
        return inconclusive(f"{counted(len(after) - 1, 'request')} followed the kiss-o'-death, two are needed")
    gaps = [b.at - a.at for a, b in pairwise(after)]
    soonest = gaps.index(min(gaps))
    tally, guard = Tally(), profile.number("host.guard_s")
    seen = f"{min(gaps):.1f} s between two requests after the kiss-o'-death"
    remedy = "use an NTP client that knows kiss-o'-death (RFC 5905 7.4), or back off when stratum 0 comes"
    span = Span(after[0].at, after[-1].at)
    evidence = few(event.reference for event in (after[0], after[soonest], after[soonest + 1]))
    margin = miss(slowest, min(gaps), guard)
    where = place(trace, Span(after[soonest].at, after[soonest + 1].at))
    finding = Finding(f"at least {slowest:g} s between requests", seen, where, remedy, evidence, span, margin)
    tally.add(Verdict.PASS if min(gaps) >= slowest else beyond(-min(gaps), -slowest, guard), seen, finding)
    if before and median(gaps) < median(before) - guard:
        margin = miss(median(before), median(gaps), guard)
        faster = f"every {median(gaps):.1f} s instead of every {median(before):.1f} s"
        where = place(trace, span)
        tally.findings.append(Finding("no faster requests than before", faster, where, remedy, evidence, span, margin))
    return tally.outcome("")


def keeps_polling(trace: Trace, profile: Profile) -> Outcome:
    """NTP-007: polls at least once in 20 minutes; not applicable to shorter runs."""
    limit, guard = profile.number("time.poll_gap_max_s"), profile.number("host.guard_s")
    requests, tally = requests_of(trace), Tally()
    running = [boot for boot in boots(trace) if boot.length_s >= limit + guard]
    if not running:
        return not_applicable(f"no start of the VM ran for {limit:g} s")
    for boot in running:
        inside = [event for event in requests if boot.begin <= event.at <= boot.end]
        times = (boot.begin, *(event.at for event in inside), boot.end)
        begin, end = max(pairwise(times), key=lambda gap: gap[1] - gap[0])
        seen = f"{end - begin:.0f} s without a request in start {boot.number}"
        finding = Finding(
            f"an NTP request at least every {limit:g} s",
            seen,
            place(trace, Span(begin, end)),
            "bound the client's poll interval (chronyd: maxpoll 10; ntpd: maxpoll 10)",
            few(event.reference for event in (boot.event, *inside) if event.at in (begin, end)),
            Span(begin, end),
            miss(end - begin, limit, guard),
        )
        tally.add(beyond(end - begin, limit, guard), seen, finding)
    return tally.outcome("")


def asks_again_after_outage(trace: Trace, profile: Profile) -> Outcome:
    """NTP-008: asks again after an outage of the server."""
    requests, end = requests_of(trace), observed(trace).end
    limit, guard = profile.number("time.poll_gap_max_s"), profile.number("host.guard_s")
    tally = Tally()
    for away in outages(trace, end, "ntp"):
        again = next((event for event in requests if event.at > away.end), None)
        until = again.at if again else end
        seen = f"asked again {until - away.end:.1f} s after the server was back"
        finding = Finding(
            f"an NTP request within {limit:g} s after the server was back",
            f"the next after {until - away.end:.0f} s" if again else "none",
            place(trace, Span(away.end, until)),
            "let the client go on asking while the server is silent",
            few(event.reference for event in (*_turns(trace, away), again) if event),
            Span(away.end, until),
            miss(until - away.end, limit, guard) if again else until - away.end,
        )
        if again or until - away.end > limit + guard:
            tally.add(beyond(until - away.end, limit, guard), seen, finding)
    return tally.outcome("no outage of the time server was observed until the app asked again")


def _turns(trace: Trace, away: Span) -> list[Event]:
    """What took the time server away and what brought it back."""
    turns = (event for event in trace.everywhere("outage") if event["service"] == "ntp")
    return [event for event in turns if event.at in (away.begin, away.end)]
