"""dnsmasq's configuration as text; what real clients get from it is in tests/live/test_time_services.py."""

import shutil
from pathlib import Path

import pytest

from conformance.errors import EnvironmentFault
from emulator.dhcp import DhcpServer, Link, configuration

SERVICE = Link("service", "52:54:00:72:61:01", "10.199.0.10", "10.199.0.1", "255.255.255.0")
UPLINK = Link("user-plane-ul", "52:54:00:72:61:02", "10.198.0.2", "10.198.0.1", "255.255.255.252", routed=True)
DOWNLINK = Link("user-plane-dl", "52:54:00:72:61:03", "10.198.0.6", "10.198.0.5", "255.255.255.252")


def lines(*links: Link) -> list[str]:
    return configuration(links, "racs.internal", 3600, Path("/run/leases")).splitlines()


def options(link: Link) -> list[str]:
    mark = f"dhcp-option=tag:{link.network},"
    return sorted(line.removeprefix(mark) for line in lines(SERVICE, UPLINK, DOWNLINK) if line.startswith(mark))


@pytest.mark.parametrize(
    ("link", "expected"),
    [
        (SERVICE, ["12", "28", "3", "42,10.199.0.1", "6,10.199.0.1", "15,racs.internal"]),
        (UPLINK, ["12", "28", "6", "15", "3,10.198.0.1", "121,0.0.0.0/0,10.198.0.1"]),
        (DOWNLINK, ["12", "28", "6", "15", "3"]),
    ],
)
def test_options_of_each_network(link: Link, expected: list[str]) -> None:
    assert options(link) == sorted(expected)


def test_addresses_are_fixed_by_mac_for_an_hour() -> None:
    made = lines(UPLINK)
    assert "dhcp-range=set:user-plane-ul,10.198.0.2,static,255.255.255.252,3600" in made
    assert "dhcp-host=52:54:00:72:61:02,10.198.0.2,3600" in made
    assert "interface=user-plane-ul" in made and "interface=service" not in made


@pytest.mark.parametrize("line", ["port=0", "no-ping", "dhcp-authoritative", "no-resolv", "no-hosts", "user=root"])
def test_everything_else_is_off(line: str) -> None:
    assert line in lines(SERVICE)


@pytest.mark.skipif(not shutil.which("dnsmasq"), reason="dnsmasq-base is not installed")
def test_a_link_that_is_not_there_is_told_with_dnsmasqs_words(tmp_path: Path) -> None:
    missing = Link("no-such-link0", "52:54:00:72:61:09", "10.199.0.10", "10.199.0.1", "255.255.255.0")
    server = DhcpServer([missing], "racs.internal", 3600, tmp_path, lambda *_: None)
    with pytest.raises(EnvironmentFault, match="no-such-link0"), server:
        pass
