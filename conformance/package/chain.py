"""The chain from the leaf to a root of the trust profile, and how strong it is (RFC 5280 6.1, narrowed by contract 1).

The library's own verifier answers yes or no for web servers and clients only; a developer has to be told which
certificate breaks which rule. Its signature check (names and bytes) is used, the rules are here, each by its clause.
"""

import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TypeVar

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, ExtensionOID, NameOID

from conformance.package.certificate import RD_UNIT, Trust, public_key
from conformance.profile import Profile
from conformance.verdict import Finding

_WEAK_HASHES = (hashes.MD5, hashes.SHA1)
_MEND = "sign with a certificate of the platform's owner for this trust profile, or make one for development: ./racs ca"
# Critical extensions that the rules below know, or that cannot forbid anything here (names and policies are not asked).
_KNOWN_CRITICAL = {
    ExtensionOID.BASIC_CONSTRAINTS,
    ExtensionOID.KEY_USAGE,
    ExtensionOID.EXTENDED_KEY_USAGE,
    ExtensionOID.SUBJECT_ALTERNATIVE_NAME,
    ExtensionOID.CERTIFICATE_POLICIES,
}
_CURVES = {"secp256r1": "P-256", "secp384r1": "P-384"}


@dataclass(frozen=True)
class Chain:
    """The best path found: leaf first; trusted when its last certificate is a root of the trust profile. ignored are
    delivered certificates that it does not need. findings are broken rules of PKG-007, none for a good chain."""

    certificates: tuple[x509.Certificate, ...]
    trusted: bool
    ignored: tuple[x509.Certificate, ...]
    findings: tuple[Finding, ...]


def build(certificates: Sequence[x509.Certificate], trust: Trust) -> Chain:
    """The chain of certificates[0]; of several, the one that breaks the fewest rules. Order of the rest is free."""
    leaf, pool = certificates[0], tuple(certificates[1:])
    paths = list(_paths((leaf,), pool, trust.roots))
    trusted = [path for path in paths if path[-1] in trust.roots]
    candidates = trusted or [max(paths, key=len)]
    path = min(candidates, key=lambda path: (len(_broken(path, trust)), len(path)))
    findings = _broken(path, trust)
    if not trusted:
        findings = (_untrusted(path[-1], pool, trust), *findings)
    ignored = tuple(certificate for certificate in pool if certificate not in path)
    return Chain(path, bool(trusted), ignored, findings)


def describe(certificate: x509.Certificate) -> str:
    """A certificate's subject for people: its common name, else all of it by RFC 4514; shortened."""
    try:
        names = certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
        text = str(names[0].value) if names else certificate.subject.rfc4514_string()
        plain = "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)  # it goes to terminals
        return textwrap.shorten(plain, 80, placeholder="…") or "a certificate without subject"
    except ValueError:
        return "a certificate with an unreadable subject"


def _paths(
    path: tuple[x509.Certificate, ...], pool: Sequence[x509.Certificate], roots: Sequence[x509.Certificate]
) -> Iterator[tuple[x509.Certificate, ...]]:
    """All paths upward, each key used once: a certificate has one signing key, so there are few, however hostile."""
    last = path[-1]
    if last in roots:
        yield path
        return
    for root in roots:
        if issued(last, root):
            yield (*path, root)
    used = [_identity(certificate) for certificate in path]
    yield path
    for issuer in pool:
        if _identity(issuer) not in used and issued(last, issuer):
            yield from _paths((*path, issuer), pool, roots)


def _identity(certificate: x509.Certificate) -> tuple[bytes, bytes]:
    """Name and key; a certificate whose key cannot be read is like no other."""
    key = public_key(certificate)
    if key is None:
        return certificate.subject.public_bytes(), certificate.fingerprint(hashes.SHA256())
    spki = key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    return certificate.subject.public_bytes(), spki


def issued(certificate: x509.Certificate, issuer: x509.Certificate) -> bool:
    """Whether issuer's name and key made the certificate (RFC 5280 6.1.3 (a)(1) and (4))."""
    if certificate.issuer != issuer.subject:
        return False
    try:
        if isinstance(certificate.signature_hash_algorithm, _WEAK_HASHES):
            _verify_weak(certificate, issuer)
        else:
            certificate.verify_directly_issued_by(issuer)
    except (ValueError, TypeError, InvalidSignature, UnsupportedAlgorithm):
        return False
    return True


