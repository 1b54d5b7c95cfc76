"""The platform's DHCP server (contract 2): dnsmasq, its configuration, and its leases as events. RFC 2131, 2132, 3442.

dnsmasq does the protocol; its DNS and everything else of it is off. It sends on the links that it is given and reads
nothing but the configuration that is made here.
"""

import re
import subprocess
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

from conformance.errors import EnvironmentFault, UsageError

SERVICE = "service"
START_DEADLINE_S = 5.0
STOP_DEADLINE_S = 2.0

_ACKNOWLEDGED = re.compile(r"DHCPACK\((?P<network>[^)]+)\) (?P<address>\S+) (?P<mac>\S+)")

OnEvent = Callable[[str, float, Mapping[str, Any]], None]
"""(kind, at, fields) of each event, called in the server's reader thread."""


@dataclass(frozen=True, slots=True)
class Link:
    """A vNIC's link: its interface in the lab is named like the network; gateway is the lab's own address on it.

    netmask as in "255.255.255.0". routed: the gateway is the VM's default route.
    """

    network: str
    mac: str
    address: str
    gateway: str
    netmask: str
    routed: bool = False


def configuration(links: Sequence[Link], domain: str, lease_s: int, leases: Path) -> str:
    """dnsmasq's configuration file: one fixed address a link, and the options of contract 2, each sent when asked for.

    ``dhcp-option`` without a value means: not even dnsmasq's default.
    """
    lines = [
        "port=0",  # no DNS of its own
        "no-resolv",
        "no-hosts",
        "no-ping",  # it would wait three seconds before each offer
        "dhcp-authoritative",
        "dhcp-ignore-names",
        "bind-interfaces",
        "except-interface=lo",
        "keep-in-foreground",
        "pid-file",
        "log-facility=-",
        "user=root",  # it gives up no right that it does not have: also without other users in the namespace
        "group=root",
        f"dhcp-leasefile={leases}",
    ]
    for link in links:
        tag = link.network
        lines += [
            f"interface={link.network}",
            f"dhcp-range=set:{tag},{link.address},static,{link.netmask},{lease_s}",
            f"dhcp-host={link.mac},{link.address},{lease_s}",
            *(f"dhcp-option=tag:{tag},{option}" for option in _options(link, domain)),
        ]
    return "\n".join(lines) + "\n"


def _options(link: Link, domain: str) -> Sequence[str]:
    none = ["12", "28"]  # host name, broadcast address
    if link.network == SERVICE:
        return [*none, "3", f"6,{link.gateway}", f"15,{domain}", f"42,{link.gateway}"]
    if link.routed:
        return [*none, f"3,{link.gateway}", "6", "15", f"121,0.0.0.0/0,{link.gateway}"]
    return [*none, "3", "6", "15"]


class DhcpServer:
    """dnsmasq on these links; ``with`` starts it, waits until it serves, and ends it.

    The links must be there, and the thread that enters must be in their network namespace. folder gets configuration
    and leases. Leases become ``dhcp-lease`` events; when it ends by itself, a ``process-died`` event. Raises UsageError
    where dnsmasq is missing and EnvironmentFault where it does not start.
    """

    def __init__(self, links: Sequence[Link], domain: str, lease_s: int, folder: Path, on_event: OnEvent) -> None:
        self._links = links
        self._domain = domain
        self._lease_s = lease_s
        self._folder = folder
        self._on_event = on_event
        self._ending = False
        self._serves = threading.Event()
        self._said: list[str] = []

    def __enter__(self) -> "DhcpServer":
        leases, path = self._folder / "leases", self._folder / "dnsmasq.conf"
        path.write_text(configuration(self._links, self._domain, self._lease_s, leases))
        try:
            self._process = subprocess.Popen(
                ["dnsmasq", f"--conf-file={path}"],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                text=True,
                errors="replace",
            )
        except FileNotFoundError as error:
            raise UsageError("dnsmasq is missing: install Debian's package dnsmasq-base") from error
        self._reader = threading.Thread(target=self._read, name="dhcp", daemon=True)
        self._reader.start()
        if not self._serves.wait(START_DEADLINE_S) or self._process.poll() is not None:
            self._end()
            raise EnvironmentFault(f"dnsmasq did not start: {'; '.join(self._said[-3:]) or 'it said nothing'}")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end()

    @property
    def pid(self) -> int:
        return self._process.pid

    def _end(self) -> None:
        self._ending = True
        self._process.terminate()
        try:
            self._process.wait(STOP_DEADLINE_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._reader.join()

    def _read(self) -> None:
        assert self._process.stderr is not None
        started = False
        with self._process.stderr as lines:
            for line in lines:
                started = self._heard(line.strip()) or started
        status = self._process.wait()
        if started and not self._ending:
            self._on_event("process-died", time.monotonic(), {"process": "dnsmasq", "status": status})
        self._serves.set()  # whoever waits sees that it has ended

    def _heard(self, line: str) -> bool:
        """Take a line of its log; whether it says that dnsmasq serves now."""
        found = _ACKNOWLEDGED.search(line)
        if found:
            self._on_event("dhcp-lease", time.monotonic(), found.groupdict())
        if "started, version" in line:
            self._serves.set()
            return True
        self._said = [*self._said[-2:], line]
        return False
