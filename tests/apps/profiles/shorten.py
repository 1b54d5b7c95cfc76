"""Renews short.toml: racs-1 with shorter windows and deadlines, for runs of the project's own tests.

Rules, names and tolerances stay as they are: what passes here passes there for the same reasons, only sooner, and a
known-bad app is known to be bad after seconds. `python3 shorten.py` writes the file.
"""

import re
from collections.abc import Mapping
from pathlib import Path

SHORT = Path(__file__).with_name("short.toml")
FULL = Path(__file__).parents[3] / "conformance" / "data" / "profiles" / "racs-1.toml"

# Deadlines are multiplied by four under TCG: five seconds to boot are twenty there, three times what the samples need.
CHANGES: Mapping[str, object] = {
    "profile.id": '"racs-1-short"',
    "profile.title": '"racs-1 with shorter windows, for tests of the suite itself"',
    "heartbeat.boot_deadline_s": 10,
    "heartbeat.window_s": 10,
    "heartbeat.hang_after_s": 3,
    "time.synchronised_deadline_s": 10,
    "bus.connect_deadline_s": 1.5,
    "user_plane.service_answer_s": 1,
    "user_plane.ready_deadline_s": 1.5,
    "user_plane.stream_deadline_s": 3,
    "user_plane.stream_bytes": 262144,
    "lifecycle.power_off_s": 2.5,
    "afm.feature_taken_up_s": 0.75,
}


def shortened(full: str) -> str:
    """The text of a profile with CHANGES made; raises KeyError for one that it does not hold."""
    lines, table, open_changes = [], "", dict(CHANGES)
    for line in full.splitlines():
        header = re.match(r"\[(\w+)\]", line)
        table = header[1] if header else table
        field = re.match(r"(\w+) = (\"[^\"]*\"|[0-9.]+)", line)
        name = f"{table}.{field[1]}" if field else ""
        if field and name in open_changes:
            lines.append(f"{field[1]} = {open_changes.pop(name)}{line[field.end() :]}")
        else:
            lines.append(line)
    if open_changes:
        raise KeyError(f"{FULL.name} has no {', '.join(open_changes)}")
    head = "# Written by shorten.py from racs-1.toml: change that one, or CHANGES.\n"
    return head + "\n".join(lines) + "\n"


if __name__ == "__main__":
    SHORT.write_text(shortened(FULL.read_text(encoding="utf-8")), encoding="utf-8")
