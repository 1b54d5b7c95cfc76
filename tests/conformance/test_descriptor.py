"""The descriptor's reader: what it reads, where it says a fault is, and that nothing raises. Single defects and valid
variations are the corpus's, tests/packages."""

import re
import time

import pytest
from corpus import descriptor_text, edited
from hypothesis import given, settings
from hypothesis import strategies as st

from conformance import profile as profiles
from conformance.application import Application, Endpoint, Feature, Forward, Mount, Service
from conformance.package import descriptor, disk

PROFILE = profiles.load()
MIB = 2**20
Edit = tuple[str, str]


def text_of(base: str, *edits: Edit) -> str:
    return descriptor_text(edited(*edits, base=base))


def more(extra: str, *, before: str) -> Edit:
    """An edit that puts something before a tag."""
    return before, extra + before


def read(text: str) -> descriptor.Descriptor:
    return descriptor.read(text.encode(), PROFILE)


def ids_of(found: descriptor.Descriptor) -> set[str]:
    return {fault.requirement for fault in found.faults}


def test_where_has_xpath_and_line() -> None:
    text = text_of("terminating", ('interval="1.0"', 'interval="2"'))
    line = next(number for number, row in enumerate(text.splitlines(), 1) if "<racs:Heartbeat" in row)
    (fault,) = [fault for fault in read(text).faults if fault.requirement == "DSC-014"]
    path = "/ovf:Envelope/ovf:VirtualSystem/racs:ApplicationSection/racs:Heartbeat"
    assert fault.finding.where == f"descriptor, {path} (line {line})"


def test_where_of_a_schema_fault_has_xpath_and_line() -> None:
    """Also with another prefix, and one that the root does not declare."""
    text = text_of("terminating", ('default="off"', 'default="maybe"'))
    text = text.replace("racs:", "r:").replace('xmlns:racs="urn:racs:application:1"', "")
    text = text.replace("<r:ApplicationSection", '<r:ApplicationSection xmlns:r="urn:racs:application:1"')
    (fault,) = [fault for fault in read(text).faults if fault.requirement == "DSC-001"]
    assert re.search(r"Features/\w+:Feature\[2\]/@default \(line \d+\)$", fault.finding.where)


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
    found = [fault.finding for fault in read(text_of("terminating", *edits)).faults if fault.requirement == "DSC-001"]
    assert hint in found[0].remedy


def test_items_in_the_order_of_virtualbox_have_a_remedy() -> None:
    """It writes StorageItem before EthernetPortItem."""
    cim = "http://schemas.dmtf.org/wbem/wscim/1/cim-schema/2/CIM_{}AllocationSettingData"
    items = [
        f'<ovf:{name} xmlns:x="{cim.format(of)}"><x:ElementName/><x:InstanceID>{number}</x:InstanceID></ovf:{name}>'
        for name, of, number in (("StorageItem", "Storage", 80), ("EthernetPortItem", "EthernetPort", 81))
    ]
    text = text_of("terminating", more("".join(items), before="    </ovf:VirtualHardwareSection>"))
    (remedy,) = [fault.finding.remedy for fault in read(text).faults if fault.requirement == "DSC-001"]
    assert "then StorageItem" in remedy


def test_the_whole_application_is_read() -> None:
    storage = '<racs:Storage><racs:Mount path="/" capacity="0.5" unit="MiB"/></racs:Storage>'
    probe = '<racs:Service protocol="udp" port="5000"><racs:Probe send="50AB" expect="ff"/></racs:Service>'
    text = text_of(
        "terminating",
        more(storage, before="      <racs:Drills"),
        ('<racs:Service protocol="tcp" port="7"/>', probe),
    )
    found = read(text)
    assert found.references == (
        disk.Reference("image", "disk.qcow2", 24576),
        disk.Reference("acl", "auth/acl.xml"),
    )
    uri = "http://www.gnome.org/~markmc/qcow-image-format.html"
    assert found.disks == (disk.Disk("disk", "image", MIB, uri),)
    services = (Service("udp", 7), Service("udp", 5000, "50ab", "ff"))
    assert found.application == Application(
        id="probe", type="terminating", vendor="Example Apps", product="Probe", version="1.0.0",
        heartbeat_interval_s=1.0, nics=("service", "user-plane"), endpoints=(Endpoint("probe.apps.example", services),),
        forwards=(Forward("tcp", 29001, 22),), mounts=(Mount("/", MIB // 2),), drills=("hang",),
        features=(
            Feature("probe.echo", "Echo", "PROBE-1", True),
            Feature("probe.greeting", "Greeting", "PROBE-2", False),
        ),
        properties={"greeting": "hello"}, cpus=1, memory_mib=512, disk_capacity_bytes=MIB,
    )  # fmt: skip


def test_the_contract_s_rules_are_read() -> None:
    application = read(text_of("transparent")).application
    assert application is not None
    assert [(rule.name, rule.direction, rule.text) for rule in application.rules] == [
        ("web", "uplink", "4==ip_version && proto==TCP && (80==dst_port || 8080==dst_port)"),
        ("web", "downlink", "4==ip_version && proto==TCP && (80==src_port || 8080==src_port)"),
    ]
    assert [(effect.name, effect.payload) for effect in application.effects] == [("web", "preserves")]


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
        text_of("terminating", more("<ovf:Item/>" * 9_000, before="    <racs:ApplicationSection")),
        text_of("terminating", more("<racs:Nic/>" * 9_000, before="    </racs:ApplicationSection>")),
        text_of("terminating", ("      <racs:Nic network=\"service\"/>", '<racs:Nic network="x"/>' * 9_000)),
        text_of("terminating", more('<ovf:Network ovf:name="x"/>' * 9_000, before="  </ovf:NetworkSection>")),
        text_of("terminating", more('<ovf:File ovf:id="x" ovf:href="y"/>' * 9_000, before="  </ovf:References>")),
    ):  # fmt: skip
        assert read(text).faults
    assert time.process_time() - begun < 30


_TEXTS = [text_of(example) for example in ("terminating", "transparent")]


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
