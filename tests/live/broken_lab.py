"""A pytest plug-in that breaks the lab of a run of suites/, in one way: `-p broken_lab`, and which in --break.

It bends what the harness tells nftables and the emulator's processes: nothing in the product knows of it.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from conformance.application import Application
from conformance.profile import Profile
from emulator import forwarding
from harness import configuration
from harness.configuration import Plan

Config = Mapping[str, Any]


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--break", dest="broken", choices=sorted(WAYS), required=True)


def pytest_configure(config: pytest.Config) -> None:
    WAYS[config.option.broken]()


def open_a_port() -> None:
    """A port that nobody declared leads to the VM's SSH."""
    ruleset = forwarding.ruleset

    def wider(application: Application, profile: Profile, vm_address: str) -> str:
        rules = ruleset(application, profile, vm_address)
        before = '    iifname != "outside" accept\n'
        assert rules.count(before) == 2  # chains translated and to_platform
        return rules.replace(before, f"{before}    tcp dport 29500 dnat to {vm_address}:22\n", 1)

    forwarding.ruleset = wider


def misdeliver() -> None:
    """The user plane service hands the app packets that no rule of its selects."""
    told = configuration.userplane_process

    def tell(plan: Plan) -> Config:
        config = told(plan)
        return {**config, "rules": [*config["rules"], {"name": "all", "direction": "uplink", "text": "proto==UDP"}]}

    configuration.userplane_process = tell


def admit_everything() -> None:
    """The bus lets the app read every topic."""
    told = configuration.bus_process

    def tell(plan: Plan, folder: Path, mosquitto: Path) -> Config:
        config = told(plan, folder, mosquitto)
        application = config["application"]
        acl = [*application["acl"], {"access": "subscribe", "topic": "#"}]
        return {**config, "application": {**application, "acl": acl}}

    configuration.bus_process = tell


WAYS: Mapping[str, Callable[[], None]] = {
    "firewall": open_a_port,
    "user-plane": misdeliver,
    "bus": admit_everything,
}
