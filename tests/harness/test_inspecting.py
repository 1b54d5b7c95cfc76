"""`racs inspect`: what is in a package, sound or broken; it judges nothing and never fails over bad bytes."""

import json
import os
import pty
import shutil
import subprocess
from datetime import UTC, datetime
from pathlib import Path

import command_line
import pytest
from command_line import RACS, REPOSITORY, Delivery, deliver
from hypothesis import given, settings
from hypothesis import strategies as st

from conformance.package import open_package
from conformance.profile import load
from harness.package.facts import gather
from harness.packaging.building import PackageParts, write_package

NOW = datetime.now(UTC)


@pytest.fixture(scope="module")
def delivery(tmp_path_factory: pytest.TempPathFactory) -> Delivery:
    return deliver(tmp_path_factory.mktemp("delivery"))


@pytest.fixture(scope="module")
def lens(delivery: Delivery) -> Path:
    """The transparent example, with the same image and signer."""
    app, parts = REPOSITORY / "examples" / "lens", delivery.parts
    ova = delivery.ova.with_name("lens.ova")
    write_package(PackageParts(app / "lens.ovf", parts.image, parts.privatekey, parts.certificate), ova)
    return ova


def shown(ova: Path, folder: Path) -> str:
    ended = command_line.run([RACS, "inspect", str(ova)], folder)
    assert (ended.status, ended.err) == (0, ""), ended.said
    return ended.out


def test_the_tree_of_a_terminating_app(delivery: Delivery, tmp_path: Path) -> None:
    text = shown(delivery.ova, tmp_path)
    assert delivery.ova.name in text.splitlines()[0]
    for said in (
        "├─ files (5)",
        "goon.ovf", "as the manifest has it",
        "signature verifies over goon.mf",
        "CN=R&D signer of Test", "issued by CN=R&D root of Test", "key: P-256", "1094 days left",
        "R&D, not for deployment",
        "terminating app goon: GoOn 1.0.0 by Example Apps",
        "machine: 1 CPU, 512 MiB of memory, NICs on service, user-plane",
        "answers at goon.apps.example: udp/7, tcp/7",
        "port 29001 of the platform (tcp) leads to port 22",
        "feature goon.echo: Echo (RACS-GOON-001), on at first",
        "may subscribe racs/cell/+/load: the load of every cell",
        "may publish app/goon/#: everything below its own app/goon/",
        "qcow2 version 3", "virtual size 2 GiB",
    ):  # fmt: skip
        assert said in text
    assert " NOT " not in text


def test_rules_in_words(lens: Path, tmp_path: Path) -> None:
    text = shown(lens, tmp_path)
    assert "web, uplink: the app preserves the payload" in text
    assert "IPv4 TCP packets to port 80 or 8080" in text


def test_json_says_the_same(lens: Path, tmp_path: Path) -> None:
    alone = command_line.run([RACS, "inspect", str(lens), "--json", "-"], tmp_path)
    both = command_line.run([RACS, "inspect", str(lens), "--json", "facts.json"], tmp_path)
    facts = json.loads(alone.out)
    assert json.loads((tmp_path / "facts.json").read_text()) == facts
    assert both.out == shown(lens, tmp_path)
    assert (facts["schema"], facts["application"]["id"]) == ("racs-inspection/1", "lens")
    assert [member["manifest"] for member in facts["members"]] == ["matches", "apart", "apart", "matches", "matches"]
    assert facts["rules"][0]["words"].startswith("IPv4 TCP packets")
    with lens.open("rb") as file:
        for member in facts["members"]:
            file.seek(member["offset"])
            assert len(file.read(member["size"])) == member["size"]
    refused = command_line.run([RACS, "inspect", str(lens), "--json", "no/where"], tmp_path)
    assert refused.status == 4 and "can be written" in refused.err


def test_a_changed_file_and_a_changed_manifest_are_shown(delivery: Delivery, tmp_path: Path) -> None:
    whole = delivery.ova.read_bytes()
    changed = tmp_path / "changed.ova"
    changed.write_bytes(whole.replace(b"<ovf:Product>GoOn<", b"<ovf:Product>GoOf<"))
    assert "goon.ovf" in (text := shown(changed, tmp_path)) and "NOT as the manifest has it" in text
    changed.write_bytes(whole.replace(b"SHA256(goon.ovf)=", b"SHA256(gone.ovf)="))
    text = shown(changed, tmp_path)
    for said in ("NOT in the manifest", "gone.ovf  listed in the manifest, NOT in the archive", "does NOT verify"):
        assert said in text


def test_a_package_that_was_cut(delivery: Delivery, tmp_path: Path) -> None:
    cut = tmp_path / "cut.ova"
    cut.write_bytes(delivery.ova.read_bytes()[:20000])
    text = shown(cut, tmp_path)
    for said in ("cannot be read any further", "terminating app goon", "auth/acl.xml is not there", "PKG-001"):
        assert said in text


@pytest.mark.parametrize(("content", "status"), [(b"", 1), (b"no archive at all" * 100, 1), (None, 4)])
def test_what_is_no_package(content: bytes | None, status: int, tmp_path: Path) -> None:
    if content is not None:
        (tmp_path / "odd.ova").write_bytes(content)
    ended = command_line.run([RACS, "inspect", "odd.ova"], tmp_path)
    assert ended.status == status and (ended.out or ended.err)


def test_what_a_package_says_reaches_no_terminal_as_it_is(delivery: Delivery, tmp_path: Path) -> None:
    """command_line.run refuses escape codes; here they are in the descriptor's texts, C1 ones too."""
    odd = tmp_path / "odd.ova"
    odd.write_bytes(delivery.ova.read_bytes().replace(b"Example Apps", "a\u009b1m\u202eb".encode().ljust(12, b"x")))
    assert "a\N{REPLACEMENT CHARACTER}1m\N{REPLACEMENT CHARACTER}b" in shown(odd, tmp_path)


def test_colour_is_for_terminals(delivery: Delivery, tmp_path: Path) -> None:
    cut = tmp_path / "cut.ova"
    cut.write_bytes(delivery.ova.read_bytes()[:20000])
    screen, terminal = pty.openpty()
    with subprocess.Popen([RACS, "inspect", cut], stdout=terminal, stderr=terminal, cwd=tmp_path) as process:
        os.close(terminal)
        seen = b""
        try:
            while data := os.read(screen, 65536):
                seen += data
        except OSError:
            pass  # EIO: the other end is closed
        os.close(screen)
    assert process.returncode == 0 and b"\x1b[31m" in seen


@settings(derandomize=True, max_examples=120, deadline=None)
@given(data=st.data())
def test_any_bytes_are_told_of_somehow(
    data: st.DataObject, lens: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    whole = bytearray(lens.read_bytes())
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, 12000))
        whole[at : at + data.draw(st.integers(0, 3))] = data.draw(st.binary(max_size=3))
    folder = tmp_path_factory.mktemp("odd")
    (folder / "odd.ova").write_bytes(whole)
    found = gather(open_package(folder / "odd.ova", load()), NOW)
    json.loads(found.to_json())
    shutil.rmtree(folder)
