"""PKG-006 to PKG-009: who signed the manifest, whether that is trusted, strong, and for how long (contract 1)."""

from collections.abc import Iterable, Iterator

from cryptography import x509

from conformance.checks.contents import PARTS, absence, settled
from conformance.package import Package, chain
from conformance.package.certificate import (
    CertificateFile,
    Place,
    Signature,
    Trust,
    has_signature_form,
    signed_by,
)
from conformance.package.chain_names import describe
from conformance.package.chain_rules import Flaw
from conformance.package.commands import PACK, SIGN
from conformance.profile import Profile
from conformance.verdict import Finding, Outcome, counted, not_judged


def check_signature(package: Package, profile: Profile, trust: Trust) -> Outcome:
    """PKG-006: the .cert is one, and its signature is the leaf key's over the manifest's bytes."""
    found = package.findings("PKG-006")
    if found:
        return settled(found, "", "")
    doubt = _certificate_doubt(package)
    if package.certificate is None or package.signature is None or doubt:
        return not_judged(doubt or absence(package, ".cert"))
    manifest = package.archive.sole(".mf")
    if manifest is None or manifest.content is None:
        return not_judged(absence(package, ".mf"))
    leaf = package.certificates[0]
    findings = list(_foreign_name(package, package.certificate, package.signature))
    if not has_signature_form(leaf):
        doubt = "the leaf's key has no signature form here (PKG-008)"
    elif not signed_by(leaf, package.signature.value, manifest.content):
        findings.append(_mismatch(package.certificate, package.signature, manifest.name, manifest.content))
    return settled(findings, doubt, f"signed by {describe(leaf)}")


def _certificate_doubt(package: Package) -> str:
    """Why the delivered certificates are not all known; "" when they are."""
    if package.certificate is None:
        return absence(package, ".cert")
    if not package.certificate.faults:
        return ""
    return f"the certificates could not all be read ({package.certificate.faults[0].requirement})"


_FIRST = Place(1, 0)


def _at(file: CertificateFile, place: Place, expected: str, seen: str, remedy: str, about: str = "") -> Finding:
    """A finding about a line of the certificate file, and what it is about."""
    where = f"{file.name}, line {place.line} (byte {place.offset})"
    where += f", {about}" if about else ""
    return Finding(expected, seen, where, remedy, (f"package:{file.name}@{place.offset}",))


def _of_chain(flaws: Iterable[Flaw], built: chain.Chain, file: CertificateFile) -> Iterator[Finding]:
    """Findings about a chain's certificates, each where its PEM block begins. A root that was not delivered is told at
    the certificate that it issued."""
    places = dict(zip(reversed(file.certificates), reversed(file.places), strict=True))  # the first of equal ones
    path = built.certificates
    for flaw in flaws:
        about, shown = flaw.certificate, f"the certificate of {describe(flaw.certificate)}"
        if about not in places:
            about = path[path.index(about) - 1] if about in path else path[-1]
            shown = f"the certificate of {describe(about)}, and the root that issued it, {describe(flaw.certificate)}"
        yield _at(file, places[about], flaw.expected, flaw.seen, flaw.remedy, shown)


def _foreign_name(package: Package, file: CertificateFile, signature: Signature) -> Iterator[Finding]:
    """The line names the manifest. Where the parts' base names differ (PKG-002), any of them will do."""
    parts = [member for suffix in PARTS if (member := package.archive.sole(suffix))]
    names = sorted({member.name.rpartition(".")[0] + ".mf" for member in parts})
    if signature.manifest not in names:
        expected = f"SHA256({names[0]})= and the signature"
        yield _at(file, _FIRST, expected, f"SHA256({signature.manifest})=", SIGN)


def _mismatch(file: CertificateFile, signature: Signature, name: str, manifest: bytes) -> Finding:
    leaf = file.certificates[0]
    expected = f"a signature over the bytes of {name}, SHA-256, by the first certificate's key"
    owner = _signer(file, signature, manifest)
    if owner is not leaf:
        line = file.places[file.certificates.index(owner)].line
        remedy = f"put the certificate whose key signed first: move the block of line {line} up to line 2; then {PACK}"
        return _at(file, _FIRST, expected, f"one by the key of {describe(owner)}, a later one", remedy)
    seen = f"one that the key of {describe(leaf)} did not make over these bytes"
    return _at(file, _FIRST, expected, seen, f"the manifest changed, or another key signed it: {SIGN}")


def _signer(file: CertificateFile, signature: Signature, manifest: bytes) -> x509.Certificate:
    """The certificate whose key signed; the first where none did."""
    signers = (one for one in file.certificates if signed_by(one, signature.value, manifest))
    return next(signers, file.certificates[0])


def _chain(package: Package, trust: Trust) -> chain.Chain:
    """The signer's chain. Where it does not stand first PKG-006 says so, and nothing else shall for that reason."""
    certificates, manifest = package.certificates, package.archive.sole(".mf")
    if package.certificate and package.signature and manifest and manifest.content is not None:
        leaf = _signer(package.certificate, package.signature, manifest.content)
        certificates = (leaf, *(one for one in certificates if one is not leaf))
    return chain.build(certificates, trust)


def certificates_judged(package: Package, trust: Trust) -> tuple[x509.Certificate, ...]:
    """The chain that PKG-007 judges, the signer's certificate first; where it passes, the last is the trusted root.

    Empty where the delivered certificates are not all known.
    """
    return () if _certificate_doubt(package) else _chain(package, trust).certificates


def check_chain(package: Package, profile: Profile, trust: Trust) -> Outcome:
    """PKG-007: the chain ends in a root of the trust profile and keeps RFC 5280's rules."""
    doubt = _certificate_doubt(package)
    if package.certificate is None or doubt:
        return not_judged(doubt)
    built = _chain(package, trust)
    names = " <- ".join(describe(certificate) for certificate in built.certificates)
    end = min(certificate.not_valid_after_utc for certificate in built.certificates)
    reason = f"{names} (trust profile {trust.profile}); the package's signature dies on {end:%Y-%m-%d}"
    if built.ignored:
        reason += f"; not needed: {', '.join(describe(certificate) for certificate in built.ignored)}"
    return settled(_of_chain(built.flaws, built, package.certificate), built.doubt, reason)


def check_strength(package: Package, profile: Profile, trust: Trust) -> Outcome:
    """PKG-008: strong keys and digests all along the chain; the manifest's digest is SHA-256 by its form."""
    doubt = _certificate_doubt(package)
    if package.certificate is None or doubt:
        return not_judged(doubt)
    built = _chain(package, trust)
    doubt = "" if built.trusted else "the chain does not reach a root (PKG-007)"
    findings = _of_chain(chain.weaknesses(built, profile), built, package.certificate)
    return settled(findings, doubt, f"strong: {counted(len(built.certificates), 'certificate')}")


def check_validity_left(package: Package, profile: Profile, trust: Trust) -> Outcome:
    """PKG-009: time left on every certificate of the chain."""
    doubt = _certificate_doubt(package)
    if package.certificate is None or doubt:
        return not_judged(doubt)
    built = _chain(package, trust)
    if built.flaws:
        return not_judged("the chain is not valid (PKG-007)")
    days = profile.number("package.validity_left_should_days")
    findings = _of_chain(chain.expiring(built, days, trust.at), built, package.certificate)
    return settled(findings, "", f"all certificates stay valid for {days:g} days more")
