"""The record of a layer sweep (``OUT/layers/PAIR/layers.json``), and the choice that it supports.

Everything in it comes from validation states and selection prompts; no scored prompt is read.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import numpy as np
from pydantic import ValidationError, field_serializer

from lrt_bench.errors import UserError
from lrt_bench.files.schema import first_problem, record_of_json
from lrt_bench.files.whole import read_bounded
from lrt_bench.results.metrics import Array, interval, mean_of, rank
from lrt_bench.results.schema.bounds import R2, Count, Name, Seconds
from lrt_bench.results.schema.records import Provenance, Record

FLOOR = -1.0  # of a task's steering R2 where tasks are averaged, as in the Transfer Score
WORKS = 0.5  # share of the tasks that must be steerable at a target layer that may be chosen
MOST_READOUT = 0.6  # of the ceiling: above it the readout control says that a layer tests the output


class LayersRecord(Record):
    """One side: a model and the layers of it that were swept."""

    model: str
    digest: str
    layers: tuple[Count, ...]
    n_layers: Count
    width: Count


class NativeTask(Record):
    """A task at one target layer: the native vector on the selection prompts.

    slope : native effect, logits a spread, mean over prompts; effect : the interval that must lie above 0
    for the task to be steerable (metrics.is_steerable). energy [prompts] : sum over alphas of D^2.
    readout_r2 : steering R2 of the choice words' readout, which no map is in; None in older records.
    """

    task: Name
    digest: str
    prompts: Count
    steerable: bool
    effect: tuple[float, float]
    slope: float
    ceiling_r2: R2 | None
    energy: tuple[float, ...]
    readout_r2: R2 | None = None

    @field_serializer("energy")
    def _shorter(self, value: tuple[float, ...]) -> list[float]:
        return [float(f"{number:.9g}") for number in value]


class TransferTask(Record):
    """A task from one source layer.

    error [prompts] : sum over alphas of (D_transferred - D_native)^2.
    """

    task: Name
    steering_r2: R2 | None
    error: tuple[float, ...]

    @field_serializer("error")
    def _shorter(self, value: tuple[float, ...]) -> list[float]:
        return [float(f"{number:.9g}") for number in value]


class SourceLayer(Record):
    """Ridge from one source layer to the target layer that holds this record.

    steering_r2, steering_r2_median : over the tasks that are steerable there, floored at -1; None where
    none is.
    """

    layer: Count
    strength: float
    fvu: float
    fvu_without_top8: float
    steering_r2: R2 | None
    steering_r2_median: R2 | None
    tasks: tuple[TransferTask, ...]


class TargetLayer(Record):
    """One target layer: where native steering stands, and every source layer's map to it."""

    layer: Count
    depth: float
    spread: float
    tasks: tuple[NativeTask, ...]
    sources: tuple[SourceLayer, ...]

    @property
    def steerable(self) -> int:
        """How many tasks native steering moves, clear of random directions."""
        return sum(task.steerable for task in self.tasks)

    @property
    def works(self) -> bool:
        """Whether native steering works well enough here for transfer to be judged."""
        return self.steerable > 0 and self.steerable >= WORKS * len(self.tasks)

    @property
    def slope(self) -> float | None:
        """Native effect in logits a spread, mean over tasks."""
        return mean_of([task.slope for task in self.tasks])

    @property
    def ceiling_r2(self) -> float | None:
        """Steering R2 between the vectors of two halves of the prompts, mean over steerable tasks."""
        return mean_of([task.ceiling_r2 for task in self.tasks if task.steerable])

    @property
    def readout_r2(self) -> float | None:
        """Steering R2 of the readout control, mean over steerable tasks, floored at -1."""
        known = [task.readout_r2 for task in self.tasks if task.steerable]
        return mean_of([max(value, FLOOR) for value in known if value is not None])

    @property
    def output_level(self) -> bool:
        """Whether the readout control comes so near to the ceiling that a map's R2 says little of it."""
        readout, ceiling = self.readout_r2, self.ceiling_r2
        return readout is not None and ceiling is not None and readout > MOST_READOUT * ceiling


class Choice(Record):
    """The layers of best steering R2 on selection prompts, where a target layer is not output-level.

    output_level : every layer on which native steering works is, so that the best of them was taken.
    tied : (source layer, target layer) of every pair whose paired difference from it holds 0.
    """

    source_layer: Count
    target_layer: Count
    steering_r2: float
    ci95: tuple[float, float]
    tied: tuple[tuple[int, int], ...]
    command: str
    output_level: bool = False


