"""Whether the addresses of a profile make one network plan: hosts inside their networks, and networks apart. Pure."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from itertools import combinations
from typing import Any

from conformance.profile_value import show

_APP_HOST = 10  # the app's host number in the service network and in that of a terminating app
# Prefixes that the lab can lay out: the app's, the gateway's and the servers' host numbers have to be in the network.
_PREFIXES: Mapping[str, tuple[int, int]] = {
    "service": (8, 28),
    "terminating": (8, 28),
    "transparent_one": (29, 30),
    "operator_backends": (8, 26),  # its name server is number 53
    "internet": (8, 28),
}
_TAKEN: Mapping[str, str] = {
    "0.0.0.0/8": "this network (RFC 1122 3.2.1.3)",
    "127.0.0.0/8": "loopback (RFC 1122 3.2.1.3)",
    "169.254.0.0/16": "link-local (RFC 3927)",
    "224.0.0.0/3": "multicast and reserved (RFC 1112)",
    "10.200.1.0/24": "the lab's own S1-U",
    "10.200.2.0/24": "the lab's own S1-U",
}


@dataclass(frozen=True, slots=True)
class _Place:
    """A network of the plan, as its key and value are shown; one that only stands in for another is not held against
    it."""

    key: str
    value: Any
    network: IPv4Network | IPv6Network
    instead_of: str = ""


def network_contradictions(own: Mapping[str, Any]) -> Iterator[str]:
    """A sentence for each address or network of the table ``network`` that cannot be where it is."""
    plan = own["network"]
    found = list(_prefixes(plan)) or [*_hosts(plan), *_ues(own)]
    yield from found
    if not found:
        yield from _overlaps(list(_places(plan)))


def _prefixes(plan: Mapping[str, Any]) -> Iterator[str]:
    for key, (low, high) in _PREFIXES.items():
        if not low <= ip_network(plan[key]).prefixlen <= high:
            yield f"network.{key} is {show(plan[key])}; it has to be of a prefix of {low} to {high}"
    two = [ip_network(text) for text in plan["transparent_two"]]
    if [net.prefixlen for net in two] != [30, 30] or two[0].supernet() != two[1].supernet():
        yield (
            f"network.transparent_two is {show(plan['transparent_two'])}; "
            "they have to be of prefix 30, in one network of prefix 29"
        )
    elif two[0] == two[1]:
        yield f"network.transparent_two is {show(plan['transparent_two'])}; the two must not overlap"


def _hosts(plan: Mapping[str, Any]) -> Iterator[str]:
    service, platform = ip_network(plan["service"]), ip_address(plan["platform"])
    ends = (service.network_address, service.broadcast_address, service.network_address + _APP_HOST)
    if platform not in service or platform in ends:
        app = (
            f"and not the app's own address {ends[2]}" if platform == ends[2] else "neither its first nor last address"
        )
        yield (
            f"network.platform is {show(plan['platform'])}; "
            f"it has to be a host of network.service ({plan['service']}), {app}"
        )
    if not 0 < int(ip_address(plan["outside"])) % 256 < 254:  # the client is the next one, in a network of prefix 24
        yield f"network.outside is {show(plan['outside'])}; its last byte has to be from 1 to 253"


def _ues(own: Mapping[str, Any]) -> Iterator[str]:
    ues, at_once = own["network"]["ues"][0], own["user_plane"]["ues_at_once"]
    room = ip_network(ues).num_addresses - 2
    if room < at_once:
        yield (
            f"network.ues[0] is {show(ues)} and user_plane.ues_at_once is {show(at_once)}; "
            f"the network has to have an address for each UE, not {max(room, 0)}"
        )


def _places(plan: Mapping[str, Any]) -> Iterator[_Place]:
    for key in ("service", "terminating", "operator_backends", "internet"):
        yield _Place(f"network.{key}", plan[key], ip_network(plan[key]))
    for index, text in enumerate(plan["ues"]):
        yield _Place(f"network.ues[{index}]", text, ip_network(text))
    # the breakout routes the whole network of prefix 29; an app has the one or the two
    for key, text in (("transparent_one", plan["transparent_one"]), ("transparent_two", plan["transparent_two"][0])):
        around = ip_network(text) if text.endswith("/29") else ip_network(text).supernet(new_prefix=29)
        yield _Place(f"network.{key}", plan[key], around, "transparent")
    yield _Place("network.outside", plan["outside"], ip_network(f"{plan['outside']}/24", strict=False))


def _overlaps(places: list[_Place]) -> Iterator[str]:
    for place in places:
        for text, what in _TAKEN.items():
            if _overlap(place.network, ip_network(text)):
                yield f"{place.key} is {show(place.value)}; it must not be in {text}: {what}"
    for one, other in combinations(places, 2):
        if _overlap(one.network, other.network) and not (one.instead_of and one.instead_of == other.instead_of):
            yield (
                f"{one.key} is {show(one.value)} and {other.key} is {show(other.value)}; "
                f"the networks ({one.network}, {other.network}) must not overlap"
            )


def _overlap(one: IPv4Network | IPv6Network, other: IPv4Network | IPv6Network) -> bool:
    return one.version == other.version and one.overlaps(other)
