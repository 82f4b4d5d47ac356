"""The affine map with its output's spectrum reshaped by a power of the target's covariance."""

from __future__ import annotations

import torch
from torch import Tensor

from lrt_bench.mappings.base import FitStates, LinearMapping
from lrt_bench.mappings.ridge import Ridge
from lrt_bench.mappings.spectral.whitening import Spread

EXPONENTS = (-0.25, -0.125, 0.0, 0.125, 0.25)


class Reshaped(LinearMapping):
    """S_yy^-p A, A of ridge regression, p chosen on validation states.

    What is carried is a difference of states, and its direction is what steers. So p is the one whose mapped
    differences of two validation states have the largest mean cosine with the target's own: a mean squared
    error would ask for p = 0 by construction.

    Attributes
    ----------
    exponent_ : p. Positive ones spread the output's spectrum, negative ones narrow it.
    """

    def solve(self, states: FitStates) -> Tensor:
        """Return the reshaped weight [d_target, d_source]."""
        weight, moments = Ridge().solve(states), states.moments
        target = Spread(moments.s_yy, moments.n)
        x, y = (side.double() for side in states.validation)
        half = len(x) // 2
        source, own = x[:half] - x[half : 2 * half], y[:half] - y[half : 2 * half]
        best = (-float("inf"), 0.0, weight)
        for exponent in EXPONENTS:
            reshaped = target.power(-exponent) @ weight if exponent else weight
            agreement = float(torch.nn.functional.cosine_similarity(source @ reshaped.T, own, dim=1).mean())
            if agreement > best[0]:
                best = (agreement, exponent, reshaped)
        self.exponent_ = best[1]
        return best[2]