def _verify_weak(certificate: x509.Certificate, issuer: x509.Certificate) -> None:
    """The library verifies no certificate over MD5 or SHA-1 any more; PKG-008, not 007, is who fails them."""
    key, algorithm = public_key(issuer), certificate.signature_hash_algorithm
    assert algorithm is not None  # the caller has looked
    if isinstance(key, rsa.RSAPublicKey):
        form = certificate.signature_algorithm_parameters
        form = form if isinstance(form, padding.PSS) else padding.PKCS1v15()
        key.verify(certificate.signature, certificate.tbs_certificate_bytes, form, algorithm)
    elif isinstance(key, ec.EllipticCurvePublicKey):
        key.verify(certificate.signature, certificate.tbs_certificate_bytes, ec.ECDSA(algorithm))
    else:
        raise TypeError("no key that signs with these")


def _untrusted(last: x509.Certificate, pool: Sequence[x509.Certificate], trust: Trust) -> Finding:
    """Why the path stops at last."""
    roots = ", ".join(describe(root) for root in trust.roots[:4]) or "none"
    expected = f"a chain to a root of the trust profile {trust.profile!r} ({roots})"
    if last.issuer == last.subject and issued(last, last):
        return Finding(expected, f"it ends in {describe(last)}, which signed itself", _where(last), _MEND)
    named = [other for other in (*pool, *trust.roots) if other.subject == last.issuer]
    issuer = last.issuer.rfc4514_string()[:80]
    if named:
        return Finding(expected, f"{issuer!r} is there, but its key did not sign this one", _where(last), _MEND)
    remedy = f"append the certificate of {issuer!r} to the .cert, or {_MEND}"
    return Finding(expected, f"the issuer {issuer!r} is neither there nor a root", _where(last), remedy)


def _where(certificate: x509.Certificate) -> str:
    return f"certificate of {describe(certificate)}"


def _broken(path: Sequence[x509.Certificate], trust: Trust) -> tuple[Finding, ...]:
    """The rules of RFC 5280 6.1 that the path breaks; the root counts as a certificate of it (PKG-007: "every")."""
    found: list[Finding] = list(_of_other_profile(path[-1], trust))
    for depth, certificate in enumerate(path):
        found += _out_of_time(certificate, trust)
        try:
            extensions = certificate.extensions
        except (ValueError, x509.DuplicateExtension, x509.UnsupportedGeneralNameType) as error:
            found.append(Finding("extensions as RFC 5280 4.2 writes them", str(error), _where(certificate), _MEND))
            continue
        for extension in extensions:  # RFC 5280 6.1.4 (o), 6.1.5 (f)
            if extension.critical and extension.oid not in _KNOWN_CRITICAL:
                seen = f"critical extension {extension.oid.dotted_string}"
                remedy = "this suite does not process it, so it must not pass over it: use a certificate without it"
                found.append(Finding("critical extensions that are processed", seen, _where(certificate), remedy))
        found += _unfit_issuer(path, depth, extensions) if depth else _unfit_leaf(certificate, extensions)
    return tuple(found)


def _of_other_profile(root: x509.Certificate, trust: Trust) -> Iterator[Finding]:
    """Contract 1: a root of another trust profile, which a root for R&D stays wherever it is put."""
    units = root.subject.get_attributes_for_oid(NameOID.ORGANIZATIONAL_UNIT_NAME)
    if trust.profile != "rd" and root in trust.roots and RD_UNIT in [unit.value for unit in units]:
        remedy = f"sign with a certificate of the platform's owner; take this root out of the {trust.profile} roots"
        seen = f"{describe(root)}, which names itself {RD_UNIT!r}"
        yield Finding(f"a root of the trust profile {trust.profile!r}", seen, _where(root), remedy)


def _out_of_time(certificate: x509.Certificate, trust: Trust) -> Iterator[Finding]:
    """RFC 5280 6.1.3 (a)(2), both ends included (4.1.2.5)."""
    begin, end = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    if not begin <= trust.at <= end:
        remedy = "sign the package again with a certificate that is valid: the format has no time stamp"
        expected = f"valid on {trust.at:%Y-%m-%d %H:%M} UTC"
        yield Finding(
            expected, f"valid from {begin:%Y-%m-%d %H:%M} to {end:%Y-%m-%d %H:%M}", _where(certificate), remedy
        )


