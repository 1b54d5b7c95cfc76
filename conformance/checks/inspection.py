"""IMG-001 to IMG-005: what a look into the image saw, judged. Secrets are named by kind and place, never shown."""

import re
import shlex
from collections.abc import Callable, Iterable, Mapping

from conformance.checks.contents import members_doubt
from conformance.inspection import BEYOND_A_BOUND, BEYOND_THE_DISK, Identity, Inspection, Secret, Volume
from conformance.package import Package
from conformance.package.certificate import Trust
from conformance.profile import Profile
from conformance.verdict import Finding, Outcome, counted, failed, inconclusive, not_judged, passed

Judge = Callable[[Package, Inspection], Outcome]
Check = Callable[[Package, Profile, Trust], Outcome]

# os-release(5): ID, or what ID_LIKE says it is like.
RED_HAT_FAMILY = frozenset({"rhel", "fedora", "centos", "rocky", "almalinux", "ol", "scientific"})
_SEAL = "then build, pack and sign again"
_FORMS = "use ext4, xfs or FAT on partitions or on linear LVM, and gzip, xz, zstd or lz4 for an initramfs"
_REPAIR = "repair it: e2fsck -f, xfs_repair or fsck.fat on the volume"
_ESCAPE = re.compile(r"\\x[0-9a-f]{2}")
# By what a volume is that cannot be read.
_REMEDIES = {
    "cpio": "make it again: update-initramfs -u, or dracut --force",
    **dict.fromkeys(("ext", "ext2", "ext3", "ext4", "xfs", "FAT"), _REPAIR),
}


def _finding(package: Package, expected: str, seen: str, where: str, remedy: str) -> Finding:
    name = package.image.name if package.image else ""
    return Finding(expected, seen, f"{name}, {where}", remedy, (f"package:{name}@0",))


def _at(volume: str, path: str, line: int = 0) -> str:
    """A place inside the image; names come from the guest, so what is no plain text is escaped."""
    shown = path if path.isprintable() and path.isascii() else ascii(path)[1:-1]
    return f"{volume}, {shown[:200]}" + (f", line {line}" if line else "")


def _looked(judge: Judge, needs_system: bool = True) -> Check:
    """The check of what an inspection saw; what stands in the way of one is said here."""

    def check(package: Package, profile: Profile, trust: Trust) -> Outcome:
        seen = package.inspection
        if seen is None:
            return not_judged(why_not_looked(package))
        if seen.failure:
            return inconclusive(seen.failure)
        if needs_system and not seen.systems:
            return not_judged("no system was found in the image (IMG-005)")
        return judge(package, seen)

    return check


def why_not_looked(package: Package) -> str:
    """Why nobody looked into the image."""
    if package.disk is None:
        return members_doubt(package) or "the archive has no image, or more than one (PKG-010, PKG-003)"
    broken = dict.fromkeys(fault.requirement for fault in package.disk.faults)
    return f"the image could not be read ({', '.join(broken)})" if broken else "nobody looked into the image"


def _settled(findings: Iterable[Finding], doubt: str, unread: str, reason: str) -> Outcome:
    """Fail by findings; else inconclusive for a doubt; else not judged where not all could be read; else pass."""
    found = tuple(findings)
    if found:
        return failed(found)
    if doubt:
        return inconclusive(doubt)
    return not_judged(unread) if unread else passed(reason)


def _unread(seen: Inspection) -> str:
    """Why not all of the image is known; "" where it is."""
    volumes = [one.name for one in (*_unread_volumes(seen), *_not_unmounted(seen))]
    places = [*volumes, *(_at(one.volume, one.path) for one in seen.unread)]
    more = f" and {len(places) - 1} more" if len(places) > 1 else ""
    return f"not all of the image could be read: {places[0]}{more} (IMG-005)" if places else ""


def _unread_volumes(seen: Inspection) -> list[Volume]:
    """Those that count: an initramfs beside an installed system is that system's own copy of a few files."""
    installed = any(one.system and one.kind != "cpio" for one in seen.volumes)
    return [one for one in seen.volumes if one.state == "unread" and not (one.kind == "cpio" and installed)]


def _not_unmounted(seen: Inspection) -> list[Volume]:
    return [one for one in seen.volumes if one.state == "not unmounted"]


