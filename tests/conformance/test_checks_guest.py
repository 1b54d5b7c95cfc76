"""RES-004, RES-005 and LIF-001 to LIF-005 over hand-made traces: each passes, fails and cannot tell."""

import pytest
from run_traces import FIRST, START, Row, at_end, beat, beats, run, started, vm
from settling import FACT, check_margin

from conformance.checks.guest import CHECKS, LEFTOVERS
from conformance.profile import load
from conformance.trace import Trace, make_trace
from conformance.verdict import Verdict, settle

PROFILE = load()
PASS, FAIL, UNCLEAR = Verdict.PASS, Verdict.FAIL, Verdict.INCONCLUSIVE
DEADLINE = PROFILE.number("heartbeat.boot_deadline_s")
LIMIT = PROFILE.number("lifecycle.power_off_s")
STEADY = beats(FIRST, 50.0)


def check(requirement: str, trace: Trace, expected: Verdict) -> None:
    outcome = CHECKS[requirement](trace, PROFILE)
    assert outcome.verdict is expected, outcome
    assert outcome.reason


@pytest.mark.parametrize("requirement", sorted(CHECKS))
def test_a_trace_without_anything_tells_nothing(requirement: str) -> None:
    check(requirement, run(), UNCLEAR)


def machine(cpus: int, memory_mib: int, *rows: Row) -> Trace:
    whole = run(rows)
    events = [(e.at, e.kind, dict(e.fields)) for e in whole.events]
    for _, kind, fields in events:
        if kind == "machine":
            fields.update(cpus=cpus, memory_mib=memory_mib)
    return make_trace(events)


@pytest.mark.parametrize(
    ("trace", "expected"),
    [
        (machine(1, 1024, *started(), *STEADY), PASS),
        (machine(2, 1024, *started(), *STEADY), UNCLEAR),
        (machine(1, 2048, *started(), *STEADY), UNCLEAR),
        (machine(1, 1024, *started(), *at_end(START + DEADLINE + 2)), FAIL),
        (machine(1, 1024, *started(), *at_end(START + 20)), UNCLEAR),
    ],
)
def test_machine(trace: Trace, expected: Verdict) -> None:
    check("RES-004", trace, expected)


def line(at: float, text: str, boot: int = 1) -> Row:
    return (at, "console-line", {"text": text, "boot": boot})


@pytest.mark.parametrize(
    ("trace", "expected"),
    [
        (run(started(), [line(30, "goon: up"), line(31, "XFS (vda1): Mounting V5 Filesystem")]), PASS),
        (run(started(), [line(30, "Kernel panic - not syncing: Attempted to kill init!")]), FAIL),
        (run(started(), [line(30, "[ 9.1] Out of memory: Killed process 77 (goon)")]), FAIL),
        (run(started(), [line(30, "XFS (vda1): Metadata Corruption detected")]), FAIL),
        (run(started(), [line(30, "blk_update_request: I/O error, dev vda, sector 1")]), FAIL),
        (run(started(), vm(50, "reset", 2), at_end(90)), UNCLEAR),  # start 2 said nothing
        (run(started(), vm(50, "reset", 2), [line(52, "[    0.000000] Linux version 6", 2)]), PASS),
        (run(vm(10, "started"), [line(30, "Kernel panic")]), FAIL),
    ],
)
def test_console(trace: Trace, expected: Verdict) -> None:
    check("RES-005", trace, expected)


SOFT_LOCKUP = "[   45.1] watchdog: BUG: soft lockup - CPU#0 stuck for 22s! [goon:77]"
WORKQUEUE = "[   45.1] BUG: workqueue lockup - pool cpus=0 node=0 flags=0x0 nice=0 stuck for 30s!"


def test_a_lockup_of_a_starved_guest_is_the_hosts_a_panic_never() -> None:
    starved: Row = (40.0, "host-starved", {"what": "steal", "value": 0.9, "begin": 20.0, "end": 40.0})
    lockup = run(started(), [starved, line(45, SOFT_LOCKUP)])
    panic = run(started(), [starved, line(35, "Kernel panic")])
    assert settle(CHECKS["RES-005"](lockup, PROFILE), lockup.disturbances).verdict is UNCLEAR
    assert settle(CHECKS["RES-005"](panic, PROFILE), panic.disturbances).verdict is FAIL


