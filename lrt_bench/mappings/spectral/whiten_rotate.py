"""Procrustes between whitened sides, coloured again (Artetxe et al. 2018, without re-weighting)."""

from __future__ import annotations

import torch
from torch import Tensor

from lrt_bench.mappings.base import FitStates, LinearMapping
from lrt_bench.mappings.spectral.whitening import Spread


class WhitenRotate(LinearMapping):
    """A = S_yy^1/2 Q S_xx^-1/2, Q the rotation between whitened sides.

    Whatever the source says of the target, mapped states have as much variance in each direction as the
    target's own. Least squares shrinks the directions that it cannot tell.
    """

    def solve(self, states: FitStates) -> Tensor:
        """Return the weight of the rotation between whitened sides."""
        moments = states.moments
        source, target = Spread(moments.s_xx, moments.n), Spread(moments.s_yy, moments.n)
        white = source.power(-0.5)
        u, _, vh = torch.linalg.svd(target.power(-0.5) @ moments.s_xy.T @ white, full_matrices=False)
        return target.power(0.5) @ (u @ vh) @ white
