"""`racs build-app`, `racs build-ova`, `racs ca`, and the sample app that `racs certify` takes when it gets none."""

import re
import shlex
import sys
import textwrap
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from conformance.errors import SubjectError, UsageError
from conformance.exitstatus import ExitStatus
from conformance.profile import DEFAULT, Profile
from conformance.profile import load as load_profile
from conformance.verdict import Finding
from harness.options import CACHE, REPOSITORY, PackageOptions, load_trust, require_file, trust_folder
from harness.packaging.newfile import new_file
from harness.screen import show

if TYPE_CHECKING:
    from conformance.certification import Judgement
    from conformance.package.build import Signer
    from conformance.package.certificate import Trust
    from harness.packaging.appfile import AppFile
    from harness.packaging.ca import KeyKind

ACL = Path("auth") / "acl.xml"
_ISO_MARK_AT, _ISO_MARK = 32769, b"CD001"  # ECMA-119 8.1.2: in the first descriptor, at sector 16
PYTHON_FOLDER = "/usr/local/lib/racs-python"


@dataclass(frozen=True, slots=True)
class PackageParts:
    """The files a package is made of. description is a descriptor (.ovf) or an app file (.toml); acl None means
    auth/acl.xml beside the descriptor, where there is one; an app file brings its own."""

    description: Path
    image: Path
    privatekey: Path
    certificate: Path
    acl: Path | None = None


@dataclass(frozen=True, slots=True)
class Acceptance:
    """What a built package has to stand: the roots that it is judged against, none for the top of its own chain, and
    whether it is written anyway."""

    roots: tuple[Path, ...] = ()
    anyway: bool = False


@dataclass(frozen=True, slots=True)
class AuthorityRequest:
    """Which authority to make: where, whose (the organisation's name), with what keys, with one between or not."""

    folder: Path
    subject: str
    kind: "KeyKind"
    intermediate: bool


@dataclass(frozen=True, slots=True)
class Sample:
    """A sample app's package and the root that it is signed under."""

    ova: Path
    root: Path


@dataclass(frozen=True, slots=True)
class _Description:
    """Descriptor and ACL, with the package's base name; source is the app file that they were written from."""

    name: str
    descriptor: bytes
    acl: bytes | None
    source: "AppFile | None" = None


def build_package(parts: PackageParts, output: Path | None, acceptance: Acceptance) -> int:
    """Pack, sign and judge; prints the package's path. What `racs check` would fail is told, with status 1, and nothing
    is written, unless acceptance says anyway. output None: the package's name here."""
    profile = load_profile(DEFAULT)
    described = _describe(parts, profile)
    trust = load_trust(acceptance.roots, "rd") if acceptance.roots else None
    target = output or Path(f"{described.name}.ova")
    try:
        with new_file(target, (*_inputs(parts), *acceptance.roots)) as package:
            signer = _pack(parts, described, profile, package.path)
            refused = _refused(PackageOptions(package.path, profile, trust or _own_trust(signer)))
            for judgement in refused:
                tell(_explain(judgement, described.source))
            if refused and not acceptance.anyway:
                tell("the package is not written: mend this, or give --anyway")
                return ExitStatus.FAIL
            package.put()
    except SubjectError as error:
        tell(_explain_contradiction(error, parts, described.source))
        return ExitStatus.FAIL
    print(target)
    return ExitStatus.PASS


def write_package(parts: PackageParts, output: Path) -> None:
    """Write the OVA where it is whole, or nothing; whether it keeps the contract is not asked. Raises UsageError,
    SubjectError."""
    profile = load_profile(DEFAULT)
    described = _describe(parts, profile)
    with new_file(output, _inputs(parts)) as package:
        _pack(parts, described, profile, package.path)
        package.put()


def _inputs(parts: PackageParts) -> tuple[Path, ...]:
    return tuple(filter(None, (parts.description, parts.image, parts.privatekey, parts.certificate, parts.acl)))


def _describe(parts: PackageParts, profile: Profile) -> _Description:
    """Raises UsageError for files that cannot be read or that no package can be made from."""
    from_app = parts.description.suffix == ".toml"
    for path, what in ((parts.description, "app.toml" if from_app else "descriptor"), (parts.image, "image"),
                       (parts.privatekey, "private key"), (parts.certificate, "certificate")):  # fmt: skip
        require_file(path, what)
    if not from_app and parts.description.suffix != ".ovf":
        raise UsageError(f"{parts.description}: an app file's name ends in .toml and a descriptor's in .ovf; rename it")
    if from_app:
        from harness.packaging.appfile import read_app

        if parts.acl is not None:
            raise UsageError("--acl: an app file brings its ACL itself, in [bus]; leave the option out")
        app = read_app(parts.description, profile)
        return _Description(app.application.id, app.descriptor(profile), app.acl(), app)
    acl = parts.acl
    if acl is None and (parts.description.parent / ACL).is_file():
        acl = parts.description.parent / ACL
    if acl is not None:
        require_file(acl, "ACL")
    granted = acl.read_bytes() if acl is not None else None
    return _Description(parts.description.stem, parts.description.read_bytes(), granted)


