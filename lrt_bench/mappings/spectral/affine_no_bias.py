"""Least squares through the origin: the paper's map without its p (arXiv 2506.00653, section 2.3)."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from lrt_bench.mappings.base import FitStates, LinearMapping, Spectrum


class AffineNoBias(LinearMapping):
    """min E ||A h_S - h_T||^2, nothing added: A has to carry the offset that the states have too."""

    def fit(self, states: FitStates) -> None:
        """Solve for the weight; the bias is zero."""
        self.weight = self.solve(states)
        self.bias = torch.zeros(states.d_target, dtype=torch.float64, device=self.weight.device)

    def solve(self, states: FitStates) -> Tensor:
        """Return the least squares weight [d_target, d_source] of states that are not centred."""
        moments = states.moments
        raw = replace(
            moments,
            mean_x=torch.zeros_like(moments.mean_x),
            mean_y=torch.zeros_like(moments.mean_y),
            s_xx=moments.s_xx + moments.n * torch.outer(moments.mean_x, moments.mean_x),
            s_xy=moments.s_xy + moments.n * torch.outer(moments.mean_x, moments.mean_y),
        )
        return Spectrum(raw).weight(0.0)
