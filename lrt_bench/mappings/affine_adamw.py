"""The affine map as the paper trains it: AdamW on raw states (arXiv 2506.00653, section 2.3 and table 2)."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from lrt_bench.mappings.affine_with_bias import WithBias
from lrt_bench.mappings.base import FitStates, LinearMapping

RATE = 1e-4  # of the paper's base models; its instruct models have 1e-3
EPOCHS = 4
BATCH = 32 * 512  # states: 32 contexts of 512 tokens
TOKENS = 10_000_000
STEPS = EPOCHS * TOKENS // BATCH  # that the paper takes: 2,441
LEAST = 32  # states of a step, on however few


class AffineAdamw(LinearMapping):
    """h -> A h + p, trained on the states as they are, neither centred nor scaled.

    The paper takes 4 epochs over 10M tokens in batches of 16,384 states, 2,441 steps. A step of AdamW moves a
    number by about the rate, whatever the loss, so that the count of steps decides how far A and p get. So
    this fit takes as many steps in 4 epochs over the sample, and its batches are smaller where the sample is;
    they are never larger than the paper's. `affine` is the optimum of the same objective. Initialisation,
    betas and weight decay, which the paper does not tell, are PyTorch's.

    Attributes
    ----------
    rate : learning rate of a class; it does not change in training.
    """

    stochastic = True
    rate = RATE

    def fit(self, states: FitStates) -> None:
        """Train weight and bias on shuffled batches of the sample, on the moments' device."""
        device = states.moments.mean_x.device
        with torch.random.fork_rng():
            torch.manual_seed(self.seed)
            linear = nn.Linear(states.d_source, states.d_target).to(device)
        optimizer = torch.optim.AdamW(linear.parameters(), lr=self.rate, fused=True)
        batch = batch_size(len(states.sample))
        for epoch in range(EPOCHS):
            for x, y in states.batches(batch, seed=1000 * self.seed + epoch):
                loss = (linear(x.to(device)) - y.to(device)).square().mean()
                optimizer.zero_grad(set_to_none=True)
                loss.backward()
                optimizer.step()
        self.weight, self.bias = (t.detach().double() for t in (linear.weight, linear.bias))

    def solve(self, states: FitStates) -> Tensor:
        """Return the trained weight [d_target, d_source], float64."""
        self.fit(states)
        return self.weight


class AffineAdamwWithBias(WithBias, AffineAdamw):
    """The same training; a vector v is carried to A v + p, which is what the paper steers with."""


def batch_size(sample: int) -> int:
    """Return the number of states in a batch, so that 4 epochs over the sample are the paper's steps."""
    return min(BATCH, max(LEAST, math.ceil(EPOCHS * sample / STEPS)))
