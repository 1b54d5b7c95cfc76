"""What is written from an application is read back as it was, and keeps the contract where its values do."""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from conformance.application import (
    Allow,
    Application,
    Effect,
    Endpoint,
    Feature,
    Forward,
    Mount,
    Permission,
    Rule,
    Service,
)
from conformance.package import acl, descriptor
from conformance.package.descriptor_writer import GuestSystem, write_acl, write_descriptor
from conformance.profile import load

PROFILE = load()
ROCKY = GuestSystem(80, "Rocky Linux 9 (64-bit)")
GIB = 2**30

words = st.text(st.characters(codec="utf-8", categories=("L", "N", "P", "S")), min_size=1, max_size=12)
hexes = st.binary(min_size=1, max_size=20).map(bytes.hex)
ports = st.integers(1, 65535)
protocols = st.sampled_from(("udp", "tcp"))
labels = st.from_regex(r"[a-z][a-z0-9]{0,9}", fullmatch=True)
services = st.builds(Service, protocols, ports, hexes, hexes)
endpoints = st.lists(
    st.builds(Endpoint, labels.map("{}.apps.example".format), st.lists(services, min_size=1, max_size=3).map(tuple)),
    min_size=1,
    max_size=3,
    unique_by=lambda one: one.fqdn,
).filter(
    lambda found: len({(s.protocol, s.port) for e in found for s in e.services}) == sum(len(e.services) for e in found)
)
forwards = st.lists(
    st.builds(Forward, protocols, st.integers(29000, 29999), ports),
    max_size=3,
    unique_by=lambda one: (one.protocol, one.from_port),
)
mounts = st.lists(
    st.builds(Mount, labels.map("/{}".format), st.integers(1, GIB)), max_size=2, unique_by=lambda m: m.path
)
features = st.lists(st.builds(Feature, labels, words, words, st.booleans()), max_size=3, unique_by=lambda one: one.id)
RULE = "ip_version==4 && proto==TCP && dst_port in {80, 8080} && length<1500 || !(dscp > 3) && ip_version==4"


@st.composite
def applications(draw: st.DrawFn) -> Application:
    transparent = draw(st.booleans())
    common = Application(
        id=draw(labels), type="transparent" if transparent else "terminating", vendor=draw(words), product=draw(words),
        version=draw(st.from_regex(r"[0-9]{1,3}(\.[0-9]{1,3}){0,3}(-[a-z0-9]{1,4})?", fullmatch=True)),
        heartbeat_interval_s=1.0, nics=("service", "user-plane"), forwards=tuple(draw(forwards)),
        allows=tuple(draw(st.lists(st.builds(Allow, protocols, ports, st.just("service")), max_size=2))),
        drills=draw(st.sampled_from(((), ("hang",)))), features=tuple(draw(features)),
        properties=draw(st.dictionaries(labels, words, max_size=2)), memory_mib=draw(st.integers(1, 1024)),
    )  # fmt: skip
    more = tuple(draw(mounts))
    if more:
        common = replace(common, mounts=(Mount("/", draw(st.integers(1, 5 * GIB))), *more))
    if not transparent:
        return replace(common, endpoints=tuple(draw(endpoints)))
    rules = (Rule("web", "uplink", RULE), Rule("web", "downlink", "src_port==80"))
    both = ("service", "user-plane-ul", "user-plane-dl") if draw(st.booleans()) else common.nics
    return replace(common, nics=both, rules=rules, effects=(Effect("web", "modifies"),) if draw(st.booleans()) else ())


def read(data: bytes) -> descriptor.Descriptor:
    return descriptor.read(data.replace(b"{size}", b"1").replace(b"{capacity}", b"%d" % (8 * GIB)), PROFILE)


@settings(derandomize=True, max_examples=80, deadline=None)
@given(applications())
def test_reading_gives_back_what_was_written(application: Application) -> None:
    found = read(write_descriptor(application, ROCKY, "disk.qcow2", PROFILE))
    assert found.faults == ()
    assert found.application == replace(application, disk_capacity_bytes=8 * GIB)


def test_the_same_values_give_the_same_bytes_whatever_they_hold() -> None:
    app = Application(
        "a", "terminating", "<&>", '"quoted"', "1", 1.0, ("service", "user-plane"), properties={"k": "]]>"}
    )
    once, again = (write_descriptor(app, ROCKY, "disk.qcow2", PROFILE) for _ in range(2))
    assert once == again
    assert b"&lt;&amp;&gt;" in once and b"]]&gt;" in once


@pytest.mark.parametrize(
    "permissions", [(), (Permission("publish", "app/a/#"), Permission("subscribe", "racs/cell/+/load"))]
)
def test_the_acl_is_read_back(permissions: tuple[Permission, ...]) -> None:
    app = Application("a", "terminating", "v", "p", "1", 1.0, (), acl=permissions)
    found = acl.read(write_acl(app), PROFILE)
    assert (found.faults, found.application, found.permissions) == ((), "a", permissions)


def test_a_bus_app_references_its_acl() -> None:
    app = Application("a", "terminating", "v", "p", "1", 1.0, ("service", "user-plane"))
    for used, hrefs in ((None, ["disk.qcow2"]), ((), ["disk.qcow2", "auth/acl.xml"])):
        found = read(write_descriptor(replace(app, acl=used), ROCKY, "disk.qcow2", PROFILE))
        assert [reference.href for reference in found.references] == hrefs
