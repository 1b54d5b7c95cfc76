"""Where things lie in an image that a look could pass over, or take for what they are not: volumes and who mounts them,
links, what lies beneath, an initramfs that is no system."""

import gzip
import hashlib
import sqlite3
import struct
import subprocess
from collections.abc import Mapping
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
from guest_images import PATH, RED_HAT, Files, Part, Workbench, inspect, judge, missing_tools, run

from conformance.verdict import Outcome, Verdict

pytestmark = pytest.mark.skipif(bool(missing_tools()), reason=f"needs {', '.join(missing_tools())}")

KEY = b"-----BEGIN PRIVATE KEY-----\n" + b"c2VjcmV0LW1hcmstdGhhdC1tdXN0LW5vdC1iZS1zaG93bi1hbnl3aGVyZQ\n"
HOST_KEY = b"-----BEGIN OPENSSH PRIVATE KEY-----\n" + b"b3BlbnNzaC1rZXktdjEAAAAABG5vbmUAAAAEbm9uZQAAAAAAAAABAAAAMw\n"
VECTORS = Path(__file__).parents[1] / "conformance" / "vectors"
IDS = ("IMG-001", "IMG-002", "IMG-003", "IMG-004", "IMG-005")


@pytest.fixture
def bench(tmp_path: Path) -> Workbench:
    return Workbench(tmp_path)


def failures(outcomes: Mapping[str, Outcome]) -> dict[str, list[str]]:
    """Where what failed was found, without the image's name; ids that pass are left out, others without a finding come
    with their reason."""
    return {
        identity: [one.where.partition(", ")[2] for one in outcome.findings] or [outcome.reason]
        for identity, outcome in outcomes.items()
        if outcome.verdict is not Verdict.PASS
    }


def on(bench: Workbench, *parts: Files) -> dict[str, list[str]]:
    """What fails on a disk with these partitions."""
    return failures(judge(bench.package(bench.mbr([bench.ext(part) for part in parts]))))


def with_fstab(*lines: str, **changes: bytes) -> Files:
    return {**RED_HAT, "etc/fstab": "\n".join((*lines, "")).encode()}


def without(*beginnings: str) -> dict[str, bytes | str]:
    return {path: data for path, data in RED_HAT.items() if not path.startswith(beginnings)}


HOME = {"app/.ssh/id": KEY}
HOME_KEY = {"IMG-002": ["partition 2, /home/app/.ssh/id, line 1"]}


@pytest.mark.parametrize(
    "line",
    [
        "/dev/vda2 /home ext4 defaults 0 2",
        "/dev/disk/by-partuuid/00000000-02 /home ext4",
        "PARTUUID=00000000-02\t/home/\text4",
        "/dev/vda2 /home",
        "/dev/vda2 /ho\\155e ext4",
    ],
)
def test_fstab_in_all_its_forms(line: str, bench: Workbench) -> None:
    assert on(bench, with_fstab("# comment", "none /tmp tmpfs", line), HOME) == HOME_KEY


def test_a_mount_unit(bench: Workbench) -> None:
    unit = b"[Unit]\nBefore=local-fs.target\n[Mount]\nWhat = /dev/vda2\nWhere=/home\nType=ext4\n"
    assert on(bench, {**RED_HAT, "etc/systemd/system/home.mount": unit}, HOME) == HOME_KEY


def test_a_mount_point_that_systemd_will_make(bench: Workbench) -> None:
    root = {**without("home/"), "etc/fstab": b"/dev/vda2 /home ext4\n"}
    assert on(bench, root, HOME) == HOME_KEY


@pytest.mark.parametrize(
    ("line", "path"), [("/dev/vda2 /home ext4", "home/app/.ssh/id"), ("/dev/vda2 /var ext4", "var/lib/cloud/k")]
)
def test_what_lies_beneath_a_mount_is_in_the_package_all_the_same(line: str, path: str, bench: Workbench) -> None:
    found = on(bench, {**with_fstab(line), path: KEY}, {"app/.profile": b"umask 022\n"})
    assert found == {"IMG-002": [f"partition 1, /{path}, line 1"]}


