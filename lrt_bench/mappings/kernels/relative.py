"""Relative representations (Moschella et al. 2023, arXiv 2209.15430), decoded by ridge regression."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from lrt_bench.mappings.base import FitStates
from lrt_bench.mappings.kernels.feature_ridge import FeatureRidge
from lrt_bench.mappings.kernels.kernel_ridge import LEAST

EACH = 8  # anchors for each source dimension
MOST = 3000  # anchors


class Relative(FeatureRidge):
    """A state is described by its cosines to anchor states, and the target's state is read off that.

    Such a description owes nothing to the basis that it was computed in. States are whitened first: in a
    residual stream a few massive dimensions decide every raw cosine. The original compares two models'
    descriptions of the same anchors; a steering vector needs a state of the target, and so a decoder (Maiorca
    et al. 2023, arXiv 2311.00664, take one too).

    Attributes
    ----------
    anchors_ [k, d_source] : unit vectors, whitened.
    """

    sides: ClassVar = {
        "white_": ("source", "source"),
        "origin_": ("source",),
        "anchors_": ("anchors", "source"),
    }

    def prepare(self, states: FitStates) -> None:
        """Whiten the source; draw the anchors from the sample."""
        moments = states.moments
        variances, directions = torch.linalg.eigh(moments.s_xx / moments.n)
        floor = float(variances.max()) * LEAST
        self.white_ = ((directions / variances.clamp_min(floor).sqrt()) @ directions.T).float()
        self.origin_ = moments.mean_x.float()
        count = min(EACH * states.d_source, MOST, max(1, len(states.sample) // 4))
        chosen = next(iter(states.batches(count, seed=1000 + self.seed)))[0]
        self.anchors_ = self._direction(chosen)

    def _direction(self, h: Tensor) -> Tensor:
        white = (h.float() - self.origin_.to(h.device)) @ self.white_.to(h.device)
        return torch.nn.functional.normalize(white, dim=-1)

    def features(self, h: Tensor) -> Tensor:
        """Return cosines to the anchors."""
        return self._direction(h) @ self.anchors_.T.to(h.device)
