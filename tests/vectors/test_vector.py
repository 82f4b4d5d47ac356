"""The record of a steering vector: what it refuses, and what alpha means."""

from __future__ import annotations

import pytest
import torch

from lrt_bench.data.task_reading.task_folders import find_task
from lrt_bench.errors import UserError
from lrt_bench.models.decoders.planted import plant
from lrt_bench.models.sites import Site
from lrt_bench.steering.sweep import Sweep
from lrt_bench.vectors.vector import ModelHint, SteeringVector

ROW = torch.tensor([3.0, 4.0, 0.0])


def test_the_layer_that_is_meant():
    two = SteeringVector({3: ROW, 1: -ROW})
    assert list(two.layers) == [1, 3]
    assert torch.equal(two.at(3), ROW)
    assert SteeringVector({7: ROW}).layer() == 7
    with pytest.raises(UserError, match="layers 1, 3: say which one"):
        two.at()
    with pytest.raises(UserError, match="no layer 2: it has 1, 3"):
        two.at(2)
    assert list(two.only([3]).layers) == [3]


def test_alpha_counts_spreads():
    vector = SteeringVector({2: ROW}, spread={2: 10.0})
    assert vector.coefficient(0.5) == pytest.approx(1.0)  # half of ten is the vector's own length
    assert float(vector.of_length(-0.25).at().norm()) == pytest.approx(2.5)
    assert torch.allclose(vector.of_length(-0.25).at(), -ROW / 2)
    with pytest.raises(UserError, match="does not say the spread at layer 2"):
        SteeringVector({2: ROW}).coefficient(0.5)


def test_adding_c_times_the_vector_is_alpha_in_the_sweep(nano):
    site, prompts = Site(nano("S"), 2), find_task("person").choices[:4]
    v = torch.randn(96, generator=torch.Generator().manual_seed(1)) * 7
    vector = SteeringVector({2: v}, spread={2: 300.0})
    by_alpha = Sweep(site, prompts, (0.25,), 300.0, 8).run(v[None])
    by_length = Sweep(site, prompts, (vector.coefficient(0.25),), float(v.norm()), 8).run(v[None])
    torch.testing.assert_close(by_alpha, by_length, atol=1e-4, rtol=1e-5)


@pytest.mark.parametrize(
    ("layers", "message"),
    [
        ({}, "0 layers"),
        ({0: ROW}, "layers count from 1"),
        ({True: ROW}, "layers count from 1"),
        ({1: ROW[None]}, "want one row"),
        ({1: ROW.long()}, "want one row of floats"),
        ({1: ROW / 0}, "NaN or infinity"),
        ({1: ROW, 2: ROW[:2]}, "different widths"),
    ],
)
def test_what_is_no_steering_vector(layers, message):
    with pytest.raises(UserError, match=message):
        SteeringVector(layers)


def test_a_record_is_its_own_copy():
    row = ROW.clone()
    vector = SteeringVector({1: row})
    row[0] = 9
    assert torch.equal(vector.at(), ROW)


def test_a_planted_model_has_no_blocks_to_name(nano):
    hint = ModelHint.of(plant("rotation", nano("S")))
    assert (hint.name, hint.blocks) == ("planted-rotation:nano/S", None)
    assert ModelHint.of(nano("S")).blocks == "layers"