def test_a_home_that_is_bound_from_elsewhere(bench: Workbench) -> None:
    root = with_fstab("/dev/vda2 /data ext4", "/data/home /home none bind 0 0")
    found = on(bench, root, {"home/app/.ssh/id": KEY, "other/k": KEY})
    assert found == {"IMG-002": ["partition 2, /data/home/app/.ssh/id, line 1"]}


def test_an_overlay_over_etc(bench: Workbench) -> None:
    """What lies above counts for accounts and identity too; what it does not have is seen from below."""
    line = "overlay /etc overlay lowerdir=/etc,upperdir=/data/upper,workdir=/data/work 0 0"
    above: Files = {
        "upper/shadow": b"root::19000:0:99999:7:::\n",
        "upper/machine-id": b"0123456789abcdef0123456789abcdef\n",
        "upper/app/key.pem": KEY,
        "upper/ssh/ssh_host_rsa_key": HOST_KEY,
    }
    assert on(bench, with_fstab("/dev/vda2 /data ext4", line), above) == {
        "IMG-002": ["partition 2, /data/upper/app/key.pem, line 1"],
        "IMG-003": ["partition 1, /etc/shadow, line 1"],
        "IMG-004": [
            "partition 2, /data/upper/ssh/ssh_host_rsa_key",
            "partition 2, /data/upper/machine-id",
        ],
    }


def test_links_out_of_the_places_are_followed(bench: Workbench) -> None:
    root: Files = {
        **RED_HAT,
        "home/app": "/srv/app",
        "home/app2": "../srv/app/",
        "home/all": "/",
        "root/.ssh": "/srv/ssh",
        "etc/example.pem": "/usr/share/doc/example.pem",
        "etc/loop": "/srv/loop",
        "srv/app/.bash_history": b"ls\n",
        "srv/app/again": "/srv/ssh/id",
        "srv/loop/loop": "/etc",
        "srv/ssh/id": KEY,
        "srv/other/id": KEY,
        "usr/share/doc/example.pem": KEY,
    }
    without_home = {path: data for path, data in root.items() if path != "home/app/.profile"}
    assert on(bench, without_home) == {
        "IMG-002": ["partition 1, /srv/ssh/id, line 1", "partition 1, /srv/app/.bash_history, line 1"]
    }


def test_a_home_that_is_a_link(bench: Workbench) -> None:
    root = {**without("home/", "root/"), "home": "var/home", "root": "var/roothome", "var/home/a/.ssh/id": KEY}
    found = on(bench, {**root, "var/roothome/.bash_history": b"ls\n"})
    assert found == {
        "IMG-002": ["partition 1, /var/roothome/.bash_history, line 1", "partition 1, /var/home/a/.ssh/id, line 1"]
    }


@pytest.mark.parametrize(
    ("path", "files"),
    [
        ("/etc/ssh/ssh_host_ed25519_key", {"etc/ssh/ssh_host_ed25519_key": HOST_KEY}),
        ("/etc/dropbear/initramfs/dropbear_rsa_host_key", {"etc/dropbear/initramfs/dropbear_rsa_host_key": b"x"}),
        ("/srv/keys/rsa", {"etc/ssh/ssh_host_rsa_key": "/srv/keys/rsa", "srv/keys/rsa": HOST_KEY}),
        ("/srv/k", {"etc/ssh/sshd_config": b'#HostKey /none\n  hostkey "/srv/k" # ours\n', "srv/k": HOST_KEY}),
        ("/etc/own/k", {"etc/ssh/sshd_config.d/1.conf": b"Port 22\nHostKey /etc/own/k\n", "etc/own/k": HOST_KEY}),
    ],
)
def test_host_keys_wherever_they_lie(path: str, files: Files, bench: Workbench) -> None:
    assert on(bench, {**RED_HAT, **files}) == {"IMG-004": [f"partition 1, {path}"]}