def _family(package: Package, seen: Inspection) -> Outcome:
    """IMG-001: every system in the image is of the family, by what it says and by its packages."""
    findings = []
    for system in seen.systems:
        named = bool(RED_HAT_FAMILY & set(system.ids)) if system.ids else system.release_file
        if named and (system.rpm or not system.dpkg):
            continue
        shown = ascii(system.name)[1:-1] or "a system that does not name itself"
        findings.append(
            _finding(
                package,
                "a distribution of the Red Hat family (os-release, /etc/redhat-release, RPM's database)",
                f"{shown}{', with packages of dpkg' if system.dpkg else ''}",
                system.volume,
                "build on a distribution of this family: ./racs build-app takes a root archive of one",
            )
        )
    return _settled(findings, "", _unread(seen), ", ".join(ascii(system.name)[1:-1] for system in seen.systems))


def _secrets(package: Package, seen: Inspection) -> Outcome:
    """IMG-002: no secrets but those that packages bring for all to see."""
    alien = [secret for secret in seen.secrets if not secret.packaged]
    findings = [
        _finding(
            package,
            "no private key, shell history or cloud credential in the image",
            secret.what,
            _at(secret.volume, secret.path, secret.line),
            f"{_removal(seen, secret)}, and {_mend(secret)}, {_SEAL}",
        )
        for secret in alien
        if not secret.doubt
    ]
    doubtful = [secret for secret in alien if secret.doubt]
    doubt = (
        f"{doubtful[0].what} in {doubtful[0].path} may be its package's own: {doubtful[0].doubt}" if doubtful else ""
    )
    kept = len(seen.secrets) - len(alien)
    reason = f"none in {counted(seen.files_seen, 'file')}"
    reason += f", but for {kept} as packaged" if kept else ""
    reason += f"; of {counted(seen.files_cut, 'file')} only the beginning was searched" if seen.files_cut else ""
    closed = counted(seen.stores_closed, "PKCS#12 file")
    reason += f"; {closed} taken for certificates: all else in it is encrypted" if seen.stores_closed else ""
    return _settled(findings, doubt, _unread(seen), reason)


def _in_initramfs(seen: Inspection, volume: str) -> bool:
    return any(one.name == volume and one.kind == "cpio" for one in seen.volumes)


def _removal(seen: Inspection, one: Secret | Identity) -> str:
    if _in_initramfs(seen, one.volume):
        return f"leave {_quoted(one.path)} out of what the initramfs is made from, and {_REMEDIES['cpio']}"
    return f"rm {_quoted(one.path)}"


def _mend(secret: Secret) -> str:
    """What is to do besides."""
    if secret.kind == "shell history":
        return "change what secrets stand in it: whoever had the package has them. Before sealing, `unset HISTFILE`"
    what = "Make the key on the first boot" if secret.kind == "private key" else "Let the app fetch it when it runs"
    return f"make it invalid: whoever had the package has it. {what}"


def _accounts(package: Package, seen: Inspection) -> Outcome:
    """IMG-003: no account that anybody may enter."""
    findings = [
        _finding(
            package,
            "no account with an empty or well-known password",
            f"{account.name!a} with {'an empty' if account.password == 'empty' else 'a well-known'} password",
            _at(account.volume, account.path, account.line),
            f"lock it, and log in by a key: passwd -l {_quoted(account.name)}{_again(seen, account.volume)}, {_SEAL}",
        )
        for account in seen.accounts
        if account.password != "not tried"
    ]
    untried = [account for account in seen.accounts if account.password == "not tried"]
    doubt = f"the password of {untried[0].name!a} could not be tried: {untried[0].doubt}" if untried else ""
    reason = f"{counted(seen.accounts_seen, 'account')}, each locked or with a password that is not well known"
    return _settled(findings, doubt, _unread(seen), reason)


def _again(seen: Inspection, volume: str) -> str:
    """What is to do besides where a file lies in an initramfs."""
    return f" where the initramfs is made from, and {_REMEDIES['cpio']}" if _in_initramfs(seen, volume) else ""


