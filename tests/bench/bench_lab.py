"""What the lab costs: its network and its processes up and down again, against making its bare namespaces.

    python tests/bench/bench_lab.py app.ova

Run as root. No machine is booted. Each figure is the median of five, in the same run.
"""

import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "live"))
from private_namespaces import privately

from conformance.package import open_package
from conformance.profile import load
from harness import topology
from harness.lab import Lab, LabSpec
from harness.network import Network

ROUNDS = 5
PROFILE = load()
PACKAGE = open_package(Path(sys.argv[1]), PROFILE)


@contextmanager
def bare_namespaces():  # type: ignore[no-untyped-def]  # a generator for the with-statement
    """The namespaces and nothing in them, by one `ip -batch` each way."""
    assert PACKAGE.application is not None
    script = topology.namespaces_script(topology.plan(PACKAGE.application, PROFILE))
    subprocess.run(["ip", "-batch", "-"], input=script, text=True, check=True)
    yield
    subprocess.run(["ip", "-batch", "-"], input=script.replace("add", "del"), text=True, check=True)


def network() -> Network:
    assert PACKAGE.application is not None
    return Network(PACKAGE.application, PROFILE)


def lab(folder: Path) -> Lab:
    evidence = Path(tempfile.mkdtemp(dir=folder))
    return Lab(LabSpec(PACKAGE, PROFILE, evidence, seed=1, accelerator="tcg"), lambda _: None)


def up_and_down(make: Callable[[], AbstractContextManager[object]]) -> tuple[float, float]:
    """Seconds to enter and to leave, medians."""
    ups, downs = [], []
    for _ in range(ROUNDS):
        begin = time.perf_counter()
        with make():
            up = time.perf_counter()
            ups.append(up - begin)
            up = time.perf_counter()
        downs.append(time.perf_counter() - up)
    return statistics.median(ups), statistics.median(downs)


@privately
def bench() -> None:
    with tempfile.TemporaryDirectory() as folder:
        bare = up_and_down(bare_namespaces)
        rows = {"network": up_and_down(network), "whole lab": up_and_down(lambda: lab(Path(folder)))}
        for name, (up, down) in rows.items():
            ratios = f"{up / bare[0]:4.1f} x and {down / bare[1]:4.1f} x bare namespaces"
            print(f"{name:10} up {up * 1000:5.0f} ms, down {down * 1000:5.0f} ms: {ratios}")
        print(f"{'(bare':10} up {bare[0] * 1000:5.0f} ms, down {bare[1] * 1000:5.0f} ms)")
        sys.stdout.flush()


if __name__ == "__main__":
    bench()
