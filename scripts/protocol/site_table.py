"""The tables of sites in `docs/protocol.md`: candidate pairs against the rule, concepts on those chosen."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from scripts.protocol.site_scores import PARTED, READOUTS, Measured, Site, site_of
from scripts.protocol.table import fill

CHOSEN = ("M3-L2", "M3-L1", "S3-L2", "L2-S2")  # the pairs that are ranked
TOGETHER = "mean of the bold"
MOST_CONTROL = 60.0  # points that a readout control may reach
FEWEST_CLEAR = 20
MOST_SATURATED = 1 / 3


def write_tables(page: Path, measured: Sequence[Measured]) -> None:
    """Write both tables between their marks."""
    fill(page, {"sites": sites_table(measured), "concepts": concepts_table(measured)})


def by_pair(measured: Sequence[Measured]) -> dict[str, list[Measured]]:
    """Return what was measured of each pair, in full where it was, in the order of measuring."""
    groups: dict[tuple[str, str], list[Measured]] = {}
    for one in measured:
        groups.setdefault((one.pair, one.stage), []).append(one)
    pairs = dict.fromkeys(pair for pair, _ in groups)
    return {pair: groups.get((pair, "full")) or groups[pair, "look"] for pair in pairs}


def together(groups: dict[str, list[Measured]]) -> list[Measured]:
    """Return the mean over the chosen pairs of each task, which is clear where it is on all of them."""
    tasks: dict[str, list[Measured]] = {}
    for pair in CHOSEN:
        for one in groups.get(pair, ()):
            tasks.setdefault(one.task, []).append(one)
    return [
        Measured(
            ones[0].stage,
            TOGETHER,
            task,
            ones[0].prompts,
            min(one.margin_low for one in ones),
            min(one.log_margin_low for one in ones),
            float(np.mean([one.ceiling for one in ones])),
            {row: float(np.mean([one.shares[row] for one in ones])) for row in ones[0].shares},
        )
        for task, ones in tasks.items()
    ]


def failures(site: Site) -> list[str]:
    """Return what of the rule a pair breaks."""
    broken = {
        f"a control at {site.control:.0f}": site.control > MOST_CONTROL,
        f"{site.clear} clear": site.clear < FEWEST_CLEAR,
        f"{site.saturated:.0%} saturated": site.saturated > MOST_SATURATED,
        "not all parted": not site.parted,
    }
    return [what for what, fails in broken.items() if fails]


def sites_table(measured: Sequence[Measured]) -> str:
    """Every candidate, in full before at a look, and in order of its target's depth within the models."""
    lines = [
        "| pair | prompts | clear | ceiling | readout | unembedding | mlp | affine | orthogonal | weakest "
        "| saturated | breaks |",
        "| --- |" + " ---: |" * 8 + " --- | ---: | --- |",
    ]
    groups = by_pair(measured)
    order = sorted(groups, key=lambda pair: (groups[pair][0].stage != "full", _place(pair)))
    lines += [_line(pair, groups[pair]) for pair in order]
    if set(CHOSEN) <= set(groups):
        lines.append(_line(TOGETHER, together(groups)))
    return "\n".join(lines) + "\n"


def _line(pair: str, measured: Sequence[Measured]) -> str:
    site, prompts = site_of(measured), max(one.prompts for one in measured)
    if site is None:
        return f"| {pair} | {prompts} | fewer than 2 |" + " |" * 9
    weakest = min(site.maps, key=site.maps.__getitem__)
    name = f"**{pair}**" if pair in CHOSEN else pair
    shown = " | ".join(f"{site.scores[row]:.0f}" for row in (*READOUTS, *PARTED))
    return (
        f"| {name} | {prompts} | {site.clear} ({site.clear_by_logs}) | {site.ceiling:.2f} | {shown} | "
        f"{weakest} {site.maps[weakest]:.0f} | {site.saturated:.0%} | {', '.join(failures(site))} |"
    )


def _place(pair: str) -> tuple[str, str, str, str]:
    """Return source and target model, then target and source layer."""
    source, target = pair.split("-")
    return source[:-1], target[:-1], target[-1], source[-1]


def concepts_table(measured: Sequence[Measured]) -> str:
    """Return each concept's share under the affine map on the chosen pairs, a dash where it is not clear."""
    groups = {pair: {one.task: one for one in ones} for pair, ones in by_pair(measured).items()}
    chosen = [pair for pair in CHOSEN if pair in groups]
    lines = ["| concept | " + " | ".join(chosen) + " |", "| --- |" + " ---: |" * len(chosen)]
    for task in dict.fromkeys(one.task for one in measured):
        ones = [groups[pair][task] for pair in chosen]
        cells = [f"{100 * one.shares['affine']:.0f}" if one.clear else "–" for one in ones]
        lines.append(f"| {task} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"
