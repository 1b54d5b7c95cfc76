"""`racs inspect`: what is in a package, as a tree in plain text or as JSON. It judges nothing: that is `racs check`."""

import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from conformance.application import Application
from conformance.errors import UsageError
from conformance.package import open_package
from conformance.profile import DEFAULT
from conformance.profile import load as load_profile
from harness.options import require_file
from harness.package.facts import CertificateFacts, ImageFacts, PackageFacts, gather
from harness.screen import show

_UNREADABLE = 1  # exit status
_DEFECTS_SHOWN = 12
_GIB, _MIB, _KIB = 2**30, 2**20, 2**10


@dataclass(frozen=True, slots=True)
class _Node:
    """A line of the tree and what hangs on it; wrong lines are red on a terminal."""

    text: str
    branches: "Sequence[_Node]" = ()
    wrong: bool = False


def inspect_package(ova: Path, json_file: str | None) -> int:
    """Print the tree, or the JSON; 1 where not even one file of the archive can be read."""
    require_file(ova, "package")
    found = gather(open_package(ova, load_profile(DEFAULT)), datetime.now(UTC))
    if json_file != "-":
        show("\n".join(_lines(_tree(found), sys.stdout.isatty())), sys.stdout)
    else:
        show(found.to_json().rstrip(), sys.stdout)
    if json_file and json_file != "-":
        try:
            Path(json_file).write_text(found.to_json(), encoding="utf-8")
        except OSError as error:
            raise UsageError(f"--json {json_file}: {error.strerror}; give a file that can be written") from error
    return 0 if found.members else _UNREADABLE


def _lines(node: _Node, colour: bool, prefix: str = "") -> Iterator[str]:
    """The tree's lines. What a package says goes to terminals: it may not hold control characters."""
    plain = "".join(character if character.isprintable() else "\N{REPLACEMENT CHARACTER}" for character in node.text)
    yield f"\x1b[31m{plain}\x1b[0m" if colour and node.wrong else plain
    for branch in node.branches:
        last = branch is node.branches[-1]
        first, *rest = _lines(branch, colour)
        yield f"{prefix}{'└─ ' if last else '├─ '}{first}"
        yield from (f"{prefix}{'   ' if last else '│  '}{line}" for line in rest)


def _tree(found: PackageFacts) -> _Node:
    parts = [_members(found), _signature(found)]
    if found.application is None:
        parts.append(_Node("application: the descriptor does not say what it is", wrong=True))
    else:
        parts += _application(found.application, found)
    parts.append(_image(found.image) if found.image else _Node("image: none that can be told", wrong=True))
    if found.defects:
        shown = [
            _Node(f"{defect.requirement} {defect.where}: expected {defect.expected}, saw {defect.seen}", wrong=True)
            for defect in found.defects[:_DEFECTS_SHOWN]
        ]
        if len(found.defects) > _DEFECTS_SHOWN:
            shown.append(_Node(f"and {len(found.defects) - _DEFECTS_SHOWN} more", wrong=True))
        parts.append(_Node("what is wrong with it; `racs check` says how to mend it", shown, wrong=True))
    return _Node(f"{found.file}  {_amount(found.size)}  SHA-256 {found.sha256}", parts)


def _members(found: PackageFacts) -> _Node:
    words = {
        "matches": "as the manifest has it",
        "differs": "NOT as the manifest has it",
        "not listed": "NOT in the manifest",
        "apart": "",
    }
    rows = [
        _Node(
            f"{member.name}  {_amount(member.size)} at byte {member.offset}  {words[member.manifest]}".rstrip(),
            wrong=member.manifest in ("differs", "not listed"),
        )
        for member in found.members
    ]
    rows += [_Node(f"{name}  listed in the manifest, NOT in the archive", wrong=True) for name in found.absent]
    if found.stopped:
        rows.append(_Node("here the archive cannot be read any further", wrong=True))
    return _Node(f"files ({len(found.members)})", rows)


def _signature(found: PackageFacts) -> _Node:
    wrong = not found.signature.startswith("verifies")
    return _Node(f"signature {found.signature}", [_certificate(one) for one in found.certificates], wrong)


