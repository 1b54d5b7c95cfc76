"""Packages made by hand, with a place to put a fault at every step. Nothing here is the product's own packer."""

import struct
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cache
from hashlib import sha256
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed25519, padding, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

NOW = datetime(2030, 6, 1, tzinfo=UTC)
BEGIN, END = datetime(2030, 1, 1, tzinfo=UTC), datetime(2031, 1, 1, tzinfo=UTC)
VECTORS = Path(__file__).parent / "vectors" / "package"
PrivateKey = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey | ed25519.Ed25519PrivateKey | dsa.DSAPrivateKey


@cache
def make_key(kind: str, name: str = "") -> PrivateKey:
    """A key of a kind ("P-256", "RSA-2048"), the same for the same name."""
    if kind.startswith("RSA"):
        return rsa.generate_private_key(65537, int(kind[4:]))
    if kind == "Ed25519":
        return ed25519.Ed25519PrivateKey.generate()
    if kind == "DSA":
        return dsa.generate_private_key(2048)
    curves: dict[str, ec.EllipticCurve] = {
        "P-256": ec.SECP256R1(),
        "P-384": ec.SECP384R1(),
        "P-521": ec.SECP521R1(),
        "secp256k1": ec.SECP256K1(),
    }
    return ec.generate_private_key(curves[kind])


@dataclass(frozen=True)
class Form:
    """What a certificate says. kind is its key's, modulus an RSA key that nobody has; usage and purposes None leave the
    extension out."""

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
    builder = (
        x509.CertificateBuilder()
        .subject_name(_name(form))
        .issuer_name(_name(issuer or form))
        .public_key(key)
        .serial_number(x509.random_serial_number())
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
    return builder.sign(signer, digest)


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
        return key.sign(data, ec.ECDSA(hashes.SHA256()))
    return key.sign(data) if isinstance(key, ed25519.Ed25519PrivateKey) else key.sign(data, hashes.SHA256())


def pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)


@dataclass(frozen=True)
class Entry:
    """A member as the writer sees it; header, once set, is used as it stands."""

    name: str
    data: bytes
    type: bytes = b"0"
    magic: bytes = b"ustar\x0000"
    fields: tuple[tuple[int, bytes], ...] = ()
    declared: int | None = None

    def block(self) -> bytes:
        """The header block, checksum right."""
        block = bytearray(512)
        prefix, _, name = self.name.rpartition("/") if len(self.name) > 100 else ("", "", self.name)
        block[0 : len(name)] = name.encode("latin-1")
        block[345 : 345 + len(prefix)] = prefix.encode("latin-1")
        size = len(self.data) if self.declared is None else self.declared
        block[100:136] = b"0000644\x000000000\x000000000\x00" + b"%011o\x00" % size
        block[136:148] = b"00000000000\x00"
        block[156:157] = self.type
        block[257:265] = self.magic
        for at, value in self.fields:
            block[at : at + len(value)] = value
        return checked(bytes(block))


def checked(block: bytes) -> bytes:
    """A header block with its checksum."""
    total = sum(block[:148]) + 8 * 32 + sum(block[156:])
    return block[:148] + b"%06o\x00 " % total + block[156:]


def write_tar(entries: list[Entry]) -> bytes:
    """The archive, ended by two zero blocks."""
    parts = [entry.block() + entry.data + bytes(-len(entry.data) % 512) for entry in entries]
    return b"".join(parts) + bytes(1024)


BOOT = bytes(510) + b"\x55\xaa"


def make_qcow2(
    first: bytes = BOOT, virtual_size: int = 1 << 20, bits: int = 12, version: int = 3, extensions: bytes = b""
) -> bytes:
    """A qcow2 image: header, refcount table and block, L1, L2 and one data cluster, one cluster each."""
    cluster = 1 << bits
    header = struct.pack(
        ">4sIQIIQIIQQIIQ",
        b"QFI\xfb", version, 0, 0, bits, virtual_size, 0,
        -(-virtual_size // (cluster // 8 * cluster)), 3 * cluster, cluster, 1, 0, 0,
    )  # fmt: skip
    if version == 3:
        header += struct.pack(">QQQII", 0, 0, 0, 4, 112) + bytes(8)
    header += extensions + bytes(8)
    copied = 1 << 63
    clusters = [
        header,
        struct.pack(">Q", 2 * cluster),
        struct.pack(">6H", *[1] * 6),
        struct.pack(">Q", 4 * cluster | copied),
        struct.pack(">Q", 5 * cluster | copied),
        first,
    ]
    return b"".join(data.ljust(cluster, b"\0") for data in clusters)


ACL = b"""<?xml version="1.0" encoding="UTF-8"?>
<acl xmlns="urn:racs:acl:1" application="probe">
  <allow access="subscribe" topic="racs/cell/+/load"/>
  <allow access="publish" topic="app/probe/state"/>
</acl>
"""


def keep(data: bytes) -> bytes:
    return data


def keep_entries(entries: list[Entry]) -> list[Entry]:
    return entries


@dataclass(frozen=True)
class Kit:
    """All that a package is made of. Each step's edit is applied to what was made, and the next step goes on from it:
    the signature is that of the edited manifest, the archive holds the edited certificate."""

    base: str = "app"
    image_name: str = "disk.qcow2"
    image: bytes = field(default_factory=make_qcow2)
    acl: bytes | None = ACL
    acl_name: str = "auth/acl.xml"
    further: tuple[tuple[str, bytes], ...] = ()
    signer: Form = LEAF
    chain: tuple[x509.Certificate, ...] | None = None
    edit_descriptor: Callable[[str], str] = lambda text: text
    edit_files: Callable[[dict[str, bytes]], dict[str, bytes]] = lambda files: files
    edit_manifest: Callable[[bytes], bytes] = keep
    edit_certificate: Callable[[bytes], bytes] = keep
    edit_entries: Callable[[list[Entry]], list[Entry]] = keep_entries
    edit_archive: Callable[[bytes], bytes] = keep

    def descriptor(self) -> bytes:
        text = (VECTORS / "app.ovf").read_text(encoding="utf-8")
        (virtual,) = struct.unpack(">Q", self.image[24:32])
        file = f'<File ovf:id="acl" ovf:href="{self.acl_name}"/>' if self.acl is not None else ""
        text = text.replace("@IMAGE@", self.image_name).replace("@SIZE@", str(len(self.image)))
        return self.edit_descriptor(text.replace("@CAPACITY@", str(virtual)).replace("@ACL@", file)).encode()

    def build(self) -> bytes:
        files = {f"{self.base}.ovf": self.descriptor(), self.image_name: self.image}
        if self.acl is not None:
            files[self.acl_name] = self.acl
        files = self.edit_files(files | dict(self.further))
        lines = [f"SHA256({name})= {sha256(data).hexdigest()}\n" for name, data in files.items()]
        manifest = self.edit_manifest("".join(lines).encode())
        chain = (issue(self.signer, MIDDLE), issue(MIDDLE, ROOT)) if self.chain is None else self.chain
        line = f"SHA256({self.base}.mf)= {sign(self.signer.key, manifest).hex()}\n".encode()
        certificate = self.edit_certificate(line + b"".join(pem(one) for one in chain))
        entries = [Entry(name, data) for name, data in files.items()]
        entries[1:1] = [Entry(f"{self.base}.mf", manifest), Entry(f"{self.base}.cert", certificate)]
        return self.edit_archive(write_tar(self.edit_entries(entries)))
