"""`racs inspect`: what is in a package, as a tree in plain text or as JSON. It judges nothing: that is `racs check`."""

import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from conformance.application import Application
from conformance.exitstatus import ExitStatus
from conformance.package import open_package
from conformance.profile import DEFAULT
from conformance.profile import load as load_profile
from harness.display import write_json
from harness.inspection.look import look_inside
from harness.options import require_file
from harness.package.checking import prepare_json, unchanged
from harness.package.facts import CertificateFacts, Defect, ImageFacts, PackageFacts, gather
from harness.package.inside import inside_branch
from harness.package.tree import Node, align, amount, draw
from harness.screen import show

_DEFECTS_SHOWN = 12


def inspect_package(ova: Path, json_file: str | None, image: bool) -> ExitStatus:
    """Print the tree, or the JSON; FAIL where not even one file of the archive can be read. image says whether to look
    into it. Raises UsageError, and OSError where the package cannot be read or the JSON not be written."""
    require_file(ova, "package")
    prepare_json(json_file)
    profile = load_profile(DEFAULT)
    with unchanged(ova):
        package = open_package(ova, profile)
        if image:
            package = look_inside(package, profile)
    found = gather(package, datetime.now(UTC), image)
    if json_file != "-":
        show(draw(_tree(found), sys.stdout), sys.stdout)
    if json_file:
        write_json(found.to_json(), json_file)
    return ExitStatus.PASS if found.members else ExitStatus.FAIL


def _tree(found: PackageFacts) -> Node:
    parts = [
        Node(f"SHA-256 {found.sha256 or 'not taken: a file in it is too long to be read'}"),
        _members(found),
        _signature(found),
    ]
    if found.application is None:
        parts.append(Node("application: the descriptor does not say what it is", wrong=True))
    else:
        parts += _application(found.application, found)
    if found.image is None:
        parts.append(Node("image: none that can be told", wrong=True))
    else:
        parts += [_image(found.image), inside_branch(found.inside)]
    if found.defects:
        shown = [_defect(one) for one in found.defects[:_DEFECTS_SHOWN]]
        if len(found.defects) > _DEFECTS_SHOWN:
            shown.append(Node(f"and {len(found.defects) - _DEFECTS_SHOWN} more", wrong=True))
        parts.append(Node("what is wrong with it; `racs check` says how to mend it", shown, wrong=True))
    return Node(f"{found.file}  {amount(found.size)}", parts)


def _defect(defect: Defect) -> Node:
    rows = [Node(f"expected {defect.expected}"), Node(f"saw {defect.seen}")]
    return Node(f"{defect.requirement} {defect.where}", rows, wrong=True)


def _members(found: PackageFacts) -> Node:
    words = {
        "matches": "as the manifest has it",
        "differs": "NOT as the manifest has it",
        "not listed": "NOT in the manifest",
        "apart": "",
    }
    lines = align(
        (member.name, amount(member.size), f"at byte {member.offset}", words[member.manifest])
        for member in found.members
    )
    rows = [
        Node(line, wrong=member.manifest in ("differs", "not listed"))
        for line, member in zip(lines, found.members, strict=True)
    ]
    rows += [Node(f"{name}  listed in the manifest, NOT in the archive", wrong=True) for name in found.absent]
    if found.stopped:
        rows.append(Node("here the archive cannot be read any further", wrong=True))
    return Node(f"files ({len(found.members)})", rows)


def _signature(found: PackageFacts) -> Node:
    wrong = not found.signature.startswith("verifies")
    return Node(f"signature {found.signature}", [_certificate(one) for one in found.certificates], wrong)


def _certificate(facts: CertificateFacts) -> Node:
    left = f"{facts.days_left} days left" if facts.days_left >= 0 else "EXPIRED"
    self_signed = facts.subject == facts.issuer
    rows = [
        Node("signed by itself" if self_signed else f"issued by {facts.issuer}"),
        Node(f"valid {facts.begin[:10]} to {facts.end[:10]}, {left}", wrong=facts.days_left < 0),
        Node(f"key: {facts.key}"),
    ]
    if facts.rd:
        rows.append(Node("R&D, not for deployment"))
    if not facts.needed:
        rows.append(Node("the chain does not need it"))
    return Node(facts.subject or "a certificate without subject", rows)


def _application(app: Application, found: PackageFacts) -> Iterator[Node]:
    rows = [
        Node(f"machine: {app.cpus} CPU, {app.memory_mib} MiB of memory, NICs on {', '.join(app.nics) or 'no network'}"),
        Node(f"heartbeat every {app.heartbeat_interval_s:g} s"),
    ]
    for endpoint in app.endpoints:
        services = ", ".join(
            f"{one.protocol}/{one.port}{' with a probe' if one.probe_send else ''}" for one in endpoint.services
        )
        rows.append(Node(f"answers at {endpoint.fqdn}: {services}"))
    rows += [
        Node(f"port {one.from_port} of the platform ({one.protocol}) leads to port {one.to_port}")
        for one in app.forwards
    ]
    rows += [Node(f"firewall admits {one.protocol}/{one.port} on {one.network}") for one in app.allows]
    rows += [Node(f"storage {one.path}: {amount(one.capacity_bytes)}") for one in app.mounts]
    rows += [Node(f"supports the drill {drill}") for drill in app.drills]
    rows += [
        Node(f"feature {one.id}: {one.name} ({one.sales_item}), {'on' if one.default_on else 'off'} at first")
        for one in app.features
    ]
    rows += [Node(f"property {key} = {value}") for key, value in app.properties.items()]
    yield Node(f"{app.type} app {app.id}: {app.product} {app.version} by {app.vendor}", rows)
    if app.rules:
        yield Node("traffic that passes through it", list(_rules(app, found)))
    if app.acl is None:
        yield Node("message bus: it does not use it")
    elif found.permissions is None:
        yield Node("message bus: auth/acl.xml is not there, or cannot be read", wrong=True)
    else:
        yield Node("message bus", [Node(words) for words in found.permissions] or [Node("it may do nothing there")])


def _rules(app: Application, found: PackageFacts) -> Iterator[Node]:
    payloads = {effect.name: effect.payload for effect in app.effects}
    for rule in found.rules:
        unread = Node("a rule that cannot be read", wrong=True)
        words = Node(rule.words) if rule.words else unread
        head = f"{rule.name}, {rule.direction}: the app {payloads.get(rule.name, 'preserves')} the payload"
        yield Node(head, [words, Node(rule.text)])


def _image(image: ImageFacts) -> Node:
    if not image.version:
        return Node(f"image {image.name}: {amount(image.size)}, no qcow2 header that can be read", wrong=True)
    rows = [
        Node(f"virtual size {amount(image.virtual_size)}"),
        Node(f"clusters of {amount(image.cluster_size)}, {image.compression}, refcounts of {image.refcount_bits} bits"),
    ]
    odd = {
        "a backing file": image.backing_file, "encryption": image.encrypted, "the dirty bit": image.dirty,
        f"{image.snapshots} snapshots": bool(image.snapshots),
    }  # fmt: skip
    rows += [Node(f"has {what}", wrong=True) for what, there in odd.items() if there]
    return Node(f"image {image.name}: qcow2 version {image.version}, {amount(image.size)}", rows)
