"""The catalogue of requirements: data/requirements/*.toml, one table an id. Ids never change meaning."""

import hashlib
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Literal

from conformance.application import Application
from conformance.errors import UsageError

When = Literal["all", "mqtt", "off-bus", "transparent", "terminating", "forwarding", "features", "drill"]


@dataclass(frozen=True, slots=True)
class Requirement:
    """One requirement. scope is "package" for what is judged without a VM, "run" for the rest.

    source is "given", "standard" or "assumed" (contract 10), clause names the standard's clause. reads are the profile
    fields and kinds the event kinds that its check looks at. in_force is False for a draft, which never gates.
    """

    id: str
    title: str
    level: Literal["MUST", "SHOULD"]
    when: When
    subject: Literal["app", "platform"]
    scope: Literal["package", "run"]
    what: str
    source: Literal["given", "standard", "assumed"]
    clause: str
    rationale: str
    remedy: str
    reads: tuple[str, ...]
    kinds: tuple[str, ...]
    in_force: bool

    def applies_to(self, application: Application) -> bool:
        """Whether the requirement speaks of this app (its ``when``)."""
        return {
            "all": True,
            "mqtt": application.uses_bus,
            "off-bus": not application.uses_bus,
            "transparent": application.type == "transparent",
            "terminating": application.type == "terminating",
            "forwarding": bool(application.forwards),
            "features": bool(application.features),
            "drill": "hang" in application.drills,
        }[self.when]


@dataclass(frozen=True, slots=True)
class Catalogue:
    requirements: Mapping[str, Requirement]
    digest: str

    def __getitem__(self, requirement: str) -> Requirement:
        """The requirement of this id. Raises UsageError with the nearest id for an unknown one."""
        try:
            return self.requirements[requirement.upper()]
        except KeyError:
            import difflib  # only on the error path

            near = difflib.get_close_matches(requirement.upper(), self.requirements, n=1)
            hint = f"; did you mean {near[0]}?" if near else "; `racs list` shows them all"
            raise UsageError(f"no requirement {requirement!r}{hint}") from None


@cache
def load() -> Catalogue:
    """The catalogue of this version of the suite, ids in the order of its files."""
    found: dict[str, Requirement] = {}
    digest = hashlib.sha256()
    folder = resources.files("conformance") / "data" / "requirements"
    for file in sorted(folder.iterdir(), key=lambda item: item.name):
        if not file.name.endswith(".toml"):
            continue
        data = file.read_bytes()
        digest.update(data)
        for identity, entry in tomllib.loads(data.decode()).items():
            fields = {"subject": "app", "clause": "", "reads": (), "kinds": (), "in_force": False} | entry
            fields["reads"], fields["kinds"] = tuple(fields["reads"]), tuple(fields["kinds"])
            if identity in found:
                raise ValueError(f"{identity} stands in the catalogue twice")
            found[identity] = Requirement(id=identity, **fields)
    return Catalogue(found, digest.hexdigest())
