"""app.toml as far as it says what the app is: descriptor and auth/acl.xml are written from it.

What goes into the image stands in the same file ([image] and [files]) and is `appimage.recipe`'s to read.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any, Literal, cast

from conformance.application import (
    Allow,
    Application,
    Direction,
    Effect,
    Endpoint,
    Feature,
    Forward,
    Mount,
    Permission,
    Rule,
    Service,
)
from conformance.errors import UsageError
from conformance.package.acl import decide
from conformance.package.descriptor_writer import GuestSystem, write_acl, write_descriptor
from conformance.profile import Profile
from harness.packaging.newapp import ID
from harness.packaging.tomlfile import Source, Table, read_table

TABLES = ("app", "endpoint", "offload", "forward", "firewall", "storage", "features", "bus", "properties")
PURPOSE = "an app.toml says what the app is: `racs new` writes one"
DIRECTIONS: tuple[Direction, ...] = ("uplink", "downlink")
_NUMBER_MAX = 2**31 - 1
_PORT = re.compile(r"(udp|tcp)/([1-9]\d{0,4})", re.ASCII)
_A_PORT = 'a protocol and a port of 1 to 65535, such as "tcp/80"'
_HEX = re.compile(r"([0-9A-Fa-f]{2}){1,1472}", re.ASCII)  # what one unfragmented datagram of the vNIC holds
_SIZE = re.compile(r"(\d{1,10}(?:\.\d{1,10})?) ?(KiB|MiB|GiB|TiB)", re.ASCII)
_SIZE_MAX = 2**43  # so that it can be written in KiB by the descriptor's ten digits
_UNITS = {"KiB": 2**10, "MiB": 2**20, "GiB": 2**30, "TiB": 2**40}
# CIM_OperatingSystem.OsType by the name that a user gives, the first that fits; 101 is Linux on 64 bits.
_SYSTEMS = (
    (r"red ?hat|rhel", 80), (r"centos", 107), (r"oracle", 109), (r"debian", 96), (r"ubuntu", 94), (r"", 101),
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class AppFile:
    """What an app.toml declares. Each part of application is in the order of the file."""

    application: Application
    system: GuestSystem
    source: Source

    def descriptor(self, profile: Profile) -> bytes:
        """The .ovf; the image is called after the app."""
        return write_descriptor(self.application, self.system, f"{self.application.id}.qcow2", profile)

    def acl(self) -> bytes | None:
        """auth/acl.xml, None for an app that is not on the bus."""
        return write_acl(self.application) if self.application.uses_bus else None


def read_app(path: Path, profile: Profile) -> AppFile:
    """Read an app.toml; whether its values keep the contract is asked of those only without which no descriptor can be
    written. Raises UsageError with all that is not understood, each with line and key."""
    top = read_table(path, PURPOSE).only(*TABLES, "image", "files")
    if "app" not in top:
        raise UsageError(f"{path} has no [app]: {PURPOSE}")  # whatever else is in it
    app = top.table("app").only(
        "id", "type", "name", "vendor", "version", "system", "memory_mib", "cpus", "drills", "user_plane_nics"
    )
    identity = _read_id(app)
    nics = _read_nics(app)
    rules, effects = _read_offload(top)
    features = tuple(_read_features(top))
    system = app.string("system", 'the guest\'s operating system, such as "Debian GNU/Linux 12 (64-bit)"')
    properties = top.table("properties")
    a_text = "a text in quotes; a key with dots stands in quotes too"
    cpus, memory_mib = profile["resources.cpus"], profile["resources.memory_mib"]
    application = Application(
        id=identity,
        type=app.choice("type", Literal["terminating", "transparent"]),
        vendor=app.string("vendor", "the vendor's name"),
        product=app.string("name", "the app's name"),
        version=app.string("version", 'a version in quotes, such as "1.0.0"'),
        heartbeat_interval_s=float(profile["heartbeat.interval_s"]),
        nics=nics,
        rules=rules,
        effects=effects,
        endpoints=tuple(_read_endpoints(top)),
        forwards=tuple(_read_forwards(top.table("forward"))),
        allows=tuple(_read_allows(top.table("firewall").only(*nics))),
        mounts=tuple(_read_mounts(top.table("storage"))),
        drills=_read_drills(app),
        features=features,
        acl=_read_bus(top, identity, bool(features)),
        properties={key: properties.string(key, a_text, "") for key in properties.values},
        cpus=app.whole("cpus", f"{cpus}, a number of CPUs", 1, _NUMBER_MAX, cpus),
        memory_mib=app.whole("memory_mib", f"a number of MiB, 1 to {memory_mib}", 1, _NUMBER_MAX, memory_mib),
    )
    top.source.settle()
    number = next(number for pattern, number in _SYSTEMS if re.search(pattern, system, re.IGNORECASE))
    return AppFile(application, GuestSystem(number, system), top.source)


def _read_id(app: Table) -> str:
    """Everything of a package is named by it, so one that is none cannot be packed (contract 1, DSC-003)."""
    expected = 'the app\'s id: 1 to 32 small letters, digits and hyphens, a letter first, such as "hello"'
    identity = app.string("id", expected)
    if identity and not ID.fullmatch(identity):
        app.refuse("id", expected)
    return identity


def _read_nics(app: Table) -> tuple[str, ...]:
    """Contract 2: one user-plane NIC, or one for each side."""
    count = app.whole("user_plane_nics", "1, or 2 for a transparent app that wants a NIC for each side", 1, 2, 1)
    return ("service", "user-plane") if count == 1 else ("service", "user-plane-ul", "user-plane-dl")


def _read_drills(app: Table) -> tuple[str, ...]:
    """Contract 6 knows one drill."""
    drills: Any = app.values.get("drills", [])
    if drills not in ([], ["hang"]):
        app.refuse("drills", '["hang"], the only drill, or no such key')
    return ("hang",) if drills else ()


def _read_offload(top: Table) -> tuple[tuple[Rule, ...], tuple[Effect, ...]]:
    rules: list[Rule] = []
    effects: list[Effect] = []
    for table in top.tables("offload", "[offload.web]", *DIRECTIONS, "payload"):
        rules += [Rule(table.name, way, _rule_text(table, way)) for way in DIRECTIONS if way in table]
        if "payload" in table:
            kind = Literal["preserves", "modifies", "terminates"]
            effects.append(Effect(table.name, table.choice("payload", kind)))
    return tuple(rules), tuple(effects)


def _rule_text(table: Table, direction: str) -> str:
    """A rule may go over several lines; to the descriptor it is one."""
    value = table.values[direction]
    text = " ".join(value.split()) if isinstance(value, str) else ""
    if not text or not text.isprintable():
        table.refuse(direction, "a rule in quotes: an expression that selects packets")
    return text


def _read_endpoints(top: Table) -> Iterator[Endpoint]:
    for table in top.tables("endpoint", '[endpoint."hello.apps.example"]', "services"):
        entries = table.values.get("services")
        if not isinstance(entries, list):
            table.refuse("services", 'a list of services, such as ["udp/7", "tcp/7"]')
            continue
        services = (_read_service(table, entry, number) for number, entry in enumerate(entries, 1))
        yield Endpoint(table.name, tuple(service for service in services if service))


def _read_service(endpoint: Table, entry: object, number: int) -> Service | None:
    """One of an endpoint's services: a port, or a table with a port and its probe."""
    if isinstance(entry, dict):
        probed = endpoint.element("services", number).only("on", "send", "expect")
        port = _read_port(probed, "on", probed.values.get("on"))
        send, expect = "", ""
        if "send" in probed or "expect" in probed:
            send, expect = _read_hex(probed, "send"), _read_hex(probed, "expect")
        return Service(port.protocol, port.number, send, expect) if port else None
    port = _read_port(endpoint, "services", entry, number)
    return Service(port.protocol, port.number) if port else None


