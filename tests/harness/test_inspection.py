"""The look into images that are made by the tools of the field: what can be read, and what is found in it."""

import bz2
import gzip
import hashlib
import json
import lzma
import os
import random
import re
import resource
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from pathlib import Path

import lz4.block
import pytest
import zstandard
from guest_images import RED_HAT, Files, Part, Workbench, inspect, judge, missing_tools, rpm_database, rpm_header, run

from conformance.verdict import Outcome, Verdict
from harness.inspection import passwords
from harness.inspection.look import CPU_S

pytestmark = pytest.mark.skipif(bool(missing_tools()), reason=f"needs {', '.join(missing_tools())}")

IDS = ("IMG-001", "IMG-002", "IMG-003", "IMG-004", "IMG-005")
VECTORS = Path(__file__).parents[1] / "conformance" / "vectors"
MARK = b"c2VjcmV0LW1hcmstdGhhdC1tdXN0LW5vdC1iZS1zaG93bi1hbnl3aGVyZQ"  # part of every secret below
PEM = b"-----BEGIN %sPRIVATE KEY-----\n" + MARK + b"\n-----END %sPRIVATE KEY-----\n"


@pytest.fixture
def bench(tmp_path: Path) -> Workbench:
    return Workbench(tmp_path)


def verdicts(outcomes: Mapping[str, Outcome]) -> dict[str, str]:
    return {identity: str(outcomes[identity].verdict) for identity in IDS}


def lz4_legacy(data: bytes) -> bytes:
    blocks = [lz4.block.compress(data[at : at + (8 << 20)], store_size=False) for at in range(0, len(data), 8 << 20)]
    return b"\x02\x21\x4c\x18" + b"".join(len(block).to_bytes(4, "little") + block for block in blocks)


PACKERS: Mapping[str, Callable[[bytes], bytes]] = {
    "plain": bytes,
    "gzip": gzip.compress,
    "xz": lzma.compress,
    "lzma": lambda data: lzma.compress(data, format=lzma.FORMAT_ALONE),
    "bzip2": bz2.compress,
    "zstd": zstandard.ZstdCompressor().compress,
    "lz4": lz4_legacy,
}

LAYOUTS: Mapping[str, Callable[[Workbench], Path]] = {
    "ext4": lambda bench: bench.mbr([bench.ext(RED_HAT)]),
    "ext2": lambda bench: bench.mbr([bench.ext(RED_HAT, kind="ext2")]),
    "ext3": lambda bench: bench.mbr([bench.ext(RED_HAT, kind="ext3")]),
    "ext4, small blocks, inline data": lambda bench: bench.mbr([bench.ext(RED_HAT, "-b", "1024", "-O", "inline_data")]),
    "ext4, all features": lambda bench: bench.mbr(
        [bench.ext(RED_HAT, "-O", "64bit,metadata_csum_seed,orphan_file,large_dir,casefold,project,quota,ea_inode")]
    ),
    "xfs": lambda bench: bench.mbr([bench.xfs(RED_HAT)]),
    "xfs, version 4": lambda bench: bench.mbr([bench.xfs(RED_HAT, "-m", "crc=0")]),
    "xfs, other sizes": lambda bench: bench.gpt([bench.xfs(RED_HAT, "-b", "size=1024", "-i", "size=512,nrext64=1")]),
    "GPT": lambda bench: bench.gpt([bench.fat({"EFI/BOOT/grub.cfg": b"set\n"}), bench.ext(RED_HAT)]),
    "logical partitions": lambda bench: bench.mbr(
        [bench.fat({"a": b"1"})], [bench.ext({"srv/x": b"1"}), bench.ext(RED_HAT)]
    ),
    "no partitions": lambda bench: bench.ext(RED_HAT).path,
    "boot code and swap": lambda bench: bench.gpt(
        [
            replace(bench.raw(b"\xe9core"), guid="21686148-6449-6e6f-744e-656564454649"),
            bench.raw(bytes(4086) + b"SWAPSPACE2"),
            bench.raw(),
            bench.ext(RED_HAT),
        ]
    ),
    "FAT12": lambda bench: bench.mbr([bench.fat({"a": b"1"}, mib=2), bench.ext(RED_HAT)]),
    "FAT32": lambda bench: bench.mbr([bench.fat({"a": b"1"}, "-F", mib=64), bench.ext(RED_HAT)]),
    "a FAT file system and no table": lambda bench: bench.fat({"initrd": gzip.compress(bench.cpio(RED_HAT))}).path,
}


