"""What a guest's files give away: its distribution, secrets, accounts, identity. No content is kept."""

import re
import sqlite3
from collections.abc import Container, Iterator, Sequence
from contextlib import closing

from conformance.errors import EnvironmentFault
from conformance.inspection import Account, AuthorizedKeys, Identity, Secret, System
from conformance.inspection import Unread as UnreadFile
from conformance.inspection.accounts import (
    PASSWD,
    SHADOW,
    PasswordField,
    candidates,
    hidden_account,
    read_fields,
    too_dear,
)
from conformance.inspection.ownership import Digest, dpkg_digest, rpm_digest
from conformance.inspection.secrets import find_secrets
from harness.inspection import passwords
from harness.inspection.filesystems import Unreadable
from harness.inspection.guest_tree import Found, Tree, Unread

SECRET_PLACES = ("/root", "/home", "/etc", "/var/lib/cloud")
HEAD_BYTES = 1 << 20  # of a file that tells what it is by its beginning
SEARCHED_BYTES_MAX = 16 << 20  # of each file that is searched for secrets
_LARGE_BYTES_MAX = 128 << 20  # of all files larger than a MiB; then only their first MiB is searched
_WHOLE_BYTES_MAX = 16 << 20  # of a file that is compared with its package's digest
_DATABASE_BYTES_MAX = 256 << 20
FILES_MAX = 100_000
_ACCOUNTS_MAX = 64
_RPM_FOLDERS = ("/usr/lib/sysimage/rpm", "/var/lib/rpm")
_HOST_KEYS = re.compile(r"/etc/(?:ssh/ssh_host_\w+_key|dropbear/dropbear_\w+_host_key)$")
_MACHINE_IDS = ("/etc/machine-id", "/var/lib/dbus/machine-id")
_UNSET = (b"", b"uninitialized")  # machine-id(5)
_AUTHORIZED = re.compile(r"/(?:\.ssh/authorized_keys2?|etc/dropbear/authorized_keys|etc/ssh/authorized_keys(?:/.*)?)$")


def system_of(tree: Tree) -> System:
    """What a root says of its distribution. Raises Unreadable."""
    text = next(filter(None, (tree.content(path, 65536) for path in ("/etc/os-release", "/usr/lib/os-release"))), b"")
    fields = {}
    for line in text.decode("utf-8", "backslashreplace").splitlines():
        key, _, value = line.strip().partition("=")
        fields[key] = value.strip().strip("\"'")
    ids = tuple(f"{fields.get('ID', '')} {fields.get('ID_LIKE', '')}".lower().split())
    return System(
        tree.root.volume,
        ids,
        fields.get("PRETTY_NAME", fields.get("NAME", ""))[:80],
        tree.find("/etc/redhat-release") is not None,
        _rpm_database(tree) is not None,
        tree.find("/var/lib/dpkg/status") is not None,
    )


def _rpm_database(tree: Tree) -> Found | None:
    names = ("rpmdb.sqlite", "Packages", "Packages.db")
    found = (tree.find(f"{folder}/{name}") for folder in _RPM_FOLDERS for name in names)
    return next((one for one in found if one is not None), None)


def archive_name(found: Found) -> str:
    """What a file is called as a volume of its own."""
    return f"{found.path.lstrip('/')} on {found.mount.volume}"


class Search:
    """One pass over the places where secrets must not be; what was found is in its lists. files_cut is the number of
    files of which only the beginning was searched. opened has the names of archives whose files are guests of their
    own."""

    def __init__(self, tree: Tree, places: Sequence[str] = SECRET_PLACES, opened: Container[str] = ()) -> None:
        self._tree = tree
        self._places = places
        self._opened = opened
        self._large_bytes = 0
        self.files = self.files_cut = 0
        self.secrets: list[Secret] = []
        self.identities: list[Identity] = []
        self.authorized_keys: list[AuthorizedKeys] = []
        self.unread: list[UnreadFile] = []

    def look(self) -> None:
        for place in self._places:
            try:
                for found in self._tree.walk(place):
                    if self.files >= FILES_MAX:
                        self.unread.append(UnreadFile(self._tree.root.volume, place, f"more than {FILES_MAX} files"))
                        return
                    self._take(found)
            except Unreadable as error:
                self.unread.append(UnreadFile(self._tree.root.volume, place, str(error)))

    def _take(self, found: Found | Unread) -> None:
        if isinstance(found, Unread):
            self.unread.append(UnreadFile(found.at.mount.volume, found.at.path, found.why))
            return
        self.files += 1
        if found.node.kind != "file" or not found.node.size or archive_name(found) in self._opened:
            return
        try:
            content = found.content(self._searched(found.node.size))
            self.files_cut += len(content) < found.node.size
            self._judge(found, content)
        except Unreadable as error:
            self.unread.append(UnreadFile(found.mount.volume, found.path, str(error)))

    def _searched(self, size: int) -> int:
        """How many bytes of a file of this size are searched."""
        wanted = min(size, SEARCHED_BYTES_MAX)
        if wanted <= HEAD_BYTES or self._large_bytes + wanted > _LARGE_BYTES_MAX:
            return HEAD_BYTES
        self._large_bytes += wanted
        return wanted

    def _judge(self, found: Found, content: bytes) -> None:
        volume, path = found.mount.volume, found.path
        if _HOST_KEYS.search(path):  # its owner is the requirement on identity
            self.identities.append(Identity(volume, path, "SSH host key"))
            return
        if _AUTHORIZED.search(path):
            keys = [line for line in content.splitlines() if line.strip() and not line.lstrip().startswith(b"#")]
            if keys:
                self.authorized_keys.append(AuthorizedKeys(volume, path, len(keys)))
        for sighting in find_secrets(path, content):
            packaged, doubt = _as_packaged(self._tree, found)
            self.secrets.append(Secret(volume, path, sighting.kind, sighting.what, sighting.line, packaged, doubt))


