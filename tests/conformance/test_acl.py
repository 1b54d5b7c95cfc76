"""auth/acl.xml and MQTT's topic filters: tables from MQTT 5.0 section 4.7, and the grants of contract 5."""

import time
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from conformance import profile as profiles
from conformance.application import Access, Permission
from conformance.package import acl

PROFILE = profiles.load()

# MQTT 5.0 4.7.1.2, 4.7.1.3, 4.7.2 and 4.7.3, with the section's own examples
MATCHES = [
    ("sport/tennis/player1/#", "sport/tennis/player1", True),
    ("sport/tennis/player1/#", "sport/tennis/player1/ranking", True),
    ("sport/tennis/player1/#", "sport/tennis/player1/score/wimbledon", True),
    ("sport/tennis/player1/#", "sport/tennis/player10", False),
    ("sport/#", "sport", True),
    ("#", "sport", True),
    ("#", "/", True),
    ("sport/tennis/+", "sport/tennis/player1", True),
    ("sport/tennis/+", "sport/tennis/player1/ranking", False),
    ("sport/+", "sport", False),
    ("sport/+", "sport/", True),
    ("+", "sport", True),
    ("+", "/finance", False),
    ("+/+", "/finance", True),
    ("/+", "/finance", True),
    ("+/tennis/#", "sport/tennis", True),
    ("sport/+/player1", "sport/tennis/player1", True),
    ("sport/+/player1", "sport//player1", True),
    ("#", "$SYS/monitor", False),
    ("+/monitor/Clients", "$SYS/monitor/Clients", False),
    ("$SYS/#", "$SYS/monitor/Clients", True),
    ("$SYS/monitor/+", "$SYS/monitor/Clients", True),
    ("$SYS/#", "$SYS", True),
    ("ACCOUNTS", "Accounts", False),
    ("/A", "A", False),
    ("A", "A", True),
    ("a/#", "a/b#", False),  # the second is no topic name
    ("a/+", "a/+", False),
    ("", "", False),
    ("a/#/b", "a/x/b", False),  # the first is no filter
    ("a/b+", "a/bx", False),
]

COVERS = [
    ("#", "a/+/#", True),
    ("+/#", "#", True),
    ("#", "+/#", True),
    ("a/+/#", "a/#", False),  # a itself
    ("a/#", "a/+/#", True),
    ("a/#", "a", True),
    ("a/#", "a/#", True),
    ("a/+", "a/#", False),
    ("a/+", "a/b", True),
    ("a/b", "a/+", False),
    ("+/b", "a/+", False),
    ("+/+", "a/+", True),
    ("#", "$SYS/#", False),
    ("+/b", "$x/b", False),
    ("$x/#", "$x/b/+", True),
    ("$share/g/a", "a", False),
    ("a", "a/b", False),
    ("a/b", "a", False),
]

DEFECTS = ["", "a/#/b", "#/a", "a#", "a/b+", "+a/b", "a/##", "a\0b", "x" * 65536]


@pytest.mark.parametrize(("topic_filter", "topic", "expected"), MATCHES)
def test_matches(topic_filter: str, topic: str, expected: bool) -> None:
    assert acl.matches(topic_filter, topic) is expected


@pytest.mark.parametrize(("wide", "narrow", "expected"), COVERS)
def test_covers(wide: str, narrow: str, expected: bool) -> None:
    assert acl.covers(wide, narrow) is expected


@pytest.mark.parametrize("topic_filter", DEFECTS, ids=range(len(DEFECTS)))
def test_what_is_no_filter(topic_filter: str) -> None:
    assert acl.filter_defect(topic_filter)


_LEVELS = st.sampled_from(["a", "b", "", "$s"])
_TOPICS = st.lists(_LEVELS, min_size=1, max_size=4).map("/".join).filter(bool)
_FILTERS = st.builds(
    lambda levels, tail: "/".join([*levels, *tail]),
    st.lists(st.one_of(_LEVELS, st.just("+")), min_size=0, max_size=3),
    st.sampled_from([[], ["#"]]),
).filter(bool)


@settings(derandomize=True, max_examples=400)
@given(_FILTERS, _FILTERS, st.lists(_TOPICS, max_size=20))
def test_a_covering_filter_matches_whatever_the_covered_one_does(wide: str, narrow: str, topics: list[str]) -> None:
    if acl.covers(wide, narrow):
        assert all(acl.matches(wide, topic) for topic in topics if acl.matches(narrow, topic))
    else:  # and no less: some instance of the covered filter tells them apart
        fresh = [level.replace("+", "fresh") for level in narrow.split("/")]
        stems = [fresh[:-1], [*fresh[:-1], "fresh"], [*fresh[:-1], "fresh", "x"]] if fresh[-1] == "#" else [fresh]
        instances = ["/".join(stem) for stem in stems if stem]
        assert not all(acl.matches(wide, topic) for topic in instances if acl.matches(narrow, topic))


