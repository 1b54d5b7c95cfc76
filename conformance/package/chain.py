"""The chain from the leaf to a root of the trust profile, and how strong it is (RFC 5280 6.1, narrowed by contract 1).

The library's own verifier is for the web: it takes no constraints of directory names, no spelling of a name but one, no
root of version 1, and answers yes or no, where a developer has to be told which certificate breaks which rule
(measured: design 8, tests/conformance/test_check_chain.py). Its signature check is used, the rules: `chain_rules`.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa

from conformance.package.certificate import Trust, has_signature_form, public_key
from conformance.package.chain_names import describe, same, show
from conformance.package.chain_rules import MEND, Flaw, broken
from conformance.package.commands import BUILD, PACK
from conformance.profile import Profile

_WEAK_HASHES = (hashes.MD5, hashes.SHA1)
_CURVES = {"secp256r1": "P-256", "secp384r1": "P-384"}
_CURVES_BY_NAME = {"secp256r1": "06082a8648ce3d030107", "secp384r1": "06052b81040022"}  # RFC 5480 2.1.1.1, in DER


@dataclass(frozen=True)
class Chain:
    """The best path found: leaf first; trusted when its last certificate is a root of the trust profile. ignored are
    delivered certificates that it does not need. flaws are broken rules of PKG-007, none for a good chain. doubt is
    why it cannot be told whether the chain goes on, "" where it can; unread are the issuers whose keys are that."""

    certificates: tuple[x509.Certificate, ...]
    trusted: bool
    ignored: tuple[x509.Certificate, ...]
    flaws: tuple[Flaw, ...]
    doubt: str = ""
    unread: tuple[x509.Certificate, ...] = ()


def build(certificates: Sequence[x509.Certificate], trust: Trust) -> Chain:
    """The chain of certificates[0]; of several, the one that breaks the fewest rules. Order of the rest is free."""
    leaf, pool = certificates[0], tuple(certificates[1:])
    paths = list(_paths((leaf,), pool, trust.roots))
    trusted = [path for path in paths if path[-1] in trust.roots]
    candidates = trusted or [max(paths, key=len)]
    path = min(candidates, key=lambda path: (len(broken(path, trust)), len(path)))
    flaws = broken(path, trust)
    ignored = tuple(certificate for certificate in pool if certificate not in path)
    if trusted:
        return Chain(path, True, ignored, flaws)
    last = path[-1]
    named = (one for one in (*pool, *trust.roots) if one not in path and same(one.subject, last.issuer))
    unread = tuple(issuer for issuer in named if public_key(issuer) is None)
    if unknown := _unknown(last):
        doubt = f"the signature on the certificate of {describe(last)} is by {unknown} (PKG-008)"
    elif unread:
        doubt = f"the key of {describe(unread[0])}, which may have signed, cannot be read (PKG-008)"
    else:
        return Chain(path, False, ignored, (_untrusted(last, pool, trust), *flaws))
    return Chain(path, False, ignored, flaws, doubt, unread)


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
    if not same(certificate.issuer, issuer.subject):
        return False
    try:
        spelled_alike = certificate.issuer.public_bytes() == issuer.subject.public_bytes()
        if spelled_alike and not isinstance(certificate.signature_hash_algorithm, _WEAK_HASHES):
            certificate.verify_directly_issued_by(issuer)
        else:
            _verify(certificate, issuer)
    except (ValueError, TypeError, InvalidSignature, UnsupportedAlgorithm):
        return False
    return True


def _verify(certificate: x509.Certificate, issuer: x509.Certificate) -> None:
    """The signature alone, where the library will not: it wants names spelled alike, which RFC 5280 7.1 does not, and
    no MD5 or SHA-1, which PKG-008 fails, not 007."""
    key, algorithm = public_key(issuer), certificate.signature_hash_algorithm
    signature, signed = certificate.signature, certificate.tbs_certificate_bytes
    if isinstance(key, rsa.RSAPublicKey) and algorithm:
        form = certificate.signature_algorithm_parameters
        key.verify(signature, signed, form if isinstance(form, padding.PSS) else padding.PKCS1v15(), algorithm)
    elif isinstance(key, ec.EllipticCurvePublicKey) and algorithm:
        key.verify(signature, signed, ec.ECDSA(algorithm))
    else:
        raise TypeError("no key that signs with these")


def _untrusted(last: x509.Certificate, pool: Sequence[x509.Certificate], trust: Trust) -> Flaw:
    """Why the path stops at last."""
    roots = ", ".join(describe(root) for root in trust.roots[:4]) or "none"
    expected = f"a chain to a root of the trust profile {trust.profile!r} ({roots})"
    issuer = show(last.issuer)
    if same(last.issuer, last.subject) and issued(last, last):
        return Flaw(last, expected, f"it ends in {describe(last)}, which signed itself", MEND)
    if any(same(root.subject, last.issuer) for root in trust.roots):
        seen = f"another key than that of the root {issuer} signed it: a root of that name made anew, or a false one"
        return Flaw(last, expected, seen, MEND)
    if any(issued(last, other) for other in pool):
        return Flaw(last, expected, f"{issuer} and those below it signed one another, in a circle", MEND)
    if any(same(other.subject, last.issuer) for other in pool):
        return Flaw(last, expected, f"{issuer} is there, but its key did not sign this one", MEND)
    remedy = f"append the certificate of {issuer} (cat issuer.crt >> NAME.cert) and {PACK}; or {MEND}"
    return Flaw(last, expected, f"the issuer {issuer} is neither there nor a root", remedy)


def _unknown(certificate: x509.Certificate) -> str:
    """The algorithm of the signature on a certificate, where it is not known; else ""."""
    try:
        _ = certificate.signature_hash_algorithm
    except UnsupportedAlgorithm:
        return f"an unknown algorithm ({certificate.signature_algorithm_oid.dotted_string})"
    return ""


def weaknesses(chain: Chain, profile: Profile) -> tuple[Flaw, ...]:
    """Weak keys of all certificates of the chain and weak digests of their signatures, a root's own apart (PKG-008)."""
    found = list(_formless_key(chain.certificates[0]))
    for certificate in (*chain.certificates, *chain.unread):
        found += _weak_key(certificate, profile)
        root = certificate is chain.certificates[-1] and (chain.trusted or certificate.issuer == certificate.subject)
        weak = "" if root else _weak_digest(certificate)
        if weak:
            remedy = f"have the certificate issued again with SHA-256, and sign again with it: {BUILD}"
            found.append(Flaw(certificate, "a signature over SHA-2", weak, remedy))
    return tuple(found)