DEFINED = [*vm(9, "defined", 0), *vm(START, "started")]


@pytest.mark.parametrize(
    ("trace", "expected"),
    [
        (run(started(), STEADY), PASS),
        (run(started()), PASS),
        (run(DEFINED, [line(12, "[    0.512345] pci 0000:00:00.0")], STEADY), PASS),
        (run(DEFINED, [line(12, "SYSLINUX 6.04")], STEADY), FAIL),
        (run(DEFINED, STEADY), FAIL),
        (run(DEFINED, STEADY, [line(FIRST + 0.5, "Linux version 6.1")]), UNCLEAR),
        (run(DEFINED, STEADY, [line(FIRST + 5, "Linux version 6.1")]), FAIL),
        (run(DEFINED, at_end(START + DEADLINE)), FAIL),
        (run(DEFINED, at_end(START + 5)), UNCLEAR),
        (run(DEFINED, [line(12, "Linux version 6.1", boot=2)], STEADY), FAIL),
        (run(vm(9, "defined", 0)), UNCLEAR),
    ],
)
def test_console_speaks(trace: Trace, expected: Verdict) -> None:
    check("LIF-001", trace, expected)


def pressed(at: float, press: int = 1) -> Row:
    return (at, "power-button", {"press": press})


RUNNING = [*started(), *STEADY]


@pytest.mark.parametrize(
    ("trace", "expected"),
    [
        (run(RUNNING, [pressed(50)], vm(55, "powered-off", reason="guest")), PASS),
        (run(RUNNING, [pressed(50), pressed(60, 2)], vm(50 + LIMIT, "powered-off", reason="guest")), UNCLEAR),
        (run(RUNNING, [pressed(50), pressed(60, 2)], vm(52 + LIMIT, "powered-off", reason="guest")), FAIL),
        (run(RUNNING, [pressed(50), pressed(60, 2)], at_end(51 + LIMIT)), FAIL),
        (run(RUNNING, [pressed(50), pressed(60, 2)], vm(51 + LIMIT, "destroyed")), FAIL),
        (run(RUNNING, [pressed(50), pressed(60, 2)], vm(65, "destroyed")), UNCLEAR),  # cut short
        (run(RUNNING, [pressed(50)], at_end(51 + LIMIT)), UNCLEAR),  # never pressed again
        (run(RUNNING, [pressed(50)], vm(55, "crashed", reason="hypervisor")), FAIL),
        (run(RUNNING, vm(55, "powered-off", reason="guest")), UNCLEAR),
        (run(RUNNING, [pressed(50)], vm(55, "powered-off")), UNCLEAR),  # the lab's own doing
        (
            run(
                RUNNING,
                [pressed(50), pressed(60, 2)],
                vm(52 + LIMIT, "powered-off", reason="guest"),
                span=(49.0, 51.0 + LIMIT),
            ),
            FAIL,
        ),
    ],
)
def test_power_button(trace: Trace, expected: Verdict) -> None:
    check("LIF-002", trace, expected)


CLEAN = [*RUNNING, pressed(50), *vm(55, "powered-off", reason="guest"), *vm(60, "started", 2), *beats(70, 80)]


def resets(count: int) -> list[Row]:
    return [
        row for n in range(count) for row in (*vm(100.0 + 30 * n, "reset", 3 + n), *beats(110 + 30 * n, 115 + 30 * n))
    ]


@pytest.mark.parametrize(
    ("trace", "expected"),
    [
        (run(CLEAN, resets(3)), PASS),
        (run(CLEAN, resets(2)), UNCLEAR),
        (run(RUNNING, resets(3)), UNCLEAR),
        (run(CLEAN, resets(2), vm(200, "reset", 5), at_end(202 + DEADLINE)), FAIL),
        (run(RUNNING, [pressed(50)], vm(55, "powered-off", reason="guest"), vm(60, "started", 2), at_end(180)), FAIL),
    ],
)
def test_comes_back(trace: Trace, expected: Verdict) -> None:
    check("LIF-003", trace, expected)


