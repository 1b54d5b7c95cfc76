"""What each process of the emulator is told at start: plain JSON from app, profile and the run's plan. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import ip_network
from pathlib import Path
from typing import Any

from conformance.application import Application, Service
from conformance.profile import Profile
from conformance.rules.analysis import served_ports
from emulator.dhcp import Link
from emulator.platform import PlatformClock, service_names
from harness import topology
from harness.disk import Start
from harness.topology import Topology

ECHO_PORT, HTTP_PORTS = 7, (80, 8080)


@dataclass(frozen=True, slots=True)
class Plan:
    """A run as it was drawn up before anything started. profile is scaled for the accelerator."""

    application: Application
    profile: Profile
    topology: Topology
    clock: PlatformClock
    rtc_shift_s: float
    password: str
    seed: int


def start_facts(plan: Plan, features: tuple[str, ...], drill: str) -> Start:
    """What the OVF environment of a start says; features are the ids of the active ones."""
    users = plan.topology.user_plane_nics
    return Start(
        mac_addresses=plan.topology.mac_addresses,
        addresses=tuple(nic.address for nic in users),
        gateways=tuple(nic.gateway for nic in users),
        password=plan.password if plan.application.uses_bus else "",
        features=features,
        drill=drill,
    )


def time_process(plan: Plan) -> Mapping[str, Any]:
    heartbeat = {name: plan.profile[f"heartbeat.{name}"] for name in (
        "interval_s", "missed_max", "boot_deadline_s", "restarts_before_escalation")}  # fmt: skip
    return heartbeat | {
        "app": plan.application.id,
        "clock": plan.clock.to_json(),
        "names": service_names(plan.profile),
        "zone": zone(plan),
    }


def zone(plan: Plan) -> Mapping[str, str]:
    """The operator's zone: the app's endpoints, at its address on the user plane."""
    address = app_address(plan)
    return {endpoint.fqdn: address for endpoint in plan.application.endpoints}


def app_address(plan: Plan) -> str:
    """The app's address on the user plane (of the first NIC there, where there are two)."""
    return plan.topology.user_plane_nics[0].address


def userplane_process(plan: Plan) -> Mapping[str, Any]:
    vnics = [
        {"mac": nic.mac, "gateway_mac": nic.gateway_mac, "gateway": nic.gateway}
        for nic in plan.topology.user_plane_nics
    ]
    return {
        "seed": plan.seed,
        "ues": plan.profile["user_plane.ues"],
        "ue_networks": plan.profile["network.ues"],
        "s1u": {
            "enb": topology.S1U_ENB,
            "enb_ups": topology.S1U_ENB_UPS,
            "epc_ups": topology.S1U_EPC_UPS,
            "epc": topology.S1U_EPC,
        },
        "app": {"type": plan.application.type, "address": app_address(plan), "vnics": vnics},
        "rules": [{"name": r.name, "direction": r.direction, "text": r.text} for r in plan.application.rules],
        "bypass": True,
    }


def bus_process(plan: Plan, folder: Path, mosquitto: Path) -> Mapping[str, Any]:
    return {
        "application": plan.application.to_json(),
        "password": plan.password,
        "clock": plan.clock.to_json(),
        "seed": plan.seed,
        "ues": [plan.topology.ue_address(ue) for ue in range(int(plan.profile["user_plane.ues"]))],
        "producers": plan.profile["producers"],
        "packet_bytes_max": plan.profile["bus.packet_bytes_max"],
        "mosquitto": str(mosquitto),
        "folder": str(folder),
        "swam_url": "",
    }


def dhcp_links(plan: Plan) -> tuple[Link, ...]:
    """One lease a vNIC; the default route comes by the first NIC of the user plane (contract 2)."""
    routed = plan.topology.user_plane_nics[0]
    return tuple(
        Link(
            nic.network,
            nic.mac,
            nic.address,
            nic.gateway,
            str(ip_network(f"0.0.0.0/{nic.prefix}").netmask),
            nic is routed,
        )
        for nic in plan.topology.nics
    )


def backend_listeners(application: Application) -> tuple[Service, ...]:
    """Ports on which operator and internet servers answer: echo and HTTP always, and every port a rule can name."""
    ports = {("udp", ECHO_PORT), ("tcp", ECHO_PORT), *(("tcp", port) for port in HTTP_PORTS)}
    ports |= set(served_ports(application.rules))
    return tuple(Service("udp" if protocol == "udp" else "tcp", port) for protocol, port in sorted(ports))
