"""The command line: exit statuses and what it says, as a user meets them (design 6). Nothing is booted here."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import command_line
import jsonschema
import pytest
from command_line import RACS, REPOSITORY, Delivery, deliver

from harness.cli import commands

SCHEMA = json.loads((REPOSITORY / "conformance/data/schemas/racs-certification-1.json").read_text())
SUITES = str(REPOSITORY / "suites")
# `pytest suites/` as in the README; the cache provider's and others' chatter is pytest's own
PYTEST = (sys.executable, "-m", "pytest", "-c", str(REPOSITORY / "pyproject.toml"), SUITES)
# root without the right to read everything
AS_READER = ("setpriv", "--bounding-set=-dac_override,-dac_read_search")


@pytest.fixture(scope="module")
def delivery(tmp_path_factory: pytest.TempPathFactory) -> Delivery:
    return deliver(tmp_path_factory.mktemp("delivery"))


@pytest.fixture(params=["check", "certify", "pytest"])
def calling(request: pytest.FixtureRequest) -> Callable[..., list[str]]:
    """A call with a package, by each of the three ways in."""

    def call(ova: str, *options: str) -> list[str]:
        if request.param == "pytest":
            return [*PYTEST, f"--ova={ova}", *options]
        return [RACS, request.param, ova, *options]

    return call


def files(folder: Path, delivery: Delivery) -> dict[str, str]:
    """Things that a user may give by mistake, by the names that the tables use."""
    locked = folder / "locked.crt"
    locked.write_bytes(delivery.root.read_bytes())
    locked.chmod(0)
    broken = folder / "broken.crt"
    broken.write_text("-----BEGIN CERTIFICATE-----\nbm90aGluZw==\n-----END CERTIFICATE-----\n")
    os.mkfifo(folder / "fifo")
    return {
        "ova": str(delivery.ova),
        "root": str(delivery.root),
        "key": str(delivery.parts.privatekey),
        "image": str(delivery.parts.image),
        "locked": str(locked),
        "broken": str(broken),
        "folder": str(folder),
        "fifo": str(folder / "fifo"),
        "missing": str(folder / "missing"),
    }


@pytest.mark.parametrize(
    ("ova", "options", "said"),
    [
        ("{missing}", ["--root={root}"], "missing is not there; give the path of the package"),
        ("{folder}", ["--root={root}"], "is a folder; give the package's file"),
        ("{fifo}", ["--root={root}"], "is no regular file; give the package's file"),
        ("{locked}", ["--root={root}"], "cannot be read; check its permissions"),
        ("{ova}", ["--root={root}", "--colour"], "--colour"),
        ("{ova}", ["--root={root}", "--trust=prod"], "no trust profile 'prod': choose one of rd, production"),
        ("{ova}", ["--root={root}", "--profile=racs-0"], "racs-0"),
        ("{ova}", ["--root={root}", "--profile={image}"], "guest.qcow2"),
        ("{ova}", [], "no root certificate for the trust profile 'rd'"),
        ("{ova}", ["--trust=production"], "no root certificate for the trust profile 'production'"),
        ("{ova}", ["--root={missing}"], "missing cannot be read: No such file"),
        ("{ova}", ["--root={locked}"], "locked.crt cannot be read: Permission denied"),
        ("{ova}", ["--root={folder}"], "broken.crt: it holds a certificate that is cut or garbled"),
        ("{ova}", ["--root={fifo}"], "is no file: give the PEM file itself"),
        ("{ova}", ["--root={image}"], "it holds no certificate in PEM"),
        ("{ova}", ["--root={key}"], "it holds a private key, not a certificate"),
        ("{ova}", ["--root={broken}"], "it holds a certificate that is cut or garbled"),
    ],
)
def test_a_wrong_call_is_told_in_a_line_and_ends_in_4(
    ova: str, options: list[str], said: str, delivery: Delivery, calling: Callable[..., list[str]], tmp_path: Path
) -> None:
    known = files(tmp_path, delivery)
    command = calling(ova.format_map(known), *(option.format_map(known) for option in options))
    ended = command_line.run([*AS_READER, *command], tmp_path)
    assert ended.status == 4, ended.said
    assert said in ended.err
    assert ended.out == ""
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    ("command", "said"),
    [
        ([RACS, "explain", "HBT-999"], "HBT-999"),
        ([RACS, "explain"], "Missing argument"),
        ([RACS, "certify", "--accelerator=warp", "{ova}"], "warp"),
        ([RACS, "certify", "--seed=many", "{ova}"], "many"),
        ([RACS, "certify", "{ova}", "{ova}"], "unexpected extra argument"),
        ([RACS, "check", "{ova}", "--root={root}", "--at=soon"], "no ISO 8601 time"),
        ([RACS, "check", "{ova}", "--root={root}", "--at=0001-01-01T00:00:00+14:00"], "no ISO 8601 time"),
        ([RACS, "check", "{ova}", "--root={root}", "--json={missing}/result.json"], "cannot be written; give a file"),
        ([RACS, "certify", "{ova}", "--root={root}", "--runs={image}"], "give --runs a folder that can be written"),
        ([RACS, "lab", "{missing}", "--root={root}"], "is not there"),
        ([RACS, "lab", "{ova}"], "no root certificate"),
        ([RACS, "lab", "{ova}", "{ova}", "--root={root}"], "one package at a time"),
        ([RACS, "lab", "{ova}", "--root={root}", "--terminals=77"], "leave it out"),
        ([RACS, "lab", "console", "nobodys"], "no lab"),
        ([RACS, "teleport"], "teleport"),
        ([RACS, "build-app", "{missing}"], "missing"),
        ([RACS, "build-app", "{image}"], "guest.qcow2"),
        ([*PYTEST, "--root={root}"], "no package to certify"),
        ([*PYTEST, "--ova={ova}", "--root={root}", "-n", "2"], "suites/ runs one testbed"),
        ([*PYTEST, "--ova={ova}", "--root={root}", "--json=-"], "give --json a file"),
        ([*PYTEST, "--ova={ova}", "--root={root}", "--accelerator=warp"], "warp"),
        ([*PYTEST[:-1], SUITES + "/test_nothing.py", "--ova={ova}", "--root={root}"], "test_nothing.py"),
    ],
)
def test_other_wrong_calls_end_in_4(command: list[str], said: str, delivery: Delivery, tmp_path: Path) -> None:
    known = files(tmp_path, delivery)
    ended = command_line.run([word.format_map(known) for word in command], tmp_path)
    assert (ended.status, said in ended.err) == (4, True), ended.said
    assert not list(tmp_path.glob("runs/*/evidence/*"))


PARTS = {"ovf": "goon.ovf", "image": "{image}", "privatekey": "{key}", "certificate": "{root}"}


@pytest.mark.parametrize(
    ("changed", "status", "said"),
    [
        ({"privatekey": "{missing}"}, 4, "give the path of the private key"),
        ({"privatekey": "{folder}"}, 4, "is a folder"),
        ({"privatekey": "{root}"}, 4, "it holds a certificate, not a private key"),
        ({"privatekey": "{locked}"}, 4, "cannot be read"),
        ({"certificate": "{key}"}, 4, "it holds a private key"),
        ({"ovf": "{missing}"}, 4, "give the path of the descriptor"),
        ({"image": "{folder}"}, 4, "is a folder"),
        ({"image": "{root}"}, 1, "expected"),
        ({"ovf": "{image}"}, 4, "an app file's name ends in .toml and a descriptor's in .ovf"),
        ({}, 1, "expected"),  # the root's certificate is not that of the key
    ],
)
def test_parts_that_make_no_package(
    changed: dict[str, str], status: int, said: str, delivery: Delivery, tmp_path: Path
) -> None:
    known = files(tmp_path, delivery)
    parts = {**PARTS, "ovf": str(delivery.parts.description), **changed}
    options = [f"--{name}={value.format_map(known)}" for name, value in parts.items()]
    ended = command_line.run([*AS_READER, RACS, "build-ova", *options, "-o", "new.ova"], tmp_path)
    assert (ended.status, said in ended.err) == (status, True), ended.said
    assert not list(tmp_path.glob("*new.ova*")) and not list(tmp_path.glob(".*"))


def test_the_report_as_json_is_alone_on_standard_output(delivery: Delivery, tmp_path: Path) -> None:
    ended = command_line.run([RACS, "check", str(delivery.ova), f"--root={delivery.root}", "--json", "-"], tmp_path)
    assert ended.status == 0, ended.said
    result = json.loads(ended.out)
    jsonschema.validate(result, SCHEMA)
    assert (result["schema"], result["scope"], result["verdict"]) == ("racs-certification/1", "package", "pass")


def test_a_check_needs_no_rights_and_leaves_nothing(delivery: Delivery, tmp_path: Path) -> None:
    none = ("setpriv", "--bounding-set=-all", "--inh-caps=-all", "--no-new-privs")
    ended = command_line.run([*none, RACS, "check", str(delivery.ova), f"--root={delivery.root}"], tmp_path)
    assert ended.status == 0, ended.said
    assert ended.out.splitlines()[-1].startswith("PASS goon (scope package, trust rd)")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("words", [["list"], ["explain", "HBT-003"], ["list", "--json"], ["check"]])
def test_a_reader_that_goes_away_is_no_error(words: list[str], delivery: Delivery, tmp_path: Path) -> None:
    if words == ["check"]:
        words = ["check", str(delivery.ova), f"--root={delivery.root}"]
    read, write = os.pipe()
    os.close(read)
    done = subprocess.run([RACS, *words], cwd=tmp_path, stdout=write, stderr=subprocess.PIPE, text=True, check=False)
    os.close(write)
    assert (done.returncode, done.stderr) == (0, "")


def test_colour_is_for_terminals(delivery: Delivery, tmp_path: Path) -> None:
    ended = command_line.run_in_terminal([RACS, "check", str(delivery.ova), f"--root={delivery.root}"], tmp_path)
    assert ended.status == 0 and "\x1b[32mpass" in ended.out


@pytest.mark.parametrize("command", [None, *sorted(commands.commands)])
def test_every_command_helps(command: str | None, tmp_path: Path) -> None:
    if command in ("test", "pytest"):
        return  # their options, --help too, are tox's and pytest's
    ended = command_line.run([RACS, *filter(None, [command]), "--help"], tmp_path)
    assert ended.status == 0 and ended.out.startswith("Usage: ")


def test_every_requirement_can_be_explained(tmp_path: Path) -> None:
    listed = command_line.run([RACS, "list"], tmp_path).out.splitlines()
    assert len(listed) > 90
    for identity in ("PKG-001", "HBT-003", listed[-1].split()[0]):
        ended = command_line.run([RACS, "explain", identity], tmp_path)
        assert ended.status == 0 and ended.out.startswith(identity)
