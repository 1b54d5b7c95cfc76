"""The lab's network as the kernel has it: topology, sockets, and traffic between real peers."""

import hashlib
import json
import os
import select
import socket
import subprocess
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from network_rig import PROFILE, TERMINATING, TRANSPARENT, backends, ping, said
from private_namespaces import privately

from conformance.application import Application
from conformance.errors import BrokenLab
from conformance.profile import Profile
from emulator.webserver import body_of
from harness.clients import Clients, together
from harness.conversation import Exchange
from harness.network import Network
from harness.recorder import Recorder

pytestmark = pytest.mark.live


def inventory() -> tuple[str, str, str, int]:
    """All that the network could leave behind."""
    links = said("ip", "-o", "link").splitlines()
    names = " ".join(line.split(":")[1] for line in links)
    return names, said("ip", "netns"), said("nft", "list", "ruleset"), len(os.listdir("/proc/self/fd"))


@contextmanager
def wire(sockets: Mapping[str, int], network: Network) -> Iterator[None]:
    """In the user plane's place: copies between the UEs' TUNs and SGi's, without tunnels."""
    stop, end = os.pipe()
    ues = {sockets[f"ue_tun_{ue}"]: network.topology.ue_address(ue) for ue in range(network.topology.ues)}
    by_address = {socket.inet_aton(address): descriptor for descriptor, address in ues.items()}

    def copy() -> None:
        uplink = [*ues, sockets["ran_tun"]]
        while True:
            ready, _, _ = select.select([stop, sockets["sgi_tun"], *uplink], [], [])
            if stop in ready:
                return
            for descriptor in ready:
                packet = os.read(descriptor, 65535)
                downlink = descriptor == sockets["sgi_tun"]
                os.write(by_address.get(packet[16:20], sockets["ran_tun"]) if downlink else sockets["sgi_tun"], packet)

    thread = threading.Thread(target=copy)
    thread.start()
    yield
    os.close(end)
    thread.join()
    os.close(stop)


@pytest.mark.parametrize("application", [TERMINATING, TRANSPARENT], ids=lambda application: application.id)
@privately
def test_comes_and_goes_without_a_trace(application: Application) -> None:
    before = inventory()
    for _ in range(2):  # what a first one left would stop the second
        with Network(application, PROFILE) as network:
            assert {"user-plane", "user-plane-ul"} & set(inventory()[0].split())
            with network.sockets_for("userplane") as sockets:
                assert len(sockets) == 4 + len(network.topology.user_plane_nics) + network.topology.ues + 3
    assert inventory() == before


@privately
def test_refuses_a_namespace_that_is_somebodys() -> None:
    said("ip", "link", "add", "uplink", "type", "veth", "peer", "name", "peer")
    said("ip", "link", "set", "uplink", "up")
    said("ip", "route", "add", "203.0.113.0/24", "dev", "uplink")
    with pytest.raises(BrokenLab, match="private"), Network(TERMINATING, PROFILE):
        raise AssertionError
    assert "user-plane" not in inventory()[0]


@privately
def test_a_part_that_the_kernel_refuses_leaves_nothing() -> None:
    before = inventory()
    tables = {**PROFILE.tables, "network": {**PROFILE.tables["network"], "s1u_mtu": 9, "platform": "10.199.0.1"}}
    with pytest.raises(BrokenLab, match="mtu"), Network(TERMINATING, Profile(tables, "")):
        raise AssertionError
    assert inventory() == before


@privately
def test_links_are_as_the_contract_says() -> None:
    with Network(TERMINATING, PROFILE) as network:
        links = {link["ifname"]: link for link in json.loads(said("ip", "-j", "link"))}
        assert [links[name]["mtu"] for name in ("service", "user-plane", "s1u-enb", "s1u-epc")] == [
            1500,
            1500,
            1600,
            1600,
        ]
        for nic in network.topology.nics:
            assert links[nic.network]["address"] == nic.gateway_mac
            features = said("ethtool", "-k", nic.network)
            for feature in ("tx-checksumming", "tcp-segmentation-offload", "udp-fragmentation-offload"):
                assert f"{feature}: on" not in features
        assert "inet6" not in said("ip", "address")
        ue = network.run_in("ue3", lambda: said("ip", "-o", "address", "show", "tun0"))
        assert "10.45.0.4/32" in ue and network.topology.ue_address(3) == "10.45.0.4"
        with network.sockets_for("time") as sockets:
            assert set(sockets) == {"heartbeat", "ntp", "dns", "dns_operator"}
            assert min(network.receive_buffers.values()) >= 212992  # the smallest cap that Linux ships with


