"""The emulated UEs: their addresses and bearers. Values only: the same seed, the same UEs.

UE n (from 0) has 10.45.0.(n+1) and its counterpart in the IPv6 network. A UE attaches with one default bearer.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_network


@dataclass(frozen=True, slots=True)
class Bearer:
    """An attached UE's bearer. uplink_teid is the tunnel's end at the EPC, downlink_teid the one at the eNB."""

    ue: int
    address: IPv4Address
    address_six: IPv6Address
    uplink_teid: int
    downlink_teid: int


def attach(ues: int, networks: Sequence[str], seed: int) -> tuple[Bearer, ...]:
    """The bearers of so many UEs in ``network.ues`` of the profile; the seed draws the TEIDs, none twice, none 0."""
    four = next(net for net in map(ip_network, networks) if isinstance(net, IPv4Network))
    six = next(net for net in map(ip_network, networks) if isinstance(net, IPv6Network))
    if not 0 < ues < four.num_addresses - 1:
        raise ValueError(f"{ues} UEs do not fit into {four}")
    teids = random.Random(f"teid {seed}").sample(range(1, 1 << 32), 2 * ues)
    return tuple(Bearer(n, four[n + 1], six[n + 1], teids[2 * n], teids[2 * n + 1]) for n in range(ues))
