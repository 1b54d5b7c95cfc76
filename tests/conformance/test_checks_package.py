"""The package as a whole: what is opened and what is not, trust, and how findings are told. Single defects and valid
variations are the corpus's, tests/packages."""

import os
from dataclasses import replace
from datetime import timedelta
from io import FileIO
from pathlib import Path
from tarfile import REGTYPE, USTAR_FORMAT, XHDTYPE, TarInfo
from typing import Any, Literal

import pytest
from corpus import Case, build, find
from judging import CATALOGUE, IDS, PROFILE, TRUST, failing, judge, with_verdict
from package_parts import BEGIN, NOW, ROOT, Form, issue, pem, with_sha1
from qcow2_parts import make_qcow2

from conformance.judge import judge_package
from conformance.package import open_package
from conformance.package.archive import read
from conformance.package.certificate import Trust
from conformance.package.header import BLOCK
from conformance.verdict import Verdict

RSA_ROOT = Form("rsa root", kind="RSA-2048", ca=True)


def signed_below(root: Form) -> Case:
    """A package whose leaf is issued by this root, which is in it."""
    told = {"form": "top", "issuer": "top", "name": root.name, "kind": root.kind, "unit": root.unit, "ca": True}
    steps = (told | {"usage": root.usage or ""}, {"form": "leaf", "issuer": "top"}, {"chain": ["leaf"]})
    return Case("signed below a root", steps=tuple({"in": ""} | step for step in steps))


def test_what_was_not_seen_never_passes(tmp_path: Path) -> None:
    outcomes = judge(tmp_path, b"").outcomes
    assert with_verdict(outcomes, Verdict.PASS) == set()
    assert all("PKG-001" in outcomes[one].reason for one in with_verdict(outcomes, Verdict.NOT_JUDGED))


def test_package_says_what_the_app_declares(tmp_path: Path) -> None:
    package = judge(tmp_path, build()).package
    assert package.application is not None
    assert (package.application.id, package.application.uses_bus, package.faults) == ("probe", True, ())
    assert package.image is not None
    assert package.path.read_bytes()[package.image.offset :][: package.image.size] == make_qcow2()


@pytest.mark.parametrize("kind", ["folder", "nothing", "fifo"])
def test_what_cannot_be_opened_raises_oserror(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "x.ova"
    if kind == "folder":
        path.mkdir()
    elif kind == "fifo":
        os.mkfifo(path)
    with pytest.raises(OSError):
        open_package(path, PROFILE)


class Counting(FileIO):
    """A file that counts what is read of it."""

    read_bytes = 0

    def readinto(self, buffer: Any, /) -> int:
        count = super().readinto(buffer)
        self.read_bytes += count
        return count


@pytest.mark.parametrize("name", ["app.ovf", "app.mf", "app.cert", "auth/acl.xml", "pax"])
def test_a_part_far_beyond_its_bound_is_not_read(name: str, tmp_path: Path) -> None:
    """USTAR's largest, with holes: told as any other, and what comes behind it is looked at."""
    path, data = tmp_path / "app.ova", build()
    at = 0 if name == "pax" else data.index(name.encode().ljust(100, b"\0"))
    size = BLOCK * 0xFF_FFFF
    head = TarInfo(name)
    head.size, head.type = size, XHDTYPE if name == "pax" else REGTYPE
    behind = at if name == "pax" else at + BLOCK + -(-int(data[at + 124 : at + 135], 8) // BLOCK) * BLOCK
    with path.open("wb") as file:
        file.write(data[:at] + head.tobuf(USTAR_FORMAT))
        file.seek(size, os.SEEK_CUR)
        file.write(data[behind:])
    with Counting(path) as stream:
        archive = read(stream, PROFILE)
    assert stream.read_bytes < 2 * len(data)
    assert (archive.sha256, archive.size, archive.stopped_by) == ("", path.stat().st_size, "")
    assert [one.name for one in archive.members][-1] == "auth/acl.xml"
    package = open_package(path, PROFILE)
    outcomes = {one: judge_package(CATALOGUE[one], package, PROFILE, TRUST) for one in IDS}
    assert with_verdict(outcomes, Verdict.FAIL) == {"PKG-001" if name == "pax" else "PKG-015"}
    unread = {"PKG-005"} & {one for one in outcomes if "not read" in outcomes[one].reason}
    assert bool(unread) is (name in ("app.ovf", "auth/acl.xml"))
    with path.open("r+b") as file:  # cut inside it
        file.truncate(at + size // 2)
    with Counting(path) as stream:
        archive = read(stream, PROFILE)
    assert archive.stopped_by == "PKG-001" and archive.size == at + size // 2


def test_a_trust_profile_without_the_root_fails(tmp_path: Path) -> None:
    other = issue(Form("far root", ca=True, usage="key_cert_sign"))
    outcomes = judge(tmp_path, build(), Trust("production", (other,), NOW)).outcomes
    assert with_verdict(outcomes, Verdict.FAIL) == {"PKG-007"}
    assert "production" in outcomes["PKG-007"].findings[0].expected


@pytest.mark.parametrize(("profile", "fails"), [("production", {"PKG-007"}), ("rd", set())])
def test_a_root_for_rd_is_none_for_production(
    tmp_path: Path, profile: Literal["production", "rd"], fails: set[str]
) -> None:
    root = replace(ROOT, name="R&D root", unit="R&D, not for deployment")
    outcomes = judge(tmp_path, build(signed_below(root)), Trust(profile, (issue(root),), NOW)).outcomes
    assert with_verdict(outcomes, Verdict.FAIL) == fails
    assert not fails or "take this root out" in outcomes["PKG-007"].findings[0].remedy


def test_the_root_s_own_signature_may_be_weak(tmp_path: Path) -> None:
    weak_root = with_sha1(issue(RSA_ROOT), RSA_ROOT.key)
    below = signed_below(RSA_ROOT)
    case = replace(below, steps=(*below.steps, {"in": "certificate", "append": pem(weak_root).decode()}))
    assert failing(tmp_path, build(case), Trust("rd", (weak_root,), NOW)) == set()


def test_validity_includes_both_ends(tmp_path: Path) -> None:
    for at, fails in ((BEGIN, False), (BEGIN - timedelta(seconds=1), True)):
        assert ("PKG-007" in failing(tmp_path, build(), Trust("rd", (issue(ROOT),), at))) is fails


def test_a_bad_line_is_no_missing_line_besides(tmp_path: Path) -> None:
    outcomes = judge(tmp_path, build(find("manifest, PKG-004: CR LF"))).outcomes
    (finding,) = outcomes["PKG-004"].findings
    assert finding.where.startswith("app.mf, line 1") and finding.seen.endswith("so are 2 more, line 2 the next")


@pytest.mark.parametrize(
    ("identity", "command"),
    [
        ("manifest, PKG-004: CR LF", "sha256sum"),
        ("archive, PKG-001: GNU magic", "tar --format=ustar"),
        ("certificate, PKG-006: a digit too many", "openssl dgst"),
    ],
)
def test_remedies_name_the_command(identity: str, command: str, tmp_path: Path) -> None:
    case = find(identity)
    assert command in judge(tmp_path, build(case)).outcomes[case.fails].findings[0].remedy
