"""racs rule as a user meets it: words, faults with a caret, captures, JSON, exit statuses."""

import gzip
import json
import struct
import subprocess
from pathlib import Path
from typing import Any

import command_line
import pytest
from command_line import RACS, REPOSITORY, Delivery, deliver
from scapy.contrib.gtp import GTP_U_Header
from scapy.layers.inet import IP, TCP, UDP
from scapy.layers.l2 import ARP, Ether
from scapy.utils import PcapNgWriter, wrpcap

WEB = "4==ip_version && proto==TCP && (80==dst_port || 8080==dst_port)"
WEB_BACK = "4==ip_version && proto==TCP && (80==src_port || 8080==src_port)"
LENS = REPOSITORY / "examples" / "lens" / "lens.ovf"
GOON = REPOSITORY / "examples" / "goon" / "goon.ovf"
HOSTILE = [" && ".join(f"!(src_port=={i + n}&&dst_port=={i + n})" for i in range(1, 115)) for n in range(32)]


@pytest.fixture(scope="module")
def delivery(tmp_path_factory: pytest.TempPathFactory) -> Delivery:
    return deliver(tmp_path_factory.mktemp("delivery"))


@pytest.fixture(scope="module")
def captures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the same packets as s1u.pcap and s1u.pcapng, a cut one and one that is none."""
    folder = tmp_path_factory.mktemp("captures")
    syn = IP(src="10.45.0.1", dst="203.0.113.1") / TCP(sport=40000, dport=80)
    back = IP(src="203.0.113.1", dst="10.45.0.1") / TCP(sport=80, dport=40000)
    outer = Ether() / IP(src="10.200.1.2", dst="10.200.1.1") / UDP(sport=2152, dport=2152)
    packets = [outer / GTP_U_Header(teid=5) / syn, outer / GTP_U_Header(teid=6) / back, Ether() / ARP(), Ether() / syn]
    for number, packet in enumerate(packets):
        packet.time = 1_732_350_000 + number / 8
    wrpcap(str(folder / "s1u.pcap"), packets)
    writer: Any = PcapNgWriter(str(folder / "s1u.pcapng"))
    with writer:
        writer.write(packets)
    whole = (folder / "s1u.pcap").read_bytes()
    (folder / "cut.pcap").write_bytes(whole[:-5])
    (folder / "text.pcap").write_text("no capture")
    (folder / "empty.pcap").write_bytes(b"")
    (folder / "packed.pcap.gz").write_bytes(gzip.compress(whole))
    (folder / "wireless.pcap").write_bytes(whole[:20] + struct.pack("<I", 105) + whole[24:])
    (folder / "large.pcap").write_bytes(whole[:32] + struct.pack("<I", 0x7FFFFFFF) + whole[36:])
    return folder


def rule(folder: Path, *words: str) -> command_line.Ended:
    return command_line.run([RACS, "rule", *words], folder)


def test_a_sound_rule_in_words(tmp_path: Path) -> None:
    ended = rule(tmp_path, WEB)
    assert ended == command_line.Ended(
        0,
        f"  {WEB}\n  selects   IPv4 TCP packets to port 80 or 8080\n  answers   {WEB_BACK}\n  sound\n\n1 sound\n",
        "",
    )


@pytest.mark.parametrize(
    ("words", "status", "said"),
    [
        (["dst_port == 70000"], 1, ["a number from 0 to 65535", "  dst_port == 70000\n", " ^^^^^\n"]),
        (["proto == 10.0.0.1"], 1, ["a protocol's number or name for proto", "mend      correct the rule"]),
        ([""], 1, ["the end of the rule"]),
        (["(" * 33 + "dscp==1" + ")" * 33], 1, ["at most 32 levels", "take away parentheses"]),
        (["dscp==1".ljust(5000)], 1, ["a rule of at most 4096 characters", "5000"]),
        (["proto==ICMP && dst_port==80"], 1, ["can satisfy: packets of that protocol have no ports", "1 broken"]),
        (["ip_version==6"], 1, ["IPv6 packets only"]),
        (["proto==TCP || !(proto==TCP)"], 1, ["all IPv4 packets selected"]),
        (["dst_port==80"], 0, ["ports without a protocol", "1 sound; 1 remark"]),
        (["proto==TCP && (dscp==1 || dscp==1)"], 0, ["`dscp==1` adds nothing: `dscp==1` selects all", "1 remark"]),
        ([*HOSTILE, "--downlink", WEB], 6, ["rules for uplink\n", "too large to decide", "33 sound"]),
        ([WEB, "dscp=1"], 1, ["rule 1\n", "rule 2\n", "1 broken, 1 sound"]),
        ([WEB, "proto==TCP && dst_port==80"], 0, ["'1' and '2' both select a packet with ip_version 4, proto TCP"]),
        ([WEB, "--downlink", WEB_BACK], 0, ["rule 1 uplink\n", "rule 2 downlink\n", "2 sound\n"]),
        ([WEB, "--downlink", WEB], 0, ["for uplink by '1', its answer is not for downlink", f"`{WEB_BACK}`"]),
        (["dscp==1", "--downlink", "dscp==1"], 0, ["2 sound\n"]),
        (["dscp==1", "!(dscp==1)", "--downlink", WEB], 1, ["selected together", "1 broken, 3 sound"]),
        (["ip_version==4", "--downlink", WEB], 1, ["all IPv4 packets selected\n", "1 broken, 1 sound"]),
        (["dscp==1", "!(dscp==1)"], 0, ["2 sound\n"]),
        (["--ova", str(LENS)], 0, ["rule web uplink", WEB, "IPv4 TCP packets from port 80 or 8080", "2 sound\n"]),
    ],
)  # fmt: skip
def test_rules(words: list[str], status: int, said: list[str], tmp_path: Path) -> None:
    ended = rule(tmp_path, *words)
    assert (ended.status, ended.err) == (status, ""), ended.said
    assert all(part in ended.out for part in said), ended.out


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "give rules"),
        ([WEB, "--ova", str(LENS)], "give rules"),
        ([WEB, "--all"], "give --packet FILE too"),
        ([WEB, "--packet", "{folder}/missing.pcap"], "is not there; give the path of the capture"),
        ([WEB, "--packet", "{folder}"], "is a folder"),
        ([WEB, "--packet", "{folder}/text.pcap"], "saw one that begins with 6e6f2063; give a file that tcpdump -w"),
        ([WEB, "--packet", "{folder}"], "is a folder"),
        ([WEB, "--packet", "/dev/null"], "is no regular file"),
        ([WEB, "--packet", "{folder}/empty.pcap"], "saw an empty one"),
        ([WEB, "--packet", "{folder}/packed.pcap.gz"], "unpack it first: gunzip FILE"),
        ([WEB, "--packet", "{folder}/wireless.pcap"], "a link type that is not read (Ethernet, raw IP and"),
        ([WEB, "--packet", "{folder}/large.pcap"], "packet 1: expected at most 262144 bytes, saw 2147483647"),
        ([WEB, "--packet", "-"], "-: expected a capture file (pcap or pcapng), saw an empty one"),
        ([WEB, "--json", "{folder}/missing/x"], "give a file in a folder that is there"),
        ([WEB, "--profile", "racs-0"], "racs-0"),
        (["--ova", "{folder}/missing.ova"], "is not there"),
        (["--ova", "{folder}/text.pcap"], "./racs check says what is wrong with it"),
        (["--ova", str(GOON)], "the app is terminating"),
        ([WEB, "--colour"], "--colour"),
    ],
)
def test_wrong_calls(words: list[str], said: str, captures: Path, tmp_path: Path) -> None:
    ended = rule(tmp_path, *(word.replace("{folder}", str(captures)) for word in words))
    assert ended.status == 4, ended.said
    assert said in ended.err


def test_the_rules_of_a_package(delivery: Delivery, tmp_path: Path) -> None:
    ended = rule(tmp_path, "--ova", str(delivery.ova))
    assert (ended.status, "goon.ova: the app is terminating" in ended.err) == (4, True), ended.said
    broken = tmp_path / "app.ovf"
    broken.write_text(LENS.read_text().replace("(80==src_port || 8080==src_port)", "src_port==70000"))
    ended = rule(tmp_path, "--ova", str(broken))
    assert ended.status == 1
    assert all(text in ended.out for text in ("from 0 to 65535", "(line 112)", "^^^^^", "1 broken, 1 sound")), ended.out


SELECTED = """\
     1     0.000000  TCP 10.45.0.1:40000 > 203.0.113.1:80, 40 bytes, in GTP-U TEID 0x00000005
     4     0.375000  TCP 10.45.0.1:40000 > 203.0.113.1:80, 40 bytes
