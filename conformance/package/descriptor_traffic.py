"""Which traffic an app is for: offload rules, endpoints and forwarded ports of the racs:ApplicationSection."""

import re
from collections.abc import Sequence
from typing import Literal, cast

from lxml import etree

from conformance.application import Direction, Effect, Endpoint, Forward, Rule, Service
from conformance.errors import SubjectError
from conformance.package.descriptor_envelope import RACS
from conformance.package.document import Collector
from conformance.profile import Profile

_LABEL = r"[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
_FQDN = re.compile(
    rf"(?=.{{1,253}}$)({_LABEL}\.)+(?!\d+$){_LABEL}"
)  # RFC 1123 2.1; a last label of digits is an address
_PORT = re.compile(r"[1-9]\d{0,4}", re.ASCII)
_UDP_WITHOUT_PROBE = (7, 53, 123)  # contract 1: the harness speaks these


def read_offload(
    section: etree._Element, kind: str, profile: Profile, faults: Collector
) -> tuple[tuple[Rule, ...], tuple[Effect, ...]]:
    """DSC-005 as far as the rules' text tells; PKG-015 for their bounds, DSC-002 where the app's type has none."""
    offload = section.find(f"{RACS}Offload")
    if offload is not None and kind == "terminating":
        remedy = 'delete it, or declare type="transparent"'
        faults.add("DSC-002", offload, "Offload in transparent apps only", "it in a terminating app", remedy)
    rules: list[Rule] = []
    elements = offload.findall(f"{RACS}Rule") if offload is not None else []
    limit = profile["package.rules_max"]
    if offload is not None and len(elements) > limit:
        remedy = "join rules with ||"
        faults.add("PKG-015", offload, f"at most {limit} offload rules", str(len(elements)), remedy)
    for element in elements[:limit]:
        name, direction = element.get("name", ""), element.get("direction", "")
        if not name or direction not in ("uplink", "downlink"):
            continue
        rule = Rule(name, cast(Direction, direction), (element.text or "").strip())
        if any((rule.name, rule.direction) == (other.name, other.direction) for other in rules):
            seen = f"two rules {name[:80]!r} for {direction}"
            faults.add("DSC-005", element, "one rule of a name and direction", seen, "join them with ||, or rename one")
        elif _parses(element, rule, profile, faults):
            rules.append(rule)
    _judge_directions(section if offload is None else offload, kind, elements, faults)
    return tuple(rules), _read_effects(offload, elements, faults)


def _parses(element: etree._Element, rule: Rule, profile: Profile, faults: Collector) -> bool:
    from conformance.rules import language  # lark: only packages with rules pay for its import

    characters, depth = profile["package.rule_characters_max"], profile["package.rule_depth_max"]
    if len(rule.text) > characters:
        faults.add("PKG-015", element, f"a rule of at most {characters} characters", str(len(rule.text)), "split it")
        return False
    try:
        language.parse(rule.text, characters, depth)
    except SubjectError as error:
        remedy = error.remedy or "correct the rule; the language is in contract 6"
        faults.add(error.requirement or "DSC-005", element, error.expected, error.seen, remedy, error.where)
        return False
    return True


def _judge_directions(where: etree._Element, kind: str, elements: Sequence[etree._Element], faults: Collector) -> None:
    if kind != "transparent":
        return
    for direction in ("uplink", "downlink"):
        if not any(element.get("direction") == direction for element in elements):
            remedy = f'add <racs:Rule name="..." direction="{direction}"> to racs:Offload'
            faults.add("DSC-005", where, f"a rule for {direction}", "none", remedy)


def _read_effects(
    offload: etree._Element | None, rules: Sequence[etree._Element], faults: Collector
) -> tuple[Effect, ...]:
    names = {element.get("name") for element in rules}
    effects: dict[str, Effect] = {}
    for element in offload.findall(f"{RACS}Effect") if offload is not None else []:
        name, payload = element.get("name", ""), element.get("payload", "")
        if not name or payload not in ("preserves", "modifies", "terminates"):
            continue
        if name not in names or name in effects:
            seen = f"{name[:80]!r}{' again' if name in effects else ', which no rule has'}"
            faults.add("DSC-005", element, "one Effect a rule name", seen, "name a rule, and each once")
        else:
            effects[name] = Effect(name, cast(Literal["preserves", "modifies", "terminates"], payload))
    return tuple(effects.values())


