"""`racs build-ova` as a user meets it: what it writes passes, what `racs check` would refuse it does not write."""

from pathlib import Path

import command_line
import pytest
from command_line import RACS, Delivery, Ended, deliver

HELLO = """
[app]
id = "hello"
type = "terminating"
name = "Hello"
vendor = "Example Apps"
version = "1.0.0"
system = "Debian GNU/Linux 12 (64-bit)"
[endpoint."hello.apps.example"]
services = ["udp/7"]
[bus]
publish = ["app/hello/state"]
"""


@pytest.fixture(scope="module")
def delivery(tmp_path_factory: pytest.TempPathFactory) -> Delivery:
    return deliver(tmp_path_factory.mktemp("delivery"))


def build(delivery: Delivery, folder: Path, *more: str) -> Ended:
    parts = delivery.parts
    options = [f"--image={parts.image}", f"--privatekey={parts.privatekey}", f"--certificate={parts.certificate}"]
    return command_line.run([RACS, "build-ova", *options, *more], folder)


def files(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_an_app_file_becomes_a_package_that_passes(delivery: Delivery, tmp_path: Path) -> None:
    (tmp_path / "app.toml").write_text(HELLO)
    for name in ("one.ova", "two.ova"):
        ended = build(delivery, tmp_path, "app.toml", "-o", name)
        assert (ended.status, ended.out, ended.err) == (0, f"{name}\n", ""), ended.said
    assert (tmp_path / "one.ova").read_bytes() == (tmp_path / "two.ova").read_bytes()
    checked = command_line.run([RACS, "check", "one.ova", f"--root={delivery.root}"], tmp_path)
    assert checked.status == 0, checked.said
    assert build(delivery, tmp_path, "app.toml").out == "hello.ova\n"


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ('"udp/7"', '"udp/5000"', ["DSC-007", 'app.toml:10, [endpoint."hello.apps.example"] services[1]', "send ="]),
        ('"1.0.0"', '"one"', ["DSC-003", "app.toml:7, [app] version"]),
        ("app/hello", "app/other", ["PKG-013", "app.toml:12, [bus] publish[1]", '"app/hello/state"']),
        ('id = "hello"', 'id = "hello"\ncpus = 2\nmemory_mib = 2048', ["RES-001", "RES-002"]),
    ],
)
def test_what_check_would_refuse_is_told_and_not_written(
    old: str, new: str, told: list[str], delivery: Delivery, tmp_path: Path
) -> None:
    assert old in HELLO
    (tmp_path / "app.toml").write_text(HELLO.replace(old, new))
    refused = build(delivery, tmp_path, "app.toml")
    assert (refused.status, refused.out) == (1, ""), refused.said
    for words in (*told, "expected", "seen", "mend", "--anyway"):
        assert words in refused.err
    assert files(tmp_path) == {"app.toml"}
    written = build(delivery, tmp_path, "app.toml", "--anyway", "-o", "bad.ova")
    assert (written.status, written.out) == (0, "bad.ova\n")
    assert all(words in written.err for words in told)
    checked = command_line.run([RACS, "check", "bad.ova", f"--root={delivery.root}"], tmp_path)
    assert checked.status == 1 and told[0] in checked.out


def test_a_descriptor_is_judged_as_well(delivery: Delivery, tmp_path: Path) -> None:
    text = delivery.parts.description.read_text().replace('interval="1.0"', 'interval="2.0"')
    (tmp_path / "goon.ovf").write_text(text)
    acl = delivery.parts.description.parent / "auth" / "acl.xml"
    refused = build(delivery, tmp_path, "--ovf=goon.ovf", f"--acl={acl}")
    assert refused.status == 1 and "DSC-014" in refused.err and "racs:Heartbeat" in refused.err
    assert "build it anew" not in refused.err
    (tmp_path / "goon.ovf").write_text(text.replace('ovf:href="auth/acl.xml"', 'ovf:href="other.xml"'))
    contradicted = build(delivery, tmp_path, "--ovf=goon.ovf", f"--acl={acl}")
    assert contradicted.status == 1 and contradicted.err.startswith(
        "racs: goon.ovf: expected the image and auth/acl.xml"
    )
    assert files(tmp_path) == {"goon.ovf"}


def test_a_root_that_the_signer_does_not_hang_on(delivery: Delivery, tmp_path: Path) -> None:
    """Without --root the signer's own chain is trusted; with it the package is judged as `racs check` would."""
    (tmp_path / "app.toml").write_text(HELLO)
    other = command_line.run([RACS, "ca", "--folder=ca", "--subject=Others", "--intermediate"], tmp_path)
    assert other.status == 0, other.said
    assert build(delivery, tmp_path, "app.toml", "-o", "own.ova").status == 0
    assert build(delivery, tmp_path, "app.toml", "-o", "right.ova", f"--root={delivery.root}").status == 0
    refused = build(delivery, tmp_path, "app.toml", "--root=ca/root.crt", "-o", "wrong.ova")
    assert refused.status == 1 and "PKG-007" in refused.err
    assert not (tmp_path / "wrong.ova").exists()
    chained = ["--privatekey=ca/signer.key", "--certificate=ca/signer.crt", "--root=ca/root.crt"]
    assert build(delivery, tmp_path, "app.toml", *chained).status == 0


