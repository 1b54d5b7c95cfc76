"""What a guest's files give away: its distribution, secrets, accounts, identity. No content is kept."""

import re
from collections.abc import Container, Iterator, Sequence

from conformance.errors import EnvironmentFault
from conformance.inspection import BEYOND_A_BOUND, Account, AuthorizedKeys, Identity, Secret, System
from conformance.inspection import Unread as UnreadFile
from conformance.inspection.accounts import (
    PASSWD,
    SHADOW,
    PasswordField,
    candidates,
    cost_ms,
    hidden_account,
    read_fields,
    too_dear,
)
from conformance.inspection.keystores import is_closed
from conformance.inspection.secrets import find_secrets
from harness.inspection import passwords
from harness.inspection.filesystems import Unreadable
from harness.inspection.guest_tree import Found, Tree, Unread
from harness.inspection.logins import count_keys, keys_of_homes
from harness.inspection.packages import Packages, has_dpkg, is_database, rpm_database

SECRET_PLACES = ("/root", "/home", "/etc", "/var/lib/cloud")
HEAD_BYTES = 1 << 20  # of a file that tells what it is by its beginning
SEARCHED_BYTES_MAX = 16 << 20  # of each file that is searched for secrets
_LARGE_BYTES_MAX = 128 << 20  # of all files larger than a MiB; then only their first MiB is searched
FILES_MAX = 100_000
FINDINGS_MAX = 1000
_NOT_FOLLOWED = (
    "/usr/",
    "/bin/",
    "/sbin/",
    "/lib/",
    "/lib32/",
    "/lib64/",
    "/boot/",
    "/proc/",
    "/sys/",
    "/dev/",
    "/run/",
)
_TRIES_MS_MAX = 1000.0  # of processor time for one password on all accounts
# What tells what an initramfs is, besides the places of secrets and the databases of packages.
_SYSTEM_FILES = ("usr/lib/os-release", "var/lib/dbus/machine-id", "init", "sbin/init")
# A copy of one elsewhere, at its owner's, is a private key like others.
_HOST_KEYS = re.compile(r"^(?!/(?:root|home|var/lib/cloud)/).*/(?:ssh_host_\w+_key|dropbear_\w+_host_key)$", re.S)
_HOST_KEY_LINE = re.compile(rb"^[ \t]*HostKey[ \t=]+\"?(/[^\s\"#]+)", re.M | re.I)
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
        rpm_database(tree) is not None,
        has_dpkg(tree),
    )


def archive_name(found: Found) -> str:
    """What a file is called as a volume of its own."""
    return f"{found.path.lstrip('/')} on {found.mount.volume}"


class Search:
    """One pass over the places where secrets must not be; what was found is in its lists. files_cut is the number of
    files of which only the beginning was searched, stores_closed of those that show no key because all is encrypted.
    opened has the names of archives whose files are guests of their own, whole says whether the tree is a system."""

    def __init__(
        self,
        tree: Tree,
        places: Sequence[str] = SECRET_PLACES,
        opened: Container[str] = (),
        whole: bool = True,
    ) -> None:
        self._tree = tree
        self._places = [*places]  # and those that links from them lead to
        self._opened = opened
        self._whole = whole
        self._packages = Packages(tree)
        self._taken: set[str] = set()
        self._large_bytes = 0
        self.files = self.files_cut = self.stores_closed = 0
        self.secrets: list[Secret] = []
        self.identities: list[Identity] = []
        self.authorized_keys: list[AuthorizedKeys] = []
        self.unread: list[UnreadFile] = []

    def look(self) -> None:
        try:
            self.identities += dict.fromkeys(host_keys(self._tree)) if self._whole else ()
            self.authorized_keys += dict.fromkeys(keys_of_homes(self._tree)) if self._whole else ()
        except Unreadable as error:
            self.unread.append(UnreadFile(self._tree.root.volume, "/etc", str(error)))
        for place in self._places:  # which grows meanwhile
            try:
                for found in self._tree.walk(place):
                    bound = self._bound()
                    if bound:
                        self.unread.append(UnreadFile(self._tree.root.volume, place, f"{BEYOND_A_BOUND} {bound}"))
                        return
                    self._take(found)
            except Unreadable as error:
                self.unread.append(UnreadFile(self._tree.root.volume, place, str(error)))

    def _bound(self) -> str:
        """What there is more of than is looked at; "" while there is less."""
        told = len(self.secrets) + len(self.identities) + len(self.unread)
        if told >= FINDINGS_MAX:
            return f"{FINDINGS_MAX} findings"
        return f"{FILES_MAX} files" if self.files >= FILES_MAX else ""

    def _take(self, found: Found | Unread) -> None:
        if isinstance(found, Unread):
            self.unread.append(UnreadFile(found.at.mount.volume, found.at.path, found.why))
            return
        if found.path in self._taken:
            return
        self._taken.add(found.path)
        self.files += 1
        try:
            if found.node.kind == "link":
                self._follow(found)
            elif found.node.kind == "file" and found.node.size and archive_name(found) not in self._opened:
                content = found.content(self._searched(found.node.size))
                self.files_cut += len(content) < found.node.size
                self._judge(found, content)
        except Unreadable as error:
            self.unread.append(UnreadFile(found.mount.volume, found.path, str(error)))

    def _follow(self, link: Found) -> None:
        """What lies elsewhere, and is seen here, is searched too; but for the distribution's own, and for a place with
        all places in it."""
        target = self._tree.find(link.path)
        if target is None or (
            f"{target.path}/".startswith(_NOT_FOLLOWED) and not f"{target.path}/".startswith("/usr/local/")
        ):
            return
        if target.node.kind == "file":
            self._judge_by_name(link.path, target)
        inside = f"{target.path.rstrip('/')}/"
        if not any(f"{place}/".startswith(inside) or inside.startswith(f"{place}/") for place in self._places):
            self._places.append(target.path)

    def _judge_by_name(self, path: str, target: Found) -> None:
        """What is a secret by the name of a link that leads to it, and is none by its own."""
        content = target.content(self._searched(target.node.size))
        own = {sighting.what for sighting in find_secrets(target.path, content)}
        self.secrets += [
            Secret(target.mount.volume, path, sighting.kind, sighting.what, sighting.line)
            for sighting in find_secrets(path, content)
            if sighting.what not in own
        ]

    def _searched(self, size: int) -> int:
        """How many bytes of a file of this size are searched."""
        wanted = min(size, SEARCHED_BYTES_MAX)
        if wanted <= HEAD_BYTES or self._large_bytes + wanted > _LARGE_BYTES_MAX:
            return HEAD_BYTES
        self._large_bytes += wanted
        return wanted

    def _judge(self, found: Found, content: bytes) -> None:
        volume, path = found.mount.volume, found.path
        identity = Identity(volume, path, "SSH host key")
        if identity in self.identities:
            return
        if _HOST_KEYS.search(path):  # its owner is the requirement on identity
            self.identities.append(identity)
            return
        if _AUTHORIZED.search(path):
            keys = AuthorizedKeys(volume, path, count_keys(content))
            if keys.keys and keys not in self.authorized_keys:
                self.authorized_keys.append(keys)
        self.stores_closed += is_closed(content)
        for sighting in find_secrets(path, content):
            origin = self._packages.origin(found)
            self.secrets.append(
                Secret(volume, path, sighting.kind, sighting.what, sighting.line, origin.packaged, origin.doubt)
            )


