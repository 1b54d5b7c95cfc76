"""Whether files of a guest are as their packages delivered them, by its databases of dpkg and RPM."""

import re
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from functools import cached_property

from conformance.inspection.ownership import Digest, dpkg_digest, rpm_digest
from harness.inspection.filesystems import Unreadable
from harness.inspection.guest_tree import Found, Tree

_WHOLE_BYTES_MAX = 16 << 20  # of a file that is compared, and of a list of dpkg's
_DATABASE_BYTES_MAX = 256 << 20
_PACKAGES_MAX = 100_000
_DPKG_STATUS = "/var/lib/dpkg/status"
_RPM_FOLDERS = ("/usr/lib/sysimage/rpm", "/var/lib/rpm")
_RPM_NAMES = ("rpmdb.sqlite", "Packages", "Packages.db")
_DATABASES = re.compile(
    rf"{_DPKG_STATUS}|/var/lib/dpkg/info/[^/]+\.md5sums|(?:{'|'.join(_RPM_FOLDERS)})/(?:{'|'.join(_RPM_NAMES)})"
)
# Where packages have no files: what lies there is its owner's, whatever state the databases are in.
_OWN_PLACES = ("/root/", "/home/", "/var/lib/cloud/")


@dataclass(frozen=True, slots=True)
class Origin:
    """Whether a file is as its package delivered it; doubt says why that cannot be told."""

    packaged: bool
    doubt: str = ""


def is_database(path: str) -> bool:
    """Whether a file belongs to what is read here."""
    return _DATABASES.fullmatch(path) is not None


def has_dpkg(tree: Tree) -> bool:
    return tree.find(_DPKG_STATUS) is not None


def rpm_database(tree: Tree) -> Found | None:
    found = (tree.find(f"{folder}/{name}") for folder in _RPM_FOLDERS for name in _RPM_NAMES)
    return next((one for one in found if one is not None), None)


class Packages:
    """The packages of one guest; its databases are read when the first file is asked for."""

    def __init__(self, tree: Tree) -> None:
        self._tree = tree

    def origin(self, found: Found) -> Origin:
        if found.node.size > _WHOLE_BYTES_MAX or found.path.startswith(_OWN_PLACES):
            return Origin(False)
        try:
            digest = self._digest(found.path)
            return Origin(digest is not None and digest.fits(found.content(_WHOLE_BYTES_MAX)))
        except (Unreadable, sqlite3.Error) as error:
            return Origin(False, f"the package database cannot be read: {error}")

    def _digest(self, path: str) -> Digest | None:
        """As dpkg has it, else as RPM has it. Raises Unreadable and sqlite3.Error."""
        digest = dpkg_digest(path, [self._dpkg_lists], self._dpkg_status)
        return digest if digest is not None else rpm_digest(path, self._rpm_headers)

    @cached_property
    def _dpkg_status(self) -> bytes:
        return self._tree.content(_DPKG_STATUS, _DATABASE_BYTES_MAX) or b""

    @cached_property
    def _dpkg_lists(self) -> bytes:
        return b"".join(self._dpkg_list_files())

    def _dpkg_list_files(self) -> Iterator[bytes]:
        for found in self._tree.walk("/var/lib/dpkg/info", depth=1):
            if isinstance(found, Found) and found.path.endswith(".md5sums"):
                yield found.content(_WHOLE_BYTES_MAX)

    @cached_property
    def _rpm_headers(self) -> tuple[bytes, ...]:
        """The headers of all installed packages."""
        database = rpm_database(self._tree)
        if database is None:
            return ()
        if not database.path.endswith(".sqlite"):
            raise Unreadable(f"{database.path} is not of SQLite, the form that is read here")
        with closing(sqlite3.connect(":memory:")) as connection:
            connection.deserialize(database.content(_DATABASE_BYTES_MAX))
            return tuple(_bounded(blob for (blob,) in connection.execute("SELECT blob FROM Packages")))


def _bounded(blobs: Iterator[object]) -> Iterator[bytes]:
    """Those that are bytes: a table may be a view without an end."""
    held = 0
    for number, blob in enumerate(blobs):
        held += len(blob) if isinstance(blob, bytes) else 0
        if held > _DATABASE_BYTES_MAX or number >= _PACKAGES_MAX:
            raise Unreadable("RPM's database has no end")
        if isinstance(blob, bytes):
            yield blob
