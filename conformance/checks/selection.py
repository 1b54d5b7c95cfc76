"""DSC-005 and DSC-006: what the offload rules of a transparent app select, known without a packet."""

from ipaddress import IPv4Network, ip_network

from conformance.application import Application, Direction
from conformance.profile import Profile
from conformance.rules import language
from conformance.rules.analysis import Fields, Undecided, can_match, matches_everything, satisfying_packet
from conformance.rules.expression import And, Comparison, Expression, Membership, Not, Or, fields
from conformance.verdict import Finding, Outcome, failed, not_judged, passed

_SWAPPED = {"src_ip": "dst_ip", "dst_ip": "src_ip", "src_port": "dst_port", "dst_port": "src_port"}
_OF_A_PACKET = {"dscp", "length"}  # an answer's are its own: they do not tell which flow it belongs to
_DIRECTIONS: tuple[Direction, Direction] = ("uplink", "downlink")
_IPV4 = Comparison("ip_version", "==", 4)


def judge_selection(application: Application, profile: Profile) -> Outcome:
    """DSC-005 for rules that parse: each can select some IPv4 packet, and together they do not select all."""
    rules = language.read_rules(application.rules)
    findings: list[Finding] = []
    try:
        for rule in rules:
            where = f"descriptor, rule {rule.name!r} {rule.direction}"
            if not can_match(rule.expression, 4):
                only = can_match(rule.expression, 6)
                seen = "one that selects IPv6 packets only" if only else "one that no packet can satisfy"
                remedy = "apps of this profile are IPv4" if only else "correct the condition, or delete the rule"
                findings.append(Finding("a rule that selects some IPv4 packets", seen, where, remedy))
        for direction in _DIRECTIONS:
            whole = _union(application, direction)
            if matches_everything(whole, 4):
                expected, where = "rules that leave some traffic alone", f"descriptor, rules for {direction}"
                remedy = "select only the traffic that the app is for"
                findings.append(Finding(expected, "all IPv4 packets selected", where, remedy))
    except Undecided:
        return failed(findings) if findings else not_judged("the rules are too intricate to be analysed: simplify them")
    return failed(findings) if findings else passed(f"{len(rules)} rules, each with packets to select, none for all")


def judge_symmetry(application: Application, profile: Profile) -> Outcome:
    """DSC-006: the answer to a selected packet is selected too, either way, for flows between a UE and any server."""
    if any(_OF_A_PACKET & fields(rule.expression) for rule in language.read_rules(application.rules)):
        return not_judged("a rule looks at dscp or length, which an answer need not share with its question")
    uplink, downlink = (_union(application, direction) for direction in _DIRECTIONS)
    try:
        findings = [
            finding
            for direction, selected, answers in (("uplink", uplink, downlink), ("downlink", downlink, uplink))
            if (finding := _unanswered(direction, selected, answers, profile))
        ]
    except Undecided:
        return not_judged("the rules are too intricate to be analysed: simplify them")
    return failed(findings) if findings else passed("the answer to every selected packet is selected too")


def _union(application: Application, direction: Direction) -> Expression:
    return Or(tuple(language.parse(rule.text) for rule in application.rules if rule.direction == direction))


def _unanswered(direction: str, selected: Expression, answers: Expression, profile: Profile) -> Finding | None:
    """A packet of a UE's flow that is selected while its answer is not."""
    users = tuple(net for text in profile["network.ues"] if isinstance(net := ip_network(text), IPv4Network))
    user = Membership("src_ip" if direction == "uplink" else "dst_ip", users)
    found = satisfying_packet(And((_IPV4, user, selected, Not(_swap(answers)))))
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


def _swap(expression: Expression) -> Expression:
    """What the expression says of a packet, said of its answer."""
    match expression:
        case Comparison(field, operator, value):
            return Comparison(_SWAPPED.get(field, field), operator, value)
        case Membership(field, choices):
            return Membership(_SWAPPED.get(field, field), choices)
        case Not(operand):
            return Not(_swap(operand))
        case And(operands):
            return And(tuple(_swap(one) for one in operands))
        case Or(operands):
            return Or(tuple(_swap(one) for one in operands))
