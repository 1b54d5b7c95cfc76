"""`racs certify`: makes sure there is a package, then hands over to pytest and the plug-in, which is the whole run."""

import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import NoReturn

from harness import interrupts
from harness.options import REPOSITORY


def run_certify(ova: Path | None, options: Mapping[str, object]) -> NoReturn:
    """Replace this process by the run; its exit status is design 6's."""
    arguments: list[str] = []
    if ova is None:
        from harness.packaging.building import build_sample

        sample = build_sample("goon")
        ova = sample.ova
        arguments.append(f"--root={sample.root}")
    arguments.append(f"--ova={ova}")
    roots = options.get("roots") or ()
    assert isinstance(roots, tuple)
    arguments += [f"--root={root}" for root in roots]
    for name in ("trust", "profile", "accelerator", "seed", "runs"):
        if options.get(name) is not None:
            arguments.append(f"--{name}={options[name]}")
    if options.get("json_file"):
        arguments.append(f"--json={options['json_file']}")
    if options.get("select"):
        arguments += ["-k", str(options["select"])]
    run_pytest(["-p", "no:terminal", "--certify", *arguments])


def run_pytest(arguments: list[str]) -> NoReturn:
    """Replace this process by pytest over the suites, wherever the caller stands."""
    interrupts.hold()
    fixed = ["-m", "pytest", str(REPOSITORY / "suites"), f"--rootdir={REPOSITORY}", f"-c={REPOSITORY}/pyproject.toml"]
    os.execv(sys.executable, [sys.executable, *fixed, *arguments])
