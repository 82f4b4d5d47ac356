"""Sufficient statistics of paired states: what every linear map is solved from.

Sums are kept in float64 with the means removed (Chan, Golub and LeVeque 1979), because residual streams
have a few massive dimensions whose raw second moments would drown the others. Moments add up across
batches and machines. Products of float32 states are taken in float32 after a shift by about the mean, and
merged in float64 after a few thousand pairs: twice as fast, and no less sure than the states are.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from lrt_bench.errors import UserError

PAIRS_AT_ONCE = 4096  # pairs whose products are taken at a time: they stay in the cache
RUN = 16384  # pairs whose products are summed in float32
PANEL = 128  # rows of a symmetric product that are taken at a time: about these, or an eighth of the rows


@dataclass
class Moments:
    """Count, means and centred co-products of paired states x [n, d_x] and y [n, d_y].

    Attributes
    ----------
    n : number of pairs.
    mean_x [d_x], mean_y [d_y] : float64.
    s_xx [d_x, d_x], s_xy [d_x, d_y] : float64 sums of centred outer products (not divided by n).
    products_y : the same of y with itself: S_yy [d_y, d_y], or its diagonal [d_y] alone. No regression of y
        on x, and no error of one, needs more; what is begun `without_s_yy` spares up to half of the work.
    """

    n: int
    mean_x: Tensor
    mean_y: Tensor
    s_xx: Tensor
    s_xy: Tensor
    products_y: Tensor

    @classmethod
    def zeros(cls, d_x: int, d_y: int, device: torch.device | str = "cpu") -> Moments:
        """Moments of no pairs yet."""
        return replace(cls.without_s_yy(d_x, d_y, device), products_y=_zeros(device, d_y, d_y))

    @classmethod
    def without_s_yy(cls, d_x: int, d_y: int, device: torch.device | str = "cpu") -> Moments:
        """Moments of no pairs yet, to which only y's sums of squares are added."""
        return cls(0, *(_zeros(device, *shape) for shape in ((d_x,), (d_y,), (d_x, d_x), (d_x, d_y), (d_y,))))

    @classmethod
    def of(cls, x: Tensor, y: Tensor) -> Moments:
        """Moments of one batch, by their definition, in float64."""
        x, y = x.double(), y.double()
        mean_x, mean_y = x.mean(0), y.mean(0)
        x, y = x - mean_x, y - mean_y
        return cls(len(x), mean_x, mean_y, x.T @ x, x.T @ y, y.T @ y)

    def update(self, x: Tensor, y: Tensor) -> None:
        """Add a batch of pairs, on these moments' device: products of float32 ones in float32.

        On a GPU they are in TF32, which keeps 11 bits of a state: an error of up to 2^-11 of it, as often up
        as down, so that in a sum of n products it is about 2^-11 / sqrt(n) of their size.
        """
        if len(x) != len(y):
            raise ValueError(f"{len(x)} source states but {len(y)} target states")
        if not len(x):
            return
        if x.dtype != torch.float32 or y.dtype != torch.float32:
            x, y = x.double(), y.double()
        for a, b in zip(x.split(RUN), y.split(RUN), strict=True):
            self.merge(self._of_run(a, b))

    def _of_run(self, x: Tensor, y: Tensor) -> Moments:
        """Moments of some pairs, in their own precision, of what these moments hold.

        Pairs are shifted by the first block's mean; what that leaves of the mean is taken out in float64.
        """
        d_x, d = x.shape[1], x.shape[1] + y.shape[1]
        whole = self.products_y.ndim == 2
        shift = torch.cat([side[:PAIRS_AT_ONCE].mean(0) for side in (x, y)])
        shifted = x.new_empty(min(PAIRS_AT_ONCE, len(x)), d)  # x and y side by side, again and again
        products = x.new_zeros(d if whole else d_x, d)
        sums, squares = _zeros(x.device, d), _zeros(x.device, d - d_x)
        for a, b in zip(x.split(PAIRS_AT_ONCE), y.split(PAIRS_AT_ONCE), strict=True):
            block = shifted[: len(a)]
            torch.sub(a, shift[:d_x], out=block[:, :d_x])
            torch.sub(b, shift[d_x:], out=block[:, d_x:])
            sums += block.sum(0)
            _add_products(products, block)
            if not whole:
                squares += block[:, d_x:].square_().sum(0)
        _mirror(products)
        left = sums / len(x)
        mean = shift.double() + left
        centred = products.double().addr_(sums[: len(products)], left, alpha=-1)
        own_y = centred[d_x:, d_x:] if whole else squares - sums[d_x:] * left[d_x:]
        return Moments(len(x), mean[:d_x], mean[d_x:], centred[:d_x, :d_x], centred[:d_x, d_x:], own_y)

    def merge(self, other: Moments) -> None:
        """Add the moments of other pairs, in place.

        Either both hold S_yy, or neither does.
        """
        n = self.n + other.n
        if other.n == 0:
            return
        delta_x, delta_y = other.mean_x - self.mean_x, other.mean_y - self.mean_y
        weight = self.n * other.n / n
        self.s_xx.add_(other.s_xx).addr_(delta_x, delta_x, alpha=weight)
        self.s_xy.add_(other.s_xy).addr_(delta_x, delta_y, alpha=weight)
        self.products_y.add_(other.products_y)
        if self.products_y.ndim == 2:
            self.products_y.addr_(delta_y, delta_y, alpha=weight)
        else:
            self.products_y.add_(delta_y.square(), alpha=weight)
        self.mean_x = self.mean_x + delta_x * (other.n / n)
        self.mean_y = self.mean_y + delta_y * (other.n / n)
        self.n = n

    def to(self, device: torch.device | str, copy: bool = False) -> Moments:
        """Return the moments on another device, or a copy of them."""
        names = ("mean_x", "mean_y", "s_xx", "s_xy", "products_y")
        return replace(self, **{name: getattr(self, name).to(device, copy=copy) for name in names})

    @property
    def s_yy(self) -> Tensor:
        """Sums of centred outer products of y [d_y, d_y].

        Raises UserError where they were left out.
        """
        if self.products_y.ndim != 2:
            raise UserError("these moments are without S_yy, which is read here: begin with Moments.zeros")
        return self.products_y

    @property
    def squares_y(self) -> Tensor:
        """The diagonal of S_yy [d_y]."""
        return self.products_y.diagonal() if self.products_y.ndim == 2 else self.products_y

    @property
    def variance_x(self) -> Tensor:
        """Variance of each source dimension [d_x]."""
        return self.s_xx.diagonal() / max(self.n, 1)

    @property
    def variance_y(self) -> Tensor:
        """Variance of each target dimension [d_y]."""
        return self.squares_y / max(self.n, 1)


