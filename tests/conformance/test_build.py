"""The package builder: what it writes is read back without a complaint, byte for byte the same each time."""

import hashlib
import io
import subprocess
import tarfile
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from hypothesis import given, settings
from hypothesis import strategies as st
from package_parts import LEAF, MIDDLE, ROOT, Form, issue
from qcow2_parts import make_qcow2

from conformance import profile as profiles
from conformance.checks.descriptor import CHECKS as DESCRIPTOR_CHECKS
from conformance.checks.package import CHECKS as PACKAGE_CHECKS
from conformance.errors import SubjectError
from conformance.package import descriptor, open_package
from conformance.package.build import BuildRequest, Signer, build_ova, sign_manifest
from conformance.package.certificate import Trust
from conformance.verdict import Verdict

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
PROFILE = profiles.load()
IMAGE = make_qcow2()
GOON = (EXAMPLES / "goon" / "goon.ovf").read_bytes()
GOON_ACL = (EXAMPLES / "goon" / "auth" / "acl.xml").read_bytes()
TRUST = Trust("rd", (issue(ROOT),), datetime(2030, 6, 1, tzinfo=UTC))


def signer(form: Form = LEAF) -> Signer:
    assert isinstance(form.key, ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey)
    return Signer(form.key, (issue(form, MIDDLE), issue(MIDDLE, ROOT)))


def request(name: str = "goon", image: bytes = IMAGE) -> BuildRequest:
    return BuildRequest(name, GOON, io.BytesIO(image), GOON_ACL, signer())


def build(wanted: BuildRequest) -> bytes:
    target = io.BytesIO()
    build_ova(wanted, PROFILE, target)
    return target.getvalue()


def test_the_archive_is_what_the_contract_says() -> None:
    data = build(request())
    assert len(data) % 10240 == 0
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        members = archive.getmembers()
        names = ["goon.ovf", "goon.mf", "goon.cert", "goon.qcow2", "auth/acl.xml"]
        assert [member.name for member in members] == names
        assert {(m.mode, m.uid, m.gid, m.mtime, m.uname, m.gname, m.type) for m in members} == {
            (0o644, 0, 0, 0, "", "", b"0")
        }
        content = {member.name: archive.extractfile(member).read() for member in members}  # type: ignore[union-attr]
    assert content["goon.qcow2"] == IMAGE
    assert f'ovf:size="{len(IMAGE)}"'.encode() in content["goon.ovf"]
    assert f'ovf:capacity="{1 << 20}"'.encode() in content["goon.ovf"]
    listed = [f"SHA256({n})= {hashlib.sha256(content[n]).hexdigest()}" for n in (names[0], names[3], names[4])]
    assert content["goon.mf"].decode().splitlines() == listed


@pytest.mark.parametrize("form", [LEAF, Form("rsa", "RSA-2048"), Form("p384", "P-384")], ids=lambda form: form.kind)
def test_the_same_input_gives_the_same_bytes(form: Form) -> None:
    assert build(replace(request(), signer=signer(form))) == build(replace(request(), signer=signer(form)))


@pytest.mark.parametrize("form", [LEAF, Form("rsa", "RSA-2048"), Form("p384", "P-384")], ids=lambda form: form.kind)
def test_openssl_agrees_with_the_signature(form: Form, tmp_path: Path) -> None:
    line, _, chain = sign_manifest(b"manifest\n", "goon", signer(form)).partition(b"\n")
    assert line.startswith(b"SHA256(goon.mf)= ")
    (tmp_path / "signature").write_bytes(bytes.fromhex(line.decode().rpartition(" ")[2]))
    (tmp_path / "manifest").write_bytes(b"manifest\n")
    (tmp_path / "chain.pem").write_bytes(chain)
    key = subprocess.run(
        ["openssl", "x509", "-in", tmp_path / "chain.pem", "-noout", "-pubkey"], check=True, capture_output=True
    )
    (tmp_path / "key.pem").write_bytes(key.stdout)
    command = ["openssl", "dgst", "-sha256", "-verify", "key.pem", "-signature", "signature", "manifest"]
    done = subprocess.run(command, cwd=tmp_path, check=False, capture_output=True, text=True)
    assert done.stdout == "Verified OK\n", done.stderr


