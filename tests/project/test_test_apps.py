"""The data that the tests with known-bad apps rest on: faults, expectations and the short profile agree."""

import re
import runpy
import tomllib
from pathlib import Path

APPS = Path(__file__).parents[1] / "apps"


def test_every_fault_is_expected_and_every_expectation_has_a_fault() -> None:
    table = tomllib.loads((APPS / "expectations.toml").read_text(encoding="utf-8"))
    listed = set(re.findall(r'^    "([a-z-]+)": ', (APPS / "faults.py").read_text(encoding="utf-8"), re.MULTILINE))
    of_the_image = {fault for fault, entry in table.items() if entry["app"] == "mute"}
    assert set(table) - of_the_image == listed


def test_the_short_profile_is_the_profile_shortened() -> None:
    profile = runpy.run_path(str(APPS / "profiles" / "shorten.py"))
    assert profile["SHORT"].read_text() == profile["shortened"](profile["FULL"].read_text()), "run shorten.py again"
    full, short = (tomllib.loads(profile[name].read_text()) for name in ("FULL", "SHORT"))
    changed = {
        f"{table}.{field}" for table, fields in full.items() for field in fields if fields[field] != short[table][field]
    }
    assert changed == set(profile["CHANGES"])
    assert full.keys() == short.keys() and all(full[table].keys() == short[table].keys() for table in full)
