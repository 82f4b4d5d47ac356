"""Kernel ridge regression by random Fourier features (Rahimi and Recht 2007), beside a linear path."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from lrt_bench.mappings.base import FitStates
from lrt_bench.mappings.kernels.feature_ridge import FeatureRidge
from lrt_bench.mappings.kernels.waves import WAVES, drawn_waves, waves

EACH = 6  # waves for each source dimension
MOST = 3000  # waves
LEAST = 1e-6  # of the widest direction's variance, that whitening divides by
KERNEL = 2.0


class KernelRidge(FeatureRidge):
    """Ridge from whitened states and waves of them to target states.

    Attributes
    ----------
    white_ [d_source, d_source], origin_ [d_source] : what whitens.
    frequencies_ [d_source, k], phases_ [k] : of the waves.
    """

    sides: ClassVar = {"white_": ("source", "source"), "origin_": ("source",)} | WAVES

    def prepare(self, states: FitStates) -> None:
        """Whiten the source; draw the waves."""
        moments = states.moments
        variances, directions = torch.linalg.eigh(moments.s_xx / moments.n)
        floor = float(variances.max()) * LEAST
        self.white_ = ((directions / variances.clamp_min(floor).sqrt()) @ directions.T).float()
        self.origin_ = moments.mean_x.float()
        count = min(EACH * states.d_source, MOST)
        self.frequencies_, self.phases_ = drawn_waves(states.d_source, count, KERNEL, self.seed)

    def features(self, h: Tensor) -> Tensor:
        """Return whitened states and their waves."""
        white = (h.float() - self.origin_.to(h.device)) @ self.white_.to(h.device)
        return torch.cat([white, waves(white, self.frequencies_, self.phases_)], dim=-1)
