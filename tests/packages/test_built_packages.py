"""What the builder packs from any sound app, `check` passes, and reads back as it was declared."""

import io
from dataclasses import replace
from pathlib import Path
from typing import Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from judging import PROFILE, judge, with_verdict
from package_parts import LEAF, MIDDLE, ROOT, Form, issue
from qcow2_parts import make_qcow2

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
from conformance.package.build import BuildRequest, Signer, SigningKey, build_ova
from conformance.package.descriptor_writer import GuestSystem, write_acl, write_descriptor
from conformance.verdict import Verdict

GUEST = GuestSystem(80, "Rocky Linux 9")
CAPACITIES = (32768, 1 << 20, 1 << 30, (8 << 30) - 512, 8 << 30)
text = st.text(st.characters(codec="utf-8", categories=("L", "N", "P", "S")), min_size=1, max_size=12)
label = st.from_regex(r"[a-z][a-z0-9]{0,9}", fullmatch=True)
protocols: tuple[Literal["tcp", "udp"], ...] = ("tcp", "udp")
protocol = st.sampled_from(protocols)
port = st.integers(1, 65535)
hexes = st.binary(min_size=1, max_size=9).map(bytes.hex)


@st.composite
def endpoints(draw: st.DrawFn) -> tuple[Endpoint, ...]:
    names = draw(st.lists(label, min_size=1, max_size=3, unique=True))
    keys = draw(st.lists(st.tuples(protocol, port), min_size=len(names), max_size=6, unique=True))
    services = [Service(kind, number, draw(hexes), draw(hexes)) for kind, number in keys]
    return tuple(Endpoint(f"{name}.apps.example", tuple(services[at :: len(names)])) for at, name in enumerate(names))


@st.composite
def rules(draw: st.DrawFn) -> tuple[Rule, ...]:
    """Rules for flows to servers' ports, either way: the answers to what is selected are selected too."""
    found = []
    for name in draw(st.lists(label, min_size=1, max_size=4, unique=True)):
        low = draw(st.integers(1, 60000))
        ports = draw(st.sampled_from((f"=={low}", f" in {low}..{low + 9}", f" in {{{low}, {low + 5}}}", f" >= {low}")))
        server = draw(st.sampled_from(("", " && {} in 198.51.100.0/24", " && !({} in 203.0.113.0/25)")))
        kind = draw(st.sampled_from(("TCP", "UDP", "17")))
        for direction, side in (("uplink", "dst"), ("downlink", "src")):
            expression = f"ip_version==4 && proto=={kind} && {side}_port{ports}{server.format(side + '_ip')}"
            found.append(Rule(name, direction, expression))  # type: ignore[arg-type]  # one of two literals
    return tuple(found)


@st.composite
def permissions(draw: st.DrawFn, app: str, features: bool) -> tuple[Permission, ...] | None:
    needed = [Permission("subscribe", f"racs/app/{app}/properties"), Permission("publish", f"app/{app}/features")]
    further = [
        *(
            Permission("subscribe", f"racs/{one}")
            for one in ("cell/+/load", "ue/+/cell", "ue/10.45.0.2/location", "area/#")
        ),
        *(Permission("publish", f"app/{app}/{one}") for one in ("state", "a b/+", "ünï/#")),
    ]
    chosen = draw(st.lists(st.sampled_from(further), unique=True, max_size=len(further)))
    if features:
        return tuple(needed + chosen)
    return tuple(chosen) if draw(st.booleans()) else None


@st.composite
def applications(draw: st.DrawFn) -> Application:
    transparent, app = draw(st.booleans()), draw(label)
    capacity = draw(st.sampled_from(CAPACITIES))
    features = draw(
        st.lists(st.builds(Feature, label, text, text, st.booleans()), max_size=3, unique_by=lambda f: f.id)
    )
    forwards = draw(
        st.lists(
            st.builds(Forward, protocol, st.integers(29000, 29999), port),
            max_size=3,
            unique_by=lambda one: (one.protocol, one.from_port),
        )
    )
    mounts = [Mount(path, draw(st.integers(1, capacity // 3))) for path in ("/", "/var/log", "/ä b")]
    selected = draw(rules()) if transparent else ()
    two = ("service", "user-plane-ul", "user-plane-dl")
    return Application(
        id=app, type="transparent" if transparent else "terminating", vendor=draw(text), product=draw(text),
        version=draw(st.from_regex(r"[0-9]{1,3}(\.[0-9]{1,3}){0,3}(-[a-z0-9]{1,4})?", fullmatch=True)),
        heartbeat_interval_s=1.0, nics=two if transparent and draw(st.booleans()) else ("service", "user-plane"),
        rules=selected,
        effects=tuple(Effect(name, "modifies") for name in sorted({one.name for one in selected})[::2]),
        endpoints=() if transparent else draw(endpoints()), forwards=tuple(forwards),
        allows=tuple(draw(st.lists(st.builds(Allow, protocol, port, st.just("service")), max_size=2))),
        mounts=tuple(mounts[: draw(st.integers(0, 3))]), drills=draw(st.sampled_from(((), ("hang",)))),
        features=tuple(features), acl=draw(permissions(app, bool(features))),
        properties=draw(st.dictionaries(label, text, max_size=2)), memory_mib=draw(st.integers(1, 1024)),
        disk_capacity_bytes=capacity,
    )  # fmt: skip


def pack(application: Application, form: Form) -> bytes:
    bits = 9 if application.disk_capacity_bytes <= 32768 else 12 if application.disk_capacity_bytes <= 1 << 20 else 16
    image = make_qcow2(bits=bits, virtual_size=application.disk_capacity_bytes)
    key = form.key
    assert isinstance(key, SigningKey)
    request = BuildRequest(
        application.id, write_descriptor(application, GUEST, "disk.qcow2", PROFILE), io.BytesIO(image),
        write_acl(application) if application.uses_bus else None,
        Signer(key, (issue(form, MIDDLE), issue(MIDDLE, ROOT))),
    )  # fmt: skip
    target = io.BytesIO()
    build_ova(request, PROFILE, target)
    return target.getvalue()


@settings(derandomize=True, max_examples=60, deadline=None)
@given(applications(), st.sampled_from(("P-256", "P-384")))
def test_what_is_built_is_right(tmp_path_factory: pytest.TempPathFactory, application: Application, kind: str) -> None:
    folder = tmp_path_factory.getbasetemp()
    judged = judge(folder, pack(application, replace(LEAF, kind=kind)))
    fine = with_verdict(judged.outcomes, Verdict.PASS, Verdict.NOT_APPLICABLE)
    assert {one: outcome.reason for one, outcome in judged.outcomes.items() if one not in fine} == {}
    assert judged.package.application == application


def test_an_rsa_key_signs_as_well(tmp_path: Path) -> None:
    application = Application(
        "rsa", "terminating", "v", "p", "1", 1.0, ("service", "user-plane"), disk_capacity_bytes=1 << 20,
        endpoints=(Endpoint("rsa.apps.example", (Service("tcp", 80),)),),
    )  # fmt: skip
    outcomes = judge(tmp_path, pack(application, replace(LEAF, kind="RSA-2048"))).outcomes
    assert with_verdict(outcomes, Verdict.FAIL) == set()
