"""The lab's addresses and links as values, and the scripts for ``ip -batch`` and ``nft`` that build them. Pure.

Addresses of the app's side come from the profile (contract 2). Those of S1-U are this lab's own: no app sees them.
"""

import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass

from conformance.application import Application
from conformance.profile import Profile

LAB = "racs"
NAMESPACES = ("ran", "epc", "sgi", "outside", "standin")
GTPU_PORT = 2152  # TS 29.281 4.4.2.0
S1U_ENB_UPS, S1U_ENB = "10.200.1.1", "10.200.1.2"
S1U_EPC_UPS, S1U_EPC = "10.200.2.1", "10.200.2.2"
TABLES = ("ip racs", "netdev user_plane_guard")  # of nftables
VETHS = {"s1u-enb": ("ran", "enb0"), "s1u-epc": ("epc", "epc0"), "outside": ("outside", "out0")}

OPERATOR_DNS_HOST = 53  # host number of the operator's name server in the first server network

_GROUP = 29  # all links of ours in the lab's namespace: one netlink request removes them together
_QUEUE = 4096  # packets that a TUN or tap holds while its reader is away; the kernel's 500 overflow in 15 ms of a burst


@dataclass(frozen=True, slots=True)
class Nic:
    """A vNIC of the VM: its tap in the lab has the network's name, and the gateway's (or platform's) address."""

    network: str
    mac: str
    address: str
    gateway: str
    gateway_mac: str
    prefix: int


@dataclass(frozen=True, slots=True)
class Topology:
    """Who has which address. nics are in the descriptor's order; UE n has a namespace of its own for n < ues."""

    nics: tuple[Nic, ...]
    ues: int
    ue_network: str
    platform: str
    outside: str
    outside_client: str
    server_networks: tuple[str, ...]
    app_network: str
    vnic_mtu: int
    s1u_mtu: int

    def nic(self, network: str) -> Nic:
        return next(nic for nic in self.nics if nic.network == network)

    @property
    def user_plane_nics(self) -> tuple[Nic, ...]:
        return tuple(nic for nic in self.nics if nic.network != "service")

    @property
    def mac_addresses(self) -> Mapping[str, str]:
        """As in the trace's ``run`` event."""
        return {nic.network: nic.mac for nic in self.nics}

    @property
    def addresses(self) -> Mapping[str, str]:
        """As in the trace's ``run`` event."""
        return {nic.network: nic.address for nic in self.nics}

    def ue_address(self, ue: int) -> str:
        return str(ipaddress.ip_network(self.ue_network)[ue + 1])

    def ue_namespace(self, ue: int) -> str:
        """Where the UE's sockets are made: a namespace of its own, or the one that has every UE address (AnyIP)."""
        return f"ue{ue}" if ue < self.ues else "ran"

    @property
    def namespaces(self) -> tuple[str, ...]:
        return (*NAMESPACES, *(f"ue{ue}" for ue in range(self.ues)))

    @property
    def operator_dns(self) -> str:
        """Where UEs ask for names."""
        return str(ipaddress.ip_network(self.server_networks[0])[OPERATOR_DNS_HOST])

    @property
    def captured(self) -> Mapping[str, str]:
        """Interfaces whose packets are evidence, and their link type."""
        nics = {nic.network: "ethernet" for nic in self.nics}
        return nics | {"s1u-enb": "ethernet", "s1u-epc": "ethernet", "sgi": "ip", "outside": "ethernet"}


def plan(application: Application, profile: Profile) -> Topology:
    """The topology for an app, with constant addresses: the same app sees the same lab in every run."""
    service = ipaddress.ip_network(profile["network.service"])
    if application.type == "terminating":
        user_plane = [ipaddress.ip_network(profile["network.terminating"])]
        host, app_network = 10, profile["network.terminating"]
    else:
        user_plane_nics = len(application.nics) - 1
        names = profile["network.transparent_two"] if user_plane_nics == 2 else [profile["network.transparent_one"]]
        user_plane = [ipaddress.ip_network(name) for name in names]
        host, app_network = 2, str(user_plane[0].supernet(new_prefix=29))
    nics = []
    left = iter(user_plane)
    for index, network in enumerate(application.nics):
        subnet = service if network == "service" else next(left)
        address = str(subnet[10 if network == "service" else host])
        gateway = profile["network.platform"] if network == "service" else str(subnet[1])
        # locally administered, unicast: the second hexadecimal digit is 2 (IEEE 802, 8.2)
        mac, gateway_mac = f"52:54:00:72:61:{index + 1:02x}", f"02:72:61:63:73:{index + 1:02x}"
        nics.append(Nic(network, mac, address, gateway, gateway_mac, subnet.prefixlen))
    outside = ipaddress.ip_address(profile["network.outside"])
    return Topology(
        nics=tuple(nics),
        ues=int(profile["user_plane.ues"]),
        ue_network=next(net for net in profile["network.ues"] if ":" not in net),
        platform=profile["network.platform"],
        outside=str(outside),
        outside_client=str(outside + 1),
        server_networks=(profile["network.operator_backends"], profile["network.internet"]),
        app_network=app_network,
        vnic_mtu=int(profile["network.vnic_mtu"]),
        s1u_mtu=int(profile["network.s1u_mtu"]),
    )


def namespaces_script(topology: Topology) -> str:
    """For ``ip -batch``: makes the namespaces; their kernel settings come before any link."""
    return "".join(f"netns add {name}\n" for name in topology.namespaces)


