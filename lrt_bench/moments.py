"""Sufficient statistics of paired states: what every linear map is solved from.

Sums are kept in float64 with the means removed (Chan, Golub and LeVeque 1979), because residual streams
have a few massive dimensions whose raw second moments would drown the others. Moments add up across
batches and machines. Products of float32 states are taken in float32, in blocks whose mean is removed first,
and the blocks are merged in float64: twice as fast, and no less sure than the states are.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor

BLOCK = 4096  # pairs whose products are summed in float32


@dataclass
class Moments:
    """Count, means and centred co-products of paired states x [n, d_x] and y [n, d_y].

    Attributes
    ----------
    n : number of pairs.
    mean_x [d_x], mean_y [d_y] : float64.
    s_xx [d_x, d_x], s_xy [d_x, d_y], s_yy [d_y, d_y] : float64 sums of centred outer products (not
        divided by n).
    """

    n: int
    mean_x: Tensor
    mean_y: Tensor
    s_xx: Tensor
    s_xy: Tensor
    s_yy: Tensor

    @classmethod
    def zeros(cls, d_x: int, d_y: int, device: torch.device | str = "cpu") -> Moments:
        def empty(*shape: int) -> Tensor:
            return torch.zeros(*shape, dtype=torch.float64, device=device)

        return cls(0, empty(d_x), empty(d_y), empty(d_x, d_x), empty(d_x, d_y), empty(d_y, d_y))

    @classmethod
    def of(cls, x: Tensor, y: Tensor) -> Moments:
        """Moments of one batch."""
        x, y = x.double(), y.double()
        mean_x, mean_y = x.mean(0), y.mean(0)
        x, y = x - mean_x, y - mean_y
        return cls(len(x), mean_x, mean_y, x.T @ x, x.T @ y, y.T @ y)

    @classmethod
    def in_float32(cls, x: Tensor, y: Tensor) -> Moments:
        """Moments of one block of float32 states: products in float32 after a shift by about the mean.

        What the shift leaves of the mean is taken out in float64. On a GPU products are in TF32, which keeps
        11 bits of a state: an error of up to 2^-11 of it, as often up as down, so that in a sum of n products
        it is about 2^-11 / sqrt(n) of their size.
        """
        mean_x, mean_y = x.mean(0, dtype=torch.float64), y.mean(0, dtype=torch.float64)
        shift_x, shift_y = mean_x.float(), mean_y.float()
        x, y = x - shift_x, y - shift_y
        left_x, left_y = mean_x - shift_x, mean_y - shift_y
        with _tensor_cores():
            products = [(x.T @ x, left_x, left_x), (x.T @ y, left_x, left_y), (y.T @ y, left_y, left_y)]
        sums = (product.double() - len(x) * torch.outer(a, b) for product, a, b in products)
        return cls(len(x), mean_x, mean_y, *sums)

    def update(self, x: Tensor, y: Tensor) -> None:
        """Add a batch of pairs, on these moments' device: float32 ones in blocks, others in float64."""
        if len(x) != len(y):
            raise ValueError(f"{len(x)} source states but {len(y)} target states")
        if not len(x):
            return
        if x.dtype != torch.float32 or y.dtype != torch.float32:
            self.merge(Moments.of(x, y))
            return
        for a, b in zip(x.split(BLOCK), y.split(BLOCK), strict=True):
            self.merge(Moments.in_float32(a, b))

    def merge(self, other: Moments) -> None:
        """Add the moments of other pairs, in place."""
        n = self.n + other.n
        if other.n == 0:
            return
        delta_x, delta_y = other.mean_x - self.mean_x, other.mean_y - self.mean_y
        weight = self.n * other.n / n
        self.s_xx += other.s_xx + weight * torch.outer(delta_x, delta_x)
        self.s_xy += other.s_xy + weight * torch.outer(delta_x, delta_y)
        self.s_yy += other.s_yy + weight * torch.outer(delta_y, delta_y)
        self.mean_x = self.mean_x + delta_x * (other.n / n)
        self.mean_y = self.mean_y + delta_y * (other.n / n)
        self.n = n

    def to(self, device: torch.device | str, copy: bool = False) -> Moments:
        """The moments on another device, or a copy of them."""
        names = ("mean_x", "mean_y", "s_xx", "s_xy", "s_yy")
        return replace(self, **{name: getattr(self, name).to(device, copy=copy) for name in names})

    @property
    def variance_x(self) -> Tensor:
        """Variance of each source dimension [d_x]."""
        return self.s_xx.diagonal() / max(self.n, 1)

    @property
    def variance_y(self) -> Tensor:
        """Variance of each target dimension [d_y]."""
        return self.s_yy.diagonal() / max(self.n, 1)


@contextlib.contextmanager
def _tensor_cores() -> Iterator[None]:
    """Float32 products on a GPU's tensor cores (TF32); elsewhere it changes nothing."""
    before = torch.backends.cuda.matmul.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = True
    try:
        yield
    finally:
        torch.backends.cuda.matmul.allow_tf32 = before


MASSIVE = 8  # dimensions of largest variance that the spread leaves out


def spread(variance: Tensor) -> float:
    """The unit of alpha: root mean square norm of centred states without their eight widest dimensions.

    A state's raw norm is mostly a constant offset in a few massive dimensions (Sun et al. 2024), and says
    little about how far states lie from each other. With fewer than 16 dimensions half of them stay in.
    """
    left_out = min(MASSIVE, len(variance) // 2)
    return float(variance.sort().values[: len(variance) - left_out].sum().sqrt())
