"""A run of the suites over packages that must not be booted: the verdicts, the reports, and that nothing starts."""

import io
import json
import struct
import sys
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import command_line
import jsonschema
import pytest
from command_line import RACS, REPOSITORY, Delivery, Ended, deliver

from conformance.catalogue import load

SCHEMA = json.loads((REPOSITORY / "conformance/data/schemas/racs-certification-1.json").read_text())
PYTEST = (sys.executable, "-m", "pytest", "-c", str(REPOSITORY / "pyproject.toml"), str(REPOSITORY / "suites"))
BOMB = '<!DOCTYPE e [<!ENTITY a "ha">' + "".join(
    f'<!ENTITY {next_} "{f"&{name};" * 10}">' for name, next_ in zip("abcdefgh", "bcdefghi", strict=True)
)


@pytest.fixture(scope="module")
def delivery(tmp_path_factory: pytest.TempPathFactory) -> Delivery:
    return deliver(tmp_path_factory.mktemp("delivery"))


def described(package: bytes, change: Callable[[str], str]) -> bytes:
    """The package with another descriptor; manifest and signature stay."""
    out = io.BytesIO()
    with (
        tarfile.open(fileobj=io.BytesIO(package)) as before,
        tarfile.open(fileobj=out, mode="w", format=tarfile.USTAR_FORMAT) as after,
    ):
        for member in before.getmembers():
            file = before.extractfile(member)
            assert file is not None
            data = file.read()
            if member.name.endswith(".ovf"):
                data = change(data.decode()).encode()
                member.size = len(data)
            after.addfile(member, io.BytesIO(data))
    return out.getvalue()


def declared(prolog: str, use: str = "") -> Callable[[str], str]:
    """A descriptor with this between the XML declaration and the root, and use in its first Info."""

    def change(text: str) -> str:
        head, mark, rest = text.partition("?>")
        assert mark
        return head + mark + prolog + rest.replace("</Info>", use + "</Info>", 1)

    return change


def headed(package: bytes, at: int, value: bytes) -> bytes:
    """The package with other bytes in its first header, whose checksum is right."""
    block = bytearray(package[:512])
    block[at : at + len(value)] = value
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % sum(block)
    return bytes(block) + package[512:]


