"""The command line. Thin: each command imports what it needs when it is called, so that start-up stays fast."""

import os
import sys
import traceback
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

import click

from conformance.errors import BrokenLab, EnvironmentFault, UsageError
from conformance.exitstatus import ExitStatus
from harness.screen import complain, silence

_FILE = click.Path(path_type=Path, readable=False)  # harness.options says better what is wrong with a file
Command = TypeVar("Command", bound=Callable[..., Any])


def main(arguments: Sequence[str] | None = None) -> None:
    """Run a command and exit with design 7's status; no fault of the user's or the machine's shows a traceback."""
    given = sys.argv[1:] if arguments is None else list(arguments)
    try:
        # click's own main would end a broken pipe with 1, which says that a requirement failed
        with commands.make_context("racs", given) as context:
            status = commands.invoke(context)
        sys.stdout.flush()
    except click.exceptions.Exit as end:  # --help, --version
        status = end.exit_code
    except click.ClickException as error:
        error.show()
        _explain_dash(given)
        status = ExitStatus.USAGE
    except KeyboardInterrupt:
        status = ExitStatus.INTERRUPTED
    except UsageError as error:
        complain(str(error))
        status = ExitStatus.USAGE
    except (EnvironmentFault, BrokenLab) as error:
        complain(str(error))
        status = ExitStatus.ERROR
    except BrokenPipeError:
        silence(sys.stdout)
        status = ExitStatus.ERROR
    except OSError as error:
        complain(f"{error.filename or 'the system'}: {error.strerror or error}")
        silence(sys.stdout)
        status = ExitStatus.ERROR
    except Exception:  # a bug of ours must not look like a failed requirement
        traceback.print_exc()
        click.echo("racs: error in the suite: please report it with the text above", err=True)
        status = ExitStatus.ERROR
    sys.exit(status or ExitStatus.PASS)


def _explain_dash(given: Sequence[str]) -> None:
    for word in given:
        if word.startswith("-") and Path(word).is_file():
            complain(f"a file whose name begins with - is given as ./{word}")


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="racs-conformance", prog_name="racs")
def commands() -> None:
    """Conformance suite for RACS applications."""


def _options(*declared: Callable[[Command], Command]) -> Callable[[Command], Command]:
    def add(command: Command) -> Command:
        for option in reversed(declared):
            command = option(command)
        return command

    return add


_trust_options = _options(
    click.option("--root", "roots", type=_FILE, multiple=True, help="Trusted roots (PEM), file or folder; repeatable."),
    click.option("--trust", default="rd", show_default=True, help="Trust profile: rd, production or one of your own."),
    click.option("--profile", default="racs-1", show_default=True, help="Profile id or file."),
)
_json_option = click.option(
    "--json", "json_file", metavar="FILE", help="Write the result as JSON; - is standard output."
)
_machine_options = _options(
    click.option("--accelerator", type=click.Choice(["auto", "kvm", "tcg"]), default="auto", show_default=True),
    click.option("--seed", type=int, help="Draw every random choice from this seed."),
    click.option("--runs", type=_FILE, default=Path("runs"), show_default=True, help="Where runs leave their reports."),
)


@commands.command()
@click.argument("ovas", metavar="OVA...", type=_FILE, nargs=-1, required=True)
@_trust_options
@_json_option
@click.option("--at", metavar="TIME", help="Judge validity at this ISO 8601 time instead of now.")
@click.option("--no-image", is_flag=True, help="Do not look into the image: leave IMG-001 to 005 out. No whole check.")
def check(ovas: tuple[Path, ...], json_file: str | None, at: str | None, no_image: bool, **whose: Any) -> int:
    """Check packages only: no VM, no root, no network.

    Several are judged on all cores, told in the order given as results come; --json then writes a line each (JSON
    Lines). One that cannot be opened is told and the others are judged all the same. The exit status is the worst:
    of 2 interrupted, 4 no package, 3 error, 1 fail, 6 inconclusive, 5 nothing ran and 0 pass the first that holds.
    """
    from conformance.profile import load
    from harness.options import PackageOptions, load_trust

    profile = load(whose["profile"])
    trust = load_trust(whose["roots"], whose["trust"], _time(at))
    packages = [PackageOptions(ova, profile, trust, not no_image) for ova in ovas]
    if len(packages) == 1:
        from harness.package.checking import check_package

        return check_package(packages[0], json_file)
    from harness.package.checklist import check_packages

    return check_packages(packages, json_file)


