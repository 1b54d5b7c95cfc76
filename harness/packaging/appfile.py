"""app.toml as far as it says what the app is: descriptor and auth/acl.xml are written from it.

What goes into the image stands in the same file ([image] and [files]) and is `appimage.recipe`'s to read.
"""

import re
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Literal

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
from conformance.package.acl import decide
from conformance.package.descriptor_writer import GuestSystem, write_acl, write_descriptor
from conformance.profile import Profile
from harness.packaging.tomlfile import Table, read_table

TABLES = ("app", "endpoint", "offload", "forward", "firewall", "storage", "features", "bus", "properties")
PURPOSE = "an app.toml says what the app is: `racs new` writes one"
_PORT = re.compile(r"(udp|tcp)/([1-9]\d{0,4})", re.ASCII)
_SIZE = re.compile(r"(\d{1,10}(?:\.\d{1,10})?) ?(KiB|MiB|GiB|TiB)", re.ASCII)
_UNITS = {"KiB": 2**10, "MiB": 2**20, "GiB": 2**30, "TiB": 2**40}
_A_PORT = 'a protocol and a port, such as "tcp/80"'
# CIM_OperatingSystem.OsType by the name that a user gives, the first that fits; 101 is Linux on 64 bits.
_SYSTEMS = (
    (r"red ?hat|rhel", 80), (r"centos", 107), (r"oracle", 109), (r"debian", 96), (r"ubuntu", 94), (r"", 101),
)  # fmt: skip
# The last step of a place in the descriptor or the ACL, to the table that became it.
_ORIGINS = {
    **dict.fromkeys(("Offload", "Rule", "Effect"), "offload"),
    **dict.fromkeys(("Endpoint", "Service", "Probe"), "endpoint"),
    **dict.fromkeys(("PortForwarding", "Forward"), "forward"),
    **dict.fromkeys(("Firewall", "Allow"), "firewall"),
    **dict.fromkeys(("Storage", "Mount"), "storage"),
    **dict.fromkeys(("Features", "Feature"), "features"),
    **dict.fromkeys(("acl", "allow"), "bus"),
    "Property": "properties",
}


@dataclass(frozen=True, slots=True)
class AppFile:
    """What an app.toml declares. top is the file's top table."""

    application: Application
    system: GuestSystem
    top: Table

    def descriptor(self, profile: Profile) -> bytes:
        """The .ovf; the image is called after the app."""
        return write_descriptor(self.application, self.system, f"{self.application.id}.qcow2", profile)

    def acl(self) -> bytes | None:
        """auth/acl.xml, None for an app that is not on the bus."""
        return write_acl(self.application) if self.application.uses_bus else None

    def origin(self, where: str) -> str:
        """A place in what was written from the file, as a place in the file."""
        step = re.search(r"([A-Za-z]+)(\[\d+\])?(/@\w+)? \(line \d+\)", where)
        table = _ORIGINS.get(step[1], "app") if step else "app"
        if table not in self.top:
            return f"{self.top.path} (there is no [{table}] in it)"
        return f"{self.top.path}, line {self.top.line(table)}: [{table}]"


def read_app(path: Path, profile: Profile) -> AppFile:
    """Read an app.toml; whether its values keep the contract is not asked. Raises UsageError with line and key."""
    top = read_table(path, PURPOSE).only(*TABLES, "image", "files")
    app = top.table("app").only(
        "id", "type", "name", "vendor", "version", "system", "memory_mib", "cpus", "drills", "user_plane_nics"
    )
    identity = app.string("id", 'the app\'s id, such as "hello"')
    rules, effects = _read_offload(top)
    features = tuple(_read_feature(table) for table in top.table("features").tables())
    system = app.string("system", 'the guest\'s operating system, such as "Debian GNU/Linux 12 (64-bit)"')
    application = Application(
        id=identity,
        type=app.choice("type", Literal["terminating", "transparent"]),
        vendor=app.string("vendor", "the vendor's name"),
        product=app.string("name", "the app's name"),
        version=app.string("version", 'a version in quotes, such as "1.0.0"'),
        heartbeat_interval_s=float(profile["heartbeat.interval_s"]),
        nics=_read_nics(app),
        rules=rules,
        effects=effects,
        endpoints=tuple(_read_endpoint(table) for table in top.table("endpoint").tables()),
        forwards=_read_forwards(top.table("forward")),
        allows=_read_allows(top.table("firewall")),
        mounts=_read_mounts(top.table("storage")),
        drills=app.words("drills", 'a list of drills: ["hang"]'),
        features=features,
        acl=_read_bus(top, identity, bool(features)),
        properties={key: top.table("properties").string(key, "a text") for key in top.table("properties").values},
        cpus=app.whole("cpus", "a number of CPUs", profile["resources.cpus"]),
        memory_mib=app.whole("memory_mib", "a number of MiB", profile["resources.memory_mib"]),
    )
    number = next(number for pattern, number in _SYSTEMS if re.search(pattern, system, re.IGNORECASE))
    return AppFile(application, GuestSystem(number, system), top)


