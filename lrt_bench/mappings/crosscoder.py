"""A crosscoder: one sparse dictionary of both models' states, used from the source alone."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from lrt_bench.mappings.base import FitStates
from lrt_bench.mappings.network import BATCH, EPOCHS, RATE, STEPS, NetworkMapping

LATENTS = 8  # for each dimension of the wider model
ACTIVE = 32  # latents that a state may have at most
DROPPED = 0.5  # of the states of a batch are encoded from the source alone


class _Crosscoder(nn.Module):
    """Encoders of both sides into one code, of which the largest entries are kept; decoders to both sides."""

    def __init__(self, d_source: int, d_target: int) -> None:
        super().__init__()
        latents = LATENTS * max(d_source, d_target)
        self.active = min(ACTIVE, latents)
        self.source_in = nn.Linear(d_source, latents)
        self.target_in = nn.Linear(d_target, latents, bias=False)
        self.source_out = nn.Linear(latents, d_source)
        self.target_out = nn.Linear(latents, d_target)

    def forward(self, x: Tensor) -> Tensor:
        """Decode the code of source states [..., d_source] to the target [..., d_target]."""
        decoded: Tensor = self.target_out(self.sparse(self.source_in(x)))
        return decoded

    def both(self, x: Tensor, y: Tensor, seen: Tensor) -> tuple[Tensor, Tensor]:
        """Decode the code of both sides to both; where `seen` [n, 1] is 0 the target is not encoded."""
        code = self.sparse(self.source_in(x) + seen * self.target_in(y))
        return self.source_out(code), self.target_out(code)

    def sparse(self, code: Tensor) -> Tensor:
        """Rectify a code [..., latents], and keep its largest entries."""
        kept = torch.relu(code).topk(self.active, dim=-1)
        return torch.zeros_like(code).scatter(-1, kept.indices, kept.values)


class Crosscoder(NetworkMapping):
    """h to the target by way of a sparse dictionary that explains both models (Lindsey et al. 2024).

    A code of at most 32 active latents (TopK: Gao et al. 2024) is made of both models' standardised states
    and decoded to both. So that it can be used from the source alone, the target's side of the encoder is
    left out for a random half of the states in training: the code must then be found without it. As a map it
    encodes the source and decodes the target. All that was trained counts as parameters, the two sides that
    the map does not use included. Sparse as it is, it holds no linear map exactly.
    """

    def build(self, d_source: int, d_target: int) -> nn.Module:
        """Build the untrained network."""
        return _Crosscoder(d_source, d_target)

    def prepare(self, states: FitStates) -> None:
        """Set each latent's decoders to its encoders' directions, at unit length over both sides."""
        network = self.network_
        assert isinstance(network, _Crosscoder)
        with torch.no_grad():
            directions = torch.cat([network.source_in.weight, network.target_in.weight], 1)
            directions = nn.functional.normalize(directions, dim=1)
            source, target = directions.split([states.d_source, states.d_target], 1)
            network.source_in.weight.copy_(source)
            network.target_in.weight.copy_(target)
            network.source_out.weight.copy_(source.T)
            network.target_out.weight.copy_(target.T)

    def _train(self, states: FitStates) -> None:
        network = self.network_
        assert isinstance(network, _Crosscoder)
        optimizer = torch.optim.AdamW(network.parameters(), lr=RATE, weight_decay=1e-4, fused=True)
        steps = math.ceil(len(states.sample) / BATCH)
        epochs = max(EPOCHS, math.ceil(STEPS / steps))
        cosine = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps * epochs)
        weights = [scale / scale.mean() for scale in (self.scale_x_, self.scale_y_)]
        for epoch in range(epochs):
            for x, y in states.batches(BATCH, seed=1000 * self.seed + epoch):
                sides = self._standard(x), (y - self.mean_y_) / self.scale_y_
                seen = (torch.rand(len(x), 1) >= DROPPED).float()
                decoded = network.both(*sides, seen)
                loss = torch.zeros(())
                for out, side, weight in zip(decoded, sides, weights, strict=True):
                    loss = loss + ((out - side) * weight).square().mean()
                optimizer.zero_grad(set_to_none=True)
                loss.backward()
                optimizer.step()
                cosine.step()
        network.eval().requires_grad_(False)
