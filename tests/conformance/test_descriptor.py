"""The descriptor's reader: one defect trips its one id, valid variations trip none, and nothing raises."""

import re
import time
from pathlib import Path

import pytest
from descriptor_cases import EXAMPLES, GIB, INVALID, VALID, Edit, more_hardware, more_sections, mount, storage, text_of
from hypothesis import given, settings
from hypothesis import strategies as st

from conformance import profile as profiles
from conformance.application import Application, Endpoint, Feature, Forward, Mount, Service
from conformance.package import descriptor, disk

PROFILE = profiles.load()
EVERYWHERE = {"DSC-011"}  # the examples' guest system: a warning that they live with

valid = pytest.mark.parametrize(
    ("example", "edits"), [pytest.param(*case[1:], id=f"{case[1]}: {case[0]}") for case in VALID]
)


def read(text: str) -> descriptor.Descriptor:
    return descriptor.read(text.encode(), PROFILE)


def ids_of(found: descriptor.Descriptor) -> set[str]:
    return {fault.requirement for fault in found.faults} - EVERYWHERE


@valid
def test_valid_variations(example: str, edits: tuple[Edit, ...]) -> None:
    found = read(text_of(example, *edits))
    assert [fault for fault in found.faults if fault.requirement not in EVERYWHERE] == []
    assert found.usable
    assert found.application is not None


@pytest.mark.parametrize(
    ("requirement", "example", "edits"),
    [pytest.param(one, *case[1:], id=f"{one} {case[0]}") for one, cases in INVALID.items() for case in cases],
)
def test_one_defect_trips_its_one_requirement(requirement: str, example: str, edits: tuple[Edit, ...]) -> None:
    found = read(text_of(example, *edits))
    assert ids_of(found) == {requirement}, found.faults
    for fault in found.faults:
        finding = fault.finding
        assert finding.expected and finding.seen and finding.remedy
        assert re.match(r"descriptor(, |$)", finding.where)


def test_where_has_xpath_and_line() -> None:
    text = text_of("goon", ('interval="1.0"', 'interval="2"'))
    line = next(number for number, row in enumerate(text.splitlines(), 1) if "<racs:Heartbeat" in row)
    (fault,) = [fault for fault in read(text).faults if fault.requirement == "DSC-014"]
    path = "/ovf:Envelope/ovf:VirtualSystem/racs:ApplicationSection/racs:Heartbeat"
    assert fault.finding.where == f"descriptor, {path} (line {line})"


def test_where_of_a_schema_fault_has_xpath_and_line() -> None:
    """Also with another prefix, and one that the root does not declare."""
    text = text_of("goon", ('default="off"', 'default="maybe"'))
    text = text.replace("racs:", "r:").replace('xmlns:racs="urn:racs:application:1"', "")
    text = text.replace("<r:ApplicationSection", '<r:ApplicationSection xmlns:r="urn:racs:application:1"')
    (fault,) = [fault for fault in read(text).faults if fault.requirement == "DSC-001"]
    assert re.search(r"Features/\w+:Feature\[2\] \(line \d+\)$", fault.finding.where)


@pytest.mark.parametrize(
    ("edits", "hint"),
    [
        ([("AllocationSettingData", "AllocationSettingData.xsd")], "without"),
        ([("<rasd:ElementName>The disk</rasd:ElementName>", "")], "ElementName and InstanceID"),
        ([(' ovf:href="auth/acl.xml"', "")], "prefix"),
        ([("<ovf:Info>The boot disk</ovf:Info>", "")], "examples/goon"),
        ([("envelope/2", "envelope/1")], "OVF 2.0"),
    ],
)
def test_what_tools_get_wrong_has_a_remedy_of_its_own(edits: list[Edit], hint: str) -> None:
    found = [fault.finding for fault in read(text_of("goon", *edits)).faults if fault.requirement == "DSC-001"]
    assert hint in found[0].remedy