def machine_ids(tree: Tree) -> Iterator[Identity]:
    """Files that fix the machine-id; a link to another of them is none of its own. Raises Unreadable."""
    met = set()
    for path in _MACHINE_IDS:
        found = tree.find(path)
        if found is not None and found.path not in met and found.node.kind == "file":
            met.add(found.path)
            if found.content(64).strip() not in _UNSET:
                yield Identity(found.mount.volume, found.path, "machine-id")


def host_keys(tree: Tree) -> Iterator[Identity]:
    """SSH host keys whose place does not tell that they are such: sshd's settings name them, or links lead to them.
    Raises Unreadable."""
    paths = []
    for found in tree.walk("/etc/ssh", depth=2):
        if isinstance(found, Unread):
            continue
        if found.path.endswith(("/sshd_config", ".conf")) and found.node.kind == "file":
            paths += [path.decode("utf-8", "replace") for path in _HOST_KEY_LINE.findall(found.content(HEAD_BYTES))]
        elif found.node.kind == "link" and _HOST_KEYS.search(found.path):
            paths.append(found.path)
    for key in filter(None, map(tree.find, dict.fromkeys(paths))):
        if key.node.kind == "file" and key.node.size:
            yield Identity(key.mount.volume, key.path, "SSH host key")


def leads_on(tree: Tree) -> bool:
    """Whether an initramfs only starts a system that lies elsewhere: it says so (os-release(5)), or its init does, and
    it has no packages. Raises Unreadable."""
    if has_dpkg(tree) or rpm_database(tree) is not None:
        return False
    if any(tree.find(path) is not None for path in ("/etc/initrd-release", "/usr/lib/initrd-release")):
        return True
    init = tree.content("/init", HEAD_BYTES) or b""
    return init.startswith(b"#!") and re.search(rb"\b(?:switch_root|run-init|pivot_root)\b", init) is not None


def bytes_kept(path: str) -> int:
    """How much of an initramfs's file, by its path without a leading slash, is looked at."""
    if is_database(f"/{path}"):
        return SEARCHED_BYTES_MAX
    wanted = path in _SYSTEM_FILES or any(f"/{path}".startswith(f"{place}/") for place in SECRET_PLACES)
    return HEAD_BYTES if wanted else 0


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
    spent_ms, found = 0.0, []
    for one in fields:
        dear = too_dear(one.field) or ("the accounts before it took all the time" if spent_ms > _TRIES_MS_MAX else "")
        spent_ms += 0.0 if dear or one.locked else cost_ms(one.field)
        found.append(_account(tree.root.volume, one, further, dear))
    return len(fields), tuple(account for account in found if account is not None)


def _account(volume: str, one: PasswordField, further: Sequence[str], dear: str) -> Account | None:
    def account(password: str, doubt: str = "") -> Account:
        return Account(volume, one.path, one.line, one.name[:64], password, doubt)  # type: ignore[arg-type]

    if not one.field:
        return account("empty")
    try:
        if one.locked or not passwords.is_hash(one.field):
            return None
        if dear:
            return account("not tried", dear)
        fitting = next((word for word in candidates(one.name, further) if passwords.opens(word, one.field)), None)
    except (ValueError, EnvironmentFault) as error:
        return account("not tried", str(error))
    return None if fitting is None else account("well known" if fitting else "empty")
