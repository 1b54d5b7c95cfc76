"""NTP, DNS and DHCP of the lab against chronyd, ntpdig, dig and udhcpc, in private namespaces."""

import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.live

REPOSITORY = Path(__file__).parents[2]
SHIFT_S = -1800.25
CLOSE_S = 0.02  # a guest's offset is judged with this guard band; a busy host costs a peer less


@pytest.fixture(scope="module")
def seen(peer: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What the peers said and the services noted: see time_rig.py."""
    folder = tmp_path_factory.mktemp("time")
    launcher = [sys.executable, "-I", "-S", str(REPOSITORY / "harness" / "init.py"), "--"]
    rig = [sys.executable, str(REPOSITORY / "tests" / "live" / "time_rig.py"), str(folder)]
    done = subprocess.run(
        [*launcher, *rig, str(peer("chrony") / "usr/sbin/chronyd")],
        env={"PATH": "/usr/local/sbin:/usr/sbin:/sbin:/usr/local/bin:/usr/bin:/bin", "PYTHONPATH": str(REPOSITORY)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    value: dict[str, Any] = json.loads(done.stdout)
    return value


def events(seen: dict[str, Any], kind: str) -> list[dict[str, Any]]:
    return [event for event in seen["events"] if event["kind"] == kind]


def options(lease: dict[str, str]) -> dict[str, str]:
    """What udhcpc tells its script of a lease, under the options' names; the rest of the environment left out."""
    known = {"ip", "subnet", "router", "dns", "domain", "hostname", "broadcast", "ntpsrv", "staticroutes", "lease"}
    return {name: value for name, value in lease.items() if name in known}


def test_chronyd_follows_the_shifted_clock(seen: dict[str, Any]) -> None:
    found = re.search(r"System clock wrong by (-?[\d.]+) seconds", seen["chronyd"])
    assert found, seen["chronyd"]
    assert float(found[1]) == pytest.approx(SHIFT_S, abs=CLOSE_S)


def test_ntpdig_sees_stratum_two_and_no_leap(seen: dict[str, Any]) -> None:
    answer = json.loads(seen["ntpdig"])
    assert answer["offset"] == pytest.approx(SHIFT_S, abs=CLOSE_S)
    assert (answer["stratum"], answer["leap"]) == (2, "no-leap")


def test_every_request_is_noted(seen: dict[str, Any]) -> None:
    requests = events(seen, "ntp-request")
    assert len(requests) >= 4
    assert all(request["answered"] and request["address"] == "10.199.0.10" for request in requests)


def test_dig_resolves_the_platform_and_the_operators_zone(seen: dict[str, Any]) -> None:
    platform = {"heartbeat.racs.internal", "Mqtt.racs.internal", "ntp.racs.internal"}
    assert seen["dig"] == dict.fromkeys(platform, "10.199.0.1") | {"goon.apps.example": "192.0.2.10"}
    assert "status: NXDOMAIN" in seen["dig-unknown"]
    assert "status: NOERROR" in seen["dig-aaaa"] and "ANSWER: 0" in seen["dig-aaaa"]


def test_an_outage_is_silence(seen: dict[str, Any]) -> None:
    assert "no servers could be reached" in seen["dig-away"]
    assert [query["answer"] for query in events(seen, "dns-query")][-1] == ""


def test_leases_hold_the_contracts_options_and_no_more(seen: dict[str, Any]) -> None:
    shared = {"subnet": "255.255.255.0", "lease": "3600"}
    service = {"ip": "10.199.0.10", "dns": "10.199.0.1", "domain": "racs.internal", "ntpsrv": "10.199.0.1"}
    user_plane = {"ip": "192.0.2.10", "router": "192.0.2.1", "staticroutes": "0.0.0.0/0 192.0.2.1"}
    assert options(seen["service"]) == shared | service
    assert options(seen["user-plane"]) == shared | user_plane


def test_leases_are_noted(seen: dict[str, Any]) -> None:
    assert [(lease["network"], lease["mac"], lease["address"]) for lease in events(seen, "dhcp-lease")] == [
        ("service", "52:54:00:00:00:01", "10.199.0.10"),
        ("user-plane", "52:54:00:00:00:02", "192.0.2.10"),
    ]


def test_nothing_was_lost(seen: dict[str, Any]) -> None:
    assert not events(seen, "drop")


def test_a_killed_dhcp_server_is_told_and_nothing_else_died(seen: dict[str, Any]) -> None:
    assert [(event["process"], event["status"]) for event in events(seen, "process-died")] == [("dnsmasq", -9)]
