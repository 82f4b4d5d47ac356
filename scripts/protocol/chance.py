"""What chance scores, over many seeds: random directions, maps of shuffled pairs, other concepts' vectors.

    python -m scripts.protocol.chance --suite nano-behaviour --pair planted-rotation --seeds 20

Each seed draws its own random directions, its own shuffles of the fitted states, and for every task its own
other concepts. A seed's score is the control row's: the mean over its draws, as in a run. Printed beside them
are maps that carry the true vector, and native mixed with a random vector at known cosines.
"""

from __future__ import annotations

from pathlib import Path

import click
import numpy as np
import torch
from torch import Tensor

from lrt_bench.data.suites import find_suite, narrowed
from lrt_bench.data.tasks import ChoiceTask
from lrt_bench.evaluation.bench.pair_bench import PairBench
from lrt_bench.evaluation.bench.references import random_directions
from lrt_bench.evaluation.config import RunConfig
from lrt_bench.evaluation.evaluation import Evaluation
from lrt_bench.mappings import find_mapping
from lrt_bench.mappings.base import Spectrum
from lrt_bench.models.loading import Models
from lrt_bench.results.metrics import MIN_CEILING
from lrt_bench.results.schema.behaviour import ratio
from lrt_bench.results.statistics.inference import GateSample, counts
from lrt_bench.steering.sweep import unit

COSINES = (0.9, 0.7, 0.5, 0.3)
MAPS = ("affine", "ridge", "orthogonal")
OTHERS = 2  # other concepts that a task is steered with
Halves = dict[str, Tensor]  # {task: [rows, groups, d_target]}


def source_halves(bench: PairBench, task: ChoiceTask) -> Tensor:
    """Return the source's vectors of the halves that rows' vectors are from [groups, d_source]."""
    references = bench.behaviour
    assert references is not None
    halves = references.halves(bench.inputs.source_states(task))
    return torch.stack([own.vector for own, _ in halves])


def scores(bench: PairBench, rows: Halves) -> np.ndarray:
    """Score rows as a run does, on the tasks that are clear of chance: [rows, tasks], 100 for the ceiling."""
    references = bench.behaviour
    assert references is not None
    references.measure(rows)
    columns = []
    for task in bench.choice_sweep.tasks:
        known = references.of(task)
        clear, _ = counts(task.name, GateSample(known.native, known.ceiling, known.chance))
        ceiling = ratio(known.ceiling[None], known.native)
        if clear and ceiling is not None:
            divergence = references.per_prompt(known.whole.divergence(rows[task.name]))
            shares = [ratio(row[None], known.native) or 0.0 for row in divergence]
            columns.append(np.array(shares) / max(ceiling, MIN_CEILING))
    return 100 * np.stack(columns, 1)


def pair_score(scored: np.ndarray) -> float:
    """Return a row's score from its draws' [draws, tasks], averaged, each task bounded as in a run."""
    return float(np.clip(scored.mean(0), -100, 100).mean())


def drawn(bench: PairBench, seed: int) -> dict[str, Halves]:
    """Return one seed's rows of chance, by control."""
    references = bench.behaviour
    assert references is not None
    tasks, suite = bench.choice_sweep.tasks, bench.suite
    directions = random_directions(suite.random_directions, bench.target.width, 1000 + seed)
    weights = [
        Spectrum(bench.states.shuffled(1000 * (seed + 1) + shuffle)).weight(bench.ridges[0].strength_).float()
        for shuffle in range(suite.shuffles)
    ]
    generator = np.random.default_rng(seed)
    own = {task.name: source_halves(bench, task) for task in tasks}
    carried = bench.ridges[0].weight.float()
    rows: dict[str, Halves] = {"random": {}, "shuffled": {}, "other-concept": {}}
    for task in tasks:
        others = [other.name for other in tasks if other.card.concept != task.card.concept]
        chosen = generator.choice(others, min(OTHERS, len(others)), replace=False)
        rows["random"][task.name] = directions[:, None].expand(-1, references.groups, -1)
        rows["shuffled"][task.name] = torch.stack([own[task.name] @ weight.T for weight in weights])
        rows["other-concept"][task.name] = torch.stack([own[other] @ carried.T for other in chosen])
    return rows


def known(bench: PairBench) -> dict[str, Halves]:
    """Return rows whose order is known: no steering, linear maps, and native mixed with random vectors."""
    references = bench.behaviour
    assert references is not None
    tasks = bench.choice_sweep.tasks
    rows: dict[str, Halves] = {
        "none": {task.name: torch.zeros(1, references.groups, bench.target.width) for task in tasks}
    }
    for name in MAPS:
        mapping = find_mapping(name)()
        mapping.fit(bench.states.copy())
        rows[name] = {
            task.name: torch.stack([
                mapping.transfer(own.positive, own.negative).float()
                for own, _ in references.halves(bench.inputs.source_states(task))
            ])[None]
            for task in tasks
        }  # fmt: skip
    generator = torch.Generator().manual_seed(15)
    noise = torch.randn(4, 1, bench.target.width, generator=generator)
    for cosine in COSINES:
        rows[f"cosine {cosine}"] = {}
        for task in tasks:
            own = unit(references.own_halves(task))
            rest = unit(noise - (noise * own).sum(-1, keepdim=True) * own)
            rows[f"cosine {cosine}"][task.name] = cosine * own + (1 - cosine**2) ** 0.5 * rest
    return rows


@click.command()
@click.option("--suite", "suite_name", default="nano-behaviour")
@click.option("--pair", default="planted-rotation")
@click.option("--seeds", default=20)
@click.option("--prompts", type=int, help="Of a task, in the place of the suite's number.")
@click.option("--threads", default=1)
def main(suite_name: str, pair: str, seeds: int, prompts: int | None, threads: int) -> None:
    """Print what chance and known rows score."""
    torch.set_num_threads(threads)
    suite = narrowed(find_suite(suite_name), pairs=[pair])
    assert suite.behaviour is not None
    behaviour = suite.behaviour.model_copy(
        update={"without_readout": False} | ({"prompts": prompts} if prompts else {})
    )
    suite = suite.model_copy(update={"behaviour": behaviour})
    evaluation = Evaluation(suite, RunConfig(out=Path("build/chance"), mappings=MAPS))
    bench = evaluation.job(suite.pairs[0], Models(), suite.read_tasks(), evaluation.rows()).bench
    for name, rows in known(bench).items():
        scored = scores(bench, rows)
        by_draw = np.clip(scored, -100, 100).mean(1)
        click.echo(f"{name}: {pair_score(scored):.3f} (draws {', '.join(f'{x:.1f}' for x in by_draw)})")
    by_seed: dict[str, list[float]] = {}
    for seed in range(seeds):
        for name, rows in drawn(bench, seed).items():
            by_seed.setdefault(name, []).append(pair_score(scores(bench, rows)))
    for name, values in by_seed.items():
        above = sum(value > 2 for value in values)
        click.echo(
            f"{name}: {min(values):.1f} to {max(values):.1f}, mean {np.mean(values):.1f}; "
            f"{above} of {seeds} seeds above 2"
        )


if __name__ == "__main__":
    main()
