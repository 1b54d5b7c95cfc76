"""Chains of certificates, made and judged by openssl's command line beside ours: RFC 5280 6.1 rule by rule."""

import base64
import subprocess
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.verification import Criticality, ExtensionPolicy, PolicyBuilder, Store, VerificationError
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from conformance.package import certificate, chain
from conformance.package.certificate import Trust, has_signature_form
from conformance.profile import load

PROFILE = load()
AUTHORITY = ("basicConstraints=critical,CA:TRUE", "keyUsage=critical,keyCertSign")
SIGNER = ("keyUsage=critical,digitalSignature", "extendedKeyUsage=codeSigning")
EC = ("EC", "ec_paramgen_curve:P-256")


@dataclass(frozen=True)
class Form:
    """A certificate to be: key names its key, so that two may share one; digest and padding are its issuer's work."""

    subject: str
    extensions: tuple[str, ...] = AUTHORITY
    issuer: "Form | None" = None
    days: int = 300
    key: str = ""
    algorithm: tuple[str, ...] = EC
    digest: tuple[str, ...] = ("-sha256",)


class Office:
    """Makes keys and certificates in a folder, each once."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._made: dict[Form, Path] = {}
        self._keys: dict[tuple[str, ...], Path] = {}

    def openssl(self, *words: object) -> bool:
        done = subprocess.run(["openssl", *map(str, words)], capture_output=True, text=True, check=False)
        self.said = done.stdout + done.stderr
        return done.returncode == 0

    def key(self, form: Form) -> Path:
        name = (form.key or form.subject, *form.algorithm)
        if name not in self._keys:
            path = self.folder / f"{len(self._keys)}.key"
            kind, *options = form.algorithm
            settings = [word for option in options for word in ("-pkeyopt", option)]
            assert self.openssl("genpkey", "-algorithm", kind, *settings, "-out", path), self.said
            self._keys[name] = path
        return self._keys[name]

    def certify(self, form: Form) -> Path:
        if form in self._made:
            return self._made[form]
        issuer: tuple[object, ...] = ("-signkey", self.key(form))
        if form.issuer:
            issuer = ("-CA", self.certify(form.issuer), "-CAkey", self.key(form.issuer))
        path = self.folder / f"{len(self._made)}.crt"
        request, extensions = path.with_suffix(".csr"), path.with_suffix(".ext")
        extensions.write_text("\n".join([*form.extensions, SECTIONS]) if form.extensions else "")
        plain = self.folder / "req.cnf"
        plain.write_text("[req]\ndistinguished_name=dn\n[dn]\n")
        made = self.openssl(
            "req", "-new", "-config", plain, "-key", self.key(form), "-subj", form.subject, "-utf8", "-out", request
        )
        assert made, self.said
        options = ("-extfile", extensions) if form.extensions else ()
        serial = ("-set_serial", len(self._made) + 1)
        words = ("-in", request, *issuer, *serial, *options, "-days", form.days, *form.digest, "-out", path)
        assert self.openssl("x509", "-req", *words), self.said
        self._made[form] = path
        return path

    def load(self, form: Form) -> x509.Certificate:
        return x509.load_pem_x509_certificate(self.certify(form).read_bytes())


SECTIONS = "[acme]\nO=Acme Ltd\n[other]\nO=Other\n"


@pytest.fixture(scope="module")
def office(tmp_path_factory: pytest.TempPathFactory) -> Office:
    return Office(tmp_path_factory.mktemp("office"))


ROOT = Form("/CN=root", days=900)


@dataclass(frozen=True)
class Case:
    """delivered certificates, the leaf first, against roots, so many days from now. refused is what ours says, "" for a
    good chain. peer is why openssl's verdict is the other one, and library why that of cryptography's verifier is, ""
    where it is the same."""

    name: str
    delivered: tuple[Form, ...]
    refused: str = ""
    roots: tuple[Form, ...] = (ROOT,)
    day: int = 1
    peer: str = ""
    library: str = ""


FAR = Form("/CN=far root", days=900)
MIDDLE = Form("/CN=middle", issuer=ROOT)
LEAF = Form("/O=Acme Ltd/CN=leaf", SIGNER, MIDDLE, days=100)


def leaf(*extensions: str, issuer: Form = MIDDLE, subject: str = LEAF.subject) -> Form:
    return Form(subject, extensions or SIGNER, issuer)


def below(*extensions: str, **changes: object) -> tuple[Form, ...]:
    """A leaf and its issuer with these extensions."""
    middle = Form("/CN=middle", (*AUTHORITY, *extensions), ROOT)
    return leaf(issuer=middle, **changes), middle  # type: ignore[arg-type]


def constrained(constraint: str, *extensions: str, subject: str = LEAF.subject) -> tuple[Form, ...]:
    middle = Form("/CN=middle", (*AUTHORITY, f"nameConstraints=critical,{constraint}"), ROOT)
    return Form(subject, (*SIGNER, *extensions), middle), middle


ACROSS = Form("/CN=middle", issuer=FAR)  # the same key by another root
LEFT = Form("/CN=left")
RIGHT = Form("/CN=right", issuer=LEFT)
ROUND = Form("/CN=left", issuer=RIGHT)
WAY_OUT = Form("/CN=right", issuer=ROOT)
SHORT = Form("/CN=middle", ("basicConstraints=critical,CA:TRUE,pathlen:0", AUTHORITY[1]), ROOT)
LOW = Form("/CN=low", issuer=SHORT)
SELF_ISSUED = Form("/CN=middle", issuer=SHORT, key="new middle")
LOUD_ROOT = Form("/CN=ROOT", days=900, key="/CN=root")
OLD_ROOT = Form("/CN=old root", (), days=900)
OLD_MIDDLE = Form("/CN=old middle", (), ROOT)
ACME_ROOT = Form("/CN=acme root", (*AUTHORITY, "nameConstraints=critical,permitted;dirName:other"), days=900)
ACME_ONLY = Form("/CN=middle", (*AUTHORITY, "nameConstraints=critical,permitted;dirName:acme"), ROOT)
RENEWED = Form("/CN=middle", issuer=ACME_ONLY, key="renewed middle")
NOT_FOR_SIGNING = "openssl looks at purposes only when asked for one, and has none for code signing in all versions"

NO_CALLBACK = "the library leaves usage and purposes to callbacks, or has those of web clients"
NO_DIRECTORY = "the library processes no constraints of directory names, and takes none for refused"

CASES = (
    Case("leaf, middle", (LEAF, MIDDLE)),
    Case("root included, out of order", (LEAF, ROOT, MIDDLE)),
    Case("straight from the root", (leaf(issuer=ROOT),)),
    Case("more than is needed", (LEAF, FAR, OLD_MIDDLE, MIDDLE, LEFT)),
    Case("the same one twice", (LEAF, MIDDLE, MIDDLE)),
    Case("cross-signed, the known root second", (LEAF, ACROSS, MIDDLE), peer="openssl tries no second one"),
    Case("cross-signed, the known root first", (LEAF, MIDDLE, ACROSS)),
    Case("cross-signed by the known root alone", (LEAF, ACROSS), roots=(FAR,)),
    Case("several roots", (LEAF, MIDDLE), roots=(FAR, OLD_ROOT, ROOT)),
    Case("a middle one as the root", (LEAF,), roots=(MIDDLE,)),
    Case("the leaf as the root", (leaf(issuer=ROOT),), roots=(leaf(issuer=ROOT),)),
    Case("a root of version 1", (leaf(issuer=OLD_ROOT),), roots=(OLD_ROOT,),
         library="the library takes version 3 alone"),
    Case("names in other letters and blanks", (leaf(issuer=LOUD_ROOT),),
         library="the library compares names byte by byte"),
    Case("no key usage", (Form("/CN=leaf", ("extendedKeyUsage=codeSigning",), MIDDLE), MIDDLE)),
    Case("any purpose", (leaf(SIGNER[0], "extendedKeyUsage=anyExtendedKeyUsage"), MIDDLE)),
    Case("self-issued ones do not count", (leaf(issuer=SELF_ISSUED), SELF_ISSUED, SHORT),
         library="the library counts them"),
    Case("an unknown extension", below("1.2.3.4=DER:0500")),
    Case("an authority for code signing", below("extendedKeyUsage=codeSigning,emailProtection")),
    Case("names: within", constrained("permitted;dirName:acme"), library=NO_DIRECTORY),
    Case("names: within, other letters", constrained("permitted;dirName:acme", subject="/O=ACME  ltd/CN=x"),
         library=NO_DIRECTORY),
    Case("names: not excluded", constrained("excluded;dirName:other"), library=NO_DIRECTORY),
    Case("names: of a form that is not there", constrained("permitted;DNS:example.com")),
    Case("names: not of what an authority issued to itself", (leaf(issuer=RENEWED), RENEWED, ACME_ONLY),
         library=NO_DIRECTORY),
    Case("a circle with a way out", (leaf(issuer=RIGHT), RIGHT, ROUND, WAY_OUT)),
    # RFC 5280 6.1.3 (a)(1) and (4), 6.1.1 (d)
    Case("no issuer", (LEAF,), "is neither there nor a root"),
    Case("another root of that name", (leaf(issuer=ROOT),), "another key than that of the root",
         roots=(Form("/CN=root", key="another root"),)),
    Case("another middle one of that name", (LEAF, Form("/CN=middle", issuer=ROOT, key="x")), "its key did not sign"),
    Case("far root", (leaf(issuer=FAR), FAR), "signed itself"),
    Case("signed by itself", (Form("/CN=leaf", SIGNER),), "signed itself"),
    Case("a circle", (leaf(issuer=RIGHT), RIGHT, ROUND), "in a circle"),
    # 6.1.3 (a)(2)
    Case("leaf over", (LEAF, MIDDLE), "valid from", day=101),
    Case("middle over", (leaf(issuer=MIDDLE), MIDDLE), "valid from", day=301),
    Case("root over", (Form("/CN=leaf", SIGNER, ROOT, days=990),), "valid from", day=901),
    Case("not yet", (LEAF, MIDDLE), "valid from", day=-2),
    # 6.1.4 (k) to (o)
    Case("an authority that is none", (leaf(issuer=Form("/CN=m", ("basicConstraints=CA:FALSE",), ROOT)),
                                       Form("/CN=m", ("basicConstraints=CA:FALSE",), ROOT)), "cA false"),
    Case("a leaf as an authority", (Form("/CN=below", SIGNER, LEAF), LEAF, MIDDLE), "no basic constraints"),
    Case("a middle one of version 1", (leaf(issuer=OLD_MIDDLE), OLD_MIDDLE), "no basic constraints"),
    Case("path too long", (leaf(issuer=LOW), LOW, SHORT), "1"),
    Case("may not sign certificates", (leaf(issuer=Form("/CN=m", (AUTHORITY[0], "keyUsage=cRLSign"), ROOT)),
                                       Form("/CN=m", (AUTHORITY[0], "keyUsage=cRLSign"), ROOT)), "others only",
         library=NO_CALLBACK),
    Case("unknown critical extension above", below("1.2.3.4=critical,DER:0500"), "critical extension 1.2.3.4"),
    Case("unknown critical extension", (leaf(*SIGNER, "1.2.3.4=critical,DER:0500"), MIDDLE), "extension 1.2.3.4"),
    Case("a policy demanded", below("policyConstraints=critical,requireExplicitPolicy:0"), "extension 2.5.29.36",
         peer="openssl processes policies, of which here are none, only when it is asked to"),
    Case("an authority for servers", below("extendedKeyUsage=serverAuth"), "1.3.6.1.5.5.7.3.1", peer=NOT_FOR_SIGNING,
         library=NO_CALLBACK),
    # 6.1.5 (f), contract 1
    Case("may not sign", (leaf("keyUsage=keyEncipherment"), MIDDLE), "others only", peer=NOT_FOR_SIGNING,
         library=NO_CALLBACK),
    Case("for servers", (leaf("extendedKeyUsage=serverAuth"), MIDDLE), "1.3.6.1.5.5.7.3.1", peer=NOT_FOR_SIGNING,
         library=NO_CALLBACK),
    # 6.1.3 (b) and (c)
    Case("names: without", constrained("permitted;dirName:other"), "in no permitted subtree"),
    Case("names: excluded", constrained("excluded;dirName:acme"), "in an excluded subtree"),
    Case("names: the root's", (leaf(issuer=ACME_ROOT),), "in no permitted subtree", roots=(ACME_ROOT,)),
    Case("names: an alternative one", constrained("permitted;dirName:acme", "subjectAltName=dirName:other"),
         "in no permitted subtree"),
    Case("names: DNS", constrained("permitted;DNS:example.com", "subjectAltName=DNS:example.com"), "DNS names",
         peer="openssl processes this form", library="and so does the library"),
    Case("names: mail in the subject", constrained("permitted;email:a.com", subject="/emailAddress=x@a.com"),
         "mail addresses", peer="openssl processes this form", library="and so does the library"),
    Case("names: another mail in the subject", constrained("permitted;email:b.com", subject="/emailAddress=x@a.com"),
         "mail addresses", library="the library passes over such an address, which RFC 5280 4.2.1.10 forbids"),
)  # fmt: skip


@pytest.mark.parametrize("case", [pytest.param(case, id=case.name) for case in CASES])
def test_a_chain(case: Case, office: Office, tmp_path: Path) -> None:
    at = datetime.now(UTC) + timedelta(days=case.day)
    trust = Trust("rd", tuple(map(office.load, case.roots)), at)
    built = chain.build(tuple(map(office.load, case.delivered)), trust)
    seen = [finding.seen for finding in built.flaws]
    assert bool(seen) is bool(case.refused) and case.refused in " ".join(seen), seen
    assert not built.doubt
    for name, forms in (("roots", case.roots), ("pool", case.delivered[1:])):
        (tmp_path / name).write_bytes(b"".join(office.certify(form).read_bytes() for form in forms))
    pool = ("-untrusted", tmp_path / "pool") if case.delivered[1:] else ()
    settings = ("-partial_chain", "-no-CApath", "-no-CAfile", "-check_ss_sig", "-attime", int(at.timestamp()))
    leaf_file = office.certify(case.delivered[0])
    verified = office.openssl("verify", *settings, "-trusted", tmp_path / "roots", *pool, leaf_file)
    assert verified is (bool(case.refused) is bool(case.peer)), office.said


@pytest.mark.parametrize("case", [pytest.param(case, id=case.name) for case in CASES])
def test_a_chain_for_a_third_opinion(case: Case, office: Office) -> None:
    """cryptography's own verifier, with all that it lets be permitted: an agreement where it asks the same, and case by
    case why it is not the one that judges. Where one of the reasons is gone in a later version, this fails."""
    authorities = ExtensionPolicy.permit_all().require_present(x509.BasicConstraints, Criticality.AGNOSTIC, None)
    verifier = (
        PolicyBuilder()
        .store(Store([office.load(root) for root in case.roots]))
        .time(datetime.now(UTC).replace(tzinfo=None) + timedelta(days=case.day))
        .extension_policies(ee_policy=ExtensionPolicy.permit_all(), ca_policy=authorities)
        .build_client_verifier()
    )
    leaf_certificate, *pool = map(office.load, case.delivered)
    try:
        verifier.verify(leaf_certificate, pool)
        taken = True
    except VerificationError:
        taken = False
    assert taken is (bool(case.refused) is bool(case.library))


RSA_2048 = ("RSA", "rsa_keygen_bits:2048")
KEYS = {
    "RSA of 512 bits": ("RSA", "rsa_keygen_bits:512"),
    "RSA of 1,024 bits": ("RSA", "rsa_keygen_bits:1024"),
    "RSA of 2,047 bits": ("RSA", "rsa_keygen_bits:2047"),
    "P-224": ("EC", "ec_paramgen_curve:P-224"),
    "P-521": ("EC", "ec_paramgen_curve:P-521"),
    "secp256k1": ("EC", "ec_paramgen_curve:secp256k1"),
    "brainpool": ("EC", "ec_paramgen_curve:brainpoolP256r1"),
    "binary field": ("EC", "ec_paramgen_curve:sect283r1"),
    "curve that OpenSSL alone knows": ("EC", "ec_paramgen_curve:wap-wsg-idm-ecid-wtls12"),
    "P-256 written out": (*EC, "ec_param_enc:explicit"),
    "SM2": ("EC", "ec_paramgen_curve:SM2"),
    "Ed25519": ("ED25519",),
    "Ed448": ("ED448",),
    "X of RSA-PSS": ("RSA-PSS", "rsa_keygen_bits:2048"),
}


@pytest.mark.parametrize("name", KEYS)
@pytest.mark.parametrize("place", ["leaf", "authority"])
def test_odd_keys_are_findings_of_strength_and_never_raise(name: str, place: str, office: Office) -> None:
    kind = KEYS[name]
    digest = () if kind[0].startswith("ED") else ("-sm3",) if name == "SM2" else ("-sha256",)
    if place == "leaf":
        forms = (Form(f"/CN={name[:20]}", SIGNER, MIDDLE, algorithm=kind), MIDDLE)
    else:
        middle = Form(f"/CN=m {name[:20]}", AUTHORITY, ROOT, algorithm=kind)
        forms = (Form("/CN=leaf", SIGNER, middle, digest=digest), middle)
    built = chain.build(tuple(map(office.load, forms)), Trust("rd", (office.load(ROOT),), datetime.now(UTC)))
    found = chain.weaknesses(built, PROFILE)
    if (name, place) == ("X of RSA-PSS", "authority"):
        assert not found and not built.flaws  # it signs certificates as well as any other
        return
    assert found and all(finding.seen and finding.remedy for finding in found)
    assert not built.flaws  # the chain is as good as any other, or cannot be told
    if name == "X of RSA-PSS":
        assert not has_signature_form(built.certificates[0])


@pytest.mark.parametrize(
    ("digest", "algorithm", "weak", "unknown"),
    [
        (("-md5",), RSA_2048, "MD5", False),
        (("-sha1",), RSA_2048, "SHA1", False),
        (("-sha1",), EC, "SHA1", False),
        (("-sha1", "-sigopt", "rsa_padding_mode:pss"), RSA_2048, "SHA1", False),
        (("-sha256", "-sigopt", "rsa_padding_mode:pss"), RSA_2048, "", False),
        (("-sha384",), EC, "", False),
        (("-sha3-256",), RSA_2048, "", False),
        (("-ripemd160",), RSA_2048, "unknown algorithm (1.3.36.3.3.1.2)", True),
        (("-sha512-256",), RSA_2048, "unknown algorithm (1.2.840.113549.1.1.16)", True),
    ],
)
def test_weak_and_unknown_digests_are_findings_of_strength(
    digest: tuple[str, ...], algorithm: tuple[str, ...], weak: str, unknown: bool, office: Office
) -> None:
    middle = Form(f"/CN=middle {algorithm[0]}", AUTHORITY, ROOT, algorithm=algorithm)
    leaf = Form("/CN=leaf", SIGNER, middle, digest=digest)
    delivered = (office.load(leaf), office.load(middle))
    built = chain.build(delivered, Trust("rd", (office.load(ROOT),), datetime.now(UTC)))
    assert (built.flaws, bool(built.doubt)) == ((), unknown)
    assert [weak in finding.seen for finding in chain.weaknesses(built, PROFILE)] == ([True] if weak else [])


RICH = (
    *AUTHORITY,
    "nameConstraints=critical,permitted;dirName:acme,permitted;DNS:a.b,excluded;IP:10.0.0.0/255.0.0.0",
    "subjectAltName=DNS:a.b,email:a@b.c,IP:10.0.0.1,URI:http://x,RID:1.2.3,dirName:acme,otherName:1.2.3.4;UTF8:x",
    "certificatePolicies=1.2.3.4",
    "authorityInfoAccess=OCSP;URI:http://a",
    "crlDistributionPoints=URI:http://a/c",
    "subjectKeyIdentifier=hash",
    "extendedKeyUsage=codeSigning",
)
ODD_BYTES = (0x00, 0x01, 0x02, 0x03, 0x06, 0x0C, 0x13, 0x30, 0x31, 0x80, 0xFF)


@settings(
    max_examples=400, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    changes=st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.sampled_from(ODD_BYTES)), min_size=1, max_size=4)
)
def test_damaged_certificates_are_findings_and_never_raise(changes: list[tuple[float, int]], office: Office) -> None:
    """A name of bits was a TypeError once, a country of eight letters a warning on the terminal."""
    middle = Form("/C=DE/O=Acme Ltd/CN=middle", RICH, ROOT)
    der = bytearray(office.load(middle).public_bytes(Encoding.DER))
    for place, value in changes:
        der[int(place * len(der))] = value
    body = base64.encodebytes(bytes(der)).replace(b"\n", b"")
    lines = b"\n".join(body[at : at + 64] for at in range(0, len(body), 64))
    block = b"-----BEGIN CERTIFICATE-----\n" + lines + b"\n-----END CERTIFICATE-----\n"
    leaf_text = office.certify(Form(LEAF.subject, SIGNER, middle)).read_bytes()
    read = certificate.read(b"SHA256(a.mf)= 00\n" + leaf_text + block, "a.cert", PROFILE)
    built = chain.build(read.certificates, Trust("rd", (office.load(ROOT),), datetime.now(UTC)))
    found = (*read.faults, *built.flaws, *chain.weaknesses(built, PROFILE), built.doubt)
    assert any(found) or bytes(der) == office.load(middle).public_bytes(Encoding.DER)