@pytest.mark.parametrize("name", ["goon", "lens"])
def test_the_examples_conform(name: str, tmp_path: Path) -> None:
    """Every check of the package passes or does not apply; the guest system is the one warning that they live with."""
    descriptor, acl = EXAMPLES / name / f"{name}.ovf", EXAMPLES / name / "auth" / "acl.xml"
    wanted = BuildRequest(name, descriptor.read_bytes(), io.BytesIO(IMAGE), acl.read_bytes(), signer())
    path = tmp_path / f"{name}.ova"
    path.write_bytes(build(wanted))
    package = open_package(path, PROFILE)
    assert {fault.requirement for fault in package.faults} == {"DSC-011"}
    verdicts = {
        identity: check(package, PROFILE, TRUST).verdict
        for identity, check in {**PACKAGE_CHECKS, **DESCRIPTOR_CHECKS}.items()
    }
    odd = {identity for identity, verdict in verdicts.items() if verdict is not Verdict.PASS}
    assert odd - {"DSC-011"} == {"goon": {"DSC-005", "DSC-006"}, "lens": {"DSC-007", "DSC-008", "DSC-010"}}[name] & set(
        verdicts
    )
    assert package.application is not None
    assert package.application.id == name


DEFECTS = [
    ("size", lambda d: d.replace(b"{size}", b"17"), f'ovf:size="{len(IMAGE)}"'),
    ("no size", lambda d: d.replace(b' ovf:size="{size}"', b""), f'ovf:size="{len(IMAGE)}"'),
    ("capacity", lambda d: d.replace(b"{capacity}", b"17"), f"{1 << 20} bytes"),
    ("unit", lambda d: d.replace(b'"{capacity}"', b'"{capacity}" ovf:capacityAllocationUnits="byte * 2^10"'), "bytes"),
    ("not XML", lambda d: d[:-20], "well-formed"),
    ("two disks", lambda d: d.replace(b"</ovf:DiskSection>", b'<ovf:Disk ovf:diskId="b" ovf:capacity="1"/>'
                                      b"</ovf:DiskSection>"), "exactly one Disk"),
    ("other file", lambda d: d.replace(b"auth/acl.xml", b"auth/other.xml"), "References only"),
    ("image name", lambda d: d.replace(b"goon.qcow2", b"disks/goon.qcow2"), "References only"),
    ("undeclared acl", lambda d: d.replace(b'<ovf:File ovf:id="acl" ovf:href="auth/acl.xml"/>', b""), "in References"),
    ("acl size", lambda d: d.replace(b'href="auth/acl.xml"', b'href="auth/acl.xml" ovf:size="1"'), "ovf:size"),
]  # fmt: skip


@pytest.mark.parametrize(("edit", "expected"), [row[1:] for row in DEFECTS], ids=[row[0] for row in DEFECTS])
def test_parts_that_contradict_each_other(edit: object, expected: str) -> None:
    assert callable(edit)
    target = io.BytesIO()
    with pytest.raises(SubjectError) as caught:
        build_ova(replace(request(), descriptor=edit(GOON)), PROFILE, target)
    assert expected in caught.value.expected
    assert caught.value.remedy
    assert target.getvalue() == b""


@pytest.mark.parametrize("prefix", ["ovf", "o"])
@pytest.mark.parametrize("identity", ["image", "acl"])
def test_the_file_element_that_is_missing_can_be_pasted(prefix: str, identity: str) -> None:
    """With an id that is free, and the descriptor's own prefix."""
    text = GOON.replace(b'<ovf:File ovf:id="acl" ovf:href="auth/acl.xml"/>', b"")
    text = text.replace(b'"image"', f'"{identity}"'.encode())
    text = text.replace(b"ovf:/disk", b"@").replace(b"ovf:", prefix.encode() + b":").replace(b"@", b"ovf:/disk")
    text = text.replace(b"xmlns:ovf", b"xmlns:" + prefix.encode())
    with pytest.raises(SubjectError) as caught:
        build(replace(request(), descriptor=text))
    element = caught.value.remedy.removeprefix("add ").removesuffix(" to References")
    end = f"</{prefix}:References>".encode()
    mended = text.replace(end, element.encode() + end)
    build(replace(request(), descriptor=mended))
    filled = mended.replace(b"{size}", b"7").replace(b"{capacity}", b"7")
    assert [fault for fault in descriptor.read(filled, PROFILE).faults if fault.requirement == "DSC-001"] == []