def _zeros(device: torch.device | str, *shape: int) -> Tensor:
    return torch.zeros(*shape, dtype=torch.float64, device=device)


def _panels(rows: int) -> Iterator[slice]:
    """Rows of a symmetric matrix, cut into equal parts of whole vector registers.

    More parts save more of the half that is not needed, but a product of few rows is a slow one.
    """
    parts = min(8, max(1, round(rows / PANEL)))
    width = -(-rows // (16 * parts)) * 16
    return (slice(start, min(start + width, rows)) for start in range(0, rows, width or 1))


def _add_products(sums: Tensor, block: Tensor) -> None:
    """Add the products of a block's columns [n, d] to the first rows of their symmetric matrix: sums [r, d].

    What lies left of the diagonal is not computed: panel by panel, little more than half of the square.
    """
    with _tensor_cores():
        for rows in _panels(len(sums)):
            sums[rows, rows.start :].addmm_(block[:, rows].T, block[:, rows.start :])


def _mirror(sums: Tensor) -> None:
    """Fill what `_add_products` left out."""
    for rows in _panels(len(sums)):
        sums[rows.stop :, rows] = sums[rows, rows.stop : len(sums)].T


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
    """Return the unit of alpha: RMS norm of centred states without their eight widest dimensions.

    A state's raw norm is mostly a constant offset in a few massive dimensions (Sun et al. 2024), and says
    little about how far states lie from each other. With fewer than 16 dimensions half of them stay in.
    """
    left_out = min(MASSIVE, len(variance) // 2)
    return float(variance.sort().values[: len(variance) - left_out].sum().sqrt())
