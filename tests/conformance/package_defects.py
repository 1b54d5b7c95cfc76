"""Single defects of a package, as data: what it is, how it is made, the one id that owns it."""

import re
import struct
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID
from package_cases import (
    FAR_ROOT,
    HUGE_KEY,
    PACKED_OTHER,
    UPPER,
    added,
    archive,
    chained,
    entry,
    granting,
    leaf,
    middle,
    patched,
    rewrap,
    swapped,
)
from package_parts import ACL, BOOT, LEAF, MIDDLE, NOW, ROOT, Entry, Form, Kit, checked, issue, make_qcow2, with_sha1


def lines_of(edit: Callable[[bytes], bytes]) -> Kit:
    return Kit(edit_manifest=edit)


def cert_of(edit: Callable[[bytes], bytes]) -> Kit:
    return Kit(edit_certificate=edit)


def moved(source: int, to: int) -> Kit:
    def move(entries: list[Entry]) -> list[Entry]:
        rest = entries[:source] + entries[source + 1 :]
        return [*rest[:to], entries[source], *rest[to:]]

    return Kit(edit_entries=move)


def without(name: str) -> Kit:
    return Kit(edit_entries=lambda entries: [one for one in entries if one.name != name])


def damaged_header(data: bytes) -> bytes:
    at = data.rindex(b"auth/acl.xml")
    return data[:at] + b"B" + data[at + 1 :]


def base256(data: bytes) -> bytes:
    at = data.rindex(b"auth/acl.xml")
    block = data[at : at + 124] + b"\x80" + bytes(9) + b"\0\xca" + data[at + 136 : at + 512]
    return data[:at] + checked(block) + data[at + 512 :]


def loosened(text: bytes) -> bytes:
    """Set a bit of the leaf's last base64 digit that no byte of it takes."""
    digits = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
    at = text.index(b"=\n-----END")
    at -= text[at - 1 : at] == b"="
    return text[: at - 1] + digits[digits.index(text[at - 1]) + 1 :][:1] + text[at:]


