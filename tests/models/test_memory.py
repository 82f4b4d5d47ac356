"""Where memory does not last, batches are halved, the run says so, and the numbers stay."""

from __future__ import annotations

import logging

import pytest
import torch

from lrt_bench.data.task_reading.task_folders import find_task
from lrt_bench.errors import UserError
from lrt_bench.models.loading import load_model
from lrt_bench.models.memory import halving
from lrt_bench.models.sites import Site
from lrt_bench.steering.concepts import last_states
from lrt_bench.steering.sweep import Sweep


@pytest.mark.parametrize("most", [1, 2, 3, 100])
def test_items_keep_their_order_and_none_is_lost(most, caplog):
    def compute(items):
        if len(items) > most:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return [item * 2 for item in items]

    with caplog.at_level(logging.WARNING):
        parts = list(halving(compute, list(range(11))))
    assert [item for part, _ in parts for item in part] == list(range(11))
    assert all(result == [item * 2 for item in part] for part, result in parts)
    assert ("going on with" in caplog.text) == (most < 11)


def test_one_sequence_too_many_is_one_line():
    def compute(items):
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes")

    with pytest.raises(UserError, match="--dtype bfloat16"):
        list(halving(compute, [1]))


def test_other_errors_pass_through():
    def compute(items):
        raise RuntimeError("shapes differ")

    with pytest.raises(RuntimeError, match="shapes differ"):
        list(halving(compute, [1, 2]))


class Cramped:
    """A model whose blocks run out of memory beyond so many rows, for real blocks otherwise."""

    def __init__(self, model, most):
        self.block, self.most = model.block, most

    def __call__(self, index, states, frame, cache=None):
        if len(states) > self.most:
            raise torch.OutOfMemoryError("out of memory")
        return self.block(index, states, frame, cache)


def test_states_and_sweeps_are_the_same_in_little_memory(monkeypatch, caplog):
    model = load_model("nano/S")
    site, task = Site(model, 2), find_task("sentiment")
    vectors = torch.randn(3, model.width, generator=torch.Generator().manual_seed(0))
    texts = [row.prompt for row in task.choices[:9]]

    def both():
        sweep = Sweep(site, task.choices[:4], (-0.5, 0.0, 0.5), 1.0, 32)
        return last_states(site, texts), sweep.run(vectors)

    plenty = both()
    monkeypatch.setattr(model, "block", Cramped(model, 5))
    with caplog.at_level(logging.WARNING):
        little = both()
    assert "out of memory" in caplog.text
    for one, other in zip(plenty, little, strict=True):
        assert torch.allclose(one, other, atol=1e-4)
