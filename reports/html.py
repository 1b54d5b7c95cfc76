"""report.html: one file without a reference to anything outside it, for the auditor who opens it a year later."""

from collections import Counter
from collections.abc import Sequence

from jinja2 import Environment, PackageLoader, StrictUndefined

from conformance.certification import Certification, Judgement
from conformance.verdict import Verdict

FAMILIES = {
    "PKG": "Package",
    "DSC": "Descriptor",
    "IMG": "Image",
    "RES": "Resources",
    "LIF": "Lifecycle",
    "HBT": "Heartbeat",
    "NTP": "Time",
    "BUS": "Message bus",
    "OFT": "Traffic offload, transparent",
    "OTT": "Traffic offload, terminating",
    "FWD": "Port forwarding and firewall",
    "AFM": "Features",
}

_HEADLINES = {"error": "error in the suite", "interrupted": "interrupted, not judged to the end"}
_ORDER = ("fail", "warning", "inconclusive", "pass", "not applicable", "not judged")


def render(certification: Certification) -> bytes:
    """The report as UTF-8 HTML; all that comes from the app or the package is escaped."""
    environment = Environment(
        loader=PackageLoader("reports"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    in_force = [j for j in certification.judgements if j.in_force]
    failed = [j for j in in_force if j.verdict is Verdict.FAIL and j.in_scope]
    families = [
        (title, [j for j in in_force if j.id.startswith(prefix) and j.in_scope]) for prefix, title in FAMILIES.items()
    ]
    text = environment.get_template("report.html").render(
        c=certification,
        certified=certification.certified,
        families=[(title, judgements) for title, judgements in families if judgements],
        failed=[j for j in failed if j.level == "MUST" and j.subject == "app"],
        broken=[j for j in failed if j.subject == "platform"],
        warnings=[j for j in failed if j.level == "SHOULD" and j.subject == "app"],
        open_ones=[j for j in in_force if j.gates and j.verdict in (Verdict.INCONCLUSIVE, Verdict.NOT_JUDGED)],
        in_force=in_force,
        out_of_scope=[j for j in in_force if not j.in_scope],
        drafts=[j for j in certification.judgements if not j.in_force],
        at=certification.at.replace("T", " ").replace("+00:00", " UTC"),
        headline=_HEADLINES.get(certification.verdict, certification.verdict),
        counts=_count([j for j in in_force if j.in_scope]),
        begin=min((step.begin for step in certification.steps), default=0.0),
    )
    return text.encode()


def _count(judgements: Sequence[Judgement]) -> list[tuple[str, int]]:
    """How many there are of each verdict, what a reader has to see first coming first; a failed SHOULD is a warning."""
    counts = Counter(
        "warning" if j.verdict is Verdict.FAIL and j.level == "SHOULD" else str(j.verdict) for j in judgements
    )
    return [(verdict, counts[verdict]) for verdict in _ORDER if verdict in counts]
