"""What `racs rule --packet` says of a capture: a line a packet, and a count of what became of them."""

import sys
from collections import Counter
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, get_args

from conformance.application import Rule
from conformance.errors import SubjectError, UsageError
from conformance.rules.expression import Membership
from harness.options import require_file
from harness.rule.dissection import READABLE_LINKS, UNREAD_LINK
from harness.rule.packetselection import JudgedFrame, State, count_line, judge_capture
from harness.screen import show

_LINES_AT_ONCE = 200
_MARKS = {"selected": "yes", "left": "no", "no packet": "-", "unknown": "?"}


@dataclass
class PacketReport:
    """Filled by reading one capture. everything: packets that are not selected too; names: say which rules selected;
    keeping: what is told goes into the record as well."""

    everything: bool
    names: bool
    printing: bool
    keeping: bool
    record: dict[str, Any] = field(default_factory=dict)
    _lines: list[str] = field(default_factory=list)

    def read(self, file: Path, rules: Sequence[Rule], users: Membership | None) -> None:
        """Judge all packets of a capture and print them. Raises UsageError where it is none."""
        counts, packets, damage = Counter[str](), list[dict[str, Any]](), ""
        first_ns = None
        with _opened(file) as stream:
            try:
                for judged in judge_capture(stream, rules, users):
                    first_ns = judged.frame.at_ns if first_ns is None else first_ns
                    _count(judged, counts)
                    if self.everything or judged.state == "selected":
                        self._print(self._line(judged, first_ns or 0))
                        if self.keeping:
                            packets.append(_packet_record(judged))
            except SubjectError as error:
                damage = f"{error.where}{error.where and ': '}expected {error.expected}, saw {error.seen}"
                if not counts:
                    raise UsageError(f"{file}: {damage}{error.remedy and '; '}{error.remedy}") from error
        if 0 < counts["unread"] == sum(counts[state] for state in get_args(State)):
            seen = f"all its packets are of {UNREAD_LINK}"
            raise UsageError(f"{file}: {seen}; capture on another interface: tcpdump -i any -w FILE")
        self._print(count_line(counts), last=True)
        if damage:
            show(f"racs: {file}: {damage}; what stands before was read", sys.stderr)
        self.record = {"file": file.name, "counts": dict(sorted(counts.items())), "damage": damage, "packets": packets}

    def _print(self, line: str, last: bool = False) -> None:
        self._lines.append(line)
        if last or len(self._lines) >= _LINES_AT_ONCE:
            if self.printing:
                show("\n".join(self._lines), sys.stdout)
            self._lines.clear()

    def _line(self, judged: JudgedFrame, first_ns: int) -> str:
        frame = judged.frame
        at = "-" if frame.at_ns is None else f"{(frame.at_ns - first_ns) / 1e9:.6f}"
        mark = f"{_MARKS[judged.state]:<4}" if self.everything else ""
        by = f"  [{', '.join(judged.by)}]" if judged.by and self.names else ""
        return f"{mark}{frame.number:>6} {at:>12}  {judged.summary}{by}"


def _opened(file: Path) -> AbstractContextManager[BinaryIO]:
    """A capture to be read from its beginning; "-" is standard input. Raises UsageError."""
    if str(file) == "-":
        return nullcontext(sys.stdin.buffer)
    require_file(file, "capture")
    return file.open("rb")


def _count(judged: JudgedFrame, counts: Counter[str]) -> None:
    counts[judged.state] += 1
    if judged.frame.link not in READABLE_LINKS:
        counts["unread"] += 1
    packet = judged.dissected.packet
    counts["tunnelled"] += packet is not None and judged.dissected.teid is not None
    counts["IPv6"] += packet is not None and packet.version == 6


def _packet_record(judged: JudgedFrame) -> dict[str, Any]:
    packet, frame = judged.dissected.packet, judged.frame
    fields = {} if packet is None else {
        "ip_version": packet.version, "proto": packet.proto, "src_ip": packet.source, "dst_ip": packet.destination,
        "src_port": packet.src_port, "dst_port": packet.dst_port, "dscp": packet.dscp, "length": packet.length,
    }  # fmt: skip
    return {
        "number": frame.number, "at_ns": frame.at_ns, "state": judged.state, "rules": list(judged.by),
        "why": judged.why, "teid": judged.dissected.teid, "fields": fields,
    }  # fmt: skip