@pytest.mark.parametrize("name", LAYOUTS)
def test_a_clean_image_passes_whatever_it_is_made_of(name: str, bench: Workbench) -> None:
    raw = LAYOUTS[name](bench)
    with raw.open("r+b") as file:
        file.seek(510)
        file.write(b"\x55\xaa")  # a boot sector, where there is no table that has it
    outcomes = judge(bench.package(raw))
    assert {identity: outcome.reason for identity, outcome in outcomes.items() if outcome.findings} == {}
    assert set(verdicts(outcomes).values()) == {"pass"}


@pytest.mark.parametrize("packing", PACKERS)
@pytest.mark.parametrize("microcode", [False, True])
def test_an_initramfs_is_a_guest(packing: str, microcode: bool, bench: Workbench) -> None:
    data = PACKERS[packing](bench.cpio({**RED_HAT, "init": b"#!/bin/sh\n", "big": os.urandom(3 << 20)}))
    if microcode:
        data = bench.cpio({"kernel/x86/microcode/AuthenticAMD.bin": b"code"}) + bytes(700) + data
    files: Files = {"vmlinuz": b"MZ" + bytes(90_000), "boot/initrd.img": data + bytes(3), "syslinux.cfg": b"default\n"}
    seen = inspect(bench.package(bench.mbr([bench.fat(files)]), "-c"))
    assert [(one.name, one.system) for one in seen.volumes] == [
        ("partition 1", False),
        ("boot/initrd.img on partition 1", True),
    ]
    assert [(system.ids[0], system.rpm) for system in seen.systems] == [("rocky", True)]
    assert seen.accounts_seen == 1


