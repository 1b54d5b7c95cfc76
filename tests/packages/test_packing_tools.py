"""Packages that other tools packed and signed: GNU tar, bsdtar, Python's tarfile, openssl."""

import os
import shutil
import subprocess
import tarfile
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from corpus import Case, build
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from judging import CATALOGUE, TRUST, failing
from package_parts import LEAF, MIDDLE, NOW, ROOT, Entry, PrivateKey, issue, pem, write_tar

from conformance.package import commands
from conformance.package.certificate import Trust


def run(*command: str, folder: Path) -> str:
    return subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True).stdout


def checked(folder: Path, trust: Trust = TRUST) -> set[str]:
    """The ids that fail app.ova in a folder."""
    return failing(folder, (folder / "app.ova").read_bytes(), trust)


def unpack(folder: Path) -> list[str]:
    """The members of a good package as files, and their names in order."""
    (folder / "whole.tar").write_bytes(build())
    return run("tar", "-xvf", "whole.tar", folder=folder).split()


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (["--format=ustar"], set()),
        (["--format=ustar", "--owner=someone:1234567", "--record-size=512"], set()),
        (["--format=gnu"], {"PKG-001"}),
        (["--format=v7"], {"PKG-001"}),
        (["--format=posix"], {"PKG-001"}),
    ],
)
def test_gnu_tar(options: Sequence[str], expected: set[str], tmp_path: Path) -> None:
    names = unpack(tmp_path)
    run("tar", *options, "-cf", "app.ova", *names, folder=tmp_path)
    assert checked(tmp_path) == expected


def test_gnu_tar_sparse(tmp_path: Path) -> None:
    names = unpack(tmp_path)
    run("truncate", "-s", "8M", "disk.qcow2", folder=tmp_path)
    run("tar", "--sparse", "-cf", "app.ova", *names, folder=tmp_path)
    assert checked(tmp_path) == {"PKG-001"}


@pytest.mark.skipif(shutil.which("bsdtar") is None, reason="bsdtar is not installed (libarchive-tools)")
@pytest.mark.parametrize(
    ("form", "expected"), [("ustar", set()), ("gnutar", {"PKG-001"}), ("pax", {"PKG-001"}), ("v7", {"PKG-001"})]
)
def test_bsdtar(form: str, expected: set[str], tmp_path: Path) -> None:
    names = unpack(tmp_path)
    run("bsdtar", f"--format={form}", "--uid=0", "--gid=0", "-cf", "app.ova", *names, folder=tmp_path)
    assert checked(tmp_path) == expected


_COMMIT = "git init -q && git add FILES && git -c user.name=x -c user.email=x@example.org commit --no-gpg-sign -qm x"
OTHER_PACKERS = {
    "busybox": ("busybox tar -cf app.ova FILES", {"PKG-001"}),  # GNU's magic
    "bsdcpio, ustar": ("printf '%s\\n' FILES | bsdcpio -o -H ustar >app.ova", set()),
    "bsdcpio, pax": ("printf '%s\\n' FILES | bsdcpio -o -H pax >app.ova", {"PKG-001"}),
    "bsdcpio, no tar": ("printf '%s\\n' FILES | bsdcpio -o -H newc >app.ova", {"PKG-001"}),
    "bsdtar, a zip": ("bsdtar --format=zip -cf app.ova FILES", {"PKG-001"}),
    "bsdtar, compressed": ("bsdtar --format=ustar -czf app.ova FILES", {"PKG-001"}),
    # a pax header with the commit, and members in the order of names
    "git": (f"{_COMMIT} && git archive -o app.ova --format=tar HEAD FILES", {"PKG-001", "PKG-002"}),
}


@pytest.mark.parametrize("name", OTHER_PACKERS)
def test_other_packers(name: str, tmp_path: Path) -> None:
    command, expected = OTHER_PACKERS[name]
    run("sh", "-ec", command.replace("FILES", " ".join(unpack(tmp_path))), folder=tmp_path)
    assert checked(tmp_path) == expected


@pytest.mark.parametrize(
    ("form", "expected"),
    [(tarfile.USTAR_FORMAT, set()), (tarfile.GNU_FORMAT, {"PKG-001"}), (tarfile.PAX_FORMAT, {"PKG-001"})],
)
def test_python_tarfile(form: int, expected: set[str], tmp_path: Path) -> None:
    names = unpack(tmp_path)
    os.utime(tmp_path / "app.ovf", (1700000000.25, 1700000000.25))  # what makes a pax record of its own accord
    with tarfile.open(tmp_path / "app.ova", "w", format=form) as archive:
        for name in names:
            archive.add(tmp_path / name, name)
    assert checked(tmp_path) == expected