@commands.command()
@click.argument("ova", type=_FILE, required=False)
@_trust_options
@_json_option
@click.option("-k", "select", metavar="EXPRESSION", help="Only the items that match (pytest's -k), such as HBT-003.")
@_machine_options
def certify(ova: Path | None, **options: object) -> int:
    """Certify a package: boot it in the emulated network and run every suite. Without OVA: the sample app GoOn."""
    from harness.certify import run_certify

    return run_certify(ova, options)


@commands.command()
@click.argument("name")
@click.option("--type", "kind", type=click.Choice(["terminating", "transparent"]), required=True)
@click.option("--folder", type=_FILE, help="The folder to make; default NAME here.")
def new(name: str, kind: Any, folder: Path | None) -> int:
    """Begin an app: a project folder that certifies as it is. NAME is the app's id, such as my-app."""
    from harness.packaging.newapp import NewApp, make_app

    return make_app(NewApp(name, kind, folder or Path(name)))


@commands.command("build-app")
@click.argument("folder", type=_FILE)
@click.option("-o", "--output", type=_FILE, help="The image to write; default FOLDER's name with .qcow2 here.")
@click.option("--root-archive", type=_FILE, help="A root file system (tar) to build on, in place of Debian packages.")
@click.option("--iso", type=_FILE, help="Of the Red Hat family: write a kickstart file and how to install from this.")
def build_app(folder: Path, output: Path | None, root_archive: Path | None, iso: Path | None) -> int:
    """Build an app folder (see examples/goon) into a bootable qcow2 image."""
    from harness.packaging.building import build_app_image, write_installation

    image = output or Path(f"{folder.resolve().name}.qcow2")
    if iso is not None:
        return write_installation(folder, image, iso)
    return build_app_image(folder, image, root_archive)


@commands.command("build-ova")
@click.argument("app", type=_FILE, required=False)
@click.option("--ovf", type=_FILE, help="The descriptor, in place of an app.toml; its base name becomes the package's.")
@click.option("--image", required=True, type=_FILE, help="The qcow2 boot disk.")
@click.option("--privatekey", required=True, type=_FILE, help="The signer's private key (PEM).")
@click.option("--certificate", required=True, type=_FILE, help="The signer's certificate, its chain after it (PEM).")
@click.option("--acl", type=_FILE, help="With --ovf: auth/acl.xml of an app that uses the bus; default that beside it.")
@click.option("--root", "roots", type=_FILE, multiple=True, help="Judge the package against this root (PEM).")
@click.option("--anyway", is_flag=True, help="Write the package even if `racs check` would fail it.")
@click.option("-o", "--output", type=_FILE, help="The package to write; default the app's id with .ova here.")
def build_ova(app: Path | None, ovf: Path | None, output: Path | None, **options: Any) -> int:
    """Pack an app into a signed OVA: from its app.toml, or from a descriptor (--ovf).

    What `racs check` would fail is told and not written. Without --root all is judged but whose the signer's chain is.
    """
    from harness.packaging.building import Acceptance, PackageParts, build_package

    given = app or ovf
    if given is None or (app and ovf):
        raise UsageError("give either an app.toml or --ovf with a descriptor")
    parts = PackageParts(given, options["image"], options["privatekey"], options["certificate"], options["acl"])
    return build_package(parts, output, Acceptance(options["roots"], options["anyway"]))


@commands.command()
@click.option(
    "--folder", type=_FILE, default=Path("ca"), show_default=True, help="Where to write keys and certificates."
)
@click.option("--subject", default="RACS app developer", show_default=True, help="Your organisation's name.")
@click.option("--intermediate", is_flag=True, help="Put an authority between root and signer.")
@click.option("--kind", type=click.Choice(["P-256", "RSA-3072"]), default="P-256", show_default=True, help="Of keys.")
def ca(**options: Any) -> int:
    """Make an R&D root and a signing key, and trust the root for R&D."""
    from harness.packaging.building import AuthorityRequest, make_rd_ca

    return make_rd_ca(AuthorityRequest(**options))


