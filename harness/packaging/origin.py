"""What is wrong with a package, told against the app.toml that it was written from: its line and key, and what to write
there. Who has an app.toml has never seen the descriptor."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from conformance.application import Application, Direction
from conformance.package.acl import filter_defect
from conformance.rules.language import mirrored_text
from conformance.verdict import Finding
from harness.packaging.appfile import DIRECTIONS, AppFile
from harness.packaging.tomlfile import shown
from harness.packaging.tomlplaces import Keys

# A place in what was written (`document.place`) and what is said of it further, and the steps of its XPath.
_WRITTEN = re.compile(r"(?:descriptor|auth/acl\.xml), (/\S+) \([^()]*\)(.*)", re.DOTALL)
_STEP = re.compile(r"/(?:\w+:)?(\w+)(?:\[(\d+)\])?")
_DOCUMENT = re.compile(r"(descriptor|auth/acl\.xml)(, .*)?")
_TEXT_MAX = 4096
_EXAMPLES = {"uplink": "proto == TCP && dst_port == 80", "downlink": "proto == TCP && src_port == 80"}
_DEFAULT = "its default is the most that an app may have"


@dataclass(frozen=True, slots=True)
class _Wording:
    """How a finding whose expected begins with mark is told: at key if there is one, else where it comes from, or below
    that. What is "" stays as it is. seen may name {key} and {value}, what stands there; remedy {value} and {id}, the
    app's."""

    requirement: str
    mark: str
    key: Keys = ()
    below: str = ""
    expected: str = ""
    seen: str = ""
    remedy: str = ""


_WORDINGS = (
    _Wording("DSC-002", "Offload in", ("offload",), expected="[offload] in transparent apps only",
             remedy='delete the table, or write type = "transparent" in [app]'),
    _Wording("DSC-002", "Endpoint in", ("endpoint",), expected="[endpoint] in terminating apps only",
             remedy='delete the table, or write type = "terminating" in [app]'),
    _Wording("DSC-002", "no declared Property", expected="no key that begins with racs."),
    _Wording("DSC-003", "a Version", ("app", "version"), seen="{value}",
             remedy='write "1", "1.2", "1.2.3" or "1.2.3.4", with a suffix such as -rc1 if you need one'),
    _Wording("DSC-004", "NICs of a terminating app", ("app", "user_plane_nics"), seen="{value}",
             expected="1: a terminating app has one NIC toward its users", remedy="write 1, or delete the key"),
    _Wording("DSC-005", "one Effect", expected="payload beside a rule", remedy="add uplink and downlink, or delete it"),
    _Wording("DSC-007", "at least one Endpoint", ("endpoint",), expected="a name under which users find the app",
             remedy='add [endpoint."{id}.apps.example"] with its services, such as services = ["udp/7", "tcp/7"]'),
    _Wording("DSC-007", "at least one Service", below="services", expected="at least one service",
             remedy='write the ports on which users reach the app, such as services = ["udp/7", "tcp/7"]'),
    _Wording("DSC-007", "a Probe for UDP", expected="a probe for UDP on other ports than 7, 53 and 123",
             remedy='write {{ on = {value}, send = "70696e67", expect = "706f6e67" }}, with the bytes '
                    "to send in hex, and those with which the answer begins"),
    _Wording("DSC-008", "", seen="{key}", remedy="give it another port of that range as key"),
    _Wording("DSC-009", "a Mount with", ("storage",), expected='"/" beside the others', remedy='add "/" = "1 GiB"'),
    _Wording("DSC-009", "mounts that fit", ("storage",),
             remedy="ask for less, or write a larger disk_mib in [image] and build the image anew"),
    _Wording("DSC-010", "a feature id", expected="an id of 1 to 64 characters, a letter first"),
    _Wording("DSC-010", "a salesItem", below="sales_item", seen="{value}", expected="1 to 64 printable characters"),
    _Wording("RES-001", "", ("app", "cpus"), seen="{value}", remedy=f"delete the key: {_DEFAULT}"),
    _Wording("RES-002", "", ("app", "memory_mib"), seen="{value}", remedy=f"write less, or delete the key: {_DEFAULT}"),
    _Wording("RES-003", "", ("image", "disk_mib"),
             remedy="make the disk smaller: by disk_mib, where `racs build-app` makes the image"),
)  # fmt: skip


def retell(requirement: str, finding: Finding, app: AppFile) -> Finding:
    """A finding against what was written from an app file, as one against the file; as it is where it is of neither."""
    if requirement.startswith("IMG-"):
        return _retell_content(requirement, finding, app)
    written = _WRITTEN.fullmatch(finding.where)
    if written is None:
        return _retell_whole(finding, app)
    if requirement == "DSC-005" and finding.expected.startswith("a rule for"):
        return _retell_missing_rule(finding, app)
    keys = _origin(written[1], app)
    if requirement == "PKG-013":
        return _retell_grant(finding, keys, app)
    told = _reword(requirement, finding, keys, app)
    return replace(told, where=f"{told.where}{written[2]}")


