"""A profile of the user's own keeps racs-1's tables, keys and kinds of values, or says which not."""

from importlib import resources
from pathlib import Path

import pytest

from conformance.errors import UsageError
from conformance.profile import DEFAULT, load

SHIPPED = (resources.files("conformance") / "data" / "profiles" / f"{DEFAULT}.toml").read_text()
SHORT = Path(__file__).parent.parent / "apps" / "profiles" / "short.toml"


def with_line(table: str, key: str, line: str) -> str:
    """racs-1 with another line in place of a key's ("" deletes it)."""
    head, _, rest = SHIPPED.partition(f"[{table}]")
    lines = rest.split("\n")
    place = next(index for index, text in enumerate(lines) if text.startswith(f"{key} ="))
    lines[place] = line
    return f"{head}[{table}]" + "\n".join(lines)


def write(folder: Path, text: str) -> str:
    path = folder / "my.toml"
    path.write_text(text)
    return str(path)


@pytest.mark.parametrize(
    ("table", "key", "line", "said"),
    [
        ("heartbeat", "window_s", 'window_s = "sixty"', 'is "sixty"; it has to be a number, as in racs-1.toml (60)'),
        ("heartbeat", "window_s", "window_s = true", "heartbeat.window_s is true; it has to be a number"),
        ("heartbeat", "window_s", "window_s = nan", "heartbeat.window_s is NaN; it has to be a number"),
        ("heartbeat", "window_s", "window_s = inf", "it has to be a number"),
        ("heartbeat", "window_s", "window_s = 0", "heartbeat.window_s is 0; it has to be a number above 0"),
        ("heartbeat", "rate_tolerance", "rate_tolerance = -1", "it has to be a number above 0"),
        ("heartbeat", "missed_max", "missed_max = 2.5", "heartbeat.missed_max is 2.5; it has to be a whole number"),
        ("heartbeat", "port", "port = 70000", "heartbeat.port is 70000; it has to be a port, 1 to 65535"),
        ("heartbeat", "window_s", "", "heartbeat.window_s is missing; copy window_s = 60 from racs-1.toml"),
        ("heartbeat", "window_s", "windows_s = 60", "windows_s is no key of racs-1.toml; do you mean window_s"),
        ("heartbeat", "window_s", "window_s = 60\nzoo = 1", "heartbeat.zoo is no key of racs-1.toml; take it out"),
        ("host", "retries", "retries = -1", "host.retries is -1; it has to be a number from 0 on"),
        ("profile", "id", "id = 5", "profile.id is 5; it has to be a text in quotes"),
        ("package", "curves", 'curves = "P-256"', 'package.curves is "P-256"; it has to be a list'),
        ("package", "curves", 'curves = ["P-256", 384]', "package.curves[1] is 384; it has to be a text in quotes"),
        ("network", "service", 'service = "10.199.0.1/24"', "network.service"),
        ("network", "service", 'service = "fd00::/64"', "it has to be a network of IPv4"),
        ("network", "platform", 'platform = "10.199.0"', "it has to be an IP address"),
        ("network", "outside", 'outside = "fd00::1"', "it has to be an address of IPv4"),
        ("network", "ues", 'ues = ["10.45.0.0/16"]', "network.ues"),
        ("network", "ues", 'ues = ["10.45.0.0/16", "here"]', "network.ues[1]"),
        ("network", "names", "names = [1]", "network.names[0] is 1; it has to be a text"),
        ("console", "markers", 'markers = ["("]', "console.markers[0]"),
        ("user_plane", "payload_sizes", "payload_sizes = [0, -1]", "user_plane.payload_sizes[1] is -1"),
        ("user_plane", "known_ports", "known_ports = 7", "user_plane.known_ports is 7; it has to be a table"),
        ("user_plane", "known_ports", "known_ports = {7 = 7}", "user_plane.known_ports.7 is 7"),
        ("user_plane", "known_ports", 'known_ports = {echo = "echo"}', 'user_plane.known_ports has the key "echo"'),
        ("user_plane", "udp_scan", "udp_scan = [0]", "user_plane.udp_scan[0] is 0; it has to be a port"),
        ("forwarding", "ports", "ports = [29000]", "forwarding.ports"),
        ("forwarding", "ports", "ports = [29999, 29000]", "the first port must not be above the second"),
        ("forwarding", "passwords", 'passwords = [["root"]]', "forwarding.passwords[0]"),
        ("accelerator", "scaled_rates", 'scaled_rates = ["bus.flod"]', 'accelerator.scaled_rates names "bus.flod"'),
        ("accelerator", "scaled_rates", 'scaled_rates = ["machine.cpu.x"]', "accelerator.scaled_rates names"),
    ],
)  # fmt: skip
def test_a_value_of_another_kind_is_named(tmp_path: Path, table: str, key: str, line: str, said: str) -> None:
    name = write(tmp_path, with_line(table, key, line))
    with pytest.raises(UsageError) as refused:
        load(name)
    message = str(refused.value)
    assert message.startswith(f"{name}: ") and said in message
    assert len(message.splitlines()) == (3 if line.startswith("windows_s") else 1)  # that one is missing besides


@pytest.mark.parametrize(
    ("table", "key", "line"),
    [
        ("profile", "id", 'id = "mine"'),
        ("heartbeat", "window_s", "window_s = 30.5"),
        ("heartbeat", "interval_s", "interval_s = 1.1"),
        ("host", "guard_s", "guard_s = 1"),
        ("machine", "forbidden", "forbidden = []"),
        ("user_plane", "known_ports", 'known_ports = {8443 = "http"}'),
        ("forwarding", "ports", "ports = [29000, 29000]"),
    ],
)
def test_other_values_of_the_same_kind_load(tmp_path: Path, table: str, key: str, line: str) -> None:
    load(write(tmp_path, with_line(table, key, line)))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "  accelerator is missing; copy the table from racs-1.toml"),
        ("evidence = 268435456\n" + SHIPPED.partition("[evidence]")[0], "evidence is 268435456; it has to be a table"),
        (SHIPPED + "\n[zoo]\n", "zoo is no key of racs-1.toml"),
        ("a = " + "[" * 5000, "no profile"),
        ("a = ", "no profile"),
    ],
)
def test_what_is_no_profile_says_so(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(UsageError) as refused:
        load(write(tmp_path, text))
    assert said in str(refused.value)


def test_five_faults_are_told_at_once(tmp_path: Path) -> None:
    text = SHIPPED.replace("_s = ", "_s_ = ")
    with pytest.raises(UsageError) as refused:
        load(write(tmp_path, text))
    first, *lines = str(refused.value).splitlines()
    assert first.endswith("my.toml: ")
    assert len(lines) == 6 and lines[-1].startswith("  and ") and lines[-1].endswith(" more")


def test_the_tests_own_profile_and_a_copy_load(tmp_path: Path) -> None:
    assert load(str(SHORT)).id == "racs-1-short"
    assert load(write(tmp_path, SHIPPED)) == load()