@commands.command("inspect")
@click.argument("ova", type=_FILE)
@_json_option
@click.option("--no-image", is_flag=True, help="Do not look into the image.")
def inspect_(ova: Path, json_file: str | None, no_image: bool) -> int:
    """Show what is in a package: files, signer, application, rules and ACL in words, image and what is inside it.

    Judges nothing. Of secrets in the image it says how many there are.
    """
    from harness.package.inspecting import inspect_package

    return inspect_package(ova, json_file, not no_image)


@commands.command("list")
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
def list_requirements(as_json: bool) -> int:
    """List the catalogue of requirements."""
    from harness.explaining import list_catalogue

    return list_catalogue(as_json)


@commands.command()
@click.argument("requirement")
def explain(requirement: str) -> int:
    """Explain a requirement: what must hold, why, and what to do about a failure."""
    from harness.explaining import explain_requirement

    return explain_requirement(requirement)


@commands.command()
@click.argument("expressions", nargs=-1, metavar="EXPRESSION...")
@click.option("--downlink", multiple=True, metavar="EXPRESSION", help="A rule for downlink; the others are for uplink.")
@click.option("--ova", type=_FILE, help="The rules of this package, or of a descriptor (.ovf).")
@click.option(
    "--packet", type=_FILE, help="Show which packets of this capture (pcap, pcapng; - is stdin) are selected."
)
@click.option("--all", "everything", is_flag=True, help="Show the packets that are not selected too.")
@click.option("--profile", default="racs-1", show_default=True, help="Profile id or file.")
@_json_option
def rule(expressions: tuple[str, ...], **options: Any) -> int:
    """Say in words what offload rules select, what is wrong with them, and which packets of a capture they select.

    racs rule '4==ip_version && proto==TCP && dst_port==80' --packet s1u.pcap
    """
    from harness.rule.command import run_rule

    return run_rule(expressions, options)


@commands.command()
def doctor() -> int:
    """Say what this machine has, lacks and how to mend it."""
    from harness.doctor import examine_machine

    return examine_machine()


class _HandingOn(click.Command):
    """A command whose arguments are another program's, every one of them, ``--`` and ``--help`` too."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        ctx.params["arguments"] = tuple(args)
        return []


@commands.command(cls=_HandingOn)
def test(arguments: tuple[str, ...]) -> int:
    """Run the project's own checks and tests."""
    from harness.options import REPOSITORY

    os.chdir(REPOSITORY)
    environments = arguments or ("run", "-e", "lint,type,unit,live,docs")
    os.execv(sys.executable, [sys.executable, "-m", "tox", *environments])


@commands.command(cls=_HandingOn)
def pytest(arguments: tuple[str, ...]) -> int:
    """Run pytest in the project's environment: racs pytest suites/ --ova app.ova."""
    os.execv(sys.executable, [sys.executable, "-m", "pytest", *arguments])


@commands.command()
@click.argument("ova", type=_FILE)
@click.argument("which", required=False, default="")
@_trust_options
@_machine_options
@click.option("--terminals", type=int, hidden=True)  # between our own processes
def lab(ova: Path, which: str, **options: Any) -> int:
    """Boot an app in the emulated network and keep it running until Ctrl-C.

    racs lab console [WHICH] shows and types into the console of a lab that runs in another terminal.
    """
    from harness.interactive import LabRequest, run_lab
    from harness.options import load_package_options
    from harness.terminal import follow_console

    if str(ova) == "console" and not ova.exists():
        return follow_console(which)
    if which:
        raise UsageError(f"{which}: one package at a time; a second lab runs in another terminal")
    package = load_package_options(ova, options["roots"], options["trust"], options["profile"])
    seed = int.from_bytes(os.urandom(4)) if options["seed"] is None else options["seed"]
    return run_lab(LabRequest(package, options["runs"], options["accelerator"], seed, options["terminals"]))


def _time(text: str | None) -> datetime | None:
    if text is None:
        return None
    try:
        time = datetime.fromisoformat(text)
        return (time if time.tzinfo else time.replace(tzinfo=UTC)).astimezone(UTC)
    except (ValueError, OverflowError) as error:  # a zone may lead out of the years that there are
        raise UsageError(f"--at {text}: no ISO 8601 time; write it like 2026-11-23T12:00:00Z") from error
