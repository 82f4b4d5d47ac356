"""Ridge in whitened target coordinates: every principal direction of the target has its own strength.

One penalty for all is a compromise: a few massive directions of the residual stream want next to none, the
many small ones want more. In the eigenbasis of the target's covariance the outputs are uncorrelated, so each
is its own regression, and each chooses its strength on validation states.
"""

from __future__ import annotations

import torch
from torch import Tensor

from lrt_bench import LinearMapping
from lrt_bench.mappings.base import Spectrum


class WhitenedRidge(LinearMapping):
    """Ridge with one strength for each principal direction of the target.

    Attributes
    ----------
    strengths_ [d_target] : the chosen penalties, in units of the source dimensions' mean variance.
    """

    EXPONENTS = range(-8, 3)

    def solve(self, states) -> Tensor:
        moments = states.moments
        _, directions = torch.linalg.eigh(moments.s_yy)
        spectrum = Spectrum(moments)
        x, y = (side.double() for side in states.validation)
        x, y = x - moments.mean_x, (y - moments.mean_y) @ directions
        errors, weights = [], []
        for exponent in self.EXPONENTS:
            weight = directions.T @ spectrum.weight(10.0**exponent)  # rows: the target's principal directions
            weights.append(weight)
            errors.append((x @ weight.T - y).square().mean(0))
        best = torch.stack(errors).argmin(0)
        self.strengths_ = torch.tensor([10.0**exponent for exponent in self.EXPONENTS])[best]
        chosen = torch.stack(weights)[best, torch.arange(len(best))]
        return directions @ chosen
