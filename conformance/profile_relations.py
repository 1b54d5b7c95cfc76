"""What a profile's values have to be beyond their kind: ranges, words that the suite knows, what holds between keys.

A profile that contradicts itself would fail an app for what no app can mend. Pure; looked at once every value is of
its kind (`conformance.profile_rules`).
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from conformance.profile_networks import network_contradictions
from conformance.profile_value import show, value_at

_WEEK_S = 604800
_MIB, _TIB = 1 << 20, 1 << 40
# The range of a number by its unit, the last part of its key, where _RANGES does not name the key itself.
_UNIT_RANGES: Mapping[str, tuple[float, float]] = {
    "s": (0, _WEEK_S),
    "ms": (0, 60_000),
    "hz": (0, 1000),
    "bytes": (0, _TIB),
}
_RANGES: Mapping[str, tuple[float, float]] = {
    "accelerator.kvm": (1, 100),  # deadlines are multiplied by it: it never makes them shorter
    "accelerator.tcg": (1, 100),
    "network.lease_s": (60, _WEEK_S),
    "network.vnic_mtu": (1280, 9000),  # RFC 8200 5: the UEs have IPv6, too
    "network.s1u_mtu": (1280, 9216),
    "host.steal_max": (0, 0.5),  # a share of a CPU; with half of it gone nobody can time an app
    "host.withheld_max_ms": (1, 1000),  # of a second
    "host.socket_drops_max": (0, 1_000_000),
    "host.guard_rate": (0, 1),
    "host.retries": (0, 10),
    "host.overlay_bytes_max": (_MIB, _TIB),
    "package.members_max": (5, 1000),  # descriptor, manifest, certificate, ACL, image (contract 1)
    "package.manifest_bytes_max": (1024, 64 * _MIB),
    "package.certificate_bytes_max": (1024, 64 * _MIB),
    "package.certificates_max": (1, 100),
    "package.rsa_bits_min": (512, 16384),
    "package.rsa_bits_max": (2048, 16384),
    "package.validity_left_should_days": (0, 3650),
    "package.xml_bytes_max": (1024, 64 * _MIB),
    "package.xml_elements_max": (100, 10_000_000),
    "package.xml_attributes_max": (16, 100_000),
    "package.xml_depth_max": (8, 256),  # libxml2 refuses what is deeper
    "package.rules_max": (1, 10_000),
    "package.rule_characters_max": (16, 1_000_000),
    "package.rule_depth_max": (1, 1000),
    "resources.cpus": (1, 64),
    "resources.memory_mib": (64, 1 << 20),
    "resources.disk_capacity_max_gib": (1, 65536),
    "resources.cpu_share_should": (0, 1),
    "heartbeat.interval_s": (0.05, 600),
    "heartbeat.datagram_bytes_max": (64, 65507),  # RFC 768 over IPv4
    "heartbeat.missed_max": (1, 100),
    "heartbeat.rate_tolerance": (0, 0.5),
    "heartbeat.jitter_p95_should": (0, 1),
    "heartbeat.rate_factor_max": (1, 100),
    "heartbeat.restarts_before_escalation": (1, 100),
    "heartbeat.clock_backwards_tolerance_s": (0, 1),
    "time.shift_max_s": (60, _WEEK_S),  # the lab draws none below a minute, to tell whose clock an app follows
    "time.rtc_shift_max_s": (60, _WEEK_S),
    "time.drift_ppm_max": (0, 500),  # RFC 5905 11.3: what clients make up for
    "bus.flood_messages_per_s": (1, 1_000_000),
    "bus.packet_bytes_max": (1024, 268_435_455),  # MQTT 3.1.1 2.2.3
    "user_plane.rate_pps": (1, 1_000_000),
    "user_plane.payload_sizes": (0, 65507),
    "user_plane.inner_mtu": (576, 9000),
    "user_plane.ues": (1, 100),  # each has a namespace
    "user_plane.ues_at_once": (1, 10_000),
    "lifecycle.hard_resets": (1, 20),
    "evidence.bytes_max": (_MIB, _TIB),
}
# Texts of which the suite knows these alone; of a list or table each value is one of them.
_CHOICES: Mapping[str, tuple[str, ...]] = {
    "machine.firmware": ("seabios",),
    "machine.extra": ("virtio-rng",),
    "machine.cdrom": ("virtio-scsi",),
    "machine.forbidden": ("usb", "balloon", "sound", "video"),
    "package.curves": ("P-256", "P-384"),
    "user_plane.known_ports": ("echo", "ssh", "dns", "http", "ntp"),
}
_FORMS: Mapping[str, tuple[str, str]] = {
    "profile.id": (r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", "letters, digits, '.', '_' and '-', a letter or digit first"),
    "profile.title": (r"[^\x00-\x1f\x7f]{1,200}", "one line of 1 to 200 characters"),
    "profile.contract": (r"[^\x00-\x1f\x7f]{1,200}", "one line of 1 to 200 characters"),
    "machine.type": (r"q35|pc|pc-(q35|i440fx)-[0-9]{1,2}\.[0-9]{1,2}", "q35 or pc, or one version, such as pc-q35-7.2"),
    "machine.cpu": (r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", "a CPU model of libvirt's (virsh cpu-models x86_64)"),
    "network.domain": (
        r"(?=.{1,200}$)[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?(\.[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?)*",
        "a domain name, lower case (RFC 1123 2.1)",
    ),
    "network.names": (r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?", "labels of a domain name, lower case (RFC 1123 2.1)"),
}
_NAMES = ("heartbeat", "mqtt", "ntp")  # the OVF environment gives them to the app (contract 2)
_PLATFORM_PORTS = (53, 67, 123)  # DNS, DHCP and NTP answer at the heartbeats' address, over UDP as they
_GTPU_OVERHEAD_BYTES = 36  # IPv4, UDP and GTP-U's header of 8 (TS 29.281 5.1)
_UDP_OVERHEAD_BYTES = 28


@dataclass(frozen=True, slots=True)
class _Relation:
    """holds gets the values of these keys, unscaled; expected says what has to be."""

    keys: tuple[str, ...]
    holds: Callable[..., bool]
    expected: str


_RELATIONS: Sequence[_Relation] = (
    _Relation(
        ("forwarding.ports",),
        lambda ports: bool(ports[0] <= ports[1]),
        "the first port must not be above the second",
    ),
    _Relation(("package.qcow2_uris",), bool, "it has to have at least one value"),
    _Relation(("user_plane.payload_sizes",), bool, "it has to have at least one value"),
    _Relation(
        ("network.names",),
        lambda names: set(_NAMES) <= set(names),
        f"it has to have {', '.join(_NAMES)}, which the app is told",
    ),
    _Relation(
        ("heartbeat.port",),
        lambda port: port not in _PLATFORM_PORTS,
        "53, 67 and 123 are taken at the platform's address: DNS, DHCP, NTP",
    ),
    _Relation(
        ("network.s1u_mtu", "network.vnic_mtu"),
        lambda outer, inner: outer >= inner + _GTPU_OVERHEAD_BYTES,
        f"the first has to be larger by {_GTPU_OVERHEAD_BYTES} at least, for what GTP-U puts before a packet",
    ),
    _Relation(
        ("user_plane.inner_mtu", "network.vnic_mtu"),
        lambda inner, vnic: inner <= vnic,
        "the first must not be above the second",
    ),
    _Relation(
        ("user_plane.payload_sizes", "user_plane.inner_mtu"),
        lambda sizes, mtu: max(sizes, default=0) + _UDP_OVERHEAD_BYTES <= mtu,
        f"with {_UDP_OVERHEAD_BYTES} bytes of headers each size has to fit the MTU",
    ),
    _Relation(
        ("user_plane.ues_at_once", "user_plane.ues"),
        lambda at_once, ues: at_once >= ues,
        "the first must not be below the second, which are attached in every run",
    ),
    _Relation(
        ("package.rsa_bits_min", "package.rsa_bits_max"),
        lambda low, high: low <= high,
        "the first must not be above the second",
    ),
    _Relation(
        ("heartbeat.window_s", "heartbeat.missed_max", "heartbeat.interval_s"),
        lambda window, missed, interval: window > missed * interval,
        "the window has to be longer than the intervals after which an app has failed",
    ),
    _Relation(
        ("user_plane.bypass_deadline_s", "heartbeat.missed_max", "heartbeat.interval_s"),
        lambda deadline, missed, interval: deadline > missed * interval,
        "no bypass comes before the intervals after which an app has failed",
    ),
    _Relation(
        ("heartbeat.rate_factor_max", "heartbeat.rate_tolerance"),
        lambda factor, tolerance: factor > 1 + tolerance,
        "what is a flood has to be above what is tolerated",
    ),
    _Relation(
        ("time.offset_should_s", "time.offset_must_s"),
        lambda should, must: should <= must,
        "the first must not be above the second",
    ),
    _Relation(
        ("time.kiss_of_death_gap_s", "time.poll_gap_max_s"),
        lambda slowest, gap: slowest < gap,
        "the first has to be below the second",
    ),
    _Relation(
        ("bus.huge_payload_bytes", "bus.packet_bytes_max"),
        lambda payload, packet: payload < packet,
        "the first has to be below the second: the broker takes no larger packet",
    ),
    *(
        _Relation(
            (guard, *limits), lambda guard, *limit: guard < _product(limit), "the guard band has to be below its limit"
        )
        for guard, *limits in (
            ("host.guard_s", "heartbeat.missed_max", "heartbeat.interval_s"),
            ("host.guard_rate", "heartbeat.rate_tolerance"),
            ("host.guard_rate", "heartbeat.jitter_p95_should"),
            ("host.guard_offset_s", "time.offset_should_s"),
        )
    ),
)


def contradictions(own: Mapping[str, Any], ours: Mapping[str, Any]) -> Iterator[str]:
    """A sentence for each value of own out of its range, unknown to the suite, or at odds with another: the key, what
    was seen, what it has to be. ours are racs-1's tables; all values of own are of its kinds."""
    yield from _scaled(own, ours)
    for table, fields in own.items():
        for key, value in fields.items():
            yield from _value(f"{table}.{key}", value)
    for relation in _RELATIONS:
        values = [value_at(own, key) for key in relation.keys]
        if not relation.holds(*values):
            seen = [f"{key} is {show(value)}" for key, value in zip(relation.keys, values, strict=True)]
            yield f"{' and '.join(seen)}; {relation.expected}"
    yield from network_contradictions(own)


