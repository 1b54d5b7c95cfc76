"""Secrets in a file, told by its name and its content. What is found is named by kind and line, never shown."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from conformance.inspection.keystores import find_key

Kind = Literal["private key", "shell history", "cloud credential"]


@dataclass(frozen=True, slots=True)
class Sighting:
    """A secret of a file: what it is, with its article, and its line, 1-based."""

    kind: Kind
    what: str
    line: int = 1


# A header alone is what scripts and manuals have: base64 has to follow, behind header fields and a JSON string's \n.
_PEM = re.compile(
    rb"-----BEGIN ((?:[A-Z0-9]+ ){0,2}?)PRIVATE KEY(?: BLOCK)?-----(?:\s|\\[nr])*"
    rb"(?:[A-Za-z-]+: [^\n]{0,200}\s+)*[A-Za-z0-9+/=]{16}"
)
_PEM_NAMES = {b"OPENSSH ": "an OpenSSH private key", b"PGP ": "an OpenPGP private key"}
_OTHER_KEYS = (
    (re.compile(rb"^PuTTY-User-Key-File-\d: ", re.M), "a PuTTY private key"),
    (re.compile(rb"\bAGE-SECRET-KEY-1[0-9A-Z]{58}\b"), "an age private key"),
    (re.compile(rb"^[ \t]*PrivateKey\s*=\s*[A-Za-z0-9+/]{43}=\s*$", re.M), "a WireGuard private key"),
)
# dropbear's files begin with the type as an SSH string, DER with a sequence of version and algorithm or modulus
# (RFC 5958 2, RFC 8017 A.1.2, RFC 5915 3).
_DROPBEAR = re.compile(rb"\0\0\0[\x07\x0b\x13](?:ssh-(?:rsa|dss|ed25519)|ecdsa-sha2-nistp\d{3})\0")
_DER = re.compile(rb"\x30(?:\x82..|\x81.|[\x20-\x7f])\x02\x01(?:\x00(?:\x30.\x06|\x02\x82)|\x01\x04)", re.S)

_HISTORY = re.compile(
    r"(?:^|/)(?:\.(?:bash|zsh|ash|sh|ksh|csh|tcsh|mksh|python|mysql|mariadb|psql|sqlite|node_repl)?_?history"
    r"|\.zhistory|fish_history|fish_read_history|ConsoleHost_history\.txt)$"
)


@dataclass(frozen=True, slots=True)
class _Credential:
    """Where a path matches, content that matches is a credential."""

    what: str
    path: re.Pattern[str]
    content: re.Pattern[bytes]


def _credential(what: str, content: bytes, path: str = "") -> _Credential:
    return _Credential(what, re.compile(path), re.compile(content, re.M))


# What stands for a value that is not there: $NAME, ${...}, $(...), <...>, {{...}}, %..., ***, xxxx. $6$ begins a hash.
_VALUE = rb"(?!\$[{(]|\$[A-Za-z_]\w*(?![\w$])|<|\{\{|%|\*\*\*|(?i:x{4}))[^\s\"'#]"

_CREDENTIALS = (
    _credential("an AWS secret access key",
                rb"(?i:aws_secret_access_key)[\"']?\s*[=:]\s*[\"']?(?!(?i:x{4}))[A-Za-z0-9/+]{40}(?![A-Za-z0-9/+])"),
    _credential("an AWS login",
                rb'"(?:[sS]ecretAccessKey|[sS]essionToken|accessToken|refreshToken|clientSecret)"\s*:\s*"' + _VALUE
                + rb'[^"\n]{7}', r"/\.aws/"),
    _credential("an AWS secret access key", rb"^[ \t]*[^#\s]*secret_access_key\s*=\s*\S", r"/\.aws/credentials$"),
    _credential("a Google Cloud service account's key", rb'"type"\s*:\s*"service_account"'),
    _credential("a Google Cloud login", rb"(?s).",
                r"/gcloud/(?:(?:credentials|access_tokens)\.db$|legacy_credentials/)"),
    _credential("a Google Cloud login", rb'"refresh_token"\s*:', r"/gcloud/application_default_credentials\.json$"),
    _credential("an Azure login", rb"(?s).",
                r"/\.azure/(?:accessTokens\.json|msal_token_cache\.\w+|service_principal_entries\.\w+)$"),
    _credential("an Azure storage key", rb"AccountKey=[A-Za-z0-9+/]{40,}={0,2}"),
    _credential("an Azure login", rb"\bAZURE_CLIENT_SECRET[\"']?[ \t]*[=:][ \t]*[\"']?" + _VALUE + rb"[^\s\"'#]{7}"),
    _credential("a Kubernetes login", rb"^[ \t]*(?:- )?(?:client-key-data|token|password):\s*[\"']?[^\s\"'#]{8}",
                r"/\.kube/|/kubernetes/.*\.conf$|kubeconfig"),
    _credential("a container registry's login", rb'"(?:auth|identitytoken)"\s*:\s*"[^"]{4}',
                r"(?:/\.docker/config|/containers/auth|/\.dockercfg)(?:\.json)?$"),
    _credential("a login", rb"\bpassword\s+\S", r"/[._]netrc$"),
    _credential("a login of PostgreSQL", rb"^(?!#)(?:(?:[^:\\\n]|\\.)+:){4}" + _VALUE, r"/\.pgpass$"),
    _credential("a login of a git server", rb"://[^\s:/@]+:[^\s@/]+@", r"/(?:\.git-credentials|git/credentials)$"),
    _credential("a GitHub or GitLab token", rb"\b(?:gh[pousr]_[A-Za-z0-9]{36,}|github_pat_\w{60,}|glpat-[\w-]{20,})"),
    _credential("an OpenStack login", rb"^[ \t]*(?:export\s+OS_PASSWORD=|password:\s*)[\"']?[^\s\"'$]",
                r"/(?:clouds|secure)\.yaml$|openrc(?:\.sh)?$"),
    _credential("a Vault token", rb"\S", r"/\.vault-token$"),
    _credential("a Terraform Cloud token", rb'"?token"?\s*[:=]\s*"\S', r"/(?:credentials\.tfrc\.json|\.terraformrc)$"),
    _credential("an object store's secret key", rb"^[ \t]*(?:gs_|aws_)?secret_(?:access_)?key\s*=\s*\S",
                r"/(?:\.s3cfg|\.boto|rclone\.conf)$"),
    _credential("a password for cloud-init",
                rb"^[ \t]*(?:- )?(?:password|passwd|plain_text_passwd|hashed_passwd)\s*:\s*\S", r"^/var/lib/cloud/"),
    # NAME:PASSWORD as an entry of chpasswd's list; R and RANDOM have one made on the first boot.
    _credential("a password for cloud-init",
                rb"^[ \t]*chpasswd:[ \t]*\r?\n(?:[ \t]+[^\n]*\n){0,64}?[ \t]+(?:-[ \t]+|list:[ \t]*\[?[ \t]*)?[\"']?"
                rb"[A-Za-z_][\w.-]*:(?!R(?:ANDOM)?\b)" + _VALUE, r"^/var/lib/cloud/"),
)  # fmt: skip


def find_secrets(path: str, content: bytes) -> Iterator[Sighting]:
    """The secrets of a file, one of each kind; path is absolute, content its first MiB at least."""
    if _HISTORY.search(path):
        if content.strip():
            yield Sighting("shell history", "a shell's history")
        return
    cloud = next(_credentials(path, content), None)
    if cloud is not None:
        yield cloud
    key = _private_key(content)
    if key is not None and (cloud is None or key.line != cloud.line):
        yield key


def _credentials(path: str, content: bytes) -> Iterator[Sighting]:
    for credential in _CREDENTIALS:
        found = credential.content.search(content) if credential.path.search(path) else None
        if found is not None:
            yield Sighting("cloud credential", credential.what, _line(content, found.start()))


def _private_key(content: bytes) -> Sighting | None:
    found = _PEM.search(content)
    if found is not None:
        return Sighting("private key", _PEM_NAMES.get(found[1], "a private key"), _line(content, found.start()))
    for pattern, what in _OTHER_KEYS:
        found = pattern.search(content)
        if found is not None:
            return Sighting("private key", what, _line(content, found.start()))
    if _DROPBEAR.match(content):
        return Sighting("private key", "a dropbear private key")
    if _DER.match(content):
        return Sighting("private key", "a private key in DER")
    store = find_key(content)
    return Sighting("private key", store) if store else None


def _line(content: bytes, at: int) -> int:
    return content.count(b"\n", 0, at) + 1
