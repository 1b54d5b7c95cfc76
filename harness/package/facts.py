"""What is in a package, gathered as one value for `racs inspect`: as far as it can be read, and without a verdict."""

import dataclasses
import json
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Literal

from conformance.application import Application
from conformance.errors import SubjectError
from conformance.package import Package
from harness.package.inside import InsideFacts, gather_inside

if TYPE_CHECKING:
    from cryptography.x509 import Certificate

    from conformance.package.qcow2 import Header

SCHEMA = "racs-inspection/1"
_SIGNING = (".mf", ".cert")  # what the manifest does not list
_CURVES = {"secp256r1": "P-256", "secp384r1": "P-384"}
# The platform's topics (contract 5), as who reads an ACL would say them.
_TOPICS = {
    "racs/cell/+/load": "the load of every cell",
    "racs/cell/+/users": "the number of users in every cell",
    "racs/ue/+/cell": "the cell that each UE is in",
    "racs/ue/+/throughput-guidance": "throughput guidance for every UE",
    "racs/ue/+/location": "the location of every UE",
    "racs/area/+/users": "the users in every area",
    "racs/app/{id}/properties": "its own features, as AFM switches them",
    "app/{id}/features": "its own features, as they are on or off",
    "app/{id}/#": "everything below its own app/{id}/",
}


@dataclass(frozen=True, slots=True)
class MemberFacts:
    """A file of the archive; offset is that of its data in the OVA. manifest says whether its digest is the one listed;
    "apart" is the manifest itself and the certificate file."""

    name: str
    offset: int
    size: int
    sha256: str
    manifest: Literal["matches", "differs", "not listed", "apart"]


@dataclass(frozen=True, slots=True)
class CertificateFacts:
    """A delivered certificate. begin and end are ISO 8601; rd whether it marks itself as for development only."""

    subject: str
    issuer: str
    begin: str
    end: str
    days_left: int
    key: str
    rd: bool
    needed: bool


@dataclass(frozen=True, slots=True)
class RuleFacts:
    """An offload rule as written, and in words; "" for one that cannot be read."""

    name: str
    direction: str
    text: str
    words: str


@dataclass(frozen=True, slots=True)
class ImageFacts:
    """The image's place in the OVA and its qcow2 header's figures; version 0 where there is no header to read."""

    name: str
    size: int
    version: int = 0
    virtual_size: int = 0
    cluster_size: int = 0
    refcount_bits: int = 0
    snapshots: int = 0
    backing_file: bool = False
    encrypted: bool = False
    dirty: bool = False
    compression: str = ""


@dataclass(frozen=True, slots=True)
class Defect:
    """What a reader found wrong, under the requirement that owns it."""

    requirement: str
    where: str
    expected: str
    seen: str


@dataclass(frozen=True, slots=True)
class PackageFacts:
    """A package as it was found. stopped says whether the archive could not be walked to its end; absent are names that
    only the manifest has; signature and permissions are sentences, None where there is no ACL that can be read."""

    file: str
    size: int
    sha256: str
    stopped: bool
    members: tuple[MemberFacts, ...]
    absent: tuple[str, ...]
    signature: str
    certificates: tuple[CertificateFacts, ...]
    application: Application | None
    rules: tuple[RuleFacts, ...]
    permissions: tuple[str, ...] | None
    image: ImageFacts | None
    inside: InsideFacts
    defects: tuple[Defect, ...]

    def to_json(self) -> str:
        """The plain JSON form, its own schema named in it."""
        return json.dumps({"schema": SCHEMA} | dataclasses.asdict(self), indent=1) + "\n"


def gather(package: Package, at: datetime, looked: bool = True) -> PackageFacts:
    """All that can be told of a package without a root; at is the time for which the days left are counted, looked
    whether its image was to be looked into."""
    listed = {entry.name: entry.sha256 for entry in package.manifest.entries} if package.manifest else {}
    application = package.application
    return PackageFacts(
        file=package.path.name,
        size=package.size,
        sha256=package.sha256,
        stopped=bool(package.archive.stopped_by),
        members=tuple(
            MemberFacts(one.name, one.offset, one.size, one.sha256, _compare(one.name, one.sha256, listed))
            for one in package.archive.members
        ),
        absent=tuple(name for name in listed if name not in {member.name for member in package.archive.members}),
        signature=_describe_signature(package),
        certificates=_describe_certificates(package, at),
        application=application,
        rules=_describe_rules(application) if application else (),
        permissions=_describe_permissions(package),
        image=_describe_image(package),
        inside=gather_inside(package, looked),
        defects=tuple(
            Defect(f.requirement, f.finding.where, f.finding.expected, f.finding.seen) for f in package.faults
        ),
    )