def range_of(path: str) -> tuple[float, float]:
    """The least and the largest value of a number, by its key or else its unit. Raises KeyError where none is known."""
    if path in _RANGES:
        return _RANGES[path]
    return _UNIT_RANGES[path.removesuffix("_max").rpartition("_")[2]]


def _value(path: str, value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        for key, one in value.items():
            if one not in _CHOICES[path]:
                yield f"{path}.{key} is {show(one)}; it has to be of {', '.join(_CHOICES[path])}"
    elif isinstance(value, list):
        for one in dict.fromkeys(map(_hashable, value)):
            wanted = _wanted(path, one)
            if wanted:
                yield f"{path} has {show(one)}; it has to be {wanted}"
    elif wanted := _wanted(path, value):
        yield f"{path} is {show(value)}; it has to be {wanted}"


def _hashable(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


def _wanted(path: str, value: Any) -> str:
    """What a text or a number has to be; "" when it is. Ports are looked at with the kinds."""
    if path in _CHOICES and value not in _CHOICES[path]:
        several = len(_CHOICES[path]) > 1
        return f"{'of ' if several else ''}{', '.join(_CHOICES[path])}"
    if path in _FORMS and not re.fullmatch(_FORMS[path][0], value):
        return _FORMS[path][1]
    if isinstance(value, int | float) and not path.endswith((".port", ".ports", ".udp_scan")):
        low, high = range_of(path)
        if not low <= value <= high:
            return f"at most {high:.15g}" if low == 0 else f"from {low:.15g} to {high:.15g}"
    return ""


def _scaled(own: Mapping[str, Any], ours: Mapping[str, Any]) -> Iterator[str]:
    """What the accelerator's factor may stretch: deadlines and rates of load, never a rule's own number."""
    for name, suffixes, kind in (
        ("scaled_deadlines", ("_deadline_s",), "deadline"),
        ("scaled_rates", ("_per_s", "_pps"), "rate"),
    ):
        for path in own["accelerator"][name]:
            if value_at(own, path) is None or isinstance(value_at(own, path), dict | list | str):
                yield f"accelerator.{name} names {show(path)}, which is no number of the profile; correct or delete it"
            elif not path.endswith(suffixes) and path not in ours["accelerator"][name]:
                yield f"accelerator.{name} names {show(path)}, which is no {kind} that may be scaled; delete it"


def _product(values: Sequence[float]) -> float:
    result = 1.0
    for value in values:
        result *= value
    return result