def write_key(path: Path, key: PrivateKey) -> None:
    form = (serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    path.write_bytes(key.private_bytes(serialization.Encoding.PEM, *form))


@pytest.mark.parametrize("kind", ["P-256", "P-384", "RSA-3072"])
def test_the_remedies_commands_make_a_good_package(kind: str, tmp_path: Path) -> None:
    leaf = replace(LEAF, kind=kind)
    unpack(tmp_path)
    write_key(tmp_path / "signer.key", leaf.key)
    (tmp_path / "signer.crt").write_bytes(pem(issue(leaf, MIDDLE)) + pem(issue(MIDDLE, ROOT)))
    for text in (commands.LIST, commands.SIGN, commands.PACK):  # the first makes all of it anew
        command = text.partition("or: ")[2].removesuffix(commands.WITHOUT_ACL)
        run("sh", "-c", command.replace("NAME", "app").replace("IMAGE", "disk"), folder=tmp_path)
        assert checked(tmp_path) == set()
    assert commands.TAR.replace("NAME", "app").replace("IMAGE", "disk") in CATALOGUE["PKG-001"].remedy


def test_a_shell_script_alone_makes_a_good_package(tmp_path: Path) -> None:
    """Keys, chain, manifest, signature and archive by openssl and GNU tar; only the descriptor is ours."""
    unpack(tmp_path)
    for name in ("app.mf", "app.cert"):
        (tmp_path / name).unlink()
    made = tmp_path / "made"
    made.mkdir()
    files = (tmp_path / name for name in ("app.ovf", "disk.qcow2", "auth/acl.xml"))
    run("sh", str(Path(__file__).with_name("pack_by_hand.sh")), *map(str, files), folder=made)
    root = x509.load_pem_x509_certificate((made / "root.pem").read_bytes())
    assert checked(made, Trust("rd", (root,), datetime.now(UTC))) == set()
    assert checked(made, Trust("rd", (issue(ROOT),), datetime.now(UTC))) == {"PKG-007"}


def test_openssl_s_own_root_and_leaf(tmp_path: Path) -> None:
    subject = ("-nodes", "-subj", "/CN=dev", "-days", "3650", "-keyout")
    run("openssl", "req", "-x509", "-newkey", "rsa:2048", *subject, "root.key", "-out", "root.pem", folder=tmp_path)
    root = x509.load_pem_x509_certificate((tmp_path / "root.pem").read_bytes())
    names = unpack(tmp_path)
    run("openssl", "dgst", "-sha256", "-sign", "root.key", "-out", "signature", "app.mf", folder=tmp_path)
    line = f"SHA256(app.mf)= {(tmp_path / 'signature').read_bytes().hex()}\n".encode()
    (tmp_path / "app.cert").write_bytes(line + (tmp_path / "root.pem").read_bytes())
    entries = [Entry(name, (tmp_path / name).read_bytes()) for name in names]
    (tmp_path / "app.ova").write_bytes(write_tar(entries))
    # Its own root and leaf in one: what `openssl req -x509` leaves a developer with.
    assert checked(tmp_path, Trust("rd", (root,), root.not_valid_before_utc)) == set()
    assert checked(tmp_path, Trust("rd", (issue(ROOT),), root.not_valid_before_utc)) == {"PKG-007"}


def test_a_root_of_version_1(tmp_path: Path) -> None:
    """Without extensions: who gave it as a root vouches for it. As an issuer below a root it is none."""
    write_key(tmp_path / "root.key", ROOT.key)
    request = ("openssl", "req", "-new", "-key", "root.key", "-subj", "/CN=root", "-out", "root.csr")
    run(*request, folder=tmp_path)
    make = ("openssl", "x509", "-req", "-in", "root.csr", "-signkey", "root.key", "-days", "9999", "-out", "root.pem")
    run(*make, folder=tmp_path)
    root = x509.load_pem_x509_certificate((tmp_path / "root.pem").read_bytes())
    if root.version is not x509.Version.v1:
        pytest.skip("this OpenSSL makes version 3 of its own accord")
    at = max(NOW, root.not_valid_before_utc)
    assert failing(tmp_path, build(), Trust("rd", (root,), at)) == set()
    straight = ({"in": "", "form": "leaf", "issuer": "root"}, {"in": "", "chain": ["leaf"]})
    case = Case("with a root of version 1", steps=(*straight, {"in": "certificate", "append": pem(root).decode()}))
    assert failing(tmp_path, build(case), Trust("rd", (issue(MIDDLE, ROOT),), at)) == {"PKG-007"}