def machine_ids(tree: Tree) -> Iterator[Identity]:
    """Files that fix the machine-id; a link to another of them is none of its own. Raises Unreadable."""
    met = set()
    for path in _MACHINE_IDS:
        found = tree.find(path)
        if found is not None and found.path not in met and found.node.kind == "file":
            met.add(found.path)
            if found.content(64).strip() not in _UNSET:
                yield Identity(found.mount.volume, found.path, "machine-id")


def _as_packaged(tree: Tree, found: Found) -> tuple[bool, str]:
    """Whether a file is as its package delivered it, and why that cannot be told."""
    if found.node.size > _WHOLE_BYTES_MAX:
        return False, ""
    try:
        digest, doubt = _package_digest(tree, found.path)
        return digest is not None and digest.fits(found.content(_WHOLE_BYTES_MAX)), doubt
    except Unreadable as error:
        return False, f"the package database cannot be read: {error}"


def _package_digest(tree: Tree, path: str) -> tuple[Digest | None, str]:
    status = tree.content("/var/lib/dpkg/status", _DATABASE_BYTES_MAX)
    if status is not None:
        digest = dpkg_digest(path, _dpkg_lists(tree), status)
        if digest is not None:
            return digest, ""
    database = _rpm_database(tree)
    if database is None:
        return None, ""
    if not path.startswith("/etc/"):  # the only one of these places where packages have files like that
        return None, ""
    if not database.path.endswith(".sqlite"):
        return None, f"RPM's database {database.path} is not of SQLite, the form that is read here"
    try:
        return rpm_digest(path, _rpm_headers(database)), ""
    except sqlite3.Error as error:
        return None, f"RPM's database cannot be read: {error}"


def _dpkg_lists(tree: Tree) -> Iterator[bytes]:
    for found in tree.walk("/var/lib/dpkg/info", depth=1):
        if isinstance(found, Found) and found.path.endswith(".md5sums"):
            yield found.content(HEAD_BYTES * 16)


def _rpm_headers(database: Found) -> Iterator[bytes]:
    """The headers of all installed packages. Raises sqlite3.Error."""
    with closing(sqlite3.connect(":memory:")) as connection:
        connection.deserialize(database.content(_DATABASE_BYTES_MAX))
        yield from (blob for (blob,) in connection.execute("SELECT blob FROM Packages") if isinstance(blob, bytes))


def accounts_of(tree: Tree, further: Sequence[str]) -> tuple[int, tuple[Account, ...]]:
    """How many accounts there are, and those whose password is empty, well known or could not be tried. Raises
    Unreadable."""
    folder = tree.find("/etc")
    if folder is not None and folder.node.kind != "folder":
        raise Unreadable("/etc is no folder")
    passwd, shadow = (tree.content(path, HEAD_BYTES) for path in (PASSWD, SHADOW))
    hidden = hidden_account(passwd or b"") if shadow is None else None
    if hidden is not None:
        doubt = f"{SHADOW}, where it should be, is no file that is there"
        return 0, (Account(tree.root.volume, PASSWD, hidden.line, hidden.name[:64], "not tried", doubt),)
    fields = tuple(read_fields(passwd or b"", shadow))
    judged = (_account(tree.root.volume, one, further, tried) for tried, one in enumerate(fields))
    return len(fields), tuple(account for account in judged if account is not None)


def _account(volume: str, one: PasswordField, further: Sequence[str], tried: int) -> Account | None:
    def account(password: str, doubt: str = "") -> Account:
        return Account(volume, one.path, one.line, one.name[:64], password, doubt)  # type: ignore[arg-type]

    if not one.field:
        return account("empty")
    dear = too_dear(one.field) or ("more than 64 accounts" if tried >= _ACCOUNTS_MAX else "")
    try:
        if one.locked or not passwords.is_hash(one.field):
            return None
        if dear:
            return account("not tried", dear)
        fitting = next((word for word in candidates(one.name, further) if passwords.opens(word, one.field)), None)
    except (ValueError, EnvironmentFault) as error:
        return account("not tried", str(error))
    return None if fitting is None else account("well known" if fitting else "empty")