def test_a_copy_of_a_host_key_is_a_private_key(bench: Workbench) -> None:
    found = on(bench, {**RED_HAT, "root/backup/ssh_host_rsa_key": HOST_KEY})
    assert found == {"IMG-002": ["partition 1, /root/backup/ssh_host_rsa_key, line 1"]}


def test_host_keys_on_a_volume_that_nobody_mounts(bench: Workbench) -> None:
    data: Files = {"overlay/ssh/ssh_host_rsa_key": HOST_KEY, "dropbear_ed25519_host_key": b"x"}
    assert on(bench, RED_HAT, data) == {
        "IMG-004": ["partition 2, /dropbear_ed25519_host_key", "partition 2, /overlay/ssh/ssh_host_rsa_key"]
    }


def test_host_keys_in_an_initramfs_beside_a_system(bench: Workbench) -> None:
    """A server in it lets an administrator unlock a disk: its keys are as public as those of the system."""
    packed = gzip.compress(bench.cpio({"init": b"#!", "etc/ssh/ssh_host_rsa_key": HOST_KEY}))
    outcomes = judge(bench.package(bench.mbr([bench.ext({**RED_HAT, "boot/initramfs.img": packed})])))
    assert failures(outcomes) == {"IMG-004": ["boot/initramfs.img on partition 1, /etc/ssh/ssh_host_rsa_key"]}
    assert "leave /etc/ssh/ssh_host_rsa_key out of what the initramfs" in outcomes["IMG-004"].findings[0].remedy


USR: Files = {
    "bin/sh": b"x",
    "lib/os-release": RED_HAT["etc/os-release"],
    "lib/sysimage/rpm/rpmdb.sqlite": RED_HAT["usr/lib/sysimage/rpm/rpmdb.sqlite"],
    "share/doc/example.pem": KEY,
}


def test_a_usr_of_its_own_that_no_fstab_mounts(bench: Workbench) -> None:
    """The kernel's command line may: what is on it belongs to packages, and it says what the system is."""
    root = {**without("usr/", "etc/os-release"), "etc/os-release": "../usr/lib/os-release"}
    raw = bench.mbr([bench.ext(root), bench.ext(USR)])
    assert failures(judge(bench.package(raw))) == {}
    assert inspect(bench.package(raw)).systems[0].ids[0] == "rocky"


def test_a_second_usr_is_not_searched(bench: Workbench) -> None:
    assert on(bench, {**RED_HAT, "usr/lib/a": b""}, USR) == {}


def test_a_var_of_its_own_that_no_fstab_mounts(bench: Workbench) -> None:
    var: Files = {"cache/a": b"", "log/a": b"", "spool/a": b"", "lib/app/k": KEY, "lib/cloud/seed/k": KEY}
    found = on(bench, without("var/"), var)
    assert found == {"IMG-002": ["partition 2, /var/lib/cloud/seed/k, line 1"]}


STARTERS: Mapping[str, Files] = {
    "dracut": {"init": b"\x7fELF", "etc/initrd-release": b"ID=rocky\n", "etc/passwd": b"root:x:0:0::/root:/bin/sh\n"},
    "initramfs-tools": {"init": b"#!/bin/sh\nexec run-init ${rootmnt} ${init}\n", "etc/passwd": b"root:x:0:0::/:/\n"},
    "Alpine": {"init": b"#!/bin/sh\nexec switch_root $sysroot $KOPT_init\n"},
}


