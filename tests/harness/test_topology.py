"""The plan of the lab's network: addresses of the contract, scripts that name what the other rooms rely on."""

import ipaddress
from dataclasses import replace

import pytest

from conformance.application import Application
from conformance.profile import load
from harness import topology
from harness.topology import plan

PROFILE = load()
TERMINATING = Application("goon", "terminating", "v", "p", "1.0", 1.0, ("service", "user-plane"))
ONE_NIC = replace(TERMINATING, type="transparent")
TWO_NICS = replace(ONE_NIC, nics=("service", "user-plane-ul", "user-plane-dl"))


@pytest.mark.parametrize(
    ("application", "addresses", "gateways"),
    [
        (TERMINATING, ["10.199.0.10", "192.0.2.10"], ["10.199.0.1", "192.0.2.1"]),
        (ONE_NIC, ["10.199.0.10", "10.198.0.2"], ["10.199.0.1", "10.198.0.1"]),
        (TWO_NICS, ["10.199.0.10", "10.198.0.2", "10.198.0.6"], ["10.199.0.1", "10.198.0.1", "10.198.0.5"]),
        (
            replace(TWO_NICS, nics=("user-plane-ul", "service", "user-plane-dl")),
            ["10.198.0.2", "10.199.0.10", "10.198.0.6"],
            ["10.198.0.1", "10.199.0.1", "10.198.0.5"],
        ),
    ],
)
def test_addresses_are_the_contracts(application: Application, addresses: list[str], gateways: list[str]) -> None:
    made = plan(application, PROFILE)
    assert [nic.address for nic in made.nics] == addresses
    assert [nic.gateway for nic in made.nics] == gateways
    assert list(made.addresses) == list(made.mac_addresses) == list(application.nics)


def test_every_link_layer_address_is_its_own_and_unicast() -> None:
    nics = plan(TWO_NICS, PROFILE).nics
    macs = [nic.mac for nic in nics] + [nic.gateway_mac for nic in nics]
    assert len(set(macs)) == 6
    assert all(int(mac[:2], 16) & 3 == 2 or mac.startswith("52:54:00") for mac in macs)
    assert not any(int(mac[:2], 16) & 1 for mac in macs)


def test_user_equipments_and_their_namespaces() -> None:
    made = plan(TERMINATING, PROFILE)
    assert made.ue_address(0) == "10.45.0.1"
    assert made.ue_address(999) == "10.45.3.232"
    assert [made.ue_namespace(ue) for ue in (0, made.ues - 1, made.ues)] == ["ue0", "ue7", "ran"]
    assert len({made.ue_address(ue) for ue in range(1000)}) == 1000


@pytest.mark.parametrize("application", [TERMINATING, ONE_NIC, TWO_NICS])
def test_scripts_are_complete(application: Application) -> None:
    made = plan(application, PROFILE)
    assert set(topology.namespace_scripts(made)) == set(made.namespaces)
    assert topology.namespaces_script(made).count("netns add") == len(made.namespaces)
    removed = topology.teardown_script(made)
    assert all(f"netns del {name}\n" in removed for name in made.namespaces)
    names = [nic.network for nic in made.nics] + list(topology.VETHS)
    lab = topology.lab_script(made)
    assert all(f"{name} group" in lab for name in names)  # or teardown would miss it
    assert all(len(name) <= 15 for name in names)  # IFNAMSIZ
    assert set(made.captured) == {*(nic.network for nic in made.nics), "s1u-enb", "s1u-epc", "sgi", "outside"}


def test_networks_do_not_overlap() -> None:
    for application in (TERMINATING, ONE_NIC, TWO_NICS):
        made = plan(application, PROFILE)
        networks = [made.ue_network, *made.server_networks, made.app_network, PROFILE["network.service"]]
        networks += ["10.200.1.0/24", "10.200.2.0/24", f"{made.outside}/24"]
        parsed = [ipaddress.ip_network(name, strict=False) for name in networks]
        assert not any(a.overlaps(b) for n, a in enumerate(parsed) for b in parsed[:n])
        for nic in made.user_plane_nics:
            assert ipaddress.ip_address(nic.address) in ipaddress.ip_network(made.app_network)


def test_a_host_that_routes_is_not_inherited() -> None:
    """A new namespace takes over the host's IPv4 settings (net.core.devconf_inherit_init_net)."""
    for namespace in (topology.LAB, "ran", "sgi"):
        settings = topology.kernel_settings(namespace)
        assert settings["ipv4/ip_forward"] == "0"
        assert settings["ipv4/conf/default/rp_filter"] == "0"
    assert set(topology.FORWARDING_SETTINGS) == {"ipv4/conf/outside/forwarding", "ipv4/conf/service/forwarding"}
