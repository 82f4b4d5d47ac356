"""For the tests of vectors: a real vector of a model, and its effect."""

from __future__ import annotations

import numpy as np
import torch

from lrt_bench.api import concept_vector
from lrt_bench.data.task_reading.task_folders import find_task
from lrt_bench.data.tasks import Task
from lrt_bench.models.base import LanguageModel
from lrt_bench.models.sites import Site
from lrt_bench.steering.sweep import Sweep
from lrt_bench.vectors.vector import SteeringVector

ALPHAS = (-0.5, 0.0, 0.25, 0.5)


def texts_of(task: Task) -> tuple[list[str], list[str]]:
    return [row.positive for row in task.vector], [row.negative for row in task.vector]


def real_vector(model: LanguageModel, layer: int, task: str = "person") -> SteeringVector:
    """A concept's vector of a model, from a shipped task."""
    positive, negative = texts_of(find_task(task))
    return concept_vector(Site(model, layer), positive[:32], negative[:32], concept=task)


def effect(site: Site, vector: torch.Tensor, spread: float = 500.0, task: str = "person") -> np.ndarray:
    """Propensities [prompts, alphas] of a task's prompts under a vector."""
    propensities = Sweep(site, find_task(task).choices[:12], ALPHAS, spread, 64).run(vector[None])
    return propensities[0].numpy()


def steered_logits(model: LanguageModel, ids: list[int], layer: int, offset: torch.Tensor) -> torch.Tensor:
    """Logits [t, vocabulary] with an offset added at every token after a layer, by this package."""
    states = model.states(torch.tensor([ids]), [layer])[layer] + offset
    return model.head.all(model.finish(model.resume(states, layer)))[0]
