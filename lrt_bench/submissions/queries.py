"""What a non-linear submission is asked: the tasks' source states, hidden among decoys; unseen corpus states.

A decoy is the last state of a text made like a task's: its frames, other words (`decoys`). Queries carry no
label. Their order, their decoys and which of them go together are drawn from `secrets`: none of it follows
from a seed that a submission knows, and no figure depends on it.
"""

from __future__ import annotations

import functools
import secrets
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from lrt_bench.data.tasks import ContrastPair, RefusalTask, VectorTask
from lrt_bench.evaluation.bench.pair_bench import PairBench
from lrt_bench.evaluation.fidelity import measure
from lrt_bench.evaluation.rows import transferred
from lrt_bench.mappings import Mapping
from lrt_bench.mappings.base import FitStates
from lrt_bench.models.sites import Site
from lrt_bench.steering.concepts import concept_states, readable
from lrt_bench.steering.refusal import instruction_pairs
from lrt_bench.submissions.decoys import decoy_pairs
from lrt_bench.submissions.exchange import secret_order

DECOYS = 4  # for each of the tasks' states, where the task has words enough


class _Recorder(Mapping):
    """Stands in for a map, and keeps every state that it is asked about."""

    def __init__(self, d_target: int) -> None:
        self.asked: list[Tensor] = []
        self._d_target = d_target

    def fit(self, states: FitStates) -> None:
        """Nothing to fit."""

    def __call__(self, h: Tensor) -> Tensor:
        """Keep the states; answer with zeros."""
        self.asked.append(h.float().cpu().reshape(-1, h.shape[-1]))
        return torch.zeros(*h.shape[:-1], self._d_target)


@dataclass
class Queries:
    """All that a row's figures will ask of a map; made when it is first needed."""

    bench: PairBench
    tasks: Sequence[VectorTask]

    def __call__(self) -> Tensor:
        """Return the states that are asked about [n, d_source]."""
        return self._states

    @functools.cached_property
    def _states(self) -> Tensor:
        bench = self.bench
        recorder = _Recorder(bench.target.width)
        transferred(bench, self.tasks, [recorder])
        references = bench.fidelity
        measure(recorder, bench.states.held_out[0], references.own_states, references.stitching)
        every = torch.cat([*recorder.asked, *(decoys(bench, task) for task in self.tasks)])
        return every[secret_order(len(every))]


def decoys(bench: PairBench, task: VectorTask) -> Tensor:
    """Source states [n, d_source] of texts made like a task's; fewer than `DECOYS` each for few words."""
    model = bench.source.model
    if isinstance(task, RefusalTask):
        pairs: Sequence[ContrastPair] = instruction_pairs(model.tokenizer, task)
    else:
        pairs = bench.inputs.contrasts(task)
    return decoys_at(bench.source, pairs, bench.batch_size)


def decoys_at(site: Site, pairs: Sequence[ContrastPair], batch_size: int) -> Tensor:
    """Return a site's states [n, d] of texts made like contrastive pairs'."""
    nothing = torch.zeros(0, site.width)
    if not pairs:
        return nothing
    made = readable(decoy_pairs(pairs, DECOYS * len(pairs), secrets.SystemRandom()), (site.model,))
    if not made:
        return nothing
    states = concept_states(site, made, batch_size)
    return torch.cat([states.positive, states.negative])
