"""`racs check` and `racs inspect` in surroundings that nobody chose: names of files, locales, terminals, full disks."""

import json
import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

import command_line
import pytest
from command_line import RACS, Delivery, deliver

NAMES = (
    "with blank.ova",
    "new\nline.ova",
    "esc\x1b[31m.ova",
    "ümläut-✓.ova",
    os.fsdecode(b"\xff\xfe.ova"),
    "-dash.ova",
)
LOCALES = {
    "UTF-8": {"LC_ALL": "C.UTF-8"},
    "C": {"LC_ALL": "C"},
    "ASCII": {"PYTHONIOENCODING": "ascii"},
}
NOBODY = ("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups")


@pytest.fixture(scope="module")
def delivery(tmp_path_factory: pytest.TempPathFactory) -> Delivery:
    return deliver(tmp_path_factory.mktemp("delivery"))


@pytest.mark.parametrize("locale", LOCALES)
def test_packages_may_have_any_name_in_any_locale(locale: str, delivery: Delivery, tmp_path: Path) -> None:
    for name in NAMES:
        (tmp_path / name).symlink_to(delivery.ova)
    given, options = [f"./{name}" for name in NAMES], ["--no-image", "--json=result.json"]
    every = [RACS, "check", f"--root={delivery.root}", *given, "--no-image"]
    ended = command_line.run([*every, "--json=result.json"], tmp_path, LOCALES[locale])
    assert (ended.status, ended.err) == (0, ""), ended.said
    assert "\nline" not in ended.out and "6 packages: 6 pass" in ended.out
    lines = command_line.run([*every, "--json=-"], tmp_path, LOCALES[locale]).out.splitlines()
    files = [json.loads(line)["package_file"] for line in (tmp_path / "result.json").read_text().splitlines()]
    assert files == [json.loads(line)["package_file"] for line in lines] and len(files) == len(NAMES)
    for one in given:
        ended = command_line.run([RACS, "inspect", one, *options], tmp_path, LOCALES[locale])
        assert (ended.status, ended.err, "\nline" in ended.out) == (0, "", False), ended.said
        assert json.loads((tmp_path / "result.json").read_text())["schema"] == "racs-inspection/1"


@pytest.mark.parametrize("name", [*NAMES, "✓" * 80 + ".ova"], ids=ascii)
def test_a_run_is_reported_whatever_its_package_is_called(name: str, delivery: Delivery, tmp_path: Path) -> None:
    """What is no package boots nothing, and fails; all its reports can be written."""
    (tmp_path / name).touch()
    ended = command_line.run([RACS, "certify", f"--root={delivery.root}", f"./{name}"], tmp_path)
    assert ended.status == 1, ended.said
    assert {"report.html", "junit.xml", "certification.json"} <= {one.name for one in tmp_path.glob("runs/latest/*")}


@pytest.mark.parametrize("name", NAMES, ids=ascii)
def test_a_name_that_is_not_there_is_told_without_what_a_terminal_would_obey(
    name: str, delivery: Delivery, tmp_path: Path
) -> None:
    for words in (["check", f"--root={delivery.root}"], ["inspect"]):
        ended = command_line.run([RACS, *words, f"./{name}"], tmp_path)
        assert (ended.status, ended.out) == (4, "")
        assert ended.err.startswith("racs: ") and "is not there; give the path of the package" in ended.err


def test_a_file_whose_name_begins_with_a_dash_is_explained(delivery: Delivery, tmp_path: Path) -> None:
    (tmp_path / "-dash.ova").symlink_to(delivery.ova)
    ended = command_line.run([RACS, "check", "-dash.ova"], tmp_path)
    assert (ended.status, "is given as ./-dash.ova" in ended.err) == (4, True)


@pytest.mark.parametrize(
    ("ova", "said"),
    [
        ("/proc/1/root/x.ova", "cannot be reached: Permission denied"),
        ("a" * 300, "cannot be reached: File name too long"),
        ("/dev/null/x", "is not there"),
        ("/dev/zero", "is no regular file"),
    ],
)
@pytest.mark.parametrize("command", ["check", "inspect"])
def test_what_cannot_be_reached_is_the_callers_to_mend(
    command: str, ova: str, said: str, delivery: Delivery, tmp_path: Path
) -> None:
    root = tmp_path / "root.crt"
    shutil.copy(delivery.root, root)
    for folder in (tmp_path, *(p for p in tmp_path.parents if p.name.startswith(("pytest-", "popen-")))):
        folder.chmod(0o755)  # the tests' folders are closed to others
    trusting = [f"--root={root}"] if command == "check" else []
    as_nobody = () if os.getuid() else NOBODY
    ended = command_line.run([*as_nobody, RACS, command, *trusting, ova], Path("/"))
    assert (ended.status, ended.out, said in ended.err) == (4, "", True), ended.said


