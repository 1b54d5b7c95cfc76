"""Who can log in to a guest: by which means, never with which secret."""

from collections.abc import Iterator, Sequence

from conformance.inspection import Account, AuthorizedKeys, Login
from conformance.inspection.accounts import PASSWD, SHADOW, PasswordField, read_fields
from harness.inspection import passwords
from harness.inspection.guest_tree import Tree

_TABLE_BYTES_MAX = 1 << 20
_REFUSING = ("nologin", "false")  # nologin(8)


def count_keys(content: bytes) -> int:
    """How many keys a file of authorised keys has (sshd(8))."""
    return sum(1 for line in content.splitlines() if line.strip() and not line.lstrip().startswith(b"#"))


def keys_of_homes(tree: Tree) -> Iterator[AuthorizedKeys]:
    """What sshd finds in the homes of /etc/passwd, wherever they are. Raises Unreadable."""
    passwd = tree.content(PASSWD, _TABLE_BYTES_MAX) or b""
    lines = (line.split(":") for line in passwd.decode("utf-8", "backslashreplace").split("\n"))
    homes = dict.fromkeys(fields[5].rstrip("/") for fields in lines if len(fields) == 7)
    for path in (f"{home}/.ssh/{name}" for home in homes for name in ("authorized_keys", "authorized_keys2")):
        found = tree.find(path)
        keys = count_keys(found.content(_TABLE_BYTES_MAX)) if found is not None and found.node.kind == "file" else 0
        if found is not None and keys:
            yield AuthorizedKeys(found.mount.volume, found.path, keys)


def logins_of(tree: Tree, accounts: Sequence[Account], keys: Sequence[AuthorizedKeys]) -> Iterator[Login]:
    """The accounts that some password or authorised key fits, in the order of /etc/passwd (passwd(5)). accounts are
    those whose password was found to be weak, or could not be tried. Raises Unreadable."""
    passwd, shadow = (tree.content(path, _TABLE_BYTES_MAX) for path in (PASSWD, SHADOW))
    fields = {one.name: one for one in reversed([*read_fields(passwd or b"", shadow)])}
    weak = {account.name: account.password for account in accounts}
    for line in (passwd or b"").decode("utf-8", "backslashreplace").splitlines():
        name, *rest = line.split(":")
        if len(rest) != 6 or not name or name.startswith(("+", "-", "#")):
            continue
        password = weak.get(name[:64]) or ("set" if _fits_any(fields.get(name)) else "locked")
        own = sum(one.keys for one in keys if one.path.startswith(f"{rest[4].rstrip('/')}/.ssh/"))
        if own or password != "locked":
            admitted = rest[5].rpartition("/")[2] not in _REFUSING
            yield Login(tree.root.volume, name[:64], password, own, admitted)


def _fits_any(field: PasswordField | None) -> bool:
    """Whether there is a password that fits."""
    return field is not None and not field.locked and passwords.is_hash(field.field)