def _reword(requirement: str, finding: Finding, keys: Keys, app: AppFile) -> Finding:
    source = app.source
    remedy = finding.remedy.replace(" (in a descriptor &amp;&amp;)", "")
    for wording in _WORDINGS:
        if wording.requirement != requirement or not finding.expected.startswith(wording.mark):
            continue
        keys = wording.key or (*keys, *([wording.below] if wording.below else []))
        value = source.value(keys)
        return replace(
            finding,
            expected=wording.expected or finding.expected,
            seen=wording.seen.format(key=shown(keys[-1]), value=shown(value)) or finding.seen,
            where=source.place(keys),
            remedy=wording.remedy.format(value=shown(value), id=app.application.id) or remedy,
        )
    return replace(finding, where=source.place(keys), remedy=remedy)


def _origin(path: str, app: AppFile) -> Keys:
    """The keys that became the element of this XPath, or what it stands in."""
    steps = {name: int(number or 1) - 1 for name, number in _STEP.findall(path)}
    find = _ORIGINS.get(list(steps)[-1])
    return find(app.application, steps) if find else ("app",)


def _grant(declared: Application, steps: Mapping[str, int]) -> Keys:
    """Subscriptions were written first."""
    granted = declared.acl or ()
    at = steps["allow"]
    before = sum(one.access == granted[at].access for one in granted[:at])
    return ("bus", granted[at].access, before + 1)


# The last step of an XPath, and the keys that became it: an application has its parts in the order of the file.
_ORIGINS: Mapping[str, Callable[[Application, Mapping[str, int]], Keys]] = {
    "Offload": lambda app, at: ("offload",),
    "Rule": lambda app, at: ("offload", app.rules[at["Rule"]].name, app.rules[at["Rule"]].direction),
    "Effect": lambda app, at: ("offload", app.effects[at["Effect"]].name, "payload"),
    "Endpoint": lambda app, at: ("endpoint", app.endpoints[at["Endpoint"]].fqdn),
    "Service": lambda app, at: ("endpoint", app.endpoints[at["Endpoint"]].fqdn, "services", at["Service"] + 1),
    "Forward": lambda app, at: (
        "forward", f"{app.forwards[at['Forward']].protocol}/{app.forwards[at['Forward']].from_port}",
    ),
    "Mount": lambda app, at: ("storage", app.mounts[at["Mount"]].path),
    "Feature": lambda app, at: ("features", app.features[at["Feature"]].id),
    "Property": lambda app, at: ("properties", list(app.properties)[at["Property"]]),
    "allow": _grant,
}  # fmt: skip


def _retell_whole(finding: Finding, app: AppFile) -> Finding:
    """What is said of a rule by its name, of all rules, or of a whole document."""
    source, where = app.source, finding.where
    for rule in app.application.rules:
        beginning = f"descriptor, rule {rule.name!r} {rule.direction}, "
        if where.startswith(beginning):
            place = source.place(("offload", rule.name, rule.direction))
            return replace(finding, where=f"{place}, {where.removeprefix(beginning)}")
    if where.startswith("descriptor, rules for "):
        return replace(finding, where=f"{source.place(('offload',))}, {where.removeprefix('descriptor, ')}")
    document = _DOCUMENT.fullmatch(where)
    if document is None:
        return finding
    return replace(finding, where=f"the {document[1]} written from {source.path}", remedy="declare less there")


def _retell_missing_rule(finding: Finding, app: AppFile) -> Finding:
    """DSC-005: where a table has a rule for the other direction, its mirror image is what selects the answers."""
    direction: Direction = "downlink" if finding.expected.endswith("downlink") else "uplink"
    other: Direction = DIRECTIONS[1 - DIRECTIONS.index(direction)]
    for rule in app.application.rules:
        if rule.direction == other:
            remedy = f"write the mirror image of {other}: {direction} = {shown(mirrored_text(rule.text), _TEXT_MAX)}"
            return replace(finding, where=app.source.place(("offload", rule.name, direction)), remedy=remedy)
    name = next(iter(app.source.values.get("offload", ())), "web")
    remedy = f"write what the app is for into [offload.{name}], such as {direction} = {shown(_EXAMPLES[direction])}"
    return replace(finding, where=app.source.place(("offload",)), remedy=remedy)


def _retell_grant(finding: Finding, keys: Keys, app: AppFile) -> Finding:
    """PKG-013: a topic of another app's was probably meant as the app's own."""
    identity = app.application.id
    told = replace(finding, where=app.source.place(keys))
    topic = str(app.source.value(keys))
    own = re.fullmatch(r"((?:racs/)?app)/[^/+#]+/(.+)" if keys[1] == "subscribe" else r"(app)/[^/+#]+/(.+)", topic)
    if filter_defect(topic):
        return told
    if own:
        return replace(
            told, remedy=f"write {shown(f'{own[1]}/{identity}/{own[2]}')}: {shown(identity)} is the app's id"
        )
    return replace(told, remedy=f"write a topic that begins with app/{identity}/") if keys[1] == "publish" else told


def _retell_content(requirement: str, finding: Finding, app: AppFile) -> Finding:
    """IMG: a file of the image that [files] puts there is told with its line."""
    for name in app.source.values.get("files", ()):
        if re.search(rf"(?<![^ ,:]){re.escape(name)}(?![^ ,:])", finding.where):
            where = f"{app.source.place(('files', name))}, in the image {finding.where}"
            remedy = "leave the file out of [files], and build the image anew"
            remedy += (
                "; make the secret invalid: whoever had it in a package knows it" if requirement == "IMG-002" else ""
            )
            return replace(finding, where=where, remedy=remedy)
    return finding
