"""`racs lab` with real programs in its namespaces, and a real VM: curl in a UE, ssh through the port forwarding."""

import os
import re
import shutil
import signal
import subprocess
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pytest

from emulator.webserver import body_of
from harness.appimage.image import build_image
from harness.options import CACHE, REPOSITORY
from harness.packaging.building import PackageParts, Sample, build_sample, write_package
from harness.packaging.ca import make_ca

pytestmark = pytest.mark.live

BEAT_DEADLINE_S = 300.0
END_DEADLINE_S = 150.0
FORWARDED = 29001


@dataclass(frozen=True)
class RunningLab:
    """A lab after the app's first heartbeat; enter is how another terminal gets into it."""

    enter: tuple[str, ...]

    def run(self, namespace: str, *command: str) -> subprocess.CompletedProcess[bytes]:
        whole = [*self.enter, "ip", "netns", "exec", namespace, *command]
        return subprocess.run(whole, capture_output=True, check=False, timeout=60)


@contextmanager
def running(sample: Sample, folder: Path, environment: Mapping[str, str]) -> Iterator[RunningLab]:
    words = [
        str(REPOSITORY / "racs"),
        "lab",
        str(sample.ova),
        "--root",
        str(sample.root),
        "--runs",
        str(folder / "runs"),
    ]
    pipe = subprocess.PIPE
    with subprocess.Popen(words, stdout=pipe, stderr=pipe, text=True, env={**os.environ, **environment}) as process:
        assert process.stdout is not None and process.stderr is not None
        beaten, said = threading.Event(), []

        def follow() -> None:
            assert process.stderr is not None
            for line in process.stderr:
                said.append(line)
                if "beat from" in line:
                    beaten.set()

        reader = threading.Thread(target=follow)
        reader.start()
        try:
            enter = None
            for line in process.stdout:
                enter = re.search(r"nsenter -t \d+ -m -n", line)
                if enter:
                    break
            assert enter is not None, "".join(said)
            assert beaten.wait(BEAT_DEADLINE_S), "".join(said)
            yield RunningLab(tuple(enter.group().split()))
        finally:
            process.send_signal(signal.SIGINT)
            process.stdout.read()
            status = process.wait(END_DEADLINE_S)
            reader.join()
        assert status == 0, "".join(said)


def test_curl_in_a_ue_goes_through_the_transparent_app(tmp_path: Path, nothing_left: Mapping[str, str]) -> None:
    with running(build_sample("lens"), tmp_path, nothing_left) as lab:
        got = lab.run("ue3", "curl", "-sS", "--max-time", "30", "http://203.0.113.77:8080/bytes/100000")
        assert got.returncode == 0, got.stderr
        assert got.stdout == body_of(100000)


def test_ssh_through_the_port_forwarding(tmp_path: Path, nothing_left: Mapping[str, str]) -> None:
    """A developer's own key in the image: a login, and a command that runs in the guest."""
    key = tmp_path / "key"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(key)], check=True)
    options = ["-o", "StrictHostKeyChecking=no", "-o", f"UserKnownHostsFile={tmp_path}/known", "-o", "BatchMode=yes"]
    with running(goon_with_key(tmp_path, key.with_suffix(".pub")), tmp_path, nothing_left) as lab:
        for _ in range(30):  # dropbear makes its host key at the first boot
            done = lab.run("outside", "ssh", "-i", str(key), *options, "-o", "ConnectTimeout=10",
                           "-p", str(FORWARDED), "root@198.18.0.1", "cat /etc/debian_version")  # fmt: skip
            if b"refused" not in done.stderr:
                break
        assert done.returncode == 0, done.stderr
        assert done.stdout.startswith(b"12")
        stranger = lab.run(
            "outside", "ssh", *options, "-o", "IdentityFile=/dev/null", "-p", str(FORWARDED), "root@198.18.0.1", "true"
        )
        assert stranger.returncode == 255


def goon_with_key(folder: Path, public: Path) -> Sample:
    """GoOn as a developer would change it: one more line in its app.toml."""
    shutil.copytree(REPOSITORY / "examples", folder / "examples")
    app = folder / "examples" / "goon"
    with (app / "app.toml").open("a") as recipe:
        recipe.write(f'"/root/.ssh/authorized_keys" = "{public}"\n')
    image = build_image(app, folder / "goon.qcow2", CACHE / "images", print)
    files = make_ca(folder / "ca", "Example", datetime.now(UTC))
    write_package(PackageParts(app / "goon.ovf", image, files.key, files.certificate), folder / "goon.ova")
    return Sample(folder / "goon.ova", files.root)
