"""qcow2 images by hand (QEMU's docs/interop/qcow2), and the corpus's steps on them."""

import struct
import zlib
from collections.abc import Sequence

from byte_steps import Step, encoded

# "Header": where each field stands and its width in bytes
_FIELDS = {
    "magic": (0, 4), "version": (4, 4), "backing_offset": (8, 8), "backing_size": (16, 4), "cluster_bits": (20, 4),
    "size": (24, 8), "crypt": (32, 4), "l1_size": (36, 4), "l1_offset": (40, 8), "refcounts_offset": (48, 8),
    "refcounts_clusters": (56, 4), "snapshots": (60, 4), "snapshots_offset": (64, 8), "incompatible": (72, 8),
    "compatible": (80, 8), "autoclear": (88, 8), "refcount_order": (96, 4), "header_length": (100, 4),
    "compression_type": (104, 1), "padding": (105, 1),
}  # fmt: skip
_TABLES = {"refcounts": 1, "L1": 3, "L2": 4}  # the clusters in which make_qcow2 puts them
BOOT = bytes(510) + b"\x55\xaa"
ZSTD, EXTENDED_L2 = 8, 16


def make_qcow2(
    first: bytes = BOOT, virtual_size: int = 1 << 20, bits: int = 12, version: int = 3, extensions: bytes = b""
) -> bytes:
    """A qcow2 image: header, refcount table and block, L1, L2 and one data cluster, one cluster each."""
    cluster = 1 << bits
    header = struct.pack(
        ">4sIQIIQIIQQIIQ",
        b"QFI\xfb", version, 0, 0, bits, virtual_size, 0,
        -(-virtual_size // (cluster // 8 * cluster)), 3 * cluster, cluster, 1, 0, 0,
    )  # fmt: skip
    if version == 3:
        header += struct.pack(">QQQII", 0, 0, 0, 4, 112) + bytes(8)
    header += extensions + bytes(8)
    copied = 1 << 63
    clusters = [
        header,
        struct.pack(">Q", 2 * cluster),
        struct.pack(">6H", *[1] * 6),
        struct.pack(">Q", 4 * cluster | copied),
        struct.pack(">Q", 5 * cluster | copied),
        first,
    ]
    return b"".join(data.ljust(cluster, b"\0") for data in clusters)


def compressed(image: bytes, method: str) -> bytes:
    """The image with its first cluster compressed ("deflate" or "zstd"), 100 bytes into the data cluster."""
    (bits,) = struct.unpack(">I", image[20:24])
    at, l2 = 5 << bits, 4 << bits
    plain = image[at : at + (1 << bits)]
    if method == "deflate":
        packer = zlib.compressobj(9, zlib.DEFLATED, -12)
        packed = packer.compress(plain) + packer.flush()
    else:
        packed = _zstd(plain)
        image = image[:72] + struct.pack(">Q", ZSTD) + image[80:104] + b"\1" + image[105:]
    image = image[:at] + bytes(100) + packed.ljust((1 << bits) - 100, b"\0")
    return image[:l2] + struct.pack(">Q", 1 << 62 | at + 100) + image[l2 + 8 :]


def _zstd(plain: bytes) -> bytes:
    """A frame of one segment (RFC 8878 3.1.1): zeros as runs, the boot signature as it is."""
    assert plain == BOOT.ljust(len(plain), b"\0")
    head = struct.pack("<IBH", 0xFD2FB528, 0x60, len(plain) - 256)
    blocks = ((510, 1, b"\0"), (2, 0, plain[510:512]), (len(plain) - 512, 1, b"\0"))
    ends = (0, 0, 1)
    return head + b"".join(
        (size << 3 | kind << 1 | last).to_bytes(3, "little") + data
        for (size, kind, data), last in zip(blocks, ends, strict=True)
    )


def extended(image: bytes) -> bytes:
    """The image with extended L2 entries, the first subcluster allocated; its clusters have 16 KiB or more."""
    (bits,) = struct.unpack(">I", image[20:24])
    l2 = 4 << bits
    image = image[:72] + struct.pack(">Q", EXTENDED_L2) + image[80:]
    return image[:l2] + struct.pack(">QQ", 5 << bits | 1 << 63, 1) + image[l2 + 16 :]


def change_image(steps: Sequence[Step], image: bytes | None) -> bytes:
    """The base's image, or another, after the corpus's steps."""
    image = make_qcow2() if image is None else image
    for step in steps:
        if "image" in step:
            image = _make(step["image"])
        elif "qcow2" in step:
            at, width = _FIELDS[step["qcow2"]]
            image = image[:at] + step["value"].to_bytes(width) + image[at + width :]
        else:
            at = (_TABLES[step["entry"]] << image[23]) + 8 * step.get("index", 0)
            image = image[:at] + step["value"].to_bytes(8) + image[at + 8 :]
    return image


def _make(wanted: Step) -> bytes:
    """An image by its table: first (text), virtual_size, bits, version, extensions ([type, text] each), compressed
    ("deflate", "zstd"), extended_l2 (true)."""
    plain = {key: wanted[key] for key in ("virtual_size", "bits", "version") if key in wanted}
    first = encoded(wanted["first"]) if "first" in wanted else BOOT
    extensions = b"".join(
        struct.pack(">II", kind, len(text)) + encoded(text).ljust(-(-len(text) // 8) * 8, b"\0")
        for kind, text in wanted.get("extensions", ())
    )
    image = make_qcow2(first, extensions=extensions, **plain)
    image = extended(image) if wanted.get("extended_l2") else image
    return compressed(image, wanted["compressed"]) if "compressed" in wanted else image
