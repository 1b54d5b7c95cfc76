"""Apps with faults, as the live tests take them: their expectations, their packages, and runs of the real command."""

import json
import os
import re
import runpy
import subprocess
import sys
import time
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from conformance.catalogue import load as load_catalogue
from harness.appimage.image import build_image
from harness.packaging.building import PackageParts, write_package
from harness.packaging.ca import make_ca

REPOSITORY = Path(__file__).parents[2]
APPS = REPOSITORY / "tests" / "apps"
SHORT = APPS / "profiles" / "short.toml"
CACHE = REPOSITORY / ".cache" / "images"
# Judged over the whole run whatever else is asked for: each boot of a known-bad app is judged by them too.
PASSIVE = ("RES-005", "HBT-002", "HBT-003", "HBT-010", "NTP-005", "BUS-002", "BUS-007")
LIMIT_S = 400.0


@dataclass(frozen=True, slots=True)
class Expectation:
    """What a fault's app has to fail, and may fail besides (id to reason)."""

    fault: str
    app: str
    fails: tuple[str, ...]
    may: Mapping[str, str]

    @property
    def in_force(self) -> bool:
        return any(load_catalogue()[identity].in_force for identity in self.fails)


def expectations() -> Mapping[str, Expectation]:
    """All of expectations.toml, by fault."""
    table = tomllib.loads((APPS / "expectations.toml").read_text(encoding="utf-8"))
    return {
        fault: Expectation(fault, entry["app"], tuple(entry["fails"]), entry.get("may", {}))
        for fault, entry in table.items()
    }


@dataclass(frozen=True, slots=True)
class Run:
    """A run that has ended: exit status, its JSON (empty where none was written), its output, how long it took."""

    status: int
    report: Mapping[str, Any]
    output: str
    seconds: float

    def verdicts(self, verdict: str) -> set[str]:
        """The ids in force that got it, but for DSC-011 and IMG-001: no app here is of the Red Hat family, and all
        are warned for it."""
        given = {r["id"] for r in self.report["requirements"] if r["in_force"] and r["verdict"] == verdict}
        return given - {"DSC-011", "IMG-001"}

    def explain(self) -> str:
        """For an assertion's message: every finding and the end of the output."""
        found = [
            f"{r['id']}: {r['verdict']}: {r['reason']}" for r in self.report.get("requirements", ()) if r["findings"]
        ]
        return "\n".join([f"exit status {self.status} after {self.seconds:.1f} s", *found, self.output[-2000:]])


def command(ova: Path, root: Path, runs: Path, *options: str | Path) -> list[str]:
    """The words of `racs certify` for a package, as the launcher runs it."""
    program = Path(sys.executable).with_name("racs-conformance")
    fixed = [program, "certify", ova, "--root", root, "--runs", runs, "--json", runs / "result.json"]
    return [str(word) for word in (*fixed, *options)]


def certify(words: Sequence[str], runs: Path, environment: Mapping[str, str] | None = None) -> Run:
    """Run it to its end; runs is the folder that `command` was given, environment is added to ours."""
    runs.mkdir(parents=True, exist_ok=True)
    begin = time.monotonic()
    done = subprocess.run(
        words,
        cwd=runs,
        env={**os.environ, **(environment or {})},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=LIMIT_S,
        check=False,
    )
    return read_run(runs, done.returncode, done.stdout, time.monotonic() - begin)


def read_run(runs: Path, status: int, output: str, seconds: float) -> Run:
    result = runs / "result.json"
    report = json.loads(result.read_text(encoding="utf-8")) if result.exists() else {}
    return Run(status, report, output, seconds)


class Workshop:
    """Packages of apps, signed by an authority of its own; images are cached, each is built once."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._authority = make_ca(folder / "ca", "Known-bad apps", datetime.now(UTC))

    @property
    def root(self) -> Path:
        return self._authority.root

    def package(self, app: str, faults: Sequence[str] = ()) -> Path:
        """The OVA of an app with faults. app: goon, goon-without-bus, lens, foreign, or mute (foreign, silenced)."""
        sample = {"goon-without-bus": "goon", "mute": "foreign"}.get(app, app)
        name = "-".join((app, *faults)) or app
        descriptor = self.folder / name / f"{sample}.ovf"
        descriptor.parent.mkdir(exist_ok=True)
        source = APPS / "foreign" if sample == "foreign" else REPOSITORY / "examples" / sample
        text = (source / f"{sample}.ovf").read_text(encoding="utf-8")
        acl = None if app in ("goon-without-bus", "foreign", "mute") else source / "auth" / "acl.xml"
        if faults and sample != "foreign":
            text = with_faults(text, faults)
        if app == "goon-without-bus":
            text = re.sub(r"<racs:Features>.*</racs:Features>", "", text, flags=re.DOTALL)
            text = text.replace('<ovf:File ovf:id="acl" ovf:href="auth/acl.xml"/>', "")
        descriptor.write_text(text, encoding="utf-8")
        output = descriptor.with_suffix(".ova")
        image = self._image(app, bool(faults))
        signer = self._authority
        write_package(PackageParts(descriptor, image, signer.key, signer.certificate, acl), output)
        return output

    def _image(self, app: str, faulty: bool) -> Path:
        sample = app.removesuffix("-without-bus")
        image = self.folder / f"{sample}{'-faulty' if faulty else ''}.qcow2"
        if image.exists():
            return image
        if sample in ("foreign", "mute"):
            build_foreign = runpy.run_path(str(APPS / "foreign" / "build.py"))["build_foreign"]
            build_foreign(image, CACHE, print, mute=app == "mute")
            return image
        source = APPS / f"faulty-{sample}" if faulty else REPOSITORY / "examples" / sample
        return build_image(source, image, CACHE, print)


def with_faults(descriptor: str, faults: Iterable[str]) -> str:
    """The descriptor of a sample with the Property racs-fault, which the images with faults read."""
    end = "    </ovf:ProductSection>"
    assert descriptor.count(end) == 1
    fault = f'<ovf:Property ovf:key="racs-fault" ovf:type="string" ovf:value="{" ".join(faults)}"/>'
    return descriptor.replace(end, f"      {fault}\n{end}")


def processes_of(mark: str) -> Mapping[int, str]:
    """The processes with this text in their environment or command line, as pid to command line; zombies have none."""
    found = {}
    for folder in Path("/proc").iterdir():
        try:
            words = (folder / "cmdline").read_bytes() if folder.name.isdigit() else b""
            if words and mark.encode() in words + (folder / "environ").read_bytes():
                found[int(folder.name)] = words.replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue  # it has ended meanwhile
    return {pid: line for pid, line in found.items() if pid != os.getpid()}
