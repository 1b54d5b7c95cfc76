"""What `racs check` costs: its wall time against a bare start of the interpreter, and against reading the package once.

    python tests/bench/bench_check.py app.ova [--root root.crt]

Each figure is the median of nine runs; the package is in the page cache.
"""

import statistics
import subprocess
import sys
import time
from hashlib import file_digest
from pathlib import Path

RUNS = 9
RACS = Path(sys.executable).with_name("racs-conformance")


def median_s(command: list[str]) -> float:
    """Wall time of a command whose exit status is of no interest here."""
    took = []
    for _ in range(RUNS):
        begin = time.perf_counter()
        subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False)
        took.append(time.perf_counter() - begin)
    return statistics.median(took)


def read_s(package: Path) -> float:
    """Time to read the package and digest it: what no check of its bytes can do without."""
    begin = time.perf_counter()
    with package.open("rb") as file:
        file_digest(file, "sha256")
    return time.perf_counter() - begin


def main() -> None:
    package, more = Path(sys.argv[1]), sys.argv[2:]
    bare = median_s([sys.executable, "-c", "pass"])
    reading = statistics.median(read_s(package) for _ in range(RUNS))
    commands = {"racs --version": ["--version"], "racs list": ["list"], "racs check": ["check", str(package), *more]}
    for name, arguments in commands.items():
        took = median_s([str(RACS), *arguments])
        print(f"{name:15} {took * 1000:5.0f} ms, {took / bare:5.1f} x a bare interpreter ({bare * 1000:.0f} ms)")
    print(f"{'':15} {took / reading:5.1f} x reading the package once ({reading * 1000:.0f} ms)")


if __name__ == "__main__":
    main()