def _weak_digest(certificate: x509.Certificate) -> str:
    """What is weak about the signature on the certificate; "" for nothing (Ed25519: its key is judged)."""
    if unknown := _unknown(certificate):
        return unknown
    algorithm = certificate.signature_hash_algorithm
    return algorithm.name.upper() if isinstance(algorithm, _WEAK_HASHES) else ""


def _formless_key(leaf: x509.Certificate) -> Iterator[Flaw]:
    """RFC 4055 1.2: such a key signs with PSS alone, and the package's format has PKCS#1 v1.5 alone."""
    if isinstance(public_key(leaf), rsa.RSAPublicKey) and not has_signature_form(leaf):
        remedy = f"use a plain RSA key (openssl genpkey -algorithm RSA), or P-256, and sign again: {BUILD}"
        yield Flaw(leaf, "a key whose signatures the package has a form for", "RSASSA-PSS only", remedy)


def _weak_key(certificate: x509.Certificate, profile: Profile) -> Iterator[Flaw]:
    bits_min, curves = int(profile["package.rsa_bits_min"]), profile["package.curves"]
    key = public_key(certificate)
    if isinstance(key, rsa.RSAPublicKey):
        seen = "" if key.key_size >= bits_min else f"RSA of {key.key_size} bits"
    elif isinstance(key, ec.EllipticCurvePublicKey):
        seen = "" if _CURVES.get(key.curve.name) in curves else f"curve {key.curve.name}"
        if not seen and bytes.fromhex(_CURVES_BY_NAME[key.curve.name]) not in certificate.tbs_certificate_bytes:
            seen = f"curve {key.curve.name} written out, not by its name (RFC 5480 2.1.1)"
    else:
        seen = f"a key of another kind ({certificate.public_key_algorithm_oid.dotted_string})"
    if seen:
        remedy = (
            "have a new key certified (openssl genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:3072 -out signer.key), "
            f"or make both for development (./racs ca), and sign again: {BUILD}"
        )
        yield Flaw(certificate, f"RSA of {bits_min} bits or more, {' or '.join(curves)}", seen, remedy)


def expiring(chain: Chain, days: float, at: datetime) -> tuple[Flaw, ...]:
    """The chain's certificates that end within so many days (PKG-009)."""
    remedy = f"renew the certificate and sign again before it ends: {BUILD}"
    return tuple(
        Flaw(
            certificate,
            f"valid for {days:g} days more",
            f"until {certificate.not_valid_after_utc:%Y-%m-%d}",
            remedy,
        )
        for certificate in chain.certificates
        if certificate.not_valid_after_utc < at + timedelta(days=days)
    )
