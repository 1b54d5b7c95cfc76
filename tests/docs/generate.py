"""Renews what is generated from the code's own tables: docs/trace.md below its heading "Kinds", the JSON Schema of the
trace, and docs/catalogue.md."""

import json
from collections.abc import Iterator
from pathlib import Path

from conformance.catalogue import Requirement
from conformance.catalogue import load as load_catalogue
from conformance.profile import load as load_profile
from conformance.trace_kinds import json_schema, markdown_table
from reports.html import FAMILIES

REPOSITORY = Path(__file__).resolve().parents[2]
TRACE_PAGE = REPOSITORY / "docs" / "trace.md"
TRACE_SCHEMA = REPOSITORY / "conformance" / "data" / "schemas" / "racs-trace-1.json"
CATALOGUE_PAGE = REPOSITORY / "docs" / "catalogue.md"
HEADING = "## Kinds\n\n"
CATALOGUE_HEAD = """# The catalogue of requirements

All that an application (and, where it says so, the platform) is held to, in the order of the catalogue's files
`conformance/data/requirements/*.toml`, from which this page is generated (`python tests/docs/generate.py` renews it).
`racs explain ID` shows the same on a terminal. A *draft* has an id and a meaning, but this version of the suite does
not judge it: it never fails or blocks anything. *Assumed* is this project's own choice where the vendor's guide is not
public; *given* is the platform's public description. Numbers are those of the profile `racs-1`.

"""


def trace_page(current: str) -> str:
    """The page with its generated part renewed."""
    return current[: current.index(HEADING) + len(HEADING)] + markdown_table()


def trace_schema() -> str:
    return json.dumps(json_schema(), indent=1, ensure_ascii=False) + "\n"


def catalogue_page() -> str:
    requirements = tuple(load_catalogue().requirements.values())
    families = {title: [r for r in requirements if r.id.startswith(prefix)] for prefix, title in FAMILIES.items()}
    lines = [CATALOGUE_HEAD, "| family | in force | drafts |", "|---|---|---|"]
    for title, members in families.items():
        in_force = sum(r.in_force for r in members)
        anchor = title.lower().replace(",", "").replace(" ", "-")
        lines.append(f"| [{title}](#{anchor}) | {in_force} | {len(members) - in_force} |")
    in_force = sum(r.in_force for r in requirements)
    lines += [f"| all | {in_force} | {len(requirements) - in_force} |", ""]
    for title, members in families.items():
        lines += [f"## {title}", ""]
        for requirement in members:
            lines += _entry(requirement)
    return "\n".join(lines).rstrip() + "\n"


def _entry(requirement: Requirement) -> Iterator[str]:
    profile = load_profile()
    applies = {
        "all": "all apps",
        "mqtt": "apps that use the bus",
        "off-bus": "apps that do not use the bus",
        "drill": "apps that support the hang drill",
    }
    whom = applies.get(requirement.when, f"{requirement.when} apps")
    numbers = ", ".join(f"`{name} = {_value(profile[name])}`" for name in requirement.reads)
    yield f"### {requirement.id} {requirement.title}"
    yield ""
    yield " · ".join(
        [
            f"**{requirement.level}**",
            "in force" if requirement.in_force else "draft",
            whom if requirement.subject == "app" else f"judges the platform, for {whom}",
            "from the package alone" if requirement.scope == "package" else "from a run",
            " ".join(filter(None, (requirement.source, requirement.clause))),
        ]
    )
    yield ""
    for name, text in (
        ("Holds when", requirement.what),
        ("Why", requirement.rationale),
        ("Mend", requirement.remedy),
    ):
        if text:
            yield f"- {name}: {_plain(text)}"
    if numbers:
        yield f"- Numbers: {numbers}"
    yield ""


def _value(value: object) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


def _plain(text: str) -> str:
    """The catalogue's text is plain but for its backquotes: no character of it is markup."""
    return text.replace("*", "\\*").replace("<", "&lt;")


if __name__ == "__main__":
    TRACE_PAGE.write_text(trace_page(TRACE_PAGE.read_text(encoding="utf-8")), encoding="utf-8")
    TRACE_SCHEMA.write_text(trace_schema(), encoding="utf-8")
    CATALOGUE_PAGE.write_text(catalogue_page(), encoding="utf-8")