class LayerSweepRecord(Record):
    """A finished sweep of one pair of models."""

    schema_version: Literal[1] = 1
    key: str
    suite: Name
    suite_digest: str
    pair: Name
    source: LayersRecord
    target: LayersRecord
    source_coverage: float
    target_coverage: float
    fit_tokens: Count
    validation_tokens: Count
    alphas: tuple[float, ...]
    random_directions: Count
    seed: Count
    batch_size: Count
    dtype: str
    device: str
    without_selection: tuple[str, ...]  # tasks without select.jsonl: left out
    not_scorable: tuple[str, ...]
    targets: tuple[TargetLayer, ...]
    chosen: Choice | None
    states_seconds: Seconds
    sweep_seconds: Seconds
    provenance: Provenance

    def cells(self) -> Iterator[tuple[SourceLayer, TargetLayer]]:
        """Every pair of layers, target by target."""
        for target in self.targets:
            for source in target.sources:
                yield source, target

    def grid(self, field: str) -> list[list[float | None]]:
        """Return a figure of `SourceLayer` as a table [source layers][target layers]."""
        return [
            [getattr(target.sources[row], field) for target in self.targets]
            for row in range(len(self.source.layers))
        ]


def read_sweep(path: Path) -> LayerSweepRecord:
    """Read a sweep's record.

    Raises UserError naming the file and the field.
    """
    try:
        return record_of_json(read_bounded(path), LayerSweepRecord, path)
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror}") from error
    except ValidationError as error:
        raise UserError(f"{path}: {first_problem(error)}: delete it and run again") from error


def to_choose_among(targets: tuple[TargetLayer, ...]) -> list[TargetLayer]:
    """Return the target layers where native steering works and the readout control does not.

    Where that leaves none, those where native steering works: a choice among them is of the output.
    """
    works = [target for target in targets if target.works]
    return [target for target in works if not target.output_level] or works


def best_layers(
    targets: tuple[TargetLayer, ...], *, replicates: int, seed: int
) -> tuple[tuple[int, int], float, tuple[float, float], tuple[tuple[int, int], ...]] | None:
    """Return the pair of layers of best mean steering R2, among the target layers to choose among.

    Returns
    -------
    tuple or None
        (source layer, target layer), its R2, the 95% interval, and the pairs tied with it; None where native
        steering works nowhere.
    """
    scores: dict[str, float] = {}
    places: dict[str, tuple[int, int]] = {}
    eligible = to_choose_among(targets)
    for target in eligible:
        for source in target.sources:
            if source.steering_r2 is not None:
                name = f"{source.layer:05}-{target.layer:05}"  # of equals the lowest layers are chosen
                scores[name], places[name] = source.steering_r2, (source.layer, target.layer)
    if not scores:
        return None
    samples = _bootstrap(eligible, scores, replicates, seed)
    standing = rank(scores, samples)
    best, *_ = sorted(scores, key=lambda name: (-scores[name], name))
    tied = tuple(places[name] for name in sorted(scores) if name != best and standing[name].rank == 1)
    return places[best], scores[best], interval(samples[best]), tied


def _bootstrap(
    targets: list[TargetLayer], scores: dict[str, float], replicates: int, seed: int
) -> dict[str, Array]:
    """Mean steering R2 of every pair under resampled tasks and prompts, the same draws for all pairs."""
    rng = np.random.default_rng([seed, 505])
    counts = {task.task: task.prompts for target in targets for task in target.tasks}
    weights = {name: rng.multinomial(n, np.full(n, 1 / n), size=replicates) for name, n in counts.items()}
    drawn = rng.multinomial(len(counts), np.full(len(counts), 1 / len(counts)), size=replicates)
    times = dict(zip(counts, drawn.T, strict=True))
    samples = {}
    for target in targets:
        steerable = [task for task in target.tasks if task.steerable]
        energy = {task.task: np.array(task.energy) @ weights[task.task].T for task in steerable}
        for source in target.sources:
            total, count = np.zeros(replicates), np.zeros(replicates)
            for task in source.tasks:
                if task.task in energy:
                    error = np.array(task.error) @ weights[task.task].T
                    r2 = np.maximum(1 - error / np.maximum(energy[task.task], 1e-300), FLOOR)
                    total += times[task.task] * r2
                    count += times[task.task]
            name = f"{source.layer:05}-{target.layer:05}"
            # a replicate without any of this layer's tasks says nothing about it
            samples[name] = np.where(count > 0, total / np.maximum(count, 1), scores[name])
    return samples
