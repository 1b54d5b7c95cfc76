"""The rules of RFC 5280 6.1 that a path of certificates has to keep, narrowed by contract 1, each by its clause.

Not asked, as nothing in a package or on a host without a network could answer it: revocation (6.1.3 (a)(3)). Policies
are not asked for either (6.1.1 (c): any will do); an extension that demands one is critical, and so refused.
"""

import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID, ExtensionOID, NameOID

from conformance.package.certificate import RD_UNIT, Trust
from conformance.package.chain_names import describe, outside, same
from conformance.package.commands import BUILD

MEND = (
    "sign with a certificate of the platform's owner for this trust profile, or with one for development, which "
    f"./racs ca makes: {BUILD}"
)
# Critical extensions that the rules below know, or that cannot forbid anything here (no name or policy is asked for).
_KNOWN_CRITICAL = {
    ExtensionOID.BASIC_CONSTRAINTS,
    ExtensionOID.KEY_USAGE,
    ExtensionOID.EXTENDED_KEY_USAGE,
    ExtensionOID.NAME_CONSTRAINTS,
    ExtensionOID.SUBJECT_ALTERNATIVE_NAME,
    ExtensionOID.CERTIFICATE_POLICIES,
}
_FIT = {ExtendedKeyUsageOID.CODE_SIGNING, ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE}


@dataclass(frozen=True)
class Flaw:
    """What is wrong with a certificate of a chain: the texts of a finding, whose place whoever has the file knows."""

    certificate: x509.Certificate
    expected: str
    seen: str
    remedy: str


def broken(path: Sequence[x509.Certificate], trust: Trust) -> tuple[Flaw, ...]:
    """The rules of RFC 5280 6.1 that the path breaks; the root counts as a certificate of it (PKG-007: "every")."""
    found: list[Flaw] = list(_of_other_profile(path[-1], trust))
    for depth, certificate in enumerate(path):
        found += _out_of_time(certificate, trust)
        try:
            with warnings.catch_warnings(action="ignore"):  # what is odd in extensions that cannot be read after all
                extensions = certificate.extensions
        except (ValueError, x509.DuplicateExtension, x509.UnsupportedGeneralNameType) as error:
            found.append(Flaw(certificate, "extensions as RFC 5280 4.2 writes them", str(error), MEND))
            continue
        for extension in extensions:  # RFC 5280 6.1.4 (o), 6.1.5 (f)
            if extension.critical and extension.oid not in _KNOWN_CRITICAL:
                seen = f"critical extension {extension.oid.dotted_string}"
                remedy = (
                    f"sign with a certificate without it, for what is not processed must not be passed over: {BUILD}"
                )
                found.append(Flaw(certificate, "critical extensions that are processed", seen, remedy))
        found += _unfit_issuer(path, depth, extensions) if depth else _unfit_leaf(certificate, extensions)
        found += _outside(path[:depth], certificate, extensions)
    return tuple(found)


def _of_other_profile(root: x509.Certificate, trust: Trust) -> Iterator[Flaw]:
    """Contract 1: a root of another trust profile, which a root for R&D stays wherever it is put."""
    units = root.subject.get_attributes_for_oid(NameOID.ORGANIZATIONAL_UNIT_NAME)
    if trust.profile != "rd" and root in trust.roots and RD_UNIT in [unit.value for unit in units]:
        remedy = f"take this root out of the {trust.profile} roots, and sign by the platform's owner: {BUILD}"
        seen = f"{describe(root)}, which names itself {RD_UNIT!r}"
        yield Flaw(root, f"a root of the trust profile {trust.profile!r}", seen, remedy)


