"""Secrets are told from what looks like them, by the form that each maker gives them."""

import base64
import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from conformance.inspection.keystores import is_closed
from conformance.inspection.secrets import find_secrets


@settings(derandomize=True, max_examples=300)
@given(st.text(max_size=30), st.binary(max_size=200))
def test_secrets_are_told_by_kind_and_line_only(path: str, content: bytes) -> None:
    for sighting in find_secrets(f"/etc/{path}", content):
        assert sighting.what.split()[0] in ("a", "an") and 1 <= sighting.line <= content.count(b"\n") + 1


AWS = b"kJ4/8dfGh2+mQpZ7wXrT5vNcY1bLsA9eUoI3tRz6"
PFX = b"\x30\x82\x09\xcf\x02\x01\x03\x30\x82\x09\x85\x06\x09\x2a\x86\x48"
BAG = b"\x06\x0b\x2a\x86\x48\x86\xf7\x0d\x01\x0c\x0a\x01"
JAVA_CERTIFICATE = struct.pack(">IH1s8xH5sI3s", 2, 1, b"c", 5, b"X.509", 3, b"der")
JAVA_KEY = struct.pack(">IH1s8xI3s", 1, 1, b"k", 3, b"key")


def java_keystore(magic: int, *entries: bytes) -> bytes:
    return struct.pack(">3I", magic, 2, len(entries)) + b"".join(entries) + bytes(20)


def in_pem(data: bytes) -> bytes:
    return b"-----BEGIN PKCS12-----\n" + base64.encodebytes(data) + b"-----END PKCS12-----\n"


def in_base64(label: bytes) -> bytes:
    return base64.b64encode(b"-----BEGIN %bPRIVATE KEY-----\nMIIEvQIBADANBgkqhkiG9w0BAQEFAASCBKcw" % label)


