"""The table of a trace's kinds of events and their fields: one source for recorder, checks, docs and JSON Schema."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

_TYPES: dict[str, tuple[type, ...]] = {
    "string": (str,),
    "number": (int, float),
    "integer": (int,),
    "boolean": (bool,),
    "object": (dict,),
    "array": (list, tuple),
}
_EMPTY: dict[str, Any] = {"string": "", "number": 0.0, "integer": 0, "boolean": False, "object": {}, "array": []}


@dataclass(frozen=True, slots=True)
class Field:
    """A field's JSON type and what it means; every field of a kind is always there."""

    type: str
    meaning: str

    def accepts(self, value: object) -> bool:
        if isinstance(value, bool) and self.type != "boolean":
            return False
        return isinstance(value, _TYPES[self.type])

    @property
    def empty(self) -> Any:
        return _EMPTY[self.type]


@dataclass(frozen=True, slots=True)
class Kind:
    meaning: str
    fields: Mapping[str, Field]


def _kind(meaning: str, **fields: str) -> Kind:
    """fields are written "type: meaning"."""
    parted = {name: text.split(": ", 1) for name, text in fields.items()}
    return Kind(meaning, {name: Field(kind, text) for name, (kind, text) in parted.items()})


_FLOW = _kind(
    "a flow of test traffic ended; what it proves is judged from the captures",
    name="string: what the flow is for, unique in its situation",
    pattern="string: udp-echo, tcp-echo, http, probe, connect",
    origin="string: ue, outside, internet, platform",
    protocol="string: udp or tcp",
    client_address="string: the client's own address",
    client_port="integer: the client's own port",
    server_address="string: whom it spoke to",
    server_port="integer: and at which port",
    begin="number: monotonic seconds of its first packet",
    end="number: monotonic seconds of its end or deadline",
    completed="boolean: the whole exchange took place",
    error="string: why not, empty when it did",
    sent="integer: bytes of payload the client sent",
    received="integer: bytes of payload the client received",
    sent_sha256="string: digest of what the client sent",
    expected_sha256="string: digest of what it should get back, empty where unknown",
    received_sha256="string: digest of what it got back",
    answer="string: first bytes of the answer in hex, at most 64",
    answered_from="string: address:port the answer came from; empty when none came",
    peer_seen="string: address:port under which the server saw the client, where it says so; else empty",
)

