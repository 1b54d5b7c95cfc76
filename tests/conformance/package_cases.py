"""Variations of a package that are right, as data, and the words in which the cases are written."""

import re
import struct
import zlib
from collections.abc import Callable
from dataclasses import replace

from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID
from package_parts import BOOT, LEAF, MIDDLE, ROOT, Entry, Form, Kit, issue, make_qcow2


def entry(name: str, /, **changes: object) -> Callable[[list[Entry]], list[Entry]]:
    """Change the member of that name."""
    return lambda entries: [replace(one, **changes) if one.name == name else one for one in entries]  # type: ignore[arg-type]


def added(*more: Entry, at: int = 99) -> Callable[[list[Entry]], list[Entry]]:
    return lambda entries: [*entries[:at], *more, *entries[at:]]


def patched(at: int, value: bytes, **parts: object) -> Kit:
    """A package whose image has other bytes there, all else right."""
    image = make_qcow2(**parts)  # type: ignore[arg-type]
    return Kit(image=image[:at] + value + image[at + len(value) :])


def swapped(old: str, new: str) -> Kit:
    return Kit(edit_descriptor=lambda text: text.replace(old, new))


def chained(*certificates: x509.Certificate, signer: Form = LEAF) -> Kit:
    return Kit(signer=signer, chain=certificates)


def leaf(**changes: object) -> Kit:
    form = replace(LEAF, **changes)  # type: ignore[arg-type]
    return chained(issue(form, MIDDLE), issue(MIDDLE, ROOT), signer=form)


def middle(**changes: object) -> Kit:
    form = replace(MIDDLE, **changes)  # type: ignore[arg-type]
    return chained(issue(LEAF, form), issue(form, ROOT))


def archive(edit: Callable[[bytes], bytes]) -> Kit:
    return Kit(edit_archive=edit)


def granting(*allows: tuple[str, str]) -> Kit:
    lines = "".join(f'<allow access="{access}" topic="{topic}"/>' for access, topic in allows)
    return Kit(acl=f'<acl xmlns="urn:racs:acl:1" application="probe">{lines}</acl>'.encode())


def compressed_image(level: int = 9) -> bytes:
    """The first cluster deflated, at byte 100 of the data cluster."""
    packer = zlib.compressobj(level, zlib.DEFLATED, -12)
    data = packer.compress(BOOT.ljust(4096, b"\0")) + packer.flush()
    image = bytearray(make_qcow2(bytes(100) + data))
    shift = 62 - (12 - 8)
    image[4 * 4096 : 4 * 4096 + 8] = struct.pack(">Q", 1 << 62 | 0 << shift | 5 * 4096 + 100)
    return bytes(image)


def extended_image() -> bytes:
    """Extended L2 entries, 16 KiB clusters, the first subcluster allocated."""
    image = bytearray(make_qcow2(bits=14))
    image[72:80] = struct.pack(">Q", 16)
    image[4 << 14 : (4 << 14) + 16] = struct.pack(">QQ", 5 << 14 | 1 << 63, 1)
    return bytes(image)


HUGE_KEY = replace(LEAF, modulus=(1 << 8199) + 9)
FAR_ROOT = Form("far root", ca=True, usage="key_cert_sign")
NEW_KEY = Form("middle", kind="P-384", ca=True, usage="key_cert_sign")
RSA_ROOT = Form("rsa root", kind="RSA-2048", ca=True)
UPPER = re.compile(rb"[0-9a-f]{64}")
PACKED_OTHER = "http://www.gnome.org/~markmc/qcow-image-format.html"

VALID: dict[str, Kit] = {
    "as it should be": Kit(),
    "without a bus": Kit(acl=None),
    "record size of 10 KiB": archive(lambda data: data + bytes(-len(data) % 10240)),
    "type NUL": Kit(edit_entries=entry("disk.qcow2", type=b"\0")),
    "path in prefix": Kit(edit_entries=entry("auth/acl.xml", name="acl.xml", fields=((345, b"auth"),))),
    "upper-case hex": Kit(edit_manifest=lambda text: UPPER.sub(lambda found: found[0].upper(), text)),
    "manifest in another order": Kit(edit_manifest=lambda text: b"".join(reversed(text.splitlines(True)))),
    "RSA leaf": leaf(kind="RSA-2048"),
    "P-384 leaf": leaf(kind="P-384"),
    "root included": chained(issue(LEAF, MIDDLE), issue(ROOT), issue(MIDDLE, ROOT)),
    "one that nobody needs": chained(issue(LEAF, MIDDLE), issue(FAR_ROOT), issue(MIDDLE, ROOT)),
    "self-issued issuers do not count": chained(issue(LEAF, NEW_KEY), issue(NEW_KEY, MIDDLE), issue(MIDDLE, ROOT)),
    "leaf straight from the root": chained(issue(LEAF, ROOT)),
    "leaf without extensions": leaf(usage=None, purposes=None),
    "any purpose": leaf(purposes=(ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE,)),
    "PEM of 76 columns": Kit(edit_certificate=lambda text: rewrap(text, 76)),
    "qcow2 v2": Kit(image=make_qcow2(version=2)),
    "clusters of 512 bytes": Kit(image=make_qcow2(bits=9, virtual_size=32768)),
    "clusters of 64 KiB": Kit(image=make_qcow2(bits=16)),
    "GPT": Kit(image=make_qcow2(bytes(512) + b"EFI PART")),
    "compressed cluster": Kit(image=compressed_image()),
    "extended L2": Kit(image=extended_image()),
    "unknown extension": Kit(image=make_qcow2(extensions=struct.pack(">II", 0x12345678, 3) + bytes(8))),
    "unknown compatible bit": patched(80, b"\x40"),
    "lazy refcounts": patched(87, b"\x01"),
    "snapshot offset without snapshots": patched(64, struct.pack(">Q", 4096)),
    "backing size without a name": patched(16, b"\0\0\0\x09"),
    "last cluster cut": Kit(image=make_qcow2()[:-100]),
    "zero cluster": patched(4 * 4096 + 8, struct.pack(">Q", 1)),
    "format by another host": swapped("http://www.gnome", "http://people.gnome"),
    "format with a fragment": swapped("format.html", "format.html#v3"),
    "capacity in KiB": swapped('="1048576"', '="1024" ovf:capacityAllocationUnits="byte * 2^10"'),
    "ACL in full": granting(("subscribe", "racs/area/#"), ("subscribe", "app/probe/+"), ("publish", "app/probe/#")),
}  # fmt: skip


def rewrap(text: bytes, columns: int) -> bytes:
    """The .cert with PEM lines of another width."""

    def wrap(found: re.Match[bytes]) -> bytes:
        body = found[2].replace(b"\n", b"")
        lines = [body[at : at + columns] + b"\n" for at in range(0, len(body), columns)]
        return found[1] + b"".join(lines) + found[3]

    return re.sub(rb"(-----BEGIN [A-Z]+-----\n)(.*?)(-----END)", wrap, text, flags=re.DOTALL)
