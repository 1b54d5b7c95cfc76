"""`racs rule`: what offload rules select, in words; what is wrong with them; which packets of a capture they select."""

import json
import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from conformance.application import Direction, Rule
from conformance.checks.selection import users
from conformance.errors import SubjectError, UsageError
from conformance.exitstatus import ExitStatus
from conformance.profile import Profile
from conformance.profile import load as load_profile
from conformance.rules.language import mirrored_text, parse
from conformance.rules.relations import comparable, judge_together, review_overlaps, review_symmetry
from conformance.rules.remark import Remark
from conformance.rules.review import judge_rule, review_rule
from conformance.rules.words import describe
from conformance.verdict import Finding, counted
from harness.options import require_file, require_writable
from harness.rule.packetreport import PacketReport
from harness.screen import show

if TYPE_CHECKING:
    from conformance.package.descriptor import Descriptor

_FORMAT = "racs-rule/1"


@dataclass(frozen=True, slots=True)
class RuleRequest:
    """The rules to speak of, and what besides. directed: some are for uplink, some for downlink, and say so.

    faults are of rules that were found in a package and could not be read there.
    """

    rules: tuple[Rule, ...]
    profile: Profile
    directed: bool
    faults: tuple[Finding, ...] = ()
    packets: Path | None = None
    everything: bool = False
    json_file: str | None = None


@dataclass(frozen=True, slots=True)
class _Account:
    """All that is to be said of one rule; words is "" for one that does not parse, and fault says why."""

    rule: Rule
    words: str = ""
    fault: Finding | None = None
    remarks: tuple[Remark, ...] = ()

    @property
    def verdict(self) -> str:
        if self.fault or any(remark.broken for remark in self.remarks):
            return "broken"
        return "undecided" if self.remarks and self.remarks[0].kind == "undecided" else "sound"


def rules_of_text(uplink: Sequence[str], downlink: Sequence[str]) -> tuple[Rule, ...]:
    """Rules of the command line, named by their numbers; without any for downlink the others have no direction."""
    ways: list[tuple[Direction, str]] = [("uplink", text) for text in uplink] + [
        ("downlink", text) for text in downlink
    ]
    return tuple(Rule(str(number), direction, text) for number, (direction, text) in enumerate(ways, 1))


def request_of_package(path: Path, profile: Profile) -> RuleRequest:
    """The rules of an OVA or of a descriptor alone (.ovf). Raises UsageError where there are none to speak of."""
    require_file(path, "package or descriptor")
    described = _descriptor(path, profile)
    application = described.application if described else None
    if described is None or application is None:
        raise UsageError(f"{path}: no descriptor that says what the app is; ./racs check says what is wrong with it")
    if application.type == "terminating":
        raise UsageError(f"{path}: the app is terminating, so it has no offload rules")
    faults = tuple(fault.finding for fault in described.faults if fault.requirement in ("DSC-005", "PKG-015"))
    return RuleRequest(application.rules, profile, True, faults)


def _descriptor(path: Path, profile: Profile) -> "Descriptor | None":
    from conformance.package import descriptor, open_package  # lxml: not for rules of the command line

    if path.suffix != ".ovf":
        return open_package(path, profile).descriptor
    with path.open("rb") as file:  # one byte more than it may have: the reader tells
        return descriptor.read(file.read(profile["package.xml_bytes_max"] + 1), profile)


def run_rule(expressions: Sequence[str], options: Mapping[str, Any]) -> int:
    """The command; options are those of the command line by name. Raises UsageError."""
    profile = load_profile(options["profile"])
    downlink, ova = options["downlink"], options["ova"]
    if bool(expressions or downlink) == bool(ova):
        raise UsageError("give rules, as 'proto==TCP && dst_port==80' in quotes, or --ova with a package that has some")
    if options["everything"] and not options["packet"]:
        raise UsageError("--all is for packets: give --packet FILE too")
    if options["json_file"] not in (None, "-"):
        require_writable(Path(options["json_file"]), "--json")
    if ova:
        request = request_of_package(ova, profile)
    else:
        request = RuleRequest(rules_of_text(expressions, downlink), profile, bool(downlink))
    if options["packet"] and str(options["packet"]) != "-":
        require_file(options["packet"], "capture")
    chosen = {"packets": options["packet"], "everything": options["everything"], "json_file": options["json_file"]}
    return explain_rules(replace(request, **chosen))


