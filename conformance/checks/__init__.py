"""Which module holds the check of which requirement: an explicit table, imported on demand."""

from collections.abc import Callable, Mapping
from importlib import import_module
from typing import TYPE_CHECKING

from conformance.profile import Profile
from conformance.trace import Trace
from conformance.verdict import Outcome

if TYPE_CHECKING:
    from conformance.package import Package
    from conformance.package.certificate import Trust

PackageCheck = Callable[["Package", Profile, "Trust"], Outcome]
TraceCheck = Callable[[Trace, Profile], Outcome]

PACKAGE_MODULES = {"PKG": "package", "DSC": "descriptor", "RES": "descriptor", "IMG": "inspection"}
TRACE_MODULES = {
    "RES": "guest",
    "LIF": "guest",
    "HBT": "heartbeat",
    "NTP": "clock",
    "BUS": "bus",
    "OFT": "traffic",
    "OTT": "traffic",
    "FWD": "forwarding",
    "AFM": "features",
}


def package_check(requirement: str) -> PackageCheck | None:
    """The check of a requirement of scope "package"; None while it has none (then it is a draft)."""
    name = PACKAGE_MODULES.get(requirement[:3])
    if name is None:
        return None
    module = import_module(f"conformance.checks.{name}")
    checks: Mapping[str, PackageCheck] = module.CHECKS
    return checks.get(requirement)


def trace_check(requirement: str) -> TraceCheck | None:
    """The check of a requirement of scope "run"; None while it has none (then it is a draft)."""
    module = import_module(f"conformance.checks.{TRACE_MODULES[requirement[:3]]}")
    checks: Mapping[str, TraceCheck] = module.CHECKS
    return checks.get(requirement)
