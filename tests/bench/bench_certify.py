"""What a certification costs: its wall time against the longest window that the profile makes it watch the app for.

    python tests/bench/bench_certify.py [app.ova --root root.crt]

Takes what `racs certify` takes. Prints the ratio, and where the time went by situation.
"""

import json
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from pathlib import Path

from conformance.profile import load

RACS = Path(sys.executable).with_name("racs-conformance")


def main() -> None:
    profile = load()
    window_s = max(profile.number("heartbeat.window_s"), profile.number("time.synchronised_deadline_s"))
    with tempfile.TemporaryDirectory() as folder:
        result = Path(folder, "certification.json")
        command = [str(RACS), "certify", *sys.argv[1:], "--runs", folder, "--json", str(result)]
        begin = time.perf_counter()
        subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False)
        took_s = time.perf_counter() - begin
        if not result.exists():
            sys.exit(f"no run took place: {' '.join(command)} says why")
        certification = json.loads(result.read_text(encoding="utf-8"))
    situations: defaultdict[str, list[float]] = defaultdict(list)
    for step in certification["steps"]:
        if step["situation"]:
            situations[step["situation"]] += [step["begin"], step["end"]]
    lengths = {name: max(times) - min(times) for name, times in situations.items()}
    verdict = f"{certification['verdict']}, scope {certification['scope']}, under {certification['accelerator']}"
    print(f"{took_s:6.1f} s, {took_s / window_s:.2f} x the longest window of {window_s:g} s ({verdict})")
    for name, length_s in lengths.items():
        print(f"{length_s:6.1f} s  {name}")
    print(f"{took_s - sum(lengths.values()):6.1f} s  the rest: package, lab up and down, judging, reports")


if __name__ == "__main__":
    main()
