"""The accelerator probe with the real QEMU, and with stand-ins that behave like broken ones."""

import json
import shutil
import stat
from pathlib import Path

import pytest

from conformance.errors import EnvironmentFault, UsageError
from harness import accelerator

needs_qemu = pytest.mark.skipif(shutil.which(accelerator.QEMU) is None, reason=accelerator.INSTALL)


def _stand_in(folder: Path, tcg: str, kvm: str) -> str:
    """A program in QEMU's place: shell commands for each accelerator."""
    program = folder / "qemu"
    cases = f'*--version*) echo "QEMU emulator version 9.9" ;; *accel=kvm*) {kvm} ;; *) {tcg} ;;'
    program.write_text(f'#!/bin/sh\ncase "$*" in {cases} esac\n')
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    return str(program)


WORKS, SAYS_NOTHING, HANGS = "printf K; exit 33", "exit 33", "exec sleep 1000"
REFUSES = "echo 'Could not access KVM kernel module' >&2; exit 1"


@pytest.fixture
def device(monkeypatch: pytest.MonkeyPatch) -> None:
    """A host on which /dev/kvm looks usable, which says nothing."""
    monkeypatch.setattr(accelerator, "_no_kvm_device", lambda: "")


@needs_qemu
def test_the_real_qemu_answers(tmp_path: Path) -> None:
    found = accelerator.probe(tmp_path)
    assert found.name in ("kvm", "tcg")
    assert found.reason
    assert len(accelerator.BOOT_SECTOR) == 512


@pytest.mark.usefixtures("device")
@pytest.mark.parametrize(
    ("kvm", "name", "reason"),
    [
        (WORKS, "kvm", "ran under KVM"),
        (HANGS, "tcg", "hung under KVM"),
        (REFUSES, "tcg", "Could not access KVM"),
        (SAYS_NOTHING, "tcg", "KVM does not start"),
        ("printf K; exit 0", "tcg", "KVM does not start"),
    ],
)
def test_kvm_is_chosen_only_where_a_guest_ran(tmp_path: Path, kvm: str, name: str, reason: str) -> None:
    found = accelerator.probe(None, _stand_in(tmp_path, WORKS, kvm))
    assert found.name == name
    assert reason in found.reason


@pytest.mark.usefixtures("device")
def test_no_accelerator_at_all_is_the_labs_fault(tmp_path: Path) -> None:
    with pytest.raises(EnvironmentFault, match=r"boots no guest.*firmware missing"):
        accelerator.probe(None, _stand_in(tmp_path, "echo firmware missing >&2; exit 1", REFUSES))


def test_without_qemu_it_says_what_to_install() -> None:
    with pytest.raises(UsageError, match="apt-get install"):
        accelerator.probe(None, "no-such-qemu")


@pytest.mark.usefixtures("device")
def test_the_answer_is_remembered_for_this_boot_and_this_qemu(tmp_path: Path) -> None:
    qemu, cache = _stand_in(tmp_path, WORKS, WORKS), tmp_path / "cache"
    first = accelerator.probe(cache, qemu)
    _stand_in(tmp_path, WORKS, REFUSES)
    assert accelerator.probe(cache, qemu) == first
    stored = json.loads((cache / "accelerator.json").read_text())
    for key in stored["key"]:
        (cache / "accelerator.json").write_text(json.dumps({**stored, "key": {**stored["key"], key: "another"}}))
        assert accelerator.probe(cache, qemu).name == "tcg", key


@pytest.mark.usefixtures("device")
@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"key": 1}'])
def test_a_broken_memory_is_no_memory(tmp_path: Path, text: str) -> None:
    (tmp_path / "accelerator.json").write_text(text)
    assert accelerator.probe(tmp_path, _stand_in(tmp_path, WORKS, WORKS)).name == "kvm"
