"""Several affine maps, each for the states about one centre (a mixture of experts, Jacobs et al. 1991)."""

from __future__ import annotations

import math
from typing import ClassVar

import torch
from torch import Tensor

from lrt_bench.mappings.base import FitStates
from lrt_bench.mappings.kernels.feature_ridge import FeatureRidge

CENTRES = 8
ROUNDS = 20  # of k-means
SHARP = 4.0  # of a gate: how fast a centre's share falls with the distance
TRIED = 4096  # states that the centres are found among


class Mixture(FeatureRidge):
    """One affine map for all states, and one more about each of some k-means centres, its share by distance.

    Gates are a soft minimum of distances between standardised states. All maps are solved together.

    Attributes
    ----------
    centres_ [k, d_source] : standardised.
    """

    sides: ClassVar = {"origin_": ("source",), "deviation_": ("source",), "centres_": ("centres", "source")}

    def prepare(self, states: FitStates) -> None:
        """Standardise the source; find the centres by k-means."""
        moments = states.moments
        self.origin_ = moments.mean_x.float()
        deviation = moments.variance_x.sqrt().float()
        self.deviation_ = deviation.clamp_min(max(float(deviation.max()) * 1e-3, 1e-12))
        # an affine map a centre has d + 1 numbers for each target dimension: no more than the sample can tell
        room = len(states.sample) // (8 * (states.d_source + 1))
        count = max(1, min(CENTRES, room))
        self.centres_ = self._k_means(states, count)

    def _k_means(self, states: FitStates, count: int) -> Tensor:
        z = self._standard(next(iter(states.batches(TRIED, seed=self.seed)))[0])
        order = torch.randperm(len(z), generator=torch.Generator().manual_seed(self.seed))
        centres = z[order[:count]].clone()
        for _ in range(ROUNDS):
            nearest = torch.cdist(z, centres).argmin(1)
            for k in range(len(centres)):
                if bool((nearest == k).any()):
                    centres[k] = z[nearest == k].mean(0)
        return centres

    def _standard(self, h: Tensor) -> Tensor:
        return (h.float() - self.origin_.to(h.device)) / self.deviation_.to(h.device)

    def features(self, h: Tensor) -> Tensor:
        """Return standardised states, and times each gate: [..., d + k (d + 1)]."""
        z = self._standard(h)
        flat, centres = z.reshape(-1, z.shape[-1]), self.centres_.to(h.device)
        distances = torch.cdist(flat, centres).square() / math.sqrt(flat.shape[-1]) / SHARP
        gates = torch.softmax(-distances, dim=-1)
        ones = torch.cat([flat, flat.new_ones(len(flat), 1)], dim=1)
        gated = (gates[:, :, None] * ones[:, None, :]).flatten(1)
        return torch.cat([flat, gated], dim=1).reshape(*z.shape[:-1], -1)
