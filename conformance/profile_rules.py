"""What a profile of the user's own has to keep of racs-1: its tables, its keys, and values of the same kind. Pure.

A mistyped key or number would else end a run in its middle, or let a check measure by a number that nobody meant.
"""

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from difflib import get_close_matches
from ipaddress import ip_address, ip_network
from typing import Any

from conformance.profile_relations import contradictions
from conformance.profile_value import show

_FREE_KEYS = "user_plane.known_ports"  # its keys are ports, the user's own
_SAME_LENGTH = ("network.transparent_two", "network.ues", "forwarding.ports")  # code takes them apart by place
_IN_TIME = ("_s", "_ms")  # numbers of these units may have fractions even where racs-1's has none
_PORTS = ("heartbeat.port", "bus.port", "forwarding.ports", "user_plane.udp_scan")


def faults(own: Mapping[str, Any], ours: Mapping[str, Any]) -> Iterator[str]:
    """A sentence for each key of own that is missing, unknown or of another kind than in racs-1, whose tables ours is;
    what the values have to be beyond that is looked at when each is of its kind."""
    found = list(_table("", own, ours))
    yield from found or contradictions(own, ours)


def _table(path: str, own: Mapping[str, Any], ours: Mapping[str, Any]) -> Iterator[str]:
    prefix = f"{path}." if path else ""
    if path == _FREE_KEYS:
        for key, value in own.items():
            if not (re.fullmatch("[0-9]{1,5}", key) and 0 < int(key) < 65536):
                yield f"{path} has the key {show(key)}; its keys are ports, 1 to 65535"
            yield from _judge(prefix + key, value, next(iter(ours.values())))
        return
    for key, value in ours.items():
        if key in own:
            yield from _judge(prefix + key, own[key], value)
        else:
            copied = "copy the table" if isinstance(value, dict) else f"copy {key} = {show(value)}"
            yield f"{prefix}{key} is missing; {copied} from racs-1.toml"
    for key in own:
        if key not in ours:
            near = get_close_matches(key, [one for one in ours if one not in own], 1)
            mend = f"do you mean {near[0]}?" if near else "take it out"
            yield f"{prefix}{key} is no key of racs-1.toml; {mend}"


def _judge(path: str, seen: Any, ours: Any) -> Iterator[str]:
    """The value at path against racs-1's; a list's elements are path[0] and so on."""
    if isinstance(ours, dict) and isinstance(seen, dict):
        yield from _table(path, seen, ours)
    elif isinstance(ours, list) and isinstance(seen, list):
        yield from _list(path, seen, ours)
    else:
        wanted = _wanted(path, seen, ours)
        if wanted:
            like = "" if isinstance(ours, dict) else f" ({show(ours)})"
            yield f"{path} is {show(seen)}; it has to be {wanted}, as in racs-1.toml{like}"


def _list(path: str, seen: Sequence[Any], ours: Sequence[Any]) -> Iterator[str]:
    by_place = path in _SAME_LENGTH or path.endswith("]")
    if by_place and len(seen) != len(ours):
        yield f"{path} is {show(seen)}; it has to have {len(ours)} values, as in racs-1.toml ({show(ours)})"
        return
    for index, value in enumerate(seen):
        yield from _judge(f"{path}[{index}]", value, ours[index] if by_place else ours[0])


def _wanted(path: str, seen: Any, ours: Any) -> str:
    """What the value has to be; "" when it is."""
    if isinstance(ours, dict | list):
        return "a table" if isinstance(ours, dict) else "a list"
    if isinstance(ours, str):
        return _wanted_text(path.partition("[")[0], seen, ours) if isinstance(seen, str) else "a text in quotes"
    return _wanted_number(path, seen, ours) if _is_number(seen) else "a number"


def _wanted_number(path: str, seen: float, ours: float) -> str:
    key = path.partition("[")[0]
    if isinstance(ours, int) and not isinstance(seen, int) and not key.endswith(_IN_TIME):
        return "a whole number"
    if key in _PORTS:
        return "" if 0 < seen < 65536 else "a port, 1 to 65535"
    if ours > 0 and seen <= 0 and path == key:
        return "a number above 0"
    return "" if seen >= 0 else "a number from 0 on"


def _wanted_text(key: str, seen: str, ours: str) -> str:
    try:
        if key == "console.markers":
            re.compile(seen)
        elif key.startswith("network.") and "/" in ours:
            version = ip_network(ours).version
            return "" if ip_network(seen).version == version else f"a network of IPv{version}"
        elif key in ("network.platform", "network.outside"):
            version = ip_address(ours).version
            return "" if ip_address(seen).version == version else f"an address of IPv{version}"
    except (ValueError, re.error) as error:
        kind = (
            "a regular expression" if key == "console.markers" else "an IP network" if "/" in ours else "an IP address"
        )
        return f"{kind} ({error})"
    return ""


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
