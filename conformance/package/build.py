"""The package builder: descriptor, image, ACL and a signer's key make an OVA, the same bytes for the same input.

It writes what contract 1 says, and refuses what would contradict itself; whether the app conforms is for the checks.
"""

import hashlib
import re
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa

from conformance.errors import SubjectError
from conformance.package import acl, descriptor
from conformance.package.descriptor import Descriptor
from conformance.package.disk import Disk, Reference
from conformance.package.qcow2 import View, parse
from conformance.profile import Profile

_CHUNK = 1 << 20
_BLOCK, _RECORD = 512, 10240  # POSIX pax, "ustar Interchange Format": a record is 20 blocks
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
CURVES = ("secp256r1", "secp384r1")  # whose keys sign manifests

SigningKey = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey


@dataclass(frozen=True, slots=True)
class Signer:
    """A key and the certificates that speak for it, the leaf first."""

    key: SigningKey
    chain: tuple[x509.Certificate, ...]


@dataclass(frozen=True, slots=True)
class BuildRequest:
    """What a package is made of. name is the base name of .ovf, .mf and .cert; descriptor the .ovf's bytes, in which
    ``{size}`` and ``{capacity}`` stand for the image's size and virtual size in bytes; image is open for reading and
    seeking; acl are the bytes of auth/acl.xml, None for an app off the bus."""

    name: str
    descriptor: bytes
    image: BinaryIO
    acl: bytes | None
    signer: Signer


@dataclass(frozen=True, slots=True)
class _Image:
    size: int
    sha256: str
    virtual_size: int


def build_ova(request: BuildRequest, profile: Profile, target: BinaryIO) -> None:
    """Write the OVA to target, from its position on; the image is read twice and never held in memory.

    Raises SubjectError where the parts do not fit each other: it names what would be right. What was written before an
    error is no package: write beside the target and rename.
    """
    if not _NAME.fullmatch(request.name):
        raise SubjectError(f"a name that matches {_NAME.pattern}", repr(request.name), remedy="rename the descriptor")
    image = _measure(request.image)
    text = request.descriptor.replace(b"{size}", b"%d" % image.size)
    text = text.replace(b"{capacity}", b"%d" % image.virtual_size)
    described = descriptor.read(text, profile)
    reference = _judge_image(described, image)
    _judge_files(described, reference, request.acl)
    digests = [(f"{request.name}.ovf", hashlib.sha256(text).hexdigest())]
    for file in described.references:
        granted = hashlib.sha256(request.acl or b"").hexdigest()
        digests.append((file.href, image.sha256 if file is reference else granted))
    manifest = "".join(f"SHA256({name})= {digest}\n" for name, digest in digests).encode()
    certificate = sign_manifest(manifest, request.name, request.signer)
    written = _write(target, f"{request.name}.ovf", text)
    written += _write(target, f"{request.name}.mf", manifest)
    written += _write(target, f"{request.name}.cert", certificate)
    for file in described.references:
        if file is reference:
            written += _copy(target, file.href, request.image, image)
        else:
            written += _write(target, file.href, request.acl or b"")
    target.write(bytes(_padding(written + 2 * _BLOCK, _RECORD) + 2 * _BLOCK))


def sign_manifest(manifest: bytes, name: str, signer: Signer) -> bytes:
    """The bytes of NAME.cert: the signature line, then the chain as PEM, the leaf first.

    RSA signs by PKCS#1 v1.5; P-256 and P-384 by deterministic ECDSA (RFC 6979) in DER. Raises SubjectError for another
    kind of key and for a key that is not the leaf's.
    """
    key = signer.key
    if not signer.chain or signer.chain[0].public_key() != key.public_key():
        remedy = "give the certificate that was issued for this key, and its issuers after it"
        raise SubjectError("a first certificate with the signer's public key", "another or none", remedy=remedy)
    if isinstance(key, rsa.RSAPrivateKey):
        signature = key.sign(manifest, padding.PKCS1v15(), hashes.SHA256())
    elif isinstance(key, ec.EllipticCurvePrivateKey) and key.curve.name in CURVES:
        signature = key.sign(manifest, ec.ECDSA(hashes.SHA256(), deterministic_signing=True))
    else:
        seen = key.curve.name if isinstance(key, ec.EllipticCurvePrivateKey) else type(key).__name__
        remedy = "make an RSA key of 2048 bits or more, or a P-256 or P-384 key; `racs ca` makes one"
        raise SubjectError("a key that signs manifests: RSA, P-256 or P-384", seen, remedy=remedy)
    pem = b"".join(one.public_bytes(serialization.Encoding.PEM) for one in signer.chain)
    return f"SHA256({name}.mf)= {signature.hex()}\n".encode() + pem