def _out_of_time(certificate: x509.Certificate, trust: Trust) -> Iterator[Flaw]:
    """RFC 5280 6.1.3 (a)(2), both ends included (4.1.2.5)."""
    begin, end = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    if not begin <= trust.at <= end:
        remedy = f"sign again with a certificate that is valid, as the format has no time stamp: {BUILD}"
        expected = f"valid on {trust.at:%Y-%m-%d %H:%M} UTC"
        yield Flaw(certificate, expected, f"valid from {begin:%Y-%m-%d %H:%M} to {end:%Y-%m-%d %H:%M}", remedy)


def _unfit_leaf(leaf: x509.Certificate, extensions: x509.Extensions) -> Iterator[Flaw]:
    usage = _value(extensions, x509.KeyUsage)
    if usage and not usage.digital_signature:  # RFC 5280 4.2.1.3
        yield Flaw(leaf, "key usage digitalSignature, or no key usage", "others only", MEND)
    purposes = _value(extensions, x509.ExtendedKeyUsage)
    if purposes and not _FIT & set(purposes):  # RFC 5280 4.2.1.12, contract 1
        expected = "extended key usage with code signing or any, or none at all"
        yield Flaw(leaf, expected, ", ".join(oid.dotted_string for oid in purposes), MEND)


def _unfit_issuer(path: Sequence[x509.Certificate], depth: int, extensions: x509.Extensions) -> Iterator[Flaw]:
    """The issuer at this depth of the path. A root of version 1 has no extensions: who gave it as a root vouches for it
    (RFC 5280 6.1.4 (k))."""
    issuer = path[depth]
    last = depth == len(path) - 1
    if not (last and issuer.version is x509.Version.v1):
        basic = _value(extensions, x509.BasicConstraints)
        if basic is None or not basic.ca:  # RFC 5280 6.1.4 (k)
            seen = "cA false" if basic else "no basic constraints"
            yield Flaw(issuer, "basic constraints with cA true", seen, MEND)
        elif basic.path_length is not None:  # RFC 5280 6.1.4 (l) and (m), 4.2.1.9: self-issued ones do not count
            below = sum(1 for other in path[1:depth] if not same(other.subject, other.issuer))
            if below > basic.path_length:
                expected = f"at most {basic.path_length} certificate authorities below it (path length)"
                yield Flaw(issuer, expected, str(below), MEND)
    purposes = _value(extensions, x509.ExtendedKeyUsage)
    if purposes and not last and not _FIT & set(purposes):
        # RFC 5280 4.2.1.12 leaves open what it says of an authority; OpenSSL, Go and browsers take it as a limit of
        # what it may issue, and an authority for TLS shall not vouch for software here either.
        expected = "an authority for code signing, any purpose, or without extended key usage"
        yield Flaw(issuer, expected, ", ".join(oid.dotted_string for oid in purposes), MEND)
    usage = _value(extensions, x509.KeyUsage)
    if usage and not usage.key_cert_sign:  # RFC 5280 6.1.4 (n)
        yield Flaw(issuer, "key usage keyCertSign, or no key usage", "others only", MEND)


def _outside(
    below: Sequence[x509.Certificate], issuer: x509.Certificate, extensions: x509.Extensions
) -> Iterator[Flaw]:
    """RFC 5280 6.1.3 (b) and (c): what is below an authority keeps to its name constraints, the root's as well; what an
    authority issued to itself need not, a leaf apart."""
    constraints = _value(extensions, x509.NameConstraints)
    for depth, certificate in enumerate(below):
        if constraints is None or (depth and same(certificate.subject, certificate.issuer)):
            continue
        try:
            refused = list(outside(constraints, certificate))
        except (ValueError, x509.DuplicateExtension):  # told already, with the extensions of that certificate
            continue
        for seen in refused:
            expected = f"names within the name constraints of {describe(issuer)}"
            yield Flaw(certificate, expected, seen, MEND)


_Extension = TypeVar("_Extension", bound=x509.ExtensionType)


def _value(extensions: x509.Extensions, kind: type[_Extension]) -> _Extension | None:
    try:
        return extensions.get_extension_for_class(kind).value
    except x509.ExtensionNotFound:
        return None