@pytest.mark.parametrize("name", STARTERS)
@pytest.mark.parametrize(
    "beside", [{"ostree/deploy/r/deploy/0/etc/passwd": b"root::0:0::/:/\n"}, {"a.squashfs": b"hsqs"}]
)
def test_an_initramfs_that_only_starts_a_system_is_none(name: str, beside: Files, bench: Workbench) -> None:
    """The system that it starts lies where nobody looks: what the initramfs shows says nothing of it."""
    packed = gzip.compress(bench.cpio(STARTERS[name]))
    outcomes = judge(bench.package(bench.mbr([bench.ext({**beside, "boot/initrd": packed})])))
    assert [str(outcomes[one].verdict) for one in IDS] == ["not judged"] * 4 + ["fail"]
    assert "only starts a system that lies elsewhere" in outcomes["IMG-005"].findings[0].seen


def test_a_whole_system_in_an_initramfs_may_move_itself(bench: Workbench) -> None:
    """Into a tmpfs, say: what has a package database is a system."""
    packed = gzip.compress(bench.cpio({**RED_HAT, "init": b"#!/bin/sh\nexec switch_root /new /sbin/init\n"}))
    assert failures(judge(bench.package(bench.mbr([bench.fat({"initrd": packed})])))) == {}


def test_the_keys_that_packages_bring_are_told_in_an_initramfs_too(bench: Workbench) -> None:
    md5 = hashlib.md5(KEY).hexdigest()
    root: Files = {
        **RED_HAT,
        "init": b"#!/bin/sh\n",
        "etc/example/key.pem": KEY,
        "var/lib/dpkg/status": b"Package: example\n",
        "var/lib/dpkg/info/example.md5sums": f"{md5}  etc/example/key.pem\n".encode(),
    }
    outcomes = judge(bench.package(bench.mbr([bench.fat({"initrd": gzip.compress(bench.cpio(root))})])))
    assert failures(outcomes) == {} and "1 as packaged" in outcomes["IMG-002"].reason


def test_an_initramfs_on_a_mounted_boot_partition_is_one(bench: Workbench) -> None:
    packed = gzip.compress(bench.cpio({"init": b"#!", "etc/key": KEY}))
    found = on(bench, with_fstab("/dev/vda2 /boot ext4"), {"initrd.img": packed})
    assert found == {"IMG-002": ["boot/initrd.img on partition 2, /etc/key, line 1"]}


def test_a_further_archive_of_the_boot_loader_is_searched(bench: Workbench) -> None:
    """Without an init: the loader hands over several, one behind the other."""
    found = on(bench, {**RED_HAT, "boot/extra.img": gzip.compress(bench.cpio({"etc/key": KEY}))})
    assert found == {"IMG-002": ["boot/extra.img on partition 1, /etc/key, line 1"]}


def test_archives_beside_a_system_in_an_initramfs_are_no_initramfs(bench: Workbench) -> None:
    system = gzip.compress(bench.cpio({**RED_HAT, "init": b"#!"}))
    tar = gzip.compress(bytes(70_000) + b"ustar")
    assert failures(judge(bench.package(bench.mbr([bench.fat({"initrd": system, "data.tgz": tar})])))) == {}


def test_folders_that_are_too_deep_to_be_searched_are_told(bench: Workbench) -> None:
    deep = "home/" + "/".join("d" * 70)
    assert on(bench, {**RED_HAT, f"{deep}/k": KEY})["IMG-005"] == ["partition 1, /home" + "/d" * 64]
    assert on(bench, {**RED_HAT, "home/" + "/".join("d" * 60) + "/k": KEY}).keys() == {"IMG-002"}


def test_accounts_of_the_system_take_no_account_s_turn(bench: Workbench) -> None:
    names = [f"s{number}" for number in range(200)]
    passwd = b"".join(f"{name}:x:1:1::/:/sbin/nologin\n".encode() for name in [*names, "app"])
    shadow = b"".join(f"{name}:!!:1::::::\n".encode() for name in names) + b"app:$1$ab$2MNh05UVxu2H2cFB/Ftbe1:1::::::\n"
    outcome = judge(bench.package(bench.mbr([bench.ext({**RED_HAT, "etc/passwd": passwd, "etc/shadow": shadow})])))
    assert outcome["IMG-003"].verdict is Verdict.PASS and "201 accounts" in outcome["IMG-003"].reason