def _read_hex(table: Table, key: str) -> str:
    value = table.values.get(key)
    if isinstance(value, str) and _HEX.fullmatch(value):
        return value
    table.refuse(key, 'bytes in hex, 1 to 1472 of them, such as "70696e67"')
    return ""


@dataclass(frozen=True, slots=True)
class _Port:
    protocol: Literal["udp", "tcp"]
    number: int


def _read_port(table: Table, key: str, value: object, *inner: int) -> _Port | None:
    found = _PORT.fullmatch(value) if isinstance(value, str) else None
    if found and int(found[2]) < 65536:
        return _Port(cast(Literal["udp", "tcp"], found[1]), int(found[2]))
    table.refuse(key, _A_PORT, *inner)
    return None


def _read_forwards(table: Table) -> Iterator[Forward]:
    for key in table.values:
        port = _PORT.fullmatch(key)
        if port is None or int(port[2]) > 65535:
            table.refuse_key(key, 'a protocol and an outside port as key, such as "tcp/29001" = 22')
            continue
        to = table.whole(key, "the app's port, a number of 1 to 65535 without quotes", 1, 65535)
        yield Forward(cast(Literal["udp", "tcp"], port[1]), int(port[2]), to)


def _read_allows(table: Table) -> Iterator[Allow]:
    for network, words in table.values.items():
        if not isinstance(words, list):
            table.refuse(network, 'a list of ports, such as ["tcp/22"]')
            continue
        for number, word in enumerate(words, 1):
            port = _read_port(table, network, word, number)
            if port:
                yield Allow(port.protocol, port.number, network)


def _read_mounts(table: Table) -> Iterator[Mount]:
    for path, value in table.values.items():
        size = _SIZE.fullmatch(value) if isinstance(value, str) else None
        capacity = round(Decimal(size[1]) * _UNITS[size[2]]) if size else 0
        if 0 < capacity <= _SIZE_MAX:
            yield Mount(path, capacity)
        else:
            table.refuse(path, 'a size of at most 8 TiB, a number and KiB, MiB, GiB or TiB, such as "2 GiB"')


def _read_features(top: Table) -> Iterator[Feature]:
    for table in top.tables("features", '[features."hello.echo"]', "name", "sales_item", "on"):
        on = table.values.get("on", False)
        if not isinstance(on, bool):
            table.refuse("on", "true or false: whether the feature is on at first")
        name = table.string("name", "the feature's name, as an operator reads it")
        yield Feature(table.name, name, table.string("sales_item", "the item under which it is sold"), on is True)


def _read_bus(top: Table, identity: str, features: bool) -> tuple[Permission, ...] | None:
    """[bus], and what features need besides (DSC-010); None for an app that has neither."""
    if "bus" not in top and not features:
        return None
    bus = top.table("bus").only("subscribe", "publish")
    expected = 'a list of topics, such as ["racs/cell/+/load"]'
    granted = tuple(Permission("subscribe", topic) for topic in bus.words("subscribe", expected))
    granted += tuple(Permission("publish", topic) for topic in bus.words("publish", expected))
    needed = (
        Permission("subscribe", f"racs/app/{identity}/properties"),
        Permission("publish", f"app/{identity}/features"),
    )
    missing = tuple(one for one in needed if features and decide(granted, one.access, one.topic) is None)
    return granted + missing