NAMES = (replace(LEAF, name="leaf" + "x" * count) for count in range(9))
PADDED = next(form for form in NAMES if len(issue(form, MIDDLE).public_bytes(Encoding.DER)) % 3)
SPARE = Entry("notes", b"x")
DEFECTS: list[tuple[str, Kit, str]] = [
    # PKG-001: what the archive is made of
    ("empty file", archive(lambda data: b""), "PKG-001"),
    ("zeros", archive(lambda data: bytes(10240)), "PKG-001"),
    ("noise", archive(lambda data: bytes(range(7, 256)) * 99), "PKG-001"),
    ("a zip", archive(lambda data: b"PK\3\4" + data), "PKG-001"),
    ("half of it", archive(lambda data: data[: len(data) // 2]), "PKG-001"),
    ("cut in a header", archive(lambda data: data[: data.rindex(b"auth/acl.xml") + 100]), "PKG-001"),
    ("no end blocks", archive(lambda data: data[:-1024]), "PKG-001"),
    ("one end block", archive(lambda data: data[:-512]), "PKG-001"),
    ("odd length", archive(lambda data: data + bytes(5)), "PKG-001"),
    ("bytes behind the end", archive(lambda data: data + bytes(512) + b"x" + bytes(511)), "PKG-001"),
    ("data after one zero block", archive(lambda data: data[:-512] + b"x" + bytes(1023)), "PKG-001"),
    ("damaged header", archive(damaged_header), "PKG-001"),
    ("base-256 size", archive(base256), "PKG-001"),
    ("size that is no number", Kit(edit_entries=entry("disk.qcow2", fields=((124, b"-0000000001"),))), "PKG-001"),
    ("size beyond the file", Kit(edit_entries=entry("disk.qcow2", declared=1 << 30)), "PKG-001"),
    ("padding", archive(lambda data: data[:-1025] + b"x" + data[-1024:]), "PKG-001"),
    ("GNU magic", Kit(edit_entries=lambda all_: [replace(one, magic=b"ustar  \0") for one in all_]), "PKG-001"),
    ("v7 magic", Kit(edit_entries=lambda all_: [replace(one, magic=bytes(8)) for one in all_]), "PKG-001"),
    ("folder", Kit(edit_entries=added(Entry("auth", b"", b"5"))), "PKG-001"),
    ("folder with data", Kit(edit_entries=added(Entry("auth", bytes(512), b"5"), at=4)), "PKG-001"),
    ("symbolic link", Kit(edit_entries=added(Entry("link", b"", b"2", fields=((157, b"/etc/passwd"),)))), "PKG-001"),
    ("hard link", Kit(edit_entries=added(Entry("link", b"", b"1", fields=((157, b"app.ovf"),)))), "PKG-001"),
    ("device", Kit(edit_entries=added(Entry("null", b"", b"3"))), "PKG-001"),
    ("FIFO", Kit(edit_entries=added(Entry("pipe", b"", b"6"))), "PKG-001"),
    ("unknown type", Kit(edit_entries=entry("disk.qcow2", type=b"Z")), "PKG-001"),
    ("records only", Kit(edit_entries=lambda all_: [Entry("g", b"9 a=b\n", b"g")]), "PKG-001"),
    ("pax record", Kit(edit_entries=added(Entry("PaxHeader", b"20 mtime=1.5\n", b"x"), at=0)), "PKG-001"),
    ("global pax record", Kit(edit_entries=added(Entry("g", b"9 a=b\n", b"g"), at=0)), "PKG-001"),
    ("GNU long name", Kit(edit_entries=added(Entry("././@LongLink", b"disk.qcow2\0", b"L"), at=3)), "PKG-001"),
    ("GNU sparse", Kit(edit_entries=entry("disk.qcow2", type=b"S")), "PKG-001"),
    ("parent path", Kit(edit_entries=added(Entry("../x", b"x"))), "PKG-001"),
    ("absolute path", Kit(edit_entries=added(Entry("/x", b"x"))), "PKG-001"),
    ("other folder", Kit(edit_entries=added(Entry("etc/x", b"x"))), "PKG-001"),
    ("leading dot", Kit(edit_entries=added(Entry("./x", b"x"))), "PKG-001"),
    ("empty name", Kit(edit_entries=added(Entry("", b"x"))), "PKG-001"),
    ("non-ASCII name", Kit(edit_entries=added(Entry("\xe4", b"x"))), "PKG-001"),
    ("line feed in a name", Kit(edit_entries=added(Entry("a\nb", b"x"))), "PKG-001"),
    ("hidden bytes behind a name", Kit(edit_entries=entry("disk.qcow2", fields=((50, b"hidden"),))), "PKG-001"),
    ("bytes at a header's end", Kit(edit_entries=entry("disk.qcow2", fields=((510, b"x"),))), "PKG-001"),
    ("link name of a regular file", Kit(edit_entries=entry("disk.qcow2", fields=((157, b"x"),))), "PKG-001"),
    ("base-256 owner", Kit(edit_entries=entry("disk.qcow2", fields=((108, b"\x80\0\0\0\0\0\1\0"),))), "PKG-001"),
    ("image by an odd name", Kit(edit_entries=entry("disk.qcow2", name="../disk.qcow2")), "PKG-001"),
    ("odd name all over", Kit(image_name="_disk.qcow2"), "PKG-001"),
    ("duplicate", Kit(edit_entries=added(Entry("disk.qcow2", b"other"))), "PKG-001"),
    # PKG-002: order and base names
    ("manifest last", moved(1, 4), "PKG-002"),
    ("certificate before manifest", moved(2, 1), "PKG-002"),
    ("descriptor second", moved(0, 1), "PKG-002"),
    ("ACL before the image", moved(4, 3), "PKG-002"),
    ("manifest of another name", Kit(edit_entries=entry("app.mf", name="other.mf")), "PKG-002"),
    ("certificate of another name", Kit(edit_entries=entry("app.cert", name="other.cert")), "PKG-002"),
    # PKG-003: what belongs here
    ("no manifest", without("app.mf"), "PKG-003"),
    ("no certificate", without("app.cert"), "PKG-003"),
    ("no descriptor", Kit(edit_files=lambda files: {k: v for k, v in files.items() if k != "app.ovf"},
                          edit_entries=lambda all_: sorted(all_, key=lambda one: one.name != "app.mf")), "PKG-003"),
    ("two manifests", Kit(edit_entries=added(Entry("b.mf", b"x"))), "PKG-003"),
    ("two descriptors", Kit(edit_entries=added(Entry("b.ovf", b"x"))), "PKG-003"),
    ("unknown file", Kit(edit_entries=added(SPARE)), "PKG-003"),
    ("unknown file, listed", Kit(further=(("notes", b"x"),)), "PKG-003"),
    ("referenced file of another kind", Kit(further=(("seed.iso", b"x"),), edit_descriptor=lambda text: text.replace(
        "</References>", '<File ovf:id="iso" ovf:href="seed.iso"/></References>')), "PKG-003"),
    ("referenced file missing", without("auth/acl.xml"), "PKG-003"),
    ("unreferenced ACL", swapped('<File ovf:id="acl" ovf:href="auth/acl.xml"/>', ""), "PKG-003"),
    # PKG-004: the manifest
    ("empty manifest", lines_of(lambda text: b""), "PKG-004"),
    ("CR LF", lines_of(lambda text: text.replace(b"\n", b"\r\n")), "PKG-004"),
    ("OpenSSL 3 lines", lines_of(lambda text: text.replace(b"SHA256(", b"SHA2-256(")), "PKG-004"),
    ("sha256sum --tag", lines_of(lambda text: text.replace(b"(", b" (").replace(b")=", b") =")), "PKG-004"),
    ("sha256sum", lines_of(lambda text: re.sub(rb"SHA256\((.*)\)= (.*)", rb"\2  \1", text)), "PKG-004"),
    ("SHA-1", lines_of(lambda text: re.sub(rb"SHA256(.*)= .*", rb"SHA1\1= " + b"a" * 40, text)), "PKG-004"),
    ("SHA-512", lines_of(lambda text: re.sub(rb"SHA256(.*)= .*", rb"SHA512\1= " + b"a" * 128, text)), "PKG-004"),
    ("short digest", lines_of(lambda text: text[:-2] + b"\n"), "PKG-004"),
    ("mixed-case digest", lines_of(lambda text: UPPER.sub(lambda f: f[0][:32] + b"aA" + f[0][34:], text)), "PKG-004"),
    ("two blanks", lines_of(lambda text: text.replace(b")= ", b")=  ")), "PKG-004"),
    ("blank line", lines_of(lambda text: b"\n" + text), "PKG-004"),
    ("byte order mark", lines_of(lambda text: b"\xef\xbb\xbf" + text), "PKG-004"),
    ("no last line feed", lines_of(lambda text: text[:-1]), "PKG-004"),
    ("listed twice", lines_of(lambda text: text + text.splitlines(True)[0]), "PKG-004"),
    ("not listed", lines_of(lambda text: b"".join(text.splitlines(True)[:-1])), "PKG-004"),
    ("listed, not there", lines_of(lambda text: text + b"SHA256(gone)= " + b"a" * 64 + b"\n"), "PKG-004"),
    ("lists the certificate", lines_of(lambda text: text + b"SHA256(app.cert)= " + b"a" * 64 + b"\n"), "PKG-004"),
    # PKG-005: the digests
    ("image changed", Kit(edit_entries=lambda all_: [
        replace(one, data=one.data[:-1] + b"x") if one.name == "disk.qcow2" else one for one in all_]), "PKG-005"),
    ("digests exchanged", lines_of(lambda text: re.sub(
        rb"(?s)(.*= )(.{64})(.*?= )(.{64})", rb"\1\4\3\2", text)), "PKG-005"),
    # PKG-006: the signature
    ("manifest changed after signing", Kit(edit_entries=lambda all_: [
        replace(one, data=b"".join(sorted(one.data.splitlines(True)))) if one.name == "app.mf" else one for one in all_
    ]), "PKG-006"),
    ("empty certificate file", cert_of(lambda text: b""), "PKG-006"),
    ("no certificate in it", cert_of(lambda text: text.splitlines(True)[0]), "PKG-006"),
    ("no signature in it", cert_of(lambda text: text.partition(b"\n")[2]), "PKG-006"),
    ("signature of OpenSSL 3", cert_of(lambda text: b"EC-SHA2-" + text[3:]), "PKG-006"),
    ("SHA-512 line", cert_of(lambda text: b"SHA512" + text[6:]), "PKG-006"),
    ("name of another manifest", cert_of(lambda text: text.replace(b"app.mf", b"b.mf", 1)), "PKG-006"),
    ("upper and lower case mixed", cert_of(lambda text: text.replace(b"= 30", b"= 30aA", 1)), "PKG-006"),
    ("signature with a tail", cert_of(lambda text: text.replace(b"\n", b"00\n", 1)), "PKG-006"),
    ("odd digits", cert_of(lambda text: text.replace(b"\n", b"0\n", 1)), "PKG-006"),
    ("CR LF in the certificate file", cert_of(lambda text: text.replace(b"\n", b"\r\n")), "PKG-006"),
    ("blank line between", cert_of(lambda text: text.replace(b"-----\n-----", b"-----\n\n-----")), "PKG-006"),
    ("text between", cert_of(lambda text: text.replace(b"-----\n-----", b"-----\nsubject=x\n-----")), "PKG-006"),
    ("PKCS#7", cert_of(lambda text: text + b"-----BEGIN PKCS7-----\nAAAA\n-----END PKCS7-----\n"), "PKG-006"),
    ("private key", cert_of(lambda text: text + b"-----BEGIN PRIVATE KEY-----\nAA==\n-----END PRIVATE KEY-----\n"),
     "PKG-006"),
    ("trusted label", cert_of(lambda text: text.replace(b" CERTIFICATE", b" TRUSTED CERTIFICATE")), "PKG-006"),
    ("not closed", cert_of(lambda text: text[:-10]), "PKG-006"),
    ("garbage for a certificate", cert_of(lambda text: re.sub(rb"MII", b"AII", text)), "PKG-006"),
    ("ragged lines", cert_of(lambda text: rewrap(text, 64).replace(b"-----\nMII", b"-----\nM\nII")), "PKG-006"),
    ("PEM of 80 columns", cert_of(lambda text: rewrap(text, 80)), "PKG-006"),
    ("base64 with loose bits", Kit(signer=PADDED, edit_certificate=loosened), "PKG-006"),
    ("leaf second", chained(issue(MIDDLE, ROOT), issue(LEAF, MIDDLE)), "PKG-006"),
    ("signed by another key", chained(issue(LEAF, MIDDLE), issue(MIDDLE, ROOT), signer=replace(LEAF, name="else")),
     "PKG-006"),
    # PKG-007: the chain
    ("expired leaf", leaf(end=NOW - timedelta(days=1)), "PKG-007"),
    ("leaf of the future", leaf(begin=NOW + timedelta(days=1)), "PKG-007"),
    ("expired issuer", middle(end=NOW - timedelta(days=1)), "PKG-007"),
    ("issuer missing", chained(issue(LEAF, MIDDLE)), "PKG-007"),
    ("other root", chained(issue(LEAF, FAR_ROOT), issue(FAR_ROOT)), "PKG-007"),
    ("signed by itself", chained(issue(LEAF)), "PKG-007"),
    ("issuer of the same name", chained(issue(LEAF, MIDDLE), issue(replace(MIDDLE, kind="P-384"), ROOT)), "PKG-007"),
    ("issuer is no CA", middle(ca=False, path_length=None), "PKG-007"),
    ("issuer without basic constraints", middle(ca=None), "PKG-007"),
    ("issuer that may not sign", middle(usage="crl_sign"), "PKG-007"),
    ("path too long", chained(issue(LEAF, Form("low", ca=True)), issue(Form("low", ca=True), MIDDLE),
                              issue(MIDDLE, ROOT)), "PKG-007"),
    ("leaf that may not sign", leaf(usage="key_encipherment"), "PKG-007"),
    ("server's leaf", leaf(purposes=(ExtendedKeyUsageOID.SERVER_AUTH,)), "PKG-007"),
    ("unknown critical extension", leaf(further=(x509.UnrecognizedExtension(
        x509.ObjectIdentifier("1.3.6.1.4.1.99999.1"), b"\5\0"),)), "PKG-007"),
    # PKG-008: strength
    ("RSA of 1,024 bits", leaf(kind="RSA-1024"), "PKG-008"),
    ("issuer of 1,024 bits", middle(kind="RSA-1024"), "PKG-008"),
    ("P-521", leaf(kind="P-521"), "PKG-008"),
    ("secp256k1", leaf(kind="secp256k1"), "PKG-008"),
    ("Ed25519", leaf(kind="Ed25519"), "PKG-008"),
    ("DSA", leaf(kind="DSA"), "PKG-008"),
    ("SHA-1", chained(with_sha1(issue(LEAF, replace(MIDDLE, kind="RSA-2048")), replace(MIDDLE, kind="RSA-2048").key),
                      issue(replace(MIDDLE, kind="RSA-2048"), ROOT)), "PKG-008"),
    # PKG-009: time left
    ("89 days left", leaf(end=NOW + timedelta(days=89)), "PKG-009"),
    ("issuer with 89 days left", middle(end=NOW + timedelta(days=89)), "PKG-009"),
    # PKG-010: the image as declared
    ("no size", Kit(edit_descriptor=lambda text: re.sub(r' ovf:size="\d+"', "", text)), "PKG-010"),
    ("wrong size", swapped('ovf:size="24576"', 'ovf:size="24577"'), "PKG-010"),
    ("wrong capacity", swapped('ovf:capacity="1048576"', 'ovf:capacity="1048577"'), "PKG-010"),
    ("wrong unit", swapped('ovf:capacity="1048576"', 'ovf:capacity="1" ovf:capacityAllocationUnits="byte * 10^6"'),
     "PKG-010"),
    ("VMDK", swapped(PACKED_OTHER, "http://www.vmware.com/interfaces/specifications/vmdk.html#streamOptimized"),
     "PKG-010"),
    ("compression", swapped("<File ovf:id=", '<File ovf:compression="gzip" ovf:id='), "PKG-010"),
    ("chunks", swapped("<File ovf:id=", '<File ovf:chunkSize="8192" ovf:id='), "PKG-010"),
    ("parent", swapped("<Disk ovf", '<Disk ovf:parentRef="base" ovf'), "PKG-010"),
    ("no image", without("disk.qcow2"), "PKG-010"),
    ("second disk", swapped("</DiskSection>", '<Disk ovf:diskId="vdb" ovf:capacity="1"/></DiskSection>'), "PKG-010"),
    # PKG-011: the image as it is
    ("raw", Kit(image=BOOT + bytes(24576 - 512), edit_descriptor=lambda text: re.sub(
        r'ovf:capacity="\d+"', 'ovf:capacity="24576"', text)), "PKG-011"),
    ("version 1", patched(7, b"\1"), "PKG-011"),
    ("version 4", patched(7, b"\4"), "PKG-011"),
    ("cut header", Kit(image=make_qcow2()[:80]), "PKG-011"),
    ("backing file", patched(8, struct.pack(">QI", 512, 4)), "PKG-011"),
    ("cluster bits 8", patched(23, b"\x08"), "PKG-011"),
    ("cluster bits 22", patched(23, b"\x16"), "PKG-011"),
    ("encryption", patched(35, b"\2"), "PKG-011"),
    ("snapshot", patched(63, b"\1"), "PKG-011"),
    ("dirty", patched(79, b"\1"), "PKG-011"),
    ("corrupt", patched(79, b"\2"), "PKG-011"),
    ("external data file", patched(79, b"\4"), "PKG-011"),
    ("raw external", patched(95, b"\2"), "PKG-011"),
    ("unknown incompatible bit", patched(79, b"\x40"), "PKG-011"),
    ("extended L2 with small clusters", patched(79, b"\x10"), "PKG-011"),
    ("compression bit without type", patched(79, b"\x08"), "PKG-011"),
    ("compression type without bit", patched(104, b"\1"), "PKG-011"),
    ("refcount order 7", patched(99, b"\7"), "PKG-011"),
    ("header length 105", patched(103, b"\x69"), "PKG-011"),
    ("header length 80", patched(103, b"\x50"), "PKG-011"),
    ("header padding", patched(105, b"\1"), "PKG-011"),
    ("extension over the cluster", patched(112, struct.pack(">II", 0x12345678, 9999)), "PKG-011"),
    ("extension twice", Kit(image=make_qcow2(extensions=struct.pack(">II", 7, 0) * 2)), "PKG-011"),
    ("data file extension", patched(112, struct.pack(">II", 0x44415441, 0)), "PKG-011"),
    ("bitmaps outside", patched(112, struct.pack(">IIIIQQ", 0x23852875, 24, 1, 0, 64, 1 << 20)), "PKG-011"),
    ("no refcount table", patched(56, bytes(4)), "PKG-011"),
    ("refcount table outside", patched(48, struct.pack(">Q", 1 << 30)), "PKG-011"),
    ("refcount table not aligned", patched(48, struct.pack(">Q", 4097)), "PKG-011"),
    ("refcount block outside", patched(4096, struct.pack(">Q", 1 << 30)), "PKG-011"),
    ("L1 outside", patched(40, struct.pack(">Q", 1 << 30)), "PKG-011"),
    ("L1 at 0", patched(40, bytes(8)), "PKG-011"),
    ("L1 not aligned", patched(40, struct.pack(">Q", 3 * 4096 + 8)), "PKG-011"),
    ("L1 too small", patched(36, bytes(4)), "PKG-011"),
    ("L1 huge", patched(36, b"\xff" * 4), "PKG-011"),
    ("L2 outside", patched(3 * 4096, struct.pack(">Q", 1 << 30 | 1 << 63)), "PKG-011"),
    ("L2 not aligned", patched(3 * 4096, struct.pack(">Q", 4 * 4096 + 512 | 1 << 63)), "PKG-011"),
    ("cluster outside", patched(4 * 4096 + 8, struct.pack(">Q", 1 << 30 | 1 << 63)), "PKG-011"),
    ("cluster not aligned", patched(4 * 4096 + 8, struct.pack(">Q", 5 * 4096 + 512 | 1 << 63)), "PKG-011"),
    ("reserved bits", patched(4 * 4096 + 8, struct.pack(">Q", 5 * 4096 | 1 << 57)), "PKG-011"),
    ("compressed cluster outside", patched(4 * 4096 + 8, struct.pack(">Q", 1 << 62 | 1 << 30)), "PKG-011"),
    ("first cluster packed badly", patched(4 * 4096, struct.pack(">Q", 1 << 62 | 100)), "PKG-011"),
    ("no boot sector", Kit(image=make_qcow2(b"")), "PKG-011"),
    ("disk of nothing", Kit(image=make_qcow2(virtual_size=0)), "PKG-011"),
    # PKG-012: the ACL
    ("ACL of another app", Kit(acl=ACL.replace(b'application="probe"', b'application="other"').replace(
        b"app/probe", b"app/other")), "PKG-012"),
    ("ACL that is no XML", Kit(acl=b"allow all"), "PKG-012"),
    ("ACL with a foreign element", Kit(acl=ACL.replace(b"</acl>", b"<deny/></acl>")), "PKG-012"),
    # PKG-013 and PKG-014: its grants
    ("publish on the platform's topics", granting(("publish", "racs/cell/1/load")), "PKG-013"),
    ("subscribe all", granting(("subscribe", "#")), "PKG-013"),
    ("another app's topics", granting(("subscribe", "app/other/x")), "PKG-013"),
    ("broken filter", granting(("subscribe", "racs/cell/+x")), "PKG-013"),
    ("shadowed", granting(("subscribe", "racs/cell/#"), ("subscribe", "racs/cell/+/load")), "PKG-014"),
    # PKG-015: bounds
    ("nine members", Kit(edit_entries=added(*(Entry(f"n{at}", b"") for at in range(4)))), "PKG-015"),
    ("huge manifest", Kit(edit_entries=lambda all_: [
        replace(one, data=bytes(65537)) if one.name == "app.mf" else one for one in all_]), "PKG-015"),
    ("huge certificate file", cert_of(lambda text: text + bytes(65536)), "PKG-015"),
    ("huge descriptor", Kit(edit_descriptor=lambda text: text + " " * (1 << 20)), "PKG-015"),
    ("huge ACL", Kit(acl=ACL + b" " * (1 << 20)), "PKG-015"),
    ("eleven certificates", chained(issue(LEAF, MIDDLE), *[issue(MIDDLE, ROOT)] * 10), "PKG-015"),
    ("RSA of 8,200 bits", chained(issue(HUGE_KEY, MIDDLE), issue(MIDDLE, ROOT)), "PKG-015"),
    ("deep XML", swapped("<Info>Machine</Info>", "<Info>" + "<x>" * 40 + "</x>" * 40 + "</Info>"), "PKG-015"),
]  # fmt: skip
# What the contract lets fail twice: a file of the ACL's base name elsewhere is a stranger, or an odd name, besides.
TWICE: list[tuple[str, Kit, set[str]]] = [
    (
        "thousands of records",
        Kit(edit_entries=added(*[Entry("PaxHeader", b"9 a=b\n", b"x")] * 3000, at=4)),
        {"PKG-001", "PKG-015"},
    ),
    ("ACL at the root", Kit(acl_name="acl.xml"), {"PKG-003", "PKG-012"}),
    ("ACL in another folder", Kit(acl_name="conf/acl.xml"), {"PKG-001", "PKG-012"}),
]
