"""The one interface of a mapping method, and what every linear method shares.

A method is a class with two functions:

    class Mine(Mapping):
        def fit(self, states): ...       # states.moments, states.batches(), states.validation
        def __call__(self, h): ...       # [..., d_source] -> [..., d_target]
"""

from __future__ import annotations

import functools
import hashlib
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence, Sized
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor

from lrt_bench.errors import UserError
from lrt_bench.mappings.moments import Moments

CHECKED_AT_ONCE = 1024  # validation pairs that are put in float64 at a time


class FitStates(Protocol):
    """What a method is fitted on: the states of one pair of sites, read once.

    Attributes
    ----------
    moments : of every fit pair.
    sample : a bounded uniform sample of the fit pairs; `batches` reads it.
    validation : source [n, d_source] and target [n, d_target] states of other documents, float32.
    tokens : fit pairs seen.
    d_source, d_target : widths of the two sites.
    """

    @property
    def moments(self) -> Moments:
        """Moments of every fit pair."""

    @property
    def sample(self) -> Sized:
        """A bounded uniform sample of the fit pairs."""

    @property
    def validation(self) -> tuple[Tensor, Tensor]:
        """Source and target states of other documents, float32."""

    @property
    def tokens(self) -> int:
        """Number of fit pairs seen."""

    @property
    def d_source(self) -> int:
        """Width of the source site."""

    @property
    def d_target(self) -> int:
        """Width of the target site."""

    def batches(self, size: int = 512, seed: int = 0) -> Iterator[tuple[Tensor, Tensor]]:
        """One epoch over the sample in a shuffled order: float32 pairs [size, d_source], [size, d_target]."""


class Mapping(ABC):
    """Carries source states to target states.

    Attributes
    ----------
    track : ``corpus`` (fitted on the corpus alone) or ``task-aware`` (ranked apart).
    rule : how a concept's vector is carried over, as its row says.
    seed : set before `fit`; all that is random in a fit follows from it.
    stochastic : whether another seed gives another fit; such methods are fitted once for each seed.
    """

    track: str = "corpus"
    rule: str = "difference of mapped means"
    seed: int = 0
    stochastic: bool = False

    @abstractmethod
    def fit(self, states: FitStates) -> None:
        """Learn from paired states; what is learned is kept in attributes with a trailing underscore."""

    @abstractmethod
    def __call__(self, h: Tensor) -> Tensor:
        """Source states [..., d_source] to target states [..., d_target], float32."""

    def transfer(self, positive: Tensor, negative: Tensor) -> Tensor:
        """Return a concept's vector in the target [d_target]: the difference of the mapped means.

        positive, negative : source states [n, d_source] at the ends of a concept's prompts.
        """
        return self(positive).mean(0) - self(negative).mean(0)

    @property
    def n_parameters(self) -> int:
        """How many numbers the fit learned."""
        return sum(t.numel() for t in vars(self).values() if isinstance(t, Tensor))


class LinearMapping(Mapping):
    """h -> weight h + bias, solved in closed form from the moments.

    Attributes
    ----------
    weight [d_target, d_source], bias [d_target] : float64 after `fit`.
    """

    rule = "A v"
    weight: Tensor
    bias: Tensor

    def fit(self, states: FitStates) -> None:
        """Solve for the weight; the bias follows from the means."""
        self.weight = self.solve(states)
        moments = states.moments
        self.bias = moments.mean_y - self.weight @ moments.mean_x

    @abstractmethod
    def solve(self, states: FitStates) -> Tensor:
        """Return the weight [d_target, d_source], float64; the bias follows from the means."""

    def __call__(self, h: Tensor) -> Tensor:
        """Return weight h + bias [..., d_target], float32."""
        return h.float() @ self.weight.T.to(h.device).float() + self.bias.to(h.device).float()

    def transfer(self, positive: Tensor, negative: Tensor) -> Tensor:
        """Exactly A v, v the difference of the source means: the bias cancels."""
        return (self.weight @ (positive.double().mean(0) - negative.double().mean(0))).float()

    def save(self, path: str | Path) -> None:
        """Write weight and bias as safetensors, float32."""
        from safetensors.torch import save_file

        tensors = {"weight": self.weight.float().contiguous(), "bias": self.bias.float().contiguous()}
        save_file(tensors, str(path), metadata={"format": "lrt-bench linear mapping v1"})


class FixedLinear(LinearMapping):
    """A linear map read from safetensors; fitting it changes nothing."""

    def __init__(self, weight: Tensor, bias: Tensor) -> None:
        if weight.ndim != 2 or bias.shape != weight.shape[:1]:
            raise UserError(
                f"weight {tuple(weight.shape)} and bias {tuple(bias.shape)}: "
                "want [d_target, d_source] and [d_target]"
            )
        self.weight, self.bias = weight.double(), bias.double()

    @classmethod
    def load(cls, path: str | Path) -> FixedLinear:
        """Read what `LinearMapping.save` wrote.

        Raises UserError.
        """
        from safetensors.torch import load_file

        try:
            tensors = load_file(str(path))
            for name in ("weight", "bias"):
                if not bool(torch.isfinite(tensors[name]).all()):
                    raise UserError(f"{path}: tensor {name} holds NaN or infinity")
            return cls(tensors["weight"], tensors["bias"])
        except UserError:
            raise
        except KeyError as error:
            raise UserError(f"{path}: tensor {error} is missing: save weight and bias") from error
        except Exception as error:
            raise UserError(f"{path}: not a readable safetensors file: {error}") from error

    def fit(self, states: FitStates) -> None:
        """Solve for the weight; the bias follows from the means."""

    def solve(self, states: FitStates) -> Tensor:
        """Return the weight that was given."""
        return self.weight


