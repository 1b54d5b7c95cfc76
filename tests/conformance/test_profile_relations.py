"""A profile of the user's own must not contradict itself: an app would fail for what no app can mend."""

import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from test_profile import SHIPPED, with_line, write

from conformance.errors import UsageError
from conformance.profile import load
from conformance.profile_relations import range_of

CONTRADICTIONS: tuple[tuple[str, str, str], ...] = (
    ("profile", 'id = "../x"', 'profile.id is "../x"; it has to be letters'),
    ("profile", 'id = ""', "profile.id"),
    ("profile", 'title = "one\\ntwo"', "profile.title"),
    ("accelerator", "tcg = 1000000.0", "accelerator.tcg is 1000000.0; it has to be from 1 to 100"),
    ("accelerator", "kvm = 0.5", "accelerator.kvm is 0.5; it has to be from 1 to 100"),
    ("accelerator", 'scaled_deadlines = ["heartbeat.interval_s"]', '"heartbeat.interval_s", which is no deadline'),
    ("accelerator", 'scaled_rates = ["resources.memory_mib"]', 'names "resources.memory_mib", which is no rate'),
    ("machine", 'type = "pc-nope"', 'machine.type is "pc-nope"; it has to be q35 or pc'),
    ("machine", 'firmware = "uefi"', 'machine.firmware is "uefi"; it has to be seabios'),
    ("machine", 'cpu = "No such"', "machine.cpu"),
    ("machine", 'cdrom = "ide"', "machine.cdrom"),
    ("machine", 'forbidden = ["nic"]', 'machine.forbidden has "nic"; it has to be of usb, balloon, sound, video'),
    ("network", 'platform = "10.1.0.1"', 'network.platform is "10.1.0.1"; it has to be a host of network.service'),
    ("network", 'platform = "10.199.0.0"', "it has to be a host of network.service"),
    ("network", 'platform = "10.199.0.255"', "it has to be a host of network.service"),
    ("network", 'platform = "10.199.0.10"', "it has to be a host of network.service"),
    ("network", 'service = "10.199.0.0/29"', '"10.199.0.0/29"; it has to be of a prefix of 8 to 28'),
    ("network", 'transparent_one = "10.198.0.0/24"', "network.transparent_one"),
    ("network", 'transparent_two = ["10.198.0.0/30", "10.198.1.4/30"]', "one network of prefix 29"),
    ("network", 'transparent_two = ["10.198.0.0/30", "10.198.0.0/30"]', "overlap"),
    ("network", 'terminating = "10.199.0.0/24"', 'network.service is "10.199.0.0/24" and network.terminating'),
    ("network", 'internet = "10.45.0.0/24"', "must not overlap"),
    ("network", 'ues = ["10.200.1.0/24", "2001:db8:45::/48"]', "the lab's own S1-U"),
    ("network", 'outside = "203.0.113.200"', "must not overlap"),
    ("network", 'outside = "198.18.0.254"', "network.outside"),
    ("network", 'terminating = "127.0.0.0/24"', "loopback"),
    ("network", 'ues = ["10.45.0.0/28", "2001:db8:45::/48"]', "user_plane.ues_at_once"),
    ("network", 'service = "255.255.255.255/32"', "network.service"),
    ("network", 'transparent_two = ["0.0.0.0/0", "0.0.0.0/0"]', "network.transparent_two"),
    ("network", 'domain = "racs internal"', "network.domain"),
    ("network", 'names = ["heartbeat", "mqtt"]', "network.names"),
    ("network", "s1u_mtu = 1500", "network.s1u_mtu"),
    ("network", "vnic_mtu = 100", "network.vnic_mtu is 100; it has to be from 1280 to 9000"),
    ("network", "lease_s = 5", "network.lease_s is 5"),
    ("host", "steal_max = 5", "host.steal_max is 5; it has to be at most 0.5"),
    ("host", "withheld_max_ms = 2000", "host.withheld_max_ms is 2000; it has to be from 1 to 1000"),
    ("host", "guard_rate = 0.1", "host.guard_rate is 0.1 and heartbeat.rate_tolerance is 0.05; the guard band"),
    ("host", "guard_offset_s = 0.5", "host.guard_offset_s"),
    ("host", "guard_s = 20", "host.guard_s"),
    ("host", "retries = 1000", "host.retries"),
    ("package", "rsa_bits_min = 9000", "package.rsa_bits_min is 9000 and package.rsa_bits_max is 8192"),
    ("package", 'curves = ["P-521"]', 'package.curves has "P-521"; it has to be of P-256, P-384'),
    ("package", "qcow2_uris = []", "package.qcow2_uris is []; it has to have at least one value"),
    ("package", "members_max = 3", "package.members_max"),
    ("package", "xml_depth_max = 100000", "package.xml_depth_max"),
    ("resources", "cpu_share_should = 80", "resources.cpu_share_should is 80; it has to be at most 1"),
    ("heartbeat", "rate_tolerance = 5", "heartbeat.rate_tolerance"),
    ("heartbeat", "rate_factor_max = 1", "heartbeat.rate_factor_max"),
    ("heartbeat", "window_s = 2", "heartbeat.window_s is 2"),
    ("heartbeat", "window_s = 1e300", "heartbeat.window_s"),
    ("heartbeat", "interval_s = 40", "heartbeat.interval_s"),
    ("heartbeat", "port = 123", "heartbeat.port is 123; "),
    ("heartbeat", "datagram_bytes_max = 70000", "heartbeat.datagram_bytes_max"),
    ("time", "shift_max_s = 1", "time.shift_max_s"),
    ("time", "offset_should_s = 2", "time.offset_should_s is 2 and time.offset_must_s is 1.0"),
    ("time", "drift_ppm_max = 5000", "time.drift_ppm_max"),
    ("time", "kiss_of_death_gap_s = 1300", "time.kiss_of_death_gap_s"),
    ("bus", "huge_payload_bytes = 1048576", "bus.huge_payload_bytes"),
    ("bus", "packet_bytes_max = 268435456", "bus.packet_bytes_max"),
    ("producers", "location_hz = 1e9", "producers.location_hz"),
    ("user_plane", "payload_sizes = [1500]", "user_plane.payload_sizes"),
    ("user_plane", "inner_mtu = 1600", "user_plane.inner_mtu"),
    ("user_plane", "bypass_deadline_s = 2", "user_plane.bypass_deadline_s"),
    ("user_plane", "ues = 200", "user_plane.ues is 200"),
    ("user_plane", "ues_at_once = 4", "user_plane.ues_at_once"),
    ("user_plane", 'known_ports = {8443 = "https"}', 'user_plane.known_ports.8443 is "https"; it has to be'),
    ("forwarding", "ports = [29999, 29000]", "the first port must not be above the second"),
    ("lifecycle", "hard_resets = 1000", "lifecycle.hard_resets"),
    ("evidence", "bytes_max = 1", "evidence.bytes_max"),
)  # fmt: skip