DEFECTS: list[tuple[str, Files, str, str]] = [
    # what is wrong, the files that make it so, the id that owns it, the path that has to be named
    ("Debian", {"etc/os-release": b"ID=debian\n", "var/lib/dpkg/status": b""}, "IMG-001", ""),
    ("nothing", {"etc/os-release": b"", "etc/redhat-release": "gone"}, "IMG-001", ""),
    ("RSA key", {"root/.ssh/id_rsa": PEM % (b"RSA ", b"RSA ")}, "IMG-002", "/root/.ssh/id_rsa, line 1"),
    ("OpenSSH key by an odd name", {"home/app/notes.txt": b"hello\n\n" + PEM % (b"OPENSSH ", b"OPENSSH ")}, "IMG-002",
     "/home/app/notes.txt, line 3"),
    ("TLS key", {"etc/pki/tls/private/localhost.key": PEM % (b"", b"")}, "IMG-002", "localhost.key"),
    ("key in JSON", {"var/lib/cloud/k.json": b'{"k": "-----BEGIN PRIVATE KEY-----\\n' + MARK + b'"}'}, "IMG-002",
     "k.json"),
    ("dropbear key", {"root/key": b"\0\0\0\x07ssh-rsa\0\0\0\3\1\0\1" + MARK}, "IMG-002", "/root/key"),
    ("PKCS#8 in DER", {"etc/key.der": b"\x30\x82\x04\xbd\x02\x01\0\x30\x0d\x06\x09" + MARK}, "IMG-002", "/etc/key.der"),
    ("shell history", {"root/.bash_history": b"mysql -p" + MARK}, "IMG-002", "/root/.bash_history"),
    ("fish", {"home/a/.local/share/fish/fish_history": b"- cmd: ls\n"}, "IMG-002", "fish_history"),
    ("AWS", {"root/.aws/credentials": b"[default]\naws_secret_access_key = " + MARK[:40] + b"\n"}, "IMG-002", "line 2"),
    ("GCP", {"home/a/sa.json": b'{\n "type": "service_account",\n "private_key": "x"}'}, "IMG-002", "sa.json, line 2"),
    ("Azure", {"root/.azure/accessTokens.json": b"[1]"}, "IMG-002", "accessTokens"),
    ("kube", {"root/.kube/config": b"users:\n- user:\n    token: " + MARK}, "IMG-002", "config, line 3"),
    ("docker", {"root/.docker/config.json": b'{"auths": {"r": {"auth": "' + MARK + b'"}}}'}, "IMG-002", "config.json"),
    ("netrc", {"home/a/.netrc": b"machine m login l password " + MARK}, "IMG-002", ".netrc"),
    ("git", {"home/a/.git-credentials": b"https://me:" + MARK + b"@git.example\n"}, "IMG-002", ".git-credentials"),
    ("user data", {"var/lib/cloud/instances/i/user-data.txt": b"#cloud-config\npassword: x\n"}, "IMG-002", "line 2"),
    ("empty password", {"etc/shadow": b"root:!!:::::::\napp::19000:0:99999:7:::\n",
                        "etc/passwd": b"root:x:0:0::/root:/bin/sh\napp:x:1:1::/:/bin/sh\n"}, "IMG-003",
     "/etc/shadow, line 2"),
    ("empty in passwd", {"etc/passwd": b"root::0:0::/root:/bin/sh\n"}, "IMG-003", "/etc/passwd, line 1"),
    ("SSH host key", {"etc/ssh/ssh_host_rsa_key": PEM % (b"OPENSSH ", b"OPENSSH ")}, "IMG-004", "ssh_host_rsa_key"),
    ("dropbear host key", {"etc/dropbear/dropbear_ed25519_host_key": b"x"}, "IMG-004", "host_key"),
    ("machine-id", {"etc/machine-id": b"0123456789abcdef0123456789abcdef\n"}, "IMG-004", "/etc/machine-id"),
    ("D-Bus's", {"var/lib/dbus/machine-id": b"0123456789abcdef0123456789abcdef\n"}, "IMG-004", "/var/lib/dbus"),
]  # fmt: skip


@pytest.mark.parametrize(("files", "owner", "place"), [pytest.param(*row[1:], id=row[0]) for row in DEFECTS])
def test_one_defect_fails_its_one_requirement_and_is_not_shown(
    files: Files, owner: str, place: str, bench: Workbench
) -> None:
    package = bench.package(bench.mbr([bench.ext({**RED_HAT, **files})]))
    outcomes = judge(package)
    assert verdicts(outcomes) == {identity: "fail" if identity == owner else "pass" for identity in IDS}
    (finding,) = outcomes[owner].findings
    assert finding.where.startswith("disk.qcow2, partition 1") and place in finding.where
    assert finding.expected and finding.seen and finding.remedy and finding.evidence == ("package:disk.qcow2@0",)
    assert MARK[:40].decode() not in str(outcomes)
    assert MARK[:40].decode() not in json.dumps(asdict(inspect(package)))


HARMLESS: Mapping[str, Files] = {
    "empty history": {"root/.bash_history": b""},
    "a header without a key": {"etc/script": b"grep -q -- '-----BEGIN RSA PRIVATE KEY-----' \"$1\"\nif true; then\n"},
    "a public key and a certificate": {
        "etc/ssl/c.pem": b"-----BEGIN CERTIFICATE-----\n" + MARK,
        "root/.ssh/known_hosts": b"host ssh-ed25519 AAAA\n",
    },
    "outside the places": {"usr/share/doc/k.pem": PEM % (b"", b""), "opt/key": PEM % (b"", b"")},
    "registry without a login": {"root/.docker/config.json": b'{"auths": {}}'},
    "machine-id to be made": {"etc/machine-id": b"uninitialized\n", "var/lib/dbus/machine-id": "/etc/machine-id"},
    "locked accounts": {
        "etc/passwd": b"a:x:1:1::/:/bin/sh\nb:*:2:2::/:/bin/sh\nc:x:3:3::/:/bin/sh\n+::::::\n",
        "etc/shadow": b"a:!:1::::::\nc:!$6$abc$x:1::::::\n",
    },
    "public half of a host key": {"etc/ssh/ssh_host_rsa_key.pub": b"ssh-rsa AAAA\n"},
    "links to nowhere and to themselves": {
        "etc/loop": "loop",
        "etc/out": "../../../../etc/passwd",
        "home/x": "/nowhere",
    },
    "names that are no text": {"etc/\udcff\udcfe": b"x", "etc/\x07\n'": b"y"},
}


