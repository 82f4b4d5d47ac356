"""What is looked at beside a submission's score: whether its fit follows a change that honest methods follow.

A fit is made again on states that are shown otherwise (`views`), and undone. What it loses is told in points
of the Transfer Score, with an interval, for the score is what a cheat is after.
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping as Dictionary
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from scipy.stats import t as student
from torch import Tensor

from lrt_bench.evaluation.bench.pair_bench import PairBench
from lrt_bench.evaluation.bench.references import (
    Reference,
    ReferencePropensities,
    Vectors,
    both_ways,
    choice_references,
    half_vectors,
    native_vectors,
)
from lrt_bench.evaluation.rows import transferred
from lrt_bench.mappings import FixedLinear
from lrt_bench.mappings.ridge import Ridge
from lrt_bench.results import metrics
from lrt_bench.results.metrics import Array, TaskErrors
from lrt_bench.results.schema.audit_records import AuditCheck, AuditCheckName
from lrt_bench.submissions.exchange import shown
from lrt_bench.submissions.views import View

USUAL_SPREAD, USUAL_SEEDS = 0.5, 3  # points between seeds of a method: mlp 0.2, fourier-ridge 0.9
LEAST = 1.0  # points of the Transfer Score: a smaller loss is no reason for a flag


def own_references(bench: PairBench) -> dict[str, Reference]:
    """Return the native references of a bench whose controls were not swept, by sweeping them."""
    sweep = bench.choice_sweep
    sides = {task.name: bench.inputs.target_states(task) for task in sweep.tasks}
    swept = ReferencePropensities(
        sweep.propensities(native_vectors(sides), over=True),
        sweep.propensities(half_vectors(sides), over=True),
        sweep.propensities(both_ways(bench.random_directions(), sweep.tasks), over=False),
    )
    suite = bench.suite
    return choice_references(
        sweep, swept, directions=suite.random_directions, bootstrap=suite.bootstrap, seed=bench.seed
    )


@dataclass(frozen=True)
class Yardstick:
    """Scores vectors by steering R2 over its ceiling, on the choice tasks that are steerable by it."""

    bench: PairBench
    references: Dictionary[str, Reference]

    def errors(self, vectors: Vectors) -> dict[str, TaskErrors]:
        """Return what each steerable task contributes to the score of the vectors."""
        sweep = self.bench.choice_sweep
        errors_of = {}
        for name, m in sweep.propensities(vectors, over=False).items():
            reference = self.references[name]
            errors = reference.errors(sweep.delta(m))
            if reference.steerable and errors.counts:
                errors_of[name] = errors
        return errors_of


@dataclass(frozen=True)
class Loss:
    """What a fit loses when it is shown the states otherwise."""

    yardstick: Yardstick
    own: Dictionary[str, TaskErrors]

    def check(self, name: AuditCheckName, vectors: Vectors, allowed: float = 0.0) -> AuditCheck | None:
        """Return the check of one view's vectors; None where no task is steerable.

        allowed : points that an honest method loses under the same view.
        """
        other = self.yardstick.errors(vectors)
        scores = [metrics.transfer_score(side) for side in (self.own, other)]
        if scores[0] is None or scores[1] is None:
            return None
        bench = self.yardstick.bench
        difference = scores[0] - scores[1] - allowed
        drawn = _resampled_differences(self.own, other, bench.suite.bootstrap, bench.seed) - allowed
        low, high = metrics.interval(drawn)
        noise = self._between_seeds()
        low = difference - float(np.hypot(difference - low, noise))
        high = difference + float(np.hypot(high - difference, noise))
        return AuditCheck(
            name=name, difference=difference, ci95=(low, high), flag=difference >= LEAST and low > 0
        )

    def _between_seeds(self) -> float:
        """Half the width of the interval that another seed's score differs by from the mean of these.

        Two seeds say little of their spread. What built-in methods' seeds usually differ by is counted in, as
        if so many more had been seen.
        """
        seeds = len(next(iter(self.own.values())).error)
        if seeds < 2:
            return 0.0
        scores = []
        for seed in range(seeds):
            alone = {name: replace(one, error=one.error[seed : seed + 1]) for name, one in self.own.items()}
            scores.append(metrics.transfer_score(alone))
        own = statistics.variance(score for score in scores if score is not None)
        freedom = USUAL_SEEDS + seeds - 1
        spread = ((USUAL_SEEDS * USUAL_SPREAD**2 + (seeds - 1) * own) / freedom) ** 0.5
        return float(student.ppf(0.975, freedom)) * spread * float(1 + 1 / seeds) ** 0.5


def _resampled_differences(
    one: Dictionary[str, TaskErrors], other: Dictionary[str, TaskErrors], replicates: int, seed: int
) -> Array:
    """Differences of two Transfer Scores under resamples of prompts [replicates]; the tasks are these.

    A stored answer is one to these tasks: what it would be worth on others is not asked.
    """
    rng = np.random.default_rng([seed, 606])
    total = np.zeros(replicates)
    for name, own in one.items():
        prompts = len(own.energy)
        weight = rng.multinomial(prompts, np.full(prompts, 1 / prompts), size=replicates)
        energy = np.maximum(weight @ own.energy, 1e-300)
        split = 1 - (weight @ own.split_error) / np.maximum(weight @ own.split_energy, 1e-300)
        ceiling = np.maximum(split, metrics.MIN_CEILING)
        shares = [1 - weight @ side.error.mean(0) / energy for side in (own, other[name])]
        total += np.clip(shares[0] / ceiling, -1, 1) - np.clip(shares[1] / ceiling, -1, 1)
    return np.asarray(100 * total / len(one))


def ridge_loss(yardstick: Yardstick, view: View, fit: int = 0) -> float:
    """Return how many points ridge loses under a view; 0 where it gains.

    fit : the number of the fit that is audited, on whose draw ridge is fitted.
    """
    bench = yardstick.bench
    elsewhere = Ridge()
    elsewhere.fit(shown(bench.fit_states(fit), view))
    there = FixedLinear(*view.weight_back(elsewhere.weight, elsewhere.bias))
    scores = [
        metrics.transfer_score(yardstick.errors(transferred(bench, bench.choice_sweep.tasks, [ridge])))
        for ridge in (bench.ridges[fit % len(bench.ridges)], there)
    ]
    return max(0.0, (scores[0] or 0.0) - (scores[1] or 0.0))


def largest_difference(one: Tensor, other: Tensor) -> float:
    """Return the largest difference between two answers to a state, relative to the states' usual size."""
    if not len(one):
        return 0.0
    usual = one.double().norm(dim=1).median().clamp_min(1e-300)
    return float(((one.double() - other.double()).norm(dim=1) / usual).max())


def mean_cosine(one: Vectors, other: Vectors) -> float:
    """Mean over tasks of the cosine between the first seed's vectors; 0 for a zero vector."""
    cosines: Sequence[float] = [
        float(
            torch.nn.functional.cosine_similarity(
                vectors.reshape(-1, vectors.shape[-1])[0].double(),
                other[name].reshape(-1, vectors.shape[-1])[0].double(),
                dim=0,
            )
        )
        for name, vectors in one.items()
    ]
    return sum(cosines) / max(len(cosines), 1)
