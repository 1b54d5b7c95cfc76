"""Passwords tried against crypt(5) hashes, by the system's libcrypt: it knows all that a guest's login knows, yescrypt
too, which no well-kept Python package does."""

import ctypes
from functools import cache

from conformance.errors import EnvironmentFault

_LIBRARY = "libcrypt.so.1"
_INVALID = 1  # CRYPT_SALT_INVALID of crypt.h


@cache
def _library() -> ctypes.CDLL:
    try:
        library = ctypes.CDLL(_LIBRARY)
    except OSError as error:
        raise EnvironmentFault(f"{_LIBRARY} is not here: apt-get install libcrypt1") from error
    library.crypt.argtypes = (ctypes.c_char_p, ctypes.c_char_p)
    library.crypt.restype = ctypes.c_char_p
    library.crypt_checksalt.argtypes = (ctypes.c_char_p,)
    return library


def is_hash(field: str) -> bool:
    """Whether a password field is a hash at all: what is none lets nobody in. Raises EnvironmentFault."""
    return bool(_library().crypt_checksalt(_bytes(field)) != _INVALID)


def opens(password: str, field: str) -> bool:
    """Whether a password fits a hash. Raises EnvironmentFault, and ValueError where it cannot be computed."""
    found = _library().crypt(_bytes(password), _bytes(field))
    if found is None or found.startswith(b"*"):
        raise ValueError("a form of hash that libcrypt does not compute here")
    return bool(found == _bytes(field))


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")