def explain_rules(request: RuleRequest) -> int:
    """Print it all (or JSON); 0 when all rules are sound, 1 when one is broken, 6 when one cannot be seen through.

    Raises UsageError on a capture that is none.
    """
    accounts = [_account(rule, request.profile) for rule in request.rules]
    readable = [account.rule for account in accounts if not account.fault]
    sound = [account.rule for account in accounts if account.verdict != "broken"]
    whole = judge_together(sound) if request.directed else ()
    together = (*whole, *_relations(sound, request, complete=len(sound) == len(accounts)))
    quiet = request.json_file == "-"
    if not quiet:
        show("\n".join(_text(accounts, together, request)), sys.stdout)
    packets = _read_packets(readable, request) if request.packets and readable else None
    if request.json_file:
        told = packets.record if packets else None
        _write_json(_record(accounts, together, told, request.directed), request.json_file)
    verdicts = {account.verdict for account in accounts} | {"broken" if one.broken else "undecided" for one in whole}
    if "broken" in verdicts or request.faults:
        return ExitStatus.FAIL
    return ExitStatus.INCONCLUSIVE if "undecided" in verdicts else ExitStatus.PASS


def _account(rule: Rule, profile: Profile) -> _Account:
    try:
        words = describe(parse(rule.text, profile["package.rule_characters_max"], profile["package.rule_depth_max"]))
        judged = judge_rule(rule.text)
    except SubjectError as error:
        remedy = error.remedy or "correct the rule; the language is in contract 6"
        return _Account(rule, fault=Finding(error.expected, error.seen, error.where, remedy))
    return _Account(rule, words, remarks=judged or review_rule(rule.text))


def _relations(rules: Sequence[Rule], request: RuleRequest, complete: bool) -> tuple[Remark, ...]:
    """What is suspicious of rules together; answers are looked for where no rule is missing among them."""
    found = review_overlaps(rules)
    if request.directed and complete and not request.faults and comparable(rules):
        found += review_symmetry(rules, users(request.profile))
    return found


def _read_packets(rules: Sequence[Rule], request: RuleRequest) -> PacketReport:
    told = PacketReport(
        everything=request.everything,
        names=len(request.rules) > 1,
        printing=request.json_file != "-",
        keeping=request.json_file is not None,
    )
    if request.packets:
        told.read(request.packets, rules, users(request.profile) if request.directed else None)
    return told


def _text(accounts: Sequence[_Account], together: Sequence[Remark], request: RuleRequest) -> Iterator[str]:
    for account in accounts:
        rule = account.rule
        if len(accounts) > 1 or request.directed:
            yield f"rule {rule.name}{' ' + rule.direction if request.directed else ''}"
        yield f"  {' '.join(rule.text.split())}"
        if account.fault:
            yield from _block(account.fault)
        else:
            yield f"  selects   {account.words}"
            if not request.directed:
                yield f"  answers   {' '.join(mirrored_text(rule.text).split())}"
            yield from (line for remark in account.remarks for line in _block(_finding(remark)))
        yield f"  {account.verdict}\n"
    for remark in together:
        yield from _block(_finding(remark))
    for fault in request.faults:
        yield from _block(fault)
    counts = Counter(account.verdict for account in accounts)
    counts["broken"] += len(request.faults) + sum(remark.broken for remark in together)
    told = ", ".join(f"{number} {verdict}" for verdict, number in sorted(counts.items()) if number)
    kinds = [one.kind for one in together if not one.broken]
    kinds += [one.kind for account in accounts for one in account.remarks if not one.broken]
    remarks = sum(kind != "undecided" for kind in kinds)
    yield f"{told or 'no rule'}" + (f"; {counted(remarks, 'remark')}" if remarks else "")


def _finding(remark: Remark) -> Finding:
    return Finding(remark.expected, remark.seen, remark.where, remark.remedy)


def _block(finding: Finding) -> Iterator[str]:
    rows = (("expected", finding.expected), ("seen", finding.seen), ("where", finding.where), ("mend", finding.remedy))
    yield ""
    for name, text in rows:
        first, *more = text.split("\n")
        yield f"    {name:<9} {first}"
        yield from (f"{'':12}{line}" for line in more)
    yield ""


def _record(
    accounts: Sequence[_Account], together: Sequence[Remark], packets: dict[str, Any] | None, directed: bool
) -> dict[str, Any]:
    rules = [
        {
            **asdict(account.rule),
            "direction": account.rule.direction if directed else None,
            "verdict": account.verdict,
            "words": account.words,
            "fault": asdict(account.fault) if account.fault else None,
            "remarks": [_remark_record(remark) for remark in account.remarks],
        }
        for account in accounts
    ]
    return {
        "format": _FORMAT,
        "rules": rules,
        "together": [_remark_record(one) for one in together],
        "packets": packets,
    }


def _remark_record(remark: Remark) -> dict[str, Any]:
    packet = asdict(remark.packet) if remark.packet else None
    if packet:
        packet |= {"src_ip": str(packet["src_ip"]), "dst_ip": str(packet["dst_ip"])}
    return {**asdict(remark), "packet": packet, "broken": remark.broken}


def _write_json(record: dict[str, Any], target: str) -> None:
    text = json.dumps(record, indent=1, ensure_ascii=False)
    if target == "-":
        show(text, sys.stdout)
        return
    try:
        Path(target).write_text(text + "\n", encoding="utf-8")
    except OSError as error:
        raise UsageError(f"--json {target}: {error.strerror}; give a file that can be written") from error
