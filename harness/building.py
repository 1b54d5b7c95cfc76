"""`racs build-app`, `racs build-ova`, `racs ca`, and the sample app that `racs certify` takes when it gets none."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from conformance.errors import SubjectError, UsageError
from conformance.profile import DEFAULT
from conformance.profile import load as load_profile
from harness.options import CACHE, REPOSITORY, require_file, trust_folder
from harness.screen import show

FAILED = 1  # exit status: what was given makes no package
ACL = Path("auth") / "acl.xml"


@dataclass(frozen=True, slots=True)
class PackageParts:
    """The files a package is made of; acl None means auth/acl.xml beside the descriptor, where there is one."""

    ovf: Path
    image: Path
    privatekey: Path
    certificate: Path
    acl: Path | None = None


@dataclass(frozen=True, slots=True)
class Sample:
    """A sample app's package and the root that it is signed under."""

    ova: Path
    root: Path


def build_app_image(folder: Path, output: Path) -> int:
    """Build an app folder into an image; prints its path."""
    from harness.appimage import build_image

    print(build_image(folder, output, CACHE / "images", tell))
    return 0


def build_package(parts: PackageParts, output: Path) -> int:
    """Pack and sign; prints the package's path. What the parts contradict each other in is told, with status 1."""
    try:
        write_package(parts, output)
    except SubjectError as error:
        place = f"{error.where}: " if error.where else ""
        mend = f"; {error.remedy}" if error.remedy else ""
        tell(f"{place}expected {error.expected}, saw {error.seen}{mend}")
        return FAILED
    print(output)
    return 0


def write_package(parts: PackageParts, output: Path) -> None:
    """Write the OVA beside its place and move it there when it is whole. Raises UsageError, SubjectError."""
    from conformance.package.build import BuildRequest, build_ova
    from harness.ca import load_signer

    for path, what in ((parts.ovf, "descriptor"), (parts.image, "image"), (parts.privatekey, "private key"),
                       (parts.certificate, "certificate")):  # fmt: skip
        require_file(path, what)
    acl = parts.acl
    if acl is None and (parts.ovf.parent / ACL).is_file():
        acl = parts.ovf.parent / ACL
    if acl is not None:
        require_file(acl, "ACL")
    signer = load_signer(parts.privatekey, parts.certificate)
    with parts.image.open("rb") as image, _replacing(output) as partial, partial.open("wb") as target:
        request = BuildRequest(
            parts.ovf.stem, parts.ovf.read_bytes(), image, acl.read_bytes() if acl is not None else None, signer
        )
        build_ova(request, load_profile(DEFAULT), target)


@contextmanager
def _replacing(output: Path) -> Iterator[Path]:
    partial = output.with_name(f".{output.name}.{os.getpid()}")
    try:
        yield partial
        partial.replace(output)
    except OSError as error:
        raise UsageError(f"{output}: {error.strerror}; give a place that can be written") from error
    finally:
        partial.unlink(missing_ok=True)


def make_rd_ca(folder: Path) -> int:
    """Make root, key and certificate in folder and trust the root for R&D; prints where they are."""
    from harness.ca import make_ca, trust_root

    files = make_ca(folder, "RACS app developer", datetime.now(UTC))
    trusted = trust_root(files.root, trust_folder("rd"))
    print(
        f"root         {files.root}\nkey          {files.key}\ncertificate  {files.certificate}\ntrusted as   {trusted}"
    )
    return 0


def build_sample(name: str) -> Sample:
    """The package of an app in examples/, signed by a throw-away R&D authority; its image is cached."""
    from harness.appimage import build_image
    from harness.ca import make_ca

    folder = CACHE / "samples"
    folder.mkdir(parents=True, exist_ok=True)
    authority = folder / "ca"
    root = authority / "root.crt"
    if not root.exists():
        make_ca(authority, "RACS sample", datetime.now(UTC))
    app, image, ova = REPOSITORY / "examples" / name, folder / f"{name}.qcow2", folder / f"{name}.ova"
    build_image(app, image, CACHE / "images", tell)
    parts = PackageParts(app / f"{name}.ovf", image, authority / "signer.key", authority / "signer.crt")
    write_package(parts, ova)
    return Sample(ova, root)


def tell(line: str) -> None:
    """A line of progress or complaint, to standard error."""
    show(f"racs: {line}", sys.stderr)