def read_endpoints(section: etree._Element, kind: str, profile: Profile, faults: Collector) -> tuple[Endpoint, ...]:
    """DSC-007; DSC-002 where the app's type has no endpoints."""
    elements = section.findall(f"{RACS}Endpoint")
    if kind == "transparent" and elements:
        remedy = 'delete it, or declare type="terminating"'
        faults.add("DSC-002", elements[0], "Endpoint in terminating apps only", "it in a transparent app", remedy)
    if kind == "terminating" and not elements:
        faults.add(
            "DSC-007", section, "at least one Endpoint", "none", "declare the name under which users find the app"
        )
    endpoints: dict[str, Endpoint] = {}
    used: set[tuple[str, int]] = set()
    for element in elements:
        services = _read_services(element, used, faults)
        fqdn = element.get("fqdn")
        if fqdn is None:
            continue
        name = fqdn.removesuffix(".").lower()  # RFC 4343: names differ in no letter's case
        if not _FQDN.fullmatch(name) or name in endpoints:
            seen = f"{fqdn[:80]!r}{' again' if name in endpoints else ''}"
            remedy = "write a full name such as goon.apps.example, once"
            faults.add("DSC-007", element, "a fully qualified domain name of its own", seen, remedy)
        else:
            endpoints[name] = Endpoint(name, services)
    return tuple(endpoints.values())


def _read_services(endpoint: etree._Element, used: set[tuple[str, int]], faults: Collector) -> tuple[Service, ...]:
    elements = endpoint.findall(f"{RACS}Service")
    if not elements:
        faults.add(
            "DSC-007", endpoint, "at least one Service", "none", "declare the ports on which users reach the app"
        )
    services = []
    for element in elements:
        protocol, port = element.get("protocol", ""), element.get("port", "").strip()
        if protocol not in ("udp", "tcp") or not _PORT.fullmatch(port):
            continue
        probe = element.find(f"{RACS}Probe")
        send, expect = ("", "") if probe is None else (probe.get("send", ""), probe.get("expect", ""))
        if protocol == "udp" and int(port) not in _UDP_WITHOUT_PROBE and probe is None:
            remedy = 'add <racs:Probe send="HEX" expect="HEX"/>: what to send and how the answer begins'
            faults.add("DSC-007", element, "a Probe for UDP on other ports than 7, 53 and 123", "none", remedy)
        if (protocol, int(port)) in used:
            seen = f"{protocol} {port} again"
            faults.add("DSC-007", element, "each protocol and port once", seen, "the app has one address: delete one")
            continue
        used.add((protocol, int(port)))
        services.append(
            Service(cast(Literal["udp", "tcp"], protocol), int(port), send.strip().lower(), expect.strip().lower())
        )
    return tuple(services)


def read_forwards(section: etree._Element, profile: Profile, faults: Collector) -> tuple[Forward, ...]:
    """DSC-008."""
    low, high = profile["forwarding.ports"]
    forwards: dict[tuple[str, int], Forward] = {}
    for element in section.findall(f"{RACS}PortForwarding/{RACS}Forward"):
        protocol, port, to = element.get("protocol", ""), element.get("from"), element.get("to", "").strip()
        if protocol not in ("udp", "tcp") or port is None or not _PORT.fullmatch(to):
            continue
        number = int(port) if _PORT.fullmatch(port.strip()) else 0
        if not low <= number <= high or (protocol, number) in forwards:
            seen = f'{protocol} from="{port[:40]}"{" again" if (protocol, number) in forwards else ""}'
            remedy = f"choose a free port of {low} to {high}"
            faults.add("DSC-008", element, f"a port of its own of {low} to {high}", seen, remedy)
        key = cast(Literal["udp", "tcp"], protocol)
        forwards.setdefault((protocol, number), Forward(key, number, int(to)))
    return tuple(forwards.values())