def test_hashes_that_take_too_long_together_are_not_all_tried(bench: Workbench) -> None:
    field = "$2b$12$abcdefghijklmnopqrstuu" + "x" * 31
    shadow = "".join(f"u{number}:{field}:1::::::\n" for number in range(9)).encode()
    passwd = "".join(f"u{number}:x:1:1::/:/bin/sh\n" for number in range(9)).encode()
    seen = inspect(bench.package(bench.mbr([bench.ext({**RED_HAT, "etc/passwd": passwd, "etc/shadow": shadow})])))
    assert [one.name for one in seen.accounts] == ["u6", "u7", "u8"]
    assert {one.doubt for one in seen.accounts} == {"the accounts before it took all the time"}


def test_folders_that_are_encrypted_are_not_taken_for_searched(bench: Workbench) -> None:
    raw = bench.mbr([bench.ext(RED_HAT, "-O", "encrypt")])
    outcomes = judge(bench.package(raw))
    assert outcomes["IMG-002"].verdict is Verdict.NOT_JUDGED
    assert outcomes["IMG-005"].findings[0].seen == "ext with encrypted folders"


def test_a_disk_that_was_cut(bench: Workbench) -> None:
    part = bench.ext(RED_HAT)
    raw = bench.mbr([part, replace(part, kind=0x83)])
    with raw.open("r+b") as file:
        file.seek(446 + 16 + 12)
        file.write(struct.pack("<I", 1 << 30))
    (finding,) = judge(bench.package(raw))["IMG-005"].findings
    assert finding.seen == "it ends behind the disk's end" and "whole disk" in finding.remedy


def test_folders_in_a_circle_come_to_an_end(bench: Workbench) -> None:
    part = bench.ext({**RED_HAT, "home/a/b/k": KEY})
    for number in range(9):
        run("debugfs", "-w", "-R", f"ln /home /home/a/b/up{number}", part.path)
    outcomes = judge(bench.package(bench.mbr([part])))
    assert outcomes["IMG-002"].verdict is Verdict.FAIL
    (*_, last) = outcomes["IMG-005"].findings
    assert last.seen == "more than 1000 findings"


@pytest.mark.parametrize("make", ["journal", "folder"])
def test_the_remedy_for_a_file_system_mends_it(make: str, bench: Workbench) -> None:
    part = bench.ext({**RED_HAT, "etc/app/key": b"x"})
    damage = {"journal": "feature needs_recovery", "folder": "set_inode_field /etc/app block[0] 0"}[make]
    run("debugfs", "-w", "-R", damage, part.path)
    (finding, *_) = judge(bench.package(bench.mbr([part])))["IMG-005"].findings
    assert ("e2fsck -fy" if make == "journal" else "e2fsck -f") in finding.remedy
    subprocess.run(["e2fsck", "-fy", part.path], env={"PATH": PATH}, check=False, capture_output=True)
    assert failures(judge(bench.package(bench.mbr([part])))) == {}


def lvm_pool(bench: Workbench, change: tuple[bytes, bytes] = (b"", b"")) -> Part:
    """The volume group of the vector: root in two pieces, and home."""
    root = bench.ext(RED_HAT).path.read_bytes()
    pool = bench.raw(gzip.decompress((VECTORS / "lvm2.img.gz").read_bytes()).replace(*change), mib=256, kind=0x8E)
    with pool.path.open("r+b") as file:
        for at, data in ((1, root[: 20 << 20]), (61, root[20 << 20 :]), (21, bench.ext(HOME).path.read_bytes())):
            file.seek(at << 20)
            file.write(data)
    return pool


def test_logical_volumes_on_a_disk_without_partitions(bench: Workbench) -> None:
    found = failures(judge(bench.package(lvm_pool(bench).path)))
    assert found == {"IMG-002": ["logical volume vg-one/home-dir, /app/.ssh/id, line 1"]}


