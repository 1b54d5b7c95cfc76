"""`racs check` of several packages, and of one without its image, as a user meets them."""

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import command_line
import jsonschema
import pytest
from command_line import RACS, REPOSITORY, Delivery, deliver

SCHEMA = json.loads((REPOSITORY / "conformance/data/schemas/racs-certification-1.json").read_text())
DEADLINE_S = 60.0
HUGE = 6 << 30  # bytes of a sparse file: it is read for longer than it takes to end its reader


@pytest.fixture(scope="module")
def delivery(tmp_path_factory: pytest.TempPathFactory) -> Delivery:
    return deliver(tmp_path_factory.mktemp("delivery"))


@pytest.fixture
def broken(delivery: Delivery, tmp_path: Path) -> Path:
    """The package with a byte of its image changed."""
    data = bytearray(delivery.ova.read_bytes())
    data[len(data) // 2] ^= 1
    path = tmp_path / "broken.ova"
    path.write_bytes(data)
    return path


@pytest.fixture
def huge(tmp_path: Path) -> Path:
    path = tmp_path / "huge.ova"
    with path.open("wb") as file:
        file.truncate(HUGE)
    return path


def call(delivery: Delivery, *words: object) -> list[str]:
    return [RACS, "check", f"--root={delivery.root}", *map(str, words)]


def test_each_is_told_in_order_and_the_worst_counts(delivery: Delivery, broken: Path, tmp_path: Path) -> None:
    ended = command_line.run(call(delivery, delivery.ova, broken, delivery.ova), tmp_path)
    assert ended.status == 1, ended.said
    lines = ended.out.splitlines()
    places = [lines.index(str(path)) for path in (delivery.ova, broken)]
    assert places == sorted(places)
    first = lines[: places[1]]
    assert first[-2].startswith("PASS goon (scope package, trust rd)")
    assert [line[:7] for line in first if line.startswith(("PKG", "DSC"))] == ["DSC-011"] * 2  # the warning, and why
    assert any(line.startswith("PKG-005  fail") for line in lines)
    assert lines[-1] == "3 packages: 1 fail, 2 pass"
    assert sum(line.startswith("note: R&D, not for deployment") for line in lines) == 1


def test_a_line_of_json_each(delivery: Delivery, broken: Path, tmp_path: Path) -> None:
    ended = command_line.run(call(delivery, delivery.ova, broken, "--json", "-"), tmp_path)
    results = [json.loads(line) for line in ended.out.splitlines()]
    for result in results:
        jsonschema.validate(result, SCHEMA)
    assert (ended.status, [result["verdict"] for result in results]) == (1, ["pass", "fail"])
    ended = command_line.run(call(delivery, delivery.ova, broken, "--json", "all.jsonl"), tmp_path)
    written = [json.loads(line)["exit_status"] for line in (tmp_path / "all.jsonl").read_text().splitlines()]
    assert (written, ended.out.splitlines()[-1]) == ([0, 1], "2 packages: 1 fail, 1 pass")


def test_what_is_no_package_is_told_and_the_others_are_judged(delivery: Delivery, broken: Path, tmp_path: Path) -> None:
    missing, folder = tmp_path / "missing.ova", tmp_path
    words = (missing, broken, folder, delivery.ova)
    ended = command_line.run(call(delivery, *words), tmp_path)
    assert ended.status == 4, ended.said
    assert f"{missing}\nNOT CHECKED: {missing} is not there; give the path of the package" in ended.out
    assert f"NOT CHECKED: {folder} is a folder" in ended.out
    assert ended.out.splitlines()[-1] == "4 packages: 1 fail, 2 not checked, 1 pass"
    lines = command_line.run(call(delivery, *words, "--json=-"), tmp_path).out.splitlines()
    results = [json.loads(line) for line in lines]
    assert [result["exit_status"] for result in results] == [4, 1, 4, 0]
    assert results[0] == {
        "schema": "racs-not-checked/1",
        "exit_status": 4,
        "verdict": "error",
        "package_file": "missing.ova",
        "errors": [f"{missing} is not there; give the path of the package"],
    }


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--root=missing"], "missing cannot be read"),
        (["--json=missing/all.jsonl"], "cannot be written; give a file in a folder that is there"),
    ],
)
def test_a_wrong_call_judges_nothing(options: list[str], said: str, delivery: Delivery, tmp_path: Path) -> None:
    ended = command_line.run(call(delivery, delivery.ova, delivery.ova, *options), tmp_path)
    assert (ended.status, ended.out, said in ended.err) == (4, "", True), ended.said


