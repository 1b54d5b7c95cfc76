"""What a package built from an app.toml is refused for, told by the file's own lines and keys; a remedy that is
followed to the letter mends it."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pytest
from command_line import Delivery, deliver
from guest_images import write_guest
from hypothesis import given, settings
from hypothesis import strategies as st

from conformance.errors import UsageError
from conformance.package.certificate import Trust
from conformance.profile import load
from conformance.verdict import Finding, Verdict
from harness.options import PackageOptions
from harness.package.checking import certify_statically
from harness.packaging.appfile import read_app
from harness.packaging.building import PackageParts, write_package
from harness.packaging.ca import load_roots
from harness.packaging.origin import retell

PROFILE = load()
TERMINATING = """
[app]
id = "hello"
type = "terminating"
name = "Hello"
vendor = "Example Apps"
version = "1.0.0"
system = "Rocky Linux 9"
#
[endpoint."hello.apps.example"]
services = [
    "udp/7",
    "tcp/7",
]
#
[forward]
"tcp/29001" = 22
[firewall]
service = ["tcp/22"]
[storage]
"/" = "1 GiB"
[features."hello.echo"]
name = "Echo"
sales_item = "RACS-HELLO-001"
[bus]
subscribe = ["racs/cell/+/load"]
publish = ["app/hello/state", "app/hello/load"]
[properties]
colour = "red"
"""
TRANSPARENT = """
[app]
id = "lens"
type = "transparent"
name = "Lens"
vendor = "Example Apps"
version = "1"
system = "Rocky Linux 9"
[offload.web]
uplink = "proto == TCP && dst_port == 80"
downlink = "proto == TCP && src_port == 80"
payload = "preserves"
"""
# What nobody has who writes an app.toml
XML = re.compile(r"racs:|ovf:|rasd:|<|&amp;|descriptor, |acl\.xml, |\(line|\.ovf|OVF-env|Item|Rule |Element|attribute")


@dataclass(frozen=True, slots=True)
class Wrong:
    """A mistake: its place in the text, the ids it trips with where and remedy, and what the remedy says to write."""

    text: str
    old: str
    new: str
    told: tuple[tuple[str, str, str], ...]
    mend: tuple[str, str] = ("", "")


WRONG = (
    Wrong(TERMINATING, '"1.0.0"', '"one"', (("DSC-003", ":7, [app] version", 'write "1", "1.2"'),), ('"one"', '"1.2"')),
    Wrong(TERMINATING, "#\n[end", "user_plane_nics = 2\n[end",
          (("DSC-004", ":9, [app] user_plane_nics", "write 1, or delete the key"),), ("nics = 2", "nics = 1")),
    Wrong(TERMINATING, "#\n[end", "cpus = 2\n[end",
          (("RES-001", ":9, [app] cpus", "delete the key"),), ("cpus = 2", "")),
    Wrong(TERMINATING, "#\n[end", "memory_mib = 2048\n[end",
          (("RES-002", ":9, [app] memory_mib", "delete the key"),), ("memory_mib = 2048", "")),
    Wrong(TERMINATING, '"udp/7"', '"udp/5000"',
          (("DSC-007", ':12, [endpoint."hello.apps.example"] services[1]', 'write { on = "udp/5000"'),),
          ('"udp/5000"', '{ on = "udp/5000", send = "70696e67", expect = "706f6e67" }')),
    Wrong(TERMINATING, '"tcp/7"', '"udp/7"',
          (("DSC-007", ':13, [endpoint."hello.apps.example"] services[2]', "delete one"),), ('    "udp/7",\n]', "]")),
    Wrong(TERMINATING, '"udp/7",\n    "tcp/7",', "",
          (("DSC-007", ':11, [endpoint."hello.apps.example"] services', 'services = ["udp/7", "tcp/7"]'),),
          ("services = [\n    \n]", 'services = ["udp/7", "tcp/7"]')),
    Wrong(TERMINATING, "hello.apps.example", "hello", (("DSC-007", ":10, [endpoint.hello]", "goon.apps.example"),),
          ("[endpoint.\"hello\"]", '[endpoint."goon.apps.example"]')),
    Wrong(TERMINATING, '[endpoint."hello.apps.example"]\nservices = [\n    "udp/7",\n    "tcp/7",\n]\n', "",
          (("DSC-007", " (there is no [endpoint])", 'add [endpoint."hello.apps.example"] with its services'),),
          ("#\n#", '[endpoint."hello.apps.example"]\nservices = ["udp/7", "tcp/7"]')),
    Wrong(TERMINATING, "#\n[for", '[endpoint."HELLO.apps.example"]\nservices = ["udp/53"]\n[for',
          (("DSC-007", ':15, [endpoint."HELLO.apps.example"]', "once"),)),
    Wrong(TERMINATING, "#\n[for", '[offload.web]\nuplink = "dst_port == 80"\ndownlink = "src_port == 80"\n[for',
          (("DSC-002", ":15, [offload]", 'delete the table, or write type = "transparent" in [app]'),),
          ('[offload.web]\nuplink = "dst_port == 80"\ndownlink = "src_port == 80"\n', "")),
    Wrong(TERMINATING, "29001", "22", (("DSC-008", ':17, [forward] "tcp/22"', "another port of that range"),),
          ("tcp/22\" = ", 'tcp/29000" = ')),
    Wrong(TERMINATING, '"/" = ', '"/data" = ', (("DSC-009", ":20, [storage]", 'add "/" = "1 GiB"'),),
          ('"/data" = "1 GiB"', '"/" = "1 GiB"')),
    Wrong(TERMINATING, '"/" = ', '"/" = "1 MiB"\n"data/" = ', (("DSC-009", ':22, [storage] "data/"', "from the root"),),
          ('"data/"', '"/data"')),
    Wrong(TERMINATING, '"1 GiB"', '"3 GiB"', (("DSC-009", ":20, [storage]", "ask for less"),), ('"3 GiB"', '"1 GiB"')),
    Wrong(TERMINATING, '."hello.echo"', ".Echo", (("DSC-010", ":22, [features.Echo]", "small letters"),),
          (".Echo", ".echo")),
    Wrong(TERMINATING, "RACS-HELLO-001", "x" * 65,
          (("DSC-010", ':24, [features."hello.echo"] sales_item', "RACS-GOON"),),
          ("x" * 65, "RACS-GOON-001")),
    Wrong(TERMINATING, "app/hello/load", "app/other/load",
          (("PKG-013", ":27, [bus] publish[2]", 'write "app/hello/load": "hello" is the app\'s id'),),
          ("app/other/load", "app/hello/load")),
    Wrong(TERMINATING, "app/hello/load", "load", (("PKG-013", ":27, [bus] publish[2]", "begins with app/hello/"),),
          ('"load"', '"app/hello/load"')),
    Wrong(TERMINATING, "racs/cell/+/load", "racs/app/other/properties",
          (("PKG-013", ":26, [bus] subscribe[1]", 'write "racs/app/hello/properties"'),),
          ("racs/app/other/properties", "racs/app/hello/properties")),
    Wrong(TERMINATING, '["racs/cell/+/load"]', '["racs/#",\n"racs/cell/#/load"]',
          (("PKG-013", ":26, [bus] subscribe[1]", "name the topics"),
           ("PKG-013", ":27, [bus] subscribe[2]", "# stands last"))),
    Wrong(TERMINATING, "colour", '"racs.colour"', (("DSC-002", ':29, [properties] "racs.colour"', "another key"),),
          ("racs.colour", "colour")),
    Wrong(TERMINATING, '"terminating"', '"transparent"',
          (("DSC-002", ":10, [endpoint]", 'write type = "terminating" in [app]'),
           ("DSC-005", " (there is no [offload])", 'uplink = "proto == TCP && dst_port == 80"'),
           ("DSC-005", " (there is no [offload])", 'downlink = "proto == TCP && src_port == 80"')),
          ('"transparent"', '"terminating"')),
    Wrong(TRANSPARENT, "downlink =", "#",
          (("DSC-005", ":9, [offload.web] downlink", 'of uplink: downlink = "proto == TCP && src_port == 80"'),),
          ("payload", 'downlink = "proto == TCP && src_port == 80"\npayload')),
    Wrong(TRANSPARENT, "uplink =", "#",
          (("DSC-005", ":9, [offload.web] uplink", 'uplink = "proto == TCP && dst_port == 80"'),),
          ("payload", 'uplink = "proto == TCP && dst_port == 80"\npayload')),
    Wrong(TRANSPARENT, "payload", '[offload.x]\npayload', (("DSC-005", ":13, [offload.x] payload", "or delete it"),),
          ('payload = "preserves"', "")),
    Wrong(TRANSPARENT, "TCP && dst", "TCP & dst",
          (("DSC-005", ":10, [offload.web] uplink", "write &&"),), (" & ", " && ")),
    Wrong(TRANSPARENT, "dst_port", "dst_prt", (("DSC-005", ":10, [offload.web] uplink", "did you mean dst_port?"),),
          ("dst_prt", "dst_port")),
    Wrong(TRANSPARENT, "dst_port == 80", "src_ip == 10.0.0.0/8",
          (("DSC-005", ":10, [offload.web] uplink", "src_ip in 10.0.0.0/8"),),
          ("src_ip == 10.0.0.0/8", "src_ip in 10.0.0.0/8")),
    Wrong(TRANSPARENT, "proto == TCP && dst_port", "proto == UDP && proto == TCP && dst_port",
          (("DSC-005", ":10, [offload.web] uplink, character 17", "correct the condition"),), ("proto == UDP && ", "")),
    Wrong(TRANSPARENT, "proto == TCP && dst_port == 80", "ip_version == 6",
          (("DSC-005", ":10, [offload.web] uplink, character 1", "IPv4"),)),
    Wrong(TRANSPARENT, 'dst_port == 80"', 'dst_port == 80"\n[offload."it\'s a \\"b\\""]\nuplink = "length > 0"',
          (("DSC-005", ':12, [offload."it\'s a \\"b\\""] uplink, character 1', "only the traffic"),)),
    Wrong(TRANSPARENT, "proto == TCP && src_port == 80", 'src_port < 80"\n[offload.x]\ndownlink = "!(src_port < 80)',
          (("DSC-005", ":9, [offload], rules for downlink", "only the traffic"),)),
    Wrong(TRANSPARENT, "dst_port == 80", "(" * 40 + "dst_port == 80" + ")" * 40,
          (("PKG-015", ":10, [offload.web] uplink", "take away parentheses"),),
          ("(" * 40 + "dst_port == 80" + ")" * 40, "dst_port == 80")),
    Wrong(TRANSPARENT, "dst_port == 80", "dst_port in {" + "80, " * 1100 + "80}",
          (("PKG-015", ":10, [offload.web] uplink", "split it"),)),
    Wrong(TRANSPARENT, "[offload.web]",
          "\n".join(f'[offload.r{n}]\nuplink = "dst_port == {n}"' for n in range(70)) + "\n[offload.web]",
          (("PKG-015", ":9, [offload]", "join rules with ||"),)),
    Wrong(TRANSPARENT, "[offload.web]", "[bus]\nsubscribe = [" + '"a",' * 10001 + "]\n[offload.web]",
          (("PKG-015", "the auth/acl.xml written from", "declare less"),)),
)  # fmt: skip


@pytest.fixture(scope="module")
def delivery(tmp_path_factory: pytest.TempPathFactory) -> Delivery:
    return deliver(tmp_path_factory.mktemp("delivery"))


def refused(text: str, delivery: Delivery, image: Path | None = None) -> list[tuple[str, Finding]]:
    """What `racs build-ova` would refuse this app.toml for, as it tells it."""
    folder = delivery.ova.parent
    path, ova = folder / "app.toml", folder / "app.ova"
    path.write_text(text, encoding="utf-8")
    parts = delivery.parts
    write_package(PackageParts(path, image or parts.image, parts.privatekey, parts.certificate), ova)
    trust = Trust("rd", load_roots([delivery.root]), datetime.now(UTC))
    judgements = certify_statically(PackageOptions(ova, PROFILE, trust, look_inside=False)).judgements
    app = read_app(path, PROFILE)
    return [
        (judgement.id, retell(judgement.id, finding, app))
        for judgement in judgements
        if judgement.verdict is Verdict.FAIL and judgement.gates
        for finding in judgement.findings
    ]


@pytest.mark.parametrize("wrong", WRONG, ids=lambda wrong: wrong.new[:40])
def test_a_mistake_is_told_at_its_key_and_its_remedy_mends_it(wrong: Wrong, delivery: Delivery) -> None:
    assert wrong.old in wrong.text
    broken = wrong.text.replace(wrong.old, wrong.new, 1)
    told = refused(broken, delivery)
    assert len(told) == len(wrong.told), told
    for (identity, finding), (expected, where, remedy) in zip(told, wrong.told, strict=True):
        assert identity == expected
        assert f"app.toml{where}" in finding.where or where in finding.where
        assert remedy in finding.remedy
        assert_plain(finding)
    old, new = wrong.mend
    if old:
        assert old in broken
        assert refused(broken.replace(old, new, 1), delivery) == []


def assert_plain(finding: Finding) -> None:
    for part in (finding.expected, finding.seen, finding.where, finding.remedy):
        assert part and not XML.search(part), finding


@pytest.mark.parametrize("text", [TERMINATING, TRANSPARENT])
def test_what_is_right_is_not_refused(text: str, delivery: Delivery) -> None:
    assert refused(text, delivery) == []


def test_the_size_of_the_disk_is_told_where_build_app_takes_it_from(delivery: Delivery, tmp_path: Path) -> None:
    image = tmp_path / "large.qcow2"
    write_guest(image, 9 << 30)
    for more, place in (("[image]\ndisk_mib = 9216\n", "app.toml:31, [image] disk_mib"), ("", "(there is no [image])")):
        ((identity, finding),) = refused(TERMINATING + more, delivery, image)
        assert identity == "RES-003" and place in finding.where and "disk_mib" in finding.remedy
        assert_plain(finding)


def test_what_the_image_has_of_files_is_told_with_its_line(tmp_path: Path) -> None:
    path = tmp_path / "app.toml"
    path.write_text(TERMINATING + '[files]\n"/root/key" = "key"\n"/root/key.pub" = "key.pub"\n')
    app = read_app(path, PROFILE)
    for name, line in (("/root/key", 31), ("/root/key.pub", 32)):
        told = retell("IMG-002", Finding("no key", "a key", f"hello.qcow2, partition 2, {name}, line 1", "rm it"), app)
        assert f'app.toml:{line}, [files] "{name}", in the image hello.qcow2, partition 2, {name}' in told.where
        assert told.remedy.startswith("leave the file out of [files]") and "make the secret invalid" in told.remedy
    for name in ("/root/key2", "/var/root/key"):
        other = Finding("no key", "a key", f"hello.qcow2, partition 2, {name}", "rm it")
        assert retell("IMG-002", other, app) == other


def several(text: str) -> st.SearchStrategy[Sequence[Wrong]]:
    return st.lists(st.sampled_from([wrong for wrong in WRONG if wrong.text == text]), min_size=2, max_size=5)


@settings(derandomize=True, max_examples=25, deadline=None)
@given(st.one_of(several(TERMINATING), several(TRANSPARENT)))
def test_several_mistakes_are_told_in_the_words_of_the_file(delivery: Delivery, mistakes: Sequence[Wrong]) -> None:
    text = mistakes[0].text
    for wrong in mistakes:
        text = text.replace(wrong.old, wrong.new, 1)
    try:
        told = refused(text, delivery)
    except UsageError:  # a key twice
        return
    for _, finding in told:
        assert_plain(finding)
        assert "app.toml" in finding.where
