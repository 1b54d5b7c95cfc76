"""The images of the examples and of the foreign guest: built for real, booted for real, with real peers around them."""

import hashlib
import json
import os
import runpy
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from harness.appimage.image import build_image

pytestmark = pytest.mark.live

REPOSITORY = Path(__file__).parents[2]
CACHE = REPOSITORY / ".cache/images"
TERMINATING = {"gateway": "192.0.2.1", "address": "192.0.2.10", "prefix": 24, "mask": "255.255.255.0"}
TRANSPARENT = {"gateway": "10.198.0.1", "address": "10.198.0.2", "prefix": 30, "mask": "255.255.255.252"}

Boot = Callable[..., dict[str, Any]]


def inside(*words: object) -> subprocess.CompletedProcess[str]:
    """Run a command in private namespaces, where no network is but what it makes."""
    lab = [sys.executable, "-I", "-S", REPOSITORY / "harness/init.py", "--"]
    command = [str(word) for word in (*lab, *words)]
    return subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, timeout=180, check=False)


@pytest.fixture
def boot(tmp_path: Path, peer: Callable[[str], Path]) -> Boot:
    """boot(image, app, network, steps, **properties) is what that guest did in the rig (guest_rig.py)."""

    def run(image: Path, app: str, network: dict[str, Any], steps: dict[str, str], **more: Any) -> dict[str, Any]:
        names = {"service.mac": "52:54:00:00:00:01", "user-plane.mac": "52:54:00:00:00:02"}
        properties = {
            "racs.app.id": app,
            **{f"racs.nic.{name}": mac for name, mac in names.items()},
            **{f"racs.{name}.host": f"{name}.racs.internal" for name in ("heartbeat", "mqtt", "ntp")},
            **{"racs.heartbeat.port": "7400", "racs.heartbeat.interval": "1.0", "racs.mqtt.port": "1883"},
            **{"racs.mqtt.username": app, "racs.mqtt.password": "secret"},
            **{"racs.userplane.address": network["address"], "racs.userplane.gateway": network["gateway"]},
            **{"racs.features": more.get("features", ""), "racs.drill": more.get("drill", "")},
            "racs-fault": more.get("fault", ""),
        }
        setup = {
            "image": str(image),
            "console": str(tmp_path / "console.log"),
            "seconds": more.get("seconds", 14),
            "mosquitto": str(peer("mosquitto") / "usr/sbin/mosquitto"),
            "network": network,
            "properties": properties,
            "steps": steps,
        }
        (tmp_path / "setup.json").write_text(json.dumps(setup))
        done = inside(sys.executable, REPOSITORY / "tests/live/guest_rig.py", tmp_path / "setup.json")
        assert done.returncode == 0, done.stderr
        seen: dict[str, Any] = json.loads(done.stdout)
        return seen

    return run