# Neither mkfs.xfs's prototype nor a list of lines can say names that are no text.
@pytest.mark.parametrize(
    ("name", "kind"),
    [(name, kind) for name in HARMLESS for kind in ("ext", "xfs", "cpio") if kind == "ext" or "no text" not in name],
)
def test_what_looks_alike_passes(name: str, kind: str, bench: Workbench) -> None:
    files = {**RED_HAT, **HARMLESS[name]}
    part = {
        "ext": lambda: bench.ext(files),
        "xfs": lambda: bench.xfs(files),
        "cpio": lambda: bench.fat({"initrd": bench.cpio({**files, "init": b"#!"})}),
    }[kind]()
    assert set(verdicts(judge(bench.package(bench.mbr([part])))).values()) == {"pass"}


SYSTEM_HASHES = ("$6$ab$", "$5$rounds=1000$ab$", "$1$ab$", "$2b$04$abcdefghijklmnopqrstuu", "$y$j5T$abcdefgh$", "ab")


@pytest.mark.parametrize("setting", SYSTEM_HASHES)
@pytest.mark.parametrize(("password", "fails"), [("root", True), ("", True), ("toor", True), ("Xk29.vLq-8", False)])
def test_hashes_are_tried(setting: str, password: str, fails: bool, bench: Workbench) -> None:
    hashed = passwords._library().crypt(password.encode(), setting.encode())
    files = {**RED_HAT, "etc/shadow": b"root:" + hashed + b":19000:0:99999:7:::\n"}
    outcome = judge(bench.package(bench.mbr([bench.ext(files)])))["IMG-003"]
    assert outcome.verdict is (Verdict.FAIL if fails else Verdict.PASS)
    assert hashed.decode() not in str(outcome)
    assert not fails or ("an empty" if not password else "a well-known") in outcome.findings[0].seen


@pytest.mark.parametrize("setting", [b"$6$rounds=9000000$ab$x", b"$2b$18$abcdefghijklmnopqrstuux", b"$y$jFT$ab$x"])
def test_a_hash_that_would_take_ages_is_not_tried(setting: bytes, bench: Workbench) -> None:
    files = {**RED_HAT, "etc/shadow": b"root:" + setting + b":19000:0:99999:7:::\n"}
    outcome = judge(bench.package(bench.mbr([bench.ext(files)])))["IMG-003"]
    assert outcome.verdict is Verdict.INCONCLUSIVE and "could not be tried" in outcome.reason


def test_authorised_keys_are_told(bench: Workbench) -> None:
    files = {**RED_HAT, "root/.ssh/authorized_keys": b"# ours\nssh-ed25519 AAAA me\n\nssh-rsa BBBB you\n"}
    outcome = judge(bench.package(bench.mbr([bench.ext(files)])))["IMG-004"]
    assert outcome.verdict is Verdict.PASS
    assert "2 keys may log in by partition 1, /root/.ssh/authorized_keys" in outcome.reason