@privately
def test_the_kernel_answers_for_the_gateway_and_routes_nothing() -> None:
    with Network(TERMINATING, PROFILE) as network, network.sockets_for("userplane") as sockets, network.stand_in():
        assert network.run_in("standin", lambda: ping("192.0.2.1"))
        assert network.run_in("standin", lambda: ping("10.199.0.1"))
        away = ("198.51.100.1", "10.200.1.2", "198.18.0.1", "10.199.0.1")
        for address in away:  # through the user-plane gateway
            assert not network.run_in("standin", lambda a=address: ping(a, 0.2, "user-plane"))  # type: ignore[misc]
        for name in ("breakout_tun", "sgi_tun"):
            with pytest.raises(BlockingIOError):
                os.read(sockets[name], 2048)
        network.run_in("standin", lambda: said("ip", "route", "add", "10.199.0.1/32", "dev", "user-plane"))
        assert not network.run_in("standin", lambda: ping("10.199.0.1", 0.2))
        neighbours = network.run_in(
            "standin", lambda: json.loads(said("ip", "-j", "neigh", "show", "dev", "user-plane"))
        )
        assert {item["dst"] for item in neighbours if "lladdr" in item} == {"192.0.2.1"}  # of this link and no other
        taken = frames(sockets["vnic_0"])
        assert {frame[6:12].hex(":") for frame in taken} == {network.topology.nic("user-plane").mac}  # not its own
        seen = {socket.inet_ntoa(frame[30:34]) for frame in taken if frame[12:14] == b"\x08\x00"}
        assert seen >= set(away) - {"10.199.0.1"}  # the user plane service got them, with the gateway's MAC


def frames(descriptor: int) -> list[bytes]:
    found = []
    with socket.socket(fileno=os.dup(descriptor)) as vnic, suppress(BlockingIOError):
        while True:
            found.append(vnic.recv(2048, socket.MSG_DONTWAIT))
    return found


@privately
def test_clients_and_backends_meet(tmp_path: Path) -> None:
    with (
        Network(TERMINATING, PROFILE) as network,
        Recorder(tmp_path / "evidence") as made,
        network.sockets_for("userplane") as sockets,
        wire(sockets, network),
        backends(network),
    ):
        clients = Clients(network, made.note, seed=1)

        def to(name: str, ue: int, address: str, port: int) -> Exchange:
            return Exchange(name, clients.ue(ue), address, port, 30.0)

        body = hashlib.sha256(body_of(300_000)).hexdigest()
        flows = together([
            lambda: clients.udp_echo(to("u", 0, "198.51.100.7", 7), PROFILE["user_plane.payload_sizes"]),
            lambda: clients.tcp_echo(to("t", 1, "203.0.113.9", 9000), 1_000_000),
            lambda: clients.http_get(to("h", 2, "203.0.113.80", 80), "/bytes/300000", body),
            lambda: clients.udp_echo(to("any", 99, "203.0.113.1", 9000), [100]),  # a UE without a namespace of its own
            lambda: clients.connect(to("closed", 3, "203.0.113.9", 81)),
        ])  # fmt: skip
        for flow in flows[:4]:
            assert flow.completed, flow.error
            assert flow.received_sha256 == flow.expected_sha256
        assert flows[0].answered_from == "198.51.100.7:7"  # of all its addresses the one that was asked
        assert flows[2].peer_seen == f"10.45.0.3:{flows[2].client_port}"
        assert not flows[4].completed and "refused" in flows[4].error
        assert flows[3].client_address == "10.45.0.100"
        url = ["curl", "-sS", "-m", "20", "--data-binary", "@-", "-D", "-", "http://198.51.100.3/echo"]
        curl = network.run_in(
            "ue4", lambda: subprocess.run(url, input=b"x" * 2_000_000, capture_output=True, check=False)
        )
        assert curl.stdout.endswith(b"x" * 2_000_000) and b"X-Client: 10.45.0.5:" in curl.stdout, curl.stderr
        assert len(made.trace().of("flow")) == 5
        assert set(network.queue_drops().values()) == {0}


@privately
def test_backends_pause_and_resume(tmp_path: Path) -> None:
    with Network(TERMINATING, PROFILE) as network, Recorder(tmp_path) as made, backends(network) as channel:
        clients = Clients(network, made.note, seed=1)
        one = Exchange("x", clients.internet("203.0.113.1"), "198.51.100.1", 7, 0.5)
        assert clients.tcp_echo(one, 1000).completed and clients.udp_echo(one, [9]).completed
        for command, there in (("pause", False), ("pause", False), ("resume", True), ("resume", True)):
            channel.send(json.dumps({"command": command, "id": 2}).encode())
            assert json.loads(channel.recv(65536)) == {"answer": 2}
            assert clients.tcp_echo(one, 1000).completed is there
            assert clients.udp_echo(one, [9]).completed is there
