"""The unit of alpha: what it costs, on models of any scale, and against a plain script."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from massive import massive
from plain_behaviour import divergence, forward, log_softmax, tokenized

from lrt_bench.errors import UserError
from lrt_bench.models.decoders.planted import plant
from lrt_bench.models.sites import Site
from lrt_bench.steering.damage import DIRECTIONS, NeutralText, damage_unit
from lrt_bench.steering.sweep import unit

pytestmark = pytest.mark.slow  # whole runs

TEXTS = [
    "The train waited on the street! It was a wonderful story! Yeah, he loved the bus!",
    "Dans le matin, je cherche le marin! Je pense que forcément le bateau navigue!",
    "She saw the dog near the bone.",
    "In the morning, he found the ship. The tower waited near the station.",
]


def encoded(model, texts=TEXTS):
    return [tokenized(model.tokenizer, text) for text in texts]


def test_damage_is_the_plain_scripts(random_model):
    model = random_model("gemma2")
    site = Site(model, 2)
    offsets = 3 * torch.randn(3, site.width, generator=torch.Generator().manual_seed(0))
    damage = NeutralText(site, encoded(model)).damage(offsets)
    total, tokens = np.zeros(3), 0
    for ids in encoded(model):
        ids = ids[:16]
        sides = [
            log_softmax(forward(model.module, ids, 2, offset, [True] * len(ids))[0])
            for offset in (torch.zeros(site.width), *offsets)
        ]
        total += [divergence("kullback-leibler", sides[0], side).sum() for side in sides[1:]]
        tokens += len(ids)
    np.testing.assert_allclose(damage, total / tokens, rtol=1e-4)


@pytest.mark.parametrize("guess", [1e-3, 1.0, 1e5])
def test_a_unit_costs_what_it_says_whatever_the_guess(nano, guess):
    site = Site(nano("S"), 2)
    text = NeutralText(site, encoded(nano("S")))
    damaging = damage_unit(text, site.width, guess)
    assert damaging.directions == DIRECTIONS >= 16
    drawn = unit(torch.randn(400, site.width, generator=torch.Generator().manual_seed(99)))
    assert float(text.damage(drawn * damaging.length).median()) == pytest.approx(0.5, rel=0.1)
    assert damaging.interval[0] < damaging.length < damaging.interval[1]
    assert list(damaging.lengths) == sorted(damaging.lengths)
    assert damaging.medians[damaging.lengths.index(damaging.length)] == pytest.approx(0.5, rel=0.01)
    assert all(a <= b <= c for a, b, c in zip(damaging.lower, damaging.medians, damaging.upper, strict=True))
    half = damaging.medians[damaging.lengths.index(0.5 * damaging.length)]
    assert 0.01 < half < 0.3


def test_the_interval_holds_the_unit_of_other_directions(nano):
    site = Site(nano("S"), 2)
    text = NeutralText(site, encoded(nano("S")))
    many = damage_unit(text, site.width, 200.0, directions=400, seed=77).length
    inside = [
        low <= many <= high
        for low, high in (damage_unit(text, site.width, 200.0, seed=seed).interval for seed in range(20))
    ]
    assert sum(inside) >= 16


@pytest.mark.parametrize("count", [0, 8, 40])
def test_massive_dimensions_do_not_change_what_a_unit_costs(nano, count):
    model = massive(nano("S").tokenizer, count)
    site = Site(model, 2)
    text = NeutralText(site, encoded(model))
    damaging = damage_unit(text, site.width, 1.0)
    drawn = unit(torch.randn(400, site.width, generator=torch.Generator().manual_seed(99)))
    assert float(text.damage(drawn * damaging.length).median()) == pytest.approx(0.5, rel=0.1)


def test_a_planted_model_has_the_units_length(nano):
    base = nano("S")
    planted = plant("rotation", base)
    own, turned = (
        damage_unit(NeutralText(Site(model, 2), encoded(model)), 96, 200.0, directions=100)
        for model in (base, planted)
    )
    assert turned.length == pytest.approx(own.length, rel=0.03)


def test_no_text_and_no_spread_are_refused(nano):
    site = Site(nano("S"), 2)
    with pytest.raises(UserError, match="there is none"):
        NeutralText(site, [[]])
    text = NeutralText(site, encoded(nano("S")))
    with pytest.raises(UserError, match="one state"):
        damage_unit(text, 96, 0.0)
    with pytest.raises(UserError, match="no length"):
        damage_unit(text, 96, 1.0, nats=1e9)


def test_the_budget_of_tokens_bounds_the_work(nano):
    site = Site(nano("S"), 2)
    assert NeutralText(site, [[1] * 100] * 100).tokens == 128
