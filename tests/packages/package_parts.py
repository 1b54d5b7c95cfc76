"""What a package is made of, by hand: keys, certificates and archives. Nothing here is the product's own packer.

All but RSA and DSA keys is the same in each run, so that a byte of a package is the same byte tomorrow.
"""

from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from hashlib import sha256

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed25519, padding, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

NOW = datetime(2030, 6, 1, tzinfo=UTC)
BEGIN, END = datetime(2030, 1, 1, tzinfo=UTC), datetime(2031, 1, 1, tzinfo=UTC)
PrivateKey = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey | ed25519.Ed25519PrivateKey | dsa.DSAPrivateKey
_CURVES: dict[str, ec.EllipticCurve] = {
    "P-256": ec.SECP256R1(),
    "P-384": ec.SECP384R1(),
    "P-521": ec.SECP521R1(),
    "secp256k1": ec.SECP256K1(),
}


@cache
def make_key(kind: str, name: str = "") -> PrivateKey:
    """A key of a kind ("P-256", "RSA-2048"), the same for the same name."""
    seed = sha256(f"{kind} {name}".encode()).digest()
    if kind.startswith("RSA"):
        return rsa.generate_private_key(65537, int(kind[4:]))
    if kind == "Ed25519":
        return ed25519.Ed25519PrivateKey.from_private_bytes(seed)
    if kind == "DSA":
        return dsa.generate_private_key(1024)
    return ec.derive_private_key(int.from_bytes(seed) >> 1, _CURVES[kind])  # below every curve's order


@dataclass(frozen=True)
class Form:
    """What a certificate says. kind is its key's, modulus an RSA key that nobody has; usage and purposes None leave the
    extension out. digest "SHA-1" needs an issuer with an RSA key."""

    name: str
    kind: str = "P-256"
    modulus: int = 0
    ca: bool | None = None
    path_length: int | None = None
    usage: str | None = None
    purposes: tuple[x509.ObjectIdentifier, ...] | None = None
    begin: datetime = BEGIN
    end: datetime = END
    further: tuple[x509.ExtensionType, ...] = ()
    unit: str = ""
    digest: str = "SHA-256"

    @property
    def key(self) -> PrivateKey:
        return make_key(self.kind, self.name)


ROOT = Form("root", ca=True, usage="key_cert_sign")
MIDDLE = Form("middle", ca=True, path_length=0, usage="key_cert_sign")
LEAF = Form("leaf", usage="digital_signature", purposes=(ExtendedKeyUsageOID.CODE_SIGNING,))
_USAGES = (
    "digital_signature", "content_commitment", "key_encipherment", "data_encipherment", "key_agreement",
    "key_cert_sign", "crl_sign", "encipher_only", "decipher_only",
)  # fmt: skip


def _name(form: Form) -> x509.Name:
    units = [x509.NameAttribute(NameOID.ORGANIZATIONAL_UNIT_NAME, form.unit)] if form.unit else []
    return x509.Name([*units, x509.NameAttribute(NameOID.COMMON_NAME, form.name)])


@cache
def issue(form: Form, issuer: Form | None = None) -> x509.Certificate:
    """A certificate by its form, from issuer (its own where there is none)."""
    signer = (issuer or form).key
    key = rsa.RSAPublicNumbers(65537, form.modulus).public_key() if form.modulus else form.key.public_key()
    serial = sha256(f"{form} {issuer}".encode()).digest()[:8]
    builder = (
        x509.CertificateBuilder()
        .subject_name(_name(form))
        .issuer_name(_name(issuer or form))
        .public_key(key)
        .serial_number(int.from_bytes(serial) >> 1 | 1)
        .not_valid_before(form.begin)
        .not_valid_after(form.end)
    )
    if form.ca is not None:
        builder = builder.add_extension(x509.BasicConstraints(form.ca, form.path_length), critical=True)
    if form.usage is not None:
        usage = x509.KeyUsage(**{name: name == form.usage for name in _USAGES})
        builder = builder.add_extension(usage, critical=True)
    if form.purposes is not None:
        builder = builder.add_extension(x509.ExtendedKeyUsage(form.purposes), critical=False)
    for extension in form.further:
        builder = builder.add_extension(extension, critical=True)
    digest = None if isinstance(signer, ed25519.Ed25519PrivateKey) else hashes.SHA256()
    steady = True if isinstance(signer, ec.EllipticCurvePrivateKey) else None
    certificate = builder.sign(signer, digest, ecdsa_deterministic=steady)
    return with_sha1(certificate, signer) if form.digest == "SHA-1" else certificate


def with_sha1(certificate: x509.Certificate, key: PrivateKey) -> x509.Certificate:
    """The same certificate signed over SHA-1, which the library reads but no longer makes: the identifier is exchanged
    (sha256WithRSAEncryption for sha1WithRSAEncryption, both of one length) and the signature made again."""
    assert isinstance(key, rsa.RSAPrivateKey)
    strong, weak = bytes.fromhex("2a864886f70d01010b"), bytes.fromhex("2a864886f70d010105")
    body = certificate.tbs_certificate_bytes.replace(strong, weak)
    signature = key.sign(body, padding.PKCS1v15(), hashes.SHA1())
    whole = certificate.public_bytes(serialization.Encoding.DER)
    whole = whole.replace(certificate.tbs_certificate_bytes, body).replace(strong, weak)
    return x509.load_der_x509_certificate(whole[: -len(signature)] + signature)


def sign(key: PrivateKey, data: bytes) -> bytes:
    if isinstance(key, rsa.RSAPrivateKey):
        return key.sign(data, padding.PKCS1v15(), hashes.SHA256())
    if isinstance(key, ec.EllipticCurvePrivateKey):
        return key.sign(data, ec.ECDSA(hashes.SHA256(), deterministic_signing=True))
    return key.sign(data) if isinstance(key, ed25519.Ed25519PrivateKey) else key.sign(data, hashes.SHA256())


def pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)


@dataclass(frozen=True)
class Entry:
    """A member as the writer sees it. fields are (place, bytes) in its header block, whose checksum is right unless it
    is not sealed."""

    name: str
    data: bytes
    type: bytes = b"0"
    fields: tuple[tuple[int, bytes], ...] = ()
    sealed: bool = True

    def block(self) -> bytes:
        """The header block (POSIX.1 pax, "ustar Interchange Format")."""
        name = self.name.encode("latin-1")
        block = bytearray(512)
        block[0 : len(name)] = name
        block[100:136] = b"0000644\x000000000\x000000000\x00" + b"%011o\x00" % len(self.data)
        block[136:148] = b"00000000000\x00"
        block[156:157] = self.type
        block[257:265] = b"ustar\x0000"
        whole = bytes(block) if self.sealed else checked(bytes(block))
        for at, value in self.fields:
            whole = whole[:at] + value + whole[at + len(value) :]
        return checked(whole) if self.sealed else whole


def checked(block: bytes) -> bytes:
    """A header block with its checksum."""
    total = sum(block[:148]) + 8 * 32 + sum(block[156:])
    return block[:148] + b"%06o\x00 " % total + block[156:]


def write_tar(entries: list[Entry]) -> bytes:
    """The archive, ended by two zero blocks."""
    parts = [entry.block() + entry.data + bytes(-len(entry.data) % 512) for entry in entries]
    return b"".join(parts) + bytes(1024)
