"""The mean of three maps that err in unlike ways: this project's own map for many tokens."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from lrt_bench.mappings.autoencoder import Autoencoder
from lrt_bench.mappings.base import FitStates, Mapping
from lrt_bench.mappings.kernels.affine_waves import AffineWaves
from lrt_bench.mappings.mlp import Mlp


class Blend(Mapping):
    """A state goes to the mean of where `mlp`, `autoencoder` and `affine-waves` send it.

    Two are trained by gradient from unlike starts and one is solved for. What each makes of directions that
    the corpus hardly tells differs, and part of it cancels (an ensemble: Hansen and Salamon 1990).

    Attributes
    ----------
    members_ : the fitted maps, in the order of `kinds`.
    """

    stochastic = True
    kinds: ClassVar[tuple[type[Mapping], ...]] = (Mlp, Autoencoder, AffineWaves)

    def fit(self, states: FitStates) -> None:
        """Fit each member on the same states, from the same seed."""
        self.members_ = [kind() for kind in self.kinds]
        for member in self.members_:
            member.seed = self.seed
            member.fit(states)

    def __call__(self, h: Tensor) -> Tensor:
        """Return the mean of the members' states [..., d_target], float32."""
        return torch.stack([member(h) for member in self.members_]).mean(0)

    @property
    def n_parameters(self) -> int:
        """How many numbers the members learned."""
        return sum(member.n_parameters for member in self.members_)
