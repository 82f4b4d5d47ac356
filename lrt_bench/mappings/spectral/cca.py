"""Canonical correlation analysis as a map (Hotelling 1936), its pairs chosen on validation states."""

from __future__ import annotations

import torch
from torch import Tensor

from lrt_bench.mappings.base import FitStates, LinearMapping, Spectrum, validation_error
from lrt_bench.mappings.spectral.whitening import Spread


class Cca(LinearMapping):
    """Least squares through the k most correlated pairs of directions alone.

    With whitened sides the regression's matrix is U diag(rho) V^T, rho the canonical correlations. The map
    keeps the k largest and is the least squares map for all of them; k is a power of two, or all.

    Attributes
    ----------
    correlations_ [min(d_source, d_target)] : rho, largest first.
    components_ : k.
    """

    def solve(self, states: FitStates) -> Tensor:
        """Return the weight of the number of pairs with the smallest validation error."""
        moments = states.moments
        full = Spectrum(moments).weight(0.0)
        target = Spread(moments.s_yy, moments.n)
        white, colour = target.power(-0.5), target.power(0.5)
        fitted = white @ full @ (moments.s_xx / moments.n) @ full.T @ white
        squared, directions = torch.linalg.eigh((fitted + fitted.T) / 2)
        directions, most = directions.flip(1), min(full.shape)
        self.correlations_ = squared.flip(0)[:most].clamp(0, 1).sqrt()
        inward = directions.T @ white @ full
        counts = powers_of_two(most)
        weights = [colour @ directions[:, :count] @ inward[:count] for count in counts]
        errors = validation_error(states, weights)
        best = min(range(len(counts)), key=errors.__getitem__)
        self.components_ = counts[best]
        return weights[best]


def powers_of_two(most: int) -> list[int]:
    """Return 1, 2, 4, ... below `most`, and `most`."""
    return [2**k for k in range(most.bit_length()) if 2**k < most] + [most]
