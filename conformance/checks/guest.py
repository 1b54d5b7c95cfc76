"""Checks RES-004, RES-005 and LIF-001 to LIF-005: the guest on its machine, from first line to power-off."""

import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from itertools import pairwise

from conformance.checks.heartbeat import judge_first_beat
from conformance.checks.tally import Tally, beyond, miss
from conformance.checks.timeline import KERNEL_LINE, Boot, beats_of, boots, datagrams, observed, place
from conformance.profile import Profile
from conformance.trace import Event, Trace
from conformance.verdict import Finding, Outcome, Span, Verdict, counted, few, inconclusive

LEFTOVERS = "look for leftovers"  # keyword of the step that looks, after undefine, for what is still there
# Of what the markers match this alone can come of a host that did not let the guest run; the rest is the guest's own.
# Linux says it after so many seconds: kernel/watchdog.c (soft lockup), kernel/workqueue.c (workqueue lockup).
_STUCK = re.compile(r"lockup\b.* stuck for (\d+)s")
_NO_START = "no start of the VM was observed"


def runs_on_the_machine(trace: Trace, profile: Profile) -> Outcome:
    """RES-004: first heartbeat on the contract's machine (1 vCPU, 1,024 MiB), whatever the descriptor asks."""
    machine = next(iter(trace.everywhere("machine")), None)
    if machine is None:
        return inconclusive("the trace does not say what machine ran")
    wanted = (int(profile["resources.cpus"]), int(profile["resources.memory_mib"]))
    if (machine["cpus"], machine["memory_mib"]) != wanted:
        seen = f"{machine['cpus']} CPUs and {machine['memory_mib']} MiB"
        return inconclusive(f"the lab's machine had {seen}, the contract's has {wanted[0]} and {wanted[1]}")
    tally, seen_beats = Tally(), datagrams(trace, profile)
    started = [boot for boot in boots(trace) if boot.begin >= observed(trace).begin]
    if started:
        judge_first_beat(tally, started[0], seen_beats, profile)
        tally.evidence.append(machine.reference)
    return tally.outcome("no start was observed for as long as the boot deadline")


def console_is_clean(trace: Trace, profile: Profile) -> Outcome:
    """RES-005: no console line of the whole run matches the profile's markers."""
    markers = [(marker, re.compile(marker)) for marker in profile["console.markers"]]
    lines, tally = trace.of("console-line"), Tally()
    for line in lines:
        for marker, pattern in markers:
            if pattern.search(line["text"]):
                stuck = _STUCK.search(line["text"])
                stuck_s = float(stuck[1]) if stuck else 0.0
                tally.findings.append(
                    Finding(
                        f"no console line with {marker!r}",
                        line["text"][:200],
                        f"console of start {line['boot']}",
                        "look at the lines before it in console.log",
                        (line.reference,),
                        Span(line.at - stuck_s, line.at) if stuck else None,
                        stuck_s,
                    )
                )
                break
    kernels = [line for line in trace.everywhere("console-line") if KERNEL_LINE.search(line["text"])]
    spoken = {line["boot"] for line in kernels}
    found = boots(trace)
    mute = [boot.number for boot in found if boot.number not in spoken]
    if mute:
        tally.unclear.append(f"the console showed no kernel line in start {', '.join(map(str, mute))}")
    if found:
        ends = (line.reference for line in (lines or kernels)[:: max(1, len(lines or kernels) - 1)])
        tally.good(counted(len(lines), "console line"), *ends)
    return tally.outcome(_NO_START)


def speaks_on_the_console(trace: Trace, profile: Profile) -> Outcome:
    """LIF-001: defines, starts, and a line of its kernel reaches ttyS0 before the first heartbeat."""
    states = {event["state"] for event in trace.everywhere("vm-state")}
    if not {"defined", "started"} <= states:
        return inconclusive("the VM was not defined and started")
    first = boots(trace)[0] if boots(trace) else None
    if first is None:
        return inconclusive(_NO_START)
    beat = next(iter(beats_of(first, datagrams(trace, profile))), None)
    lines = [event for event in trace.everywhere("console-line") if event["boot"] == first.number]
    kernel = next((line for line in lines if KERNEL_LINE.search(line["text"])), None)
    guard, tally = profile.number("host.guard_s"), Tally()
    if kernel and (beat is None or kernel.at <= beat.at):
        tally.good(
            f"the kernel's first line came {kernel.at - first.begin:.1f} s after the start",
            *(event.reference for event in (first.event, kernel, beat.event if beat else None) if event),
        )
    elif kernel and beat and kernel.at <= beat.at + guard:
        tally.unclear.append("the kernel's first line was read just after the first heartbeat")
    elif beat or first.length_s >= profile.number("heartbeat.boot_deadline_s"):
        until = beat.at if beat else first.end
        tally.findings.append(
            Finding(
                "a line of the kernel on ttyS0 before the first heartbeat",
                f"{counted(len(lines), 'console line')}, none of the kernel's"
                if kernel is None
                else "it after the heartbeat",
                f"console of start {first.number}",
                "boot with console=ttyS0 on the kernel's command line, without quiet",
                few(event.reference for event in (first.event, *lines[:4], kernel, beat and beat.event) if event),
                Span(first.begin, kernel.at if kernel else until),
                miss(kernel.at, until, guard) if kernel else until - first.begin,
            )
        )
    return tally.outcome(f"only {first.length_s:.1f} s of the start were observed, without a line or a heartbeat")


