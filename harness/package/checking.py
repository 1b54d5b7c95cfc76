"""`racs check`: a package alone, no VM, no root, no network."""

import sys
import time
from pathlib import Path

from conformance.catalogue import load as load_catalogue
from conformance.certification import Certification
from conformance.judge import Ledger
from conformance.package import open_package
from harness.assembly import RunFacts, assemble, judge_statically
from harness.display import render_certification, write_json
from harness.inspection.look import look_inside
from harness.options import PackageOptions, require_file, require_writable
from harness.package.digest import whole_digest
from harness.screen import show

# The requirements that speak of what is inside the image's file systems: what --no-image leaves out.
INSIDE = "IMG-"
_NOT_INSIDE = "no whole check: nobody looked into the image (--no-image), so IMG-001 to IMG-005 are not judged"


def check_package(options: PackageOptions, json_file: str | None) -> int:
    """Judge all of scope "package"; prints the table (or JSON) and returns the exit status. Raises UsageError."""
    require_file(options.ova, "package")
    require_json(json_file)
    certification = certify_statically(options)
    if json_file != "-":
        show(render_certification(certification, None, sys.stdout.isatty()), sys.stdout)
    if json_file:
        write_json(certification, json_file)
    return certification.exit_status


def require_json(json_file: str | None) -> None:
    """Raises UsageError where --json is a file that cannot be written."""
    if json_file and json_file != "-":
        require_writable(Path(json_file), "--json")


def certify_statically(options: PackageOptions, processes: int = 1) -> Certification:
    """The certification of scope "package"; of scope "selection" where the image is not looked into, so that nobody
    takes it for a whole check. processes is how many of ours are at work on this host.

    Raises OSError where the package cannot be opened or read.
    """
    begin = time.monotonic()
    with whole_digest(processes) as whole:
        package = open_package(options.ova, options.profile, whole)
    catalogue = load_catalogue()
    ids = [r.id for r in catalogue.requirements.values() if r.scope == "package" and r.in_force]
    facts = RunFacts("package", missing="not judged")
    if options.look_inside:
        package = look_inside(package, options.profile)
    else:
        ids = [identity for identity in ids if not identity.startswith(INSIDE)]
        facts.scope, facts.selected = "selection", tuple(ids)
        facts.notes.append(_NOT_INSIDE)
    ledger = Ledger(catalogue, frozenset(ids))
    judge_statically(options, package, ledger, ids)
    facts.host = {"check took": f"{time.monotonic() - begin:.3f} s"}
    if package.inspection is not None:
        facts.host["image looked into in"] = f"{package.inspection.seconds:.3f} s"
    return assemble(options, package, ledger, facts)