def _measure(image: BinaryIO) -> _Image:
    digest = hashlib.sha256()
    for chunk in _chunks(image):
        digest.update(chunk)
    size = image.tell()

    def read(at: int, count: int) -> bytes:
        image.seek(at)
        return image.read(count)

    return _Image(size, digest.hexdigest(), parse(View("the image", size, read)).virtual_size)


def _chunks(image: BinaryIO) -> Iterator[bytes]:
    image.seek(0)
    while chunk := image.read(_CHUNK):
        yield chunk


def _judge_image(described: Descriptor, image: _Image) -> Reference:
    """The File of the one disk, whose figures agree with the image."""
    disk, reference = _image_of(described)
    expected, seen, remedy = list[str](), list[str](), list[str]()
    if reference.size != image.size:
        expected.append(f'ovf:size="{image.size}" on the image\'s File')
        seen.append("none" if reference.size is None else str(reference.size))
        remedy.append('write ovf:size="{size}" and it is filled in')
    if disk.capacity_bytes != image.virtual_size:
        expected.append(f"a capacity of {image.virtual_size} bytes, the image's virtual size")
        seen.append("no number" if disk.capacity_bytes is None else f"{disk.capacity_bytes} bytes")
        remedy.append('write ovf:capacity="{capacity}" without capacityAllocationUnits and it is filled in')
    if expected:
        raise SubjectError("; ".join(expected), "; ".join(seen), "descriptor", "; ".join(remedy), "PKG-010")
    return reference


def _image_of(described: Descriptor) -> tuple[Disk, Reference]:
    for disk in described.disks if len(described.disks) == 1 else ():
        for reference in described.references:
            if reference.id == disk.file_ref:
                return disk, reference
    owners = ("DSC-001", "PKG-015", "DSC-002", "PKG-010")
    faults = sorted((f for f in described.faults if f.requirement in owners), key=lambda f: owners.index(f.requirement))
    if not faults:
        raise SubjectError("a descriptor with one disk", "none", "descriptor", "compare it with examples/goon/goon.ovf")
    fault, finding = faults[0], faults[0].finding
    raise SubjectError(finding.expected, finding.seen, finding.where, finding.remedy, fault.requirement)


def _judge_files(described: Descriptor, image: Reference, granted: bytes | None) -> None:
    """Files are the image and, for an app on the bus, auth/acl.xml; nothing is packed that is not declared."""
    for reference in described.references:
        if reference is image and _NAME.fullmatch(image.href) and len(image.href) <= 100:
            continue
        if reference.href != acl.PATH or granted is None:
            missing = reference.href == acl.PATH
            expected = f"the file {acl.PATH}" if missing else f"the image and {acl.PATH} in References only"
            remedy = f"write {acl.PATH}, or delete its File" if missing else "delete or rename the File"
            raise SubjectError(expected, "none" if missing else repr(reference.href), "descriptor", remedy, "PKG-003")
        if reference.size not in (None, len(granted)):
            remedy = "correct ovf:size or leave it out"
            raise SubjectError(f'ovf:size="{len(granted)}"', str(reference.size), acl.PATH, remedy, "PKG-003")
    if granted is not None and all(reference.href != acl.PATH for reference in described.references):
        remedy = f"add {described.file_element('acl', acl.PATH)} to References"
        raise SubjectError(f"{acl.PATH} in References", "no File for it", "descriptor", remedy, "PKG-003")


def _write(target: BinaryIO, name: str, content: bytes) -> int:
    """A member and its padding; how many bytes that took."""
    data = _header(name, len(content)) + content + bytes(_padding(len(content), _BLOCK))
    target.write(data)
    return len(data)


def _copy(target: BinaryIO, name: str, image: BinaryIO, measured: _Image) -> int:
    target.write(_header(name, measured.size))
    digest = hashlib.sha256()
    for chunk in _chunks(image):
        digest.update(chunk)
        target.write(chunk)
    if digest.hexdigest() != measured.sha256:
        raise SubjectError("an image that stays as it is", "other bytes at the second reading", name, "close the disk")
    target.write(bytes(_padding(measured.size, _BLOCK)))
    return _BLOCK + measured.size + _padding(measured.size, _BLOCK)


def _header(name: str, size: int) -> bytes:
    """A ustar header with nothing in it that differs between machines: root's, mode 0644, 1970."""
    member = tarfile.TarInfo(name)
    member.size = size
    try:
        return member.tobuf(tarfile.USTAR_FORMAT, "ascii", "strict")
    except ValueError as error:
        remedy = "make the image smaller: USTAR's size field ends at 8 GiB - 1"
        raise SubjectError("a file that fits into a USTAR member", f"{size} bytes", name, remedy, "RES-003") from error


def _padding(size: int, unit: int) -> int:
    return -size % unit