def test_parts_of_a_system_on_volumes_of_their_own(bench: Workbench) -> None:
    """/home, /var and /usr by fstab: what is on them is found where the guest will have it."""
    root = dict(RED_HAT)
    rpm, root["etc/os-release"] = root.pop("usr/lib/sysimage/rpm/rpmdb.sqlite"), "../usr/lib/os-release"
    root["etc/fstab"] = (
        b"# comment\nUUID=11111111-2222-3333-4444-555555555555 /home/ ext4 defaults 0 0\nLABEL=var /var ext4 ro 0 0\n"
        b"/dev/vda4 /usr ext4 defaults 0 0\nUUID= /nothing ext4 defaults 0 0\nnone /tmp tmpfs\n"
    )
    home = bench.ext({"app/.ssh/id": PEM % (b"", b"")}, "-U", "11111111-2222-3333-4444-555555555555")
    var = bench.ext({"lib/rpm/rpmdb.sqlite": rpm, "lib/cloud/k": PEM % (b"EC ", b"EC ")}, "-L", "var")
    usr = bench.ext({"lib/os-release": RED_HAT["etc/os-release"]})
    package = bench.package(bench.mbr([bench.ext(root), home, var, usr]))
    outcomes = judge(package)
    assert verdicts(outcomes) == {identity: "fail" if identity == "IMG-002" else "pass" for identity in IDS}
    assert sorted(finding.where for finding in outcomes["IMG-002"].findings) == [
        "disk.qcow2, partition 2, /home/app/.ssh/id, line 1",
        "disk.qcow2, partition 3, /var/lib/cloud/k, line 1",
    ]
    assert inspect(package).systems[0].rpm


def test_a_system_on_logical_volumes(bench: Workbench) -> None:
    """lvm's own metadata; of the root volume's two pieces the second lies behind the volume for /home."""
    root = bench.ext(
        {**RED_HAT, "etc/fstab": b"/dev/mapper/vg--one-home--dir /home ext4 defaults 0 0\n"}
    ).path.read_bytes()
    home = bench.ext({"app/key": PEM % (b"", b"")}).path.read_bytes()
    pool = bench.raw(gzip.decompress((VECTORS / "lvm2.img.gz").read_bytes()), mib=256, kind=0x8E)
    with pool.path.open("r+b") as file:
        for at, data in ((1, root[: 20 << 20]), (61, root[20 << 20 :]), (21, home)):
            file.seek(at << 20)
            file.write(data)
    boot = bench.fat({"a": b"1"})
    outcomes = judge(bench.package(bench.mbr([boot, pool])))
    assert verdicts(outcomes) == {identity: "fail" if identity == "IMG-002" else "pass" for identity in IDS}
    (finding,) = outcomes["IMG-002"].findings
    assert finding.where == "disk.qcow2, logical volume vg-one/home-dir, /home/app/key, line 1"


def test_a_secret_in_the_initramfs_of_a_system_is_found_too(bench: Workbench) -> None:
    initramfs = gzip.compress(
        bench.cpio({"init": b"#!", "etc/dropbear/key": PEM % (b"", b""), "etc/machine-id": b"1" * 32})
    )
    outcomes = judge(bench.package(bench.mbr([bench.ext({**RED_HAT, "boot/initramfs-5.14.img": initramfs})])))
    assert verdicts(outcomes) == {identity: "fail" if identity == "IMG-002" else "pass" for identity in IDS}
    assert "boot/initramfs-5.14.img on partition 1, /etc/dropbear/key" in outcomes["IMG-002"].findings[0].where


UNREADABLE: Mapping[str, tuple[Callable[[Workbench], list[Part]], str]] = {
    "empty disk": (lambda bench: [bench.raw()], "empty"),
    "noise": (lambda bench: [bench.raw(os.urandom(1 << 20))], "no known kind"),
    "LUKS": (lambda bench: [bench.raw(b"LUKS\xba\xbe\0\2")], "LUKS encryption"),
    "Btrfs": (lambda bench: [bench.raw(bytes(65600) + b"_BHRfS_M")], "Btrfs"),
    "RAID": (lambda bench: [bench.raw(bytes(4096) + b"\xfc\x4e\x2b\xa9")], "Linux RAID"),
    "no system": (lambda bench: [bench.ext({"srv/data": b"1"})], "ext4"),
    "an initramfs that is cut": (
        lambda bench: [bench.fat({"initrd": gzip.compress(bench.cpio(RED_HAT) + os.urandom(99_999))[:-5000]})], "cpio"),
    "a broken superblock": (lambda bench: [bench.raw(bytes(1080) + b"\x53\xef" + bytes(90), mib=4)], "ext"),
}  # fmt: skip


