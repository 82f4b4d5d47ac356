"""An affine map trained on what the target predicts from mapped states: model stitching."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from lrt_bench.mappings.base import FitStates
from lrt_bench.mappings.ridge import Ridge
from lrt_bench.mappings.target.target_aware import TargetAware, TargetBatch, TargetRuns

RATE = 1e-2  # of Adam, in deviations of a target dimension per deviation of a source dimension
STEP = 1024  # tokens of a step at least
EPOCHS = 10  # at most
PATIENCE = 4  # epochs without a gain on held-out documents


class Stitched(TargetAware):
    """h -> A h + b, the affine map from whose states the target predicts most nearly what it predicts itself.

    It begins at `ridge` and follows the gradient of the KL from the target's own next-token distributions to
    those of the target run on from mapped states, through the blocks above the site (stitching: Lenc and
    Vedaldi 2015; Bansal, Nakkiran and Barak 2021). After each epoch the KL on held-out documents is taken;
    the map with the least is kept, ridge itself where nothing is below it. Rate and epochs were chosen by
    that KL on one embedded pair, never by a score.

    Attributes
    ----------
    divergences_ : the held-out KL in nats a token, of ridge and after each epoch.
    """

    def fit_on_target(self, states: FitStates, target: TargetRuns) -> None:
        """Train weight and bias; keep those of the least divergence on held-out documents."""
        start = Ridge()
        start.fit(states)
        scales = _deviation(states.moments.variance_x), _deviation(states.moments.variance_y)
        change = _Change(start, states.moments.mean_x.float(), *scales)
        optimizer = torch.optim.Adam(change.parameters, lr=RATE)
        cosine = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, EPOCHS)
        self.divergences_ = [divergence(change, target.held_out)]
        best = change.affine()
        generator = torch.Generator().manual_seed(self.seed)
        while len(self.divergences_) <= EPOCHS and _gains(self.divergences_):
            for step in _steps(target.fit, generator):
                _descend(change, step)
                optimizer.step()
            cosine.step()
            self.divergences_.append(divergence(change, target.held_out))
            if self.divergences_[-1] == min(self.divergences_):
                best = change.affine()
        self.weight, self.bias = best

    def solve_on_target(self, states: FitStates, target: TargetRuns) -> Tensor:
        """Return the trained weight [d_target, d_source], float64."""
        self.fit_on_target(states, target)
        return self.weight


class _Change:
    """Ridge, and what is learned beside it, in standardised units on both sides: D and c, zero at first.

    Standardised, since a few dimensions of a residual stream are many times as wide as all others.
    """

    def __init__(self, start: Ridge, mean: Tensor, scale_x: Tensor, scale_y: Tensor) -> None:
        self._start, self._mean, self._scales = start, mean, (scale_x, scale_y)
        self.parameters = [
            torch.zeros(len(scale_y), len(scale_x), requires_grad=True),
            torch.zeros(len(scale_y), requires_grad=True),
        ]

    def __call__(self, x: Tensor) -> Tensor:
        """Map states [n, d_source] to [n, d_target], float32, on the CPU."""
        weight, bias = self.parameters
        x = x.float().cpu()
        standard = (x - self._mean) / self._scales[0]
        return self._start(x) + self._scales[1] * (standard @ weight.T + bias)

    def affine(self) -> tuple[Tensor, Tensor]:
        """Return weight and bias of the whole, float64."""
        weight, bias = (part.detach().double() for part in self.parameters)
        scale_x, scale_y = (scale.double() for scale in self._scales)
        added = scale_y[:, None] * weight / scale_x
        offset = scale_y * bias - added @ self._mean.double()
        return self._start.weight + added, self._start.bias + offset


def _deviation(variance: Tensor) -> Tensor:
    """Return standard deviations, none less than a thousandth of the widest."""
    deviation = variance.sqrt().float()
    return deviation.clamp_min(max(float(deviation.max()) * 1e-3, 1e-12))


def _gains(divergences: Sequence[float]) -> bool:
    """Whether one of the last epochs was the best so far."""
    best = min(range(len(divergences)), key=divergences.__getitem__)
    return len(divergences) - 1 - best < PATIENCE


def _steps(batches: Sequence[TargetBatch], generator: torch.Generator) -> Iterator[list[TargetBatch]]:
    """Yield one epoch: all batches in a drawn order, each step of `STEP` tokens or more."""
    step: list[TargetBatch] = []
    for place in torch.randperm(len(batches), generator=generator).tolist():
        step.append(batches[place])
        if sum(len(batch.source) for batch in step) >= STEP:
            yield step
            step = []
    if step:
        yield step


def _descend(change: _Change, step: Sequence[TargetBatch]) -> None:
    """Set the gradients of the mean divergence over a step's tokens; the target's own weights get none."""
    tokens = sum(len(batch.source) for batch in step)
    for parameter in change.parameters:
        parameter.grad = torch.zeros_like(parameter)
    for batch in step:
        loss = _total(batch.own(), batch.continued(change(batch.source))) / tokens
        for parameter, gradient in zip(
            change.parameters, torch.autograd.grad(loss, change.parameters), strict=True
        ):
            assert parameter.grad is not None
            parameter.grad += gradient


def divergence(mapping: _Change, batches: Sequence[TargetBatch]) -> float:
    """Mean KL from the target's own distributions to those from mapped states, nats a token."""
    total = tokens = 0.0
    with torch.no_grad():
        for batch in batches:
            total += float(_total(batch.own(), batch.continued(mapping(batch.source))))
            tokens += len(batch.source)
    return total / tokens


def _total(own: Tensor, other: Tensor) -> Tensor:
    return (own.exp() * (own - other)).sum()
