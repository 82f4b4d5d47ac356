"""An affine path and waves of standardised states, solved together: this project's own map."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from lrt_bench.mappings.base import FitStates
from lrt_bench.mappings.kernels.feature_ridge import FeatureRidge
from lrt_bench.mappings.kernels.waves import WAVES, drawn_waves, waves

FEWEST, MOST = 512, 3072  # waves
EACH = 8  # pairs of the sample for a wave, at least
KERNEL = 1 / 0.6  # in units of sqrt(d_source)
LEAST = 1e-3  # of the widest dimension's deviation: a dimension that hardly varies is not blown up


class AffineWaves(FeatureRidge):
    """Ridge from standardised states and waves of them to target states.

    `kernel-ridge` whitens, which makes a state's least certain directions as loud as its surest; standardised
    states keep the shape that the model gave them. The waves grow with the sample rather than with the
    width. One penalty, chosen on validation states, holds both paths: with few tokens it leaves little but
    the affine one.

    Attributes
    ----------
    origin_, deviation_ [d_source] : what standardises.
    frequencies_ [d_source, k], phases_ [k] : of the waves.
    """

    sides: ClassVar = {"origin_": ("source",), "deviation_": ("source",)} | WAVES

    def prepare(self, states: FitStates) -> None:
        """Standardise the source; draw the waves."""
        moments = states.moments
        self.origin_ = moments.mean_x.float()
        deviation = moments.variance_x.sqrt().float()
        self.deviation_ = deviation.clamp_min(max(float(deviation.max()) * LEAST, 1e-12))
        count = max(FEWEST, min(MOST, len(states.sample) // EACH))
        self.frequencies_, self.phases_ = drawn_waves(states.d_source, count, KERNEL, self.seed)

    def features(self, h: Tensor) -> Tensor:
        """Return standardised states and their waves."""
        z = (h.float() - self.origin_.to(h.device)) / self.deviation_.to(h.device)
        return torch.cat([z, waves(z, self.frequencies_, self.phases_)], dim=-1)
