"""Pairs of sites that forecasts are made on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch

from lrt_bench.data.corpus import Budget, Corpus
from lrt_bench.data.task_reading.task_folders import find_task
from lrt_bench.data.tasks import Task
from lrt_bench.mappings import LinearMapping
from lrt_bench.mappings.ridge import Ridge
from lrt_bench.models.sites import Site
from lrt_bench.models.states import PairedStates, collect
from lrt_bench.steering.concepts import concept_states
from lrt_bench.vectors.forecast.forecast import Basis, Forecast, forecast

KNOWN = ("sentiment", "tense", "person", "mood", "topic-dogs")


@dataclass
class ForecastPair:
    """Two sites, their paired states, a map between them, and the known concepts of a forecast."""

    source: Site
    target: Site
    states: PairedStates
    ridge: LinearMapping
    tasks: tuple[Task, ...]

    def forecast(self, vector: Any, mapping: LinearMapping | None = None) -> Forecast:
        basis = Basis(tasks=self.tasks)
        return forecast(self.source, self.target, mapping or self.ridge, self.states, vector, basis)

    def vector(self, task: str) -> torch.Tensor:
        return concept_states(self.source, find_task(task).vector).vector


def forecast_pair(source: Site, target: Site, tokens: int = 4000) -> ForecastPair:
    """Two sites with their states on the embedded corpus, a ridge map, and the known concepts."""
    states = collect(source, target, Corpus("nano", 64), Budget(tokens, 600, 500))
    ridge = Ridge()
    ridge.fit(states)
    return ForecastPair(source, target, states, ridge, tuple(find_task(name) for name in KNOWN))
