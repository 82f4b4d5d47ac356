"""A vector written in other concepts' vectors, and rebuilt from theirs in the target."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Literal

import torch
from torch import Tensor

from lrt_bench.mappings.base import FixedLinear, Mapping
from lrt_bench.mappings.concepts.task_aware import KnownConcept, TaskAware

STRENGTHS = (1e-4, 1e-3, 1e-2, 1e-1, 1.0, 10.0)  # in units of the basis vectors' mean squared length


class ConceptBasis(TaskAware):
    """v = sum of w_i times other concepts' vectors, w by ridge regression; it goes to the same sum of theirs.

    No aligned states are wanted but those of the other concepts' vectors: it asks whether the two models
    place concepts alike *relative to each other*. The strength is the one that carries the others best, each
    left out once, by the cosine with its own vector in the target.
    """

    rule = "other concepts' vectors, weighted as v is"
    reads: ClassVar[Literal["own", "others"]] = "others"

    def given(self, concepts: Sequence[KnownConcept]) -> Mapping:
        """Return T (S^T S + strength)^-1 S^T, the vectors S [d_source, k] and T [d_target, k]."""
        source = torch.stack([concept.source_vector for concept in concepts], 1)
        target = torch.stack([concept.target_vector for concept in concepts], 1)
        strength = max(STRENGTHS, key=lambda one: left_out(source, target, one)) if len(concepts) > 1 else 1.0
        weight = target @ weights(source, strength)
        return FixedLinear(weight, torch.zeros(len(weight), dtype=weight.dtype))


def weights(source: Tensor, strength: float) -> Tensor:
    """Return the matrix that writes a vector in the columns of `source` [d_source, k]: [k, d_source]."""
    gram = source.T @ source
    scale = gram.diagonal().mean().clamp_min(torch.finfo(gram.dtype).tiny)
    damped = gram + strength * scale * torch.eye(len(gram), dtype=gram.dtype, device=gram.device)
    return torch.linalg.solve(damped, source.T)


def left_out(source: Tensor, target: Tensor, strength: float) -> float:
    """Return the mean cosine of each target vector with what the other concepts make of its source vector."""
    cosines = []
    for concept in range(source.shape[1]):
        others = [k for k in range(source.shape[1]) if k != concept]
        carried = target[:, others] @ (weights(source[:, others], strength) @ source[:, concept])
        cosines.append(torch.nn.functional.cosine_similarity(carried, target[:, concept], dim=0))
    return float(torch.stack(cosines).mean())
