"""Our own schema of OVF 2 against the DMTF's (DSP8023 2.0.1), where that is at hand: they accept and refuse the same.

The DMTF's files are not ours to ship; put them into ../shared/schemas/ovf2 beside the repository to run this.
"""

import copy
import random
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from descriptor_cases import INVALID, VALID, item, more_hardware, text_of
from lxml import etree

from conformance.package import document
from conformance.package.descriptor_envelope import OVF, RACS

ORACLE = Path(__file__).resolve().parents[2].parent / "shared" / "schemas" / "ovf2"
pytestmark = pytest.mark.skipif(not ORACLE.is_dir(), reason=f"the DMTF's schemas are not at {ORACLE}")

RICH = text_of(
    "goon",
    more_hardware(
        '<ovf:EthernetPortItem xmlns:e="http://schemas.dmtf.org/wbem/wscim/1/cim-schema/2/'
        'CIM_EthernetPortAllocationSettingData"><e:Address>a</e:Address><e:DesiredVLANEndpointMode>2'
        "</e:DesiredVLANEndpointMode><e:ElementName>n</e:ElementName><e:InstanceID>70</e:InstanceID>"
        "<e:ResourceType>10</e:ResourceType><e:VSITypeID>7</e:VSITypeID></ovf:EthernetPortItem>"
        '<ovf:StorageItem xmlns:s="http://schemas.dmtf.org/wbem/wscim/1/cim-schema/2/'
        'CIM_StorageAllocationSettingData"><s:Access>1</s:Access><s:Caption>c</s:Caption><s:ElementName>n'
        "</s:ElementName><s:HostExtentNameFormat>2</s:HostExtentNameFormat><s:InstanceID>71</s:InstanceID>"
        "<s:ResourceType>17</s:ResourceType></ovf:StorageItem>"
    ),
    (
        "      <!-- In each item",
        (
            '<ovf:System xmlns:v="http://schemas.dmtf.org/wbem/wscim/1/cim-schema/2/CIM_VirtualSystemSettingData">'
            "<v:AutomaticRecoveryAction>2</v:AutomaticRecoveryAction><v:ChangeableType>0</v:ChangeableType>"
            "<v:CreationTime><Datetime xmlns='http://schemas.dmtf.org/wbem/wscim/1/common'>2030-01-01T00:00:00Z</Datetime>"
            "</v:CreationTime><v:ElementName>n</v:ElementName><v:InstanceID>0</v:InstanceID></ovf:System><!-- In each"
        ),
    ),
    (
        "    <!-- What OVF has no words for. -->",
        (
            "<ovf:AnnotationSection><ovf:Info/><ovf:Annotation>x</ovf:Annotation></ovf:AnnotationSection>"
            "<ovf:EulaSection><ovf:Info/><ovf:License>x</ovf:License></ovf:EulaSection>"
        ),
    ),
    (
        "    </ovf:ProductSection>",
        (
            '<ovf:Category>c</ovf:Category><ovf:Property ovf:key="k" ovf:type="uint8" ovf:password="false">'
            '<ovf:Value ovf:value="1"/></ovf:Property></ovf:ProductSection>'
        ),
    ),
    ("</ovf:Envelope>", '<ovf:Strings xml:lang="de"><ovf:Msg ovf:msgid="a">b</ovf:Msg></ovf:Strings></ovf:Envelope>'),
)


class _Local(etree.Resolver):
    """Every imported URL is the file of the same base name."""

    def resolve(self, system_url: str, public_id: str, context: object) -> Any:  # type: ignore[override]  # stubs of 2.x
        path = ORACLE / system_url.rpartition("/")[2]
        return self.resolve_filename(str(path), context)  # type: ignore[attr-defined]  # the stubs lack it


@cache
def oracle() -> etree.XMLSchema:
    parser = etree.XMLParser(no_network=True)
    parser.resolvers.add(_Local())
    return etree.XMLSchema(etree.parse(str(ORACLE / "dsp8023_2.0.1.xsd"), parser))


