"""DSC-005 and DSC-006: what the offload rules of a transparent app select, known without a packet."""

from ipaddress import IPv4Network, ip_network

from conformance.application import Application, Direction
from conformance.profile import Profile
from conformance.rules import language
from conformance.rules.analysis import Budget, Fields, Undecided, can_match, matches_everything, satisfying_packet
from conformance.rules.expression import And, Comparison, Expression, Membership, Not, Or, fields, mirrored
from conformance.verdict import Finding, Outcome, counted, failed, inconclusive, not_judged, passed

_OF_A_PACKET = {"dscp", "length"}  # an answer's are its own: they do not tell which flow it belongs to
_DIRECTIONS: tuple[Direction, Direction] = ("uplink", "downlink")
_INTRICATE = "the rules are too intricate to be told what they select: use fewer comparisons, or ranges and sets"
_IPV4 = Comparison("ip_version", "==", 4)


def judge_selection(application: Application, profile: Profile) -> Outcome:
    """DSC-005 for rules that parse: each can select some IPv4 packet, and together they do not select all."""
    rules = language.read_rules(application.rules)
    findings, budget = list[Finding](), Budget()
    try:
        for rule in rules:
            where = f"descriptor, rule {rule.name!r} {rule.direction}"
            if not can_match(rule.expression, 4, budget):
                only = can_match(rule.expression, 6, budget)
                seen = "one that selects IPv6 packets only" if only else "one that no packet can satisfy"
                remedy = "apps of this profile are IPv4" if only else "correct the condition, or delete the rule"
                findings.append(Finding("a rule that selects some IPv4 packets", seen, where, remedy))
        for direction in _DIRECTIONS:
            whole = _union(application, direction)
            if matches_everything(whole, 4, budget):
                expected, where = "rules that leave some traffic alone", f"descriptor, rules for {direction}"
                remedy = "select only the traffic that the app is for"
                findings.append(Finding(expected, "all IPv4 packets selected", where, remedy))
    except Undecided:
        return failed(findings) if findings else inconclusive(_INTRICATE)
    return (
        failed(findings)
        if findings
        else passed(f"{counted(len(rules), 'rule')}, each with packets to select, none for all")
    )


def judge_symmetry(application: Application, profile: Profile) -> Outcome:
    """DSC-006: the answer to a selected packet is selected too, either way, for flows between a UE and any server."""
    if any(_OF_A_PACKET & fields(rule.expression) for rule in language.read_rules(application.rules)):
        return not_judged("a rule looks at dscp or length, which an answer need not share with its question")
    budget = Budget()
    uplink, downlink = (_union(application, direction) for direction in _DIRECTIONS)
    try:
        findings = [
            finding
            for direction, selected, answers in (("uplink", uplink, downlink), ("downlink", downlink, uplink))
            if (finding := _unanswered(direction, selected, answers, profile, budget))
        ]
    except Undecided:
        return inconclusive(_INTRICATE)
    return failed(findings) if findings else passed("the answer to every selected packet is selected too")


def _union(application: Application, direction: Direction) -> Expression:
    return Or(tuple(language.parse(rule.text) for rule in application.rules if rule.direction == direction))


def _unanswered(
    direction: str, selected: Expression, answers: Expression, profile: Profile, budget: Budget
) -> Finding | None:
    """A packet of a UE's flow that is selected while its answer is not."""
    users = tuple(net for text in profile["network.ues"] if isinstance(net := ip_network(text), IPv4Network))
    user = Membership("src_ip" if direction == "uplink" else "dst_ip", users)
    found = satisfying_packet(And((_IPV4, user, selected, Not(mirrored(answers)))), budget=budget)
    if found is None:
        return None
    other = "downlink" if direction == "uplink" else "uplink"
    remedy = f"add its mirror image (addresses and ports exchanged) to the rules for {other}"
    where = f"descriptor, rules for {other}"
    seen = f"{_describe(found)} is selected for {direction}, its answer is not"
    return Finding("the answers to selected packets selected too", seen, where, remedy)


def _describe(packet: Fields) -> str:
    ends = ((packet.src_ip, packet.src_port), (packet.dst_ip, packet.dst_port))
    source, target = (str(address) if port is None else f"{address}:{port}" for address, port in ends)
    return f"a packet of protocol {packet.proto} from {source} to {target}"
