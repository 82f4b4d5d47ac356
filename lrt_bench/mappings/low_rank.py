"""Reduced-rank regression (Izenman 1975), its rank chosen on validation states."""

from __future__ import annotations

import torch
from torch import Tensor

from lrt_bench.mappings.base import FitStates, LinearMapping, Spectrum, rank_errors

TOLERANCE = 0.01


class LowRank(LinearMapping):
    """The best affine map of rank r: least squares, projected on the fit's r leading directions.

    The rank is the smallest power of two (or the full rank) whose validation error is within 1% of
    the least one: how few directions carry what an affine map can carry.

    Attributes
    ----------
    rank_ : the chosen rank.
    """

    def solve(self, states: FitStates) -> Tensor:
        """Return the weight of the smallest rank that is nearly as good as the best on validation."""
        full = Spectrum(states.moments).weight(0.0)
        _, directions = torch.linalg.eigh(full @ states.moments.s_xx @ full.T)
        directions = directions.flip(1)  # widest first
        widest = min(full.shape)
        ranks = [2**k for k in range(widest.bit_length()) if 2**k < widest] + [widest]
        every = rank_errors(states, full, directions).tolist()
        errors = {rank: every[rank - 1] for rank in ranks}
        self.rank_ = next(rank for rank in ranks if errors[rank] <= (1 + TOLERANCE) * min(errors.values()))
        kept = directions[:, : self.rank_]
        return kept @ (kept.T @ full)
