"""What a task-aware map is given beside the corpus: texts of concepts, as both models read them."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor

from lrt_bench.mappings.base import FitStates, Mapping
from lrt_bench.mappings.ridge import Ridge


@dataclass(frozen=True)
class KnownConcept:
    """States at the ends of a concept's prompts, in both models: row i of each side is of one text.

    Attributes
    ----------
    source_positive, source_negative [n, d_source]; target_positive, target_negative [n, d_target] : float32.
    """

    source_positive: Tensor
    source_negative: Tensor
    target_positive: Tensor
    target_negative: Tensor

    @property
    def source_vector(self) -> Tensor:
        """The concept's vector in the source [d_source], float64."""
        return self.source_positive.double().mean(0) - self.source_negative.double().mean(0)

    @property
    def target_vector(self) -> Tensor:
        """The concept's vector in the target [d_target], float64."""
        return self.target_positive.double().mean(0) - self.target_negative.double().mean(0)

    @property
    def texts(self) -> tuple[Tensor, Tensor]:
        """All states, [2 n, d_source] and [2 n, d_target], float64."""
        return (
            torch.cat([self.source_positive, self.source_negative]).double(),
            torch.cat([self.target_positive, self.target_negative]).double(),
        )


class TaskAware(Mapping):
    """Made anew for each concept, from concepts' own texts; states of the corpus go by ridge.

    Attributes
    ----------
    reads : ``own``, the texts of the concept that is carried, or ``others``, those of all other concepts.
    unmasks : whether it is no method but a control: a fit that has nothing to learn from the models.
    corpus_ : ridge on the corpus, which carries what is no concept.
    """

    track = "task-aware"
    reads: ClassVar[Literal["own", "others"]]
    unmasks: ClassVar[bool] = False

    def fit(self, states: FitStates) -> None:
        """Fit ridge on the corpus."""
        self.corpus_ = Ridge()
        self.corpus_.fit(states)

    def __call__(self, h: Tensor) -> Tensor:
        """Carry states [..., d_source] by ridge."""
        return self.corpus_(h)

    @abstractmethod
    def given(self, concepts: Sequence[KnownConcept]) -> Mapping:
        """Return the map for one concept, made of the concepts that it may read, at least one."""

    @property
    def n_parameters(self) -> int:
        """How many numbers the fit on the corpus learned."""
        return self.corpus_.n_parameters