def lab_script(topology: Topology) -> str:
    """For ``ip -batch`` in the lab's own namespace."""
    lines = ["link set lo up"]
    for nic in topology.nics:
        attributes = f"address {nic.gateway_mac} mtu {topology.vnic_mtu} txqueuelen {_QUEUE}"
        lines += [
            f"tuntap add dev {nic.network} mode tap",
            f"link set dev {nic.network} group {_GROUP} {attributes} up",
            f"address add {nic.gateway}/{nic.prefix} dev {nic.network}",
        ]
    for name, (namespace, peer) in VETHS.items():
        mtu = topology.s1u_mtu if name.startswith("s1u") else topology.vnic_mtu
        lines.append(
            f"link add name {name} group {_GROUP} mtu {mtu} type veth peer name {peer} mtu {mtu} netns {namespace}"
        )
    for name, address in (("s1u-enb", S1U_ENB_UPS), ("s1u-epc", S1U_EPC_UPS), ("outside", topology.outside)):
        lines += [f"link set dev {name} up", f"address add {address}/24 dev {name}"]
    return "\n".join(lines) + "\n"


def teardown_script(topology: Topology) -> str:
    """Undoes the other scripts. A namespace's TUNs are persistent and go with it, in one batch of the kernel's."""
    lines = [f"link del group {_GROUP}", *(f"netns del {name}" for name in topology.namespaces)]
    return "\n".join(lines) + "\n"


def namespace_scripts(topology: Topology) -> Mapping[str, str]:
    """For ``ip -n NAMESPACE -batch``, by namespace."""
    scripts = {
        "ran": [
            f"route add local {topology.ue_network} dev lo",  # AnyIP: any number of UEs, sockets bind to any address
            *_tun("ues", topology.vnic_mtu),
            "route add default dev ues",
            "link set dev enb0 up",
            f"address add {S1U_ENB}/24 dev enb0",
        ],
        "epc": ["link set dev epc0 up", f"address add {S1U_EPC}/24 dev epc0"],
        "sgi": [
            *(f"route add local {network} dev lo" for network in topology.server_networks),
            # a rule may name servers anywhere (contract 6): here is every address that no other route knows
            "route add local default dev lo table main",
            *_tun("sgi", topology.vnic_mtu),
            f"route add {topology.ue_network} dev sgi",
            *_tun("breakout", topology.vnic_mtu),
            f"route add {topology.app_network} dev breakout",
        ],
        "outside": [
            "link set dev out0 up",
            f"address add {topology.outside_client}/24 dev out0",
            f"route add default via {topology.outside}",
        ],
        "standin": [line for nic in topology.nics for line in _stand_in_nic(nic, topology)],
    }
    for ue in range(topology.ues):
        scripts[f"ue{ue}"] = [
            *_tun("tun0", topology.vnic_mtu),
            f"address add {topology.ue_address(ue)}/32 dev tun0",
            "route add default dev tun0",
        ]
    return {name: "\n".join(["link set lo up", *lines]) + "\n" for name, lines in scripts.items()}


def _tun(name: str, mtu: int) -> list[str]:
    # persistent, as `ip tuntap` makes them: else each costs 34 ms when its descriptor is closed
    return [f"tuntap add dev {name} mode tun", f"link set dev {name} mtu {mtu} txqueuelen {_QUEUE} up"]


def _stand_in_nic(nic: Nic, topology: Topology) -> list[str]:
    lines = [
        f"tuntap add dev {nic.network} mode tap",
        f"link set dev {nic.network} address {nic.mac} mtu {topology.vnic_mtu} txqueuelen {_QUEUE} up",
        f"address add {nic.address}/{nic.prefix} dev {nic.network}",
    ]
    if nic is topology.user_plane_nics[0]:
        lines.append(f"route add default via {nic.gateway} dev {nic.network}")
    return lines


def kernel_settings(namespace: str) -> Mapping[str, str]:
    """Values below /proc/sys/net, in order: said outright, as a new namespace inherits the host's for IPv4."""
    settings = {
        "ipv6/conf/all/disable_ipv6": "1",  # contract 2: the platform speaks IPv4; no unasked multicast on a vNIC
        "ipv6/conf/default/disable_ipv6": "1",
        "ipv4/ip_forward": "0",
        "ipv4/conf/all/rp_filter": "0",
        "ipv4/conf/default/rp_filter": "0",
    }
    if namespace == LAB:
        settings |= {
            "ipv4/conf/all/arp_ignore": "1",  # an address is answered for on its own link only
            "ipv4/conf/all/arp_announce": "2",
            "ipv4/conf/all/send_redirects": "0",
            "ipv4/conf/default/send_redirects": "0",
        }
    return settings


FORWARDING_SETTINGS: Mapping[str, str] = {
    # only between these two, and there the filter of emulator.forwarding decides; user-plane links never forward
    "ipv4/conf/outside/forwarding": "1",
    "ipv4/conf/service/forwarding": "1",
}


def user_plane_guard(topology: Topology) -> str:
    """For ``nft -f``: what the kernel itself takes from a user-plane vNIC: ARP, ping and DHCP of the gateway's address.

    All else is for the user plane service, which reads the link with AF_PACKET, before this hook.
    """
    chains = []
    for number, nic in enumerate(topology.user_plane_nics):
        chains.append(f"""
  chain vnic_{number} {{
    type filter hook ingress device "{nic.network}" priority 0; policy drop;
    ether type arp accept
    ip daddr {nic.gateway} icmp type echo-request accept
    ip daddr {{ {nic.gateway}, 255.255.255.255 }} udp dport 67 accept
  }}""")
    return "table netdev user_plane_guard {" + "".join(chains) + "\n}\n"
