"""Powers of covariance matrices: what whitens states, and colours them again."""

from __future__ import annotations

import torch
from torch import Tensor

FLOOR = 1e-10  # of the widest direction's variance: what lies below is rounding


class Spread:
    """The covariance of one side's states, as variances along its own directions.

    Attributes
    ----------
    variances [d], directions [d, d] (columns) : float64, smallest first.
    """

    def __init__(self, products: Tensor, n: int) -> None:
        """Take the sums of centred outer products [d, d] of n states."""
        self.variances, self.directions = torch.linalg.eigh(products / max(n, 1))
        floor = float(self.variances.max()) * FLOOR
        self.seen = self.variances > max(floor, torch.finfo(torch.float64).tiny)

    def power(self, exponent: float) -> Tensor:
        """Return covariance ** exponent [d, d]; a direction without variance is left out."""
        powers = torch.where(self.seen, self.variances.clamp_min(0), 1.0) ** exponent
        return (self.directions * torch.where(self.seen, powers, 0.0)) @ self.directions.T
