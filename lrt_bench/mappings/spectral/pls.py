"""Partial least squares (Wold 1975), its components chosen on validation states."""

from __future__ import annotations

import torch
from torch import Tensor

from lrt_bench.mappings.base import FitStates, LinearMapping, held_out_moments, squared_error

ROUNDS = 300  # of the power iteration at most
SETTLED = 1e-12  # change of a unit vector, squared
WORSE = 2  # doublings of the components that may do worse on validation before it stops


class Pls(LinearMapping):
    """Regression on k directions of the source, each of the largest covariance with the target's states.

    Solved from the moments (Dayal and MacGregor 1997, algorithm 2): the components are those of NIPALS. k is
    a power of two, or as many as there are.

    Attributes
    ----------
    components_ : k.
    """

    def solve(self, states: FitStates) -> Tensor:
        """Return the weight of the number of components with the smallest validation error."""
        moments, held_out = states.moments, held_out_moments(states)
        components = _Components(moments.s_xx, moments.s_xy)
        best, worse = (float("inf"), 0, torch.zeros_like(moments.s_xy.T)), 0
        for count in range(1, len(moments.s_xx) + 1):
            ended = not components.add() or count == len(moments.s_xx)
            if not ended and count & (count - 1):
                continue
            weight = components.weight()
            error = squared_error(held_out, weight, moments.mean_y - weight @ moments.mean_x)
            worse = worse + 1 if error >= best[0] else 0
            if error < best[0]:
                best = (error, components.count, weight)
            if ended or worse >= WORSE:
                break
        self.components_ = best[1]
        return best[2]


class _Components:
    """Directions of the source, one after another, and what each says of the target."""

    def __init__(self, s_xx: Tensor, s_xy: Tensor) -> None:
        self._s_xx, self._left = s_xx, s_xy.clone()
        self._tiny = float(s_xy.norm()) * torch.finfo(torch.float64).eps * len(s_xx)
        self._turns: list[Tensor] = []  # source states to scores
        self._loadings: list[Tensor] = []  # of the source
        self._effects: list[Tensor] = []  # of a score on the target

    @property
    def count(self) -> int:
        return len(self._turns)

    def add(self) -> bool:
        """Find the next component; False where no covariance is left."""
        if float(self._left.norm()) <= self._tiny:
            return False
        direction = _dominant(self._left)
        turn = direction.clone()
        for earlier, loading in zip(self._turns, self._loadings, strict=True):
            turn -= (loading @ direction) * earlier
        products = self._s_xx @ turn
        variance = turn @ products
        if float(variance) <= 0:
            return False
        loading, effect = products / variance, self._left.T @ turn / variance
        self._left = self._left - variance * torch.outer(loading, effect)
        self._turns.append(turn)
        self._loadings.append(loading)
        self._effects.append(effect)
        return True

    def weight(self) -> Tensor:
        """Return the map of the components so far [d_target, d_source]."""
        if not self._turns:
            return torch.zeros_like(self._left.T)
        return torch.stack(self._effects, 1) @ torch.stack(self._turns)


def _dominant(matrix: Tensor) -> Tensor:
    """Return the left singular vector of the largest singular value, by power iteration."""
    direction = matrix @ matrix[int(matrix.square().sum(1).argmax())]
    direction = direction / direction.norm()
    for _ in range(ROUNDS):
        turned = matrix @ (matrix.T @ direction)
        turned = turned / turned.norm()
        settled = float((turned - direction).square().sum()) < SETTLED
        direction = turned
        if settled:
            break
    return direction