def test_items_in_the_order_of_virtualbox_have_a_remedy() -> None:
    """It writes StorageItem before EthernetPortItem."""
    cim = "http://schemas.dmtf.org/wbem/wscim/1/cim-schema/2/CIM_{}AllocationSettingData"
    items = [
        f'<ovf:{name} xmlns:x="{cim.format(of)}"><x:ElementName/><x:InstanceID>{number}</x:InstanceID></ovf:{name}>'
        for name, of, number in (("StorageItem", "Storage", 80), ("EthernetPortItem", "EthernetPort", 81))
    ]
    text = text_of("goon", more_hardware("".join(items)))
    (remedy,) = [fault.finding.remedy for fault in read(text).faults if fault.requirement == "DSC-001"]
    assert "then StorageItem" in remedy


def test_the_whole_application_is_read() -> None:
    text = text_of(
        "goon",
        storage(mount("/", "1.5", "GiB")),
        ('<racs:Service protocol="tcp" port="7"/>', ('<racs:Service protocol="udp" port="5000">'
         '<racs:Probe send="50AB" expect="ff"/></racs:Service>')),
        ("    </ovf:ProductSection>",
         '<ovf:Property ovf:key="colour" ovf:type="string" ovf:value="red"/></ovf:ProductSection>'),
    )  # fmt: skip
    found = read(text)
    assert found.references == (
        disk.Reference("image", "goon.qcow2", 327680),
        disk.Reference("acl", "auth/acl.xml"),
    )
    uri = "http://www.gnome.org/~markmc/qcow-image-format.html"
    assert found.disks == (disk.Disk("disk", "image", 2 * GIB, uri),)
    services = (Service("udp", 7), Service("udp", 5000, "50ab", "ff"))
    assert found.application == Application(
        id="goon", type="terminating", vendor="Example Apps", product="GoOn", version="1.0.0",
        heartbeat_interval_s=1.0, nics=("service", "user-plane"), endpoints=(Endpoint("goon.apps.example", services),),
        forwards=(Forward("tcp", 29001, 22),), mounts=(Mount("/", 3 * GIB // 2),), drills=("hang",),
        features=(
            Feature("goon.echo", "Echo", "RACS-GOON-001", True),
            Feature("goon.greeting", "Greeting", "RACS-GOON-002", False),
        ),
        properties={"colour": "red"}, cpus=1, memory_mib=512, disk_capacity_bytes=2 * GIB,
    )  # fmt: skip


def test_the_rules_of_lens_are_the_contracts() -> None:
    application = read(text_of("lens")).application
    assert application is not None
    assert [(rule.name, rule.direction, rule.text) for rule in application.rules] == [
        ("web", "uplink", "4==ip_version && proto==TCP && (80==dst_port || 8080==dst_port)"),
        ("web", "downlink", "4==ip_version && proto==TCP && (80==src_port || 8080==src_port)"),
    ]
    assert [(effect.name, effect.payload) for effect in application.effects] == [("web", "preserves")]


@pytest.mark.parametrize(
    ("number", "description", "fine"),
    [
        ("80", "", True),
        ("79", "", True),
        ("107", "", True),
        ("109", "", True),
        ("101", "Rocky Linux 9", True),
        ("101", "AlmaLinux 9.3", True),
        ("101", "Red Hat Enterprise Linux", True),
        ("101", "Linux", False),
        ("96", "Debian", False),
    ],
)
def test_guest_system(number: str, description: str, fine: bool) -> None:
    text = text_of("goon", ('ovf:id="96"', f'ovf:id="{number}"'), ("Debian GNU/Linux 12 (64-bit)", description))
    assert any(fault.requirement == "DSC-011" for fault in read(text).faults) is not fine


def test_without_a_guest_system_section() -> None:
    text = re.sub(r"<ovf:OperatingSystemSection.*?</ovf:OperatingSystemSection>", "", text_of("goon"), flags=re.S)
    assert {fault.requirement for fault in read(text).faults} == {"DSC-011"}


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_encodings(encoding: str) -> None:
    text = text_of("goon").replace('encoding="UTF-8"', f'encoding="{encoding.removesuffix("-sig").upper()}"')
    assert ids_of(descriptor.read(text.encode(encoding), PROFILE)) == set()


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\n",
        bytes(4096),
        b"\xff" * 100,
        b"PK\x03\x04",
        b"<",
        b"<a/>",
        b"<ovf:Envelope/>",
        text_of("goon").encode("utf-32"),
        text_of("goon").encode("utf-16"),  # declares UTF-8
        text_of("goon").encode("utf-16-le"),  # no byte order mark
        text_of("goon").replace("UTF-8", "UTF-7").encode(),
        text_of("goon").replace("UTF-8", "ISO-8859-1").encode(),
        text_of("goon").encode() + b"\x00",
        text_of("goon").encode() * 2,
    ],
    ids=range(15),
)
def test_bytes_that_are_no_descriptor(data: bytes) -> None:
    found = descriptor.read(data, PROFILE)
    assert {fault.requirement for fault in found.faults} == {"DSC-001"}
    assert not found.usable
    assert found.application is None


