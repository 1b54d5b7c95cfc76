"""The R&D certificate authority, and reading what users bring: roots, keys, chains. Writes files, so it is not pure."""

import os
import shlex
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

from conformance.errors import SubjectError, UsageError
from conformance.package.build import CURVES, Signer, SigningKey
from conformance.package.certificate import RD_UNIT
from conformance.package.chain_names import describe

KeyKind = Literal["P-256", "RSA-3072"]
_ROOT_DAYS, _LEAF_DAYS = 3650, 1095
_FILE_BYTES_MAX = 1 << 20
_NAME_CHARACTERS_MAX = 64  # X.520: the upper bound of an organisation's and of a common name


@dataclass(frozen=True, slots=True)
class AuthorityFiles:
    """Where `make_ca` wrote what: a root to trust, a signing key, and its certificate with the chain behind it; and the
    root once more, among those that are trusted."""

    root: Path
    key: Path
    certificate: Path
    trusted: Path | None = None


@dataclass(frozen=True)
class _Authority:
    """An authority while it is made: its key never leaves this process."""

    key: SigningKey
    certificate: x509.Certificate


def make_ca(
    folder: Path,
    subject: str,
    at: datetime,
    kind: KeyKind = "P-256",
    intermediate: bool = False,
    trust: Path | None = None,
) -> AuthorityFiles:
    """Make an R&D root and a signing key that it certifies: root.crt, signer.key (mode 0600) and signer.crt in folder.

    subject is the organisation's name, at the time from which they are valid: the root for ten years, the signer for
    three. With an intermediate authority the root certifies that, and it the signer; signer.crt holds its certificate
    behind the signer's. The authorities' own keys are thrown away, so that nobody can ever sign with them again; who
    needs another signer makes another authority. trust is the folder of a trust profile that gets the root too. All is
    written or nothing, and nothing overwritten: raises UsageError where a file is there or cannot be written.
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
    trusted = trust / f"{root.certificate.fingerprint(hashes.SHA256()).hex()[:16]}.crt" if trust else None
    files = AuthorityFiles(folder / "root.crt", folder / "signer.key", folder / "signer.crt", trusted)
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    certificates = b"".join(one.public_bytes(serialization.Encoding.PEM) for one in chain)
    top = root.certificate.public_bytes(serialization.Encoding.PEM)
    public = [(files.certificate, certificates), (files.root, top), *([(trusted, top)] if trusted else [])]
    _write_new([(files.key, private, 0o600), *((path, content, 0o644) for path, content in public)])
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
    except BaseException as error:  # Ctrl-C too
        for path in written:
            path.unlink()
        for one in made:
            with suppress(OSError):  # not made yet, or something else is in it
                one.rmdir()
        if not isinstance(error, OSError):
            raise
        if isinstance(error, FileExistsError) and error.filename:
            raise UsageError(f"{error.filename} is there already: give another folder, or move it away") from error
        place = f"{error.filename or folder} cannot be written: {error.strerror}"
        raise UsageError(f"{place}; {folder} has to be a folder that can be written") from error


def load_roots(paths: Sequence[Path]) -> tuple[x509.Certificate, ...]:
    """The certificates of all files, PEM, one or more in each. Raises UsageError that names file and fault."""
    return tuple(certificate for path in paths for certificate in _load_certificates(path))


def load_signer(key: Path, certificate: Path) -> Signer:
    """A private key (PEM, without a pass phrase) and its certificate with its chain after it (PEM).

    Raises UsageError that names the file and what is wrong with it, and SubjectError where the key is not that of the
    first certificate.
    """
    data = _read(key)
    try:
        loaded = serialization.load_pem_private_key(data, None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        locked = isinstance(error, TypeError)
        raise UsageError(f"{key}: {_no_key(data, locked).format(file=shlex.quote(str(key)))}") from error
    unfit = UsageError(f"{key}: manifests are signed by RSA, P-256 or P-384, not by this kind; `racs ca` makes a key")
    if not isinstance(loaded, rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey):
        raise unfit
    if isinstance(loaded, ec.EllipticCurvePrivateKey) and loaded.curve.name not in CURVES:
        raise unfit
    chain = _load_certificates(certificate)
    fitting = [number for number, one in enumerate(chain, 1) if _is_of(one, loaded)]
    if fitting[:1] != [1]:
        seen = f"that of another key, {describe(chain[0])}"
        remedy = "give the certificate that was issued for this key, and its issuers after it"
        if fitting:
            remedy = f"put certificate {fitting[0]} of the file first: it is the key's"
        raise SubjectError(f"first the certificate of the key {key}", seen, str(certificate), remedy)
    return Signer(loaded, chain)


def _no_key(data: bytes, locked: bool) -> str:
    """What a file without a private key holds; {file} stands for its name."""
    if locked:
        return "it is locked by a pass phrase; `openssl pkey -in {file} -out signer.key` writes it without"
    if b"-----BEGIN OPENSSH" in data:
        return "it holds a key of OpenSSH's; `racs ca` makes one of the right form"
    for mark, hint in ((b"PUBLIC KEY-----", "a public key"), (b"-----BEGIN CERTIFICATE", "a certificate")):
        if mark in data:
            return f"it holds {hint}, not a private key"
    if data[:1] == b"\x30":
        return "it looks like DER or PKCS#12; `openssl pkey -in {file} -out signer.key` writes it as PEM"
    return f"{'it holds no private key in PEM' if data else 'it is empty'}; `racs ca` makes a key"


def _is_of(certificate: x509.Certificate, key: SigningKey) -> bool:
    try:
        return certificate.public_key() == key.public_key()
    except (ValueError, UnsupportedAlgorithm):  # a key of a kind that nobody here knows
        return False


def _load_certificates(path: Path) -> tuple[x509.Certificate, ...]:
    data = _read(path)
    try:
        return tuple(x509.load_pem_x509_certificates(data))
    except ValueError as error:
        file = shlex.quote(str(path))
        hint = "it holds no certificate in PEM" if data else "it is empty"
        if b"-----BEGIN CERTIFICATE-----" in data:
            hint = "it holds a certificate that is cut or garbled; fetch it anew"
        elif b"-----BEGIN CERTIFICATE REQUEST" in data:
            hint = "it holds a request; give the certificate that was issued for it"
        elif b"-----BEGIN PKCS7" in data:
            hint = f"it holds PKCS#7; `openssl pkcs7 -in {file} -print_certs -out signer.crt` writes it as PEM"
        elif b"PRIVATE KEY-----" in data:
            hint = "it holds a private key, not a certificate"
        elif data[:1] == b"\x30":
            hint = f"it looks like DER; `openssl x509 -inform DER -in {file} -out signer.crt` writes it as PEM"
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
