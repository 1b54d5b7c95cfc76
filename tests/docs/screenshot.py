"""Takes docs/report.png: the first screen of a run's report, as Debian's Chromium shows it.

apt-get install --no-install-recommends chromium
python tests/docs/screenshot.py runs/latest/report.html
"""

import sys
from pathlib import Path

from playwright.sync_api import sync_playwright

PICTURE = Path(__file__).resolve().parents[2] / "docs" / "report.png"
CHROMIUM = "/usr/bin/chromium"
WIDTH, HEIGHT = 1180, 900


def take(report: Path, picture: Path, dark: bool = False) -> None:
    """Write the report's first screen as PNG. The page loads nothing but the file itself."""
    with sync_playwright() as playwright:
        # Chromium refuses its sandbox to root; the only page it sees is ours
        browser = playwright.chromium.launch(executable_path=CHROMIUM, chromium_sandbox=False)
        page = browser.new_page(
            viewport={"width": WIDTH, "height": HEIGHT}, color_scheme="dark" if dark else "light", offline=True
        )
        page.goto(report.resolve().as_uri())
        page.screenshot(path=picture)
        browser.close()


if __name__ == "__main__":
    take(Path(sys.argv[1]), PICTURE)
