"""Supervision, driven by a hand-made clock: every boundary, acting and only recording."""

import json
from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from emulator.heartbeat import TRANSITIONS, HeartbeatCore, Input, State, Supervised
from emulator.platform import PlatformClock
from emulator.service import Action, Alarm, Bypass, Note, Restart

BOOT = 60.0
SOURCE = ("10.199.0.10", 40000)


def datagram(state: str = "running", app: str = "goon", seq: int = 1) -> bytes:
    return json.dumps({"racs": "heartbeat/1", "app": app, "seq": seq, "time": 1.0, "state": state}).encode()


def core(acting: bool = True) -> HeartbeatCore:
    made = HeartbeatCore(Supervised("goon", 1.0, 3, BOOT, 3), PlatformClock(0.0, 1000.0, 0.0))
    made.supervise(acting, 0.0)
    return made


def states(actions: Sequence[Action]) -> list[str]:
    return [a.fields["state"] for a in actions if isinstance(a, Note) and a.kind == "supervision"]


def deeds(actions: Sequence[Action]) -> list[str]:
    """What reaches the VM, the user plane and the network manager, in words."""
    words = []
    for action in actions:
        match action:
            case Restart():
                words.append("restart")
            case Bypass(active):
                words.append("bypass" if active else "through")
            case Alarm(_, severity, _, _, cleared):
                words.append(f"{'clear' if cleared else 'raise'} {severity}")
    return words


def alive(acting: bool = True, at: float = 10.0) -> HeartbeatCore:
    made = core(acting)
    made.expect(0.0)
    made.receive(datagram(), SOURCE, at)
    assert made.state is State.ALIVE
    return made


def stimulate(made: HeartbeatCore, what: str, now: float) -> Sequence[Action]:
    match what:
        case "expect":
            return made.expect(now)
        case "off":
            return made.vm_off(now)
        case "act" | "record":
            return made.supervise(what == "act", now)
        case "wake":
            return made.wake(now)
    return made.receive(datagram("stopping" if what == "stopping" else "running"), SOURCE, now)


def test_before_a_start_nothing_is_expected() -> None:
    made = core()
    assert made.next_wake() is None
    actions = made.receive(datagram(), SOURCE, 1.0)
    assert [a.kind for a in actions if isinstance(a, Note)] == ["beat"]
    assert made.state is State.OFF


def test_first_beat_ends_the_bypass() -> None:
    made = core()
    assert deeds(made.expect(0.0)) == ["bypass"]
    assert made.next_wake() == BOOT
    assert deeds(made.receive(datagram("starting"), SOURCE, 9.0)) == ["through"]
    assert made.next_wake() == 12.0


@pytest.mark.parametrize(
    ("at", "expected"),
    [(12.999, ""), (13.0, "failed"), (13.5, "failed")],
)
def test_three_intervals_without_a_beat(at: float, expected: str) -> None:
    made = alive()
    actions = made.wake(at)
    assert states(actions) == ([expected] if expected else [])
    assert deeds(actions) == (["raise major", "bypass", "restart"] if expected else [])


def test_a_beat_at_the_very_limit_came_in_time() -> None:
    made = alive()
    assert deeds(made.receive(datagram(), SOURCE, 13.0)) == []
    assert made.next_wake() == 16.0


def test_a_late_beat_that_is_read_before_the_timer_does_not_hide_the_failure() -> None:
    made = alive()
    actions = made.receive(datagram(), SOURCE, 13.001)
    assert states(actions) == ["failed"]
    assert "restart" in deeds(actions)


@pytest.mark.parametrize(("at", "failed"), [(BOOT - 0.001, False), (BOOT, True)])
def test_boot_deadline(at: float, failed: bool) -> None:
    made = core()
    made.expect(0.0)
    assert (deeds(made.wake(at)) == ["raise major", "restart"]) is failed


def test_escalates_after_three_restarts_in_a_row_and_stays_bypassed() -> None:
    made, now = alive(), 13.0
    assert deeds(made.wake(now)) == ["raise major", "bypass", "restart"]
    for _ in range(2):
        made.expect(now)
        now += BOOT
        assert deeds(made.wake(now)) == ["restart"]
    made.expect(now)
    now += BOOT
    last = made.wake(now)
    assert states(last) == ["escalated"]
    assert deeds(last) == ["raise critical"]
    assert made.next_wake() is None
    assert deeds(made.receive(datagram(), SOURCE, now + 1)) == []
    made.expect(now + 2)  # restarted by hand
    assert deeds(made.receive(datagram(), SOURCE, now + 9)) == ["through", "clear major", "clear critical"]