def _unfit_leaf(leaf: x509.Certificate, extensions: x509.Extensions) -> Iterator[Finding]:
    usage = _value(extensions, x509.KeyUsage)
    if usage and not usage.digital_signature:  # RFC 5280 4.2.1.3
        yield Finding("key usage digitalSignature, or no key usage", "others only", _where(leaf), _MEND)
    purposes = _value(extensions, x509.ExtendedKeyUsage)
    fit = {ExtendedKeyUsageOID.CODE_SIGNING, ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE}
    if purposes and not fit & set(purposes):  # RFC 5280 4.2.1.12, contract 1
        expected = "extended key usage with code signing or any, or none at all"
        yield Finding(expected, ", ".join(oid.dotted_string for oid in purposes), _where(leaf), _MEND)


def _unfit_issuer(path: Sequence[x509.Certificate], depth: int, extensions: x509.Extensions) -> Iterator[Finding]:
    """The issuer at this depth of the path. A root of version 1 has no extensions: who gave it as a root vouches for it
    (RFC 5280 6.1.4 (k))."""
    issuer = path[depth]
    last = depth == len(path) - 1
    if not (last and issuer.version is x509.Version.v1):
        basic = _value(extensions, x509.BasicConstraints)
        if basic is None or not basic.ca:  # RFC 5280 6.1.4 (k)
            seen = "cA false" if basic else "no basic constraints"
            yield Finding("basic constraints with cA true", seen, _where(issuer), _MEND)
        elif basic.path_length is not None:  # RFC 5280 6.1.4 (l) and (m), 4.2.1.9: self-issued ones do not count
            below = sum(1 for other in path[1:depth] if other.subject != other.issuer)
            if below > basic.path_length:
                expected = f"at most {basic.path_length} certificate authorities below it (path length)"
                yield Finding(expected, str(below), _where(issuer), _MEND)
    usage = _value(extensions, x509.KeyUsage)
    if usage and not usage.key_cert_sign:  # RFC 5280 6.1.4 (n)
        yield Finding("key usage keyCertSign, or no key usage", "others only", _where(issuer), _MEND)


_Extension = TypeVar("_Extension", bound=x509.ExtensionType)


def _value(extensions: x509.Extensions, kind: type[_Extension]) -> _Extension | None:
    try:
        return extensions.get_extension_for_class(kind).value
    except x509.ExtensionNotFound:
        return None


def weaknesses(chain: Chain, profile: Profile) -> tuple[Finding, ...]:
    """Weak keys of all certificates of the chain and weak digests of their signatures, a root's own apart (PKG-008)."""
    found: list[Finding] = []
    for certificate in chain.certificates:
        found += _weak_key(certificate, profile)
        root = certificate is chain.certificates[-1] and (chain.trusted or certificate.issuer == certificate.subject)
        weak = "" if root else _weak_digest(certificate)
        if weak:
            remedy = "have the certificate issued again with SHA-256"
            found.append(Finding("a signature over SHA-2", weak, _where(certificate), remedy))
    return tuple(found)


def _weak_digest(certificate: x509.Certificate) -> str:
    """What is weak about the signature on the certificate; "" for nothing (Ed25519: its key is judged)."""
    try:
        algorithm = certificate.signature_hash_algorithm
    except UnsupportedAlgorithm:
        return f"an unknown algorithm ({certificate.signature_algorithm_oid.dotted_string})"
    return algorithm.name.upper() if isinstance(algorithm, _WEAK_HASHES) else ""


def _weak_key(certificate: x509.Certificate, profile: Profile) -> Iterator[Finding]:
    bits_min, curves = int(profile["package.rsa_bits_min"]), profile["package.curves"]
    key = public_key(certificate)
    if isinstance(key, rsa.RSAPublicKey):
        seen = "" if key.key_size >= bits_min else f"RSA of {key.key_size} bits"
    elif isinstance(key, ec.EllipticCurvePublicKey):
        seen = "" if _CURVES.get(key.curve.name) in curves else f"curve {key.curve.name}"
    else:
        seen = f"a key of another kind ({certificate.public_key_algorithm_oid.dotted_string})"
    if seen:
        remedy = (
            "make a new key and certificate: ./racs ca, or openssl genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:3072"
        )
        yield Finding(f"RSA of {bits_min} bits or more, {' or '.join(curves)}", seen, _where(certificate), remedy)


def expiring(chain: Chain, days: float, at: datetime) -> tuple[Finding, ...]:
    """The chain's certificates that end within so many days (PKG-009)."""
    remedy = "renew the certificate and sign the package again before it ends"
    return tuple(
        Finding(
            f"valid for {days:g} days more",
            f"until {certificate.not_valid_after_utc:%Y-%m-%d}",
            _where(certificate),
            remedy,
        )
        for certificate in chain.certificates
        if certificate.not_valid_after_utc < at + timedelta(days=days)
    )