@pytest.mark.parametrize(("table", "line", "said"), CONTRADICTIONS)
def test_a_contradiction_names_the_key(tmp_path: Path, table: str, line: str, said: str) -> None:
    name = write(tmp_path, with_line(table, line.partition(" =")[0], line))
    with pytest.raises(UsageError) as refused:
        load(name)
    assert str(refused.value).startswith(f"{name}: ") and said in str(refused.value)


@pytest.mark.parametrize(
    ("table", "line"),
    [
        ("profile", 'id = "acme-1.2_b"'),
        ("accelerator", "tcg = 50.0"),
        ("accelerator", 'scaled_deadlines = ["bus.reconnect_deadline_s"]'),
        ("machine", 'type = "pc"'),
        ("machine", 'type = "pc-q35-7.2"'),
        ("machine", 'cpu = "Skylake-Client-v4"'),
        ("network", 'platform = "10.199.0.254"'),
        ("network", 'transparent_one = "10.197.0.8/29"'),
        ("network", 'outside = "198.18.0.253"'),
        ("network", 'ues = ["10.45.0.0/24", "2001:db8:45::/48"]'),
        ("heartbeat", "window_s = 3.5"),
        ("package", 'curves = ["P-384"]'),
    ],
)
def test_what_agrees_with_the_rest_loads(tmp_path: Path, table: str, line: str) -> None:
    load(write(tmp_path, with_line(table, line.partition(" =")[0], line)))


def numbers(tables: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    for key, value in tables.items():
        if isinstance(value, dict):
            yield from numbers(value, f"{prefix}{key}.")
        elif isinstance(value, int | float) and key != "port":  # of ports the kinds say it
            yield f"{prefix}{key}"


@pytest.mark.parametrize("path", list(numbers(tomllib.loads(SHIPPED))))
def test_every_number_has_a_range(path: str) -> None:
    low, high = range_of(path)
    assert low <= load()[path] <= high < float("inf")
