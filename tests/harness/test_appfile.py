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
        ("[app]", "[ap]", "2, [ap] is not known; did you mean app?"),
        ("memory_mib", "memory", "9, [app] memory is not known; did you mean memory_mib?"),
        ("memory_mib = 512", "Cpus = 1", "9, [app] Cpus is not known; did you mean cpus?"),
        ("memory_mib = 512", "zzz = 1", "9, [app] zzz is not known; known here: id, type"),
        ("memory_mib = 512", 'memory_mib = "512"', '[app] memory_mib: expected a number of MiB, 1 to 1024, saw "512"'),
        ("memory_mib = 512", "memory_mib = true", "[app] memory_mib: expected a number of MiB, 1 to 1024, saw true"),
        ("memory_mib = 512", "memory_mib = -1", "[app] memory_mib: expected a number of MiB, 1 to 1024, saw -1"),
        ("memory_mib = 512", "cpus = 1.0", "9, [app] cpus: expected 1, a number of CPUs, saw 1.0"),
        ("memory_mib = 512", "user_plane_nics = 3", "9, [app] user_plane_nics: expected 1, or 2 for"),
        ('id = "hello"', "", "2, [app] id: expected the app's id"),
        ('id = "hello"', 'id = "My App"', '3, [app] id: expected the app\'s id: 1 to 32 small letters'),
        ('"terminating"', '"final"', '4, [app] type: expected "terminating" or "transparent", saw "final"'),
        ('"terminating"', "[]", '4, [app] type: expected "terminating" or "transparent", saw []'),
        ('"Hello"', '"Hel\\u0000lo"', '5, [app] name: expected the app\'s name, saw "Hel\\u0000lo"'),
        ('"Example Apps"', '" "', "6, [app] vendor: expected the vendor's name"),
        ('"1.0.0"', "1.0", '7, [app] version: expected a version in quotes, such as "1.0.0", saw 1.0'),
        ('["hang"]', '"hang"', '10, [app] drills: expected ["hang"]'),
        ('["hang"]', '["hang", "hang"]', '10, [app] drills: expected ["hang"]'),
        ('."hello.apps.example"', ".hello.apps.example", 'in quotes: [endpoint."hello.apps.example"]'),
        ('[endpoint."hello.apps.example"]', "[endpoint]", "13, [endpoint] services: expected a table with"),
        ('."hello.apps.example"', '."hello\\u0000.example"', '\\u0000.example"]: expected a key of printable'),
        ('."hello.apps.example"', '.""', '12, [endpoint.""]: expected a table with a name'),
        ("services = [", "service = [", '] service is not known; did you mean services?'),
        ('"udp/7"', '"udp/07"', '14, [endpoint."hello.apps.example"] services[1]: expected a'),
        ('"udp/7"', '"udp/65536"', 'services[1]: expected a protocol and a port of 1 to 65535'),
        ('"udp/7"', "7", '14, [endpoint."hello.apps.example"] services[1]: expected a'),
        ('"udp/7"', '{ on = "udp/7", send = "00" }', "services[1].expect: expected bytes in hex"),
        ('send = "70696e67"', 'send = "ping"', '15, [endpoint."hello.apps.example"] services[2].send: '),
        ('on = "udp/5000"', 'onn = "udp/5000"', "services[2].onn is not known; did you mean on?"),
        ('"tcp/29001" = 22', '"29001" = 22', '19, [forward] 29001: expected a protocol and an outside'),
        ('"tcp/29001" = 22', '"tcp/29001" = "ssh"', '19, [forward] "tcp/29001": expected the app\'s port'),
        ('"tcp/29001" = 22', '"tcp/29001" = 65536', '19, [forward] "tcp/29001": expected the app\'s port'),
        ('["tcp/22"]', '["tcp/22", "ssh"]', "21, [firewall] service[2]: expected a protocol and a port"),
        ('service = ["tcp/22"]', 'servce = ["tcp/22"]', "21, [firewall] servce is not known; did you mean"),
        ('service = ["tcp/22"]', 'service = "tcp/22"', "21, [firewall] service: expected a list of ports"),
        ('"1.5 GiB"', '"1.5 GB"', '23, [storage] "/": expected a size'),
        ('"1.5 GiB"', "15", '23, [storage] "/": expected a size'),
        ('"1.5 GiB"', '"0 GiB"', '23, [storage] "/": expected a size'),
        ('"1.5 GiB"', '"9999999999.5 TiB"', '23, [storage] "/": expected a size of at most 8 TiB'),
        ('."hello.echo"', ".hello.echo", 'expected a name with dots in quotes: [features."hello.echo"]'),
        ("on = true", 'on = "yes"', '27, [features."hello.echo"] on: expected true or false'),
        ("on = true", "default = true", '27, [features."hello.echo"] default is not known'),
        ('subscribe = ["racs/cell/+/load"]', "subscribe = [\n7]", "30, [bus] subscribe[1]: expected"),
        ('subscribe = ["racs/cell/+/load"]', 'subscribe = ["a", ""]', "29, [bus] subscribe[2]: expected"),
        ('subscribe = ["racs/cell/+/load"]', 'subscribe = "a"', "29, [bus] subscribe: expected a list"),
        ('colour = "red"', "colour = 7", "32, [properties] colour: expected a text in quotes"),
        ('colour = "red"', 'sky.colour = "red"', "32, [properties.sky]: expected a text in quotes; a key"),
        ('[storage]\n"/" = "1.5 GiB"', "", None),
        ('colour = "red"', 'colour = ""', None),
        ("system = ", "[other]\nsystem = ", "8, [other] is not known"),
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


