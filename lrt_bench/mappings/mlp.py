"""A multilayer perceptron beside a linear path."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from lrt_bench.mappings.base import FitStates, Spectrum
from lrt_bench.mappings.network import NetworkMapping

HIDDEN = 2  # hidden units for each target dimension


class _LinearAndHidden(nn.Module):
    def __init__(self, d_source: int, d_target: int) -> None:
        super().__init__()
        self.linear = nn.Linear(d_source, d_target)
        self.hidden = nn.Linear(d_source, HIDDEN * d_target)
        self.out = nn.Linear(HIDDEN * d_target, d_target)
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)

    def forward(self, x: Tensor) -> Tensor:
        return self.linear(x) + self.out(nn.functional.gelu(self.hidden(x)))


class Mlp(NetworkMapping):
    """One hidden GELU layer and a linear path that begins at the least-squares solution.

    So it starts where `affine` ends, and what it adds is what a non-linear map can add.
    """

    def build(self, d_source: int, d_target: int) -> nn.Module:
        """Build the untrained network."""
        return _LinearAndHidden(d_source, d_target)

    def prepare(self, states: FitStates) -> None:
        """Set the linear path to the least-squares solution."""
        weight = Spectrum(states.moments).weight(0.0).float()
        linear = self.network_.linear
        assert isinstance(linear, nn.Linear)
        with torch.no_grad():
            linear.weight.copy_(weight * self.scale_x_ / self.scale_y_[:, None])
            linear.bias.zero_()