def test_hostile_documents_are_refused_in_bounded_time() -> None:
    laughs = "".join(f'<!ENTITY a{n} "{f"&a{n - 1};" * 10}">' for n in range(1, 30))
    outside = '<!DOCTYPE a [<!ENTITY x SYSTEM "file:///etc/passwd">]><a>&x;</a>'
    begun = time.process_time()
    for text in (
        f'<!DOCTYPE a [<!ENTITY a0 "ha">{laughs}]><a>&a29;</a>',
        outside,
        "<a>" * 300_000,
        "<a " + " ".join(f'a{n}=""' for n in range(100_000)) + "/>",
        "<a" + "x" * 2**20 + "/>",
        text_of("goon", more_sections("<ovf:Item/>" * 9_000)),
        text_of("goon", ("    </racs:ApplicationSection>", "<racs:Nic/>" * 9_000 + "</racs:ApplicationSection>")),
        text_of("goon", ("      <racs:Nic network=\"service\"/>", '<racs:Nic network="x"/>' * 9_000)),
        text_of("goon", ("  </ovf:NetworkSection>", '<ovf:Network ovf:name="x"/>' * 9_000 + "</ovf:NetworkSection>")),
        text_of("goon", ("  </ovf:References>", '<ovf:File ovf:id="x" ovf:href="y"/>' * 9_000 + "</ovf:References>")),
    ):  # fmt: skip
        assert read(text).faults
    assert time.process_time() - begun < 30


_TEXTS = [text_of(example) for example in ("goon", "lens")]


@settings(derandomize=True, max_examples=150, deadline=None)
@given(st.sampled_from(_TEXTS), st.data())
def test_nothing_raises(text: str, data: st.DataObject) -> None:
    """Cut out, double or change a stretch from one mark to another: faults or none, but never an exception."""
    for _ in range(data.draw(st.integers(1, 3))):
        marks = [match.start() for match in re.finditer(r'[<>"=]', text)] or [0]
        begin = data.draw(st.sampled_from(marks))
        end = data.draw(st.sampled_from(marks[marks.index(begin) :]) | st.just(begin + 1))
        middle = data.draw(
            st.sampled_from(["", text[begin:end] * 2, "<", "&", '"', "x", "0", "-1", "9" * 30, "\u0000"])
        )
        text = text[:begin] + middle + text[end:]
    found = descriptor.read(text.encode(), PROFILE)
    assert found.usable or found.faults


def test_examples_are_all_tried() -> None:
    assert {path.stem for path in EXAMPLES.glob("*/*.ovf")} == {"goon", "lens"}


def test_every_id_has_its_cases() -> None:
    assert set(INVALID) >= {f"DSC-{n:03}" for n in (1, 2, 3, 4, 5, 7, 8, 9, 10, 12, 13, 14)} | {
        "RES-001", "RES-002", "RES-003", "PKG-010", "PKG-015",
    }  # fmt: skip
    assert Path(EXAMPLES / "goon" / "goon.ovf").is_file()
