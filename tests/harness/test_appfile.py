"""app.toml: what few lines stand for, and that what is not understood is named with its line."""

from pathlib import Path

import pytest

from conformance.application import Allow, Endpoint, Feature, Forward, Mount, Permission, Service
from conformance.errors import UsageError
from conformance.package import descriptor
from conformance.profile import load
from harness.packaging.appfile import read_app

PROFILE = load()
GOOD = """
[app]
id = "hello"
type = "terminating"
name = "Hello"
vendor = "Example Apps"
version = "1.0.0"
system = "Rocky Linux 9"
memory_mib = 512
drills = ["hang"]

[endpoint."hello.apps.example"]
services = [
    "udp/7",
    { on = "udp/5000", send = "70696e67", expect = "706f6e67" },
]

[forward]
"tcp/29001" = 22
[firewall]
service = ["tcp/22"]
[storage]
"/" = "1.5 GiB"
[features."hello.echo"]
name = "Echo"
sales_item = "RACS-HELLO-001"
on = true
[bus]
subscribe = ["racs/cell/+/load"]
publish = ["app/hello/#"]
[properties]
colour = "red"
[image]
anything = "is not read here"
"""
TRANSPARENT = """
[app]
id = "lens"
type = "transparent"
name = "Lens"
vendor = "Example Apps"
version = "1"
system = "Debian GNU/Linux 12"
user_plane_nics = 2
[offload.web]
uplink = '''
    proto==TCP
    && dst_port==80'''
downlink = "src_port==80"
payload = "preserves"
"""


def write(folder: Path, text: str) -> Path:
    path = folder / "app.toml"
    path.write_text(text, encoding="utf-8")
    return path


def test_all_that_an_app_can_declare(tmp_path: Path) -> None:
    app = read_app(write(tmp_path, GOOD), PROFILE).application
    assert (app.id, app.type, app.product, app.vendor, app.version) == (
        "hello", "terminating", "Hello", "Example Apps", "1.0.0",
    )  # fmt: skip
    assert (app.memory_mib, app.cpus, app.heartbeat_interval_s, app.drills) == (512, 1, 1.0, ("hang",))
    probed = Service("udp", 5000, "70696e67", "706f6e67")
    assert app.endpoints == (Endpoint("hello.apps.example", (Service("udp", 7), probed)),)
    assert (app.forwards, app.allows) == ((Forward("tcp", 29001, 22),), (Allow("tcp", 22, "service"),))
    assert app.mounts == (Mount("/", 3 << 29),)
    assert app.features == (Feature("hello.echo", "Echo", "RACS-HELLO-001", True),)
    assert app.properties == {"colour": "red"}
    assert app.nics == ("service", "user-plane")
    assert app.acl == (
        Permission("subscribe", "racs/cell/+/load"),
        Permission("publish", "app/hello/#"),
        Permission("subscribe", "racs/app/hello/properties"),  # for the feature; publishing is granted already
    )


def test_a_transparent_app(tmp_path: Path) -> None:
    found = read_app(write(tmp_path, TRANSPARENT), PROFILE)
    app = found.application
    assert [(rule.name, rule.direction, rule.text) for rule in app.rules] == [
        ("web", "uplink", "proto==TCP && dst_port==80"), ("web", "downlink", "src_port==80"),
    ]  # fmt: skip
    assert app.nics == ("service", "user-plane-ul", "user-plane-dl")
    assert (app.acl, found.acl(), app.effects[0].payload) == (None, None, "preserves")


@pytest.mark.parametrize("text", [GOOD, TRANSPARENT])
def test_what_it_becomes_has_nothing_wrong(text: str, tmp_path: Path) -> None:
    written = read_app(write(tmp_path, text), PROFILE).descriptor(PROFILE)
    read = descriptor.read(written.replace(b"{size}", b"7").replace(b"{capacity}", b"%d" % (2 << 30)), PROFILE)
    assert [fault for fault in read.faults if fault.requirement != "DSC-011"] == []


