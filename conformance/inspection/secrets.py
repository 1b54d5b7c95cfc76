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


# A header alone, or with a line that breaks off, is what scripts and manuals have: base64 has to follow, behind header
# fields and a string's \n, which a string in a string doubles; lines of 16 signs and more.
_PEM = re.compile(
    rb"-----BEGIN ((?:[A-Z0-9]+ ){0,2}?)PRIVATE KEY(?: BLOCK)?-----(?:\s|\\{1,4}[nr])*"
    rb"(?:[A-Za-z-]+: [^\n]{0,200}\s+)*[A-Za-z0-9+/=]{16}(?:(?:\s|\\{1,4}[nr])*[A-Za-z0-9+/=]){24}"
)
_PEM_NAMES = {b"OPENSSH ": "an OpenSSH private key", b"PGP ": "an OpenPGP private key"}
# A mark without which there is none, quick to look for; the form; and what it is.
_OTHER_KEYS = (
    # the header in base64, its label one of five, as cloud-init's files and Kubernetes' secrets have it
    (b"LS0tLS1CRUdJTi", re.compile(
        rb"LS0tLS1CRUdJTi(?:BQUklWQVRFIEtFWS|BSU0EgUFJJVkFURSBLRVkt|BFQyBQUklWQVRFIEtFWS|BPUEVOU1NIIFBSSVZBVEUgS0VZ"
        rb"|BFTkNSWVBURUQgUFJJVkFURSBLRVkt)[A-Za-z0-9+/\s]{40}"), "a private key"),
    (b"-- BEGIN SSH2 ", re.compile(rb"^---- BEGIN SSH2 ENCRYPTED PRIVATE KEY ----", re.M), "an SSH2 private key"),
    (b"OpenVPN Static", re.compile(rb"^-----BEGIN OpenVPN Static key V1-----\s+[0-9a-f]{32}", re.M),
     "an OpenVPN static key"),
    # GnuPG's private-keys-v1.d: libgcrypt's S-expressions, and its name-value form around one
    (b"private-key", re.compile(rb"\A(?:[^\0]{0,400}^Key: )?\((?:\d\d:)?(?:protected-)?private-key[ (]", re.M),
     "an OpenPGP private key"),
    (b"untrusted comm", re.compile(rb"\Auntrusted comment: (?!signature)[^\n]{0,200}secret key"), "a signing key"),
    (b"Private-key-fo", re.compile(rb"^Private-key-format: v1", re.M), "a DNSSEC private key"),
    (b"PuTTY-User-Key", re.compile(rb"^PuTTY-User-Key-File-\d: ", re.M), "a PuTTY private key"),
    (b"AGE-SECRET-KEY", re.compile(rb"\bAGE-SECRET-KEY-1[0-9A-Z]{58}\b"), "an age private key"),
    (b"PrivateKey", re.compile(rb"^[ \t]*PrivateKey\s*=\s*[A-Za-z0-9+/]{43}=\s*$", re.M), "a WireGuard private key"),
)  # fmt: skip
# dropbear's files begin with the type as an SSH string, DER with a sequence of version and algorithm or modulus
# (RFC 5958 2, RFC 8017 A.1.2, RFC 5915 3), or with the algorithm of PKCS#5 that encrypts it (RFC 5958 3).
_DROPBEAR = re.compile(rb"\0\0\0[\x07\x0b\x13](?:ssh-(?:rsa|dss|ed25519)|ecdsa-sha2-nistp\d{3})\0")
# RFC 7517, RFC 8037: the kind of a key, and its private part
_JWK = (re.compile(rb'"kty"\s*:\s*"(?:RSA|EC|OKP)"'), re.compile(rb'"d"\s*:\s*"[\w-]{40}'))
_LENGTH = rb"(?:\x82..|\x81.|[\x20-\x7f])"
_DER = re.compile(
    rb"\x30" + _LENGTH + rb"(?:\x02\x01(?:[\x00\x01]\x30.\x06|\x00\x02[\x81\x82]|\x01\x04)"
    rb"|\x30" + _LENGTH + rb"\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x05)",
    re.S,
)