def standard_part(text: str) -> etree._Element:
    """The descriptor without the section of our own, which the DMTF's schema refuses by itself."""
    root = etree.fromstring(text.encode(), etree.XMLParser(remove_comments=True))
    for section in list(root.iter(f"{RACS}ApplicationSection")):
        parent = section.getparent()
        assert parent is not None
        parent.remove(section)
    return root


def compare(root: etree._Element) -> bool:
    theirs = oracle().validate(root)
    ours = document.validate(root, "racs-application.xsd", "descriptor")
    assert theirs is not bool(ours), (etree.tostring(root).decode(), oracle().error_log, ours)
    return theirs


def test_the_rich_descriptor_is_valid() -> None:
    assert compare(standard_part(RICH))


# What is not in our schema by design: sections that the reader takes out before it looks, and what DSC-002 counts.
OWN_COUNT = {"optional section of the standard", "required section of the standard", "DeploymentOption",
             "a collection", "two VirtualSystems", "optional foreign section", "optional foreign section, 0",
             "optional foreign section of the envelope"}  # fmt: skip


@pytest.mark.parametrize(
    ("example", "edits"),
    [
        pytest.param(case[1], case[2], id=f"{case[1]}: {case[0]}")
        for case in [*VALID, *(case for one in ("DSC-001", "DSC-004", "DSC-012", "PKG-010") for case in INVALID[one])]
        if case[0] not in OWN_COUNT
    ],
)
def test_both_judge_the_cases_alike(example: str, edits: tuple[tuple[str, str], ...]) -> None:
    try:
        root = standard_part(text_of(example, *edits))
    except etree.XMLSyntaxError:
        return  # no XML: not for a schema
    compare(root)


_VALUES = [
    "",
    " ",
    "0",
    "1",
    "4",
    "5",
    "6",
    "10",
    "17",
    "64",
    "-1",
    "65536",
    "4294967296",
    "true",
    "maybe",
    "a b",
    "x" * 65,
]


@pytest.mark.parametrize("seed", range(40))
def test_both_judge_mutations_alike(seed: int) -> None:
    """Fifty mutations a seed: drop, double, move or rename an element, drop, add or change an attribute or a text."""
    chance = random.Random(seed)
    base = standard_part(RICH)
    accepted = 0
    for _ in range(50):
        root = copy.deepcopy(base)
        for _ in range(chance.choice((1, 1, 2))):
            mutate(root, chance)
        accepted += compare(root)
    assert 0 < accepted < 50


def mutate(root: etree._Element, chance: random.Random) -> None:
    element = chance.choice([one for one in root.iter(etree.Element) if one is not root])
    parent = element.getparent()
    assert parent is not None
    other = chance.choice(list(root.iter(etree.Element)))
    match chance.randrange(8):
        case 0:
            parent.remove(element)
        case 1:
            parent.insert(chance.randrange(len(parent) + 1), copy.deepcopy(element))
        case 2:
            parent.insert(chance.randrange(len(parent)), element)
        case 3 if etree.QName(other).namespace == etree.QName(element).namespace:
            element.tag = other.tag  # into another namespace would be an extension, where the DMTF looks deeper
        case 4 if element.attrib:
            del element.attrib[chance.choice(sorted(element.attrib))]
        case 5:
            name = chance.choice(["required", "size", "id", "key", "value", "userConfigurable", "capacity", "bound"])
            element.set(chance.choice((OVF, "", "{urn:x}")) + name, chance.choice(_VALUES))
        case 6 if element.attrib:
            element.set(chance.choice(sorted(element.attrib)), chance.choice(_VALUES))
        case _:
            element.text = chance.choice(_VALUES)


def test_the_helper_for_hardware_writes_valid_items() -> None:
    assert compare(standard_part(text_of("goon", more_hardware(item("CD", 15)))))
