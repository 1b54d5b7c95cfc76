"""The R&D authority, and what users bring as roots, keys and chains."""

import os
import resource
import stat
import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import dsa, ec, rsa

from conformance.errors import SubjectError, UsageError
from harness.packaging.ca import KeyKind, load_roots, load_signer, make_ca

NOW = datetime(2030, 6, 1, 12, tzinfo=UTC)


@pytest.mark.parametrize(("kind", "key_type"), [("P-256", ec.EllipticCurvePrivateKey), ("RSA-3072", rsa.RSAPrivateKey)])
def test_root_and_signer(tmp_path: Path, kind: KeyKind, key_type: type) -> None:
    files = make_ca(tmp_path / "deep" / "ca", "Example Apps", NOW, kind)
    assert {path.name for path in (tmp_path / "deep" / "ca").iterdir()} == {"root.crt", "signer.key", "signer.crt"}
    assert stat.S_IMODE(files.key.stat().st_mode) == 0o600
    (root,) = load_roots([files.root])
    signer = load_signer(files.key, files.certificate)
    assert isinstance(signer.key, key_type)
    (leaf,) = signer.chain
    assert leaf.public_key() == signer.key.public_key()
    leaf.verify_directly_issued_by(root)
    root.verify_directly_issued_by(root)
    assert "R&D" in root.subject.rfc4514_string()
    constraints = root.extensions.get_extension_for_class(x509.BasicConstraints)
    assert (constraints.critical, constraints.value.ca, constraints.value.path_length) == (True, True, 0)
    assert root.extensions.get_extension_for_class(x509.KeyUsage).value.key_cert_sign
    assert not leaf.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    usage = leaf.extensions.get_extension_for_class(x509.KeyUsage)
    assert (usage.critical, usage.value.digital_signature, usage.value.key_cert_sign) == (True, True, False)
    assert root.not_valid_before_utc == leaf.not_valid_before_utc == NOW
    assert leaf.not_valid_after_utc - NOW > timedelta(days=365)
    assert root.not_valid_after_utc > leaf.not_valid_after_utc


@pytest.mark.parametrize("kind", ["P-256", "RSA-3072"])
def test_an_intermediate_stands_between(kind: KeyKind, tmp_path: Path) -> None:
    files = make_ca(tmp_path, "Example Apps", NOW, kind, intermediate=True)
    assert {path.name for path in tmp_path.iterdir()} == {"root.crt", "signer.key", "signer.crt"}
    assert tmp_path.joinpath("signer.crt").read_bytes().count(b"BEGIN CERTIFICATE") == 2
    assert stat.S_IMODE(files.key.stat().st_mode) == 0o600
    (root,) = load_roots([files.root])
    signer = load_signer(files.key, files.certificate)
    leaf, between = signer.chain
    assert leaf.public_key() == signer.key.public_key()
    leaf.verify_directly_issued_by(between)
    between.verify_directly_issued_by(root)
    lengths = [
        one.extensions.get_extension_for_class(x509.BasicConstraints).value.path_length for one in (between, root)
    ]
    assert lengths == [0, 1]
    assert all("R&D" in one.subject.rfc4514_string() for one in (root, between, leaf))
    assert leaf.public_key() != between.public_key() != root.public_key()


@pytest.mark.parametrize("intermediate", [False, True])
def test_openssl_accepts_the_chain(intermediate: bool, tmp_path: Path) -> None:
    files = make_ca(tmp_path, "Example Apps", NOW, intermediate=intermediate)
    moment = str(int((NOW + timedelta(days=1)).timestamp()))
    command = [
        "openssl",
        "verify",
        "-x509_strict",
        "-attime",
        moment,
        "-CAfile",
        str(files.root),
        "-untrusted",
        str(files.certificate),
        str(files.certificate),
    ]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_nothing_is_overwritten_and_nothing_half_written(tmp_path: Path) -> None:
    (tmp_path / "root.crt").write_text("mine")  # the last of the three to be written
    with pytest.raises(UsageError, match="there already"):
        make_ca(tmp_path, "Example Apps", NOW)
    assert [path.name for path in tmp_path.iterdir()] == ["root.crt"]
    assert (tmp_path / "root.crt").read_text() == "mine"


def test_a_folder_that_is_none(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="cannot be written"):
        make_ca(tmp_path / "file" / "ca", "Example Apps", NOW)


@pytest.mark.parametrize(
    ("subject", "kind"), [("", "P-256"), ("x" * 65, "P-256"), ("a\x1b[1mb", "P-256"), ("Example", "DSA")]
)
def test_a_request_that_makes_no_sense(tmp_path: Path, subject: str, kind: KeyKind) -> None:
    with pytest.raises(UsageError):
        make_ca(tmp_path, subject, NOW, kind)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("subject", "root", "signer"),
    [
        ("Example", "R&D root of Example, not for deployment", "R&D signer of Example"),
        ("x" * 40, "R&D root, not for deployment", f"R&D signer of {'x' * 40}"),
        ("x" * 64, "R&D root, not for deployment", "R&D signer"),
    ],
)
def test_common_names_are_never_cut(tmp_path: Path, subject: str, root: str, signer: str) -> None:
    files = make_ca(tmp_path, subject, NOW)
    made = [x509.load_pem_x509_certificate(path.read_bytes()) for path in (files.root, files.certificate)]
    names = [one.subject.get_attributes_for_oid(x509.NameOID.COMMON_NAME)[0].value for one in made]
    assert names == [root, signer]


