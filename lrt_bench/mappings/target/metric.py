"""The target's output metric: how much a change of a state matters for what the target predicts."""

from __future__ import annotations

import torch
from torch import Tensor

from lrt_bench.mappings.target.target_aware import TargetRuns

DRAWS = 2  # of next tokens, for each document
DAMPING = 1e-2  # of the metric's mean eigenvalue, added to all of them


def output_metric(target: TargetRuns, seed: int) -> Tensor:
    """Return G = E[g g^T] [d_target, d_target], float64, its mean eigenvalue 1 before it is damped.

    g is the gradient, with respect to a token's state at the site, of the summed log-probabilities of next
    tokens drawn from the target's own distributions, that token's and all later ones. Drawn tokens make it
    the Fisher information (Amari 1998; observed ones would not: Kunstner et al. 2019), and taken at the site
    it is the metric of the output distributions pulled back to the states (Arvanitidis et al. 2022): to
    second order a change e of a state moves the predictions by e^T G e / 2 nats, G before it is scaled.
    """
    generator = torch.Generator().manual_seed(seed)
    metric, tokens = torch.zeros(0), 0
    for batch in target.fit:
        states = batch.target.detach().clone().requires_grad_()
        logs = batch.continued(states)
        for draw in range(DRAWS):
            drawn = torch.multinomial(logs.detach().exp().cpu(), 1, generator=generator).to(logs.device)
            total = logs.gather(1, drawn).sum()
            [gradient] = torch.autograd.grad(total, states, retain_graph=draw + 1 < DRAWS)
            gradient = gradient.double().cpu()
            product = gradient.T @ gradient
            metric = product if not tokens else metric + product
            tokens += len(gradient)
    mean = (metric.diagonal().mean() / tokens).clamp_min(torch.finfo(torch.float64).tiny)
    unit = metric / tokens / mean
    return unit + DAMPING * torch.eye(len(unit), dtype=torch.float64)


def roots(metric: Tensor) -> tuple[Tensor, Tensor]:
    """Return the symmetric root of a metric and the root's inverse."""
    values, vectors = torch.linalg.eigh(metric)
    root = values.clamp_min(torch.finfo(torch.float64).tiny).sqrt()
    return (vectors * root) @ vectors.T, (vectors / root) @ vectors.T
