"""Least squares on concepts' texts alone: what such a fit can show, and what it cannot."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Literal

import torch
from torch import Tensor

from lrt_bench.mappings.base import FixedLinear, Mapping, Spectrum
from lrt_bench.mappings.concepts.task_aware import KnownConcept, TaskAware
from lrt_bench.mappings.moments import Moments


class OwnTexts(TaskAware):
    """Least squares on the texts of the very concept that is carried.

    With no more texts than source dimensions it meets every text exactly, and so sends the source's mean
    difference to the target's own vector, whatever the models are. `OwnTextsPermuted` and `OwnTextsNoise`
    do too, though they have nothing to learn: a score like theirs says nothing of the models.
    """

    rule = "A v, A fitted on the concept's own texts"
    reads: ClassVar[Literal["own", "others"]] = "own"

    def given(self, concepts: Sequence[KnownConcept]) -> Mapping:
        """Return the least squares map of all texts."""
        sides = [self.sides(concept) for concept in concepts]
        return least_squares(torch.cat([x for x, _ in sides]), torch.cat([y for _, y in sides]))

    def sides(self, concept: KnownConcept) -> tuple[Tensor, Tensor]:
        """Return what is fitted: source states [n, d_source] and target states [n, d_target]."""
        return concept.texts


class OwnTextsPermuted(OwnTexts):
    """The same fit with each text's target state taken from another text of its class: a control."""

    rule = "A v, A fitted on the concept's own texts, paired at random within a class"
    stochastic = True
    unmasks = True

    def sides(self, concept: KnownConcept) -> tuple[Tensor, Tensor]:
        """Return the texts with their target states permuted within each class."""
        generator = torch.Generator().manual_seed(self.seed)
        x, y = concept.texts
        half = len(concept.target_positive)
        order = [torch.randperm(half, generator=generator) + start for start in (0, half)]
        return x, y[torch.cat(order)]


class OwnTextsNoise(OwnTexts):
    """The same fit from noise in place of a source model: a control."""

    rule = "A v, A fitted from noise on the concept's own texts"
    stochastic = True
    unmasks = True

    def given(self, concepts: Sequence[KnownConcept]) -> Mapping:
        """Return a map that carries the concept's vector as the fit from noise carries the noise's."""
        [concept] = concepts
        x, y = concept.texts
        noise = torch.randn(x.shape, generator=torch.Generator().manual_seed(self.seed), dtype=x.dtype)
        half = len(concept.source_positive)
        carried = least_squares(noise, y).transfer(noise[:half], noise[half:])
        return Constant(carried)


class OtherTexts(OwnTexts):
    """Least squares on the texts of all other concepts: texts of the tasks' kind, its own not among them."""

    rule = "A v, A fitted on other concepts' texts"
    reads: ClassVar[Literal["own", "others"]] = "others"


class Constant(Mapping):
    """Carries whatever it is given to one vector [d_target]."""

    def __init__(self, vector: Tensor) -> None:
        self.vector = vector

    def fit(self, states: object) -> None:
        """Learn nothing."""

    def __call__(self, h: Tensor) -> Tensor:
        """Return the vector for each state."""
        return self.vector.expand(*h.shape[:-1], -1)

    def transfer(self, positive: Tensor, negative: Tensor) -> Tensor:
        """Return the vector."""
        return self.vector


def least_squares(x: Tensor, y: Tensor) -> FixedLinear:
    """Return the least squares map of x [n, d_source] to y [n, d_target], the one of least norm."""
    moments = Moments.of(x, y)
    weight = Spectrum(moments).weight(0.0)
    return FixedLinear(weight, moments.mean_y - weight @ moments.mean_x)
