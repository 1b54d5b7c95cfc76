"""What findings tell to do: names of the package itself, texts to be pasted, and one remedy for one cause."""

from dataclasses import dataclass
from pathlib import Path

import pytest
from byte_steps import Step
from corpus import Case, build
from judging import judge


def descriptor(replace: str, by: str) -> Step:
    return {"in": "descriptor", "replace": replace, "by": by}


def acl(replace: str, by: str) -> Step:
    return {"in": "acl", "replace": replace, "by": by}


@dataclass(frozen=True)
class Advice:
    """A defect, by the corpus's words; how many findings the requirement has, and what the first one says to do."""

    name: str
    requirement: str
    remedy: str
    steps: tuple[Step, ...]
    base: str = "terminating"
    findings: int = 1
    where: str = ""


_ACL_FILE = '<ovf:File ovf:id="acl" ovf:href="auth/acl.xml"/>'
_KEY = "-----BEGIN PRIVATE KEY-----\nAA==\n-----END PRIVATE KEY-----\n"
ADVICE = (
    Advice("ACL without a File", "PKG-003", f"add {_ACL_FILE} to", (descriptor(_ACL_FILE, ""),)),
    Advice("ACL without a File, another prefix", "PKG-003", '<o:File o:id="acl" o:href="auth/acl.xml"/>',
           (descriptor(_ACL_FILE, ""), descriptor("ovf:", "o:"), descriptor("xmlns:ovf", "xmlns:o"),
            descriptor(">o:/disk/", ">ovf:/disk/"))),
    Advice("ACL without a File, its id taken", "PKG-003", '<ovf:File ovf:id="acl-2" ovf:href="auth/acl.xml"/>',
           (descriptor(_ACL_FILE, ""), descriptor('"image"', '"acl"'))),
    Advice("href of a path", "PKG-010", 'ovf:href="disk.qcow2"', (descriptor('href="disk', 'href="./disk'),)),
    Advice("href and size", "PKG-010", 'ovf:href="disk.qcow2"',
           (descriptor('href="disk', 'href="./disk'), descriptor('ovf:size="{size}"', 'ovf:size="7"')), findings=2),
    Advice("typo in a Connection", "DSC-004", "write <rasd:Connection>user-plane</rasd:Connection>",
           (descriptor(">user-plane</rasd", ">userplane</rasd"),), where="rasd:Connection (line"),
    Advice("typo in a Nic", "DSC-004", 'write network="user-plane"',
           (descriptor('<racs:Nic network="user-plane"', '<racs:Nic network="userplane"'),), where="racs:Nic[2] (line"),
    Advice("typo in a Network", "DSC-004", "add the Network to the NetworkSection",
           (descriptor('ovf:name="user-plane"', 'ovf:name="userplane"'),), where="racs:Nic[2] (line"),
    Advice("size", "PKG-010",
           'set ovf:size="24576", or ovf:size="{size}", which `./racs build-ova` fills in; then list, sign',
           (descriptor('ovf:size="{size}"', 'ovf:size="7"'),)),
    Advice("capacity", "PKG-010",
           'or ovf:capacity="{capacity}" without a unit, which `./racs build-ova` fills in; then list, sign and pack',
           (descriptor('ovf:capacity="{capacity}"', 'ovf:capacity="7"'),)),
    Advice("another access", "PKG-012", 'write access="publish" or access="subscribe"',
           (acl('access="publish"', 'access="read"'),)),
    Advice("no topic", "PKG-012", "without a prefix, as in examples/goon/auth/acl.xml",
           (acl(' topic="app/probe/features"', ""),)),
    Advice("another namespace", "PKG-012", '<acl xmlns="urn:racs:acl:1" application="ID">',
           (acl("urn:racs:acl:1", "urn:racs:acl:2"),)),
    Advice("a text in the ACL", "PKG-012", "examples/goon/auth/acl.xml", (acl("</acl>", "all</acl>"),)),
    Advice("no last line feed", "PKG-006", "echo >> app.cert", ({"in": "certificate", "keep": -1},),
           where="app.cert, line 19 (byte "),
    Advice("private key", "PKG-006", "burnt", ({"in": "certificate", "append": _KEY},),
           where="app.cert, line 20 (byte "),
    Advice("ACL of another app", "PKG-012", 'write application="probe"',
           (acl('application="probe"', 'application="other"'), acl("app/probe/", "app/other/")),
           where="auth/acl.xml, /acl:acl/@application (line 2)"),
    Advice("no manifest", "PKG-003", 'for f in app.ovf disk.qcow2 auth/acl.xml; do printf "SHA256(%s)',
           ({"in": "archive", "drop": "app.mf"},)),
    Advice("no manifest, off the bus", "PKG-003", "for f in app.ovf disk.qcow2; do",
           ({"in": "archive", "drop": "app.mf"}, {"in": "archive", "leave_out": "auth/acl.xml"},
            descriptor(_ACL_FILE, ""), {"in": "descriptor", "pattern": "<racs:Features>.*</racs:Features>", "by": ""})),
    Advice("no certificate", "PKG-003", "openssl dgst -sha256 -sign signer.key app.mf |",
           ({"in": "archive", "drop": "app.cert"},)),
    Advice("ACL first in References", "PKG-002", "app.cert auth/acl.xml disk.qcow2",
           ({"in": "descriptor", "pattern": '(<ovf:File ovf:id="image".*?/>)(.*?)(<ovf:File.*?/>)', "by": r"\3\2\1"},)),
    Advice("no descriptor", "PKG-003", "examples/goon/goon.ovf", ({"in": "archive", "leave_out": "app.ovf"},)),
    Advice("a symbolic link", "PKG-001",
           "tar --format=ustar -h --owner=0 --group=0 -cf app.ova app.ovf app.mf app.cert disk.qcow2 auth/acl.xml",
           ({"in": "archive", "header": "disk.qcow2", "field": "magic", "text": "ustar  "},)),
)  # fmt: skip

