"""`racs list` and `racs explain`: what the suite asks for."""

import dataclasses
import json
import sys

from conformance.catalogue import Requirement
from conformance.catalogue import load as load_catalogue
from conformance.profile import load as load_profile
from harness.screen import show


def list_catalogue(as_json: bool) -> int:
    """Print every requirement, a line each (or all of the catalogue as JSON)."""
    requirements = load_catalogue().requirements.values()
    if as_json:
        lines = [json.dumps([dataclasses.asdict(r) for r in requirements], indent=1, ensure_ascii=False)]
    else:
        lines = [_line(requirement) for requirement in requirements]
    show("\n".join(lines), sys.stdout)
    return 0


def _line(requirement: Requirement) -> str:
    state = "in force" if requirement.in_force else "draft"
    return f"{requirement.id}  {requirement.level:<6}  {requirement.when:<12}  {state:<8}  {requirement.title}"


def explain_requirement(identity: str) -> int:
    """Print all that the catalogue says of one requirement, with the profile's numbers."""
    requirement = load_catalogue()[identity]
    profile = load_profile()
    state = "in force" if requirement.in_force else "draft: never gates, not judged yet"
    rows = [
        ("level", f"{requirement.level} ({state})"),
        ("applies", requirement.when if requirement.subject == "app" else f"{requirement.when} (judges the platform)"),
        ("holds when", requirement.what),
        ("why", requirement.rationale),
        ("mend", requirement.remedy),
        ("source", " ".join(filter(None, (requirement.source, requirement.clause)))),
        ("profile", ", ".join(f"{name} = {profile[name]}" for name in requirement.reads)),
        ("evidence", ", ".join(requirement.kinds)),
    ]
    lines = [f"{requirement.id}  {requirement.title}", ""] + [f"{name:<11} {text}" for name, text in rows if text]
    show("\n".join(lines), sys.stdout)
    return 0
