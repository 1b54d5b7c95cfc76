"""Files that are there whole or not at all, whatever happens meanwhile, and never in a place that is no file's."""

import errno
import os
import resource
import shutil
import signal
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from conformance.errors import UsageError
from harness.packaging.newfile import new_file

WAYS = pytest.mark.parametrize("nameless", [True, False])


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


@WAYS
def test_what_was_there_is_replaced_in_one_step(nameless: bool, tmp_path: Path) -> None:
    output = tmp_path / "out"
    output.write_text("before")
    with new_file(output, (), nameless) as file:
        file.path.write_text("after")
        assert output.read_text() == "before"
        assert file.path.read_text() == "after"
        assert nameless == (names(tmp_path) == {"out"})
        file.put()
    assert (output.read_text(), names(tmp_path)) == ("after", {"out"})


@WAYS
def test_a_new_file_is_as_open_to_others_as_any(nameless: bool, tmp_path: Path) -> None:
    (tmp_path / "any").touch()
    with new_file(tmp_path / "out", (), nameless) as file:
        file.put()
    modes = {stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()}
    assert len(modes) == 1


@WAYS
def test_what_is_not_put_in_its_place_is_nowhere(nameless: bool, tmp_path: Path) -> None:
    with new_file(tmp_path / "out", (), nameless) as file:
        file.path.write_text("no")
    with pytest.raises(KeyboardInterrupt), new_file(tmp_path / "out", (), nameless) as file:
        file.path.write_text("no")
        raise KeyboardInterrupt
    assert names(tmp_path) == set()


def test_nothing_is_left_after_sigkill(tmp_path: Path) -> None:
    program = """if True:
        import os, pathlib, signal
        from harness.packaging.newfile import new_file
        with new_file(pathlib.Path("out")) as file:
            file.path.write_text("half")
            os.kill(os.getpid(), signal.SIGKILL)
    """
    ended = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, check=False)
    assert ended.returncode == -signal.SIGKILL
    assert names(tmp_path) == set()


@WAYS
def test_a_full_disk_names_the_output(nameless: bool, tmp_path: Path) -> None:
    source, output = tmp_path / "source", tmp_path / "out"
    source.write_bytes(bytes(5000))
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, before[1]))  # EFBIG, raised where ENOSPC would be
    try:
        for copied in (False, True):
            with pytest.raises(UsageError) as caught, new_file(output, (), nameless) as file:
                shutil.copyfile(source, file.path) if copied else file.path.write_bytes(bytes(5000))
            assert str(caught.value) == f"{output}: {os.strerror(errno.EFBIG)}; give a place that can be written"
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert names(tmp_path) == {"source"}


def test_what_cannot_be_read_meanwhile_is_named_itself(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="/missing: No such file"), new_file(tmp_path / "out"):
        (tmp_path / "missing").read_bytes()


@pytest.mark.parametrize(
    ("place", "said"),
    [
        ("folder", "folder is a folder; give the name of a file"),
        ("fifo", "fifo is no regular file; give the name of a file"),
        ("input", "input is what it would be made of"),
        ("link", "link is what it would be made of"),
        ("input/out", "input/out: Not a directory; give a place"),
        ("nowhere/out", "nowhere/out: No such file or directory; give a place"),
    ],
)
def test_places_that_are_none(place: str, said: str, tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "input").write_text("mine")
    (tmp_path / "link").symlink_to("input")
    before = names(tmp_path)
    with (
        pytest.raises(UsageError, match=said),
        new_file(tmp_path / place, (tmp_path / "gone", tmp_path / "input")) as file,
    ):
        file.put()
    assert (names(tmp_path), (tmp_path / "input").read_text()) == (before, "mine")
    assert stat.S_ISFIFO((tmp_path / "fifo").stat().st_mode)


def test_no_name_at_all() -> None:
    for place in ("", ".", "/"):
        with pytest.raises(UsageError, match="is a folder"), new_file(Path(place)):
            pass
