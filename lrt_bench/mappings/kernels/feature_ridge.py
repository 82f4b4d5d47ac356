"""Ridge regression from features of a state to target states, its penalty chosen on validation states."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping as Table
from typing import ClassVar

import torch
from torch import Tensor

from lrt_bench.mappings.base import FitStates, Mapping

PENALTIES = (1e-1, 1e-2, 1e-3, 1e-4, 1e-5, 1e-6)  # in units of the features' mean variance, times n
DECODER = {"decoder_": ("features", "target"), "centre_": ("features",), "mean_": ("target",)}
AT_ONCE = 4096  # states whose features are held at a time


class FeatureRidge(Mapping):
    """h -> decoder^T (features of h, centred) + mean target state.

    Attributes
    ----------
    decoder_ [k, d_target], centre_ [k], mean_ [d_target] : float32.
    sides : names of the sides of each tensor that a subclass's features are made of: source, target, or a
        name of its own. What a fit learned is these tensors and the decoder's.
    penalty_ : the one with the smallest validation error.
    """

    stochastic = True
    sides: ClassVar[dict[str, tuple[str, ...]]] = {}  # of each tensor that makes the features, by name

    @abstractmethod
    def prepare(self, states: FitStates) -> None:
        """Set what the features are made of, before the decoder is solved for."""

    @abstractmethod
    def features(self, h: Tensor) -> Tensor:
        """Return the features of states [..., d_source]: [..., k], float32."""

    def fit(self, states: FitStates) -> None:
        """Solve for the decoder on the sample; every penalty is tried on validation states."""
        self.prepare(states)
        mean = states.moments.mean_y
        self.mean_ = mean.float()
        gram, cross, self.centre_ = self._products(states)
        scale = gram.diagonal().mean().clamp_min(torch.finfo(torch.float64).tiny)
        x, y = states.validation
        shown = self.features(x).double() - self.centre_.double()
        wanted = y.double() - mean.to(y.device)
        best = float("inf")
        for penalty in PENALTIES:
            damped = gram + penalty * scale * torch.eye(len(gram), dtype=gram.dtype, device=gram.device)
            root, failed = torch.linalg.cholesky_ex(damped)
            if int(
                failed
            ):  # what single precision left of the products is not positive: weaker ones fail too
                break
            decoder = torch.cholesky_solve(cross, root)
            error = float((shown @ decoder - wanted).square().sum())
            if error < best:
                best, self.penalty_, self.decoder_ = error, penalty, decoder.float()

    def _products(self, states: FitStates) -> tuple[Tensor, Tensor, Tensor]:
        """Centred products of the features with themselves and with the target, and the features' mean.

        Products are single precision within a batch and double between batches, as `Moments` are.
        """
        shift = self.features(states.validation[0][:AT_ONCE]).mean(0)
        width = len(shift)
        gram = shift.new_zeros(width, width, dtype=torch.float64)
        cross = shift.new_zeros(width, states.d_target, dtype=torch.float64)
        total = shift.new_zeros(width, dtype=torch.float64)
        target, count = torch.zeros_like(self.mean_, dtype=torch.float64), 0
        for x, y in states.batches(AT_ONCE, seed=self.seed):
            shown, wanted = self.features(x) - shift, y - self.mean_
            gram += shown.T @ shown
            cross += shown.T @ wanted
            total += shown.sum(0)
            target += wanted.sum(0)
            count += len(x)
        gram -= torch.outer(total, total / count)
        cross -= torch.outer(total, target / count)
        return gram, cross, (shift + total / count).float()

    def __call__(self, h: Tensor) -> Tensor:
        """Return mapped states [..., d_target], float32."""
        shown = self.features(h) - self.centre_.to(h.device)
        return shown @ self.decoder_.to(h.device) + self.mean_.to(h.device)

    @property
    def learned(self) -> dict[str, Tensor]:
        """The tensors that make the fitted map, by name."""
        return {name: getattr(self, name) for name in self.sides | DECODER}

    @classmethod
    def of_tensors(cls, tensors: Table[str, Tensor], d_source: int, d_target: int) -> FeatureRidge:
        """Return the map that was fitted once, from its tensors.

        Raises ValueError where their shapes do not go together.
        """
        mapping, lengths = cls(), {"source": d_source, "target": d_target}
        for name, sides in (cls.sides | DECODER).items():
            want = [
                lengths.setdefault(side, size) for side, size in zip(sides, tensors[name].shape, strict=False)
            ]
            if list(tensors[name].shape) != want or len(want) != len(sides):
                raise ValueError(f"{name} is {list(tensors[name].shape)}: want {', '.join(sides)}: {want}")
            setattr(mapping, name, tensors[name])
        if (width := mapping.features(torch.zeros(1, d_source)).shape[-1]) != lengths["features"]:
            raise ValueError(f"decoder_ is for {lengths['features']} features: the others make {width}")
        return mapping

    @property
    def n_parameters(self) -> int:
        """How many numbers the fit learned."""
        return sum(tensor.numel() for tensor in self.learned.values())
