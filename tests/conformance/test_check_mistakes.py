"""What developers get wrong, made by the tools they use: one root cause is one finding, and the rest is not judged."""

import subprocess
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

import pytest
from corpus import build
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from judging import failing, judge
from package_parts import LEAF, MIDDLE, ROOT, issue, pem

from conformance.verdict import Verdict

NAMES = ("app.ovf", "app.mf", "app.cert", "disk.qcow2", "auth/acl.xml")
USTAR = ("--format=ustar", "--owner=0", "--group=0")
LISTED = ("app.ovf", "disk.qcow2", "auth/acl.xml")


def edited(name: str, edit: Callable[[bytes], bytes]) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        (folder / name).write_bytes(edit((folder / name).read_bytes()))

    return change


def listed(form: str) -> Callable[[Path], None]:
    """The manifest written anew, and not signed again."""

    def write(folder: Path) -> None:
        lines = (form.format(name, sha256((folder / name).read_bytes()).hexdigest()) for name in LISTED)
        (folder / "app.mf").write_text("".join(lines))

    return write


def changed_and_listed(folder: Path) -> None:
    edited("app.ovf", lambda data: data + b"\n")(folder)
    listed("SHA256({})= {}\n")(folder)


def linked(folder: Path) -> None:
    """The image where builders put it, a link in its place."""
    (folder / "disk.qcow2").rename(folder / "built.img")
    (folder / "disk.qcow2").symlink_to("built.img")


def noted(folder: Path) -> None:
    (folder / "notes").write_text("for the operator")


def renamed(folder: Path) -> None:
    (folder / "app.ovf").rename(folder / "probe.ovf")


def holes(name: str) -> Callable[[Path], None]:
    """The same bytes, with holes that the file system keeps as such."""

    def change(folder: Path) -> None:
        data, block = (folder / name).read_bytes(), 4096
        with (folder / name).open("wb") as file:
            for at in range(0, len(data), block):
                part = data[at : at + block]
                if any(part):
                    file.seek(at)
                    file.write(part)
            file.truncate(len(data))

    return change


@dataclass(frozen=True)
class Mistake:
    """How tar is called, over what, after a change of the files; findings by id, each with words of the first; mends
    says whether the first remedy's command mends it without more."""

    name: str
    findings: Mapping[str, int]
    said: str
    change: Callable[[Path], None] = lambda folder: None
    tar: Sequence[str] = USTAR
    names: Sequence[str] = NAMES
    mends: bool = True