GOON = (
    Permission("subscribe", "racs/cell/+/load"),
    Permission("subscribe", "racs/app/goon/properties"),
    Permission("publish", "app/goon/#"),
)


@pytest.mark.parametrize(
    ("access", "topic", "by"),
    [
        ("publish", "app/goon/features", 2),
        ("publish", "app/goon/a/b", 2),
        ("publish", "app/goonies/features", None),
        ("publish", "racs/cell/1/load", None),  # only a subscription
        ("publish", "app/goon/#", None),  # no topic name
        ("subscribe", "racs/cell/1/load", 0),
        ("subscribe", "racs/cell/+/load", 0),
        ("subscribe", "racs/cell/#", None),
        ("subscribe", "app/goon/x", None),  # only a publication
        ("subscribe", "#", None),
        ("subscribe", "$share/g/racs/cell/+/load", None),
        ("subscribe", "racs/cell/+/lo+", None),
        ("subscribe", "", None),
    ],
)
def test_decide(access: Access, topic: str, by: int | None) -> None:
    assert acl.decide(GOON, access, topic) == (None if by is None else GOON[by])


def document(*rules: tuple[str, str], application: str = "goon") -> bytes:
    allows = "".join(f'<allow access="{access}" topic="{topic}"/>\n' for access, topic in rules)
    return f'<acl xmlns="urn:racs:acl:1" application="{application}">\n{allows}</acl>'.encode()


def faults_of(data: bytes) -> list[str]:
    return [fault.requirement for fault in acl.read(data, PROFILE).faults]


def test_reads_the_contracts_example() -> None:
    data = document(*((p.access, p.topic) for p in GOON))
    assert acl.read(data, PROFILE) == acl.AccessList((), "goon", GOON)


SOUND = [
    [],
    [("publish", "app/goon/features")],
    [("publish", "app/goon/+/state")],
    [("subscribe", "racs/cell/#")],
    [("subscribe", "racs/ue/+/cell"), ("subscribe", "racs/ue/+/location")],
    [("subscribe", "racs/area/centre/users"), ("subscribe", "racs/app/goon/#")],
    [("subscribe", "app/goon/#"), ("publish", "app/goon/#")],
    [("subscribe", "racs/cell/+/load"), ("subscribe", "racs/cell/1/+")],  # they overlap, neither covers the other
]


@pytest.mark.parametrize("rules", SOUND, ids=range(len(SOUND)))
def test_sound_grants(rules: list[tuple[str, str]]) -> None:
    assert faults_of(document(*rules)) == []


@pytest.mark.parametrize(
    ("access", "topic"),
    [
        ("publish", "app/goon"),
        ("publish", "app/other/x"),
        ("publish", "app/+/x"),
        ("publish", "app/#"),
        ("publish", "#"),
        ("publish", "racs/cell/1/load"),
        ("publish", "racs/app/goon/properties"),
        ("publish", "/app/goon/x"),
        ("subscribe", "#"),
        ("subscribe", "+/#"),
        ("subscribe", "racs/#"),
        ("subscribe", "racs/+/+/load"),
        ("subscribe", "racs/app/+/properties"),
        ("subscribe", "racs/app/goonies/properties"),
        ("subscribe", "app/+/features"),
        ("subscribe", "app/other/#"),
        ("subscribe", "$SYS/#"),
        ("subscribe", "$share/g/racs/cell/1/load"),
        ("subscribe", "racs/cell/#/load"),
        ("subscribe", "racs/cell/a+/load"),
        ("subscribe", ""),
    ],
)
def test_a_grant_that_reaches_too_far(access: str, topic: str) -> None:
    found = acl.read(document((access, topic)), PROFILE).faults
    assert [fault.requirement for fault in found] == ["PKG-013"]
    assert "line 2" in found[0].finding.where


SHADOWED = [
    [("subscribe", "racs/cell/+/load"), ("subscribe", "racs/cell/1/load")],
    [("subscribe", "racs/cell/1/load"), ("subscribe", "racs/cell/#")],
    [("publish", "app/goon/x"), ("publish", "app/goon/x")],
    [("publish", "app/goon/x"), ("publish", "app/goon/x/#")],
]


@pytest.mark.parametrize("rules", SHADOWED, ids=range(len(SHADOWED)))
def test_a_shadowed_rule(rules: list[tuple[str, str]]) -> None:
    assert set(faults_of(document(*rules))) == {"PKG-014"}