CASES: dict[str, tuple[Callable[[bytes], bytes], str]] = {
    "empty": (lambda _: b"", "PKG-001"),
    "noise": (lambda _: bytes((i * 7919 >> 3) & 255 for i in range(40960)), "PKG-001"),
    "zeros": (lambda _: bytes(40960), "PKG-001"),
    "zeros and a bit": (lambda _: bytes(100), "PKG-001"),
    "cut in the image": (lambda package: package[: len(package) // 2], "PKG-001"),
    "cut in a header": (lambda package: package[:300], "PKG-001"),
    "cut before its end": (lambda package: package.rstrip(b"\0"), "PKG-001"),
    "a qcow2 image": (lambda _: b"QFI\xfb" + struct.pack(">I", 3) + bytes(65536), "PKG-001"),
    "a compressed archive": (lambda _: b"\x1f\x8b\x08\x00" + bytes(5000), "PKG-001"),
    "a symbolic link": (lambda package: headed(package, 156, b"2/etc/passwd"), "PKG-001"),
    "8 GiB announced": (lambda package: headed(package, 124, b"77777777777\0"), "PKG-001"),
    "2^33 in base 256": (lambda package: headed(package, 124, b"\x80\0\0\0\0\0\0\2\0\0\0\0"), "PKG-001"),
    "a name above": (lambda package: headed(package, 0, b"../../goon.ovf\0"), "PKG-001"),
    "a DOCTYPE": (lambda package: described(package, declared("<!DOCTYPE Envelope>")), "DSC-001"),
    "an XML bomb": (lambda package: described(package, declared(BOMB + "]>", "&i;")), "DSC-001"),
    "an entity from a file": (
        lambda package: described(package, declared('<!DOCTYPE e [<!ENTITY f SYSTEM "file:///etc/passwd">]>', "&f;")),
        "DSC-001",
    ),
    "no XML": (lambda package: described(package, lambda _: "Envelope: none"), "DSC-001"),
    "deep XML": (lambda package: described(package, lambda _: "<a>" * 100_000), "PKG-005"),
    "another descriptor": (lambda package: described(package, declared("<!-- another -->")), "PKG-005"),
}


@pytest.mark.parametrize("way", ["check", "certify", "pytest"])
@pytest.mark.parametrize("case", CASES)
def test_what_is_no_proper_package_fails_and_is_not_booted(
    case: str, way: str, delivery: Delivery, tmp_path: Path
) -> None:
    make, identity = CASES[case]
    ova = tmp_path / "app.ova"
    ova.write_bytes(make(delivery.ova.read_bytes()))
    ended, result = judged(way, ova, delivery, tmp_path)
    assert (ended.status, result["verdict"], result["exit_status"]) == (1, "fail", 1), ended.said
    by_id = {requirement["id"]: requirement for requirement in result["requirements"]}
    assert by_id[identity]["verdict"] == "fail"
    assert by_id[identity]["findings"][0]["expected"] in ended.said.replace("\n", " ")
    assert "root:" not in ended.said  # nobody's /etc/passwd
    if way != "check":
        expect_nothing_started(result, tmp_path)


def judged(way: str, ova: Path, delivery: Delivery, folder: Path) -> tuple[Ended, Any]:
    """The result of a call on a machine without QEMU, ip and all else that a lab needs."""
    words = [str(ova), f"--root={delivery.root}", f"--json={folder / 'result.json'}"]
    command = [*PYTEST, f"--ova={words[0]}", *words[1:]] if way == "pytest" else [RACS, way, *words]
    ended = command_line.run(command, folder, {"PATH": "/nonexistent"})
    result = json.loads((folder / "result.json").read_text())
    jsonschema.validate(result, SCHEMA)
    return ended, result


def expect_nothing_started(result: Any, folder: Path) -> None:
    """All that needs a running app has no verdict, and says why; reports are there, evidence is the profile alone."""
    runtime = {r.id for r in load().requirements.values() if r.scope == "run" and r.in_force}
    assert len(runtime) > 20
    for requirement in result["requirements"]:
        if requirement["id"] in runtime:
            assert requirement["verdict"] in ("not judged", "not applicable")
            assert "nothing of it was booted" in requirement["reason"] or "it speaks of" in requirement["reason"]
    assert (result["accelerator"], result["steps"], list(result["evidence"])) == ("", [], ["profile.toml"])
    latest = folder / "runs" / "latest"
    assert {"certification.json", "report.html", "junit.xml"} <= {path.name for path in latest.iterdir()}
    assert [path.name for path in (latest / "evidence").iterdir()] == ["profile.toml"]
    assert "nothing of it was booted" in (latest / "report.html").read_text()
    # a run's folder, the link to the latest, the package and its result: no more
    assert {path.name for path in folder.iterdir()} == {"app.ova", "result.json", "runs"}
    assert len(list((folder / "runs").iterdir())) == 2


def test_the_json_of_a_run_is_alone_on_standard_output(delivery: Delivery, tmp_path: Path) -> None:
    (tmp_path / "zeros.ova").write_bytes(bytes(10240))
    command = [RACS, "certify", "zeros.ova", f"--root={delivery.root}", "--json", "-"]
    ended = command_line.run(command, tmp_path)
    assert ended.status == 1
    jsonschema.validate(json.loads(ended.out), SCHEMA)
    assert ended.err.splitlines()[-1].startswith("FAIL zeros.ova (scope certification, trust rd)")


def test_progress_is_on_standard_error_and_results_on_standard_output(delivery: Delivery, tmp_path: Path) -> None:
    (tmp_path / "zeros.ova").write_bytes(bytes(10240))
    ended = command_line.run([RACS, "certify", "zeros.ova", f"--root={delivery.root}"], tmp_path)
    assert "PKG-001 fail: expected" in ended.err
    assert ended.out.splitlines()[0].startswith("PKG-001  fail")
    assert ended.out.splitlines()[-1].startswith("FAIL zeros.ova")


@pytest.mark.parametrize(("select", "status"), [("PKG-001", 1), ("PKG-002", 5), ("HBT-001", 5), ("nothing", 5)])
def test_a_selection_is_judged_alone(select: str, status: int, delivery: Delivery, tmp_path: Path) -> None:
    (tmp_path / "zeros.ova").write_bytes(bytes(10240))
    ended = command_line.run([RACS, "certify", "zeros.ova", f"--root={delivery.root}", "-k", select], tmp_path)
    assert ended.status == status, ended.said
    assert "scope selection" in ended.out.splitlines()[-1]


def test_a_listing_is_no_pass(tmp_path: Path) -> None:
    listed = command_line.run([*PYTEST, "--collect-only", "-q"], tmp_path)
    assert listed.status == 5, listed
    in_force = [requirement.id for requirement in load().requirements.values() if requirement.in_force]
    assert all(f"[{identity}]" in listed.out for identity in in_force)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["-k", "PKG-999"], "no requirement 'PKG-999'"),
        (["-k", "HBT and ("], "Wrong expression"),
        (["--json", "nowhere/result.json"], "nowhere/result.json: cannot be written"),
        (["--json", "."], "cannot be written"),
    ],
)
def test_a_call_that_is_wrong_leaves_nothing(options: list[str], says: str, delivery: Delivery, tmp_path: Path) -> None:
    (tmp_path / "zeros.ova").write_bytes(bytes(10240))
    ended = command_line.run([RACS, "certify", "zeros.ova", f"--root={delivery.root}", *options], tmp_path)
    assert ended.status == 4, ended.said
    assert says in ended.said and "Traceback" not in ended.said
    assert not (tmp_path / "runs").exists() or not list((tmp_path / "runs").iterdir())


def test_output_that_cannot_be_written_is_an_error_and_no_fail(delivery: Delivery, tmp_path: Path) -> None:
    (tmp_path / "zeros.ova").write_bytes(bytes(10240))
    command = f"{RACS} certify zeros.ova --root={delivery.root} >/dev/full"
    ended = command_line.run(["sh", "-c", command], tmp_path)
    assert ended.status == 3 and "Traceback" not in ended.said, ended.said


def test_the_latest_run_is_the_one_that_began_last(delivery: Delivery, tmp_path: Path) -> None:
    """A report that cannot be written leaves none that says pass, and latest does not lead to an older one."""
    (tmp_path / "zeros.ova").write_bytes(bytes(10240))
    command = [RACS, "certify", "zeros.ova", f"--root={delivery.root}"]
    assert command_line.run(command, tmp_path).status == 1
    before = (tmp_path / "runs" / "latest").resolve()
    assert command_line.run(command, tmp_path).status == 1
    assert (tmp_path / "runs" / "latest").resolve() != before
