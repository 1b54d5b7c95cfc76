"""Port forwarding and firewall of the platform (contract 7), as a script for ``nft -f``. Pure.

outside 198.18.0.1:X  --DNAT-->  the VM's port Y on the service NIC, which sees 10.199.0.1 as its peer
"""

from collections.abc import Iterable

from conformance.application import Application
from conformance.profile import Profile


def ruleset(application: Application, profile: Profile, vm_address: str) -> str:
    """The platform's rules for one app whose service NIC has vm_address; links are named as in docs/interfaces.md."""
    outside, platform = profile["network.outside"], profile["network.platform"]
    translations = "\n".join(
        f"    ip daddr {outside} {forward.protocol} dport {forward.from_port} dnat to {vm_address}:{forward.to_port}"
        for forward in application.forwards
    )
    admitted = "\n".join(
        f"    ip daddr {vm_address} {protocol} dport {port} accept" for protocol, port in _admitted(application)
    )
    return f"""\
table ip racs {{
  # GTP-U is the user plane's own: tracking its connections would only cost time
  chain untracked_in {{
    type filter hook prerouting priority raw; policy accept;
    iifname {{ "s1u-enb", "s1u-epc" }} notrack
  }}
  chain untracked_out {{
    type filter hook output priority raw; policy accept;
    oifname {{ "s1u-enb", "s1u-epc" }} notrack
  }}
  chain translated {{
    type nat hook prerouting priority dstnat; policy accept;
    iifname != "outside" accept
{translations}
  }}
  chain masqueraded {{
    type nat hook postrouting priority srcnat; policy accept;
    oifname "service" ct status dnat snat to {platform}
  }}
  chain forwarded {{
    type filter hook forward priority filter; policy drop;
    iifname "outside" oifname "service" ct status dnat accept
    iifname "service" oifname "outside" ct state established,related accept
  }}
  # from the platform to the VM: Allows and Forwards, DHCP's answers, ping; nothing else
  chain to_vm {{
    type filter hook output priority filter; policy accept;
    oifname != "service" accept
    ct state established,related accept
    udp sport 67 udp dport 68 accept
    icmp type echo-request accept
{admitted}
    drop
  }}
  # to the platform: from the VM its service address and DHCP's broadcast; from outside ping, every port is closed
  chain to_platform {{
    type filter hook input priority filter; policy accept;
    iifname "service" ip daddr {{ {platform}, 255.255.255.255 }} accept
    iifname "service" drop
    iifname != "outside" accept
    ct state established,related accept
    icmp type echo-request accept
    meta l4proto tcp reject with tcp reset
    reject
  }}
}}
"""


def _admitted(application: Application) -> Iterable[tuple[str, int]]:
    """What 10.199.0.1 may open to the VM; a Forward implies its Allow (contract 1)."""
    ports = {(forward.protocol, forward.to_port) for forward in application.forwards}
    ports |= {(allow.protocol, allow.port) for allow in application.allows if allow.network == "service"}
    return sorted(ports)
