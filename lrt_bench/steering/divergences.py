"""How far one next-token distribution lies from another, over the whole vocabulary.

Every divergence takes two tensors of log-probabilities [n, vocabulary], the reference's first, and gives [n]:
0 for equal ones, nats where it has a unit. Where the reference is sure of a token, only what the other side
does with that token counts.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

Divergence = Callable[[Tensor, Tensor], Tensor]
LOG_2 = 0.6931471805599453


def kullback_leibler(reference: Tensor, other: Tensor) -> Tensor:
    """Sum p (log p - log q), in nats: unbounded, and large where q denies what p expects."""
    return (reference.exp() * (reference - other)).sum(-1).clamp_min(0)


def jensen_shannon(reference: Tensor, other: Tensor) -> Tensor:
    """Mean KL of both to their mixture, in nats: symmetric, at most log 2 (Lin 1991)."""
    mixture = reference.logaddexp(other) - LOG_2
    of_reference = (reference.exp() * (reference - mixture)).sum(-1)
    of_other = (other.exp() * (other - mixture)).sum(-1)
    return ((of_reference + of_other) / 2).clamp_min(0)


def hellinger(reference: Tensor, other: Tensor) -> Tensor:
    """Squared Hellinger distance, sum (sqrt p - sqrt q)^2 / 2: symmetric, at most 1."""
    return ((reference / 2).exp() - (other / 2).exp()).square().sum(-1) / 2


def roots(logits: Tensor) -> Tensor:
    """Square roots of the probabilities of logits [n, vocabulary], which are overwritten."""
    halves = logits.sub_(logits.amax(-1, keepdim=True)).mul_(0.5).exp_()
    return halves.div_(torch.linalg.vector_norm(halves, dim=-1, keepdim=True))


def root_distance(reference: Tensor, other: Tensor) -> Tensor:
    """`hellinger` of two distributions' square roots [n, vocabulary]; the second is overwritten."""
    return torch.linalg.vector_norm(other.sub_(reference), dim=-1).square_().div_(2)


def log_ratio_variance(reference: Tensor, other: Tensor) -> Tensor:
    """Variance of log q - log p under p, in nats squared.

    With `other` unsteered it is the variance of the reference's shift of log-probabilities: 1 less the ratio
    of the two is the R2 of a row's shifts, weighted by the reference's probabilities.
    """
    weight, ratio = reference.exp(), other - reference
    mean = (weight * ratio).sum(-1, keepdim=True)
    return (weight * (ratio - mean).square()).sum(-1)


DIVERGENCES: dict[str, Divergence] = {
    "kullback-leibler": kullback_leibler,
    "jensen-shannon": jensen_shannon,
    "hellinger": hellinger,
    "log-ratio-variance": log_ratio_variance,
}