def _compare(name: str, sha256: str, listed: dict[str, str]) -> Literal["matches", "differs", "not listed", "apart"]:
    if name in listed and sha256:  # without one it was not read: PKG-015 says why
        return "matches" if listed[name] == sha256 else "differs"
    return "apart" if name.endswith(_SIGNING) or name in listed else "not listed"


def _describe_signature(package: Package) -> str:
    from conformance.package.certificate import signed_by

    signature, manifest = package.signature, package.archive.sole(".mf")
    if manifest is None or manifest.content is None:
        return "there is no manifest to sign"
    if signature is None:
        return "none that can be read"
    if not package.certificates:
        return "there is no certificate that can be read to verify it by"
    if signed_by(package.certificates[0], signature.value, manifest.content):
        return f"verifies over {manifest.name} by the first certificate"
    return f"does NOT verify over {manifest.name} by the first certificate"


def _describe_certificates(package: Package, at: datetime) -> tuple[CertificateFacts, ...]:
    from conformance.package.certificate import Trust
    from conformance.package.chain import build

    if not package.certificates:
        return ()
    chain = build(package.certificates, Trust("rd", (), at)).certificates
    ordered = (*chain, *(certificate for certificate in package.certificates if certificate not in chain))
    return tuple(_describe_certificate(certificate, certificate in chain, at) for certificate in ordered)


def _describe_certificate(certificate: "Certificate", needed: bool, at: datetime) -> CertificateFacts:
    from cryptography.x509.oid import NameOID

    from conformance.package.certificate import RD_UNIT
    from conformance.package.chain_names import show

    units = certificate.subject.get_attributes_for_oid(NameOID.ORGANIZATIONAL_UNIT_NAME)
    begin, end = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    return CertificateFacts(
        subject=show(certificate.subject),
        issuer=show(certificate.issuer),
        begin=begin.isoformat(),
        end=end.isoformat(),
        days_left=(end - at).days,
        key=_describe_key(certificate),
        rd=RD_UNIT in [unit.value for unit in units],
        needed=needed,
    )


def _describe_key(certificate: "Certificate") -> str:
    from cryptography.hazmat.primitives.asymmetric import ec, rsa

    from conformance.package.certificate import public_key

    key = public_key(certificate)
    if isinstance(key, rsa.RSAPublicKey):
        return f"RSA, {key.key_size} bits"
    if isinstance(key, ec.EllipticCurvePublicKey):
        return _CURVES.get(key.curve.name, key.curve.name)
    return f"another kind ({certificate.public_key_algorithm_oid.dotted_string})"


def _describe_rules(application: Application) -> tuple[RuleFacts, ...]:
    return tuple(RuleFacts(one.name, one.direction, one.text, _words(one.text)) for one in application.rules)


def _words(text: str) -> str:
    from conformance.rules.language import parse
    from conformance.rules.words import describe

    try:
        return describe(parse(text))
    except SubjectError:
        return ""


def _describe_permissions(package: Package) -> tuple[str, ...] | None:
    if package.acl is None:
        return None
    identity = package.acl.application
    known = {topic.format(id=identity): words.format(id=identity) for topic, words in _TOPICS.items()}
    return tuple(
        f"may {one.access} {one.topic}" + (f": {known[one.topic]}" if one.topic in known else "")
        for one in package.acl.permissions
    )


def _describe_image(package: Package) -> ImageFacts | None:
    image, header = package.image, package.header
    if image is None:
        return None
    return ImageFacts(image.name, image.size) if header is None else _describe_header(image.name, image.size, header)


def _describe_header(name: str, size: int, header: "Header") -> ImageFacts:
    return ImageFacts(
        name=name,
        size=size,
        version=header.version,
        virtual_size=header.virtual_size,
        cluster_size=header.cluster_size,
        refcount_bits=1 << header.refcount_order if header.refcount_order <= 6 else 0,
        snapshots=header.snapshots,
        backing_file=bool(header.backing_offset),
        encrypted=bool(header.encryption),
        dirty=bool(header.incompatible & 1),  # "Header": incompatible_features, bit 0
        compression={0: "deflate", 1: "zstd"}.get(header.compression_type, "unknown"),
    )
