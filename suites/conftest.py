"""Situations as session fixtures: each is recorded once, and every requirement that speaks of it is judged from it.

They come in this order and overlap where they can: the control situation proves the lab before the app is blamed for
anything; the steady one is the longest stretch without planned disturbance; the rest disturbs.
"""

from collections.abc import Iterator
from contextlib import suppress
from typing import TYPE_CHECKING

import pytest

from conformance.trace import Trace
from harness.situations import Unreached

if TYPE_CHECKING:  # the testbed opens libvirt: only where something is booted
    from harness.testbed import Testbed

ORDER = ("test_package", "test_control", "test_steady", "test_lifecycle", "test_whole_run")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: ORDER.index(item.path.stem) if item.path.stem in ORDER else len(ORDER))


@pytest.fixture(scope="session")
def control(bed: "Testbed") -> Trace:
    """The lab without the app: a stand-in of ours answers in its place."""
    with bed.recording("control") as recorded:
        bed.use_app_bypassed()
        with bed.stand_in():
            bed.exchange_control_traffic()
            bed.probe_bus_permissions()
            bed.probe_undeclared_ports()
        bed.resolve_endpoints()
    return recorded.trace


@pytest.fixture(scope="session")
def started(bed: "Testbed", control: Trace) -> Trace:
    """The first start, to the first heartbeat or the boot deadline."""
    with bed.recording("start") as recorded:
        bed.power_on()
        bed.await_first_beat()
    return recorded.trace


@pytest.fixture(scope="session")
def steady(bed: "Testbed", started: Trace) -> Trace:
    """From the first start to the end of the window, nothing planned in between: all that the app offers in use."""
    bed.ensure_running()
    with bed.recording("steady", since=started) as recorded:
        bed.await_bus()
        bed.switch_features()  # first: services are judged with all features on (contract 6)
        bed.await_ready()
        bed.use_services()
        bed.use_forwards()
        bed.observe_window()
    return recorded.trace


@pytest.fixture(scope="session")
def power_button(bed: "Testbed", started: Trace) -> Trace:
    """The power button is pressed on a running app."""
    bed.ensure_running()
    with bed.recording("power button") as recorded:
        bed.press_power_button()
    return recorded.trace


@pytest.fixture(scope="session")
def hang_drill(bed: "Testbed", started: Trace) -> Trace:
    """A start with the drill: the app's own work stops, its operating system lives on."""
    bed.ensure_off()
    with bed.recording("hang drill") as recorded:
        bed.power_on(drill=f"hang-after:{bed.profile['heartbeat.hang_after_s']}")
        bed.await_first_beat()
        bed.await_hang()
    return recorded.trace


@pytest.fixture(scope="session")
def failure(bed: "Testbed", started: Trace) -> Trace:
    """The running machine is suspended: supervision has to find out, bypass the app and reset it."""
    bed.ensure_running()
    with bed.recording("failure") as recorded, bed.supervision():
        bed.suspend()
        bed.await_bypass()
        bed.await_reset()
        if bed.await_first_beat():
            bed.await_ready()
            bed.use_services(briefly=True)
    return recorded.trace


@pytest.fixture(scope="session")
def whole_run(bed: "Testbed", started: Trace, request: pytest.FixtureRequest) -> Iterator[Trace]:
    """All that was recorded, after the machine was undefined: for what holds from the first packet to the last."""
    with suppress(Unreached):  # an app that never beat has a console all the same
        request.getfixturevalue("steady")
    bed.remove_machine()
    yield bed.trace()
