"""What a private family holds back: ``python -m scripts.submissions.private_trial FOLDER --out OUT``.

Scores every built-in map and worsened native vectors on the private pairs, and stored answers on the public
ones; built-in maps' public scores are read from leaderboard/results. What is published of it, scores to a
tenth, goes into docs/private/trial.json; `docs/private/private_page.py` makes the page's figures of it.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from datetime import datetime
from pathlib import Path

import click
import torch

from lrt_bench.data.suites import Suite, find_suite
from lrt_bench.evaluation.config import RunConfig
from lrt_bench.evaluation.evaluation import Evaluation
from lrt_bench.evaluation.rows import Row
from lrt_bench.files.whole import write_whole
from lrt_bench.results.schema.result import Result
from lrt_bench.results.statistics.agreement import Shares, agreement
from lrt_bench.results.storage import read_result
from lrt_bench.unseen.family import SECRET, Family, read_family
from lrt_bench.unseen.scoring import mean_shares, shares_of
from scripts.submissions.stored_rows import stored, worsened

ROOT = Path(__file__).parents[2]
PUBLIC = ("S-L-early", "M-L-early", "L-S-early", "S-L")
MAPS = (
    "affine", "affine-with-bias", "affine-no-bias", "ridge", "reshaped", "two-way", "orthogonal",
    "orthogonal-standardised", "whiten-rotate", "mixture", "relative", "kernel-ridge", "affine-waves", "mlp",
    "blend", "autoencoder",
)  # fmt: skip
COSINES = (0.3, 0.5, 0.7, 0.85, 0.95)
BASES, STORED = ("ridge", "affine-waves"), (0.3, 1.0)


def scored(suite: Suite, maps: tuple[str, ...], rows: Iterable[Row], out: Path) -> list[Result]:
    """Return the results of maps and further rows; finished cells in OUT are not computed again."""
    config = RunConfig(mappings=maps, out=out, no_cache=True)
    return [cell.result for cell in Evaluation(suite, config, submissions=list(rows)).run()]


def public_suite() -> Suite:
    """Return the public pairs without the tasks that are in no score and take long."""
    suite = find_suite("nano")
    tasks = tuple(task.name for task in suite.read_tasks() if task.kind in ("choice", "refusal", "fidelity"))
    pairs = tuple(pair for pair in suite.pairs if pair.name in PUBLIC)
    return suite.model_copy(update={"pairs": pairs, "tasks": tasks})


def committed(pair: str) -> dict[str, Result]:
    """Return the built-in maps' public results."""
    folder = ROOT / "leaderboard" / "results" / "nano" / pair
    return {name: read_result(folder / f"{name}.json") for name in MAPS}


def trial(family: Family, out: Path) -> dict[str, object]:
    """Return what is published of the family and of the trial on it."""
    worse = [worsened(cosine) for cosine in COSINES]
    suite = family.suite(find_suite("nano"))
    private = mean_shares(scored(suite, MAPS, worse, out), len(suite.pairs))
    cheats = [stored(base, share) for base in BASES for share in STORED]
    public = scored(public_suite(), ("ridge",), [*worse, *cheats], out)
    entries = [_entries(pair, [r for r in public if r.pair.name == pair], private) for pair in PUBLIC]
    names = [*MAPS, *(row.name for row in worse)]
    return {
        "commitment": family.commitment,
        "members": [json.loads(member.model_dump_json()) for member in family.manifest.members],
        "pairs": [pair.name for pair in family.manifest.pairs],
        "minutes": _minutes(family),
        "private": {name: _points(private[name]) for name in names},
        "public": {pair: scores for pair, (scores, _) in zip(PUBLIC, entries, strict=True)},
        "stored": {pair: told for pair, (_, told) in zip(PUBLIC, entries, strict=True)},
    }


def _minutes(family: Family) -> float:
    """Return how long it took to make, from the secret to the gate; of a family that was made in one go."""
    begun = (family.folder / SECRET).stat().st_mtime
    return round((datetime.fromisoformat(family.manifest.created).timestamp() - begun) / 60, 1)


def _entries(
    pair: str, extra: list[Result], private: Shares
) -> tuple[dict[str, float], dict[str, dict[str, float]]]:
    """Return ({row: its public score}, {entry with stored answers: what is recorded of it}) of one pair."""
    public = {name: shares_of(result) for name, result in committed(pair).items()}
    public |= {result.mapping.name: shares_of(result) for result in extra if not result.mapping.control}
    told = {}
    for base in BASES:
        for name in (base, *(stored(base, share).name for share in STORED)):
            shown = {**public, "entry": public[name]}
            found = agreement(shown, {**private, "entry": private[base]}, "entry")
            half = found.gap_interval[1] - found.gap
            told[name] = {
                "public": round(found.public, 1), "gap": round(found.gap, 1), "half": round(half, 1),
                "counted": round(min(found.public, found.supported), 1),
            }  # fmt: skip
    return {name: _points(row) for name, row in public.items() if name in private}, told


def _points(row: dict[str, float] | object) -> float:
    assert isinstance(row, dict)
    return round(100 * sum(row.values()) / len(row), 1)


@click.command()
@click.argument("folder", type=click.Path(path_type=Path, exists=True))
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Where cells lie: no repository.")
def main(folder: Path, out: Path) -> None:
    """Make docs/private/trial.json of the private family in FOLDER."""
    torch.set_num_threads(1)
    made = trial(read_family(folder), out)
    write_whole(ROOT / "docs" / "private" / "trial.json", (json.dumps(made, indent=1) + "\n").encode())


if __name__ == "__main__":
    main()
