"""How often intervals of means over pairs hold the truth; `benchmarks.coverage` prints it with the others."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from benchmarks.coverage import METHODS, RESULTS, TASKS, Profile, Tally, profiles_of, sample
from lrt_bench.results.statistics import inference
from lrt_bench.results.statistics.mean_sample import MeanSample

MEAN_OF = ("S-L-early", "M-L-early", "L-S-early")  # the pairs that the default suite's mean is over


def read_concepts(folder: Path = RESULTS, pairs: Sequence[str] = MEAN_OF) -> list[tuple[Profile, ...]]:
    """The concepts that count on all of some pairs, as measured on each."""
    by_pair = [profiles_of(folder / pair) for pair in pairs]
    common = sorted(set.intersection(*(set(one) for one in by_pair)))
    return [tuple(one[task] for one in by_pair) for task in common]


def cover_means(
    concepts: Sequence[tuple[Profile, ...]],
    boards: int,
    methods: Sequence[str] = ("affine", "mlp"),
    *,
    seed: int = 0,
) -> dict[str, Tally]:
    """Coverage of the intervals of means over pairs: {"METHOD, INTERVAL, mean of N pairs": Tally}.

    A board draws concepts, and of each concept prompts, the same on every pair; fits are each pair's own. The
    pairs are taken as given.
    """
    pairs = len(concepts[0])
    shares = np.array([np.mean([one.shares for one in concept], axis=0) for concept in concepts])
    tallies: dict[str, Tally] = {}
    for count in TASKS:
        rng = np.random.default_rng([seed, count, 9])
        for _ in range(boards):
            chosen = rng.integers(0, len(concepts), count)
            for name in methods:
                method, tasks = METHODS.index(name), {}
                for place, number in enumerate(chosen):
                    concept = concepts[number]
                    prompts = rng.integers(0, len(concept[0].energy), len(concept[0].energy))
                    parts = tuple(sample(one, method, prompts, rng) for one in concept)
                    tasks[str(place)] = MeanSample(parts, np.full(pairs, 1 / pairs))
                these = inference.these_tasks(tasks, replicates=500)
                new = inference.new_concepts(tasks, draws=1000)
                for interval, ends, truth in (
                    ("these tasks", these, shares[chosen, method].mean()),
                    ("new concepts", new, shares[:, method].mean()),
                ):
                    label = f"{name}, {interval}, mean of {pairs} pairs"
                    tallies.setdefault(label, Tally()).add(count, ends, 100 * float(truth))
    return tallies
