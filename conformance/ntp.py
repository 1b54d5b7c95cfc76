"""The part of NTP that server and judge share: what a client request is, time stamps. RFC 5905, RFC 1305 (NTPv3)."""

import struct

PACKET_BYTES = 48
CLIENT, SERVER = 3, 4  # modes, RFC 5905 7.3
VERSIONS = (3, 4)
_ERA_S = 1 << 32
_SINCE_1900_S = 2_208_988_800  # from 1900 (NTP era 0) to 1970


def request_fault(data: bytes) -> str:
    """Why these bytes are no NTPv3 or NTPv4 client request; "" when they are one.

    Behind the 48 bytes may stand extension fields and a MAC, both whole 32-bit words (RFC 5905 7.3, 7.5).
    """
    if len(data) < PACKET_BYTES:
        return f"{len(data)} bytes, a request has at least {PACKET_BYTES}"
    if len(data) % 4:
        return f"{len(data)} bytes are no whole 32-bit words"
    version, mode = data[0] >> 3 & 7, data[0] & 7
    if version not in VERSIONS:
        return f"version {version}"
    if mode != CLIENT:
        return f"mode {mode}, a client's request has mode {CLIENT}"
    return ""


def timestamp(time: float) -> bytes:
    """The 64-bit time stamp of seconds since 1970, in whatever era it lies (RFC 5905 6)."""
    whole, fraction = divmod(time + _SINCE_1900_S, 1)
    return struct.pack("!II", int(whole) % _ERA_S, int(fraction * _ERA_S))


def short(seconds: float) -> bytes:
    """The 32-bit short format of root delay and root dispersion (RFC 5905 6)."""
    return struct.pack("!I", round(seconds * 65536))