@pytest.fixture(scope="session")
def goon(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_image(REPOSITORY / "examples/goon", tmp_path_factory.mktemp("goon") / "goon.qcow2", CACHE, print)


def judge_guest(seen: dict[str, Any], app: str) -> None:
    """What every good guest does: beats evenly and in the platform's time, and goes when the button is pressed."""
    beats = seen["beats"]
    assert {beat["app"] for beat in beats} == {app}
    assert [beat["seq"] - beats[0]["seq"] for beat in beats] == list(range(len(beats)))
    assert [beat["state"] for beat in beats] == ["running"] * (len(beats) - 1) + ["stopping"]
    assert all(beat["size"] <= 512 and abs(beat["time"] - beat["now"]) < 0.5 for beat in beats)
    assert len(beats) >= 14
    assert seen["power_off_s"] is not None
    assert seen["strays"] == 0
    assert not [query for query in seen["dns"] if ".racs.internal" not in query]
    assert all(len(request["request"]) == 96 and request["request"][:2] == "23" for request in seen["ntp"])
    assert 1 <= len(seen["ntp"]) <= 6


def ask(kind: str, address: str, port: int, data: str) -> str:
    return (
        f"{sys.executable} -c 'import socket; s = socket.socket(socket.AF_INET, socket.SOCK_{kind}); s.settimeout(5);"
        f' s.connect(("{address}", {port})); s.send(b"{data}" * 700); print(s.recv(9000)[:9].decode("latin-1"))\''
    )


def test_goon(goon: Path, boot: Boot) -> None:
    on = json.dumps({"features": ["goon.echo", "goon.greeting"], "time": 1})
    publish = "mosquitto_pub -h 10.199.0.1 -t"
    steps = {
        "load": f"{publish} racs/cell/7/load -m nonsense; {publish} racs/cell/8/load -m '{{\"load\": 0.5}}'",
        "switch": f"{publish} racs/app/goon/properties -r -m '{on}'",
        "udp": ask("DGRAM", "192.0.2.10", 7, "hello"),
        "tcp": ask("STREAM", "192.0.2.10", 7, "hello"),
        "ssh": ask("STREAM", "10.199.0.10", 22, "\\r\\n"),
        "ssh on the user plane": ask("STREAM", "192.0.2.10", 22, "x"),
    }
    seen = boot(goon, "goon", TERMINATING, steps, features="goon.echo", seconds=16)
    judge_guest(seen, "goon")
    assert seen["steps"]["udp"] == seen["steps"]["tcp"] == "hellohell\n"
    assert seen["steps"]["ssh"].startswith("SSH-2.0-d")
    assert seen["steps"]["ssh on the user plane"] == ""
    states = [json.loads(line.split(" ", 2)[2])["features"] for line in seen["bus"] if "app/goon/features" in line]
    assert [[feature["state"] for feature in state] for state in states] == [["on", "off"], ["on", "on"]]
    assert [line for line in seen["bus"] if "app/goon/busiest-cell" in line and '"cell": "8"' in line]
    assert [line for line in seen["bus"] if "app/goon/greeting" in line]


def test_goon_hangs_when_the_drill_says_so(goon: Path, boot: Boot) -> None:
    seen = boot(goon, "goon", TERMINATING, {}, features="goon.echo", drill="hang-after:4", seconds=10)
    beats = [beat["at"] - seen["first_beat_s"] for beat in seen["beats"]]
    assert 3 <= max(beats) < 6  # the work hangs at 4 s; nothing feeds the heartbeat after it
    assert seen["power_off_s"] is not None  # the system lives on


def test_lens_returns_every_packet_as_it_is(boot: Boot, tmp_path: Path) -> None:
    image = build_image(REPOSITORY / "examples/lens", tmp_path / "lens.qcow2", CACHE, print)
    cell = json.dumps({"ue": "10.45.0.2", "cell": "c7", "time": 1})
    probe = f"{sys.executable} {REPOSITORY}/tests/live/wire_probe.py tap1 52:54:00:00:00:02"
    steps = {
        "cell": f"mosquitto_pub -h 10.199.0.1 -t racs/ue/10.45.0.2/cell -m '{cell}'",
        "slow": f"{probe} 300 125",
        "fast": f"{probe} 600 500",
    }
    seen = boot(image, "lens", TRANSPARENT, steps, seconds=20)
    judge_guest(seen, "lens")
    for name, count in (("slow", 300), ("fast", 600)):
        result = json.loads(seen["steps"][name])
        assert (result["sent"], result["returned"], result["identical"]) == (count, count, count), result
        assert result["in_order"]
        assert result["other"] == []
    reports = [json.loads(line.split(" ", 2)[2]) for line in seen["bus"] if "app/lens/requests" in line]
    assert reports and reports[-1]["cells"]["c7"] > 0


def test_the_foreign_guest(boot: Boot, tmp_path: Path) -> None:
    build_foreign = runpy.run_path(str(REPOSITORY / "tests/apps/foreign/build.py"))["build_foreign"]
    image = build_foreign(tmp_path / "foreign.qcow2", CACHE, print)
    steps = {kind: ask(kind, "192.0.2.10", 5000, "ping") for kind in ("DGRAM", "STREAM")}
    seen = boot(image, "foreign", TERMINATING, steps)
    judge_guest(seen, "foreign")
    assert all(answer.startswith("pong") for answer in seen["steps"].values())
    assert not [line for line in seen["bus"] if "foreign" in line]


def test_two_builds_are_the_same_bytes(goon: Path, tmp_path: Path) -> None:
    """The second in a cache of its own, with another mask for new files; only the .deb files are shared."""
    (tmp_path / "debs").mkdir()
    (tmp_path / "debs/archives").symlink_to(CACHE / "debs/archives")
    before = os.umask(0o077)
    try:
        again = build_image(REPOSITORY / "examples/goon", tmp_path / "again.qcow2", tmp_path, print)
    finally:
        os.umask(before)
    assert hashlib.sha256(again.read_bytes()).digest() == hashlib.sha256(goon.read_bytes()).digest()
    assert again.stat().st_size <= 80_000_000


BUILD = """
import sys
from pathlib import Path
from conformance.errors import UsageError
from harness.appimage.image import build_image
try:
    print(build_image(Path("examples/goon"), *map(Path, sys.argv[1:3]), print))
except UsageError as error:
    print(error)
    sys.exit(4)
"""


def test_without_a_network_the_cache_does(goon: Path, tmp_path: Path) -> None:
    done = inside(sys.executable, "-c", BUILD, tmp_path / "image", CACHE)
    assert done.returncode == 0, done.stderr + done.stdout
    assert (tmp_path / "image").read_bytes() == goon.read_bytes()


def test_without_network_and_cache_it_says_so(tmp_path: Path) -> None:
    done = inside(sys.executable, "-c", BUILD, tmp_path / "image", tmp_path / "cache")
    assert (done.returncode, done.stderr) == (4, "")
    assert "mend the network" in done.stdout
    assert not list((tmp_path / "cache").glob("work-*"))


def test_a_full_disk_is_named_and_cleared(goon: Path, tmp_path: Path) -> None:
    """The .deb files are there; the disk is full while the root is unpacked."""
    prepare = f"mount -t tmpfs -o size=30m full {tmp_path}; mkdir {tmp_path}/debs;"
    prepare += f'ln -s {CACHE}/debs/archives {tmp_path}/debs/archives; exec "$@"'
    build = [sys.executable, "-c", BUILD, tmp_path / "image", tmp_path]
    done = inside("sh", "-ec", f"{prepare}", "sh", *build)
    assert (done.returncode, done.stderr) == (4, "")
    assert "No space left on device" in done.stdout
