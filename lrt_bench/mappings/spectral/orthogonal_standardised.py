"""Scaled orthogonal Procrustes between standardised states (Schönemann 1966)."""

from __future__ import annotations

import torch
from torch import Tensor

from lrt_bench.mappings.base import FitStates, LinearMapping

LEAST = 1e-3  # of the widest dimension's deviation: a dimension that hardly varies is not blown up


class OrthogonalStandardised(LinearMapping):
    """A = D_y s Q D_x^-1, D the dimensions' standard deviations, Q with orthonormal columns or rows.

    In raw states a few massive dimensions decide the rotation; here each dimension counts alike.

    Attributes
    ----------
    scale_ : s.
    """

    def solve(self, states: FitStates) -> Tensor:
        """Return the weight of the rotation between standardised sides."""
        moments = states.moments
        x, y = _deviations(moments.variance_x), _deviations(moments.variance_y)
        cross = moments.s_xy.T / y[:, None] / x
        u, singular, vh = torch.linalg.svd(cross, full_matrices=False)
        q = u @ vh
        self.scale_ = float(singular.sum() / ((q @ (moments.s_xx / x[:, None] / x)) * q).sum())
        return self.scale_ * q * y[:, None] / x


def _deviations(variance: Tensor) -> Tensor:
    deviations = variance.sqrt()
    tiny = torch.finfo(deviations.dtype).tiny
    return deviations.clamp_min(max(float(deviations.max()) * LEAST, tiny))