def powers_off(trace: Trace, profile: Profile) -> Outcome:
    """LIF-002: the ACPI power button (and again after a third of the time) leads to power-off in time."""
    tally, limit = Tally(), profile.number("lifecycle.power_off_s")
    end, guard = observed(trace).end, profile.number("host.guard_s")
    presses = trace.of("power-button")
    for first in (press for press in presses if press["press"] == 1):
        after = [event for event in trace.everywhere("vm-state") if event.at >= first.at]
        last = next((event for event in after if event["state"] != "resumed"), None)
        until = min(last.at, end) if last else end
        slow = _stays_up(trace, limit, Span(first.at, until), (first, *((last,) if last and last.at <= end else ())))
        again = any(press["press"] > 1 and first.at < press.at <= until for press in presses)
        took = until - first.at
        if last and last["state"] == "powered-off" and last["reason"] == "guest" and last.at <= end:
            seen = f"power-off {took:.1f} s after the button"
            tally.add(beyond(took, limit, guard), seen, replace(slow, seen=seen, margin_s=miss(took, limit, guard)))
        elif last and last["state"] == "crashed" and last.at <= end:
            seen = f"a crash {took:.1f} s after the button"
            tally.findings.append(replace(slow, seen=seen))
        elif again and took >= limit:
            seen = f"a VM that still ran {took:.1f} s after it"
            tally.findings.append(replace(slow, seen=seen, margin_s=took))
        else:
            tally.unclear.append(f"only {took:.1f} s after the button, pressed {1 + again} times, were observed")
    return tally.outcome("the power button was not pressed")


def _stays_up(trace: Trace, limit: float, span: Span, seen: tuple[Event, ...]) -> Finding:
    """What is wrong from the button on, of what was seen then; `powers_off` says what that was."""
    return Finding(
        f"power-off within {limit:g} s of the power button",
        "",
        place(trace, span),
        "run an ACPI handler (systemd-logind or acpid) that powers off, and let no service block the shutdown",
        few(event.reference for event in seen),
        span,
    )


def comes_back(trace: Trace, profile: Profile) -> Outcome:
    """LIF-003: comes back after a clean restart (button, power-off, start) and after three hard resets."""
    tally, seen = Tally(), datagrams(trace, profile)
    clean = resets = 0
    for before, boot in pairwise(boots(trace)):
        if boot.reason != "harness":
            continue
        known = len(tally.right) + len(tally.findings)
        judge_first_beat(tally, boot, seen, profile)
        judged = len(tally.right) + len(tally.findings) > known
        if _is_reset(boot, trace):
            resets += judged
        elif _went_off_cleanly(before, boot, trace):
            clean += judged
    needed = int(profile["lifecycle.hard_resets"])
    if not clean or resets < needed:
        tally.unclear.append(
            f"{counted(clean, 'clean restart')} and {counted(resets, 'hard reset')} were observed, "
            f"1 and {needed} are needed"
        )
    return tally.outcome("")


def _is_reset(boot: Boot, trace: Trace) -> bool:
    return any(e["state"] == "reset" and e["boot"] == boot.number for e in trace.everywhere("vm-state"))


def _went_off_cleanly(before: Boot, boot: Boot, trace: Trace) -> bool:
    span = Span(before.begin, boot.begin)
    pressed = [e.at for e in trace.everywhere("power-button") if span.begin <= e.at <= span.end]
    offs = [e.at for e in trace.everywhere("vm-state") if e["state"] == "powered-off" and e["reason"] == "guest"]
    return bool(pressed) and any(pressed[0] <= off <= span.end for off in offs)


def announces_stopping(trace: Trace, profile: Profile) -> Outcome:
    """LIF-004: announces stopping in the heartbeat before a clean power-off."""
    tally, seen = Tally(), datagrams(trace, profile)
    for press in (press for press in trace.of("power-button") if press["press"] == 1):
        states = [event for event in trace.everywhere("vm-state") if event.at >= press.at]
        if not states or states[0]["state"] != "powered-off":
            continue
        span = Span(press.at, states[0].at + profile.number("host.guard_s"))
        stopping = [d for d in seen if d.beat and d.beat.state == "stopping" and span.begin <= d.at <= span.end]
        if stopping:
            proof = (press.reference, stopping[0].event.reference, states[0].reference)
            tally.good("a stopping heartbeat came before the power-off", *proof)
        else:
            tally.findings.append(
                Finding(
                    'a heartbeat with "state":"stopping" before the power-off',
                    "none",
                    place(trace, span),
                    "send one when the service gets SIGTERM, while the network is still up",
                    (press.reference, states[0].reference),
                    span,
                )
            )
    return tally.outcome("no clean power-off was observed")


def leaves_nothing(trace: Trace, profile: Profile) -> Outcome:
    """LIF-005 (platform): undefine leaves nothing behind, by the step that looked for leftovers after it."""
    undefined = next((event for event in trace.everywhere("vm-state") if event["state"] == "undefined"), None)
    if undefined is None:
        return inconclusive("the VM was not undefined")
    looked = [
        event for event in trace.everywhere("step") if event["keyword"] == LEFTOVERS and event["begin"] >= undefined.at
    ]
    tally = Tally()
    for step in looked:
        finding = Finding(
            "nothing left after undefine",
            step["outcome"],
            ", ".join(step["arguments"]),
            "a fault of the lab: report it",
            (undefined.reference, step.reference),
        )
        seen = f"nothing was left after undefine: {', '.join(step['arguments'])}"
        tally.add(Verdict.PASS if step["outcome"] == "ok" else Verdict.FAIL, seen, finding)
    return tally.outcome("nobody looked for leftovers after undefine")


CHECKS: Mapping[str, Callable[[Trace, Profile], Outcome]] = {
    "RES-004": runs_on_the_machine,
    "RES-005": console_is_clean,
    "LIF-001": speaks_on_the_console,
    "LIF-002": powers_off,
    "LIF-003": comes_back,
    "LIF-004": announces_stopping,
    "LIF-005": leaves_nothing,
}
