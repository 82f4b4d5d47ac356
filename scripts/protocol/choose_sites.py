"""Measure candidate pairs on a validation seed and on prompts that no score reads; write what they show.

    python -m scripts.protocol.choose_sites --seed 1 --out build/sites

First every candidate on eight prompts a task (`look`), then those that looked best (`--full`) on all, with
every map and both fit seeds. A cell that lies there is not computed again. The prompts are those that tasks
keep for choosing (`select`), so that what is ranked later was not chosen on the prompts that rank it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from pathlib import Path

import click
import torch

from lrt_bench.data.suites import PairSpec, Suite, find_suite
from lrt_bench.data.tasks import ChoiceTask
from lrt_bench.evaluation.cells import Cell
from lrt_bench.evaluation.config import RunConfig
from lrt_bench.evaluation.evaluation import Evaluation, rows_of
from lrt_bench.evaluation.process_state import run_state
from lrt_bench.models.loading import Models
from lrt_bench.results.storage import Result
from scripts.protocol.site_scores import Measured, measured_tasks, read, summary, write
from scripts.protocol.site_table import write_tables

OF_NANO = (
    "sentiment", "language", "tense", "person", "number", "register", "mood", "case", "refusal", "topic-dogs",
)  # fmt: skip
NEW = (
    "topic-food", "topic-garden", "topic-city", "topic-sport", "dogs-or-music", "sea-or-garden",
    "space-or-city", "food-or-sport", "certainty", "affection", "owner", "past-or-future", "sentiment-french",
    "tense-french", "number-french",
)  # fmt: skip
CANDIDATES = (
    "S3-L2", "S3-L1", "S2-L2", "S3-L3", "M2-L2", "M3-L2", "S2-L1", "L2-M1", "S3-M1", "L3-S1", "M3-L3",
    "L3-M1", "S2-M1", "S2-L3", "L2-S1", "S2-M2", "L3-M2", "S3-M2", "M3-L1", "L4-M2", "S3-L5", "S3-L4",
    "M2-L3", "L3-S2", "L2-S2", "M3-S2", "S2-L4", "S2-L5",
)  # fmt: skip
MAPS = ("affine", "orthogonal", "mlp")
ALL_MAPS = (*MAPS, "ridge", "low-rank", "affine-with-bias", "autoencoder")
LOOKED_BEST = (
    "M3-L2",
    "L3-M2",
    "M3-L1",
    "S3-L2",
    "S3-L5",
    "M3-L3",
    "S3-L1",
    "S3-M2",
    "L3-S2",
    "L2-S2",
    "M3-S2",
)
CONTROLS = ("random", "shuffled")  # the readout's and the unembeddings' shares stand in every record
TABLE = Path("docs/protocol.md")


@dataclasses.dataclass(frozen=True)
class Stage:
    """How much is measured of a pair. prompts : of each task, at most."""

    name: str
    prompts: int
    maps: tuple[str, ...]
    shuffles: int
    fit_seeds: int


LOOK = Stage("look", 8, MAPS, shuffles=1, fit_seeds=1)
FULL = Stage("full", 24, ALL_MAPS, shuffles=4, fit_seeds=2)


def pair_of(name: str) -> PairSpec:
    """Return the pair that a name like S3-L2 stands for."""
    source, target = ((f"nano/{side[:-1]}", int(side[-1])) for side in name.split("-"))
    return PairSpec(
        name=name, source=source[0], source_layer=source[1], target=target[0], target_layer=target[1]
    )


def suite_of(stage: Stage, pairs: Sequence[str]) -> Suite:
    """Return the protocol of `nano-behaviour` on the candidates, with as few alphas as a sweep allows."""
    return find_suite("nano-behaviour").model_copy(
        update={
            "name": f"sites-{stage.name}",
            "pairs": tuple(map(pair_of, pairs)),
            "tasks": (*OF_NANO, *NEW),
            "mappings": stage.maps,
            "alphas": (-0.25, 0.0, 0.25),
            "shuffles": stage.shuffles,
            "fit_seeds": stage.fit_seeds,
            "bootstrap": 100,  # of the records' own intervals, which are not read
        }
    )


def held_out(task: ChoiceTask, count: int) -> ChoiceTask:
    """Return the task scored on prompts that it keeps for choosing, evenly spaced."""
    kept = task.select[:: max(1, len(task.select) // count)][:count]
    return dataclasses.replace(task, choices=kept)


def results(stage: Stage, pairs: Sequence[str], config: RunConfig) -> Iterator[tuple[str, list[Result]]]:
    """Yield each pair's rows, as `evaluate` computes them."""
    evaluation = Evaluation(suite_of(stage, pairs), config)
    plan, models = evaluation.check(), evaluation.models()
    for pair in evaluation.suite.pairs:
        tasks = [
            held_out(task, stage.prompts) for task in plan.tasks[pair.name] if isinstance(task, ChoiceTask)
        ]
        yield pair.name, [cell.result for cell in _cells(evaluation, pair, models, tasks, stage)]


def _cells(
    evaluation: Evaluation, pair: PairSpec, models: Models, tasks: list[ChoiceTask], stage: Stage
) -> Iterator[Cell]:
    rows = rows_of(pair, evaluation.rows())
    with run_state():
        job = evaluation.job(pair, models, [*tasks], rows)
        for row in rows:
            if row.name in (*CONTROLS, *stage.maps):
                cell = job.cell(row)
                assert isinstance(cell, Cell)  # only a submission fails in silence
                yield cell


@click.command()
@click.option("--seed", default=1, show_default=True, help="Of every draw; the board's is 0.")
@click.option("--out", type=click.Path(path_type=Path), default=Path("build/sites"))
@click.option("--csv", type=click.Path(path_type=Path), default=Path("docs/protocol-sites.csv"))
@click.option("--page", type=click.Path(path_type=Path), default=TABLE)
@click.option("--full", multiple=True, default=LOOKED_BEST, help="Pairs to measure in full.")
@click.option("--only", multiple=True, help="Pairs to look at; all candidates by default.")
@click.option("--table-only", is_flag=True, help="Write the page's table from the CSV, measure nothing.")
def main(
    seed: int,
    out: Path,
    csv: Path,
    page: Path,
    full: tuple[str, ...],
    only: tuple[str, ...],
    table_only: bool,
) -> None:
    """Measure candidate pairs, and write the CSV and the page's table."""
    torch.set_num_threads(1)
    measured = read(csv) if table_only else []
    if not table_only:
        config = RunConfig(seed=seed, out=out)
        for stage, pairs in ((LOOK, only or CANDIDATES), (FULL, full)):
            for pair, rows in results(stage, pairs, config) if pairs else ():
                measured += measured_tasks(stage.name, pair, rows, seed)
                write(csv, measured)
                click.echo(_line(measured, stage.name, pair))
    write_tables(page, measured)


def _line(measured: list[Measured], stage: str, pair: str) -> str:
    return f"{stage} {summary([one for one in measured if (one.stage, one.pair) == (stage, pair)])}"


if __name__ == "__main__":
    main()
