"""The certificate file (DSP0243 "Distribution": certificate file, and contract 1): the line
``SHA256(NAME.mf)= HEX`` with the signature over the manifest's bytes, then PEM certificates, the leaf first.

The grammar is read by lines of our own: the library's PEM loader takes garbage around and between blocks.
"""

import base64
import binascii
import re
import warnings
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.types import CertificatePublicKeyTypes as PublicKey
from cryptography.x509.oid import PublicKeyAlgorithmOID

from conformance.package.commands import PACK, SIGN
from conformance.package.fault import Fault
from conformance.package.manifest import describe_line, split_line
from conformance.profile import Profile
from conformance.verdict import Finding

RD_UNIT = "R&D, not for deployment"
"""The organisational unit of roots that `racs ca` makes: they are of the trust profile rd wherever they are put."""
_BEGIN = re.compile(rb"-----BEGIN ([A-Z0-9 ]+)-----")
_COLUMNS_MAX = 76  # RFC 7468 2 says 64 for writers, RFC 2045 and older writers 76
_PEM_ONLY = "sed -n '/-BEGIN CERT/,/-END CERT/p'"
_MEND_BLOCK = {
    b"PKCS7": "move the PKCS#7 block, which VirtualBox's signing tool writes, to a file block.pem, append the "
    f"certificates in it (openssl pkcs7 -print_certs -in block.pem | {_PEM_ONLY} >> NAME.cert), and {PACK}",
    b"CMS": "move the CMS block to a file block.pem, append the certificates in it (openssl cms -cmsout -noout "
    f"-inform PEM -in block.pem -certsout more.crt && cat more.crt >> NAME.cert), and {PACK}",
}
_MEND_COPY = (
    "have PEM certificates in signer.crt and nothing else, the leaf first (openssl x509 -in OLD.crt writes one so), "
    f"then {SIGN}"
)
_MEND_MANY = (
    "keep the leaf and what leads to the root in signer.crt (openssl x509 -noout -subject -issuer -in OLD.crt shows "
    f"who issued whom), then {SIGN}"
)
_MEND_LONG_KEY = (
    "have a shorter key certified (openssl genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:3072 -out signer.key), "
    f"then {SIGN}"
)
_MEND_KEY = (
    "delete it: a private key never leaves its owner. This one is burnt: make another (for development: ./racs ca), "
    f"then {SIGN}"
)


@dataclass(frozen=True)
class Trust:
    """Whom the user trusts: the named trust profile (rd, production or a name of the user's own), its roots, and the
    moment that counts as now (with its zone); as_of says that the user chose another moment than now."""

    profile: str
    roots: tuple[x509.Certificate, ...]
    at: datetime
    as_of: bool = False


@dataclass(frozen=True, slots=True)
class Signature:
    """The first line: the name of the signed manifest, and the signature's bytes."""

    manifest: str
    value: bytes


@dataclass(frozen=True, slots=True)
class Place:
    """A line, 1-based, and the byte of the file at which it begins."""

    line: int
    offset: int


@dataclass(frozen=True)
class CertificateFile:
    """signature is None where the first line is none. certificates are those that could be read, as they stand; places
    are where their blocks begin."""

    name: str
    signature: Signature | None
    certificates: tuple[x509.Certificate, ...]
    places: tuple[Place, ...]
    faults: tuple[Fault, ...]


def read(data: bytes, name: str, profile: Profile) -> CertificateFile:
    """The certificate file in data; defects become faults of PKG-006, an exceeded bound one of PKG-015."""
    return _Reader(data, name, profile).read()


def public_key(certificate: x509.Certificate) -> PublicKey | None:
    """The certificate's key; None where its kind or its form is not known."""
    try:
        return certificate.public_key()
    except (ValueError, UnsupportedAlgorithm):
        return None


def has_signature_form(certificate: x509.Certificate) -> bool:
    """Whether the format has a form for signatures of this key: PKCS#1 v1.5 for RSA, DER for ECDSA (contract 1)."""
    if certificate.public_key_algorithm_oid == PublicKeyAlgorithmOID.RSASSA_PSS:  # it allows PSS only (RFC 4055 1.2)
        return False
    return isinstance(public_key(certificate), rsa.RSAPublicKey | ec.EllipticCurvePublicKey)


def signed_by(certificate: x509.Certificate, signature: bytes, data: bytes) -> bool:
    """Whether the certificate's key made the signature over data with SHA-256."""
    key = public_key(certificate)
    try:
        if isinstance(key, rsa.RSAPublicKey):
            key.verify(signature, data, padding.PKCS1v15(), hashes.SHA256())
        elif isinstance(key, ec.EllipticCurvePublicKey):
            key.verify(signature, data, ec.ECDSA(hashes.SHA256()))
        else:
            return False
    except (InvalidSignature, UnsupportedAlgorithm, ValueError):
        return False
    return True


