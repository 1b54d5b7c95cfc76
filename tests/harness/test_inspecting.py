"""`racs inspect`: what is in a package, sound or broken; it judges nothing and never fails over bad bytes."""

import json
import shutil
from datetime import UTC, datetime
from pathlib import Path

import command_line
import pytest
from command_line import RACS, REPOSITORY, Delivery, deliver
from guest_images import RED_HAT, Files, Workbench, run
from hypothesis import given, settings
from hypothesis import strategies as st

from conformance.package import open_package
from conformance.profile import load
from harness.inspection.look import look_inside
from harness.package.facts import gather
from harness.package.inside import gather_inside, inside_branch
from harness.packaging.building import PackageParts, write_package

NOW = datetime.now(UTC)


@pytest.fixture(scope="module")
def delivery(tmp_path_factory: pytest.TempPathFactory) -> Delivery:
    return deliver(tmp_path_factory.mktemp("delivery"))


@pytest.fixture(scope="module")
def lens(delivery: Delivery) -> Path:
    """The transparent example, with the same image and signer."""
    app, parts = REPOSITORY / "examples" / "lens", delivery.parts
    ova = delivery.ova.with_name("lens.ova")
    write_package(PackageParts(app / "lens.ovf", parts.image, parts.privatekey, parts.certificate), ova)
    return ova


def shown(ova: Path, folder: Path, *options: str) -> str:
    ended = command_line.run([RACS, "inspect", str(ova), *options], folder)
    assert (ended.status, ended.err) == (0, ""), ended.said
    return ended.out


def test_the_tree_of_a_terminating_app(delivery: Delivery, tmp_path: Path) -> None:
    text = shown(delivery.ova, tmp_path)
    assert delivery.ova.name in text.splitlines()[0]
    for said in (
        "├─ files (5)",
        "goon.ovf", "as the manifest has it",
        "signature verifies over goon.mf",
        "CN=R&D signer of Test", "issued by CN=R&D root of Test", "key: P-256", "1094 days left",
        "R&D, not for deployment",
        "terminating app goon: GoOn 1.0.0 by Example Apps",
        "machine: 1 CPU, 512 MiB of memory, NICs on service, user-plane",
        "answers at goon.apps.example: udp/7, tcp/7",
        "port 29001 of the platform (tcp) leads to port 22",
        "feature goon.echo: Echo (RACS-GOON-001), on at first",
        "may subscribe racs/cell/+/load: the load of every cell",
        "may publish app/goon/#: everything below its own app/goon/",
        "qcow2 version 3", "virtual size 2 GiB",
    ):  # fmt: skip
        assert said in text
    assert " NOT " not in text


def test_rules_in_words(lens: Path, tmp_path: Path) -> None:
    text = shown(lens, tmp_path)
    assert "web, uplink: the app preserves the payload" in text
    assert "IPv4 TCP packets to port 80 or 8080" in text


def test_json_says_the_same(lens: Path, tmp_path: Path) -> None:
    alone = command_line.run([RACS, "inspect", str(lens), "--json", "-"], tmp_path)
    both = command_line.run([RACS, "inspect", str(lens), "--json", "facts.json"], tmp_path)
    facts = json.loads(alone.out)
    assert json.loads((tmp_path / "facts.json").read_text()) == facts
    assert both.out == shown(lens, tmp_path)
    assert (facts["schema"], facts["application"]["id"]) == ("racs-inspection/1", "lens")
    assert [member["manifest"] for member in facts["members"]] == ["matches", "apart", "apart", "matches", "matches"]
    assert facts["rules"][0]["words"].startswith("IPv4 TCP packets")
    with lens.open("rb") as file:
        for member in facts["members"]:
            file.seek(member["offset"])
            assert len(file.read(member["size"])) == member["size"]
    refused = command_line.run([RACS, "inspect", str(lens), "--json", "no/where"], tmp_path)
    assert refused.status == 4 and "cannot be written" in refused.err


SECRET = "c2VjcmV0LW1hcmstdGhhdC1tdXN0LW5vdC1iZS1zaG93bg"
KEY = f"-----BEGIN OPENSSH PRIVATE KEY-----\n{SECRET}\n-----END OPENSSH PRIVATE KEY-----\n".encode()
ACCOUNTS = (
    # name, shell, password ("" locked), what is said of it; None where nothing is
    ("root", "/bin/bash", None, "no password, 2 authorised keys"),
    ("bin", "/sbin/nologin", None, None),
    ("app", "/bin/bash", "Zo7-not-well-known", "a password"),
    ("ftp", "/usr/sbin/nologin", "Zo7-not-well-known", "a password, but its shell lets nobody in"),
    ("guest", "/bin/sh", "", "an EMPTY password"),
    ("admin", "/bin/sh", "admin", "a WELL-KNOWN password"),
)


