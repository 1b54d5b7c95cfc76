"""The clients that app developers copy: old Python, standard library, right on the wire."""

import ast
import json
import os
import signal
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

CLIENTS = Path(__file__).parents[2] / "examples/clients"
ERA = 2208988800

Example = Callable[[str], ModuleType]


@pytest.mark.parametrize("name", ["heartbeat.py", "ntp.py"])
def test_a_client_is_old_python_of_the_standard_library(name: str) -> None:
    tree = ast.parse((CLIENTS / name).read_text(), feature_version=(3, 4))
    newer = (ast.JoinedStr, ast.NamedExpr, ast.AnnAssign, ast.AsyncFunctionDef, ast.Match)
    assert not [node for node in ast.walk(tree) if isinstance(node, newer)]
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            assert {alias.name for alias in node.names} <= sys.stdlib_module_names
        assert not isinstance(node, ast.ImportFrom)


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        sock.settimeout(10)
        yield sock


@pytest.fixture
def new_heart(example: Example) -> Iterator[Callable[..., Any]]:
    hearts = []

    def make(host: str, port: int, interval: float) -> Any:
        hearts.append(example("heartbeat").Heartbeat("goon", host, port, interval))
        return hearts[-1]

    yield make
    for heart in hearts:
        heart.socket.close()


NewHeart = Callable[..., Any]


def receive(sock: socket.socket) -> dict[str, object]:
    data = sock.recv(2048)
    assert len(data) <= 512
    beat: dict[str, object] = json.loads(data)
    return beat


def test_beats_have_the_five_fields_and_rise_by_one(new_heart: NewHeart, listener: socket.socket) -> None:
    heart = new_heart(*listener.getsockname(), 0.01)
    before = time.time()
    for _ in range(3):
        time.sleep(heart.remaining())
        assert heart.beat()
    heart.stop()
    beats = [receive(listener) for _ in range(4)]
    assert [beat["seq"] for beat in beats] == [0, 1, 2, 3]
    assert [beat["state"] for beat in beats] == ["running"] * 3 + ["stopping"]
    for beat in beats:
        assert sorted(beat) == ["app", "racs", "seq", "state", "time"]
        assert (beat["racs"], beat["app"]) == ("heartbeat/1", "goon")
        assert isinstance(beat["time"], float) and before <= beat["time"] <= time.time()


def test_a_stall_is_not_made_up_for_in_a_burst(new_heart: NewHeart, listener: socket.socket) -> None:
    heart = new_heart(*listener.getsockname(), 30)
    assert heart.beat()
    grid = heart.due
    heart.due -= 100  # as if the work had stalled for that long
    assert heart.beat()
    assert not heart.beat()
    steps = (heart.due - grid + 100) / 30
    assert heart.due > time.monotonic() and steps == pytest.approx(round(steps))
    assert heart.seq == 2


def test_an_unreachable_platform_costs_no_seq(new_heart: NewHeart) -> None:
    heart = new_heart("127.0.0.1", 9, 0.01)
    heart.address = ("255.255.255.255", 7400)  # the kernel refuses to send without SO_BROADCAST
    assert heart.beat()
    assert heart.seq == 0


def test_beside_another_app_it_beats_only_while_the_app_works(listener: socket.socket, tmp_path: Path) -> None:
    fresh = tmp_path / "alive"
    words = [sys.executable, "-I", CLIENTS / "heartbeat.py", "goon", *map(str, listener.getsockname()), "0.5"]
    with subprocess.Popen([*map(str, words), "--fresh", str(fresh)]) as process:
        fresh.touch()
        assert receive(listener)["state"] == "running"
        os.utime(fresh, (0, 0))  # the app hangs: what is on its way may still come
        listener.settimeout(2)
        with pytest.raises(TimeoutError):
            for _ in range(3):
                receive(listener)
        process.send_signal(signal.SIGTERM)
        assert receive(listener)["state"] == "stopping"


def answer(originate: bytes, arrived: float, left: float, flags: int = 0x24, stratum: int = 2) -> bytes:
    return struct.pack("!BBbb12x8x", flags, stratum, 6, -20)[:24] + originate + ntp_time(arrived) + ntp_time(left)


def ntp_time(at: float) -> bytes:
    return struct.pack("!II", (int(at) + ERA) % 2**32, int(at % 1 * 2**32))


@settings(derandomize=True, max_examples=200)
@given(
    sent=st.floats(1e9, 3e9),
    shift=st.floats(-4000, 4000),
    out=st.floats(0, 0.5),
    back=st.floats(0, 0.5),
)
def test_the_offset_is_right_to_half_the_round_trip(sent: float, shift: float, out: float, back: float) -> None:
    ntp = load_ntp()
    arrived = sent + shift + out
    data = answer(ntp.stamp(sent), arrived, arrived)
    assert abs(ntp.offset(data, sent, sent + out + back) - shift) <= (out + back) / 2 + 1e-5


def load_ntp() -> ModuleType:
    module = ModuleType("ntp")
    exec(compile((CLIENTS / "ntp.py").read_text(), "ntp.py", "exec"), module.__dict__)
    return module


@settings(derandomize=True, max_examples=200)
@given(st.floats(0, 4e9))
def test_time_stamps_round_trip_over_the_era(at: float) -> None:
    ntp = load_ntp()
    assert ntp.seconds(ntp.stamp(at)) == pytest.approx(at, abs=1e-6)


@pytest.mark.parametrize(
    ("flags", "stratum", "left"),
    [(0xE4, 2, 1e9), (0x24, 16, 1e9), (0x23, 2, 1e9), (0x25, 2, 1e9), (0x24, 2, -ERA)],
    ids=["not synchronised", "stratum 16", "a client's", "broadcast", "no transmit time"],
)
def test_a_bad_answer_never_sets_the_clock(flags: int, stratum: int, left: float) -> None:
    ntp = load_ntp()
    with pytest.raises(ValueError):
        ntp.offset(answer(bytes(8), 1e9, left, flags, stratum), 1e9, 1e9)


@pytest.mark.parametrize("code", ["RATE", "DENY", "RSTR"])
def test_a_kiss_of_death_is_told_apart(code: str) -> None:
    ntp = load_ntp()
    data = bytearray(answer(bytes(8), 1e9, 1e9, stratum=0))
    data[12:16] = code.encode()
    with pytest.raises(ntp.KissOfDeath, match=code):
        ntp.offset(bytes(data), 1e9, 1e9)
