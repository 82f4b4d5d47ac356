"""Publish the leaderboard: results as a dataset, the site as a static Space."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from lrt_bench.data.hub.client import (
    Content,
    Report,
)
from lrt_bench.data.hub.repository import MARKS, Destination, Published, publish
from lrt_bench.errors import UserError
from lrt_bench.leaderboard.cards import dataset_files, space_files

TITLE = "lrt-bench: steering-vector transfer"


def space_address(space: str) -> str:
    """Return where the Hub serves the pages of a static Space, ORG/NAME."""
    host = re.sub("[^a-z0-9]+", "-", space.lower()).strip("-")
    return f"https://{host}.static.hf.space/"


def publish_leaderboard(
    records: Mapping[str, Path],
    site: Path,
    *,
    space: str | None,
    dataset: str | None,
    dry_run: bool = False,
    verify: bool = False,
    create_pr: bool = False,
    report: Report,
) -> list[Published]:
    """Publish results as a dataset, then the site as a static Space; either may be left out.

    Both are read and checked before the first is sent. records : SUITE/PAIR/MAPPING -> a checked result.
    """
    work: list[tuple[Destination, dict[str, Content]]] = []
    if dataset:
        work.append((Destination(dataset, "dataset"), dataset_files(records, site, repo=dataset)))
    if space:
        work.append((Destination(space, "space"), space_files(site, TITLE, dataset=dataset)))
    if not work:
        raise UserError("nowhere to publish: give a Space, a dataset repository or both, as ORG/NAME")
    return [
        publish(
            destination,
            files,
            message="Publish the leaderboard with lrt-bench",
            dry_run=dry_run,
            verify=verify,
            create_pr=create_pr,
            mark=MARKS[destination.kind],
            report=report,
        )
        for destination, files in work
    ]