class _Reader:
    """One pass over the lines; position and line number are those of the line that comes next."""

    def __init__(self, data: bytes, name: str, profile: Profile) -> None:
        self._name = name
        self._lines = data.split(b"\n")
        self._number = 0
        self._offset = 0
        self._certificates_max = int(profile["package.certificates_max"])
        self._rsa_bits_max = int(profile["package.rsa_bits_max"])
        self._certificates: list[x509.Certificate] = []
        self._places: list[Place] = []
        self._faults: list[Fault] = []

    def read(self) -> CertificateFile:
        if self._lines[-1]:
            end = Place(len(self._lines), sum(map(len, self._lines)) + len(self._lines) - 1)
            self._fault(
                "a line feed at the end of the last line", "none", f"add it: echo >> NAME.cert; then {PACK}", place=end
            )
        else:
            self._lines.pop()
        signature = self._signature()
        while self._number < len(self._lines) and len(self._faults) < self._certificates_max:
            self._block()
        if not self._certificates and not self._faults:
            self._fault("a PEM certificate behind the signature", "the end of the file")
        return CertificateFile(
            self._name, signature, tuple(self._certificates), tuple(self._places), tuple(self._faults)
        )

    def _next(self) -> bytes:
        line = self._lines[self._number]
        self._number += 1
        self._offset += len(line) + 1
        return line

    def _last(self) -> Place:
        """The line that was read last."""
        before = self._lines[self._number - 1] if self._number else b""
        return Place(max(self._number, 1), self._offset - len(before) - 1 if self._number else 0)

    def _fault(
        self, expected: str, seen: str, remedy: str = SIGN, requirement: str = "PKG-006", place: Place | None = None
    ) -> None:
        """Note a defect; without a place at the line that was read last."""
        place = place or self._last()
        where = f"{self._name}, line {place.line} (byte {place.offset})"
        finding = Finding(expected, seen, where, remedy, (f"package:{self._name}@{place.offset}",))
        self._faults.append(Fault(requirement, finding))

    def _signature(self) -> Signature | None:
        if not self._lines:
            self._fault("SHA256(NAME.mf)= and the signature in hex", "an empty file")
            return None
        if _BEGIN.fullmatch(self._lines[0]):
            seen = "PEM from the first line on: the line of the signature is missing"
            self._fault("SHA256(NAME.mf)= and the signature in hex", seen)
            return None
        line = self._next()
        pair = split_line(line)
        if pair is None or len(pair.value) % 2:
            seen = "a signature with an odd number of digits" if pair else describe_line(line)
            self._fault("SHA256(NAME.mf)= and the signature in hex", seen)
            return None
        return Signature(pair.name, bytes.fromhex(pair.value))

    def _block(self) -> None:
        """One PEM block (RFC 7468 3, strict), or the lines up to the next one."""
        line = self._next()
        begin = _BEGIN.fullmatch(line)
        if begin is None:
            self._fault("PEM certificates and nothing between them", describe_line(line), _MEND_COPY)
            while self._number < len(self._lines) and not _BEGIN.fullmatch(self._lines[self._number]):
                self._next()
            return
        label, first, start, body = begin[1], self._number, self._last(), []
        while self._number < len(self._lines) and not self._lines[self._number].startswith(b"-----"):
            body.append(self._next())
        whole = self._number < len(self._lines) and self._next() == b"-----END " + label + b"-----"
        if label != b"CERTIFICATE":
            shown = f"a block {label.decode('ascii')!r} from line {first} on"
            remedy = self._mend_block(label)
            self._fault("CERTIFICATE blocks only", shown, remedy, place=start)
        elif not whole:
            seen = f"none for the block from line {first} on"
            self._fault("-----END CERTIFICATE----- behind the block", seen, _MEND_COPY)
        elif (der := _decode(body)) is None:
            seen = f"other lines in the block from line {first} on"
            self._fault("base64 in full lines, nothing else", seen, _MEND_COPY, place=start)
        else:
            self._certificate(der, start)

    @staticmethod
    def _mend_block(label: bytes) -> str:
        if label.endswith(b"PRIVATE KEY"):
            return _MEND_KEY
        other = _MEND_COPY if label.endswith(b" CERTIFICATE") else f"delete the block, and {PACK}"
        return _MEND_BLOCK.get(label, other)

    def _certificate(self, der: bytes, place: Place) -> None:
        if len(self._certificates) == self._certificates_max:
            limit = f"at most {self._certificates_max} certificates"
            self._fault(limit, "another one", _MEND_MANY, "PKG-015", place)
            self._number = len(self._lines)
            return
        try:
            with warnings.catch_warnings(action="ignore"):  # the library's remarks on odd but readable certificates
                certificate = x509.load_der_x509_certificate(der)
                # Each of these raises where its part is unreadable, so that nobody need ask again.
                _ = certificate.subject, certificate.issuer, certificate.not_valid_before_utc
                bits = getattr(public_key(certificate), "key_size", 0)
                with suppress(ValueError, x509.DuplicateExtension, x509.UnsupportedGeneralNameType):
                    _ = certificate.extensions  # what is wrong with them is PKG-007's
            if der[
                -len(certificate.signature) - 1
            ]:  # X.690 8.6: the library passes over it, and no signature covers it
                raise ValueError("unused bits in the signature")
        except (ValueError, TypeError, x509.InvalidVersion) as error:  # TypeError: a name of bits
            self._fault("an X.509 certificate (RFC 5280)", f"one that cannot be read: {error}", _MEND_COPY, place=place)
            return
        if bits > self._rsa_bits_max:
            limit = f"keys of at most {self._rsa_bits_max} bits"
            self._fault(limit, f"RSA of {bits} bits", _MEND_LONG_KEY, "PKG-015", place)
            return
        self._places.append(place)
        self._certificates.append(certificate)


def _decode(lines: list[bytes]) -> bytes | None:
    """A block's bytes; None unless the lines are the one base64 text of these bytes, in full lines."""
    width = len(lines[0]) if lines else 0
    full = all(len(line) == width for line in lines[:-1]) and bool(lines) and 0 < len(lines[-1]) <= width
    text = b"".join(lines)
    try:
        der = base64.b64decode(text, validate=True)
    except binascii.Error:
        return None
    return der if full and width <= _COLUMNS_MAX and base64.b64encode(der) == text else None
