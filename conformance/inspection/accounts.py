"""Accounts of a guest and the passwords that let in: /etc/passwd and /etc/shadow (passwd(5), shadow(5), crypt(5))."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

PASSWD, SHADOW = "/etc/passwd", "/etc/shadow"
# Tried besides the profile's and the account's own name: what images, devices and tutorials come with.
WELL_KNOWN = (
    "root", "admin", "password", "Password", "passw0rd", "P@ssw0rd", "Password1", "password123", "changeme", "ChangeMe",
    "default", "secret", "toor", "pass", "test", "guest", "user", "1234", "12345", "123456", "12345678", "123456789",
    "000000", "qwerty", "letmein", "welcome", "linux", "redhat", "centos", "rocky", "fedora", "debian", "ubuntu",
    "alpine", "vagrant", "cloud", "raspberry", "nokia", "racs", "r00tme", "almalinux", "oracle", "openstack", "packer",
    "ansible", "live", "system", "service", "administrator", "demo", "qwerty123", "abc123", "1q2w3e4r", "111111", "123",
    "Passw0rd", "Password123", "Passw0rd!", "P@ssw0rd!", "P@ssword1", "Admin123", "cubswin:)", "gocubsgo",
)  # fmt: skip
# Beyond these a single try takes seconds: such a hash was not made to be weak, and is not tried.
_ROUNDS_MAX = 100_000
_BCRYPT_COST_MAX = 12
_FIELD = re.compile(
    r"\$(?:(?P<sha>[56])\$(?:rounds=(?P<rounds>\d+)\$)?|2[abxy]\$(?P<cost>\d\d)\$|(?P<yescrypt>y|gy)\$(?P<settings>[^$]*)\$"
    r"|(?P<odd>7\$|sha1|md5))"
)
_YESCRYPT_DIGITS = "./0123456789AB"


@dataclass(frozen=True, slots=True)
class PasswordField:
    """The password field of an account, and where it stands."""

    name: str
    field: str
    path: str
    line: int

    @property
    def locked(self) -> bool:
        """Whether no password fits: `!` and `*` are no hash's beginning."""
        return self.field.startswith(("!", "*"))


def read_fields(passwd: bytes, shadow: bytes | None) -> Iterator[PasswordField]:
    """The fields that count: that of shadow where passwd says `x`, else passwd's own. Accounts that shadow lacks are
    locked and left out, and so are broken lines, which no login takes. Of an account's lines in shadow the first one
    counts, as for getspnam(3)."""
    hidden = {one.name: one for one in reversed([*_fields(shadow or b"", SHADOW, 2)])}
    for one in _fields(passwd, PASSWD, 4):
        if one.field == "x":
            if one.name in hidden:
                yield hidden[one.name]
        else:
            yield one


def hidden_account(passwd: bytes) -> PasswordField | None:
    """The first account whose password is said to be in shadow; None where there is none."""
    return next((one for one in _fields(passwd, PASSWD, 4) if one.field == "x"), None)


def _fields(data: bytes, path: str, least: int) -> Iterator[PasswordField]:
    for number, line in enumerate(data.decode("utf-8", "backslashreplace").split("\n"), start=1):
        parts = line.split(":")
        if len(parts) >= least and parts[0] and not parts[0].startswith(("+", "-", "#")):
            yield PasswordField(parts[0], parts[1], path, number)


def too_dear(field: str) -> str:
    """Why a hash is not tried; "" where it is."""
    found = _FIELD.match(field)
    if found is None:
        return ""
    if int(found["rounds"] or 0) > _ROUNDS_MAX:
        return f"{found['rounds']} rounds"
    if int(found["cost"] or 0) > _BCRYPT_COST_MAX:
        return f"a bcrypt cost of {found['cost']}"
    settings = found["settings"]
    # Flavour, cost and block size are a digit each; anything longer has further costs.
    if settings is not None and (len(settings) != 3 or settings[1] not in _YESCRYPT_DIGITS):
        return f"yescrypt settings {settings[:12]!a}"
    return "a form of hash that no distribution writes" if found["odd"] else ""


def cost_ms(field: str) -> float:
    """What a try of a hash that is not too dear takes on a slow host, about, in milliseconds of processor time."""
    found = _FIELD.match(field)
    if found is None:
        return 1.0
    if found["cost"]:
        return float(2 ** int(found["cost"]) / 24)
    if found["settings"]:
        return float(2 ** (_YESCRYPT_DIGITS.index(found["settings"][1]) - 7))
    return int(found["rounds"] or 5000) / 5000


def candidates(name: str, further: Sequence[str]) -> tuple[str, ...]:
    """The passwords to try for an account, the empty one first."""
    return tuple(dict.fromkeys(("", name, name[::-1], f"{name}123", *further, *WELL_KNOWN)))
