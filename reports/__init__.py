"""A finished run's reports: each module renders one `Certification`; this one writes them all into the run's folder."""

from pathlib import Path

from conformance.certification import Certification


def write_reports(certification: Certification, folder: Path) -> None:
    """Write certification.json, report.html, junit.xml and allure-results/ into folder. Raises OSError."""
    from reports import allure, html, json, junit

    (folder / "certification.json").write_bytes(json.render(certification))
    (folder / "junit.xml").write_bytes(junit.render(certification))
    results = folder / "allure-results"
    results.mkdir(exist_ok=True)
    for name, content in allure.render(certification).items():
        (results / name).write_bytes(content)
    (folder / "report.html").write_bytes(html.render(certification))