# Every program that has one calls it so, with or without what an editor of lines leaves of it.
_HISTORY = re.compile(
    r"/(?:\.[\w.-]*history(?:-\d+\.tmp)?|\.histfile|\.zhistory|(?:bash|zsh|nushell)/history(?:\.txt)?"
    r"|fish_history|fish_read_history|ConsoleHost_history\.txt)$"
)
_HISTORY_HEADER = b"_HiStOrY_V2_"  # libedit's first line


@dataclass(frozen=True, slots=True)
class _Credential:
    """Where a path matches, content that matches is a credential; in lower case it has the mark, quick to look for."""

    what: str
    path: re.Pattern[str]
    content: re.Pattern[bytes]
    mark: bytes


def _credential(what: str, content: bytes, path: str = "", mark: bytes = b"") -> _Credential:
    return _Credential(what, re.compile(path), re.compile(content, re.M), mark)


# What stands for a value that is not there: $NAME, ${...}, $(...), <...>, {{...}}, %..., ***, xxxx. $6$ begins a hash.
_VALUE = rb"(?!\$[{(]|\$[A-Za-z_]\w*(?![\w$])|<|\{\{|%|\*\*\*|(?i:x{4}))[^\s\"'#]"

_CLOUD_INIT = r"^/var/lib/cloud/|^/etc/cloud/cloud\.cfg"

_CREDENTIALS = (
    _credential("an AWS secret access key",
                rb"(?i:aws_secret_access_key)[\"']?\s*[=:]\s*[\"']?(?!(?i:x{4})|[A-Za-z0-9/+]{0,33}EXAMPLE)"
                rb"[A-Za-z0-9/+]{40}(?![A-Za-z0-9/+])", mark=b"aws_secret_access_key"),
    _credential("an AWS login",
                rb'"(?:[sS]ecretAccessKey|[sS]essionToken|accessToken|refreshToken|clientSecret)"\s*:\s*"' + _VALUE
                + rb'[^"\n]{7}', r"/\.aws/"),
    _credential("an AWS secret access key", rb"^[ \t]*[^#\s]*secret_access_key[ \t]*=[ \t]*\S", r"/\.aws/credentials$"),
    _credential("a Google Cloud service account's key", rb'"type"\s*:\s*"service_account"', mark=b"service_account"),
    _credential("a Google Cloud login", rb"(?s).",
                r"/gcloud/(?:(?:credentials|access_tokens)\.db$|legacy_credentials/)"),
    _credential("a Google Cloud login", rb'"refresh_token"\s*:', r"/gcloud/application_default_credentials\.json$"),
    _credential("an Azure login", rb"(?s).",
                r"/\.azure/(?:accessTokens\.json|msal_token_cache\.\w+|service_principal_entries\.\w+)$"),
    _credential("an Azure storage key", rb"AccountKey=[A-Za-z0-9+/]{40,}={0,2}", mark=b"accountkey="),
    _credential("an Azure login", rb"\bAZURE_CLIENT_SECRET[\"']?[ \t]*[=:][ \t]*[\"']?" + _VALUE + rb"[^\s\"'#]{7}",
                mark=b"azure_client_secret"),
    _credential("a Kubernetes login", rb"^[ \t]*(?:- )?(?:client-key-data|token|password):[ \t]*[\"']?[^\s\"'#]{8}",
                r"/\.kube/|/kubernetes/.*\.conf$|kubeconfig"),
    _credential("a container registry's login", rb'"(?:auth|identitytoken)"\s*:\s*"[^"]{4}',
                r"(?:/\.docker/config|/containers/auth|/\.dockercfg)(?:\.json)?$"),
    _credential("a login", rb"\bpassword\s+\S", r"/[._]netrc$"),
    _credential("a login of a package repository", rb"^[^#\n]*\bpassword\s+" + _VALUE, r"^/etc/apt/auth\.conf"),
    _credential("a login of a package repository", rb":_(?:authToken|auth|password)[ \t]*=[ \t]*[\"']?" + _VALUE,
                r"/\.npmrc$"),
    _credential("a login of a package repository", rb"^[ \t]*password[ \t]*[:=][ \t]*" + _VALUE, r"/\.pypirc$"),
    _credential("an Alibaba Cloud login", rb'"access_key_secret"\s*:\s*"[^"]{8}', r"/\.aliyun/"),
    _credential("a Hetzner Cloud token", rb"^[ \t]*token[ \t]*=[ \t]*[\"']?" + _VALUE, r"/hcloud/cli\.toml$"),
    _credential("a login of PostgreSQL", rb"^(?!#)(?:(?:[^:\\\n]|\\.)+:){4}" + _VALUE, r"/\.pgpass$"),
    _credential("a login of a git server", rb"://[^\s:/@]+:[^\s@/]+@", r"/(?:\.git-credentials|git/credentials)$"),
    _credential("a GitHub or GitLab token", rb"\b(?:gh[pousr]_[A-Za-z0-9]{36,}|github_pat_\w{60,}|glpat-[\w-]{20,})"),
    _credential("an OpenStack login", rb"^[ \t]*(?:export\s+OS_PASSWORD=|password:[ \t]*)[\"']?[^\s\"'$]",
                r"/(?:clouds|secure)\.yaml$|openrc(?:\.sh)?$"),
    _credential("a Vault token", rb"\S", r"/\.vault-token$"),
    _credential("a Terraform Cloud token", rb'"?token"?\s*[:=]\s*"\S', r"/(?:credentials\.tfrc\.json|\.terraformrc)$"),
    _credential("an object store's secret key", rb"^[ \t]*(?:gs_|aws_)?secret_(?:access_)?key[ \t]*=[ \t]*\S",
                r"/(?:\.s3cfg|\.boto|rclone\.conf)$"),
    _credential("a password for cloud-init",
                rb"^[ \t]*(?:- )?[\"']?(?:password|passwd|plain_text_passwd|hashed_passwd)[\"']?[ \t]*:[ \t]*"
                rb"[\"']?(?![!*])" + _VALUE, _CLOUD_INIT),
    # NAME:PASSWORD as an entry of chpasswd's list; R and RANDOM have one made on the first boot.
    _credential("a password for cloud-init",
                rb"^[ \t]*chpasswd:[ \t]*\r?\n(?:[ \t]+[^\n]*\n){0,64}?[ \t]+(?:-[ \t]+|list:[ \t]*\[?[ \t]*)?[\"']?"
                rb"[A-Za-z_][\w.-]*:(?!R(?:ANDOM)?\b)" + _VALUE, _CLOUD_INIT),
)  # fmt: skip


