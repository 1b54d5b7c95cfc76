"""IMG-001 to IMG-005 over what a look may have seen, written by hand: every verdict of every id."""

import json
import os
import subprocess
from collections.abc import Sequence
from dataclasses import asdict, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from conformance.catalogue import load as load_catalogue
from conformance.checks.inspection import CHECKS
from conformance.inspection import Account, AuthorizedKeys, Identity, Inspection, Secret, System, Unread, Volume
from conformance.judge import judge_package
from conformance.package import ImageSlice, Package
from conformance.package.archive import Archive
from conformance.package.certificate import Trust
from conformance.package.fault import Fault
from conformance.package.image import Image
from conformance.profile import load
from conformance.verdict import Finding, Outcome, Verdict

ROOT = Volume("partition 2", "xfs", "read", system=True)
BOOT = Volume("partition 1", "FAT", "read")
LOCKED = Volume("partition 3", "LUKS encryption", "unread")
ROCKY = System("partition 2", ("rocky", "rhel", "centos", "fedora"), "Rocky Linux 9.4", True, True, False)
DEBIAN = System("partition 2", ("debian",), "Debian GNU/Linux 12", False, False, True)
KEY = Secret("partition 2", "/etc/app/key.pem", "private key", "a private key", 3)
CLEAN = Inspection((BOOT, ROOT), (ROCKY,), accounts_seen=4, files_seen=900)
P, F, U, N = Verdict.PASS, Verdict.FAIL, Verdict.INCONCLUSIVE, Verdict.NOT_JUDGED


def seen(**changes: Any) -> Inspection:
    return replace(CLEAN, **changes)


TRUST = Trust("rd", (), datetime.now(UTC))


def package(inspection: Inspection | None, disk: Image | None = None) -> Package:
    image = ImageSlice("disk.qcow2", 0, 9)
    return Package(
        Path("app.ova"), Archive((), "", 0, "", ()), None, None, None, None, image, disk, inspection
    )  # fmt: skip


def judge(inspection: Inspection | None, disk: Image | None = None) -> dict[str, Outcome]:
    return {one: check(package(inspection, disk), load(), TRUST) for one, check in CHECKS.items()}


CASES: list[tuple[str, Inspection | None, Sequence[Verdict]]] = [
    ("clean", CLEAN, (P, P, P, P, P)),
    ("nobody looked", None, (N, N, N, N, N)),
    ("the look failed", Inspection(failure="ended by signal 11"), (U, U, U, U, U)),
    ("no volume", Inspection(), (N, N, N, N, F)),
    ("no system", Inspection((BOOT,)), (N, N, N, N, F)),
    ("nothing that is read", Inspection((LOCKED,)), (N, N, N, N, F)),
    ("a volume that is not read", seen(volumes=(ROOT, LOCKED)), (N, N, N, N, F)),
    ("a journal not replayed", seen(volumes=(replace(ROOT, state="not unmounted"),)), (N, N, N, N, F)),
    ("a file that is not read", seen(unread=(Unread("partition 2", "/etc/x", "damaged"),)), (N, N, N, N, F)),
    ("an initramfs beside a system", seen(volumes=(ROOT, Volume("initrd", "cpio", "unread", "LZO"))), (P, P, P, P, P)),
    ("an initramfs alone", Inspection((BOOT, Volume("initrd", "cpio", "unread", "LZO"))), (N, N, N, N, F)),
    ("swap and boot code", seen(volumes=(ROOT, Volume("partition 9", "swap", "no files"))), (P, P, P, P, P)),
    ("Debian", seen(systems=(DEBIAN,)), (F, P, P, P, P)),
    ("like RHEL by ID_LIKE", seen(systems=(replace(ROCKY, ids=("own", "rhel")),)), (P, P, P, P, P)),
    ("redhat-release alone", seen(systems=(replace(ROCKY, ids=()),)), (P, P, P, P, P)),
    ("a name of the family on dpkg", seen(systems=(replace(ROCKY, rpm=False, dpkg=True),)), (F, P, P, P, P)),
    ("Debian with a redhat-release", seen(systems=(replace(DEBIAN, release_file=True),)), (F, P, P, P, P)),
    ("two systems, one Debian", seen(systems=(ROCKY, DEBIAN)), (F, P, P, P, P)),
    ("a key", seen(secrets=(KEY,)), (P, F, P, P, P)),
    ("a key as packaged", seen(secrets=(replace(KEY, packaged=True),)), (P, P, P, P, P)),
    ("a key that may be packaged", seen(secrets=(replace(KEY, doubt="Berkeley DB"),)), (P, U, P, P, P)),
    ("a key of each kind", seen(secrets=(KEY, replace(KEY, doubt="Berkeley DB"))), (P, F, P, P, P)),
    ("history", seen(secrets=(replace(KEY, kind="shell history"),)), (P, F, P, P, P)),
    ("credential", seen(secrets=(replace(KEY, kind="cloud credential"),)), (P, F, P, P, P)),
    ("empty password", seen(accounts=(Account("p", "/etc/shadow", 1, "root", "empty"),)), (P, P, F, P, P)),
    ("well-known one", seen(accounts=(Account("p", "/etc/shadow", 1, "root", "well known"),)), (P, P, F, P, P)),
    ("one not tried", seen(accounts=(Account("p", "/etc/shadow", 1, "root", "not tried", "dear"),)), (P, P, U, P, P)),
    ("host key", seen(identities=(Identity("p", "/etc/ssh/ssh_host_rsa_key", "SSH host key"),)), (P, P, P, F, P)),
    ("machine-id", seen(identities=(Identity("p", "/etc/machine-id", "machine-id"),)), (P, P, P, F, P)),
    ("authorised keys", seen(authorized_keys=(AuthorizedKeys("p", "/root/.ssh/k", 2),)), (P, P, P, P, P)),
    ("a key, and a volume not read", seen(secrets=(KEY,), volumes=(ROOT, LOCKED)), (N, F, N, N, F)),
]


