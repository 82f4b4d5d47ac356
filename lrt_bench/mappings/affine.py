"""Least squares: the affine map of the hypothesis (arXiv 2506.00653, section 2.3), at its optimum."""

from __future__ import annotations

from torch import Tensor

from lrt_bench.mappings.base import FitStates, LinearMapping, Spectrum


class Affine(LinearMapping):
    """min E ||A h_S + p - h_T||^2 in closed form; the paper trains the same objective by AdamW."""

    def solve(self, states: FitStates) -> Tensor:
        """Return the least squares weight [d_target, d_source]."""
        return Spectrum(states.moments).weight(0.0)