@pytest.mark.parametrize(
    ("path", "content", "line"),
    [
        ("/root/.bashrc", b"umask 022\nexport AWS_SECRET_ACCESS_KEY=" + AWS + b"\n", 2),
        ("/root/.bashrc", b"export AWS_SECRET_ACCESS_KEY='" + AWS + b"'\n", 1),
        ("/etc/environment", b'AWS_SECRET_ACCESS_KEY="' + AWS + b'"\n', 1),
        ("/root/.aws/cli/cache/a.json", b'{"Credentials": {\n "SecretAccessKey": "' + AWS + b'"}}', 2),
        ("/home/a/.aws/sso/cache/a.json", b'{"SessionToken": "' + AWS + b'"}', 1),
        ("/root/.pgpass", b"# host\ndb.example:5432:*:app:s3cret\n", 2),
        ("/root/.pgpass", b"a\\:b:5432:*:app:s3cret\n", 1),
        ("/var/lib/cloud/seed/user-data", b"chpasswd:\n  expire: False\n  list: |\n    root:s3cret\n", 1),
        ("/var/lib/cloud/seed/user-data", b"#cloud-config\nchpasswd:\n  list:\n    - root:$6$ab$cd\n", 2),
        ("/var/lib/cloud/seed/user-data", b"chpasswd:\n  list: [root:s3cret]\n", 1),
        ("/etc/environment", b"AZURE_CLIENT_SECRET=abc8Q~defghijk\n", 1),
        ("/etc/a.pfx", PFX + b"..." + BAG + b"\2...", 1),
        ("/etc/a", b"\x30\x80\x02\1\3\x30\x80" + BAG + b"\1...", 1),
        ("/etc/a.jks", java_keystore(0xFEEDFEED, JAVA_CERTIFICATE, JAVA_KEY), 1),
        ("/etc/a.p12", in_pem(PFX + b"..." + BAG + b"\2..."), 1),
        ("/etc/a", b'K="-----BEGIN PRIVATE KEY-----\\\\nMIIEvQIBADANBgkqhkiG9w0BAQEFAASCBKcwggSjAgEAAoIB', 1),
        ("/etc/secret.yaml", b"data:\n  tls.key: " + in_base64(b""), 2),
        ("/etc/secret.yaml", in_base64(b"RSA "), 1),
        ("/etc/secret.yaml", in_base64(b"EC "), 1),
        ("/etc/secret.yaml", in_base64(b"OPENSSH "), 1),
        ("/etc/secret.yaml", in_base64(b"ENCRYPTED "), 1),
        ("/etc/k", b"-----BEGIN PRIVATE KEY-----\r\nMIIEvQIBADANBgkqhkiG\r\n9w0BAQEFAASCBKcwggSj\r\nAgEAAoIB", 1),
        ("/etc/k", b"\n---- BEGIN SSH2 ENCRYPTED PRIVATE KEY ----\nP2/56wAAA", 2),
        ("/etc/openvpn/ta.key", b"#\n-----BEGIN OpenVPN Static key V1-----\n0123456789abcdef0123456789abcdef\n", 2),
        ("/root/.gnupg/private-keys-v1.d/A.key", b"(21:protected-private-key(3:rsa(1:n257:\0", 1),
        ("/root/.gnupg/private-keys-v1.d/A.key", b"(11:private-key(3:ecc(5:curve", 1),
        ("/root/.gnupg/private-keys-v1.d/A.key", b"Created: 2024\nKey: (protected-private-key (rsa (n #00", 1),
        ("/root/.gnupg/secring.gpg", b"\x95\x03\xbe", 1),
        ("/root/a.key", b"untrusted comment: minisign encrypted secret key\nRWRTY0Iy", 1),
        ("/root/a.sec", b"untrusted comment: signify secret key\nRWRCSwAA", 1),
        ("/etc/bind/Kexample.+013+1.private", b"Private-key-format: v1.3\n", 1),
        ("/etc/letsencrypt/accounts/a/private_key.json", b'{"n": "x", "d": "' + b"A" * 43 + b'", "kty": "RSA"}', 1),
        ("/etc/k.der", b"\x30\x53\x02\x01\x01\x30\x05\x06\x03\x2b\x65\x70\x04", 1),  # version 2, Ed25519
        ("/etc/k.der", b"\x30\x82\x02\x5c\x02\x01\x00\x02\x81\x81\x00", 1),  # RSA of 1024 bits
        ("/etc/k.der", b"\x30\x82\x05\x2e\x30\x58\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x05\x0d", 1),  # encrypted
        ("/root/.histfile", b"ls\n", 1),
        ("/root/.rediscli_history", b"AUTH x\n", 1),
        ("/home/a/.local/state/zsh/history", b"ls\n", 1),
        ("/root/.bash_history-01234.tmp", b"ls\n", 1),
        ("/root/.psql_history", b"_HiStOrY_V2_\nselect\n", 1),
        ("/etc/apt/auth.conf.d/own.conf", b"machine repo.example login me password s3cret\n", 1),
        ("/root/.npmrc", b"//registry.example/:_authToken=npm_abc\n", 1),
        ("/root/.pypirc", b"[pypi]\nusername = me\npassword = s3cret\n", 3),
        ("/etc/cloud/cloud.cfg.d/99-own.cfg", b"#cloud-config\npassword: s3cret\n", 2),
        ("/etc/cloud/cloud.cfg", b"users:\n  - name: a\n    plain_text_passwd: 's3cret'\n", 3),
        ("/var/lib/cloud/seed/nocloud/user-data", b'#cloud-config\n{\n"password": "s3cret"}', 3),
        ("/etc/a.jceks", java_keystore(0xCECECECE, struct.pack(">I", 3)), 1),
    ],
)  # fmt: skip
def test_secrets_of_many_makers(path: str, content: bytes, line: int) -> None:
    assert [sighting.line for sighting in find_secrets(path, content)] == [line]


