"""What an app declares of itself: the descriptor's and the ACL's content as values, the same for package and trace."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, cast

Direction = Literal["uplink", "downlink"]
Access = Literal["publish", "subscribe"]


@dataclass(frozen=True, slots=True)
class Rule:
    """An offload rule as written (contract 6); conformance.rules parses the text."""

    name: str
    direction: Direction
    text: str


@dataclass(frozen=True, slots=True)
class Effect:
    """What the app does to the payload of the flows that rules of this name select."""

    name: str
    payload: Literal["preserves", "modifies", "terminates"]


@dataclass(frozen=True, slots=True)
class Service:
    """A declared service of a terminating app; probe_send and probe_expect are bytes in hex, "" without a Probe."""

    protocol: Literal["udp", "tcp"]
    port: int
    probe_send: str = ""
    probe_expect: str = ""


@dataclass(frozen=True, slots=True)
class Endpoint:
    fqdn: str
    services: tuple[Service, ...]


@dataclass(frozen=True, slots=True)
class Forward:
    """Platform port from_port reaches the VM's to_port on the service NIC (contract 7)."""

    protocol: Literal["udp", "tcp"]
    from_port: int
    to_port: int


@dataclass(frozen=True, slots=True)
class Allow:
    """What the platform's firewall admits from 10.199.0.1, beside the Forwards."""

    protocol: Literal["udp", "tcp"]
    port: int
    network: str


@dataclass(frozen=True, slots=True)
class Mount:
    path: str
    capacity_bytes: int


@dataclass(frozen=True, slots=True)
class Feature:
    id: str
    name: str
    sales_item: str
    default_on: bool


@dataclass(frozen=True, slots=True)
class Permission:
    """One allow of auth/acl.xml; topic is an MQTT topic filter."""

    access: Access
    topic: str


@dataclass(frozen=True, slots=True)
class Application:
    """An app's declared properties. acl is None for an app off the bus; nics are network names in order."""

    id: str
    type: Literal["terminating", "transparent"]
    vendor: str
    product: str
    version: str
    heartbeat_interval_s: float
    nics: tuple[str, ...]
    rules: tuple[Rule, ...] = ()
    effects: tuple[Effect, ...] = ()
    endpoints: tuple[Endpoint, ...] = ()
    forwards: tuple[Forward, ...] = ()
    allows: tuple[Allow, ...] = ()
    mounts: tuple[Mount, ...] = ()
    drills: tuple[str, ...] = ()
    features: tuple[Feature, ...] = ()
    acl: tuple[Permission, ...] | None = None
    properties: Mapping[str, str] = field(default_factory=dict)
    cpus: int = 1
    memory_mib: int = 1024
    disk_capacity_bytes: int = 0

    @property
    def uses_bus(self) -> bool:
        return self.acl is not None

    @property
    def services(self) -> tuple[Service, ...]:
        """All services of all endpoints."""
        return tuple(service for endpoint in self.endpoints for service in endpoint.services)

    def to_json(self) -> dict[str, Any]:
        """The plain JSON form that stands in a trace's ``run`` event."""
        return dataclasses.asdict(self)

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> "Application":
        """The inverse of `to_json`; raises KeyError or TypeError on a form that it never wrote."""
        parts: dict[str, Any] = dict(value)
        for name, kind in _PARTS.items():
            parts[name] = tuple(kind(**item) for item in parts.get(name, ()))
        parts["endpoints"] = tuple(
            Endpoint(item["fqdn"], tuple(Service(**service) for service in item["services"]))
            for item in parts.get("endpoints", ())
        )
        if parts.get("acl") is not None:
            parts["acl"] = tuple(Permission(**item) for item in parts["acl"])
        for name in ("nics", "drills"):
            parts[name] = tuple(parts.get(name, ()))
        return cls(**parts)


_PARTS = cast(
    Mapping[str, type],
    {"rules": Rule, "effects": Effect, "forwards": Forward, "allows": Allow, "mounts": Mount, "features": Feature},
)