@pytest.mark.parametrize(
    ("system", "number"),
    [("Red Hat Enterprise Linux 9", 80), ("CentOS Stream 9", 107), ("Oracle Linux 9", 109), ("Debian GNU/Linux", 96),
     ("Ubuntu 24.04", 94), ("Rocky Linux 9", 101)],
)  # fmt: skip
def test_the_number_of_a_system(system: str, number: int, tmp_path: Path) -> None:
    found = read_app(write(tmp_path, GOOD.replace("Rocky Linux 9", system)), PROFILE).system
    assert (found.number, found.description) == (number, system)


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("[app]", "[ap]", "line 2: ap is not known; did you mean app?"),
        ("memory_mib", "memory", "line 9: app.memory is not known; did you mean memory_mib?"),
        ("memory_mib = 512", "zzz = 1", "line 9: app.zzz is not known; known here: id, type"),
        ("memory_mib = 512", 'memory_mib = "512"', "line 9: app.memory_mib: expected a number of MiB, saw '512'"),
        ("memory_mib = 512", "memory_mib = true", "line 9: app.memory_mib: expected a number of MiB, saw True"),
        ("memory_mib = 512", "cpus = 1.0", "line 9: app.cpus"),
        ("memory_mib = 512", "user_plane_nics = 3", "line 9: app.user_plane_nics"),
        ('id = "hello"', "", "line 2: app.id: expected the app's id"),
        ('"terminating"', '"final"', 'line 4: app.type: expected "terminating" or "transparent"'),
        ('"Hello"', '"Hel\\u0000lo"', "line 5: app.name"),
        ('"1.0.0"', "1.0", 'line 7: app.version: expected a version in quotes, such as "1.0.0", saw 1.0'),
        ('"1.0.0"', '"1.0.0', "is no TOML"),
        ('["hang"]', '"hang"', "line 10: app.drills"),
        ('"udp/7"', '"udp/07"', 'line 13: endpoint.hello.apps.example.services'),
        ('"udp/7"', "7", 'line 13: endpoint.hello.apps.example.services'),
        ('"udp/7"', '{ on = "udp/7", send = "00" }', 'line 13: endpoint.hello.apps.example.services'),
        ('"tcp/29001" = 22', '"29001" = 22', "line 19: forward.29001"),
        ('"tcp/29001" = 22', '"tcp/29001" = "ssh"', "line 19: forward.tcp/29001"),
        ('["tcp/22"]', '["ssh"]', "line 21: firewall.service"),
        ('"1.5 GiB"', '"1.5 GB"', "line 23: storage./"),
        ('"1.5 GiB"', "15", "line 23: storage./"),
        ("on = true", 'on = "yes"', "line 27: features.hello.echo.on"),
        ("on = true", "default = true", "line 27: features.hello.echo.default is not known"),
        ('subscribe = ["racs/cell/+/load"]', "subscribe = [7]", "line 29: bus.subscribe"),
        ('colour = "red"', "colour = 7", "line 32: properties.colour"),
        ('[storage]\n"/" = "1.5 GiB"', "", None),
    ],
)  # fmt: skip
def test_what_is_not_understood_is_named_with_its_line(old: str, new: str, said: str | None, tmp_path: Path) -> None:
    assert old in GOOD
    path = write(tmp_path, GOOD.replace(old, new, 1))
    if said is None:
        read_app(path, PROFILE)
        return
    with pytest.raises(UsageError) as caught:
        read_app(path, PROFILE)
    assert said in str(caught.value)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("text", ["", "app = 7", "[app]\nid = 7", "x" * 70000, "a=" + "[" * 5000, "\udcff"])
def test_other_files_are_told_in_a_line(text: str, tmp_path: Path) -> None:
    path = tmp_path / "app.toml"
    path.write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(UsageError, match=r"app\.toml"):
        read_app(path, PROFILE)


@pytest.mark.parametrize("name", ["missing", "."])
def test_files_that_are_none(name: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="racs new"):
        read_app(tmp_path / name, PROFILE)


@pytest.mark.parametrize(
    ("where", "said"),
    [
        ("descriptor, /ovf:Envelope/ovf:VirtualSystem/racs:ApplicationSection/racs:Endpoint/racs:Service[2] (line 9)",
         "line 12: [endpoint]"),
        ("descriptor, /ovf:Envelope/x/racs:PortForwarding/racs:Forward (line 9)", "line 18: [forward]"),
        ("auth/acl.xml, /acl:acl/acl:allow[2] (line 3)", "line 28: [bus]"),
        ("descriptor, /ovf:Envelope/x/ovf:ProductSection/ovf:Version (line 3)", "line 2: [app]"),
        ("descriptor, /ovf:Envelope/x/racs:Rule (line 3)", "there is no [offload] in it"),
    ],
)  # fmt: skip
def test_a_place_in_what_was_written_is_told_as_one_in_the_file(where: str, said: str, tmp_path: Path) -> None:
    assert said in read_app(write(tmp_path, GOOD), PROFILE).origin(where)
