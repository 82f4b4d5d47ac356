"""How much each number of tokens weighs in the area under a score over the logarithm of the tokens.

A score is read at several numbers of tokens, on the same tasks, prompts and draws of documents. A task's area
is the mean of its shares by these weights (`mean_sample.MeanSample`).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from lrt_bench.results.metrics import Array


def log_weights(tokens: Sequence[int]) -> Array:
    """Return each rung's part of the area by the trapezoid rule over log tokens: [rungs], sums to 1.

    Raises ValueError unless there are two numbers of tokens or more, ascending.
    """
    places = np.log(np.asarray(tokens, dtype=np.float64))
    steps = np.diff(places)
    if not len(steps) or not bool((steps > 0).all()):
        raise ValueError(f"tokens {tuple(tokens)}: want two or more, ascending")
    weights = np.zeros(len(places))
    weights[:-1] += steps / 2
    weights[1:] += steps / 2
    return np.asarray(weights / steps.sum())