def _certificate(facts: CertificateFacts) -> _Node:
    left = f"{facts.days_left} days left" if facts.days_left >= 0 else "EXPIRED"
    self_signed = facts.subject == facts.issuer
    rows = [
        _Node("signed by itself" if self_signed else f"issued by {facts.issuer}"),
        _Node(f"valid {facts.begin[:10]} to {facts.end[:10]}, {left}", wrong=facts.days_left < 0),
        _Node(f"key: {facts.key}"),
    ]
    if facts.rd:
        rows.append(_Node("R&D, not for deployment"))
    if not facts.needed:
        rows.append(_Node("the chain does not need it"))
    return _Node(facts.subject or "a certificate without subject", rows)


def _application(app: Application, found: PackageFacts) -> Iterator[_Node]:
    rows = [
        _Node(
            f"machine: {app.cpus} CPU, {app.memory_mib} MiB of memory, NICs on {', '.join(app.nics) or 'no network'}"
        ),
        _Node(f"heartbeat every {app.heartbeat_interval_s:g} s"),
    ]
    for endpoint in app.endpoints:
        services = ", ".join(
            f"{one.protocol}/{one.port}{' with a probe' if one.probe_send else ''}" for one in endpoint.services
        )
        rows.append(_Node(f"answers at {endpoint.fqdn}: {services}"))
    rows += [
        _Node(f"port {one.from_port} of the platform ({one.protocol}) leads to port {one.to_port}")
        for one in app.forwards
    ]
    rows += [_Node(f"firewall admits {one.protocol}/{one.port} on {one.network}") for one in app.allows]
    rows += [_Node(f"storage {one.path}: {_amount(one.capacity_bytes)}") for one in app.mounts]
    rows += [_Node(f"supports the drill {drill}") for drill in app.drills]
    rows += [
        _Node(f"feature {one.id}: {one.name} ({one.sales_item}), {'on' if one.default_on else 'off'} at first")
        for one in app.features
    ]
    rows += [_Node(f"property {key} = {value}") for key, value in app.properties.items()]
    yield _Node(f"{app.type} app {app.id}: {app.product} {app.version} by {app.vendor}", rows)
    if app.rules:
        yield _Node("traffic that passes through it", list(_rules(app, found)))
    if app.acl is None:
        yield _Node("message bus: it does not use it")
    elif found.permissions is None:
        yield _Node("message bus: auth/acl.xml is not there, or cannot be read", wrong=True)
    else:
        yield _Node("message bus", [_Node(words) for words in found.permissions] or [_Node("it may do nothing there")])


def _rules(app: Application, found: PackageFacts) -> Iterator[_Node]:
    payloads = {effect.name: effect.payload for effect in app.effects}
    for rule in found.rules:
        unread = _Node("a rule that cannot be read", wrong=True)
        words = _Node(rule.words) if rule.words else unread
        head = f"{rule.name}, {rule.direction}: the app {payloads.get(rule.name, 'preserves')} the payload"
        yield _Node(head, [words, _Node(rule.text)])


def _image(image: ImageFacts) -> _Node:
    if not image.version:
        return _Node(f"image {image.name}: {_amount(image.size)}, no qcow2 header that can be read", wrong=True)
    rows = [
        _Node(f"virtual size {_amount(image.virtual_size)}"),
        _Node(
            f"clusters of {_amount(image.cluster_size)}, {image.compression}, refcounts of {image.refcount_bits} bits"
        ),
    ]
    odd = {
        "a backing file": image.backing_file, "encryption": image.encrypted, "the dirty bit": image.dirty,
        f"{image.snapshots} snapshots": bool(image.snapshots),
    }  # fmt: skip
    rows += [_Node(f"has {what}", wrong=True) for what, there in odd.items() if there]
    return _Node(f"image {image.name}: qcow2 version {image.version}, {_amount(image.size)}", rows)


def _amount(size: int) -> str:
    """Bytes for people: the exact number where it is small, else in the unit that fits."""
    for unit, name in ((_GIB, "GiB"), (_MIB, "MiB"), (_KIB, "KiB")):
        if size >= unit:
            return f"{size / unit:.4g} {name}"
    return f"{size} bytes"