@pytest.mark.parametrize("there", [False, True])
def test_a_full_disk_names_the_folder_and_leaves_nothing(tmp_path: Path, there: bool) -> None:
    folder = tmp_path / "deep" / "ca"
    if there:
        folder.mkdir(parents=True)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, before[1]))  # EFBIG, raised where ENOSPC would be
    try:
        with pytest.raises(UsageError, match="cannot be written") as caught:
            make_ca(folder, "Example Apps", NOW)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert str(folder) in str(caught.value)
    assert sorted(tmp_path.rglob("*")) == ([tmp_path / "deep", folder] if there else [])


def test_the_root_is_trusted_with_the_rest_or_nothing_is_written(tmp_path: Path) -> None:
    trust = tmp_path / "config" / "racs" / "trust" / "rd"
    files = make_ca(tmp_path / "ca", "Example Apps", NOW, trust=trust)
    assert files.trusted is not None and list(trust.iterdir()) == [files.trusted]
    assert load_roots([files.trusted]) == load_roots([files.root])
    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match="cannot be written"):
        make_ca(tmp_path / "other", "Example Apps", NOW, trust=tmp_path / "file" / "rd")
    assert {path.name for path in tmp_path.iterdir()} == {"config", "ca", "file"}


def test_a_file_with_several_roots(tmp_path: Path) -> None:
    one, two = (make_ca(tmp_path / name, name, NOW).root for name in ("one", "two"))
    both = tmp_path / "both.pem"
    both.write_bytes(one.read_bytes() + b"some words between\n" + two.read_bytes())
    assert load_roots([both]) == load_roots([one, two])


def files_that_are_no_roots(folder: Path) -> list[tuple[Path, str]]:
    made = make_ca(folder / "ca", "Example Apps", NOW)
    der = x509.load_pem_x509_certificate(made.root.read_bytes()).public_bytes(serialization.Encoding.DER)
    contents = [
        (b"", "it is empty"),
        (b"\x00" * 4096, "no certificate"),
        (os.urandom(4096), "no certificate"),
        (made.key.read_bytes(), "private key"),
        (der, "openssl x509 -inform DER"),
        (b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", "cut or garbled"),
        (made.root.read_bytes()[:200], "certificate"),
        (b"x" * (2**20 + 1), "larger than 1 MiB"),
    ]
    rows = [(folder / "missing.crt", "cannot be read"), (folder, "no file")]
    for number, (content, hint) in enumerate(contents):
        path = folder / f"{number}.crt"
        path.write_bytes(content)
        rows.append((path, hint))
    fifo = folder / "fifo"
    os.mkfifo(fifo)
    return [*rows, (fifo, "no file")]


def test_roots_that_are_none(tmp_path: Path) -> None:
    for path, hint in files_that_are_no_roots(tmp_path):
        with pytest.raises(UsageError, match=hint) as caught:
            load_roots([path])
        assert str(path) in str(caught.value)


def test_keys_that_cannot_sign(tmp_path: Path) -> None:
    made = make_ca(tmp_path / "ca", "Example Apps", NOW)
    key = ec.generate_private_key(ec.SECP256R1())
    encodings = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8)
    plain = serialization.NoEncryption()
    rows = [
        (made.root.read_bytes(), "holds a certificate, not a private key"),
        (b"", "it is empty"),
        (b"key", "no private key in PEM"),
        (key.public_key().public_bytes(encodings[0], serialization.PublicFormat.SubjectPublicKeyInfo), "a public key"),
        (key.private_bytes(serialization.Encoding.DER, encodings[1], plain), "openssl pkey -in .* -out signer.key"),
        (key.private_bytes(encodings[0], serialization.PrivateFormat.OpenSSH, plain), "OpenSSH"),
        (key.private_bytes(*encodings, serialization.BestAvailableEncryption(b"secret")), "pass phrase; `openssl pkey"),
        (dsa.generate_private_key(2048).private_bytes(*encodings, plain), "not by this kind"),
        (ec.generate_private_key(ec.SECP521R1()).private_bytes(*encodings, plain), "not by this kind"),
    ]
    for content, hint in rows:
        path = tmp_path / "some.key"
        path.write_bytes(content)
        with pytest.raises(UsageError, match=hint):
            load_signer(path, made.certificate)


def test_certificates_that_are_none(tmp_path: Path) -> None:
    made = make_ca(tmp_path / "ca", "Example Apps", NOW)
    path = tmp_path / "some.crt"
    for content, hint in (
        (b"-----BEGIN CERTIFICATE REQUEST-----\nAAAA\n-----END CERTIFICATE REQUEST-----\n", "it holds a request"),
        (b"-----BEGIN PKCS7-----\nAAAA\n-----END PKCS7-----\n", "openssl pkcs7 -in .* -print_certs"),
    ):
        path.write_bytes(content)
        with pytest.raises(UsageError, match=hint):
            load_signer(made.key, path)


def test_a_key_that_is_not_the_first_certificates(tmp_path: Path) -> None:
    one, two = (make_ca(tmp_path / name, name, NOW, intermediate=True) for name in ("one", "two"))
    with pytest.raises(SubjectError) as caught:
        load_signer(one.key, two.certificate)
    assert str(one.key) in caught.value.expected and caught.value.where == str(two.certificate)
    assert "R&D signer of two" in caught.value.seen and "was issued for this key" in caught.value.remedy
    turned = tmp_path / "turned.crt"
    blocks = one.certificate.read_text().split("-----END CERTIFICATE-----\n")
    turned.write_text("".join(f"{block}-----END CERTIFICATE-----\n" for block in (blocks[1], blocks[0])))
    with pytest.raises(SubjectError) as caught:
        load_signer(one.key, turned)
    assert "put certificate 2 of the file first" in caught.value.remedy
