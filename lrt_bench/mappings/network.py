"""What the mappings trained by gradient share: standardised states, shuffled batches, AdamW."""

from __future__ import annotations

import math
from abc import abstractmethod

import torch
from torch import Tensor, nn

from lrt_bench.mappings.base import FitStates, Mapping

EPOCHS = 4  # at least; and at least STEPS steps, however small the sample
STEPS = 220
BATCH = 512
RATE = 3e-3


class NetworkMapping(Mapping):
    """A small network from standardised source states to standardised target states.

    Standardising matters: on raw residual streams AdamW never learns the constant offset.
    """

    stochastic = True

    @abstractmethod
    def build(self, d_source: int, d_target: int) -> nn.Module:
        """Return the untrained network."""

    def fit(self, states: FitStates) -> None:
        """Train the network on standardised states of the sample, by AdamW."""
        moments = states.moments
        self.mean_x_, self.mean_y_ = moments.mean_x.float(), moments.mean_y.float()
        self.scale_x_ = _scale(moments.variance_x)
        self.scale_y_ = _scale(moments.variance_y)
        with torch.random.fork_rng():
            torch.manual_seed(self.seed)
            self.network_ = self.build(states.d_source, states.d_target)
            self.prepare(states)
            self._train(states)

    def prepare(self, states: FitStates) -> None:
        """Set what is not learned by gradient, before training."""

    def _train(self, states: FitStates) -> None:
        learned = [p for p in self.network_.parameters() if p.requires_grad]
        optimizer = torch.optim.AdamW(learned, lr=RATE, weight_decay=1e-4, fused=True)
        steps = math.ceil(len(states.sample) / BATCH)
        epochs = max(EPOCHS, math.ceil(STEPS / steps))
        cosine = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps * epochs)
        for epoch in range(epochs):
            for x, y in states.batches(BATCH, seed=1000 * self.seed + epoch):
                wanted = (y - self.mean_y_) / self.scale_y_
                weights = self.scale_y_ / self.scale_y_.mean()  # errors count in the target's own units
                loss = ((self.network_(self._standard(x)) - wanted) * weights).square().mean()
                optimizer.zero_grad(set_to_none=True)
                loss.backward()
                optimizer.step()
                cosine.step()
        self.network_.eval().requires_grad_(False)

    def _standard(self, x: Tensor) -> Tensor:
        return (x.float() - self.mean_x_.to(x.device)) / self.scale_x_.to(x.device)

    def __call__(self, h: Tensor) -> Tensor:
        """Return the network's output for states [..., d_source], float32."""
        with torch.inference_mode():
            mapped = self.network_.to(h.device)(self._standard(h))
            return mapped * self.scale_y_.to(h.device) + self.mean_y_.to(h.device)

    @property
    def n_parameters(self) -> int:
        """Number of the network's parameters."""
        return sum(p.numel() for p in self.network_.parameters())


def _scale(variance: Tensor) -> Tensor:
    """Return standard deviations, no dimension's less than a thousandth of the widest."""
    deviation = variance.sqrt().float()
    return deviation.clamp_min(max(float(deviation.max()) * 1e-3, 1e-12))
