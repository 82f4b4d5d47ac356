"""Where the shipped data lies: in the package when installed from a wheel, beside it in a checkout."""

from __future__ import annotations

from pathlib import Path

PACKAGE = Path(__file__).parent.parent


def _folder(name: str) -> Path:
    packaged = PACKAGE / "_data" / name
    return packaged if packaged.is_dir() else PACKAGE.parent / name


TASKS = _folder("tasks")
SUITES = _folder("suites")
LEADERBOARD = _folder("leaderboard")