@pytest.mark.parametrize(
    ("ova", "status", "why"),
    [
        ("missing.ova", 4, "is not there; give the path of the package"),
        (".", 4, "is a folder; give the package's file"),
        ("/dev/null", 4, "is no regular file"),
    ],
)
def test_one_that_nobody_could_judge_has_the_json_of_several(
    ova: str, status: int, why: str, delivery: Delivery, tmp_path: Path
) -> None:
    call = [RACS, "check", f"--root={delivery.root}", ova]
    alone = command_line.run([*call, "--json=-"], tmp_path)
    several = command_line.run([*call, ova, "--json=-"], tmp_path)
    assert (alone.status, several.status) == (status, status)
    told = json.loads(alone.out)
    assert [json.loads(line) for line in several.out.splitlines()] == [told, told]
    assert (told["schema"], told["exit_status"], told["verdict"]) == ("racs-not-checked/1", status, "error")
    assert why in told["errors"][0] and why in alone.err
    (tmp_path / "result.json").write_text('{"verdict": "pass"}')  # of the package before
    assert command_line.run([*call, "--json=result.json"], tmp_path).status == status
    assert json.loads((tmp_path / "result.json").read_text()) == told


@pytest.mark.parametrize("count", [1, 2])
def test_a_result_that_cannot_be_written_is_an_error(count: int, delivery: Delivery, tmp_path: Path) -> None:
    call = [RACS, "check", f"--root={delivery.root}", *[str(delivery.ova)] * count]
    ended = command_line.run([*call, "--json=/dev/full"], tmp_path)
    assert (ended.status, ended.err) == (3, "racs: /dev/full: No space left on device\n")
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(call, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert (done.returncode, done.stderr) == (3, "racs: <stdout>: No space left on device\n")


def test_no_earlier_result_outlives_an_interruption(delivery: Delivery, tmp_path: Path) -> None:
    huge, result = tmp_path / "huge.ova", tmp_path / "result.json"
    huge.touch()
    os.truncate(huge, 6 << 30)
    result.write_text('{"verdict": "pass"}')
    with subprocess.Popen([RACS, "check", f"--root={delivery.root}", huge, f"--json={result}"]) as process:
        while result.stat().st_size and process.poll() is None:
            time.sleep(0.01)
        process.send_signal(signal.SIGINT)
    assert (process.returncode, result.read_text()) == (2, "")


@pytest.mark.parametrize("command", ["check", "inspect"])
def test_json_overwrites_no_package(command: str, delivery: Delivery, tmp_path: Path) -> None:
    """`--json *.ova`: a shell makes the first package the result's file."""
    first = tmp_path / "first.ova"
    shutil.copy(delivery.ova, first)
    root = [f"--root={delivery.root}"] if command == "check" else []
    ended = command_line.run([RACS, command, *root, f"--json={first}", str(delivery.ova)], tmp_path)
    assert (ended.status, "holds no JSON; give it another name" in ended.err) == (4, True), ended.said
    assert first.read_bytes() == delivery.ova.read_bytes()


@pytest.mark.parametrize("command", ["check", "inspect"])
def test_no_colour_where_it_is_not_wanted(command: str, delivery: Delivery, tmp_path: Path) -> None:
    cut = tmp_path / "cut.ova"
    cut.write_bytes(delivery.ova.read_bytes()[:20000])
    call = [RACS, command, *([f"--root={delivery.root}"] if command == "check" else []), str(cut)]
    assert "\x1b[31" in command_line.run_in_terminal(call, tmp_path).out
    for variable in ({"NO_COLOR": "1"}, {"TERM": "dumb"}):
        assert "\x1b" not in command_line.run_in_terminal(call, tmp_path, environment=variable).out


def test_findings_hold_nothing_that_a_terminal_would_obey(delivery: Delivery, tmp_path: Path) -> None:
    said, odd = b"<ovf:Description>Debian GNU/Linux 12 (64-bit)<", "<ovf:Description>Deb\x9b31m\u202e"
    whole, ova = delivery.ova.read_bytes(), tmp_path / "odd.ova"
    assert said in whole
    ova.write_bytes(whole.replace(said, odd.encode().ljust(len(said) - 1, b"x") + b"<"))
    for given in ([str(ova)], [str(ova)] * 2):
        ended = command_line.run([RACS, "check", f"--root={delivery.root}", *given], tmp_path)
        assert r"Deb\x9b31m\u202e" in ended.out and ended.status == 1