def kernel(version: str) -> bytes:
    """A bzImage's header, as far as it says what it is."""
    head = bytearray(1024)
    head[0x1FE:0x206] = b"\x55\xaa\0\0HdrS"
    head[0x20E:0x210] = (0x100).to_bytes(2, "little")
    return bytes(head[:0x300]) + f"{version} (builder@host) #1 SMP".encode() + bytes(4096)


def hash_of(password: str | None) -> str:
    return "!!" if password is None else password and run("openssl", "passwd", "-6", password).decode().strip()


@pytest.fixture(scope="module")
def lived_in(delivery: Delivery, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """GoOn's descriptor over the image of a system that somebody has worked on."""
    passwd = "".join(f"{name}:x:0:0::/{name}:{shell}\n" for name, shell, _, _ in ACCOUNTS)
    shadow = "".join(f"{name}:{hash_of(password)}:19000:0:99999:7:::\n" for name, _, password, _ in ACCOUNTS)
    files: Files = {
        **RED_HAT,
        "etc/passwd": passwd.encode(),
        "etc/shadow": shadow.encode(),
        "etc/machine-id": b"0123456789abcdef0123456789abcdef\n",
        "etc/ssh/ssh_host_rsa_key": KEY,
        "etc/ssh/ssh_host_ed25519_key": KEY,
        "root/.ssh/authorized_keys": b"# mine\nssh-ed25519 AAAA a\nssh-ed25519 BBBB b\n",
        "root/.ssh/id_ed25519": KEY,
        "root/.bash_history": SECRET.encode(),
        "boot/vmlinuz-5.14.0-427.el9.x86_64": kernel("5.14.0-427.el9.x86_64"),
        "boot/grub2/i386-pc/core.img": b"grub",
    }
    folder = tmp_path_factory.mktemp("lived-in")
    bench, parts = Workbench(folder), delivery.parts
    raw = bench.gpt(
        [bench.fat({"EFI/BOOT/BOOTX64.EFI": b"MZ"}), bench.raw(bytes(4086) + b"SWAPSPACE2"), bench.ext(files)]
    )
    image = bench.package(raw).path
    write_package(PackageParts(parts.description, image, parts.privatekey, parts.certificate), folder / "lived-in.ova")
    return folder / "lived-in.ova"


def branch(text: str, name: str) -> list[str]:
    """The lines below one of the tree, without strokes."""
    lines = [line.replace("├─", "  ").replace("└─", "  ").replace("│", " ") for line in text.splitlines()]
    at = next(number for number, line in enumerate(lines) if line.strip().startswith(name))
    depth = len(lines[at]) - len(lines[at].lstrip())
    below = []
    for line in lines[at + 1 :]:
        if len(line) - len(line.lstrip()) <= depth:
            break
        below.append(" ".join(line.split()))
    return below


def test_what_is_inside_the_image(lived_in: Path, tmp_path: Path) -> None:
    text = shown(lived_in, tmp_path)
    assert branch(text, "inside the image")[0] == "Rocky Linux 9.4 on partition 3, packages of RPM"
    assert branch(text, "starts by") == [
        "boot loader UEFI /EFI/BOOT/BOOTX64.EFI on partition 1",
        "boot loader GRUB for BIOS /boot/grub2/i386-pc/core.img on partition 3",
        "kernel 5.14.0-427.el9.x86_64 /boot/vmlinuz-5.14.0-427.el9.x86_64 on partition 3",
    ]
    assert branch(text, "volumes (3)") == [
        "partition 1 FAT 28 MiB",
        "partition 2 swap 4 MiB",
        "partition 3 ext4 28 MiB mounted at /",
    ]
    assert branch(text, "accounts (6): 4 can log in") == [f"{name} {said}" for name, _, _, said in ACCOUNTS if said]
    assert branch(text, "found in") == [
        "1 private key",
        "1 shell history file",
        "2 SSH host keys",
        "1 fixed machine-id",
        "2 authorised keys",
        "no cloud credential, no packaged secret",
    ]


def test_no_secret_is_shown(lived_in: Path, tmp_path: Path) -> None:
    for text in (shown(lived_in, tmp_path), shown(lived_in, tmp_path, "--json=-")):
        for secret in (SECRET, SECRET[:12], "$6$", "Zo7", "AAAA"):
            assert secret not in text


def test_json_has_the_inside(lived_in: Path, tmp_path: Path) -> None:
    inside = json.loads(shown(lived_in, tmp_path, "--json=-"))["inside"]
    assert (inside["not_looked"], inside["accounts"]) == ("", 6)
    assert [(one["name"], one["kind"], one["size"] >> 20) for one in inside["volumes"] if one["system"]] == [
        ("partition 3", "ext4", 28)
    ]
    assert [(one["name"], one["password"], one["keys"], one["admitted"]) for one in inside["logins"]] == [
        ("root", "locked", 2, True),
        ("app", "set", 0, True),
        ("ftp", "set", 0, False),
        ("guest", "empty", 0, True),
        ("admin", "well known", 0, True),
    ]
    assert inside["findings"] == {
        "private_keys": 1, "shell_histories": 1, "cloud_credentials": 0, "as_packaged": 0,
        "authorized_keys": 2, "host_keys": 2, "machine_ids": 1,
    }  # fmt: skip


def test_why_nobody_looked_inside(lived_in: Path, delivery: Delivery, tmp_path: Path) -> None:
    assert "inside the image: left out (--no-image)" in shown(lived_in, tmp_path, "--no-image")
    header, broken = b"QFI\xfb\0\0\0\x03", tmp_path / "broken.ova"
    broken.write_bytes(delivery.ova.read_bytes().replace(header, b"QFI\xfb\0\0\0\x09"))
    assert "inside the image: the image could not be read (PKG-011)" in shown(broken, tmp_path)
    package = look_inside(open_package(lived_in, load()), load(), program=str(tmp_path / "missing"))
    facts = gather_inside(package, looked=True)
    assert inside_branch(facts).text == (
        "inside the image: the look into the image could not begin: No such file or directory"
    )


@pytest.mark.parametrize("columns", [40, 80, 120])
def test_the_tree_is_as_wide_as_the_terminal(columns: int, lived_in: Path, tmp_path: Path) -> None:
    text = command_line.run_in_terminal([RACS, "inspect", str(lived_in)], tmp_path, columns, {"NO_COLOR": "1"}).out
    assert max(map(len, text.splitlines())) <= columns
    words = [word for line in text.splitlines() for word in line.split() if word not in ("├─", "└─", "│")]
    wide = [word for word in shown(lived_in, tmp_path).split() if word not in ("├─", "└─", "│")]
    assert "".join(words) == "".join(wide)


def test_a_changed_file_and_a_changed_manifest_are_shown(delivery: Delivery, tmp_path: Path) -> None:
    whole = delivery.ova.read_bytes()
    changed = tmp_path / "changed.ova"
    changed.write_bytes(whole.replace(b"<ovf:Product>GoOn<", b"<ovf:Product>GoOf<"))
    assert "goon.ovf" in (text := shown(changed, tmp_path)) and "NOT as the manifest has it" in text
    changed.write_bytes(whole.replace(b"SHA256(goon.ovf)=", b"SHA256(gone.ovf)="))
    text = shown(changed, tmp_path)
    for said in ("NOT in the manifest", "gone.ovf  listed in the manifest, NOT in the archive", "does NOT verify"):
        assert said in text


def test_a_package_that_was_cut(delivery: Delivery, tmp_path: Path) -> None:
    cut = tmp_path / "cut.ova"
    cut.write_bytes(delivery.ova.read_bytes()[:20000])
    text = shown(cut, tmp_path)
    for said in ("cannot be read any further", "terminating app goon", "auth/acl.xml is not there", "PKG-001"):
        assert said in text


@pytest.mark.parametrize(("content", "status"), [(b"", 1), (b"no archive at all" * 100, 1), (None, 4)])
def test_what_is_no_package(content: bytes | None, status: int, tmp_path: Path) -> None:
    if content is not None:
        (tmp_path / "odd.ova").write_bytes(content)
    ended = command_line.run([RACS, "inspect", "odd.ova"], tmp_path)
    assert ended.status == status and (ended.out or ended.err)


def test_what_a_package_says_reaches_no_terminal_as_it_is(delivery: Delivery, tmp_path: Path) -> None:
    """command_line.run refuses escape codes; here they are in the descriptor's texts, C1 ones too."""
    odd = tmp_path / "odd.ova"
    odd.write_bytes(delivery.ova.read_bytes().replace(b"Example Apps", "a\u009b1m\u202eb".encode().ljust(12, b"x")))
    assert r"a\x9b1m\u202eb" in shown(odd, tmp_path)


def test_colour_is_for_terminals(delivery: Delivery, tmp_path: Path) -> None:
    cut = tmp_path / "cut.ova"
    cut.write_bytes(delivery.ova.read_bytes()[:20000])
    ended = command_line.run_in_terminal([RACS, "inspect", str(cut)], tmp_path)
    assert ended.status == 0 and "\x1b[31m" in ended.out


@settings(derandomize=True, max_examples=120, deadline=None)
@given(data=st.data())
def test_any_bytes_are_told_of_somehow(
    data: st.DataObject, lens: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    whole = bytearray(lens.read_bytes())
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, 12000))
        whole[at : at + data.draw(st.integers(0, 3))] = data.draw(st.binary(max_size=3))
    folder = tmp_path_factory.mktemp("odd")
    (folder / "odd.ova").write_bytes(whole)
    found = gather(open_package(folder / "odd.ova", load()), NOW)
    json.loads(found.to_json())
    shutil.rmtree(folder)