def test_without_the_image_it_is_no_whole_check(delivery: Delivery, tmp_path: Path) -> None:
    ended = command_line.run(call(delivery, delivery.ova, "--no-image", "--json=one.json"), tmp_path)
    result = json.loads((tmp_path / "one.json").read_text())
    jsonschema.validate(result, SCHEMA)
    assert (ended.status, result["scope"]) == (0, "selection")
    assert "note: no whole check: nobody looked into the image (--no-image)" in ended.out
    assert ended.out.splitlines()[-1].startswith("PASS goon (scope selection, trust rd)")
    inside = [one for one in result["requirements"] if one["id"].startswith("IMG-")]
    assert inside and not any(one["in_scope"] for one in inside)
    assert {one["verdict"] for one in inside} == {"not judged"}
    assert sorted(result["selected"]) == sorted(one["id"] for one in result["requirements"] if one["in_scope"])


def children(pid: int) -> list[int]:
    return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def wait_until(condition: Callable[[], object], what: str) -> None:
    deadline = time.monotonic() + DEADLINE_S
    while not condition():
        assert time.monotonic() < deadline, f"{what} did not happen"
        time.sleep(0.01)


def test_a_crash_is_an_error_of_that_one_only(delivery: Delivery, huge: Path, tmp_path: Path) -> None:
    command = call(delivery, huge, delivery.ova)
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        wait_until(lambda: children(process.pid), "the first process's start")
        os.kill(children(process.pid)[0], signal.SIGKILL)
        shown = process.stdout.read()
    assert process.returncode == 3, shown
    assert "NOT CHECKED: error in the suite: the process that judged it was killed by SIGKILL" in shown
    assert shown.splitlines()[-1] == "2 packages: 1 not checked, 1 pass"


@pytest.mark.parametrize("count", [1, 2])
def test_a_package_that_changes_while_it_is_read_is_not_judged(count: int, delivery: Delivery, huge: Path) -> None:
    given = [huge, delivery.ova][:count]
    with subprocess.Popen(
        call(delivery, *given, "--json=-"), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        wait_until(lambda: any(reads(pid, huge) for pid in (process.pid, *children(process.pid))), "the reading")
        os.truncate(huge, 1 << 20)
        told, said = process.communicate(timeout=DEADLINE_S)
    first = json.JSONDecoder().raw_decode(told)[0]
    assert (process.returncode, first["exit_status"], "Traceback" in said) == (3, 3, False), said
    assert first["errors"] == [f"{huge}: it changed while it was read; try again when nobody writes to it"]


def reads(pid: int, path: Path) -> bool:
    """Whether a process has it open and has read of it."""
    with suppress(FileNotFoundError):
        for number in os.listdir(f"/proc/{pid}/fd"):
            if os.readlink(f"/proc/{pid}/fd/{number}") == str(path):
                return "pos:\t0\n" not in Path(f"/proc/{pid}/fdinfo/{number}").read_text()
    return False


def test_ctrl_c_ends_it_within_seconds_and_says_how_far_it_came(delivery: Delivery, huge: Path, tmp_path: Path) -> None:
    command = call(delivery, delivery.ova, huge, huge)
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout and process.stderr
        while not process.stdout.readline().startswith("PASS"):
            pass
        pids = children(process.pid)
        process.send_signal(signal.SIGINT)
        assert process.wait(DEADLINE_S) == 2
        assert process.stderr.read() == "racs: interrupted: 1 of 3 packages were judged\n"
    assert pids and not any(Path(f"/proc/{pid}").exists() for pid in pids)