def test_all_mistakes_are_told_at_once_in_the_order_of_lines(tmp_path: Path) -> None:
    text = GOOD
    for old, new in (
        ("[bus]", "[buss]"), ("publish", "publsh"), ('"1.0.0"', "1.0"), ("vendor", "vendr"), ('"udp/7"', '"udp/0"'),
        ('name = "Hello"', ""), ('"app/hello/#"', "7"), ("[forward]", "[foward]"), ('"tcp/29001" = 22', '"tcp/x" = 22'),
    ):  # fmt: skip
        assert old in text
        text = text.replace(old, new, 1)
    with pytest.raises(UsageError) as caught:
        read_app(write(tmp_path, text), PROFILE)
    told = [line.strip().removeprefix(f"{tmp_path}/") for line in str(caught.value).splitlines()]
    assert [line.partition(":")[2].split(" ", 1)[0] for line in told] == [
        "2,", "6,", "7,", "14,", "18,", "19,", "28,", "30,", "30,",
    ]  # fmt: skip
    assert told[0] == "app.toml:2, [app] name: expected the app's name, saw nothing"
    assert told[1] == "app.toml:6, [app] vendr is not known; did you mean vendor?"  # and not that vendor is missing
    assert told[5].startswith('app.toml:19, [foward] "tcp/x": expected')  # a misspelt table is looked into
    assert told[8].startswith("app.toml:30, [buss] publsh[1]: expected a list of topics")


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        (
            '"1.0.0"',
            '"1.0.0',
            "app.toml:7 is no TOML: Illegal character '\\n'\n  version = \"1.0.0\n                  ^",
        ),
        ('"1.0.0"', "1.0.0", "a text stands in quotes"),
        ('"tcp/29001" = 22', "tcp/29001 = 22", "so does a key with other characters"),
        ("[forward]", "[app]", "app.toml:18 is no TOML: Cannot declare [app] twice"),
        ('"red"', '"red\x1b[2J"', "is no TOML"),
    ],
)
def test_what_is_no_toml_is_shown(old: str, new: str, said: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError) as caught:
        read_app(write(tmp_path, GOOD.replace(old, new, 1)), PROFILE)
    assert said in str(caught.value)
    assert "\x1b" not in str(caught.value)


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
