"""`racs check`: a package alone, no VM, no root, no network."""

import errno
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from conformance.catalogue import load as load_catalogue
from conformance.certification import Certification
from conformance.errors import UsageError
from conformance.exitstatus import ExitStatus
from conformance.judge import Ledger
from conformance.package import open_package
from harness.assembly import RunFacts, assemble, judge_statically
from harness.display import render_certification, write_json
from harness.inspection.look import look_inside
from harness.options import PackageOptions, require_file, require_writable
from harness.package.digest import whole_digest
from harness.package.unchecked import NotChecked
from harness.screen import complain, is_coloured, plain, show

# The requirements that speak of what is inside the image's file systems: what --no-image leaves out.
INSIDE = "IMG-"
_NOT_INSIDE = "no whole check: nobody looked into the image (--no-image), so IMG-001 to IMG-005 are not judged"


def check_package(options: PackageOptions, json_file: str | None) -> ExitStatus:
    """Judge all of scope "package"; prints the table (or JSON) and returns the exit status. Raises UsageError where the
    JSON cannot be written."""
    prepare_json(json_file)
    judged = judge_package(options)
    if isinstance(judged, NotChecked):
        complain(plain(judged.why))
    elif json_file != "-":
        show(render_certification(judged, None, is_coloured(sys.stdout)), sys.stdout)
    if json_file:
        write_json(judged.to_json(), json_file)
    return judged.exit_status


def prepare_json(json_file: str | None) -> None:
    """Empty the file that --json names: nobody may take an earlier result for this one, however this ends.

    Raises UsageError where it cannot be written, or is no JSON: `--json *.ova` would overwrite its first package.
    """
    if not json_file or json_file == "-":
        return
    path = Path(json_file)
    require_writable(path, "--json")
    if path.is_file() and os.access(path, os.R_OK) and path.stat().st_size:
        with path.open("rb") as file:
            if not file.read(1) == b"{":
                raise UsageError(f"--json {path}: the file is there and holds no JSON; give it another name")
        os.truncate(path, 0)


def judge_package(options: PackageOptions, processes: int = 1) -> Certification | NotChecked:
    """The package's certification, or why nobody can make one. processes is how many of ours are at work."""
    try:
        require_file(options.ova, "package")
        return certify_statically(options, processes)
    except UsageError as error:
        return NotChecked(options.ova, ExitStatus.USAGE, str(error))
    except OSError as error:
        return NotChecked(options.ova, ExitStatus.ERROR, f"{options.ova}: {error.strerror or error}")


@contextmanager
def unchanged(path: Path) -> Iterator[None]:
    """Raises OSError where a file is not what it was before: what was read of it would be of two packages."""
    before = _identity(path)
    try:
        yield
    except Exception as error:  # a table that ends in its middle, say
        _require(before, path, error)
        raise
    _require(before, path)


def _require(before: tuple[int, ...], path: Path, error: Exception | None = None) -> None:
    if _identity(path) != before:
        text = "it changed while it was read; try again when nobody writes to it"
        raise OSError(errno.ESTALE, text, str(path)) from error


def _identity(path: Path) -> tuple[int, ...]:
    """What a file keeps as long as nobody writes to it or puts another in its place; () where none is there."""
    try:
        found = path.stat()
    except FileNotFoundError:
        return ()
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns


def certify_statically(options: PackageOptions, processes: int = 1) -> Certification:
    """The certification of scope "package"; of scope "selection" where the image is not looked into, so that nobody
    takes it for a whole check. processes is how many of ours are at work on this host.

    Raises OSError where the package cannot be opened or read, or changes meanwhile.
    """
    begin = time.monotonic()
    with unchanged(options.ova):
        with whole_digest(processes) as whole:
            package = open_package(options.ova, options.profile, whole)
        if options.look_inside:
            package = look_inside(package, options.profile)
    catalogue = load_catalogue()
    ids = [r.id for r in catalogue.requirements.values() if r.scope == "package" and r.in_force]
    facts = RunFacts("package", missing="not judged")
    if not options.look_inside:
        ids = [identity for identity in ids if not identity.startswith(INSIDE)]
        facts.scope, facts.selected = "selection", tuple(ids)
        facts.notes.append(_NOT_INSIDE)
    ledger = Ledger(catalogue, frozenset(ids))
    judge_statically(options, package, ledger, ids)
    facts.host = {"check took": f"{time.monotonic() - begin:.3f} s"}
    if package.inspection is not None:
        facts.host["image looked into in"] = f"{package.inspection.seconds:.3f} s"
    return assemble(options, package, ledger, facts)