@pytest.mark.parametrize(("inspection", "expected"), [pytest.param(*case[1:], id=case[0]) for case in CASES])
def test_what_was_seen_is_judged(inspection: Inspection | None, expected: Sequence[Verdict]) -> None:
    outcomes = judge(inspection)
    assert [outcome.verdict for outcome in outcomes.values()] == list(expected)
    for outcome in outcomes.values():
        assert outcome.reason
        for finding in outcome.findings:
            assert finding.expected and finding.seen and finding.remedy and finding.where.startswith("disk.qcow2, ")
            assert finding.evidence == ("package:disk.qcow2@0",)


def test_the_table_brings_about_every_verdict_of_what_is_in_force() -> None:
    for identity in (one for one in CHECKS if load_catalogue()[one].in_force):
        column = list(CHECKS).index(identity)
        assert {P, F, U, N} - {case[2][column] for case in CASES} == set()


@pytest.mark.parametrize("identity", CHECKS)
def test_a_pass_rests_on_the_image(identity: str) -> None:
    outcome = judge_package(load_catalogue()[identity], package(CLEAN), load(), TRUST)
    assert (outcome.verdict, outcome.evidence) == (P, ("package:disk.qcow2@0",))


def test_all_findings_come_at_once() -> None:
    secrets = tuple(replace(KEY, path=f"/etc/{number}") for number in range(30))
    outcome = judge(seen(secrets=secrets))["IMG-002"]
    assert len(outcome.findings) == 30 and "and 29 more" in outcome.reason


def test_an_image_whose_tables_are_broken_is_not_judged() -> None:
    disk = Image(None, (Fault("PKG-011", Finding("a header", "none")),))
    assert {outcome.reason for outcome in judge(None, disk).values()} == {"the image could not be read (PKG-011)"}


def test_names_of_the_guest_are_escaped() -> None:
    secret = replace(KEY, path="/root/\x1b[31m\n'; rm -rf $(HOME)")
    account = Account("partition 2", "/etc/passwd", 1, "\x07ring", "empty")
    outcomes = judge(seen(secrets=(secret,), accounts=(account,)))
    told = str([finding for outcome in outcomes.values() for finding in outcome.findings])
    assert "\x1b" not in told and "\x07" not in told
    assert outcomes["IMG-002"].findings[0].remedy.startswith("rm $'/root/\\x1b[31m\\x0a\\'; rm -rf $(HOME)', ")


NAMES = (
    *(
        b"plain-1.pem",
        b"it's",
        b"two words",
        b"a\\b",
        b"a\\x4",
        b"\xff\xfe",
        b"\x1b[31m\n",
        b"$(touch x)",
        b"`x`",
        b'"',
    ),
    *("k\u00e9y".encode(), b"\xff it's a\\b"),
)


@pytest.mark.parametrize("name", NAMES)
def test_what_is_to_be_removed_is_removed(name: bytes, tmp_path: Path) -> None:
    """The remedy's command by bash itself: names of the guest come with escapes where they are no text."""
    (tmp_path / os.fsdecode(name)).write_bytes(b"key")
    secret = replace(KEY, path=f"{tmp_path}/{name.decode('utf-8', 'backslashreplace')}")
    (finding,) = judge(seen(secrets=(secret,)))["IMG-002"].findings
    subprocess.run(["bash", "-c", finding.remedy.partition(", and make")[0]], check=True, cwd=tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_json_brings_back_what_was_seen() -> None:
    for _, inspection, _ in CASES:
        if inspection is not None:
            assert Inspection.from_json(json.loads(json.dumps(asdict(inspection)))) == inspection


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=9), inner, max_size=4),
    max_leaves=8,
)


@settings(derandomize=True, max_examples=100)
@given(name=st.sampled_from([*asdict(CLEAN)]), value=JSON)
def test_other_json_is_refused_or_harmless(name: str, value: object) -> None:
    try:
        found = Inspection.from_json({**asdict(CLEAN), name: value, "volumes": []})
    except ValueError:
        return
    assert isinstance(found, Inspection) and all(outcome.reason for outcome in judge(found).values())


@pytest.mark.parametrize("value", [None, [], {}, {"volumes": []}, "x", {**asdict(CLEAN), "more": 1}])
def test_what_is_no_inspection_is_refused(value: object) -> None:
    with pytest.raises(ValueError):
        Inspection.from_json(value)
