"""Whether a row's score on public models goes with its score on private ones.

Other models are another difficulty, so two scores of one map are not equal. Built-in maps, which are honest
by construction, are scored on both. They give the private scale in points of the public one: a curve from
(0, 0), which no steering has on any pair, by their own two scores to (100, 100), the ceiling. The curve lies
above none of them, so that stored answers on top of any of them gain nothing. A row's *gap* is its public
score less what its private score stands for on that curve.

Two things make an honest row's gap differ from 0: which concepts were asked for, and that a method may suit
one pair better than another. The bootstrap over concepts tells the first. The second is what the built-in
maps' own gaps show beyond it, each read off the curve of the others.
"""

from __future__ import annotations

from collections.abc import Mapping as Dictionary
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import stdtrit

from lrt_bench.results.metrics import Array, interval

# Some of each kind, from the weakest to the best: what a cheat adds to one of these gains nothing. affine,
# low-rank, cca and pls are ridge again where text is plenty, and would make the others' spread look small;
# maps with a bias on vectors lose by it what differs from pair to pair.
REFERENCES = (
    "ridge", "affine-no-bias", "two-way", "whiten-rotate", "orthogonal", "mixture", "kernel-ridge",
    "affine-waves", "mlp", "autoencoder",
)  # fmt: skip
REPLICATES = 400
LEAST_HALF = 2.0  # points of an interval's half: a copy of a reference has other seeds and another last bit
ENDS = (-100.0, 0.0, 100.0)  # where both scales are the same by definition
Shares = Dictionary[str, Dictionary[str, float]]  # {row: {task: share of the ceiling}}


@dataclass(frozen=True)
class Agreement:
    """A row's two scores held against each other, in points.

    Attributes
    ----------
    public, private : the scores; `private_interval` over concepts.
    supported : what the private score stands for on the public scale.
    gap, gap_interval : public less supported.
    """

    public: float
    private: float
    private_interval: tuple[float, float]
    supported: float
    gap: float
    gap_interval: tuple[float, float]


def supported(private: Array, references: Array) -> Array:
    """Return what private scores [...] stand for on the public scale.

    references [references, 2] : the public and the private score of each. A private score stands for the
        lowest public score of the references that have as much in private, or more; straight lines between.
        The curve rises, and lies above no reference: where they stand in another order on the two scales,
        the honest pay, and nobody gains.
    """
    known = np.vstack([references, np.column_stack([ENDS, ENDS])])
    known = known[np.lexsort((known[:, 0], known[:, 1]))]
    floor = np.minimum.accumulate(known[::-1, 0])[::-1]
    places, first = np.unique(known[:, 1], return_index=True)  # of equal private scores the lowest public one
    return np.asarray(np.interp(private, places, floor[first]))


def agreement(public: Shares, private: Shares, row: str, references: Sequence[str] = REFERENCES) -> Agreement:
    """Hold a row's shares on a public pair against those on private pairs.

    Parameters
    ----------
    public, private : shares of the row and of every reference, each on the same tasks.
    references : rows that are honest by construction; `row` is left out of them.

    Raises
    ------
    ValueError
        Where there are fewer than two references, or a side has no task.
    """
    others = [name for name in references if name != row]
    if len(others) < 2 or not public[row] or not private[row]:
        raise ValueError("want two references, and a task on both sides")
    names = [row, *others]
    tasks = sorted({*public[row], *private[row]})
    sides = [_table(side, names, tasks) for side in (public, private)]
    whole = np.ones((1, len(tasks)))
    point = np.stack([_means(side, whole) for side in sides], axis=-1)[:, 0]  # [names, 2]
    weights = _weights(len(tasks), sides)
    drawn = np.stack([_means(side, weights) for side in sides], axis=-1)  # [names, replicates, 2]
    gaps = _gaps(point[:, None])[:, 0]
    spread = _gaps(drawn).var(axis=1)
    beyond = max(0.0, float(np.mean(np.square(gaps[1:]) - spread[1:])))
    usual = max(0.0, float(np.mean(gaps[1:])))  # a curve below all references has honest rows above it
    half = max(LEAST_HALF, usual + float(stdtrit(len(others), 0.975) * np.sqrt(spread[0] + beyond)))
    gap = float(gaps[0])
    low, high = interval(drawn[0, :, 1])
    return Agreement(
        public=float(point[0, 0]), private=float(point[0, 1]),
        private_interval=(min(low, float(point[0, 1])), max(high, float(point[0, 1]))),
        supported=float(point[0, 0]) - gap, gap=gap, gap_interval=(gap - half, gap + half),
    )  # fmt: skip


def _table(side: Shares, names: Sequence[str], tasks: Sequence[str]) -> Array:
    """Shares in points [names, tasks]; NaN where a side lacks a task."""
    return np.array([[100 * side[name].get(task, np.nan) for task in tasks] for name in names])


def _weights(tasks: int, sides: Sequence[Array]) -> Array:
    """Draw how often each concept is asked for [replicates, tasks], on both sides alike."""
    weights = np.random.default_rng(707).multinomial(tasks, np.full(tasks, 1 / tasks), size=REPLICATES)
    empty = [(weights[:, ~np.isnan(side[0])] == 0).all(axis=1) for side in sides]
    return weights[~np.logical_or(*empty)].astype(np.float64)


def _means(side: Array, weights: Array) -> Array:
    """Scores [names, replicates] of shares [names, tasks] under weights of tasks [replicates, tasks]."""
    held = ~np.isnan(side[0])
    kept = weights[:, held]
    return np.asarray(side[:, held] @ kept.T / kept.sum(axis=1))


def _gaps(scores: Array) -> Array:
    """Each name's gap [names, replicates], read off the references other than itself.

    scores [names, replicates, 2] : the row's first, then the references'.
    """
    gaps = np.empty(scores.shape[:2])
    for place in range(len(scores)):
        others = [at for at in range(1, len(scores)) if at != place]
        for draw in range(scores.shape[1]):
            own = scores[place, draw]
            gaps[place, draw] = own[0] - supported(own[1:], scores[others, draw])[0]
    return gaps