def test_calls_that_contradict_themselves(delivery: Delivery, tmp_path: Path) -> None:
    (tmp_path / "app.toml").write_text(HELLO)
    for words in ([], ["app.toml", "--ovf=goon.ovf"], ["app.toml", "--acl=app.toml"], ["missing.toml"]):
        ended = build(delivery, tmp_path, *words)
        assert (ended.status, ended.out) == (4, ""), ended.said
    assert files(tmp_path) == {"app.toml"}


def test_a_package_that_is_there_stays_where_the_new_one_is_refused(delivery: Delivery, tmp_path: Path) -> None:
    (tmp_path / "app.toml").write_text(HELLO.replace('"1.0.0"', '"one"'))
    (tmp_path / "hello.ova").write_text("the one before")
    assert build(delivery, tmp_path, "app.toml").status == 1
    assert (tmp_path / "hello.ova").read_text() == "the one before"


@pytest.mark.parametrize("output", ["", ".", "folder", "app.toml", "link", "nowhere/x.ova", "app.toml/x.ova"])
def test_places_where_no_package_can_be_written(output: str, delivery: Delivery, tmp_path: Path) -> None:
    (tmp_path / "app.toml").write_text(HELLO)
    (tmp_path / "folder").mkdir()
    (tmp_path / "link").symlink_to(delivery.parts.image)
    image = delivery.parts.image.read_bytes()
    ended = build(delivery, tmp_path, "app.toml", "-o", output)
    assert (ended.status, ended.out) == (4, ""), ended.said
    assert f"racs: {output}" in ended.err and "give " in ended.err
    assert files(tmp_path) == {"app.toml", "folder", "link"}
    assert (tmp_path / "app.toml").read_text() == HELLO
    assert delivery.parts.image.read_bytes() == image


@pytest.mark.parametrize(
    ("option", "content", "status", "said"),
    [
        ("--image", b"", 1, "racs: given, byte 0: expected a qcow2 image"),
        ("--image", b"KDMV" + bytes(508), 1, "convert it: qemu-img convert -O qcow2 given IMAGE.qcow2\n"),
        ("--privatekey", b"", 4, "racs: given: it is empty"),
        ("--certificate", b"", 4, "racs: given: it is empty"),
        ("--root", b"", 4, "racs: given: it is empty"),
        ("--privatekey", None, 4, "racs: given is a folder; give the private key's file"),
        ("--root", None, 4, "racs: --root given: the folder holds no file"),
    ],
)
def test_files_that_make_no_package(
    option: str, content: bytes | None, status: int, said: str, delivery: Delivery, tmp_path: Path
) -> None:
    (tmp_path / "app.toml").write_text(HELLO)
    if content is None:
        (tmp_path / "given").mkdir()
    else:
        (tmp_path / "given").write_bytes(content)
    ended = build(delivery, tmp_path, "app.toml", f"{option}=given")
    assert (ended.status, ended.out) == (status, ""), ended.said
    assert said in ended.err
    assert files(tmp_path) == {"app.toml", "given"}


def test_a_key_of_another_certificate(delivery: Delivery, tmp_path: Path) -> None:
    (tmp_path / "app.toml").write_text(HELLO)
    assert command_line.run([RACS, "ca", "--folder=other"], tmp_path).status == 0
    ended = build(delivery, tmp_path, "app.toml", "--privatekey=other/signer.key")
    assert (ended.status, ended.out) == (1, ""), ended.said
    assert (
        f"racs: {delivery.parts.certificate}: expected first the certificate of the key other/signer.key" in ended.err
    )


def test_what_is_neither_an_app_file_nor_a_descriptor(delivery: Delivery, tmp_path: Path) -> None:
    (tmp_path / "app.conf").write_text(HELLO)
    ended = build(delivery, tmp_path, "app.conf")
    assert ended.status == 4 and "an app file's name ends in .toml" in ended.err


def test_all_mistakes_of_an_app_file_are_told_at_once(delivery: Delivery, tmp_path: Path) -> None:
    (tmp_path / "app.toml").write_text(
        HELLO.replace("vendor", "vendr").replace('"1.0.0"', "1").replace("[bus]", "[buss]")
    )
    ended = build(delivery, tmp_path, "app.toml")
    assert (ended.status, ended.out) == (4, "")
    assert ended.err == (
        "racs: app.toml:6, [app] vendr is not known; did you mean vendor?\n"
        '      app.toml:7, [app] version: expected a version in quotes, such as "1.0.0", saw 1\n'
        "      app.toml:11, [buss] is not known; did you mean bus?\n"
    )