MISTAKES = (
    Mistake("GNU tar as it comes", {"PKG-001": 1}, "the same of 4 more headers", tar=()),
    Mistake("pax", {"PKG-001": 1}, "a pax record; the same of", tar=("--format=pax",)),
    Mistake("pax, the image with holes", {"PKG-001": 1}, "a pax record; the same of", holes("disk.qcow2"),
            tar=("--format=pax", "--sparse")),
    Mistake("pax, by their dots", {"PKG-001": 2}, "a pax record; the same of", tar=("--format=pax",),
            names=[f"./{name}" for name in NAMES]),
    Mistake("a folder packed by its dot", {"PKG-001": 2}, "a folder; the same of 1 more header", names=(".",)),
    Mistake("the same by GNU tar", {"PKG-001": 3}, "a folder; the same of", tar=(), names=(".",)),
    Mistake("compressed", {"PKG-001": 1}, "gzip data", tar=(*USTAR, "-z"), mends=False),
    Mistake("by the alphabet", {"PKG-002": 1}, "app.cert, app.mf", names=sorted(NAMES)),
    Mistake("descriptor by another name", {"PKG-002": 1}, "probe.ovf, app.mf", renamed,
            names=("probe.ovf", *NAMES[1:]), mends=False),
    Mistake("no descriptor", {"PKG-003": 1}, "none", names=NAMES[1:], mends=False),
    Mistake("not signed", {"PKG-003": 2}, "none", names=("app.ovf", "disk.qcow2", "auth/acl.xml")),
    Mistake("CR LF in the manifest", {"PKG-004": 1, "PKG-006": 1}, "CR LF",
            edited("app.mf", lambda data: data.replace(b"\n", b"\r\n"))),
    Mistake("OpenSSL 3 lines", {"PKG-004": 1, "PKG-006": 1}, "so are 2 more",
            listed("SHA2-256({})= {}\n")),
    Mistake("listed by their paths", {"PKG-004": 1, "PKG-006": 1}, "./app.ovf; so are 2 more",
            listed("SHA256(./{})= {}\n")),
    Mistake("descriptor edited", {"PKG-005": 1}, "", edited("app.ovf", lambda data: data + b"\n")),
    Mistake("edited, listed, not signed", {"PKG-006": 1}, "did not make over these bytes", changed_and_listed),
    Mistake("certificates alone in the .cert", {"PKG-006": 1}, "the line of the signature is missing",
            edited("app.cert", lambda data: data.partition(b"\n")[2])),
    Mistake("text of openssl x509 in the .cert", {"PKG-006": 1}, "something else",
            edited("app.cert", lambda data: data.replace(b"-----BEGIN", b"Certificate:\n  Data:\n-----BEGIN", 1))),
    Mistake("an empty .cert", {"PKG-006": 1}, "an empty file", edited("app.cert", lambda data: b"")),
    Mistake("a symbolic link", {"PKG-001": 1}, "a symbolic link", linked),
    Mistake("a file too many", {"PKG-003": 1}, "notes", noted, names=(*NAMES, "notes")),
    Mistake("no image", {"PKG-010": 1}, "no such member", names=[name for name in NAMES if name != "disk.qcow2"]),
)  # fmt: skip


def made(mistake: Mistake, folder: Path) -> bytes:
    """The package that tar makes of the files in a new folder."""
    folder.mkdir()
    ova = folder.with_suffix(".ova")
    ova.write_bytes(build())
    subprocess.run(["tar", "-xf", ova], cwd=folder, check=True)
    mistake.change(folder)
    subprocess.run(["tar", *mistake.tar, "-cf", ova, *mistake.names], cwd=folder, check=True)
    return ova.read_bytes()


@pytest.mark.parametrize("mistake", [pytest.param(mistake, id=mistake.name) for mistake in MISTAKES if mistake.mends])
def test_the_command_of_its_remedy_mends_it(mistake: Mistake, tmp_path: Path) -> None:
    """As it stands there, in a shell, with the signer's key at hand."""
    folder = tmp_path / "parts"
    outcomes = judge(tmp_path, made(mistake, folder)).outcomes
    private = (PrivateFormat.PKCS8, NoEncryption())
    (folder / "signer.key").write_bytes(LEAF.key.private_bytes(Encoding.PEM, *private))
    (folder / "signer.crt").write_bytes(pem(issue(LEAF, MIDDLE)) + pem(issue(MIDDLE, ROOT)))
    first = min(one for one, outcome in outcomes.items() if outcome.verdict is Verdict.FAIL)
    command = outcomes[first].findings[0].remedy.rpartition("or: ")[2]
    subprocess.run(["sh", "-ec", command], cwd=folder, check=True)
    assert failing(tmp_path, (folder / "app.ova").read_bytes()) == set(), command


@pytest.mark.parametrize("mistake", [pytest.param(mistake, id=mistake.name) for mistake in MISTAKES])
def test_a_mistake_is_told_once(mistake: Mistake, tmp_path: Path) -> None:
    outcomes = judge(tmp_path, made(mistake, tmp_path / "parts")).outcomes
    failed = {one: outcome for one, outcome in outcomes.items() if outcome.verdict is Verdict.FAIL}
    assert {one: len(outcome.findings) for one, outcome in failed.items()} == mistake.findings
    assert mistake.said in failed[min(failed)].findings[0].seen
    for one, outcome in outcomes.items():
        if outcome.verdict is Verdict.NOT_JUDGED:
            assert any(owner in outcome.reason for owner in failed), f"{one}: {outcome.reason}"
