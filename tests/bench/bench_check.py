"""What `racs check` costs: its start, against openssl's digest of the same file in the same round, the look into an
image, and twenty packages at once.

    python tests/bench/bench_check.py [MIB]

It makes its packages itself in a temporary folder, with images of random clusters: one of MIB mebibytes (1024), a tiny
one, and one of MIB / 16 that is given twenty times. The look is timed apart, on the sample app's package where `racs
certify` has made it. Times are medians of five rounds, files in the page cache.
"""

import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from harness.packaging.building import PackageParts, write_package
from harness.packaging.ca import make_ca

ROUNDS = 5
SEVERAL = 20
RACS = Path(sys.executable).with_name("racs-conformance")
REPOSITORY = Path(__file__).resolve().parents[2]
SAMPLES = REPOSITORY / ".cache" / "samples"
PIECE = 1 << 20
BOOT_SECTOR = bytes(510) + b"\x55\xaa"
DISK_BYTES = 2 << 30
SAMPLED_EVERY_S = 0.01


@dataclass(frozen=True, slots=True)
class Cost:
    """Wall seconds, processor seconds, and the most memory that any process of a command held."""

    seconds: float
    processor_s: float
    peak_mib: float


def run(command: Sequence[object], status: int = 0) -> Cost:
    """Run to the end, output thrown away."""
    begin = time.perf_counter()
    with subprocess.Popen([str(word) for word in command], stdout=subprocess.DEVNULL) as process:
        _, ended, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(ended)
    seconds = time.perf_counter() - begin
    assert process.returncode == status, command
    return Cost(seconds, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024)


def peak_of_all(command: Sequence[object]) -> float:
    """The most memory in MiB that all processes of a command held at once, what they share counted once (PSS, proc(5)),
    as samples see it."""
    peak = 0
    with subprocess.Popen([str(word) for word in command], stdout=subprocess.DEVNULL) as process:
        while process.poll() is None:
            peak = max(peak, sum(map(proportional_kib, family(process.pid))))
            time.sleep(SAMPLED_EVERY_S)
    assert process.returncode == 0, command
    return peak / 1024


def family(pid: int) -> Iterator[int]:
    """A process and all that descend from it."""
    yield pid
    with suppress(OSError):
        for task in Path(f"/proc/{pid}/task").iterdir():
            for child in (task / "children").read_text().split():
                yield from family(int(child))


def proportional_kib(pid: int) -> int:
    with suppress(OSError):
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1])
    return 0


class Supplier:
    """Makes packages in a folder, all of one signer."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.authority = make_ca(folder / "ca", "Bench", datetime.now(UTC))

    def deliver(self, mebibytes: int) -> Path:
        """GoOn's descriptor, and a disk of a boot sector and so much noise, every cluster of it in use."""
        raw, image, ova = (self.folder / f"{mebibytes}.{kind}" for kind in ("raw", "qcow2", "ova"))
        with raw.open("wb") as file:
            file.write(BOOT_SECTOR)
            for _ in range(mebibytes):
                file.write(os.urandom(PIECE))
            file.truncate(DISK_BYTES)
        subprocess.run(["qemu-img", "convert", "-f", "raw", "-O", "qcow2", raw, image], check=True)
        raw.unlink()
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
    command = supplier.check("--json=-", *[package] * SEVERAL)
    rounds = [(run(supplier.check(package)), run(command)) for _ in range(ROUNDS)]
    one_s, all_s = (median([figures[at].seconds for figures in rounds]) for at in range(2))
    ratio = median([everything.seconds / (SEVERAL * one.seconds) for one, everything in rounds])
    print(f"{SEVERAL} of {mebibytes} MiB: {all_s:.2f} s, {ratio:.2f} x one call after the other ({one_s:.2f} s each)")
    tell_several(command, [everything for _, everything in rounds])


def tell_several(command: Sequence[object], costs: Sequence[Cost]) -> None:
    busy = median([cost.processor_s / cost.seconds for cost in costs])
    print(f"    {busy:.1f} cores busy; {max(cost.peak_mib for cost in costs):.0f} MiB for any process, ", end="")
    print(f"{peak_of_all(command):.0f} MiB for all at once")


def bench_look() -> None:
    """The whole check of a real package, alone and twenty times at once."""
    package, root = SAMPLES / "goon.ova", SAMPLES / "ca" / "root.crt"
    if not package.exists():
        print("the look into an image: no sample package here, run ./racs certify once")
        return
    check = [RACS, "check", f"--root={root}", package]
    rounds = [(run([*check, "--no-image"]), run(check)) for _ in range(ROUNDS)]
    without_s, with_s = (median([one[at].seconds for one in rounds]) for at in range(2))
    mebibytes = package.stat().st_size >> 20
    print(f"the sample of {mebibytes} MiB: {with_s:.2f} s, without the look into its image {without_s:.2f} s", end="")
    print(f"; {max(one[1].peak_mib for one in rounds):.0f} MiB for any process")
    several = [*check, *[package] * (SEVERAL - 1), "--json=-"]
    costs = [run(several) for _ in range(ROUNDS)]
    print(f"{SEVERAL} of them: {median([cost.seconds for cost in costs]):.2f} s")
    tell_several(several, costs)


def main() -> None:
    mebibytes = int(sys.argv[1]) if len(sys.argv) > 1 else 1024
    with tempfile.TemporaryDirectory(prefix="bench-check-") as folder:
        supplier = Supplier(Path(folder))
        bench_large(supplier, mebibytes)
        bench_several(supplier, mebibytes // 16)
    bench_look()


if __name__ == "__main__":
    main()
