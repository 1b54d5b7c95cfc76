"""The R&D certificate authority, and reading what users bring: roots, keys, chains. Writes files, so it is not pure."""

import os
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Literal, get_args

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from conformance.errors import UsageError
from conformance.package.build import Signer, SigningKey
from conformance.package.certificate import RD_UNIT

KeyKind = Literal["P-256", "RSA-3072"]
_ROOT_DAYS, _LEAF_DAYS = 3650, 1095
_FILE_BYTES_MAX = 1 << 20
_NAME_CHARACTERS_MAX = 64  # X.520: the upper bound of an organisation's and of a common name


@dataclass(frozen=True, slots=True)
class AuthorityFiles:
    """Where `make_ca` wrote what: a root to trust, a signing key, and its certificate with the chain behind it."""

    root: Path
    key: Path
    certificate: Path


@dataclass(frozen=True)
class _Authority:
    """An authority while it is made: its key never leaves this process."""

    key: SigningKey
    certificate: x509.Certificate


def make_ca(
    folder: Path, subject: str, at: datetime, kind: KeyKind = "P-256", intermediate: bool = False
) -> AuthorityFiles:
    """Make an R&D root and a signing key that it certifies: root.crt, signer.key (mode 0600) and signer.crt in folder.

    subject is the organisation's name, at the time from which they are valid: the root for ten years, the signer for
    three. With an intermediate authority the root certifies that, and it the signer; signer.crt holds its certificate
    behind the signer's. The authorities' own keys are thrown away, so that nobody can ever sign with them again; who
    needs another signer makes another authority. Nothing is overwritten: raises UsageError where one of the files is
    there or cannot be written.
    """
    if kind not in get_args(KeyKind):
        raise UsageError(f"no kind of key {kind!r}: choose one of {', '.join(get_args(KeyKind))}")
    if not subject.strip() or len(subject) > _NAME_CHARACTERS_MAX or not subject.isprintable():
        raise UsageError(
            f"a subject has 1 to 64 printable characters, this one {len(subject)}: give your organisation's name"
        )
    begin = at.replace(microsecond=0)
    root = issuer = _make_root(kind, subject, begin, 1 if intermediate else 0)
    if intermediate:
        issuer = _make_intermediate(kind, subject, root, begin)
    key = _make_key(kind)
    signer = _certify_signer(key, _name(subject, f"R&D signer of {subject}", "R&D signer"), issuer, begin)
    chain = [signer, *([issuer.certificate] if intermediate else [])]
    files = AuthorityFiles(folder / "root.crt", folder / "signer.key", folder / "signer.crt")
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    _write_new(
        (
            (files.key, private, 0o600),
            (files.certificate, b"".join(one.public_bytes(serialization.Encoding.PEM) for one in chain), 0o644),
            (files.root, root.certificate.public_bytes(serialization.Encoding.PEM), 0o644),
        )
    )
    return files


def _make_key(kind: KeyKind) -> SigningKey:
    return ec.generate_private_key(ec.SECP256R1()) if kind == "P-256" else rsa.generate_private_key(65537, 3072)


def _name(organisation: str, common: str, short: str) -> x509.Name:
    """short is the common name where the other is too long; the organisation stands beside it in any case."""
    return x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, organisation),
            x509.NameAttribute(NameOID.ORGANIZATIONAL_UNIT_NAME, RD_UNIT),
            x509.NameAttribute(NameOID.COMMON_NAME, common if len(common) <= _NAME_CHARACTERS_MAX else short),
        ]
    )


def _make_root(kind: KeyKind, subject: str, begin: datetime, path_length: int) -> _Authority:
    key = _make_key(kind)
    name = _name(subject, f"R&D root of {subject}, not for deployment", "R&D root, not for deployment")
    builder = _authority(key, name, name, begin, path_length)
    return _Authority(key, _certify(builder, key, key))


def _make_intermediate(kind: KeyKind, subject: str, root: _Authority, begin: datetime) -> _Authority:
    key = _make_key(kind)
    name = _name(subject, f"R&D intermediate of {subject}", "R&D intermediate")
    builder = _authority(key, name, root.certificate.subject, begin, 0)
    return _Authority(key, _certify(builder, key, root.key))


def _authority(
    key: SigningKey, name: x509.Name, issuer: x509.Name, begin: datetime, path_length: int
) -> x509.CertificateBuilder:
    """path_length is the number of authorities that may stand below it (RFC 5280 4.2.1.9)."""
    return (
        x509.CertificateBuilder(subject_name=name, issuer_name=issuer, public_key=key.public_key())
        .not_valid_before(begin)
        .not_valid_after(begin + timedelta(days=_ROOT_DAYS))
        .add_extension(x509.BasicConstraints(ca=True, path_length=path_length), critical=True)
        .add_extension(_usage(signs_certificates=True), critical=True)
    )


