"""What a removed machine left behind is looked for inside the step that says so, and what was gone through is told."""

import time
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest

from conformance.errors import BrokenLab
from harness.chronicle import Chronicle
from harness.lab import Lab
from harness.leftovers import look, require_none
from harness.recorder import Recorder
from harness.watch import Watch


def test_what_is_new_is_left_behind(tmp_path: Path) -> None:
    before = look(tmp_path)
    require_none(before, look(tmp_path))
    (tmp_path / "overlay.qcow2").touch()
    with pytest.raises(BrokenLab, match=r"^left behind: file overlay\.qcow2$"):
        require_none(before, look(tmp_path))


def test_what_was_gone_through_is_told(tmp_path: Path) -> None:
    (tmp_path / "console.log").touch()
    processes, mounts, links, files = look(tmp_path).told
    assert processes.endswith(" processes, none of QEMU's") and int(processes.split()[0]) > 1
    assert "mount" in mounts and "network link" in links
    assert files == "1 file of evidence, no overlay"


def test_a_step_keeps_what_its_block_tells(tmp_path: Path) -> None:
    with Recorder(tmp_path) as recorder:
        watch = Watch(recorder)
        said: list[str] = []
        chronicle = Chronicle(cast(Lab, SimpleNamespace(watch=watch)), said.append)
        with pytest.raises(BrokenLab), chronicle.step("look", "here") as told:
            inside = time.monotonic()
            told.append("3 mounts")
            raise BrokenLab("left behind: mount /x")
        step = watch.seen("step")[0]
    assert said == ["look here"]
    assert (step["arguments"], step["outcome"]) == (["here", "3 mounts"], "left behind: mount /x")
    assert step["begin"] <= inside <= step["end"]
    assert chronicle.steps[0].arguments == ("here", "3 mounts")
