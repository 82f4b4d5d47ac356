"""Measure what the findings page needs beside the leaderboard's results: ``python docs/findings/run.py``.

Shares of behaviour on the default suite's own concepts, prompts and units of alpha: maps fitted on few and on
many tokens, the paper's training at its two rates, and native steering of some of a prompt's tokens alone.
What is measured lies in one CSV file a part and pair; a file that is there is not made again.
"""

from __future__ import annotations

import csv
import functools
import io
from collections.abc import Iterable, Iterator
from pathlib import Path

import click
import torch

from lrt_bench.data.corpus import Budget
from lrt_bench.data.datasets import Data
from lrt_bench.data.suites import find_suite, narrowed
from lrt_bench.data.tasks import ChoiceTask
from lrt_bench.evaluation.bench.pair_bench import PairBench
from lrt_bench.evaluation.bench.states import CorpusStates
from lrt_bench.evaluation.config import RunConfig
from lrt_bench.evaluation.evaluation import Evaluation
from lrt_bench.evaluation.process_state import run_state
from lrt_bench.evaluation.rows import MappingRow
from lrt_bench.files.whole import write_whole
from lrt_bench.mappings import BUILT_IN, LinearMapping, Mapping, find_mapping, name_of
from lrt_bench.mappings.affine_adamw import AffineAdamw
from lrt_bench.mappings.affine_with_bias import WithBias
from lrt_bench.mappings.base import held_out_moments, squared_error
from lrt_bench.models.states import PairedStates
from lrt_bench.results.metrics import TaskErrors, over_ceiling
from lrt_bench.results.statistics.inference import GateSample, counts
from lrt_bench.results.storage import read_result
from lrt_bench.steering.continuation import POSITIONS, Positions

RESULTS = Path("results/findings")
EARLY, LATE = "S-L-early", "S-L"
BOARD = Path(__file__).parents[2] / "leaderboard/results/nano"
TOKENS = (200, 1_000, 5_000)  # and all, which the leaderboard has
SEEDS = 2
SAME = 1e-3  # how near a share that is measured here must be to the leaderboard's
FITTED = ("affine", "ridge", "orthogonal", "mlp")
CARRIED = ("affine", "mlp")  # beside native, where some tokens alone are steered
Row = dict[str, object]


class AtInstructRate(AffineAdamw):
    """The paper's training at the rate of its instruct models."""

    rate = 1e-3


class AtInstructRateWithBias(WithBias, AtInstructRate):
    """The same map; v goes to A v + p."""


TRAINED: dict[str, tuple[type[Mapping], type[Mapping]]] = {  # fit -> the map with A v, and with A v + p
    "least squares": (find_mapping("affine"), find_mapping("affine-with-bias")),
    "AdamW, rate 1e-4": (find_mapping("affine-adamw"), find_mapping("affine-adamw-with-bias")),
    "AdamW, rate 1e-3": (AtInstructRate, AtInstructRateWithBias),
}


@functools.cache
def opened(pair: str, positions: Positions = "all") -> PairBench:
    """Return the default suite's bench of one of its pairs, with choice tasks alone."""
    suite = narrowed(find_suite("nano"), pairs=[pair])
    assert suite.behaviour is not None
    spec = suite.behaviour.model_copy(update={"positions": positions})
    suite = suite.model_copy(update={"behaviour": spec})
    evaluation, [only] = Evaluation(suite, RunConfig()), suite.pairs
    tasks = [task for task in suite.tasks_of(only) if isinstance(task, ChoiceTask)]
    return evaluation.job(only, evaluation.models(), list(tasks), []).bench


def shares(bench: PairBench, mappings: list[Mapping]) -> Iterator[tuple[str, float, bool]]:
    """Yield each task, the maps' share over the ceiling as a score clips it, and whether the task counts."""
    references = bench.behaviour
    assert references is not None
    row = MappingRow("findings", "", mappings=mappings)
    tasks = bench.choice_sweep.tasks
    halves = {task.name: row.half_vectors(bench, task, torch.empty(0)) for task in tasks}
    references.measure(halves)
    for task in tasks:
        reference = references.of(task)
        measured = references.per_prompt(reference.whole.divergence(halves[task.name]))
        errors = TaskErrors(measured, reference.native, reference.ceiling, reference.native)
        gate = GateSample(reference.native, reference.ceiling, reference.chance)
        yield task.name, over_ceiling(errors.r2, errors.ceiling), counts(task.name, gate, seed=bench.seed)[0]


def fit(method: type[Mapping], states: PairedStates, seed: int = 0) -> Mapping:
    """Return a fitted map."""
    mapping = method()
    mapping.seed = seed
    mapping.fit(states.copy())
    return mapping


def known(pair: str, mapping: str) -> Iterator[tuple[str, float, bool]]:
    """Yield what `shares` does, of a row that the leaderboard has."""
    for task in read_result(BOARD / pair / f"{mapping}.json").tasks:
        assert task.share is not None
        assert task.ceiling_share is not None
        yield task.task, over_ceiling(task.share, task.ceiling_share), task.steerable