KINDS: Mapping[str, Kind] = {
    "run": _kind(
        "facts that hold for the whole run; the first event",
        application="object: the app's declared properties (Application.to_json)",
        profile="string: id of the profile",
        accelerator="string: kvm or tcg",
        seed="integer: what every random choice of the run was drawn from",
        package_sha256="string: digest of the OVA in hex",
        mac_addresses="object: network name to the vNIC's MAC address, lower case",
        addresses="object: network name to the vNIC's address that DHCP leases",
    ),
    "clock-pair": _kind(
        "both clocks of the host, read together: kernel stamps are converted by such pairs",
        process="string: which process read them",
        realtime_minus_monotonic="number: seconds",
    ),
    "platform-clock": _kind(
        "the platform's shifted clock: at_reference + (at - reference) * (1 + drift_ppm / 1e6)",
        reference="number: monotonic seconds",
        at_reference="number: the platform's clock at the reference, seconds since 1970",
        drift_ppm="number: parts per million",
        shift_s="number: the shift against the host's clock, for the reader",
    ),
    "rtc": _kind("the guest's real-time clock at start", shift_s="number: against the host's clock"),
    "machine": _kind(
        "the virtual machine as the hypervisor runs it",
        cpus="integer: logical CPUs",
        memory_mib="integer: MiB of memory",
        cpu_model="string: CPU model",
        devices="array: kinds of devices, each a string",
    ),
    "vm-state": _kind(
        "a change of the virtual machine's state",
        state="string: defined, started, reset, suspended, resumed, powered-off, crashed, destroyed, undefined",
        reason="string: who or what did it: harness, guest, supervision, hypervisor",
        boot="integer: counts the guest's starts and resets from 1; 0 before the first",
        drill="string: the racs.drill of this start, empty when none",
    ),
    "power-button": _kind("the ACPI power button was pressed", press="integer: 1, 2 … since the last start"),
    "console-line": _kind(
        "a line of the serial console, without its line end",
        text="string: the line, undecodable bytes replaced, at most 4,096 characters",
        boot="integer: as in vm-state",
    ),
    "beat": _kind(
        "a datagram to the heartbeat port; at is the kernel's stamp of its arrival",
        data="string: its bytes in hex, at most 2,048 bytes of them",
        length="integer: its length in bytes",
        address="string: source address",
        port="integer: source port",
    ),
    "supervision": _kind(
        "a step of the platform's supervision",
        state="string: off, waiting, alive, failed, stopping, escalated",
        acting="boolean: whether it acts or only records in this situation",
        reason="string: why",
    ),
    "alarm": _kind(
        "an alarm toward the network manager",
        app="string: application id",
        severity="string: critical, major, minor, warning",
        time="number: the platform's clock, seconds since 1970",
        cause="string: what happened",
        cleared="boolean: raised (false) or cleared (true)",
    ),
    "bypass": _kind("UE traffic bypasses the app, or no more", active="boolean: bypasses", reason="string: why"),
    "ntp-request": _kind(
        "a datagram to the platform's NTP port; at is the kernel's stamp",
        data="string: its bytes in hex",
        address="string: source address",
        port="integer: source port",
        answered="boolean: whether the server answered it",
        reason="string: why it did not, empty when it did",
    ),
    "dns-query": _kind(
        "a question to the service DNS",
        name="string: the name asked, lower case, without the last dot",
        type="string: A, AAAA, …",
        address="string: source address",
        answer="string: NXDOMAIN, or the records in text parted by blanks; empty where the server was silent",
    ),
    "dhcp-lease": _kind(
        "the DHCP server acknowledged a lease",
        network="string: service, user-plane, user-plane-ul, user-plane-dl",
        mac="string: MAC address, lower case",
        address="string: leased address",
    ),
    "mqtt-attempt": _kind(
        "an attempted connect, publish or subscribe, and the bus's decision",
        connection="integer: counts TCP connections to the bus from 1",
        client="string: who the attempt came from: app (over the service network) or lab (a probe of ours)",
        address="string: source address",
        protocol="string: 3.1.1 or 5, or what was asked for",
        client_id="string: MQTT client identifier",
        username="string: as given in CONNECT",
        action="string: connect, publish, subscribe, will",
        topic="string: topic or topic filter, empty for connect",
        qos="integer: 0, 1, 2",
        retain="boolean: publish with retain",
        payload="string: of a publish: UTF-8 text, undecodable bytes replaced, at most 4,096 characters",
        allowed="boolean: the decision",
        reason="string: why: which rule of the ACL allowed it, or what forbade it",
    ),
    "mqtt-closed": _kind(
        "a connection to the bus ended",
        connection="integer: as in mqtt-attempt",
        reason="string: disconnect, connection lost, protocol error and which, outage",
    ),
    "mqtt-delivered": _kind(
        "the bus handed a message to a subscriber",
        connection="integer: as in mqtt-attempt",
        topic="string: topic",
        length="integer: payload bytes",
    ),
    "mqtt-probe": _kind(
        "what a probe of the lab's saw of the bus, as its client: the guard's own record is not its own witness",
        protocol="string: 3.1.1 or 5",
        action="string: connect, publish, subscribe, will",
        credentials="string: of a connect: own, wrong password, other user; else own",
        topic="string: topic or topic filter, empty for connect",
        accepted="boolean: whether the answer was a success; 3.1.1 has no refusal of a publish",
        delivered="boolean: whether the message, or for a subscribe one that was published for it, arrived",
    ),
    "swam-report": _kind(
        "the platform's report for SWAM",
        report="object: emulator.swam.Report as JSON",
    ),
    "feature-set": _kind(
        "AFM published the app's active features",
        features="array: ids of the active features",
    ),
    "feature-status": _kind(
        "the app published its usage status on app/{id}/features",
        features="array: objects with id and state",
        malformed="string: what is wrong with the payload, empty when nothing is",
    ),
    "attach": _kind(
        "a UE attached: its bearer's tunnel endpoints",
        ue="integer: index from 0",
        address="string: the UE's address",
        cell="string: cell at the time",
        enb_address="string: S1-U address of the eNB",
        uplink_teid="integer: TEID toward the EPC",
        downlink_teid="integer: TEID toward the eNB",
    ),
    "flow": _FLOW,
    "attempt": Kind(
        "a try whether the app's services are ready yet, with the fields of a flow: never judged", _FLOW.fields
    ),
    "capture": _kind(
        "a capture of the evidence folder begins",
        interface="string: service, user-plane, user-plane-ul, user-plane-dl, s1u-enb, s1u-epc, sgi, outside",
        file="string: name of the pcapng file",
    ),
    "drop": _kind(
        "a socket or queue of the lab's own lost packets: never the app's loss",
        where="string: which",
        count="integer: packets",
        begin="number: monotonic seconds",
        end="number: monotonic seconds",
    ),
    "host-starved": _kind(
        "the host could not give the lab what it needs",
        what="string: steal, lag of the lab's own wake-ups; of a thread of QEMU: stopped, blocked, waiting for a CPU",
        value="number: what was measured: a share of the CPU time for steal, else seconds",
        limit="number: the profile's limit",
        begin="number: monotonic seconds",
        end="number: monotonic seconds",
    ),
    "clock-step": _kind(
        "the host's realtime clock jumped against its monotonic one",
        step_s="number: seconds",
        begin="number: monotonic seconds",
        end="number: monotonic seconds",
    ),
    "process-died": _kind(
        "a process of the emulator or a helper of it ended by itself: the run can tell no more",
        process="string: which",
        status="integer: exit status, negative for a signal",
    ),
    "lab-fault": _kind(
        "the lab had to give the virtual machine up, as on a full disk: the run can tell no more",
        why="string: what happened, and how to mend it",
    ),
    "outage": _kind(
        "a service of the platform was taken away or brought back on purpose",
        service="string: bus, ntp, dns, backends",
        away="boolean: taken away (true) or brought back (false)",
    ),
    "situation-begin": _kind("a situation begins", name="string: its name"),
    "situation-end": _kind("a situation ends", name="string: its name"),
    "step": _kind(
        "a step of the lab, as the report shows it",
        keyword="string: what was done",
        arguments="array: strings",
        begin="number: monotonic seconds",
        end="number: monotonic seconds",
        outcome="string: ok, or what went wrong",
    ),
}


def json_schema() -> dict[str, Any]:
    """JSON Schema of one line of trace.jsonl (racs-trace/1)."""
    base = {"at": {"type": "number"}, "source": {"type": "string"}}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": "urn:racs:trace:1",
        "title": "racs-trace/1: one event, one line",
        "oneOf": [
            {
                "title": name,
                "description": kind.meaning,
                "type": "object",
                "properties": {
                    **base,
                    "kind": {"const": name},
                    **{f: {"type": d.type, "description": d.meaning} for f, d in kind.fields.items()},
                },
                "required": ["at", "kind", "source", *kind.fields],
                "additionalProperties": False,
            }
            for name, kind in KINDS.items()
        ],
    }


def markdown_table() -> str:
    """The reference part of docs/trace.md."""
    parts = []
    for name, kind in KINDS.items():
        rows = "\n".join(f"| `{f}` | {d.type} | {d.meaning} |" for f, d in kind.fields.items())
        head = f"### `{name}`\n{kind.meaning[0].upper()}{kind.meaning[1:]}."
        parts.append(f"{head}\n\n| field | type | meaning |\n|---|---|---|\n{rows}\n")
    return "\n".join(parts)