def find_secrets(path: str, content: bytes) -> Iterator[Sighting]:
    """The secrets of a file, one of each kind; path is absolute, content its first MiB at least."""
    if _HISTORY.search(path):
        if content.strip().removeprefix(_HISTORY_HEADER):
            yield Sighting("shell history", "a shell's history")
        return
    cloud = next(_credentials(path, content), None)
    if cloud is not None:
        yield cloud
    key = _private_key(path, content)
    if key is not None and (cloud is None or key.line != cloud.line):
        yield key


def _credentials(path: str, content: bytes) -> Iterator[Sighting]:
    lowered = content.lower()
    for credential in _CREDENTIALS:
        likely = credential.path.search(path) and credential.mark in lowered
        found = credential.content.search(content) if likely else None
        if found is not None:
            yield Sighting("cloud credential", credential.what, _line(content, found.start()))


def _private_key(path: str, content: bytes) -> Sighting | None:
    found = _PEM.search(content)
    if found is not None:
        return Sighting("private key", _PEM_NAMES.get(found[1], "a private key"), _line(content, found.start()))
    for mark, pattern, what in _OTHER_KEYS:
        found = pattern.search(content) if mark in content else None
        if found is not None:
            return Sighting("private key", what, _line(content, found.start()))
    if all(member.search(content) for member in _JWK):
        return Sighting("private key", "a private key in JSON")
    store = _key_of_bytes(path, content)
    return Sighting("private key", store) if store else None


def _key_of_bytes(path: str, content: bytes) -> str:
    """What a file that is no text is, where it is a key; else ""."""
    if _DROPBEAR.match(content):
        return "a dropbear private key"
    if _DER.match(content):
        return "a private key in DER"
    if path.endswith("/secring.gpg") and content:  # GnuPG 1's
        return "an OpenPGP private key"
    return find_key(content)


def _line(content: bytes, at: int) -> int:
    return content.count(b"\n", 0, at) + 1
