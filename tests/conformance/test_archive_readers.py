"""Two readers, one archive: what passes PKG-001 is read alike by others. Which of them a platform has nobody knows."""

import io
import subprocess
import tarfile
from hashlib import sha256
from pathlib import Path

import pytest
from corpus import Case, build, load
from judging import PROFILE
from package_parts import Entry, write_tar

from conformance.package.archive import read

NAMES = ("app.ovf", "app.mf", "app.cert", "disk.qcow2", "auth/acl.xml")
BASE = write_tar([Entry(name, (name * 7).encode()) for name in NAMES])
HEADER = BASE.index(b"auth/acl.xml\0")
CHECKSUM = range(148, 156)
VALUES = b"\0 078x/.\xff"


def changed(place: int, value: int) -> bytes:
    """One byte of the last header changed, its checksum made right again."""
    block = bytearray(BASE[HEADER : HEADER + 512])
    block[place] = value
    block[CHECKSUM.start : CHECKSUM.stop] = b" " * 8
    block[CHECKSUM.start : CHECKSUM.stop] = b"%06o\0 " % sum(block)
    return BASE[:HEADER] + bytes(block) + BASE[HEADER + 512 :]


def ours(archive: bytes) -> list[tuple[str, int, str]] | None:
    """Name, size and digest of each member; None where PKG-001 fails."""
    found = read(io.BytesIO(archive), PROFILE)  # type: ignore[arg-type]  # it reads and seeks as a file does
    return None if found.faults else [(one.name, one.size, one.sha256) for one in found.members]


def of_tarfile(archive: bytes) -> list[tuple[str, int, str]]:
    with tarfile.open(fileobj=io.BytesIO(archive)) as file:
        files = [(one, file.extractfile(one)) for one in file.getmembers()]
        return [(one.name, one.size, sha256(data.read()).hexdigest()) for one, data in files if data]


def test_each_byte_of_a_header() -> None:
    """A blank inside a number was the end of the archive for tarfile once, and nothing to us."""
    accepted = 0
    for place in range(512):
        for value in VALUES if place not in CHECKSUM else b"":
            archive = changed(place, value)
            members = ours(archive)
            accepted += members is not None
            assert members is None or members == of_tarfile(archive), (place, value)
    assert 500 < accepted < 512 * len(VALUES) // 2


RIGHT = [case for case in load() if case.layer == "archive" and not case.fails]


@pytest.mark.parametrize("tool", ["tar", "bsdtar"])
@pytest.mark.parametrize("case", [pytest.param(case, id=case.name) for case in RIGHT])
def test_other_tools_unpack_the_same(case: Case, tool: str, tmp_path: Path) -> None:
    (tmp_path / "app.ova").write_bytes(build(case))
    try:
        listed = subprocess.run([tool, "-tf", "app.ova"], cwd=tmp_path, check=True, capture_output=True, text=True)
    except FileNotFoundError:
        pytest.skip(f"{tool} is not installed (libarchive-tools)")
    (tmp_path / "files").mkdir()
    subprocess.run([tool, "-xf", "app.ova", "-C", "files", "--no-same-owner"], cwd=tmp_path, check=True)
    members = read(io.BytesIO(build(case)), PROFILE).members  # type: ignore[arg-type]  # as above
    assert listed.stdout.splitlines() == [one.name for one in members]
    for one in members:
        assert sha256((tmp_path / "files" / one.name).read_bytes()).hexdigest() == one.sha256