2 of 4 packets selected (2 found inside GTP-U tunnels; 1 no packet that rules are for)
"""


@pytest.mark.parametrize("name", ["s1u.pcap", "s1u.pcapng"])
def test_packets_of_a_capture(name: str, captures: Path, tmp_path: Path) -> None:
    ended = rule(tmp_path, WEB, "--packet", str(captures / name))
    assert (ended.status, ended.err) == (0, "")
    assert ended.out.endswith(SELECTED), ended.out


def test_all_packets_by_direction(captures: Path, tmp_path: Path) -> None:
    ended = rule(tmp_path, "--ova", str(LENS), "--packet", str(captures / "s1u.pcap"), "--all")
    lines = ended.out.splitlines()[-5:]
    assert [line.split()[0] for line in lines[:4]] == ["yes", "yes", "-", "yes"], lines
    assert [line.endswith("[web]") for line in lines[:4]] == [True, True, False, True]
    ended = rule(tmp_path, WEB, "--packet", str(captures / "s1u.pcap"), "--all")
    assert [line.split()[0] for line in ended.out.splitlines()[-5:-1]] == ["yes", "no", "-", "yes"]


def test_a_broken_rule_is_not_tried(captures: Path, tmp_path: Path) -> None:
    ended = rule(tmp_path, "dst_port==x", "--packet", str(captures / "s1u.pcap"))
    assert (ended.status, "packets selected" in ended.out) == (1, False)


def test_a_capture_on_standard_input(captures: Path, tmp_path: Path) -> None:
    whole = (captures / "s1u.pcap").read_bytes()
    command = [RACS, "rule", WEB, "--packet", "-"]
    ended = subprocess.run(command, input=whole, cwd=tmp_path, capture_output=True, check=False)
    assert (ended.returncode, ended.stderr) == (0, b"")
    assert ended.stdout.decode().endswith(SELECTED)


def test_a_capture_that_was_cut_off(captures: Path, tmp_path: Path) -> None:
    ended = rule(tmp_path, WEB, "--packet", str(captures / "cut.pcap"))
    assert ended.status == 0
    assert ended.out.endswith(
        "1 of 3 packets selected (2 found inside GTP-U tunnels; 1 no packet that rules are for)\n"
    )
    assert "ends inside packet 4; what stands before was read" in ended.err


def test_json_is_alone_on_standard_output(captures: Path, tmp_path: Path) -> None:
    words = [WEB, "dscp==1 || dscp==1", "dscp=1", "--packet", str(captures / "s1u.pcap")]
    ended = rule(tmp_path, *words, "--json", "-")
    told = json.loads(ended.out)
    assert (ended.status, told["format"]) == (1, "racs-rule/1")
    assert [one["verdict"] for one in told["rules"]] == ["sound", "sound", "broken"]
    assert [one["direction"] for one in told["rules"]] == [None] * 3
    assert told["rules"][0]["words"] == "IPv4 TCP packets to port 80 or 8080"
    (remark,) = told["rules"][1]["remarks"]
    assert (remark["kind"], remark["begin"], remark["end"]) == ("idle part", 11, 18)
    assert told["rules"][2]["fault"]["seen"] == "'='"
    assert told["together"][0]["packet"]["dst_ip"] == "203.0.113.1"
    assert told["packets"]["counts"] == {"IPv6": 0, "left": 1, "no packet": 1, "selected": 2, "tunnelled": 2}
    first = told["packets"]["packets"][0]
    assert (first["number"], first["at_ns"], first["rules"], first["teid"]) == (1, 1_732_350_000 * 10**9, ["1"], 5)
    assert first["fields"]["dst_port"] == 80
    ended = rule(tmp_path, *words, "--json", "rules.json")
    assert json.loads((tmp_path / "rules.json").read_text()) == told
    assert ended.out.startswith("rule 1\n")


def test_a_reader_that_goes_away_is_no_error(captures: Path, tmp_path: Path) -> None:
    command = f"'{RACS}' rule '{WEB}' --packet '{captures / 's1u.pcap'}' --all | true; exit ${{PIPESTATUS[0]}}"
    ended = subprocess.run(["bash", "-c", command], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stderr) == (0, "")


def test_a_rule_needs_no_packages_parts(tmp_path: Path) -> None:
    """Start-up: neither XML nor cryptography is imported for a rule."""
    code = (
        "import sys; from harness.cli import main\n"
        f"try: main(['rule', {WEB!r}])\n"
        "except SystemExit: pass\n"
        "print(sorted({'lxml', 'cryptography', 'libvirt', 'pytest'} & set(sys.modules)))"
    )
    interpreter = Path(RACS).with_name("python")
    ended = command_line.run([str(interpreter), "-c", code], REPOSITORY)
    assert ended.out.endswith("[]\n"), ended.said
