"""Scaled orthogonal Procrustes, for equal and unequal widths (Schönemann 1966)."""

from __future__ import annotations

import torch
from torch import Tensor

from lrt_bench.mappings.base import FitStates, LinearMapping


class Orthogonal(LinearMapping):
    """A = s Q, Q with orthonormal columns (d_target >= d_source) or rows, s the least-squares scale.

    Q maximises tr(Q S_xy). For equal widths and for a wider target that is the exact minimiser of
    E ||s Q x - y||^2; for a narrower one it is that of the problem with y padded by zeros.

    Attributes
    ----------
    scale_ : s.
    """

    def solve(self, states: FitStates) -> Tensor:
        """Return the scaled orthogonal weight (Procrustes)."""
        moments = states.moments
        u, singular, vh = torch.linalg.svd(moments.s_xy.T, full_matrices=False)
        q = u @ vh
        self.scale_ = float(singular.sum() / ((q @ moments.s_xx) * q).sum())
        return self.scale_ * q
