"""How a fit is shown the states: as they are, or changed in a way that an honest method follows.

A method that learns from states gives, on changed states, the same map once the change is undone. Answers
that were stored beforehand do not. Every change is drawn from `secrets`: nobody can prepare for one.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from lrt_bench.mappings.moments import Moments

SHIFT = 1.0  # of the root mean variance: how far means are moved
NOISE = 0.2  # of the target's variance, in a basis of its own
LARGEST_STRETCH = 2.0  # of a linear change; its inverse is the smallest
LEFT_OUT = 3  # one in so many rows of the sample is left out of a draft


@dataclass(frozen=True)
class Side:
    """One side's change: x -> matrix x + shift. `matrix` [d, d] is invertible, `shift` [d]; float64."""

    matrix: Tensor
    shift: Tensor

    def shown(self, states: Tensor) -> Tensor:
        """Return states [n, d] as they are shown, float32."""
        return (states.double() @ self.matrix.T + self.shift).float()

    def back(self, states: Tensor) -> Tensor:
        """Return states [n, d] as they were before they were shown, float32."""
        return torch.linalg.solve(self.matrix, (states.double() - self.shift).T).T.float()


@dataclass(frozen=True)
class View:
    """A change of both sides, with noise on the target's where `noise` [d_target, d_target] is given.

    noise : z @ noise.T is added to target states, z standard normal. Noise that does not depend on the source
        leaves the regression of target on source as it is, and turns the eigenvectors of S_yy.
    kept : rows of the sample that are shown; the others are taken out of the moments too. None: all.
    """

    source: Side
    target: Side
    noise: Tensor | None = None
    kept: Tensor | None = None
    seed: int = 0  # of the noise alone

    def moments(self, moments: Moments, left_out: Moments | None) -> Moments:
        """Return moments of the states as they are shown, without those of the rows that are left out."""
        if left_out is not None:
            moments = _without(moments, left_out)
        s, t = self.source.matrix, self.target.matrix
        s_yy = moments.s_yy
        if self.noise is not None:
            s_yy = s_yy + moments.n * (self.noise @ self.noise.T)
        return replace(
            moments,
            mean_x=s @ moments.mean_x + self.source.shift, mean_y=t @ moments.mean_y + self.target.shift,
            s_xx=_symmetric(s @ moments.s_xx @ s.T), s_xy=s @ moments.s_xy @ t.T,
            products_y=_symmetric(t @ s_yy @ t.T),
        )  # fmt: skip

    def targets(self, y: Tensor, start: int) -> Tensor:
        """Return target states [n, d_target] as they are shown; `start` names their noise."""
        if self.noise is not None:
            generator = torch.Generator().manual_seed((self.seed + start) % 2**63)
            y = y.double() + torch.randn(y.shape, generator=generator, dtype=torch.float64) @ self.noise.T
        return self.target.shown(y)

    def weight_back(self, weight: Tensor, bias: Tensor) -> tuple[Tensor, Tensor]:
        """Return a linear map of states as they are, from one of states as they are shown."""
        mapped = weight @ self.source.matrix, weight @ self.source.shift + bias - self.target.shift
        return torch.linalg.solve(self.target.matrix, mapped[0]), torch.linalg.solve(
            self.target.matrix, mapped[1]
        )


def _symmetric(matrix: Tensor) -> Tensor:
    return (matrix + matrix.T) / 2


def _without(moments: Moments, left_out: Moments) -> Moments:
    """Return the moments without some of the pairs that they were summed from: a merge with a minus sign."""
    rest = moments.to("cpu", copy=True)
    signs = {name: -getattr(left_out, name) for name in ("s_xx", "s_xy", "products_y")}
    rest.merge(replace(left_out, n=-left_out.n, **signs))
    return rest


def turned(moments: Moments) -> View:
    """Draw orthogonal bases of both sides, reflections among them, and move both means."""
    source, target = (_side(_orthogonal(size), variance) for size, variance in _sizes(moments))
    return View(source, target)


def stretched(moments: Moments) -> View:
    """Draw well-conditioned linear changes of both sides, for methods that say that they follow them."""
    source, target = (_side(_stretch(size), variance) for size, variance in _sizes(moments))
    return View(source, target)


def redrafted(moments: Moments, sample: int) -> View:
    """Draw bases as `turned` does, another draft of the corpus, and noise on the target.

    The noise has the target's own spectrum in a basis of its own, so the eigenvectors of S_yy become others.
    """
    view = turned(moments)
    values = torch.linalg.eigvalsh(moments.s_yy / moments.n).clamp_min(0)
    noise = NOISE**0.5 * _orthogonal(len(values)) * values.sqrt()
    kept = torch.rand(sample, generator=_generator()) >= 1 / LEFT_OUT
    return replace(view, noise=noise, kept=kept.nonzero()[:, 0], seed=secrets.randbits(62))


def _sizes(moments: Moments) -> list[tuple[int, float]]:
    sides = moments.s_xx.diagonal(), moments.s_yy.diagonal()
    return [(len(side), float(side.mean()) / moments.n) for side in sides]


def _side(matrix: Tensor, variance: float) -> Side:
    shift = torch.randn(len(matrix), generator=_generator(), dtype=torch.float64)
    return Side(matrix, SHIFT * variance**0.5 * shift)


def _generator() -> torch.Generator:
    return torch.Generator().manual_seed(secrets.randbits(62))


def _orthogonal(size: int) -> Tensor:
    """Draw an orthogonal matrix uniformly (QR of a normal matrix, its signs fixed)."""
    q, r = torch.linalg.qr(torch.randn(size, size, dtype=torch.float64, generator=_generator()))
    return q * r.diagonal().sign()


def _stretch(size: int) -> Tensor:
    """Draw a matrix with singular values from 1 / LARGEST_STRETCH to LARGEST_STRETCH."""
    stretch = LARGEST_STRETCH ** (2 * torch.rand(size, generator=_generator(), dtype=torch.float64) - 1)
    return _orthogonal(size) * stretch @ _orthogonal(size)
