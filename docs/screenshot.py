"""Regenerate docs/leaderboard.png, the picture of docs/leaderboard.md: ``python docs/screenshot.py``.

Builds the repository's own leaderboard and photographs its index in Chromium.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
from pathlib import Path

from click.testing import CliRunner

from lrt_bench.cli.main import main as program

ROOT = Path(__file__).parent.parent
FLAGS = ["--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking"]


def photograph(page_path: Path, picture: Path) -> None:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=FLAGS)
        page = browser.new_page(viewport={"width": 1280, "height": 720}, color_scheme="light")
        page.goto(page_path.as_uri())
        page.wait_for_timeout(300)
        page.screenshot(path=picture)
        browser.close()


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        site = Path(folder) / "site"
        words = [
            "leaderboard",
            "build",
            "--results",
            str(ROOT / "leaderboard" / "results"),
            "--out",
            str(site),
        ]
        done = CliRunner().invoke(program, words)
        if done.exit_code:
            sys.exit(done.output)
        photograph(site / "index.html", ROOT / "docs" / "leaderboard.png")


if __name__ == "__main__":
    main()
