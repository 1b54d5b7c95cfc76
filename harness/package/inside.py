"""What is inside a package's image, for `racs inspect`: as facts, and as a branch of its tree. Of secrets it is told
how many there are."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from conformance.checks.inspection import why_not_looked
from conformance.inspection import BootFile, Inspection, Login, System, Volume
from conformance.package import Package
from conformance.verdict import counted
from harness.package.tree import Node, align, amount

LEFT_OUT = "left out (--no-image)"


@dataclass(frozen=True, slots=True)
class Findings:
    """How many there are of what an image must not hold, or should be known to hold: secrets that are as a package of
    the distribution brings them are counted apart; authorised keys are lines, all others files."""

    private_keys: int = 0
    shell_histories: int = 0
    cloud_credentials: int = 0
    as_packaged: int = 0
    authorized_keys: int = 0
    host_keys: int = 0
    machine_ids: int = 0


@dataclass(frozen=True, slots=True)
class InsideFacts:
    """What a look into the image saw; not_looked says why there was none, or why it came to no end. files are those
    that were searched for secrets, files_cut those of them that were searched at their beginning only."""

    not_looked: str
    systems: tuple[System, ...] = ()
    boot: tuple[BootFile, ...] = ()
    volumes: tuple[Volume, ...] = ()
    accounts: int = 0
    logins: tuple[Login, ...] = ()
    findings: Findings = Findings()
    files: int = 0
    files_cut: int = 0
    unread: int = 0


def gather_inside(package: Package, looked: bool) -> InsideFacts:
    """The facts of a package that was looked into, if it was to be."""
    seen = package.inspection
    if seen is None:
        return InsideFacts(why_not_looked(package) if looked else LEFT_OUT)
    return InsideFacts(
        not_looked=seen.failure,
        systems=seen.systems,
        boot=seen.boot,
        volumes=seen.volumes,
        accounts=seen.accounts_seen,
        logins=seen.logins,
        findings=_count(seen),
        files=seen.files_seen,
        files_cut=seen.files_cut,
        unread=len(seen.unread),
    )


def _count(seen: Inspection) -> Findings:
    alien = [secret.kind for secret in seen.secrets if not secret.packaged]
    baked_in = [one.kind for one in seen.identities]
    return Findings(
        private_keys=alien.count("private key"),
        shell_histories=alien.count("shell history"),
        cloud_credentials=alien.count("cloud credential"),
        as_packaged=len(seen.secrets) - len(alien),
        authorized_keys=sum(one.keys for one in seen.authorized_keys),
        host_keys=baked_in.count("SSH host key"),
        machine_ids=baked_in.count("machine-id"),
    )


def inside_branch(facts: InsideFacts) -> Node:
    """The branch of the tree."""
    if facts.not_looked:
        return Node(f"inside the image: {facts.not_looked}", wrong=facts.not_looked != LEFT_OUT)
    rows = [*map(_system, facts.systems)] or [Node("no system that starts was found", wrong=True)]
    rows += _boot(facts)
    rows.append(Node(f"volumes ({len(facts.volumes)})", _volumes(sorted(facts.volumes, key=_place))))
    rows.append(_accounts(facts))
    rows.append(_findings(facts))
    return Node("inside the image", rows)


def _system(system: System) -> Node:
    packages = [name for name, there in (("RPM", system.rpm), ("dpkg", system.dpkg)) if there]
    has = f", packages of {' and '.join(packages)}" if packages else ", no package database"
    return Node(f"{system.name or 'a system without a name'} on {system.volume}{has}")


def _boot(facts: InsideFacts) -> Iterator[Node]:
    rows = [
        (one.kind, one.what or "of unknown version", f"{one.path} on {one.volume}")
        for one in sorted(facts.boot, key=lambda one: (one.kind, one.volume, one.path))
    ]
    if rows:
        yield Node("starts by", [Node(line) for line in align(rows)])


def _place(volume: Volume) -> tuple[bool, str]:
    """By which volumes are in order: partition 2 before partition 10, archives at the end."""
    return volume.kind == "cpio", re.sub(r"\d+", lambda number: number[0].zfill(5), volume.name)


def _volumes(volumes: Sequence[Volume]) -> list[Node]:
    states = {"read": "", "no files": "", "unread": "NOT READ", "not unmounted": "NOT UNMOUNTED"}
    lines = align(
        (
            one.name,
            one.kind or "unknown",
            amount(one.size) if one.size > 0 else "",
            _joined(one.mounted and f"mounted at {one.mounted}", states[one.state], one.trouble),
        )
        for one in volumes
    )
    wrong = ("unread", "not unmounted")
    return [Node(line, wrong=one.state in wrong) for line, one in zip(lines, volumes, strict=True)]


def _accounts(facts: InsideFacts) -> Node:
    lines = align((one.name, _joined(*_means(one))) for one in facts.logins)
    wrong = ("empty", "well known")
    branches = [Node(line, wrong=one.password in wrong) for line, one in zip(lines, facts.logins, strict=True)]
    return Node(
        f"accounts ({facts.accounts}): {sum(one.admitted for one in facts.logins) or 'none'} can log in", branches
    )


def _means(login: Login) -> Iterator[str]:
    """By what an account can log in."""
    yield {
        "locked": "no password",
        "set": "a password",
        "empty": "an EMPTY password",
        "well known": "a WELL-KNOWN password",
        "not tried": "a password that could not be tried",
    }[login.password]
    yield counted(login.keys, "authorised key") if login.keys else ""
    yield "" if login.admitted else "but its shell lets nobody in"


def _joined(*words: str) -> str:
    return ", ".join(filter(None, words))


def _findings(facts: InsideFacts) -> Node:
    found = facts.findings
    harmless = {"packaged secret": found.as_packaged, "authorised key": found.authorized_keys}
    numbers = {
        "private key": found.private_keys,
        "shell history file": found.shell_histories,
        "cloud credential": found.cloud_credentials,
        "SSH host key": found.host_keys,
        "fixed machine-id": found.machine_ids,
        **harmless,
    }
    rows = [Node(counted(number, what), wrong=what not in harmless) for what, number in numbers.items() if number]
    absent = [what for what, number in numbers.items() if not number]
    if absent:
        rows.append(Node(f"no {', no '.join(absent)}"))
    if facts.unread:
        rows.append(Node(f"{counted(facts.unread, 'place')} could NOT be read", wrong=True))
    cut = f", {facts.files_cut} of them only at their beginning" if facts.files_cut else ""
    return Node(f"found in {counted(facts.files, 'file')} searched{cut}; `racs check` says where", rows)
