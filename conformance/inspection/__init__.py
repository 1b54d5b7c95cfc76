"""What was seen inside an image: facts without verdicts, and never the content of a secret, only where it lies."""

from collections.abc import Mapping
from dataclasses import dataclass, fields, is_dataclass
from typing import Any, Literal, get_args, get_origin, get_type_hints

# Troubles with a remedy of their own: how they are told, and how they begin.
BEYOND_THE_DISK = "it ends behind the disk's end"
BEYOND_A_BOUND = "more than"


@dataclass(frozen=True, slots=True)
class Volume:
    """A part of the disk that has a content of its own: a partition, a logical volume, an initramfs.

    kind is "ext4", "xfs", "FAT", "cpio", "swap" ..., "" where it is not known. "no files" is what holds none by its
    nature: swap, boot code, an empty partition. trouble says why an unread volume was not read. What was not unmounted
    was read, but for the changes that its journal holds.
    """

    name: str
    kind: str
    state: Literal["read", "no files", "unread", "not unmounted"]
    trouble: str = ""
    system: bool = False
    """Whether it is the root of a system that boots."""
    size: int = 0
    """In bytes; 0 where it is not known."""
    mounted: str = ""
    """Where its system mounts it; "" where none does."""


@dataclass(frozen=True, slots=True)
class System:
    """What a root file system says of itself: ids are ID and ID_LIKE of os-release in lower case."""

    volume: str
    ids: tuple[str, ...]
    name: str
    release_file: bool
    """/etc/redhat-release."""
    rpm: bool
    dpkg: bool


@dataclass(frozen=True, slots=True)
class Secret:
    """A file that holds a secret, what it is ("an OpenSSH private key") and in which line, 1-based.

    packaged says whether the file is as its package delivered it; doubt why that cannot be told.
    """

    volume: str
    path: str
    kind: Literal["private key", "shell history", "cloud credential"]
    what: str
    line: int
    packaged: bool = False
    doubt: str = ""


@dataclass(frozen=True, slots=True)
class Account:
    """An account whose password is empty, well known, or could not be tried (doubt says why)."""

    volume: str
    path: str
    line: int
    name: str
    password: Literal["empty", "well known", "not tried"]
    doubt: str = ""


@dataclass(frozen=True, slots=True)
class Login:
    """An account that can log in: by its password, unless that is locked, and by so many authorised keys of its own.
    admitted is False where its shell lets nobody in."""

    volume: str
    name: str
    password: Literal["locked", "set", "empty", "well known", "not tried"]
    keys: int
    admitted: bool


@dataclass(frozen=True, slots=True)
class BootFile:
    """What a system is started by: the name of a boot loader, or the version of a kernel ("" where it has none)."""

    volume: str
    path: str
    kind: Literal["boot loader", "kernel"]
    what: str


@dataclass(frozen=True, slots=True)
class Identity:
    """Something that makes all machines of this image one to their peers."""

    volume: str
    path: str
    kind: Literal["SSH host key", "machine-id"]


@dataclass(frozen=True, slots=True)
class AuthorizedKeys:
    """A file of keys that may log in, and how many it has."""

    volume: str
    path: str
    keys: int


@dataclass(frozen=True, slots=True)
class Unread:
    """A file or folder that could not be read, and why."""

    volume: str
    path: str
    why: str


@dataclass(frozen=True, slots=True)
class Inspection:
    """All that a look into an image saw. failure says why the look itself came to no end; then the rest is empty."""

    volumes: tuple[Volume, ...] = ()
    systems: tuple[System, ...] = ()
    secrets: tuple[Secret, ...] = ()
    accounts: tuple[Account, ...] = ()
    accounts_seen: int = 0
    files_seen: int = 0
    files_cut: int = 0
    """Of these, those too large to be searched to their end."""
    stores_closed: int = 0
    """PKCS#12 files that are taken for certificates: all that could be a key in them is encrypted as a whole."""
    identities: tuple[Identity, ...] = ()
    authorized_keys: tuple[AuthorizedKeys, ...] = ()
    logins: tuple[Login, ...] = ()
    boot: tuple[BootFile, ...] = ()
    unread: tuple[Unread, ...] = ()
    failure: str = ""
    seconds: float = 0.0

    @classmethod
    def from_json(cls, value: object) -> "Inspection":
        """The inverse of dataclasses.asdict and JSON. Raises ValueError for anything else: whoever wrote it has read
        hostile file systems."""
        built = _rebuild(cls, value)
        assert isinstance(built, cls)
        return built


def _rebuild(kind: Any, value: object) -> object:
    """A value of this type from what JSON makes of it."""
    if get_origin(kind) is tuple and isinstance(value, list):
        return tuple(_rebuild(get_args(kind)[0], one) for one in value)
    if get_origin(kind) is Literal and value in get_args(kind):
        return value
    if is_dataclass(kind) and isinstance(kind, type) and isinstance(value, Mapping):
        hints = get_type_hints(kind)
        if value.keys() == {field.name for field in fields(kind)}:
            return kind(**{name: _rebuild(hints[name], one) for name, one in value.items()})
    if kind is float and isinstance(value, int | float):
        return float(value)
    if kind in (str, int, bool) and type(value) is kind:
        return value
    raise ValueError(f"no {kind}: {str(value)[:80]!a}")
