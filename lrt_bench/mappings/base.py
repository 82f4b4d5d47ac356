"""The one interface of a mapping method, and what every linear method shares.

A method is a class with two functions:

    class Mine(Mapping):
        def fit(self, states): ...       # states.moments, states.batches(), states.validation
        def __call__(self, h): ...       # [..., d_source] -> [..., d_target]
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from lrt_bench.errors import UserError
from lrt_bench.moments import Moments

if TYPE_CHECKING:
    from lrt_bench.states import PairedStates


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
    def fit(self, states: PairedStates) -> None:
        """Learn from paired states; what is learned is kept in attributes with a trailing underscore."""

    @abstractmethod
    def __call__(self, h: Tensor) -> Tensor:
        """Source states [..., d_source] to target states [..., d_target], float32."""

    def transfer(self, positive: Tensor, negative: Tensor) -> Tensor:
        """A concept's vector in the target [d_target]: the difference of the mapped means.

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

    def fit(self, states: PairedStates) -> None:
        self.weight = self.solve(states)
        moments = states.moments
        self.bias = moments.mean_y - self.weight @ moments.mean_x

    @abstractmethod
    def solve(self, states: PairedStates) -> Tensor:
        """The weight [d_target, d_source], float64; the bias follows from the means."""

    def __call__(self, h: Tensor) -> Tensor:
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
        """Read what `LinearMapping.save` wrote."""
        from safetensors.torch import load_file

        try:
            tensors = load_file(str(path))
            return cls(tensors["weight"], tensors["bias"])
        except KeyError as error:
            raise UserError(f"{path}: tensor {error} is missing: save weight and bias") from error
        except Exception as error:
            raise UserError(f"{path}: not a readable safetensors file: {error}") from error

    def fit(self, states: PairedStates) -> None:
        pass

    def solve(self, states: PairedStates) -> Tensor:
        return self.weight


class Spectrum:
    """Ridge solutions of every strength from one eigendecomposition of S_xx."""

    def __init__(self, moments: Moments) -> None:
        self.values, self.vectors = torch.linalg.eigh(moments.s_xx)
        self.projected = self.vectors.T @ moments.s_xy
        self.scale = moments.s_xx.diagonal().mean().clamp_min(torch.finfo(torch.float64).tiny)

    def weight(self, strength: float) -> Tensor:
        """argmin sum ||A x - y||^2 + strength * mean variance * n ||A||^2, [d_y, d_x].

        With strength 0 directions without variance are left out (the pseudo-inverse).
        """
        damped = self.values + strength * self.scale
        floor = self.values.max() * len(self.values) * torch.finfo(torch.float64).eps
        inverse = torch.where(damped > floor, 1 / damped, 0.0)
        return (self.vectors @ (inverse[:, None] * self.projected)).T


def squared_error(moments: Moments, weight: Tensor, bias: Tensor) -> float:
    """Mean squared error ||A x + b - y||^2 over the pairs whose moments are given."""
    offset = weight @ moments.mean_x + bias - moments.mean_y
    total = (
        moments.s_yy.trace() - 2 * (weight * moments.s_xy.T).sum() + ((weight @ moments.s_xx) * weight).sum()
    )
    return float(total / moments.n + offset @ offset)


def validation_error(states: PairedStates, weights: list[Tensor]) -> list[float]:
    """Mean squared validation error of each weight, its bias taken from the fit's means."""
    held_out = Moments.of(*states.validation)
    means = states.moments.mean_x, states.moments.mean_y
    return [squared_error(held_out, weight, means[1] - weight @ means[0]) for weight in weights]