@pytest.mark.parametrize("name", UNREADABLE)
def test_what_cannot_be_read_fails_and_nothing_else_is_judged(name: str, bench: Workbench) -> None:
    parts, shown = UNREADABLE[name]
    outcomes = judge(bench.package(bench.mbr(parts(bench))))
    assert verdicts(outcomes) == {identity: "fail" if identity == "IMG-005" else "not judged" for identity in IDS}
    assert shown in outcomes["IMG-005"].findings[0].seen


def test_a_volume_beside_a_system_that_cannot_be_read(bench: Workbench) -> None:
    """What was found in the rest stays found; what was not found may be on the volume."""
    files = {**RED_HAT, "root/.bash_history": b"ls\n"}
    outcomes = judge(bench.package(bench.mbr([bench.ext(files), bench.raw(b"LUKS\xba\xbe\0\2")])))
    assert verdicts(outcomes) == dict(zip(IDS, ("not judged", "fail", "not judged", "not judged", "fail"), strict=True))


def _dirty_ext(bench: Workbench) -> Part:
    part = bench.ext(RED_HAT)
    run("debugfs", "-w", "-R", "feature needs_recovery", part.path)
    return part


def _dirty_xfs(bench: Workbench) -> Part:
    """Of 20 MiB; Linux 6.1 wrote files to it, with a sync, and its machine was killed."""
    return bench.raw(lzma.decompress((VECTORS / "xfs-killed.img.xz").read_bytes()), mib=20)


@pytest.mark.parametrize("make", [_dirty_ext, _dirty_xfs])
def test_a_file_system_that_was_not_unmounted_fails(make: Callable[[Workbench], Part], bench: Workbench) -> None:
    """What its journal holds the guest will see, and nobody here."""
    outcomes = judge(bench.package(bench.mbr([make(bench)])))
    assert verdicts(outcomes) == {identity: "fail" if identity == "IMG-005" else "not judged" for identity in IDS}
    (finding,) = outcomes["IMG-005"].findings
    assert "was not unmounted: its journal holds changes" in finding.seen and "shut the guest down" in finding.remedy


def test_a_damaged_folder_is_named(bench: Workbench) -> None:
    part = bench.ext({**RED_HAT, "etc/app/key": b"x"})
    run("debugfs", "-w", "-R", "set_inode_field /etc/app block[0] 0", part.path)  # the magic of its extents
    outcomes = judge(bench.package(bench.mbr([part])))
    assert outcomes["IMG-005"].verdict is Verdict.FAIL
    assert "/etc/app" in outcomes["IMG-005"].findings[0].where