def _pack(parts: PackageParts, described: _Description, profile: Profile, partial: Path) -> "Signer":
    from conformance.package.build import BuildRequest, build_ova
    from harness.packaging.ca import load_signer

    signer = load_signer(parts.privatekey, parts.certificate)
    with parts.image.open("rb") as image, partial.open("wb") as target:
        request = BuildRequest(described.name, described.descriptor, image, described.acl, signer)
        build_ova(request, profile, target)
    return signer


def _own_trust(signer: "Signer") -> "Trust":
    """Trust in the top of the signer's own chain: who signs does not have to have the root at hand, and all that hangs
    on it but its name is judged all the same."""
    from conformance.package.certificate import Trust
    from conformance.package.chain import build

    now = datetime.now(UTC)
    return Trust("rd", (build(signer.chain, Trust("rd", (), now)).certificates[-1],), now)


def _refused(options: PackageOptions) -> "tuple[Judgement, ...]":
    """The MUSTs of scope "package" that this package fails."""
    from conformance.verdict import Verdict
    from harness.package.checking import certify_statically

    judgements = certify_statically(options).judgements
    return tuple(judgement for judgement in judgements if judgement.gates and judgement.verdict is Verdict.FAIL)


def _explain(judgement: "Judgement", app: "AppFile | None") -> str:
    """As `racs check` tells it; of what was written from an app file in the file's own terms."""
    from conformance.checks.remedies import REBUILT
    from reports.text import describe

    found = tuple(replace(one, remedy=one.remedy.removesuffix(REBUILT)) for one in judgement.findings)
    if app is not None:
        from harness.packaging.origin import retell  # lark: only who is refused pays for its import

        found = tuple(retell(judgement.id, one, app) for one in found)
    judgement = replace(judgement, findings=found)
    return f"{judgement.id} {judgement.title}\n{textwrap.indent(describe(judgement), '  ')}"


def _explain_contradiction(error: SubjectError, parts: PackageParts, app: "AppFile | None") -> str:
    """What no package is made of, by the names of the files that were given."""
    finding = Finding(error.expected, error.seen, error.where, error.remedy)
    if app is not None:
        from harness.packaging.origin import retell  # as above

        finding = retell(error.requirement, finding, app)
    image = shlex.quote(str(parts.image))
    where = finding.where.replace("the image,", f"{parts.image},") or str(parts.description)
    where = re.sub("^descriptor", lambda _: str(parts.description), where)
    remedy = finding.remedy.removesuffix(" (then pack and sign again)")
    remedy = remedy.replace("OLD.qcow2", image).replace(" DISK ", f" {image} ")
    return f"{where}: expected {finding.expected}, saw {finding.seen}{f'; {remedy}' if remedy else ''}"


def build_app_image(folder: Path, output: Path, root_archive: Path | None = None) -> int:
    """Build an app folder into an image; prints its path. A root archive without a kernel makes no image: then a
    kickstart file is written and explained, with status 1."""
    from harness.appimage.archive import NoKernel
    from harness.appimage.image import build_image

    try:
        print(build_image(folder, output, CACHE / "images", tell, root_archive))
    except NoKernel as error:
        tell(str(error))
        write_installation(folder, output, None)
        return ExitStatus.FAIL
    return ExitStatus.PASS


def write_installation(folder: Path, output: Path, iso: Path | None) -> int:
    """Write the kickstart file with which Anaconda makes the image `output`, and say how. Nothing is installed here."""
    from harness.appimage.image import app_layer, start_line
    from harness.appimage.kickstart import explain_installation, write_kickstart
    from harness.appimage.recipe import read_recipe

    recipe = read_recipe(folder / "app.toml")
    if iso is not None:
        _require_iso(iso)
    kickstart = output.with_suffix(".ks")
    if kickstart == output:
        raise UsageError(
            f"{output}: -o names the image, such as {output.with_suffix('.qcow2')}; the kickstart file is beside"
        )
    # no folder that belongs to one version of Python: /etc/start names it
    layer = {name: source for name, source in app_layer(recipe, PYTHON_FOLDER).items() if name != "/sbin/init"}
    start = f"export PYTHONPATH={PYTHON_FOLDER}\n{start_line(recipe)}"
    with new_file(kickstart) as file:
        file.path.write_text(write_kickstart(folder.resolve().name, layer, start), encoding="utf-8")
        file.put()
    show(explain_installation(kickstart, output, recipe.disk_mib, iso), sys.stdout)
    return 0


def _require_iso(path: Path) -> None:
    require_file(path, "distribution's ISO")
    with path.open("rb") as file:
        file.seek(_ISO_MARK_AT)
        if file.read(len(_ISO_MARK)) != _ISO_MARK:
            raise UsageError(f"{path} is no ISO 9660 image; give the one that the distribution is installed from")


def make_rd_ca(request: AuthorityRequest) -> int:
    """Make root, key and certificate in a folder and trust the root for R&D; prints where they are."""
    from harness.packaging.ca import make_ca

    trust = trust_folder("rd")
    made = make_ca(request.folder, request.subject, datetime.now(UTC), request.kind, request.intermediate, trust)
    print(f"root         {made.root}\nkey          {made.key}")
    print(f"certificate  {made.certificate}\ntrusted as   {made.trusted}")
    return ExitStatus.PASS


def build_sample(name: str) -> Sample:
    """The package of an app in examples/, signed by a throw-away R&D authority; its image is cached."""
    from harness.appimage.image import build_image
    from harness.packaging.ca import make_ca

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
