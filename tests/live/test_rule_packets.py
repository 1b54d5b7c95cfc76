"""racs rule --packet against tshark: the same packets of the same captures, rule by display filter."""

import json
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from scapy.contrib.gtp import GTP_U_Header
from scapy.layers.inet import ICMP, IP, TCP, UDP
from scapy.layers.inet6 import IPv6
from scapy.layers.l2 import ARP, Ether
from scapy.utils import PcapNgWriter, wrpcap

pytestmark = pytest.mark.live

RACS = str(Path(sys.executable).with_name("racs-conformance"))
FILTERS = [
    ("4==ip_version && proto==TCP && (80==dst_port || 8080==dst_port)", "tcp.dstport in {80, 8080}"),
    ("proto==UDP && src_port < 1024", "udp.srcport < 1024"),
    ("proto==TCP && !(dst_ip in 203.0.113.0/31)", "tcp && !(ip.dst == 203.0.113.0/31)"),
    ("dscp==46 && length > 400", "ip.dsfield.dscp == 46 && ip.len > 400"),
    ("proto==ICMP || dst_ip in 203.0.113.1..203.0.113.2 && dst_port != 53",
     "icmp || (ip.dst == 203.0.113.1 || ip.dst == 203.0.113.2) && (tcp.dstport != 53 || udp.dstport != 53)"),
]  # fmt: skip
IN_TUNNELS = [
    ("4==ip_version && proto==TCP && (80==dst_port || 8080==dst_port)", "gtp && tcp.dstport in {80, 8080}"),
    ("proto==TCP && src_ip==10.45.0.2", "gtp && tcp && ip.src#2 == 10.45.0.2"),
    ("dscp==46 && length > 400", "gtp && ip.dsfield.dscp#2 == 46 && ip.len#2 > 400"),
    ("proto==ICMP", "gtp && icmp"),
]


def some_packet(chance: random.Random) -> Any:
    ports = {"sport": chance.choice([53, 80, 40000]), "dport": chance.choice([53, 80, 8080, 9999])}
    transport: Any = chance.choice([TCP, UDP, ICMP])
    ends: dict[str, Any] = {"src": f"10.45.0.{chance.randrange(1, 4)}", "dst": f"203.0.113.{chance.randrange(4)}"}
    network = IP(**ends, tos=chance.choice([0, 46]) << 2) if chance.randrange(5) else IPv6(src="::1", dst="::2")
    if transport is ICMP:
        return IP(**ends) / ICMP() / (b"x" * 20)
    return network / transport(**ports) / (b"x" * chance.choice([0, 500]))


def tunnelled(inner: Any) -> Any:
    outer = IP(src="10.200.1.2", dst="10.200.1.1") / UDP(sport=2152, dport=2152)
    return outer / GTP_U_Header(teid=7, gtp_type=255) / inner


def by_tshark(file: Path, wanted: str) -> list[int]:
    command = ["tshark", "-n", "-r", str(file), "-Y", f"!ipv6 && ({wanted})", "-T", "fields", "-e", "frame.number"]
    return [int(line) for line in subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()]


def by_rule(file: Path, rule: str) -> list[int]:
    command = [RACS, "rule", rule, "--packet", str(file), "--json", "-"]
    told = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    return [packet["number"] for packet in told["packets"]["packets"]]


@pytest.mark.parametrize(
    ("filters", "inside"), [(FILTERS, False), (IN_TUNNELS, True)], ids=["on the wire", "inside tunnels"]
)
def test_the_same_packets_as_tshark(filters: list[tuple[str, str]], inside: bool, tmp_path: Path) -> None:
    chance = random.Random(7)
    packets = [some_packet(chance) for _ in range(300)]
    framed = [Ether() / (tunnelled(packet) if inside else packet) for packet in packets] + [Ether() / ARP()]
    old, new = tmp_path / "old.pcap", tmp_path / "new.pcapng"
    wrpcap(str(old), framed)
    writer: Any = PcapNgWriter(str(new))
    with writer:
        writer.write(framed)
    for rule, wanted in filters:
        found = by_tshark(old, wanted)
        assert len(found) > 5, wanted
        assert by_rule(old, rule) == by_rule(new, rule) == found, rule