def _certify_signer(key: SigningKey, name: x509.Name, issuer: _Authority, begin: datetime) -> x509.Certificate:
    return _certify(
        x509.CertificateBuilder(subject_name=name, issuer_name=issuer.certificate.subject, public_key=key.public_key())
        .not_valid_before(begin)
        .not_valid_after(begin + timedelta(days=_LEAF_DAYS))
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(signs_certificates=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CODE_SIGNING]), critical=False),
        key,
        issuer.key,
    )


def _usage(signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates, content_commitment=False, key_encipherment=False,
        data_encipherment=False, key_agreement=False, key_cert_sign=signs_certificates, crl_sign=signs_certificates,
        encipher_only=False, decipher_only=False,
    )  # fmt: skip


def _certify(builder: x509.CertificateBuilder, key: SigningKey, issuer: SigningKey) -> x509.Certificate:
    """Add serial number and key identifiers, and sign."""
    return (
        builder.serial_number(x509.random_serial_number())
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer.public_key()), critical=False)
        .sign(issuer, hashes.SHA256())
    )


def _write_new(files: Iterable[tuple[Path, bytes, int]]) -> None:
    """Write all of them or none, in folders made for them; a file that is there already is never touched."""
    written: list[Path] = []
    made: list[Path] = []
    folder = Path()
    try:
        for path, content, mode in files:
            folder = path.parent
            made += [one for one in (folder, *folder.parents) if not one.exists()]
            folder.mkdir(parents=True, exist_ok=True)
            with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as file:
                written.append(path)
                file.write(content)
    except OSError as error:
        for path in written:
            path.unlink()
        for one in made:
            with suppress(OSError):  # not made yet, or something else is in it
                one.rmdir()
        if isinstance(error, FileExistsError) and error.filename:
            raise UsageError(f"{error.filename} is there already: give another folder, or move it away") from error
        raise UsageError(f"{error.filename or folder} cannot be written: {error.strerror}") from error


def trust_root(root: Path, folder: Path) -> Path:
    """Copy a root certificate into a trust profile's folder; its file is named by its digest, so twice is once.

    Raises UsageError where root is no certificate or folder cannot be written.
    """
    certificate = load_roots([root])[0]
    path = folder / f"{certificate.fingerprint(hashes.SHA256()).hex()[:16]}.crt"
    if not path.exists():
        _write_new([(path, certificate.public_bytes(serialization.Encoding.PEM), 0o644)])
    return path


def load_roots(paths: Sequence[Path]) -> tuple[x509.Certificate, ...]:
    """The certificates of all files, PEM, one or more in each. Raises UsageError that names file and fault."""
    return tuple(certificate for path in paths for certificate in _load_certificates(path))


def load_signer(key: Path, certificate: Path) -> Signer:
    """A private key (PEM, without a pass phrase) and its certificate with its chain after it (PEM).

    Raises UsageError that names the file and what is wrong; whether they fit each other is for `sign_manifest`.
    """
    data = _read(key)
    try:
        loaded = serialization.load_pem_private_key(data, None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        hint = "it is locked by a pass phrase" if isinstance(error, TypeError) else "it holds no private key in PEM"
        raise UsageError(f"{key}: {hint}; `openssl pkey -in {key}` writes one that can be read") from error
    if not isinstance(loaded, rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey):
        raise UsageError(f"{key}: manifests are signed by RSA, P-256 or P-384, not by this kind; `racs ca` makes a key")
    return Signer(loaded, _load_certificates(certificate))


def _load_certificates(path: Path) -> tuple[x509.Certificate, ...]:
    data = _read(path)
    try:
        return tuple(x509.load_pem_x509_certificates(data))
    except ValueError as error:
        hint = "it holds no certificate in PEM"
        if b"-----BEGIN CERTIFICATE" in data:
            hint = f"it holds a certificate that cannot be read ({error})"
        elif b"PRIVATE KEY-----" in data:
            hint = "it holds a private key, not a certificate"
        elif data[:1] == b"\x30":
            hint = f"it looks like DER; `openssl x509 -inform DER -in {path}` writes it as PEM"
        raise UsageError(f"{path}: {hint}") from error


def _read(path: Path) -> bytes:
    try:
        if not path.is_file():  # opening a FIFO waits
            path.stat()
            raise UsageError(f"{path} is no file: give the PEM file itself")
        with path.open("rb") as file:
            data = file.read(_FILE_BYTES_MAX + 1)
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}") from error
    if len(data) > _FILE_BYTES_MAX:
        raise UsageError(f"{path} is larger than 1 MiB: that is no file of keys or certificates")
    return data
