"""Our own schema of OVF 2 against the DMTF's (DSP8023 2.0.1): they accept and refuse the same."""

import copy
import random
import re
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from corpus import Case, descriptor_text, load
from lxml import etree

from conformance.package import schema
from conformance.package.descriptor_envelope import OVF, RACS

ORACLE = Path(__file__).parent / "dmtf"
RICH = (Path(__file__).parent / "vectors" / "schema" / "rich.ovf").read_text(encoding="utf-8")


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
    ours = schema.validate(root, "racs-application.xsd", "descriptor")
    assert theirs is not bool(ours), (etree.tostring(root).decode(), oracle().error_log, ours)
    return theirs


def test_the_dmtf_s_schemas_are_as_they_were_published() -> None:
    """All that are there are listed, all that are listed are there, byte for byte."""
    lines = [line.split() for line in (ORACLE / "SHA256SUMS").read_text(encoding="utf-8").splitlines()]
    there = {path.name: sha256(path.read_bytes()).hexdigest() for path in ORACLE.glob("*.xsd")}
    assert there == {name: digest for digest, name in lines}
    assert len(there) == 12


def test_the_rich_descriptor_is_valid() -> None:
    assert compare(standard_part(RICH))


# What our schema lacks by design: sections that the reader takes out before it looks, and what DSC-002 counts.
_TAKEN_OUT = re.compile(
    r"<ovf:(Startup|DeploymentOption)Section|<ovf:VirtualSystemCollection|<x:(Settings|x)\b|<v:Machine|"
    r"<ovf:VirtualSystem .*<ovf:VirtualSystem ",
    re.DOTALL,
)


@pytest.mark.parametrize(
    "case", [pytest.param(case, id=case.identity) for case in load() if case.layer == "descriptor"]
)
def test_both_judge_the_corpus_alike(case: Case) -> None:
    text = descriptor_text(case)
    if not _TAKEN_OUT.search(text):
        compare(standard_part(text))


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


@pytest.mark.parametrize(
    "seed", [*range(40), *(pytest.param(seed, marks=pytest.mark.nightly) for seed in range(40, 640))]
)
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


CIM = "http://schemas.dmtf.org/wbem/wscim/1/cim-schema/2/CIM_"
XS = "{http://www.w3.org/2001/XMLSchema}"
ITEMS = {
    "Item": "ResourceAllocationSettingData",
    "EthernetPortItem": "EthernetPortAllocationSettingData",
    "StorageItem": "StorageAllocationSettingData",
    "System": "VirtualSystemSettingData",
}


def properties(kind: str) -> list[str]:
    """The properties that the DMTF's schema gives such an item, in its order."""
    whole = etree.parse(str(ORACLE / f"CIM_{kind}.xsd"))
    return [one.get("ref", "").partition(":")[2] for one in whole.iterfind(f".//{XS}complexType//{XS}element[@ref]")]


@pytest.mark.parametrize("item", ITEMS)
def test_both_know_the_same_properties_of_items(item: str) -> None:
    """Each where it belongs, with values of every kind; twice; and one that no item has."""
    names = properties(ITEMS[item])
    assert len(names) > 20
    base = standard_part(RICH)
    accepted: dict[bool, int] = {True: 0, False: 0}
    for name in (*names, "Colour"):
        for value in _VALUES:
            for times in (1, 2):
                root = copy.deepcopy(base)
                found = next(root.iter(f"{OVF}{item}"))
                there = [etree.QName(child).localname for child in found]
                at = sum(names.index(one) < names.index(name) for one in there) if name in names else len(there)
                for _ in range(times):
                    child = etree.Element(f"{{{CIM}{ITEMS[item]}}}{name}")
                    child.text = value
                    found.insert(at, child)
                accepted[compare(root)] += 1
    assert all(accepted.values())