def test_a_thin_volume_is_not_read(bench: Workbench) -> None:
    pool = lvm_pool(bench, (b'type = "striped"', b'type = "thin"\n   '))
    outcomes = judge(bench.package(bench.mbr([pool])))
    assert "it is not linear (thin)" in outcomes["IMG-005"].findings[0].seen


def test_a_hybrid_table(bench: Workbench) -> None:
    """Linux takes the GPT: what the MBR says besides leads nowhere."""
    raw = bench.gpt([bench.fat({"a": b"1"}), bench.ext({**RED_HAT, "root/.bash_history": b"ls\n"})])
    with raw.open("r+b") as file:
        file.seek(446 + 16)
        file.write(struct.pack("<B3sB3sII", 0x80, b"\xfe\xff\xff", 0x83, b"\xfe\xff\xff", 1 << 11, 2))
    assert failures(judge(bench.package(raw))) == {"IMG-002": ["partition 2, /root/.bash_history, line 1"]}


def test_a_package_database_without_an_end(bench: Workbench) -> None:
    with closing(sqlite3.connect(":memory:")) as connection:
        endless = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT i AS blob FROM n"
        connection.execute(f"CREATE VIEW Packages AS {endless}")
        connection.commit()
        files: Files = {**RED_HAT, "usr/lib/sysimage/rpm/rpmdb.sqlite": connection.serialize(), "etc/key": KEY}
    outcome = judge(bench.package(bench.mbr([bench.ext(files)])))["IMG-002"]
    assert outcome.verdict is Verdict.INCONCLUSIVE and "no end" in outcome.reason


@pytest.mark.parametrize("kind", ["ext", "xfs"])
@pytest.mark.parametrize("length", [20, 59, 60, 400, 1000])
def test_links_of_any_length(kind: str, length: int, bench: Workbench) -> None:
    """Short ones lie in their inode, long ones in a block."""
    target = f"{'./' * (length // 2)}srv/app"
    root = {**without("home/"), "home": target, "srv/app/a/.bash_history": b"ls\n"}
    found = failures(judge(bench.package(bench.mbr([getattr(bench, kind)(root)]))))
    assert found == {"IMG-002": ["partition 1, /srv/app/a/.bash_history, line 1"]}


def test_a_folder_of_xfs_with_many_entries(bench: Workbench) -> None:
    """In one inode, one block, several blocks, with a tree over them."""
    for count in (3, 60, 900, 3000):
        names: Files = {f"etc/many/{number}-{'n' * 40}": b"" for number in range(count)}
        seen = inspect(bench.package(bench.mbr([bench.xfs({**RED_HAT, **names, "etc/many/zz": KEY})])))
        assert [one.path for one in seen.secrets] == ["/etc/many/zz"] and seen.files_seen == count + 9


def test_keys_that_may_log_in_to_homes_elsewhere(bench: Workbench) -> None:
    root: Files = {
        **RED_HAT,
        "etc/passwd": b"root:x:0:0::/root:/bin/sh\napp:x:1:1::/opt/app/:/bin/sh\n",
        "opt/app/.ssh/authorized_keys": b"# ours\nssh-ed25519 AAAA me\n",
        "root/.ssh/authorized_keys": b"ssh-ed25519 AAAA me\nssh-ed25519 BBBB you\n",
    }
    outcome = judge(bench.package(bench.mbr([bench.ext(root)])))["IMG-004"]
    assert "2 keys may log in by partition 1, /root/.ssh/authorized_keys" in outcome.reason
    assert outcome.reason.count("1 key may log in by partition 1, /opt/app/.ssh/authorized_keys") == 1
    assert outcome.reason.count("may log in") == 2


def test_the_hashes_of_a_verified_volume_are_no_files(bench: Workbench) -> None:
    raw = bench.mbr([bench.ext(RED_HAT), bench.raw(b"verity\0\0\1\0\0\0" + bytes(range(256)))])
    assert failures(judge(bench.package(raw))) == {}