def test_a_beat_between_makes_the_restarts_no_row() -> None:
    made, now = alive(), 13.0
    for _ in range(5):
        assert "restart" in deeds(made.wake(now))
        made.expect(now)
        assert deeds(made.receive(datagram(), SOURCE, now + 1)) == ["through", "clear major"]
        now += 4.0


def test_recording_only_touches_neither_vm_nor_traffic() -> None:
    made = alive(acting=False)
    actions = made.wake(13.0)
    assert states(actions) == ["failed"]
    assert deeds(actions) == ["raise major"]
    assert made.next_wake() is None
    assert deeds(made.receive(datagram(), SOURCE, 20.0)) == ["clear major"]
    assert made.state is State.ALIVE


def test_a_standing_failure_is_acted_upon_when_supervision_begins_to_act() -> None:
    made = alive(acting=False)
    made.wake(13.0)
    assert deeds(made.supervise(True, 14.0)) == ["bypass", "restart"]
    assert deeds(made.supervise(True, 15.0)) == []


def test_beats_of_the_vm_that_is_being_reset_do_not_count() -> None:
    made = alive()
    made.wake(13.0)
    assert deeds(made.receive(datagram(), SOURCE, 13.1)) == []
    made.expect(14.0)
    assert states(made.receive(datagram(), SOURCE, 13.9)) == []
    assert states(made.receive(datagram(), SOURCE, 14.0)) == ["alive"]


def test_after_stopping_nothing_is_expected() -> None:
    made = alive()
    assert deeds(made.receive(datagram("stopping"), SOURCE, 11.0)) == ["bypass"]
    assert made.next_wake() is None
    assert deeds(made.vm_off(20.0)) == []
    assert made.state is State.OFF
    made.expect(30.0)
    assert made.next_wake() == 30.0 + BOOT


def test_vm_off_by_plan_clears_alarms() -> None:
    made = alive()
    made.wake(13.0)
    assert deeds(made.vm_off(14.0)) == ["clear major"]
    assert made.next_wake() is None


@pytest.mark.parametrize("data", [b"", b"{}", datagram(app="lens"), datagram() + b"x", datagram("odd")])
def test_what_is_no_beat_of_the_app_is_noted_and_keeps_nobody_alive(data: bytes) -> None:
    made = alive()
    (note,) = made.receive(data, SOURCE, 11.0)
    assert isinstance(note, Note)
    assert note.fields == {"data": data.hex(), "length": len(data), "address": SOURCE[0], "port": SOURCE[1]}
    assert made.next_wake() == 13.0


def test_a_huge_datagram_is_noted_by_its_beginning() -> None:
    (note,) = core().receive(b"x" * 5000, SOURCE, 1.0)
    assert isinstance(note, Note)
    assert (note.fields["length"], len(note.fields["data"])) == (5000, 4096)


def test_alarm_times_are_the_platforms() -> None:
    made = alive()
    (alarm,) = (a for a in made.wake(13.0) if isinstance(a, Alarm))
    assert alarm.time == 1013.0


def test_the_table_lets_every_state_be_started_and_switched_off() -> None:
    for state in State:
        assert TRANSITIONS[state, Input.EXPECT] is State.WAITING
        assert TRANSITIONS[state, Input.VM_OFF] is State.OFF


@settings(derandomize=True, max_examples=200, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.sampled_from(["beat", "stopping", "wake", "expect", "off", "act", "record"]),
            st.floats(0.0, 70.0),
        ),
        max_size=40,
    )
)
def test_whatever_happens_restarts_are_bounded_and_alarms_pair(steps: Sequence[tuple[str, float]]) -> None:
    made, now, in_a_row, raised, asked = core(), 0.0, 0, 0, False
    for what, after in steps:
        now += after
        words = deeds(stimulate(made, what, now))
        by_hand = what in ("off", "record") or (what == "expect" and not asked)
        if by_hand or made.state is State.ALIVE:
            in_a_row = 0
        in_a_row += words.count("restart")
        asked = "restart" in words or (asked and what not in ("expect", "off", "record"))
        raised += sum(word.startswith("raise") for word in words) - sum(word.startswith("clear") for word in words)
        assert in_a_row <= 3
        assert 0 <= raised <= 2
        assert raised == 0 or made.state in (State.FAILED, State.WAITING, State.ESCALATED)
        assert (made.next_wake() is not None) == (made.state in (State.WAITING, State.ALIVE))