def test_all_that_is_wrong_about_the_image_is_told_at_once() -> None:
    wrong = GOON.replace(b"{size}", b"17").replace(b"{capacity}", b"18")
    with pytest.raises(SubjectError) as caught:
        build(replace(request(), descriptor=wrong))
    assert f'ovf:size="{len(IMAGE)}"' in caught.value.expected and f"{1 << 20} bytes" in caught.value.expected
    assert caught.value.seen == "17; 18 bytes"
    assert 'ovf:size="{size}"' in caught.value.remedy and 'ovf:capacity="{capacity}"' in caught.value.remedy


@pytest.mark.parametrize("image", [b"", bytes(4096), b"QFI\xfb", make_qcow2(bits=9)[:50]])
def test_an_image_that_is_none(image: bytes) -> None:
    with pytest.raises(SubjectError, match=r"qcow2|header"):
        build(request(image=image))


@pytest.mark.parametrize("name", ["", "-goon", "go on", "a/goon", "goön"])
def test_a_name_that_no_member_can_have(name: str) -> None:
    with pytest.raises(SubjectError, match="name"):
        build(request(name))


def test_an_acl_that_is_declared_and_missing() -> None:
    with pytest.raises(SubjectError, match=r"auth/acl\.xml"):
        build(replace(request(), acl=None))


def test_an_image_that_changes_while_it_is_packed() -> None:
    class Changing(io.BytesIO):
        def seek(self, at: int, whence: int = 0) -> int:
            if at == 0 and self.getvalue()[-1:] == b"\0" and self.tell() > 0 and self.tell() < len(self.getvalue()):
                self.getbuffer()[-1] = 1
            return super().seek(at, whence)

    with pytest.raises(SubjectError, match="stays as it is"):
        build(replace(request(), image=Changing(IMAGE)))


def test_a_key_that_is_not_the_certificates() -> None:
    other = ec.generate_private_key(ec.SECP256R1())
    for chain in ((), (issue(LEAF, MIDDLE),)):
        with pytest.raises(SubjectError, match="first certificate"):
            sign_manifest(b"", "goon", Signer(other, chain))


def test_keys_without_a_signature_form() -> None:
    for form in (Form("p521", "P-521"), Form("k1", "secp256k1")):
        with pytest.raises(SubjectError, match="P-256"):
            sign_manifest(b"", "goon", signer(form))
    edwards = Form("ed", "Ed25519")
    assert isinstance(edwards.key, ed25519.Ed25519PrivateKey)
    with pytest.raises(SubjectError, match="Ed25519"):
        sign_manifest(b"", "goon", Signer(edwards.key, (issue(edwards),)))  # type: ignore[arg-type]


def test_an_image_too_big_for_ustar() -> None:
    class Huge(io.BytesIO):
        """8 GiB of which only the beginning is there: the header is refused before the content is wanted."""

        def tell(self) -> int:
            return 8 * 2**30

    with pytest.raises(SubjectError, match="USTAR") as caught:
        build(replace(request(), image=Huge(IMAGE)))
    assert caught.value.requirement == "RES-003"


@settings(derandomize=True, max_examples=40, deadline=None)
@given(
    st.sampled_from(["goon", "A", "x" * 60, "v1.2.3-rc_4"]),
    st.integers(9, 14),
    st.binary(max_size=3000),
    st.integers(1, 2**21).map(lambda blocks: blocks * 512),
    st.sampled_from([LEAF, Form("rsa", "RSA-2048")]),
)
def test_what_was_built_is_read_back(
    tmp_path_factory: pytest.TempPathFactory, name: str, bits: int, tail: bytes, virtual: int, form: Form
) -> None:
    image = make_qcow2(bits=bits, virtual_size=virtual) + tail
    data = build(replace(request(name, image), signer=signer(form)))
    path = tmp_path_factory.getbasetemp() / "built.ova"
    path.write_bytes(data)
    package = open_package(path, PROFILE)
    assert package.image is not None
    assert data[package.image.offset : package.image.offset + package.image.size] == image
    assert package.sha256 == hashlib.sha256(data).hexdigest()
    for identity in ("PKG-001", "PKG-002", "PKG-003", "PKG-004", "PKG-005", "PKG-006", "PKG-007", "PKG-008", "PKG-010"):
        outcome = PACKAGE_CHECKS[identity](package, PROFILE, TRUST)
        assert outcome.verdict is Verdict.PASS, (identity, outcome)
