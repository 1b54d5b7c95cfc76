"""A finished run's reports: each module renders one `Certification`; this one writes them all into the run's folder."""

from collections.abc import Callable, Mapping
from pathlib import Path

from conformance.certification import Certification

REPORTS = ("certification.json", "junit.xml", "allure-results", "report.html")


def write_reports(certification: Certification, folder: Path, only: str = "") -> None:
    """Write certification.json, report.html, junit.xml and allure-results/ into folder, each file whole or not at all.

    only names one of them. Raises OSError.
    """
    from reports import allure, html, json, junit

    files: Mapping[str, Callable[[Certification], bytes]] = {
        "certification.json": json.render,
        "junit.xml": junit.render,
        "report.html": html.render,
    }
    for name, render in files.items():
        if only in ("", name):
            _write(folder / name, render(certification))
    if only in ("", "allure-results"):
        results = folder / "allure-results"
        results.mkdir(exist_ok=True)
        for name, content in allure.render(certification).items():
            _write(results / name, content)


def _write(path: Path, content: bytes) -> None:
    partial = path.with_name(f".{path.name}")
    try:
        partial.write_bytes(content)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
