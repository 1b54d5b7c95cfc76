"""`racs new`: the folder is whole, its package passes `racs check`, and nothing of the user's is written over."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import click
import command_line
import pytest
from command_line import RACS, Delivery, deliver

from conformance.application import Application
from conformance.errors import UsageError
from conformance.package import descriptor
from conformance.package.descriptor_writer import GuestSystem, write_descriptor
from conformance.profile import load
from harness import cli
from harness.appimage.recipe import read_recipe
from harness.packaging.newapp import AppType, NewApp, make_app

TYPES: tuple[AppType, ...] = ("terminating", "transparent")
LIBRARY = set(sys.stdlib_module_names) | {"paho"}  # in the image by [image] packages and python


@pytest.fixture(scope="module")
def delivery(tmp_path_factory: pytest.TempPathFactory) -> Delivery:
    return deliver(tmp_path_factory.mktemp("delivery"))


@pytest.mark.parametrize("kind", TYPES)
def test_a_new_app_packs_and_passes_as_it_is(kind: AppType, delivery: Delivery, tmp_path: Path) -> None:
    made = command_line.run([RACS, "new", "my-app", "--type", kind], tmp_path)
    assert (made.status, made.err) == (0, ""), made.said
    parts = delivery.parts  # an image that needs no package archive; the real one is built in tests/live
    options = [f"--image={parts.image}", f"--privatekey={parts.privatekey}", f"--certificate={parts.certificate}"]
    built = command_line.run([RACS, "build-ova", "my-app/app.toml", *options], tmp_path)
    assert (built.status, built.out) == (0, "my-app.ova\n"), built.said
    checked = command_line.run([RACS, "check", "my-app.ova", f"--root={delivery.root}"], tmp_path)
    assert checked.status == 0, checked.said
    shown = command_line.run([RACS, "inspect", "my-app.ova"], tmp_path)
    assert f"{kind} app my-app: My App 1.0.0" in shown.out


@pytest.mark.parametrize("kind", TYPES)
def test_all_that_the_program_imports_is_in_its_image(kind: AppType, tmp_path: Path) -> None:
    make_app(NewApp("my-app", kind, tmp_path / "my-app"))
    recipe = read_recipe(tmp_path / "my-app" / "app.toml")
    brought = {Path(name).stem for name in recipe.files if name.endswith(".py")}
    for name, source in recipe.files.items():
        if not name.endswith(".py"):
            continue
        tree = ast.parse(source.read_text())
        imported = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
        imported |= {node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
        missing = {module.partition(".")[0] for module in imported} - brought - LIBRARY
        assert not missing, f"{name}: {missing}"
    here = {path for path in (tmp_path / "my-app").rglob("*") if path.is_file()}
    left = {path.name for path in here - set(recipe.files.values())}
    assert left == {"app.toml", "README.md", ".gitignore"}
    assert recipe.files["/sbin/init"].stat().st_mode & 0o111


@pytest.mark.parametrize("kind", TYPES)
def test_nothing_of_the_template_is_left(kind: AppType, tmp_path: Path) -> None:
    make_app(NewApp("a7", kind, tmp_path / "deep" / "folder"))
    for path in (tmp_path / "deep" / "folder").rglob("*"):
        assert path.is_dir() or not re.search(r"@[A-Z]+@", path.read_text()), path
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["folder"]


def test_the_commands_of_its_readme_are_there(tmp_path: Path) -> None:
    make_app(NewApp("my-app", "terminating", tmp_path / "my-app"))
    lines = re.findall(r"^    (racs .*)$", (tmp_path / "my-app" / "README.md").read_text(), re.MULTILINE)
    assert [line.split()[1] for line in lines] == ["ca", "build-app", "build-ova", "certify"]
    for line in lines:
        command: click.Command = cli.commands.commands[line.split()[1]]
        with command.make_context(line.split()[1], line.split()[2:]):
            pass  # parses


@pytest.mark.parametrize("kind", TYPES)
def test_git_passes_over_keys_and_what_is_built(kind: AppType, tmp_path: Path) -> None:
    folder = tmp_path / "my-app"
    make_app(NewApp("my-app", kind, folder))
    before = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    for name in ("ca/signer.key", "ca/root.crt", "other.key", "my-app.qcow2", "my-app.ova", "runs/x/report.html"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    subprocess.run(["git", "init", "-q", folder], check=True)
    listed = subprocess.run(
        ["git", "ls-files", "--others", "--exclude-standard"], cwd=folder, check=True, capture_output=True, text=True
    )
    assert set(listed.stdout.split()) == before


@pytest.mark.parametrize(
    "identity",
    ["a", "my-app", "a7-", "a" * 32, "a" * 33, "", "My-app", "7up", "-a", "a_b", "a b", "ä", "a/b", "..", "a\n"],
)
def test_an_id_is_taken_where_the_contract_takes_it(identity: str, tmp_path: Path) -> None:
    app = Application(identity, "terminating", "v", "p", "1", 1.0, ("service", "user-plane"))
    read = descriptor.read(write_descriptor(app, GuestSystem(80, "RHEL"), "i.qcow2", load()), load())
    wrong = any(fault.requirement == "DSC-003" for fault in read.faults)
    if wrong:
        with pytest.raises(UsageError, match="cannot be an app's id"):
            make_app(NewApp(identity, "terminating", tmp_path / "app"))
        assert list(tmp_path.iterdir()) == []
    else:
        make_app(NewApp(identity, "terminating", tmp_path / "app"))


def test_a_folder_that_is_in_use_stays_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "my-app").mkdir()
    (tmp_path / "my-app" / "mine").write_text("mine")
    (tmp_path / "file").write_text("mine")
    (tmp_path / "empty").mkdir()
    for words in (["my-app"], ["app", "--folder=my-app"], ["app", "--folder=file"], ["app", "--folder=file/app"]):
        ended = command_line.run([RACS, "new", *words, "--type=transparent"], tmp_path)
        assert (ended.status, ended.out) == (4, ""), ended.said
    assert {path.name for path in tmp_path.rglob("*")} == {"my-app", "mine", "file", "empty"}
    assert (
        "file: File exists"
        in command_line.run([RACS, "new", "a", "--folder=file/a", "--type=transparent"], tmp_path).err
    )
    assert command_line.run([RACS, "new", "app", "--folder=empty", "--type=transparent"], tmp_path).status == 0
    assert (tmp_path / "empty" / "app.toml").exists()


@pytest.mark.parametrize("words", [["--folder=."], ["--folder="]])
def test_the_folder_where_one_stands(words: list[str], tmp_path: Path) -> None:
    folder = tmp_path / "begun"
    folder.mkdir()
    made = command_line.run([RACS, "new", "my-app", "--type=transparent", *words], folder)
    assert made.status == 0, made.said
    assert (folder / "app.toml").exists() and (folder / "guest" / "wire.py").exists()
    assert [path.name for path in tmp_path.iterdir()] == ["begun"]