RULES = (
    ("80==dstport", "did you mean dst_port?"),
    ("dport==80", "did you mean dst_port?"),
    ("DST_PORT==80", "did you mean dst_port?"),
    ("TCP==protocol", "did you mean proto?"),
    ("dst_ip==198.51.100.0/24", "write dst_ip in 198.51.100.0/24"),
    ("198.51.100.0/24!=dst_ip", "write !(dst_ip in 198.51.100.0/24)"),
    ("dst_ip in 198.51.100.7/24", "write 198.51.100.0/24"),
    ("dst_port==70000", "write a number from 0 to 65535"),
    ("dst_port=80", "write =="),
    ("dst_port==80 &amp; proto==TCP", "write &&"),
    ("dst_port==80 | proto==TCP", "write ||"),
)


@pytest.mark.parametrize(("rule", "remedy"), RULES)
def test_a_rule_is_told_as_it_was_meant(rule: str, remedy: str, tmp_path: Path) -> None:
    steps: tuple[Step, ...] = ({"in": "descriptor", "pattern": '(="uplink">)[^<]*', "by": rf"\g<1>{rule}"},)
    judged = judge(tmp_path, build(Case(rule, base="transparent", steps=steps)))
    assert remedy in judged.outcomes["DSC-005"].findings[0].remedy


@pytest.mark.parametrize("advice", [pytest.param(advice, id=advice.name) for advice in ADVICE])
def test_a_remedy_can_be_followed(advice: Advice, tmp_path: Path) -> None:
    outcome = judge(tmp_path, build(Case(advice.name, base=advice.base, steps=advice.steps))).outcomes[
        advice.requirement
    ]
    assert len(outcome.findings) == advice.findings, outcome
    assert advice.remedy in outcome.findings[0].remedy
    assert advice.where in outcome.findings[0].where
