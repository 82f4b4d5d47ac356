"""Which rows of a board are separable: paired tests over tasks, corrected for how many were made.

Rows are compared on the tasks that all of them have. The tasks are taken as a random sample of concepts, so
that a row found better would be better on other concepts too. Everything here is a pure function of
per-task shares.
"""

from __future__ import annotations

from collections.abc import Mapping as Dictionary
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtr

from lrt_bench.results.metrics import Array
from lrt_bench.results.statistics.spread import TINY, Spread

FALSE_STEPS = 0.05  # how often a board of equal rows may show any step
RESOLUTION = 5e-4  # shares: by less, two machines' arithmetic parts the same row
NO_SPREAD = Spread(0.0, 1.0)
MOST_LETTERED = 60  # rows; beyond, letters would be words


@dataclass(frozen=True)
class Place:
    """What the evidence says of a row among the others of its board.

    Attributes
    ----------
    best, worst : the ranks that are not ruled out: one more than the rows found better, and all rows less
        those found worse. With 95% confidence they hold the true ranks of all rows at once.
    letters : rows that have a letter in common are not separable (compact letter display); empty on boards of
        more than 60 rows.
    with_best : whether it is not separable from the row with the highest score.
    """

    best: int
    worst: int
    letters: tuple[str, ...]
    with_best: bool

    @property
    def alone(self) -> bool:
        """Whether it is separable from every other row."""
        return self.best == self.worst


@dataclass(frozen=True)
class CommonTasks:
    """Per-task shares of several rows or pairs on the tasks that all of them have.

    Attributes
    ----------
    tasks : their names, in alphabetical order.
    shares : [names, tasks].
    left_out : {name: its tasks that another lacks}.
    """

    names: tuple[str, ...]
    tasks: tuple[str, ...]
    shares: Array
    left_out: dict[str, tuple[str, ...]]

    @property
    def means(self) -> dict[str, float | None]:
        """100 x the mean share of each on the common tasks; None where there are none."""
        if not self.tasks:
            return dict.fromkeys(self.names)
        return dict(zip(self.names, (100 * self.shares.mean(1)).tolist(), strict=True))


@dataclass(frozen=True)
class Separation:
    """A board's tests: adjusted p-values [rows, rows], in the order of `names`, best first."""

    names: tuple[str, ...]
    adjusted: Array
    places: dict[str, Place] = field(repr=False)


def on_common_tasks(shares: Dictionary[str, Dictionary[str, float]]) -> CommonTasks:
    """Restrict {name: {task: share}} to the tasks that every name has.

    A mean over each pair's own steerable tasks flatters the pairs that lose the hard ones.
    """
    names = tuple(shares)
    common = sorted(set.intersection(*(set(one) for one in shares.values()))) if shares else []
    table = np.array([[shares[name][task] for task in common] for name in names], dtype=np.float64)
    left_out = {name: tuple(sorted(set(one) - set(common))) for name, one in shares.items()}
    return CommonTasks(names, tuple(common), table.reshape(len(names), len(common)), left_out)


def paired_p_values(
    differences: Array, *, variance: Array | float = 0.0, freedom: Array | float = 1.0
) -> Array:
    """Two-sided p-values that mean differences [..., tasks] are 0, by Student's paired t over tasks.

    The t is corrected for skewness (Hall 1992), and the weaker of it and the plain one counts: where a row
    is better on most tasks and much worse on few, the plain t sees the few too seldom. Differences within
    `RESOLUTION` are none, and one task separates nothing.

    variance, freedom [...] : of what fit seeds add to a mean difference on all tasks alike (`Spread`).
    """
    n = differences.shape[-1]
    if n < 2:
        return np.ones(differences.shape[:-1])
    mean = differences.mean(-1)
    deviation = differences - mean[..., None]
    squares = np.maximum(np.square(deviation).sum(-1) / (n - 1), TINY)
    third = np.power(deviation, 3).sum(-1) * n / ((n - 1) * max(n - 2, 1))  # moment; 0 for two tasks
    total = squares / n + variance
    welch = np.square(total) / (np.square(squares / n) / (n - 1) + np.square(variance) / freedom)
    effect = mean / np.sqrt(n * total)
    # rows that differ equally on all tasks have no skewness but rounding's
    skewness = np.where(squares > TINY, third / np.power(n * total, 1.5), 0.0)
    steps = effect + skewness * effect**2 / 3 + skewness**2 * effect**3 / 27 + skewness / (6 * n)
    plain, corrected = np.sqrt(n) * effect, np.sqrt(n) * steps
    weaker = np.where(plain * corrected > 0, np.minimum(np.abs(plain), np.abs(corrected)), 0.0)
    return np.asarray(np.where(np.abs(mean) <= RESOLUTION, 1.0, 2 * stdtr(welch, -weaker)))


