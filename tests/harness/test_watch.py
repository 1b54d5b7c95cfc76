"""Waiting for events: what a thread could not write down is raised where the run waits, and before it judges."""

import errno
import os
import threading
import time
from collections.abc import Mapping
from pathlib import Path

import pytest

from conformance.errors import EnvironmentFault, UsageError
from harness.recorder import TRACE_FILE, Recorder
from harness.watch import Watch

DIED = {"process": "emulator.bus", "status": -9}


def test_a_full_disk_in_a_thread_ends_the_wait(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with Recorder(tmp_path) as recorder:
        watch = Watch(recorder)
        watch.require_written()
        with monkeypatch.context() as patch:
            patch.setattr(os, "write", full)
            note = watch.noter("meter")
            thread = threading.Thread(target=note, args=("process-died", 1.0, DIED))
            thread.start()
            thread.join()
        for ask in (watch.require_written, lambda: watch.let_pass(time.monotonic() + 60)):
            with pytest.raises(UsageError, match=f"{TRACE_FILE}.*No space left"):
                ask()
        assert watch.seen("process-died") == ()


@pytest.mark.parametrize(
    ("kind", "fields", "said"),
    [
        ("process-died", DIED, r"emulator\.bus of the lab died \(status -9\)"),
        ("lab-fault", {"why": "no space left on the host"}, "no space left"),
    ],
)
def test_a_lab_that_cannot_go_on_ends_the_wait(
    kind: str, fields: Mapping[str, object], said: str, tmp_path: Path
) -> None:
    with Recorder(tmp_path) as recorder:
        watch = Watch(recorder)
        watch.note(kind, 1.0, "harness", fields)
        with pytest.raises(EnvironmentFault, match=said):
            watch.let_pass(time.monotonic() + 60)


def test_the_first_true_value_is_the_answer(tmp_path: Path) -> None:
    with Recorder(tmp_path) as recorder:
        watch = Watch(recorder)
        assert watch.wait_until(lambda: watch.seen("situation-begin"), time.monotonic()) == ()
        watch.note("situation-begin", 1.0, "harness", {"name": "steady"})
        assert watch.wait_until(lambda: watch.seen("situation-begin", since=1.0), time.monotonic())[0].at == 1.0