def check(bench: PairBench) -> None:
    """Raise ClickException where what is measured here is not what the leaderboard has."""
    here = {task: share for task, share, _ in shares(bench, [fit(find_mapping("affine"), bench.states)])}
    there = {task: share for task, share, _ in known(bench.pair.name, "affine")}
    if far := [task for task, share in here.items() if abs(share - there[task]) > SAME]:
        raise click.ClickException(
            f"{bench.pair.name}, {far[0]}: not the leaderboard's share: `make results`"
        )


def by_tokens(pair: str) -> Iterator[Row]:
    """Yield shares of maps fitted on the first so many tokens of the corpus; with all, the leaderboard's."""
    bench = opened(pair)
    check(bench)
    corpus = bench.suite.corpus
    for tokens in TOKENS:
        budget = Budget(tokens, corpus.budget.validation_tokens, tokens)
        states = CorpusStates(bench.source, bench.target, corpus.corpus(Data({})), budget, 0, 64).states()
        for name in FITTED:
            for task, share, counted in shares(bench, [fit(find_mapping(name), states)]):
                yield _of_tokens(pair, states.tokens, name, task, share, counted)
    for name in FITTED:
        for task, share, counted in known(pair, name):
            yield _of_tokens(pair, bench.states.tokens, name, task, share, counted)


def _of_tokens(pair: str, tokens: int, name: str, task: str, share: float, counted: bool) -> Row:
    return {
        "pair": pair, "tokens": tokens, "mapping": name, "task": task, "share": share, "counts": counted,
    }  # fmt: skip


def by_training(pair: str) -> Iterator[Row]:
    """Yield shares of least squares and of the paper's training, with and without the bias on vectors.

    Rows that the leaderboard has are read there.
    """
    bench = opened(pair)
    held_out = held_out_moments(bench.states)
    variance = float(held_out.squares_y.sum() / held_out.n)
    for name, methods in TRAINED.items():
        fits = [fit(methods[0], bench.states, seed) for seed in range(SEEDS if methods[0].stochastic else 1)]
        linear = [one for one in fits if isinstance(one, LinearMapping)]
        fvu = [squared_error(held_out, one.weight, one.bias) / variance for one in linear]
        norms = [float(one.bias.norm()) for one in linear]
        for method, rule in zip(methods, ("A v", "A v + p"), strict=True):
            if (on_board := name_of(method)) in BUILT_IN:
                measured = known(pair, on_board)
            else:
                measured = shares(bench, [fit(method, bench.states, seed) for seed in range(SEEDS)])
            for task, share, counted in measured:
                yield {
                    "pair": pair, "fit": name, "rule": rule, "fvu": sum(fvu) / len(fvu),
                    "bias_norm": sum(norms) / len(norms), "task": task, "share": share, "counts": counted,
                }  # fmt: skip


def by_position(pair: str) -> Iterator[Row]:
    """Yield what native steering of some tokens alone does, over what it does at all, and maps' shares.

    Where all tokens are steered both are the leaderboard's.
    """
    native = read_result(BOARD / pair / "native.json")
    whole = {task.task: float(task.errors.energy.sum()) for task in native.tasks}
    for positions in POSITIONS:
        if positions == "all":
            moved, rows = whole, {name: list(known(pair, name)) for name in CARRIED}
        else:
            bench = opened(pair, positions)
            references = bench.behaviour
            assert references is not None
            moved = {task.name: float(references.of(task).native.sum()) for task in bench.choice_sweep.tasks}
            rows = {name: list(shares(bench, [fit(find_mapping(name), bench.states)])) for name in CARRIED}
        for name, measured in rows.items():
            for task, share, counted in measured:
                yield {
                    "pair": pair, "positions": positions, "task": task, "moved": moved[task] / whole[task],
                    "mapping": name, "share": share, "counts": counted,
                }  # fmt: skip


PARTS = {  # what is measured, and on which pairs
    "training": (by_training, (EARLY, LATE)),
    "tokens": (by_tokens, (EARLY,)),
    "positions": (by_position, (EARLY,)),
}


def write_table(path: Path, rows: Iterable[Row]) -> None:
    """Write a CSV file, five significant digits."""
    buffer, table = io.StringIO(), [_rounded(row) for row in rows]
    writer = csv.DictWriter(buffer, list(table[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(table)
    write_whole(path, buffer.getvalue().encode())


def _rounded(row: Row) -> Row:
    return {name: float(f"{value:.5g}") if isinstance(value, float) else value for name, value in row.items()}


@click.command()
@click.argument("parts", nargs=-1, type=click.Choice(list(PARTS)))
@click.option("--out", type=click.Path(path_type=Path), default=RESULTS, show_default=True)
def main(parts: tuple[str, ...], out: Path) -> None:
    """Measure what is missing in the folder of results."""
    with run_state():
        for part in parts or PARTS:
            measure, pairs = PARTS[part]
            for pair in pairs:
                path = out / f"{part}-{pair}.csv"
                if not path.exists():
                    write_table(path, measure(pair))
                    click.echo(str(path))


if __name__ == "__main__":
    main()
