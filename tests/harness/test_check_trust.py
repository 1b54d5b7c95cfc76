"""Whom to trust: roots from files and folders, trust profiles of the user's own, and how a verdict names them."""

import json
import shutil
from pathlib import Path

import command_line
import jsonschema
import pytest
from command_line import RACS, REPOSITORY, Delivery, Ended, deliver

SCHEMA = json.loads((REPOSITORY / "conformance/data/schemas/racs-certification-1.json").read_text())


@pytest.fixture(scope="module")
def delivery(tmp_path_factory: pytest.TempPathFactory) -> Delivery:
    return deliver(tmp_path_factory.mktemp("delivery"))


def profile_of_own(folder: Path, name: str, *roots: Path) -> dict[str, str]:
    """A configuration folder with a trust profile in it, as the environment that names it."""
    trust = folder / "configuration" / "racs" / "trust" / name
    trust.mkdir(parents=True)
    for root in roots:
        shutil.copy(root, trust)
    return {"XDG_CONFIG_HOME": str(folder / "configuration")}


def check(delivery: Delivery, folder: Path, *options: str, environment: dict[str, str] | None = None) -> Ended:
    return command_line.run([RACS, "check", "--no-image", str(delivery.ova), *options], folder, environment)


@pytest.fixture
def foreign(tmp_path: Path) -> Path:
    """A root that nobody trusts who made the package, and that does not call itself one for R&D."""
    path = tmp_path / "foreign.crt"
    openssl = (
        "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN=operator -keyout /dev/null"
    )
    done = command_line.run([*openssl.split(), "-out", str(path)], tmp_path)
    assert done.status == 0, done.said
    return path


def test_roots_from_a_folder(delivery: Delivery, foreign: Path, tmp_path: Path) -> None:
    folder = tmp_path / "roots"
    folder.mkdir()
    for source in (foreign, delivery.root):
        shutil.copy(source, folder)
    (folder / ".hidden").write_text("no certificate")
    (folder / "more").mkdir()
    ended = check(delivery, tmp_path, f"--root={folder}")
    assert ended.status == 0, ended.said
    (folder / delivery.root.name).unlink()
    assert check(delivery, tmp_path, f"--root={folder}").status == 1


@pytest.mark.parametrize(
    ("files", "said"),
    [
        ({}, "the folder holds no file; give one with root certificates (PEM)"),
        ({".hidden": "x"}, "the folder holds no file"),
        ({"empty.crt": ""}, "empty.crt: it is empty"),
        ({"README": "our roots"}, "README: it holds no certificate in PEM"),
    ],
)
def test_a_folder_without_roots_is_told(files: dict[str, str], said: str, delivery: Delivery, tmp_path: Path) -> None:
    (tmp_path / "roots").mkdir()
    for name, text in files.items():
        (tmp_path / "roots" / name).write_text(text)
    ended = check(delivery, tmp_path, "--root=roots")
    assert (ended.status, ended.out, said in ended.err) == (4, "", True), ended.said


def test_an_unknown_trust_profile_is_told_with_those_there_are(delivery: Delivery, tmp_path: Path) -> None:
    environment = profile_of_own(tmp_path, "operator", delivery.root)
    for options in ([], [f"--root={delivery.root}"]):
        ended = check(delivery, tmp_path, "--trust=prodution", *options, environment=environment)
        assert (ended.status, ended.out) == (4, ""), ended.said
        assert "no trust profile 'prodution': choose one of rd, production, operator" in ended.err
    assert check(delivery, tmp_path, "--trust=../trust/rd", environment=environment).status == 4


def test_an_empty_trust_profile_is_told(delivery: Delivery, tmp_path: Path) -> None:
    ended = check(delivery, tmp_path, "--trust=operator", environment=profile_of_own(tmp_path, "operator"))
    assert ended.status == 4 and "no root certificate for the trust profile 'operator'" in ended.err, ended.said


def test_a_trust_profile_of_one_s_own_is_named_and_is_not_production(
    delivery: Delivery, foreign: Path, tmp_path: Path
) -> None:
    environment = profile_of_own(tmp_path, "operator", foreign)
    ended = check(delivery, tmp_path, "--trust=operator", "--json=one.json", environment=environment)
    assert ended.status == 1 and "trust operator): 1 fail" in ended.out, ended.said
    assert "note: not judged for production: trust profile 'operator' is of this user's own making" in ended.out
    result = json.loads((tmp_path / "one.json").read_text())
    jsonschema.validate(result, SCHEMA)
    assert result["trust"] == "operator" and any("not judged for production" in note for note in result["notes"])


def test_a_root_for_rd_is_one_for_rd_alone_whatever_the_folder_is_called(delivery: Delivery, tmp_path: Path) -> None:
    environment = profile_of_own(tmp_path, "operator", delivery.root)
    ended = check(delivery, tmp_path, "--trust=operator", environment=environment)
    assert ended.status == 1 and "names itself 'R&D, not for deployment'" in ended.out, ended.said


def test_rd_is_marked_wherever_a_verdict_stands(delivery: Delivery, tmp_path: Path) -> None:
    ended = check(delivery, tmp_path, f"--root={delivery.root}", "--json=one.json")
    assert "note: R&D, not for deployment" in ended.out and "trust rd)" in ended.out.splitlines()[-1]
    result = json.loads((tmp_path / "one.json").read_text())
    assert result["trust"] == "rd" and result["notes"][0].startswith("R&D, not for deployment")
