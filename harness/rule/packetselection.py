"""Which packets of a capture offload rules select, frame by frame."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import BinaryIO, Literal

from conformance.application import Rule
from conformance.packet import Packet
from conformance.rules.expression import Membership, compile_rule, mirrored
from conformance.rules.language import parse
from conformance.rules.words import protocol_name
from harness.rule.capturefile import CapturedFrame, read_capture
from harness.rule.dissection import UNREAD_LINK, Dissected, Dissector, FragmentKey

State = Literal["selected", "left", "no packet", "unknown"]

_FIRST_FRAGMENTS_MAX = 4096


@dataclass(frozen=True, slots=True)
class JudgedFrame:
    """What becomes of one frame: selected by these rules, left alone, nothing for rules, or unknown; why says more."""

    frame: CapturedFrame
    dissected: Dissected
    state: State
    by: tuple[str, ...] = ()
    why: str = ""

    @property
    def summary(self) -> str:
        """The packet's ends and what it was found in, as tcpdump would."""
        packet = self.dissected.packet
        if packet is None:
            return self.why
        ends = ((packet.source, packet.src_port), (packet.destination, packet.dst_port))
        source, target = (_end(address, port, packet.version) for address, port in ends)
        text = f"{protocol_name(packet.proto)} {source} > {target}, {packet.length} bytes"
        if packet.dscp:
            text += f", DSCP {packet.dscp}"
        if packet.is_fragment:
            text += f", fragment at {packet.fragment_offset}"
        if self.dissected.teid is not None:
            text += f", in GTP-U TEID {self.dissected.teid:#010x}"
        return f"{text} ({self.why})" if self.why else text


class Selector:
    """Judges the frames of one capture in their order; a later fragment follows its first one (contract 6)."""

    def __init__(self, rules: Sequence[Rule], users: Membership | None) -> None:
        """users tells directions apart (contract 6); None where every rule is tried on every packet."""
        self._rules = [(rule, compile_rule(parse(rule.text))) for rule in rules]
        self._to_user = compile_rule(mirrored(users)) if users else None
        self._dissector = Dissector()
        self._firsts: dict[FragmentKey, tuple[str, ...]] = {}

    def judge(self, frame: CapturedFrame) -> JudgedFrame:
        """What becomes of the next frame."""
        found = self._dissector.dissect(frame)
        packet, key = found.packet, found.key
        if packet is None or not found.certain:
            return JudgedFrame(frame, found, "no packet" if found.certain else "unknown", why=found.why)
        if packet.version == 6:
            return JudgedFrame(frame, found, "left", why="IPv6 always bypasses the app")
        if key and packet.fragment_offset:
            if key not in self._firsts:
                return JudgedFrame(frame, found, "unknown", why="its first fragment does not stand before it")
            by = self._firsts[key]
        else:
            by = self._selecting(packet)
        if key and not packet.fragment_offset:
            if len(self._firsts) >= _FIRST_FRAGMENTS_MAX:
                del self._firsts[next(iter(self._firsts))]
            self._firsts[key] = by
        return JudgedFrame(frame, found, "selected" if by else "left", by)

    def _selecting(self, packet: Packet) -> tuple[str, ...]:
        direction = None if self._to_user is None else "downlink" if self._to_user(packet) else "uplink"
        return tuple(
            rule.name for rule, chosen in self._rules if direction in (None, rule.direction) and chosen(packet)
        )


def judge_capture(stream: BinaryIO, rules: Sequence[Rule], users: Membership | None) -> Iterator[JudgedFrame]:
    """Every frame of a capture. Raises SubjectError as `read_capture`, after the frames that could be read."""
    selector = Selector(rules, users)
    for frame in read_capture(stream):
        yield selector.judge(frame)


def count_line(counts: Mapping[str, int]) -> str:
    """How many frames became what, in a sentence; counts has the states, "tunnelled", "IPv6" and "unread"."""
    total = sum(counts.get(state, 0) for state in ("selected", "left", "no packet", "unknown"))
    parts = (
        (counts.get("tunnelled", 0), "found inside GTP-U tunnels"),
        (counts.get("IPv6", 0), "of IPv6, which always bypasses the app"),
        (counts.get("no packet", 0) - counts.get("unread", 0), "no packet that rules are for"),
        (counts.get("unread", 0), f"of {UNREAD_LINK}"),
        (counts.get("unknown", 0), "that nobody can tell from this capture"),
    )
    more = [f"{number} {what}" for number, what in parts if number]
    return f"{counts.get('selected', 0)} of {total} packets selected" + (f" ({'; '.join(more)})" if more else "")


def _end(address: str, port: int | None, version: int) -> str:
    if port is None:
        return address
    return f"{address}:{port}" if version == 4 else f"[{address}]:{port}"
