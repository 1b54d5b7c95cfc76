"""What `racs check --no-image` costs: its start, and against openssl's digest of the same file in the same round.

    python tests/bench/bench_check.py [MIB]

It makes its packages itself in a temporary folder, with random images: one of MIB mebibytes (1024), a tiny one, and
twenty of MIB / 16. The look into an image is timed apart. Each figure is the median of five rounds, files in the page
cache.
"""

import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from harness.packaging.building import PackageParts, write_package
from harness.packaging.ca import make_ca

ROUNDS = 5
SEVERAL = 20
RACS = Path(sys.executable).with_name("racs-conformance")
REPOSITORY = Path(__file__).resolve().parents[2]
PIECE = 1 << 20


@dataclass(frozen=True, slots=True)
class Cost:
    """Wall seconds and the most memory that any process of a command held."""

    seconds: float
    peak_mib: float


def run(command: Sequence[object], status: int = 0) -> Cost:
    """Run to the end, output thrown away."""
    begin = time.perf_counter()
    with subprocess.Popen([str(word) for word in command], stdout=subprocess.DEVNULL) as process:
        _, ended, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(ended)
    seconds = time.perf_counter() - begin
    assert process.returncode == status, command
    return Cost(seconds, usage.ru_maxrss / 1024)


class Supplier:
    """Makes packages in a folder, all of one signer."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.authority = make_ca(folder / "ca", "Bench", datetime.now(UTC))

    def deliver(self, mebibytes: int) -> Path:
        """GoOn's descriptor, a disk of nothing but a boot sector, and so much noise in clusters that nothing uses."""
        image, ova = self.folder / f"{mebibytes}.qcow2", self.folder / f"{mebibytes}.ova"
        subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", image, "2G"], check=True)
        signature = ["-c", "write -q -P 0x55 510 1", "-c", "write -q -P 0xaa 511 1"]
        subprocess.run(["qemu-io", *signature, image], check=True)
        with image.open("ab") as file:
            for _ in range(mebibytes):
                file.write(os.urandom(PIECE))
        descriptor = REPOSITORY / "examples" / "goon" / "goon.ovf"
        write_package(PackageParts(descriptor, image, self.authority.key, self.authority.certificate), ova)
        image.unlink()
        return ova

    def check(self, *words: object) -> list[object]:
        return [RACS, "check", "--no-image", f"--root={self.authority.root}", *words]


def median(figures: Sequence[float]) -> float:
    return statistics.median(figures)


def bench_large(supplier: Supplier, mebibytes: int) -> None:
    tiny, large = supplier.deliver(0), supplier.deliver(mebibytes)
    run(supplier.check(large))  # into the page cache
    rounds = []
    for _ in range(ROUNDS):
        bare, start = run([sys.executable, "-c", "pass"]), run(supplier.check(tiny))
        peer, whole = run(["openssl", "dgst", "-sha256", large]), run(supplier.check(large))
        rounds.append((bare, start, peer, whole))
    bare_s, start_s, peer_s, whole_s = (median([one[at].seconds for one in rounds]) for at in range(4))
    ratio = median([(whole.seconds - start.seconds) / peer.seconds for _, start, peer, whole in rounds])
    print(f"tiny package: {start_s:.3f} s, {start_s / bare_s:.1f} x a bare start of Python ({bare_s * 1000:.0f} ms)")
    print(f"{mebibytes} MiB: {whole_s:.2f} s; without the start {ratio:.2f} x openssl dgst -sha256 ({peer_s:.2f} s)")
    print(f"peak memory: {max(one[1].peak_mib for one in rounds):.0f} MiB for the tiny one, ", end="")
    print(f"{max(one[3].peak_mib for one in rounds):.0f} MiB for the large one")
    large.unlink()


def bench_several(supplier: Supplier, mebibytes: int) -> None:
    package = supplier.deliver(mebibytes)
    rounds = []
    for _ in range(ROUNDS):
        one = run(supplier.check(package)).seconds
        rounds.append((one, run(supplier.check("--json=-", *[package] * SEVERAL)).seconds))
    one_s, all_s = (median([figures[at] for figures in rounds]) for at in range(2))
    ratio = median([everything / (SEVERAL * one) for one, everything in rounds])
    print(f"{SEVERAL} of {mebibytes} MiB: {all_s:.2f} s, {ratio:.2f} x one call after the other ({one_s:.2f} s each)")


def main() -> None:
    mebibytes = int(sys.argv[1]) if len(sys.argv) > 1 else 1024
    with tempfile.TemporaryDirectory(prefix="bench-check-") as folder:
        supplier = Supplier(Path(folder))
        bench_large(supplier, mebibytes)
        bench_several(supplier, mebibytes // 16)


if __name__ == "__main__":
    main()