def _read_nics(app: Table) -> tuple[str, ...]:
    """Contract 2: one user-plane NIC, or one for each side."""
    expected = "1, or 2 for a transparent app that wants a NIC for each side"
    count = app.whole("user_plane_nics", expected, 1)
    if count not in (1, 2):
        raise app.refusal("user_plane_nics", expected)
    return ("service", "user-plane") if count == 1 else ("service", "user-plane-ul", "user-plane-dl")


def _read_offload(top: Table) -> tuple[tuple[Rule, ...], tuple[Effect, ...]]:
    rules: list[Rule] = []
    effects: list[Effect] = []
    directions: tuple[Direction, ...] = ("uplink", "downlink")
    for table in top.table("offload").tables():
        table.only(*directions, "payload")
        name = table.keys[-1]
        rules += [Rule(name, way, _rule_text(table, way)) for way in directions if way in table]
        if "payload" in table:
            effects.append(Effect(name, table.choice("payload", Literal["preserves", "modifies", "terminates"])))
    return tuple(rules), tuple(effects)


def _rule_text(table: Table, direction: str) -> str:
    """A rule may go over several lines; to the descriptor it is one."""
    value = table.values[direction]
    text = " ".join(value.split()) if isinstance(value, str) else ""
    if not text or not text.isprintable():
        raise table.refusal(direction, "a rule in quotes: an expression that selects packets")
    return text


def _read_endpoint(table: Table) -> Endpoint:
    table.only("services")
    expected = (
        'a list of services: "udp/7", or { on = "udp/5000", send = "70696e67", expect = "706f6e67" } with a probe'
    )
    entries = table.values.get("services")
    if not isinstance(entries, list):
        raise table.refusal("services", expected)
    services = []
    for entry in entries:
        probed = {"on": entry} if isinstance(entry, str) else entry
        if not isinstance(probed, dict) or not all(isinstance(value, str) for value in probed.values()):
            raise table.refusal("services", expected)
        if set(probed) not in ({"on"}, {"on", "send", "expect"}) or not (port := _PORT.fullmatch(probed["on"])):
            raise table.refusal("services", expected)
        protocol: Literal["udp", "tcp"] = "udp" if port[1] == "udp" else "tcp"
        services.append(Service(protocol, int(port[2]), probed.get("send", ""), probed.get("expect", "")))
    return Endpoint(table.keys[-1], tuple(services))


def _read_forwards(table: Table) -> tuple[Forward, ...]:
    forwards = []
    for key in table.values:
        port = _PORT.fullmatch(key)
        if port is None:
            raise table.refusal(key, 'an outside port as key, such as "tcp/29001" = 22')
        to = table.whole(key, "the app's port, a number")
        forwards.append(Forward("udp" if port[1] == "udp" else "tcp", int(port[2]), to))
    return tuple(forwards)


def _read_allows(table: Table) -> tuple[Allow, ...]:
    allows = []
    for network in table.values:
        for word in table.words(network, 'a list of ports, such as ["tcp/22"]'):
            port = _PORT.fullmatch(word)
            if port is None:
                raise table.refusal(network, _A_PORT)
            allows.append(Allow("udp" if port[1] == "udp" else "tcp", int(port[2]), network))
    return tuple(allows)


def _read_mounts(table: Table) -> tuple[Mount, ...]:
    mounts = []
    for path in table.values:
        size = _SIZE.fullmatch(table.string(path, 'a size, such as "2 GiB"'))
        if size is None:
            raise table.refusal(path, 'a size, such as "2 GiB"')
        mounts.append(Mount(path, round(Decimal(size[1]) * _UNITS[size[2]])))
    return tuple(mounts)


def _read_feature(table: Table) -> Feature:
    table.only("name", "sales_item", "on")
    on = table.values.get("on", False)
    if not isinstance(on, bool):
        raise table.refusal("on", "true or false: whether the feature is on at first")
    name = table.string("name", "the feature's name, as an operator reads it")
    return Feature(table.keys[-1], name, table.string("sales_item", "the item under which it is sold"), on)


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