def holm(p_values: Array) -> Array:
    """Holm's adjusted p-values (1979) [tests]: reject those at or below the family's level."""
    count = len(p_values)
    order = np.argsort(p_values, kind="stable")
    stepped = np.maximum.accumulate((count - np.arange(count)) * p_values[order])
    adjusted = np.empty(count)
    adjusted[order] = np.minimum(stepped, 1.0)
    return adjusted


def separate(
    shares: Dictionary[str, Dictionary[str, float]], *, fits: Dictionary[str, Spread] | None = None
) -> Separation:
    """Test every pair of rows on the tasks that all have, and place each row.

    Rows that agree on every task, as one method under two names does, are tested as one: the same test made
    twice is no second chance of a false step.

    shares : {row: {task: share}}; fits : {row: what its fit seeds share across tasks}, where there is any.
    """
    common = on_common_tasks(shares)
    means = common.shares.mean(1) if common.tasks else np.zeros(len(common.names))
    order = sorted(range(len(common.names)), key=lambda row: (-means[row], common.names[row]))
    names = tuple(common.names[row] for row in order)
    shares_in_order = common.shares[order]
    kinds, firsts = _kinds(shares_in_order)
    spreads = [(fits or {}).get(names[row], NO_SPREAD) for row in firsts]
    adjusted = _adjusted(shares_in_order[firsts], spreads)[np.ix_(kinds, kinds)]
    apart = adjusted <= FALSE_STEPS
    groups = letters(apart) if len(names) <= MOST_LETTERED else [()] * len(names)
    above = np.tri(len(names), k=-1, dtype=bool)  # [row, other]: the other stands higher
    places = {
        name: Place(
            best=1 + int((apart[row] & above[row]).sum()),
            worst=len(names) - int((apart[row] & ~above[row]).sum()),
            letters=groups[row],
            with_best=not apart[row, 0],
        )
        for row, name in enumerate(names)
    }
    return Separation(names, adjusted, places)


def _kinds(shares: Array) -> tuple[list[int], list[int]]:
    """Rows that agree to `RESOLUTION` on every task: each row's kind, and the first row of each kind."""
    kinds: list[int] = []
    firsts: list[int] = []
    for row, values in enumerate(shares):
        apart = np.abs(shares[firsts] - values)
        same = np.flatnonzero((apart <= RESOLUTION).all(1)) if values.size else np.array([], dtype=int)
        if not len(same):
            firsts.append(row)
        kinds.append(int(same[0]) if len(same) else len(firsts) - 1)
    return kinds, firsts


def _adjusted(shares: Array, fits: Sequence[Spread]) -> Array:
    """Holm's p-values of all pairs of rows [rows, rows], 1 on the diagonal.

    shares [rows, tasks].
    """
    rows = len(shares)
    variance = np.array([one.variance for one in fits])
    over = variance**2 / np.array([one.freedom for one in fits])
    raw = np.ones((rows, rows))
    for row in range(rows - 1):
        both = variance[row] + variance[row + 1 :]
        freedom = np.square(both) / np.maximum(over[row] + over[row + 1 :], TINY**2)
        differences = shares[row] - shares[row + 1 :]
        raw[row, row + 1 :] = paired_p_values(differences, variance=both, freedom=np.maximum(freedom, 1.0))
    pairs = np.triu_indices(rows, 1)
    adjusted = np.ones((rows, rows))
    adjusted[pairs] = holm(raw[pairs])
    return np.minimum(adjusted, adjusted.T)


def letters(apart: NDArray[np.bool_]) -> list[tuple[str, ...]]:
    """Letters for rows, best first: two rows share one exactly where they are not apart.

    apart [rows, rows], symmetric, True where two are separable. Insert and absorb, as Piepho (2004): begin
    with one group of all rows; every separable pair splits the groups that hold both; a group within another
    is dropped.
    """
    rows = len(apart)
    groups = [frozenset(range(rows))] if rows else []
    for one, other in zip(*np.nonzero(np.triu(apart, 1)), strict=True):
        split = [group for group in groups if one in group and other in group]
        if split:
            kept = {group for group in groups if group not in split}
            kept |= {group - {row} for group in split for row in (one, other)}
            groups = [group for group in kept if not any(group < larger for larger in kept)]
    groups.sort(key=sorted)
    return [
        tuple(_letter(place) for place, group in enumerate(groups) if row in group) for row in range(rows)
    ]


def _letter(place: int) -> str:
    """Return the letters of a place counted from 0: a to z, then aa, ab and so on."""
    text = ""
    while place >= 0:
        text = chr(ord("a") + place % 26) + text
        place = place // 26 - 1
    return text
