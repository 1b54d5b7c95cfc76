"""Files of keys that are not text: PKCS#12 (RFC 7292) and Java's keystores, JKS and JCEKS (the classes JavaKeyStore of
OpenJDK). Those that hold certificates alone, as a distribution's cacerts, are none.
"""

import binascii
import re
import struct

# SEQUENCE, version 3, and the SEQUENCE of the content; lengths may be left open (BER).
_PFX = re.compile(rb"\x30(?:[\x20-\x80]|\x81.|\x82..|\x83...)\x02\x01\x03\x30", re.S)
# keyBag and pkcs8ShroudedKeyBag, 1.2.840.113549.1.12.10.1.1 and .2: they stand in the clear, what they hold does not.
_KEY_BAGS = re.compile(rb"\x06\x0b\x2a\x86\x48\x86\xf7\x0d\x01\x0c\x0a\x01[\x01\x02]")
# encryptedData of RFC 5652, 1.2.840.113549.1.7.6: a part that nobody sees without the password, mostly certificates.
_ENCRYPTED = b"\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x07\x06"
_PEM = re.compile(rb"-----BEGIN PKCS12-----([A-Za-z0-9+/=\s]+)-----END")
_JAVA = (b"\xfe\xed\xfe\xed", b"\xce\xce\xce\xce")
_CERTIFICATE = 2  # an entry's tag; 1 is a private key, 3 a secret one


def find_key(content: bytes) -> str:
    """What a file with a key is, with its article; "" for others."""
    store = _pkcs12(content)
    if store:
        return "a PKCS#12 file with a private key" if _KEY_BAGS.search(store) else ""
    return "a Java keystore with a key" if content[:4] in _JAVA and _java_has_key(content) else ""


def is_closed(content: bytes) -> bool:
    """Whether a PKCS#12 file has no key in sight, but a part that is encrypted as a whole. OpenSSL, GnuTLS, NSS and
    Java put certificates alone into such a one, and keys, encrypted one by one, into another."""
    store = _pkcs12(content)
    return _ENCRYPTED in store and not _KEY_BAGS.search(store)


def _pkcs12(content: bytes) -> bytes:
    """A PKCS#12 file, out of its PEM where it is in one; b"" where it is none."""
    armoured = _PEM.match(content)
    try:
        store = binascii.a2b_base64(armoured[1]) if armoured else content
    except binascii.Error:
        return b""
    return store if _PFX.match(store) else b""


def _java_has_key(content: bytes) -> bool:
    """Whether an entry is anything but a certificate, as far as the file can be read."""
    try:
        version, count = struct.unpack_from(">2I", content, 4)
        at = 12
        for _ in range(count):
            (tag,) = struct.unpack_from(">I", content, at)
            if tag != _CERTIFICATE:
                return True
            at += 4 + _text_bytes(content, at + 4) + 8  # alias, date
            at += _text_bytes(content, at) if version == 2 else 0  # the certificate's type
            at += 4 + int(struct.unpack_from(">I", content, at)[0])
    except struct.error:
        return False
    return False


def _text_bytes(content: bytes, at: int) -> int:
    return 2 + int(struct.unpack_from(">H", content, at)[0])
