"""What a non-linear submission is asked: the tasks' source states, hidden among decoys from the corpus.

A decoy is the state at the end of a piece of held-out text that was cut at random: as short as a prompt,
and unseen by any submission. Queries carry no label and come in a random order: which of them belong
to a task, to which one, and to which side of it, is not told.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from lrt_bench.data.tasks import VectorTask
from lrt_bench.evaluation.bench.pair_bench import PairBench
from lrt_bench.evaluation.fidelity import measure
from lrt_bench.evaluation.rows import transferred
from lrt_bench.mappings import Mapping
from lrt_bench.mappings.base import FitStates
from lrt_bench.models.batching import by_length, pad

DECOYS = 4  # for each of the tasks' states
PIECE = 48  # tokens of text that a decoy's state has seen at most


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
    """All that a row's figures will ask of a map, its order random; made when it is first needed."""

    bench: PairBench
    tasks: Sequence[VectorTask]
    _states: Tensor | None = None

    def __call__(self) -> Tensor:
        """Return the states that are asked about [n, d_source]."""
        if self._states is None:
            bench = self.bench
            recorder = _Recorder(bench.target.width)
            transferred(bench, self.tasks, [recorder])
            of_tasks = sum(map(len, recorder.asked))
            references = bench.fidelity
            measure(recorder, bench.states.validation[0], references.own_states, references.stitching)
            every = torch.cat([*recorder.asked, decoys(bench, DECOYS * of_tasks)])
            order = torch.randperm(len(every), generator=torch.Generator().manual_seed(bench.seed + 9))
            self._states = every[order]
        return self._states


def decoys(bench: PairBench, count: int) -> Tensor:
    """Source states [count, d_source] at the ends of pieces of held-out text."""
    rng = np.random.default_rng([bench.seed, 13])
    texts = [text.source_ids for text in bench.states.validation_text if len(text.source_ids) > 2]
    pieces: list[list[int]] = []
    while sum(len(piece) - 1 for piece in pieces) < 2 * count:
        ids = texts[rng.integers(len(texts))]
        start = int(rng.integers(1, len(ids)))
        pieces.append([ids[0], *ids[start : start + PIECE]])
    states_of_pieces = []
    for batch in by_length([len(piece) for piece in pieces], bench.batch_size, bench.source.model):
        states = bench.source.read(pad([pieces[i] for i in batch])).cpu()
        states_of_pieces += [states[row, 1 : len(pieces[i])] for row, i in enumerate(batch)]
    every = torch.cat(states_of_pieces)
    return every[torch.from_numpy(rng.permutation(len(every))[:count])]