@pytest.mark.parametrize(
    ("path", "content"),
    [
        *(("/etc/environment", name + value + b"\n") for name in (b"AWS_SECRET_ACCESS_KEY=", b"AZURE_CLIENT_SECRET=")
          for value in (b"", b'""', b"$SECRET_FROM_ELSEWHERE", b'"${SECRET:-nothing-at-all}"', b"$(fetch the-secret)",
                        b"<your-secret-goes-here>", b"x" * 40, b"X" * 40, b"{{ secret_of_the_vault }}")),
        ("/root/.aws/a.json", b'{"SecretAccessKey": "", "SessionToken": "<session token>"}'),
        ("/root/.aws/a.json", b'{"SessionToken": "${TOKEN_OF_THE_SESSION}"}'),
        ("/root/.pgpass", b"# hostname:port:database:username:password\n"),
        ("/root/.pgpass", b"db:5432:*:app:$PASSWORD\ndb:5432:*:app:\ndb:5432:*:app:<password>\n"),
        ("/var/lib/cloud/seed/user-data", b"chpasswd:\n  expire: False\n  list:\n    - root:RANDOM\n    - app:R\n"),
        ("/var/lib/cloud/seed/user-data", b"chpasswd:\n  expire: False\nruncmd:\n  - a:b\n"),
        ("/etc/a.conf", b"-----BEGIN RSA PRIVATE KEY-----\nMIIEpAIBAAKCAQEA...\n-----END RSA PRIVATE KEY-----\n"),
        ("/etc/a.conf", b"aws_secret_access_key = wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY\n"),
        ("/etc/a.minisig", b"untrusted comment: signature from minisign secret key\nRUQ"),
        ("/etc/a.pub", b"untrusted comment: minisign public key 1\nRWQ"),
        ("/etc/jwks.json", b'{"keys": [{"kty": "RSA", "n": "' + b"A" * 43 + b'", "e": "AQAB"}]}'),
        ("/etc/csr.der", b"\x30\x82\x02\x5c\x30\x82\x01\x44\x02\x01\x00\x30"),
        ("/etc/certificate.der", b"\x30\x82\x03\x5c\x30\x82\x02\x44\xa0\x03\x02\x01\x02"),
        ("/root/.psql_history", b"_HiStOrY_V2_\n"),
        ("/root/.s3cfg", b"secret_key =\nsend_chunk = 65536\n"),
        ("/root/.aws/credentials", b"aws_secret_access_key =\nregion = eu\n"),
        ("/root/.pypirc", b"[pypi]\npassword =\n[other]\n"),
        ("/etc/cloud/cloud.cfg", b"users:\n  - default\nsystem_info:\n  default_user:\n    lock_passwd: True\n"),
        ("/var/lib/cloud/seed/user-data", b"users:\n- name: a\n  passwd: '!'\n- name: b\n  hashed_passwd: \"*\"\n"),
        ("/etc/trust.p12", PFX + b"..." + BAG + b"\3..."),
        ("/etc/cacerts", java_keystore(0xFEEDFEED, JAVA_CERTIFICATE, JAVA_CERTIFICATE)),
        ("/etc/cacerts", java_keystore(0xFEEDFEED, JAVA_CERTIFICATE, JAVA_CERTIFICATE)[:30]),
    ],
)  # fmt: skip
def test_placeholders_and_stores_of_certificates_are_no_secrets(path: str, content: bytes) -> None:
    assert list(find_secrets(path, content)) == []


def test_stores_of_which_all_is_encrypted_are_told() -> None:
    encrypted = b"\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x07\x06"
    assert is_closed(PFX + encrypted) and not is_closed(PFX + encrypted + BAG + b"\2") and not is_closed(encrypted)


def test_a_line_of_another_length_takes_no_time() -> None:
    """Patterns do not look back: what a guest holds cannot make the look hang."""
    for piece in (
        b"-----BEGIN PRIVATE KEY-----\n",
        b"a: b\n",
        b" ",
        b"password ",
        b"- ",
        b"://",
        b"\\n",
        b" chpasswd:\n",
        b'"kty":"RSA"',
        b'"d":"' + b"A" * 39,
        b"LS0tLS1CRUdJTi",
        b"-----BEGIN OpenVPN Static key V1-----\n",
        b"PrivateKey = ",
    ):
        for path in ("/etc/.netrc", "/root/.pgpass", "/var/lib/cloud/x"):
            list(find_secrets(path, b"-----BEGIN RSA PRIVATE KEY-----" + piece * 20_000))