OFF = vm(55, "powered-off", reason="guest")


@pytest.mark.parametrize(
    ("trace", "expected"),
    [
        (run(RUNNING, [pressed(50), beat(50.5, 30, "stopping")], OFF), PASS),
        (run(RUNNING, [pressed(50), beat(50.5, 30)], OFF), FAIL),
        (run(RUNNING, [beat(49.5, 30, "stopping"), pressed(50)], OFF), FAIL),
        (run(RUNNING, [pressed(50), beat(50.5, 30, "stopping")], at_end(90)), UNCLEAR),
    ],
)
def test_announces_stopping(trace: Trace, expected: Verdict) -> None:
    check("LIF-004", trace, expected)


def looked(at: float, outcome: str) -> Row:
    return (at, "step", {"keyword": LEFTOVERS, "arguments": ["disk"], "begin": at, "end": at, "outcome": outcome})


@pytest.mark.parametrize(
    ("trace", "expected"),
    [
        (run(RUNNING, vm(60, "undefined"), [looked(61, "ok")]), PASS),
        (run(RUNNING, vm(60, "undefined"), [looked(61, "overlay.qcow2 is still there")]), FAIL),
        (run(RUNNING, vm(60, "undefined"), [looked(59, "ok")]), UNCLEAR),
        (run(RUNNING, vm(60, "undefined")), UNCLEAR),
        (run(RUNNING, [looked(61, "ok")]), UNCLEAR),
    ],
)
def test_leftovers(trace: Trace, expected: Verdict) -> None:
    check("LIF-005", trace, expected)


def test_that_nothing_was_left_names_what_was_looked_through() -> None:
    outcome = CHECKS["LIF-005"](run(RUNNING, vm(60, "undefined"), [looked(61, "ok")]), PROFILE)
    assert outcome.reason == "nothing was left after undefine: disk"
    assert len(outcome.evidence) == 2


MARGINS = [
    ("RES-004", machine(1, 1024, *started(), *at_end(START + DEADLINE + 2)), DEADLINE + 2),
    ("RES-005", run(started(), [line(30, "Kernel panic - not syncing")]), FACT),
    ("RES-005", run(started(), [line(30, "BUG: unable to handle page fault for address: 0000000000000008")]), FACT),
    ("RES-005", run(started(), [line(45, SOFT_LOCKUP)]), 22.0),
    ("RES-005", run(started(), [line(45, WORKQUEUE)]), 30.0),
    ("LIF-001", run(DEFINED, STEADY), FIRST - START),
    ("LIF-001", run(DEFINED, STEADY, [line(FIRST + 5, "Linux version 6.1")]), 4.0),
    ("LIF-001", run(DEFINED, at_end(START + DEADLINE)), DEADLINE),
    ("LIF-002", run(RUNNING, [pressed(50), pressed(60, 2)], vm(52 + LIMIT, "powered-off", reason="guest")), 1.0),
    ("LIF-002", run(RUNNING, [pressed(50), pressed(60, 2)], at_end(51 + LIMIT)), LIMIT + 1),
    ("LIF-002", run(RUNNING, [pressed(50)], vm(55, "crashed", reason="hypervisor")), 0.0),
    ("LIF-003", run(CLEAN, resets(2), vm(200, "reset", 5), at_end(202 + DEADLINE)), DEADLINE + 2),
    ("LIF-004", run(RUNNING, [pressed(50), beat(50.5, 30)], OFF), 0.0),
    ("LIF-005", run(RUNNING, vm(60, "undefined"), [looked(61, "overlay.qcow2 is still there")]), FACT),
]


@pytest.mark.parametrize(("requirement", "trace", "margin_s"), MARGINS, ids=range(len(MARGINS)))
def test_what_a_busy_host_explains(requirement: str, trace: Trace, margin_s: float | None) -> None:
    check_margin(CHECKS[requirement](trace, PROFILE), margin_s)