@pytest.mark.parametrize("kind", ["ext", "xfs"])
def test_a_folder_of_zeros_is_not_taken_for_an_empty_one(kind: str, bench: Workbench) -> None:
    part = getattr(bench, kind)({**RED_HAT, **{f"etc/app/{number}-{'n' * 60}": b"x" for number in range(90)}})
    data = part.path.read_bytes()
    block_bytes = 1024 if kind == "ext" else 4096
    with part.path.open("r+b") as file:
        file.seek(data.index(b"n" * 60) // block_bytes * block_bytes)
        file.write(bytes(block_bytes))
    outcomes = judge(bench.package(bench.mbr([part])))
    assert outcomes["IMG-005"].verdict is Verdict.FAIL
    assert "/etc/app" in outcomes["IMG-005"].findings[0].where


def test_etc_that_is_no_folder(bench: Workbench) -> None:
    files = {"etc": b"x", "sbin/init": b"x", "usr/lib/os-release": RED_HAT["etc/os-release"]}
    outcomes = judge(bench.package(bench.mbr([bench.ext(files)])))
    assert outcomes["IMG-003"].verdict is Verdict.NOT_JUDGED
    assert "no folder" in outcomes["IMG-005"].findings[0].seen


def test_accounts_whose_passwords_lie_in_a_file_that_is_not_there(bench: Workbench) -> None:
    files = {path: data for path, data in RED_HAT.items() if path != "etc/shadow"}
    outcome = judge(bench.package(bench.mbr([bench.ext(files)])))["IMG-003"]
    assert outcome.verdict is Verdict.INCONCLUSIVE and "/etc/shadow" in outcome.reason


def test_a_volume_that_no_system_mounts_is_searched_as_a_whole(bench: Workbench) -> None:
    home = bench.ext({"ubuntu/.ssh/id_ed25519": PEM % (b"OPENSSH ", b"OPENSSH "), "ubuntu/.bash_history": b"ls\n"})
    outcomes = judge(bench.package(bench.mbr([bench.ext(RED_HAT), home])))
    assert verdicts(outcomes) == {identity: "fail" if identity == "IMG-002" else "pass" for identity in IDS}
    assert [finding.where for finding in outcomes["IMG-002"].findings] == [
        "disk.qcow2, partition 2, /ubuntu/.bash_history, line 1",
        "disk.qcow2, partition 2, /ubuntu/.ssh/id_ed25519, line 1",
    ]


@pytest.mark.parametrize(("mib", "found"), [(3, True), (17, False)])
def test_large_files_are_searched_and_what_is_not_is_told(mib: int, found: bool, bench: Workbench) -> None:
    content = b"no secret\n" * ((mib << 20) // 10) + PEM % (b"", b"")
    outcome = judge(bench.package(bench.mbr([bench.ext({**RED_HAT, "etc/notes": content}, "-m", "0")])))["IMG-002"]
    if found:
        assert outcome.verdict is Verdict.FAIL
    else:
        assert outcome.verdict is Verdict.PASS
        assert outcome.reason.endswith("; of 1 file only the beginning was searched")


def test_a_disk_without_a_boot_record_is_looked_into(bench: Workbench) -> None:
    package = bench.package(bench.ext({**RED_HAT, "root/.bash_history": b"ls\n"}).path)
    assert package.disk is not None and len(package.disk.faults) == 1
    assert package.disk.faults[0].finding.seen == "a first sector of zeros, and clusters in use"
    assert judge(package)["IMG-002"].verdict is Verdict.FAIL


def test_a_broken_file_system_is_told_in_plain_words(bench: Workbench) -> None:
    part = bench.raw(bytes(1080) + b"\x53\xef" + bytes(90), mib=4)
    (finding,) = judge(bench.package(bench.mbr([bench.ext(RED_HAT), part])))["IMG-005"].findings
    assert not re.search(r"tsk|libfs|pyfs|FS_Info|\.c(?:pp)?:|_", finding.seen), finding.seen


@pytest.mark.parametrize("ends", ["killed", "crashes", "talks nonsense"])
def test_a_look_that_comes_to_no_end_is_inconclusive(ends: str, bench: Workbench, tmp_path: Path) -> None:
    package = bench.package(bench.mbr([bench.ext(RED_HAT)]))
    code = {
        "killed": "kill -SEGV $$",
        "crashes": "echo 'Traceback:\n  File \"/x/y.py\", line 7\nValueError: a secret' >&2; exit 1",
        "talks nonsense": "echo '{}'",
    }[ends]
    python = tmp_path / "python"
    python.write_text(f"#!/bin/sh\n{code}\n")
    python.chmod(0o755)
    outcomes = judge(package, str(python))
    assert set(verdicts(outcomes).values()) == {"inconclusive"}
    assert "secret" not in str(outcomes)
    assert {"killed": "signal 11", "crashes": "ValueError at y.py:7", "talks nonsense": "no inspection"}[
        ends
    ] in outcomes["IMG-005"].reason


def test_the_process_has_limits() -> None:
    words = (
        "import resource as r; from harness.inspection import process as p; p._limit(); "
        "print(r.getrlimit(r.RLIMIT_CORE)[0], r.getrlimit(r.RLIMIT_FSIZE)[0], r.getrlimit(r.RLIMIT_CPU)[0]); "
        "bytearray(4 << 30)"
    )
    done = subprocess.run([sys.executable, "-c", words], capture_output=True, text=True, check=False)
    assert done.stdout.split() == ["0", "0", str(CPU_S)]
    assert done.stderr.strip().endswith("MemoryError")
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[0] != 0 and signal.getsignal(signal.SIGXCPU) is signal.SIG_DFL


def test_too_much_time_is_told_as_such(bench: Workbench, tmp_path: Path) -> None:
    package = bench.package(bench.mbr([bench.ext(RED_HAT)]))
    python = tmp_path / "python"
    words = "from harness.inspection import process as p; p._limit(1); [None for _ in iter(int, 1)]"
    python.write_text(f"#!/bin/sh\nexec {sys.executable} -c '{words}'\n")
    python.chmod(0o755)
    assert "took more than 120 s of processor time" in judge(package, str(python))["IMG-005"].reason


@pytest.mark.parametrize(
    ("database", "change", "verdict"),
    [
        ("dpkg", b"", Verdict.PASS),
        ("dpkg", b"!", Verdict.FAIL),
        ("conffile", b"", Verdict.PASS),
        ("conffile", b"!", Verdict.FAIL),
        ("rpm", b"", Verdict.PASS),
        ("rpm", b"!", Verdict.FAIL),
        ("Berkeley DB", b"", Verdict.INCONCLUSIVE),
        ("broken", b"", Verdict.INCONCLUSIVE),
        ("none", b"", Verdict.FAIL),
    ],
)
def test_a_key_as_its_package_brought_it_is_no_secret(
    database: str, change: bytes, verdict: Verdict, bench: Workbench
) -> None:
    key, path = PEM % (b"", b""), "etc/ssl/private/example.key"
    md5, sha256 = hashlib.md5(key).hexdigest(), hashlib.sha256(key).hexdigest()
    databases: Mapping[str, Files] = {
        "dpkg": {
            "var/lib/dpkg/info/ssl.md5sums": f"{md5}  {path}\n".encode(),
            "var/lib/dpkg/status": b"Package: ssl\n",
        },
        "conffile": {"var/lib/dpkg/status": f"Package: ssl\nConffiles:\n /{path} {md5}\n".encode()},
        "rpm": {"var/lib/rpm/rpmdb.sqlite": rpm_database(rpm_header(f"/{path}", sha256))},
        "Berkeley DB": {"var/lib/rpm/Packages": bytes(12) + b"\x61\x15\x06\0"},
        "broken": {"var/lib/rpm/rpmdb.sqlite": b"SQLite format 3\0" + bytes(4096)},
        "none": {},
    }
    others = {name: data for name, data in RED_HAT.items() if "rpm" not in name}
    part = bench.ext({**others, **databases[database], path: key + change})
    outcome = judge(bench.package(bench.mbr([part])))["IMG-002"]
    assert outcome.verdict is verdict, outcome
    assert verdict is not Verdict.PASS or "1 as packaged" in outcome.reason


@pytest.mark.parametrize("kind", ["ext", "xfs", "fat"])
def test_damaged_file_systems_never_end_the_look_unheard(kind: str, bench: Workbench) -> None:
    """Bytes of the metadata changed at random: a verdict or a finding, but no failure of ours and no exception."""
    initramfs = gzip.compress(bench.cpio({**RED_HAT, "init": b"#!"}))
    part = bench.fat({"initrd": initramfs}) if kind == "fat" else getattr(bench, kind)(RED_HAT)
    clean = part.path.read_bytes()[: 4 << 20]
    used = [at for at in range(len(clean)) if clean[at]]
    for seed in range(12):
        draw = random.Random(seed)
        damaged = bytearray(clean)
        for at in draw.sample(used, draw.choice((1, 20, 300))):
            damaged[at] = draw.randrange(256)
        with part.path.open("r+b") as file:
            file.write(damaged)
        inspect(bench.package(bench.mbr([part])))
