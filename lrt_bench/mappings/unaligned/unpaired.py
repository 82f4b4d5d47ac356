"""A rotation found without aligned tokens: principal directions, then iterative closest points."""

from __future__ import annotations

import torch
from torch import Tensor

from lrt_bench.mappings.base import FitStates, LinearMapping

MOST = 6000  # states of either side
NEIGHBOURS = 16  # target states that a carried state is likened to
ROUNDS = 30  # of likening and rotating


class Unpaired(LinearMapping):
    """Scaled rotation between two clouds of states whose pairing is not read.

    One half of the sample gives source states, the other half target states: no token is on both sides. The
    principal directions of the two clouds are matched in order, their senses by the sign of the third moment.
    Then each carried state is likened to the target states nearest to it, and the rotation is solved for
    again, in turn (iterative closest points: Besl and McKay 1992; for text embeddings mini-vec2vec, Dar 2025,
    arXiv 2510.02348). It finds a rotation that is there. Where the two clouds are no rotation of each other
    it has nothing to hold on to.

    Attributes
    ----------
    scale_ : of the rotation. nearness_ : mean cosine of a carried state with its nearest target state.
    """

    track = "unpaired"
    stochastic = True

    def solve(self, states: FitStates) -> Tensor:
        """Return the scaled rotation [d_target, d_source]."""
        x, y = self._halves(states)
        x, y = x - x.mean(0), y - y.mean(0)
        unit_x, unit_y = (float(side.square().sum(1).mean().sqrt()) for side in (x, y))
        x, y = _directions(x), _directions(y)
        count = min(x.shape[1], y.shape[1])
        rotation = _principal(y)[:, :count] @ _principal(x)[:, :count].T
        for _ in range(ROUNDS):
            u, _, vh = torch.linalg.svd(_likened(x @ rotation.T, y).T @ x, full_matrices=False)
            rotation = u @ vh
        self.nearness_ = float((_directions(x @ rotation.T) @ y.T).amax(1).mean())
        self.scale_ = unit_y / max(unit_x, torch.finfo(torch.float32).tiny)
        return (self.scale_ * rotation).double()

    def _halves(self, states: FitStates) -> tuple[Tensor, Tensor]:
        """Source states of some pairs and target states of others: [n, d_source], [n, d_target]."""
        x, y = next(iter(states.batches(2 * MOST, seed=self.seed)))
        order = torch.randperm(len(x), generator=torch.Generator().manual_seed(self.seed))
        half = len(x) // 2
        return x[order[:half]].float(), y[order[half:]].float()


def _directions(states: Tensor) -> Tensor:
    return torch.nn.functional.normalize(states, dim=1)


def _principal(states: Tensor) -> Tensor:
    """Principal directions as columns [d, d], widest first, each in the sense of its skewness."""
    _, directions = torch.linalg.eigh((states.T @ states).double())
    directions = directions.flip(1).float()
    return directions * (states @ directions).pow(3).mean(0).sign()


def _likened(carried: Tensor, target: Tensor) -> Tensor:
    """Return for each carried state the mean of its nearest target states [n, d_target]."""
    parts = []
    for block in _directions(carried).split(1024):
        nearest = (block @ target.T).topk(min(NEIGHBOURS, len(target)), dim=1).indices
        parts.append(target[nearest].mean(1))
    return torch.cat(parts)