def _identity(package: Package, seen: Inspection) -> Outcome:
    """IMG-004: no identity that all machines of this image would share; who may log in is told besides."""
    findings = [
        _finding(
            package,
            "no SSH host key and no machine-id in the image",
            f"an {one.kind}" if one.kind.startswith("SSH") else f"a {one.kind}",
            _at(one.volume, one.path),
            f"{_anonymity(seen, one)}, {_SEAL}",
        )
        for one in seen.identities
    ]
    remark = "".join(
        f"; {counted(one.keys, 'key')} may log in by {_at(one.volume, one.path)}" for one in seen.authorized_keys
    )
    return _settled(findings, "", _unread(seen), f"no host key, no machine-id{remark}")


def _anonymity(seen: Inspection, one: Identity) -> str:
    if one.kind == "SSH host key":
        return f"{_removal(seen, one)}, and make it on the first boot: ssh-keygen -A, or dropbear -R"
    if one.path == "/etc/machine-id":
        return f"truncate -s 0 /etc/machine-id{_again(seen, one.volume)}"
    return f"{_removal(seen, one)}: D-Bus takes that of /etc/machine-id"


def _readable(package: Package, seen: Inspection) -> Outcome:
    """IMG-005: all of the image could be read, and there is a system in it."""
    expected = "file systems that can be inspected: ext4, xfs or FAT on partitions or LVM, cpio in an initramfs"
    findings = [
        _finding(package, expected, _told(one), one.name, f"{_readability(one)}, {_SEAL}")
        for one in _unread_volumes(seen)
    ]
    findings += [
        _finding(
            package,
            "file systems that were unmounted: what the guest will see is what was looked at",
            f"{one.kind}: the file system was not unmounted: its journal holds changes that nobody has read",
            one.name,
            f"shut the guest down before sealing, or run {_replay(one)} on the file system, {_SEAL}",
        )
        for one in _not_unmounted(seen)
    ]
    fewer = "keep less there: pack data into an archive, have programs and their files below /usr or /opt"
    findings += [
        _finding(
            package,
            "files and folders that can be read",
            one.why,
            _at(one.volume, one.path),
            f"{fewer if one.why.startswith(BEYOND_A_BOUND) else _REPAIR}, {_SEAL}",
        )
        for one in seen.unread
    ]
    if not seen.systems and not findings:
        kinds = ", ".join(f"{one.name}: {_told(one) or 'unknown'}" for one in seen.volumes) or "no volume"
        wanted = "an installed system, or an initramfs that is one, on a file system that can be inspected"
        remedy = f"have the system's files, /etc/passwd among them, on a volume of their own; {_FORMS}, {_SEAL}"
        findings.append(_finding(package, wanted, kinds, "all partitions", remedy))
    read = [f"{one.name} ({one.kind})" for one in seen.volumes if one.state == "read"]
    beside = [f"{one.name} ({one.kind})" for one in seen.volumes if one.state == "unread"]
    remark = f"; not read, and not needed: {', '.join(beside)}" if beside else ""
    return failed(findings) if findings else passed(f"{', '.join(read)}{remark}")


def _told(volume: Volume) -> str:
    return ": ".join(filter(None, (volume.kind, volume.trouble)))


def _readability(volume: Volume) -> str:
    if volume.trouble == BEYOND_THE_DISK:
        return "convert the whole disk, or shrink its last partition to what is there"
    return _REMEDIES.get(volume.kind, _FORMS)


def _replay(volume: Volume) -> str:
    return "mount and umount" if volume.kind == "xfs" else "e2fsck -fy"


def _quoted(name: str) -> str:
    """As a word of a shell: names come from the guest, bytes that are no text with escapes, as $'...' has them."""
    if name.isascii() and name.isprintable() and not _ESCAPE.search(name):
        return shlex.quote(name)
    letters = re.sub(r"\\(?!x[0-9a-f]{2})|'", r"\\\g<0>", name)
    plain = (one if one.isascii() and one.isprintable() else _escaped(one) for one in letters)
    return f"$'{''.join(plain)}'"


def _escaped(letter: str) -> str:
    return "".join(f"\\x{byte:02x}" for byte in letter.encode("utf-8", "surrogateescape"))


CHECKS: Mapping[str, Check] = {
    "IMG-001": _looked(_family),
    "IMG-002": _looked(_secrets),
    "IMG-003": _looked(_accounts),
    "IMG-004": _looked(_identity),
    "IMG-005": _looked(_readable, needs_system=False),
}