@settings(derandomize=True, max_examples=200)
@given(st.lists(_FILTERS.map(lambda tail: f"app/goon/{tail}"), max_size=8, unique=True))
def test_shadows_are_what_covers_says(filters: list[str]) -> None:
    shadowed = sum(any(acl.covers(other, one) for other in filters if other != one) for one in filters)
    assert faults_of(document(*(("publish", topic) for topic in filters))) == ["PKG-014"] * shadowed


def test_a_should_that_follows_from_a_failed_must_is_not_reported_besides() -> None:
    assert faults_of(document(("subscribe", "#"), ("subscribe", "racs/cell/1/load"))) == ["PKG-013"]


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b" \n",
        b"\x00" * 512,
        b"<acl",
        b"<acl/>",
        b'<acl xmlns="urn:racs:acl:1"/>',
        b'<acl xmlns="urn:racs:acl:2" application="goon"/>',
        b'<acl xmlns="urn:racs:acl:1" application="goon" colour="red"/>',
        b'<acl xmlns="urn:racs:acl:1" application="goon"><deny/></acl>',
        b'<acl xmlns="urn:racs:acl:1" application="goon"><allow access="publish"/></acl>',
        b'<acl xmlns="urn:racs:acl:1" application="goon"><allow access="read" topic="a"/></acl>',
        b'<!DOCTYPE acl><acl xmlns="urn:racs:acl:1" application="goon"/>',
        b'<?xml version="1.0" encoding="ISO-8859-1"?><acl xmlns="urn:racs:acl:1" application="goon"/>',
        b'<?xml version="1.0" encoding="UTF-16"?><acl xmlns="urn:racs:acl:1" application="goon"/>',
        b'<?xml version="1.1"?><acl xmlns="urn:racs:acl:1" application="goon"/>',
        '<?xml version="1.0"?><acl xmlns="urn:racs:acl:1" application="goon"/>'.encode("utf-32"),
        b'<a:acl application="goon"/>',
        b'<acl xmlns="urn:racs:acl:1" application="\xff"/>',
        b'<acl xmlns="urn:racs:acl:1" application="goon"/>trailing',
        b'<acl xmlns="urn:racs:acl:1" application="goon"/>\x00',
    ],
)
def test_a_document_that_is_no_acl(data: bytes) -> None:
    found = acl.read(data, PROFILE)
    assert {fault.requirement for fault in found.faults} == {"PKG-012"}
    assert all(f.finding.expected and f.finding.seen and f.finding.where and f.finding.remedy for f in found.faults)


def test_utf_16_is_read() -> None:
    text = '<?xml version="1.0" encoding="UTF-16"?>\n' + document(("publish", "app/goon/#")).decode()
    assert acl.read(text.encode("utf-16"), PROFILE).permissions == (GOON[2],)


def hostile(count: int, form: str) -> bytes:
    forms: dict[str, Callable[[], str]] = {
        "elements": lambda: "<allow/>" * count,
        "depth": lambda: "<a>" * count,
        "attributes": lambda: "<allow " + " ".join(f'a{n}=""' for n in range(count)) + "/>",
        "namespaces": lambda: "<allow " + " ".join(f'xmlns:a{n}="urn:x"' for n in range(count)) + "/>",
        "bytes": lambda: " " * count,
    }
    return f'<acl xmlns="urn:racs:acl:1" application="goon">{forms[form]()}</acl>'.encode()


@pytest.mark.parametrize(
    ("form", "limit"),
    [("elements", 10_000), ("depth", 32), ("attributes", 64), ("namespaces", 64), ("bytes", 1_048_576)],
)
def test_bounds(form: str, limit: int) -> None:
    assert faults_of(hostile(limit * 4, form)) == ["PKG-015"]


def test_bounds_are_inclusive() -> None:
    assert "PKG-015" not in faults_of(hostile(9_999, "elements"))
    assert "PKG-015" in faults_of(hostile(10_000, "elements"))
    assert "PKG-015" not in faults_of(hostile(64, "attributes"))
    assert "PKG-015" in faults_of(hostile(65, "attributes"))


def test_ten_thousand_rules_are_judged_in_bounded_time() -> None:
    rules = [("publish", f"app/goon/{n:013b}".replace("0", "a/").replace("1", "+/") + str(n)) for n in range(8192)]
    begun = time.process_time()
    assert faults_of(document(*rules)) == []
    assert faults_of(document(*((access, "/" + topic) for access, topic in rules))) == ["PKG-013"] * 10
    assert time.process_time() - begun < 30  # pair by pair it takes minutes