class _Matrix:
    """A matrix that is equal to another by its contents, to look up what was made of it."""

    def __init__(self, tensor: Tensor) -> None:
        self.tensor = tensor
        self.digest = hashlib.sha256(tensor.cpu().contiguous().numpy().tobytes()).digest()

    def __hash__(self) -> int:
        return hash(self.digest)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Matrix) and self.digest == other.digest


@functools.lru_cache(maxsize=2)
def eigh(matrix: _Matrix) -> tuple[Tensor, Tensor]:
    """Eigenvalues and eigenvectors; several mappings are fitted on the same moments, one after another."""
    values, vectors = torch.linalg.eigh(matrix.tensor)
    return values, vectors


class Spectrum:
    """Ridge solutions of every strength, and their errors, from one eigendecomposition of S_xx."""

    def __init__(self, moments: Moments) -> None:
        self.means = moments.mean_x, moments.mean_y
        self.values, self.vectors = eigh(_Matrix(moments.s_xx))
        self.projected = self.vectors.T @ moments.s_xy
        self.scale = moments.s_xx.diagonal().mean().clamp_min(torch.finfo(torch.float64).tiny)

    def weight(self, strength: float) -> Tensor:
        """Solve argmin sum ||A x - y||^2 + strength * mean variance * n ||A||^2, [d_y, d_x].

        With strength 0 directions without variance are left out (the pseudo-inverse).
        """
        return (self.vectors @ (self._inverse(strength)[:, None] * self.projected)).T

    def _inverse(self, strength: float) -> Tensor:
        damped = self.values + strength * self.scale
        floor = self.values.max() * len(self.values) * torch.finfo(torch.float64).eps
        return torch.where(damped > floor, 1 / damped, 0.0)

    def errors(self, held_out: Moments, strengths: Sequence[float]) -> list[float]:
        """Mean squared error of the solution of each strength over other pairs, given by their moments.

        In the eigenvectors' basis a strength costs d_x^2 operations, whatever d_y.
        """
        gram = (self.vectors.T @ held_out.s_xx @ self.vectors) * (self.projected @ self.projected.T)
        cross = (self.projected * (self.vectors.T @ held_out.s_xy)).sum(1)
        moved_x = self.vectors.T @ (held_out.mean_x - self.means[0])
        moved_y = held_out.mean_y - self.means[1]
        errors = []
        for strength in strengths:
            inverse = self._inverse(strength)
            total = held_out.squares_y.sum() - 2 * inverse @ cross + inverse @ gram @ inverse
            offset = (inverse * moved_x) @ self.projected - moved_y
            errors.append(float(total / held_out.n + offset @ offset))
        return errors


def held_out_moments(states: FitStates) -> Moments:
    """Return the validation states' moments, without S_yy, in float64: errors are computed from them."""
    x, y = states.validation
    moments = Moments.without_s_yy(x.shape[1], y.shape[1], x.device)
    for a, b in zip(x.split(CHECKED_AT_ONCE), y.split(CHECKED_AT_ONCE), strict=True):
        moments.update(a.double(), b.double())
    return moments


def squared_error(moments: Moments, weight: Tensor, bias: Tensor) -> float:
    """Mean squared error ||A x + b - y||^2 over the pairs whose moments are given."""
    offset = weight @ moments.mean_x + bias - moments.mean_y
    total = (
        moments.squares_y.sum()
        - 2 * (weight * moments.s_xy.T).sum()
        + ((weight @ moments.s_xx) * weight).sum()
    )
    return float(total / moments.n + offset @ offset)


def rank_errors(states: FitStates, weight: Tensor, directions: Tensor) -> Tensor:
    """Mean squared validation error of U_r U_r^T weight for r = 1 ... d_y: [d_y].

    U_r : the first r columns of `directions` [d_y, d_y]. The bias is taken from the fit's means.
    All ranks come from the diagonals of two products.
    """
    held_out, moments = held_out_moments(states), states.moments
    turned = directions.T @ weight
    gain = ((turned @ held_out.s_xx) * turned).sum(1) - 2 * ((turned @ held_out.s_xy).T * directions).sum(0)
    moved_x = turned @ (held_out.mean_x - moments.mean_x)
    moved_y = held_out.mean_y - moments.mean_y
    offset = moved_x.square() - 2 * moved_x * (directions.T @ moved_y)
    return (held_out.squares_y.sum() + gain.cumsum(0)) / held_out.n + moved_y @ moved_y + offset.cumsum(0)


def validation_error(states: FitStates, weights: list[Tensor]) -> list[float]:
    """Mean squared validation error of each weight, its bias taken from the fit's means."""
    held_out = held_out_moments(states)
    means = states.moments.mean_x, states.moments.mean_y
    return [squared_error(held_out, weight, means[1] - weight @ means[0]) for weight in weights]
