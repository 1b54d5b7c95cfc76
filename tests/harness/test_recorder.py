"""The recorder's evidence: whole lines in order, from any thread, whatever happens to the process."""

import json
import os
import resource
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from conformance.errors import EnvironmentFault, UsageError
from conformance.trace import read_events
from harness.recorder import Recorder

BEGIN = {"name": "steady"}


def lines(folder: Path) -> list[str]:
    return (folder / "trace.jsonl").read_text().splitlines()


def test_an_event_is_on_disk_when_note_returns(tmp_path: Path) -> None:
    with Recorder(tmp_path / "evidence") as recorder:
        first = recorder.note("situation-begin", 1.25, "testbed", BEGIN)
        second = recorder.note("console-line", 2, "console", {"text": "Grüße\udcff\n", "boot": 1})
        on_disk = lines(tmp_path / "evidence")
        assert (first.line, second.line) == (1, 2)
        assert json.loads(on_disk[0]) == {"at": 1.25, "kind": "situation-begin", "source": "testbed", "name": "steady"}
        assert [event.kind for event in read_events(on_disk)] == ["situation-begin", "console-line"]
        assert recorder.trace().events == (first, second)
        assert recorder.trace().captures == {}


@pytest.mark.parametrize(
    ("kind", "fields", "names"),
    [
        ("situation-begun", BEGIN, "unknown kind"),
        ("situation-begin", {}, "missing"),
        ("situation-begin", {"name": "x", "further": 1}, "unknown"),
        ("situation-begin", {"name": 1}, "string"),
    ],
)
def test_no_event_but_those_of_the_table(tmp_path: Path, kind: str, fields: dict[str, object], names: str) -> None:
    with Recorder(tmp_path) as recorder:
        with pytest.raises(ValueError, match=names):
            recorder.note(kind, 1.0, "test", fields)
        assert lines(tmp_path) == []


def test_threads_do_not_mix_lines(tmp_path: Path) -> None:
    with Recorder(tmp_path) as recorder:

        def note_many(source: str) -> None:
            for number in range(200):
                recorder.note("situation-begin", number, source, {"name": "x" * 300})

        threads = [threading.Thread(target=note_many, args=(f"t{n}",)) for n in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        events = list(read_events(lines(tmp_path)))
    assert [event.line for event in events] == list(range(1, 1201))
    assert tuple(events) == recorder.trace().events
    for source in ("t0", "t5"):
        assert [event.at for event in events if event.source == source] == list(range(200))


def test_evidence_is_never_written_over(tmp_path: Path) -> None:
    with Recorder(tmp_path) as recorder:
        recorder.note("situation-begin", 1, "test", BEGIN)
    with pytest.raises(UsageError, match="evidence"), Recorder(tmp_path):
        raise AssertionError
    assert len(lines(tmp_path)) == 1


def test_a_folder_that_cannot_be_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match="file"), Recorder(tmp_path / "file" / "evidence"):
        raise AssertionError


KILLED = """
import os, signal, sys, pathlib
from harness.recorder import Recorder
with Recorder(pathlib.Path(sys.argv[1])) as recorder:
    for number in range(100):
        recorder.note("situation-begin", number, "test", {"name": "killed"})
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_sigkill_loses_no_event(tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, "-c", KILLED, tmp_path], check=False)
    assert done.returncode == -signal.SIGKILL
    assert len(list(read_events(lines(tmp_path)))) == 100


def test_a_full_disk_is_one_clear_error(tmp_path: Path) -> None:
    """By a limit on the size of files: the kernel then cuts a write short and refuses the next, as a full disk does."""
    child = os.fork()
    if child == 0:
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
        told = 1
        with Recorder(tmp_path) as recorder:
            try:
                for number in range(100):
                    recorder.note("situation-begin", number, "test", BEGIN)
            except UsageError as error:
                told = 0 if "make room" in str(error) else 2
        os._exit(told)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_a_capture_process_that_does_not_come_up_is_the_labs_fault(tmp_path: Path) -> None:
    with Recorder(tmp_path) as recorder, (tmp_path / "no-socket").open("wb") as file:
        with pytest.raises(EnvironmentFault, match="capture process"):
            recorder.start_captures({"sgi": file.fileno()}, {"sgi": "ip"}, 1000)
        assert lines(tmp_path) == []
