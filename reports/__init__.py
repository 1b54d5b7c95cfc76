"""A finished run's reports: each module renders one `Certification`; this one writes them all into the run's folder."""

from pathlib import Path

from conformance.certification import Certification


def write_reports(certification: Certification, folder: Path) -> None:
    """Write certification.json, report.html, junit.xml and allure-results/ into folder, each whole or not at all.

    Raises OSError.
    """
    from reports import allure, html, json, junit

    _write(folder / "certification.json", json.render(certification))
    _write(folder / "junit.xml", junit.render(certification))
    results = folder / "allure-results"
    results.mkdir(exist_ok=True)
    for name, content in allure.render(certification).items():
        _write(results / name, content)
    _write(folder / "report.html", html.render(certification))


def _write(path: Path, content: bytes) -> None:
    partial = path.with_name(f".{path.name}")
    try:
        partial.write_bytes(content)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
