"""By what a package was judged, so that an auditor can tell a year later: profile, signer and root, suite, moment."""

import json
import subprocess
from hashlib import sha256
from pathlib import Path
from typing import Any

import command_line
import jsonschema
import pytest
from command_line import RACS, REPOSITORY, Delivery, Ended, deliver

SCHEMA = json.loads((REPOSITORY / "conformance/data/schemas/racs-certification-1.json").read_text())
SHIPPED = REPOSITORY / "conformance/data/profiles/racs-1.toml"
LAX = "judged by the numbers of lax.toml, not by the profile racs-1 of this suite: no certification by the contract"


@pytest.fixture(scope="module")
def delivery(tmp_path_factory: pytest.TempPathFactory) -> Delivery:
    return deliver(tmp_path_factory.mktemp("delivery"))


def judged(way: str, delivery: Delivery, folder: Path, *options: str) -> tuple[Ended, Any]:
    """How `racs check` or `racs certify` ended, and its JSON, which keeps to the schema."""
    words = [RACS, way, str(delivery.ova), f"--root={delivery.root}", "--json=one.json", *options]
    ended = command_line.run(words, folder, {"PATH": "/nonexistent"})
    result = json.loads((folder / "one.json").read_text())
    jsonschema.validate(result, SCHEMA)
    return ended, result


def fingerprint(certificate: Path) -> str:
    """As OpenSSL tells it: SHA-256 over the DER."""
    command = ["openssl", "x509", "-in", str(certificate), "-noout", "-fingerprint", "-sha256"]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    return said.strip().rpartition("=")[2].replace(":", "").lower()


def test_the_profile_of_the_suite_is_named_without_a_note(delivery: Delivery, tmp_path: Path) -> None:
    (tmp_path / "copy.toml").write_bytes(SHIPPED.read_bytes())
    for options in ([], ["--profile=copy.toml"]):
        ended, result = judged("check", delivery, tmp_path, "--no-image", *options)
        assert (result["profile"], result["profile_file"]) == ("racs-1", "")
        assert "no certification by the contract" not in ended.said + json.dumps(result)


def test_another_profile_is_told_loudly(delivery: Delivery, tmp_path: Path) -> None:
    (tmp_path / "lax.toml").write_text(SHIPPED.read_text().replace("tcg = 4.0", "tcg = 50.0"))
    ended, result = judged("check", delivery, tmp_path, "--no-image", "--profile=lax.toml")
    assert f"note: {LAX}" in ended.out and "profile racs-1 of lax.toml" in ended.out.splitlines()[-1]
    assert (result["profile"], result["profile_file"]) == ("racs-1", "lax.toml")
    assert LAX in result["notes"]
    (tmp_path / "other.ova").write_bytes(delivery.ova.read_bytes())
    words = [RACS, "check", "--no-image", str(delivery.ova), "other.ova", f"--root={delivery.root}"]
    several = command_line.run([*words, "--profile=lax.toml"], tmp_path)
    assert several.out.count(f"note: {LAX}") == 1


def test_names_in_no_encoding_are_told_readably(delivery: Delivery, tmp_path: Path) -> None:
    odd = b"lax\xff.toml".decode(errors="surrogateescape")
    (tmp_path / odd).write_text(SHIPPED.read_text().replace("tcg = 4.0", "tcg = 50.0"))
    (tmp_path / odd.replace("toml", "ova")).write_bytes(delivery.ova.read_bytes())
    odd_delivery = Delivery(tmp_path / odd.replace("toml", "ova"), delivery.root, delivery.parts)
    for way in ("check", "certify"):
        _, result = judged(
            way, odd_delivery, tmp_path, f"--profile={odd}", *(["-kPKG-001"] if way == "certify" else [])
        )
        assert (result["profile_file"], result["package_file"]) == (r"lax\udcff.toml", r"lax\udcff.ova")


def test_the_signer_and_the_root_are_told_by_their_fingerprints(delivery: Delivery, tmp_path: Path) -> None:
    _, result = judged("check", delivery, tmp_path, "--no-image")
    chain = [certificate["sha256"] for certificate in result["chain"]]
    assert chain == [fingerprint(delivery.parts.certificate), fingerprint(delivery.root)]
    assert all(certificate["subject"] and certificate["valid_until"] for certificate in result["chain"])


def test_a_package_without_certificates_has_no_chain(delivery: Delivery, tmp_path: Path) -> None:
    (tmp_path / "cut.ova").write_bytes(delivery.ova.read_bytes()[:300])
    broken = Delivery(tmp_path / "cut.ova", delivery.root, delivery.parts)
    assert judged("check", broken, tmp_path)[1]["chain"] == []


def test_the_suite_is_told_by_its_version(delivery: Delivery, tmp_path: Path) -> None:
    version = command_line.run([RACS, "--version"], tmp_path).out.split()[-1]
    assert judged("check", delivery, tmp_path, "--no-image")[1]["suite_version"] == version


@pytest.mark.parametrize(
    ("given", "told"),
    [("2027-05-01", "2027-05-01T00:00:00+00:00"), ("2027-05-01T02:00:00+02:00", "2027-05-01T00:00:00+00:00")],
)
def test_validity_at_another_moment_is_told(given: str, told: str, delivery: Delivery, tmp_path: Path) -> None:
    ended, result = judged("check", delivery, tmp_path, "--no-image", f"--at={given}")
    note = f"validity judged as of {told} (--at)"
    assert f"note: {note}" in ended.out and note in result["notes"]
    _, now = judged("check", delivery, tmp_path, "--no-image")
    assert not any("validity judged" in one for one in now["notes"])


def test_a_run_keeps_the_profile_it_judged_by(delivery: Delivery, tmp_path: Path) -> None:
    """Also one in which nothing was booted."""
    (tmp_path / "lax.toml").write_text(SHIPPED.read_text().replace("tcg = 4.0", "tcg = 50.0"))
    (tmp_path / "cut.ova").write_bytes(delivery.ova.read_bytes()[:300])
    broken = Delivery(tmp_path / "cut.ova", delivery.root, delivery.parts)
    _, result = judged("certify", broken, tmp_path, "--profile=lax.toml")
    kept = (tmp_path / "runs" / "latest" / "evidence" / "profile.toml").read_bytes()
    assert kept == (tmp_path / "lax.toml").read_bytes()
    assert result["evidence"] == {"profile.toml": result["digests"]["profile"]}
    assert result["digests"]["profile"] == sha256(kept).hexdigest()
    assert LAX in (tmp_path / "runs" / "latest" / "report.html").read_text()
