"""Known-bad apps really boot and really misbehave, and are failed by their requirement and by no other.

A boot may have several faults, of different families: each of them has to be seen. That each alone is seen, by its own
ids and no others over all of the catalogue, is for the night.
"""

from dataclasses import dataclass
from pathlib import Path

import pytest
from known_bad import PASSIVE, SHORT, Workshop, certify, command, expectations

from conformance.catalogue import load as load_catalogue

pytestmark = pytest.mark.live


@dataclass(frozen=True, slots=True)
class Boot:
    app: str
    faults: tuple[str, ...]


BOOTS = (
    Boot("goon", ("console-oops", "never-boot")),
    Boot("goon", ("gap", "other-ntp")),
    Boot("goon", ("no-udp-echo",)),
    Boot("goon", ("slow-rate", "bad-ntp", "ignores-feature")),
    Boot("goon", ("malformed-beat", "wrong-password", "users-only", "ignores-button", "hang-keeps-beating")),
    Boot("goon", ("seq-jump", "forbidden-subscribe")),
    Boot("goon", ("no-ssh", "no-return")),
    Boot("goon-without-bus", ("no-bus-app-connects", "beat-elsewhere", "no-clock")),
    Boot("mute", ("mute-kernel",)),
    Boot("lens", ("swallow",)),
    Boot("lens", ("rewrite-source",)),
    Boot("lens", ("corrupt", "deaf-after-restart")),
)


@pytest.fixture(scope="session")
def workshop(tmp_path_factory: pytest.TempPathFactory) -> Workshop:
    return Workshop(tmp_path_factory.mktemp("known-bad"))


def judge(workshop: Workshop, boot: Boot, runs: Path, ids: tuple[str, ...]) -> None:
    """Certify by these ids (all, where there are none), and compare with what is expected of the faults."""
    expected = [expectations()[fault] for fault in boot.faults]
    catalogue = load_catalogue()
    must = {identity for e in expected for identity in e.fails if catalogue[identity].in_force}
    may = {identity for e in expected for identity in e.may}
    ova = workshop.package(boot.app, () if boot.app == "mute" else boot.faults)
    select = ("-k", " or ".join(ids)) if ids else ()
    run = certify(command(ova, workshop.root, runs, "--profile", SHORT, *select), runs)
    print(f"{' '.join(boot.faults)}: {', '.join(sorted(run.verdicts('fail')))} in {run.seconds:.1f} s")
    failed = run.verdicts("fail")
    assert must <= failed, run.explain()
    assert failed <= must | may, run.explain()
    gating = {identity for identity in must if catalogue[identity].level == "MUST"}
    assert not gating or run.status == 1, run.explain()


@pytest.mark.parametrize(
    "boot", [pytest.param(b, id=(i := "+".join(b.faults)), marks=pytest.mark.xdist_group(i)) for b in BOOTS]
)
def test_a_known_bad_app_is_failed_by_its_requirement(boot: Boot, workshop: Workshop, tmp_path: Path) -> None:
    wanted = {identity for fault in boot.faults for identity in expectations()[fault].fails}
    judge(workshop, boot, tmp_path / "runs", tuple(sorted(wanted | set(PASSIVE))))


def test_these_boots_fail_every_id_in_force() -> None:
    """That there is a fault for each, tests/project sees."""
    failed = {identity for boot in BOOTS for fault in boot.faults for identity in expectations()[fault].fails}
    known = {identity for e in expectations().values() for identity in e.fails}
    assert {identity for identity in known if load_catalogue()[identity].in_force} <= failed


@pytest.mark.nightly
@pytest.mark.parametrize("fault", sorted(f for f, e in expectations().items() if e.in_force))
def test_each_fault_alone_is_failed_by_its_requirement_and_no_other(
    fault: str, workshop: Workshop, tmp_path: Path
) -> None:
    judge(workshop, Boot(expectations()[fault].app, (fault,)), tmp_path / "runs", ())
