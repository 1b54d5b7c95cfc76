"""Captures of the running lab: whole, exact at a flush, readable by others, and honest about what they lost."""

import os
import signal
import socket
import struct
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from network_rig import PROFILE, TERMINATING, captured, ping
from private_namespaces import privately

from conformance.errors import EnvironmentFault
from harness import recorder
from harness.network import Network

pytestmark = pytest.mark.live


@privately
def test_a_ping_is_captured_both_ways(tmp_path: Path) -> None:
    with Network(TERMINATING, PROFILE) as network, captured(network, tmp_path) as made:
        assert network.run_in("standin", lambda: ping("10.199.0.1"))
        assert network.run_in("outside", lambda: ping("198.18.0.1"))
        trace = made.trace()
        for name in ("service", "outside"):
            echo = [frame for frame in trace.frames(name) if frame.data[12:14] == b"\x08\x00"]
            assert [(frame.data[34], frame.from_lab) for frame in echo] == [(8, False), (0, True)]
            assert trace.captured(name)
        events = trace.of("capture", "clock-pair")
        assert events[-1].at - 5 < echo[0].at <= echo[1].at < events[-1].at + 5  # one clock for frames and events
        assert {event["interface"] for event in trace.of("capture")} == set(network.topology.captured)
    for file in tmp_path.glob("*.pcapng"):
        shark = subprocess.run(["tshark", "-n", "-r", file], capture_output=True, text=True, check=False)
        complaints = [line for line in shark.stderr.splitlines() if "Running as user" not in line]
        assert (shark.returncode, complaints) == (0, [])
        if file.name == "outside.pcapng":
            assert "198.18.0.2 → 198.18.0.1   ICMP" in shark.stdout


def send_datagrams(count: int, port: int = 9) -> Callable[[], None]:
    def send() -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as datagrams:
            for number in range(count):
                datagrams.sendto(struct.pack(">I", number) + bytes(1000), ("198.18.0.1", port))

    return send


@privately
def test_a_flush_is_exact(tmp_path: Path) -> None:
    with Network(TERMINATING, PROFILE) as network, captured(network, tmp_path) as made:
        for turn in range(1, 6):
            network.run_in("outside", send_datagrams(200))
            sent = [frame for frame in made.trace().frames("outside") if frame.data[36:38] == struct.pack(">H", 9)]
            assert [struct.unpack(">I", frame.data[42:46])[0] for frame in sent] == list(range(200)) * turn


@privately
def test_a_vlan_tag_stays_in_the_frame(tmp_path: Path) -> None:
    frame = bytes.fromhex("027261637301 525400726101 8100 2007 88b5") + b"tagged" * 10
    with Network(TERMINATING, PROFILE) as network, captured(network, tmp_path) as made:

        def send() -> None:
            with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as raw:
                raw.bind(("service", 0))
                raw.send(frame)

        network.run_in("standin", send)
        assert network.run_in("standin", lambda: ping("10.199.0.1"))  # behind it on the same wire
        assert frame in [seen.data for seen in made.trace().frames("service")]


@privately
def test_the_bound_on_evidence_is_kept_and_said(tmp_path: Path) -> None:
    with Network(TERMINATING, PROFILE) as network, captured(network, tmp_path, bytes_max=50_000) as made:
        network.run_in("outside", send_datagrams(100))
        trace = made.trace()
        assert not trace.captured("outside")
        assert "evidence.bytes_max" in trace.of("drop")[0]["where"]
        assert sum(file.stat().st_size for file in tmp_path.glob("*.pcapng")) < 60_000


@privately
def test_a_killed_capture_is_told_and_readable(tmp_path: Path) -> None:
    with Network(TERMINATING, PROFILE) as network, captured(network, tmp_path) as made:
        network.run_in("outside", send_datagrams(50))
        before = len(made.trace().frames("outside"))
        children = Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()
        (capture,) = [pid for pid in children if b"harness.capture" in Path(f"/proc/{pid}/cmdline").read_bytes()]
        os.kill(int(capture), signal.SIGKILL)
        with pytest.raises(EnvironmentFault):
            made.flush()
        trace = made.trace()
        assert trace.of("process-died")[0]["status"] == -signal.SIGKILL
        assert len(trace.frames("outside")) == before >= 50
    assert recorder.load_captures(tmp_path, trace.events)["outside"].frames == trace.frames("outside")
