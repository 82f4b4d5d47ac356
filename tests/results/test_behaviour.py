"""Shares, gates and scores of behaviour against their definitions."""

from __future__ import annotations

import numpy as np
import pytest
from pydantic import ValidationError

from lrt_bench.results.schema.behaviour import (
    TaskBehaviour,
    behaviour_score,
    clear_of_chance,
    control_score,
    ratio,
    slope_free_r2,
)


def task(name, divergence, native, ceiling, clear=True, **more):
    shares = {"ceiling_share": ratio(np.array([ceiling]), np.array(native))}
    empty = dict.fromkeys(
        ("first_share", "later_share", "without_readout", "without_readout_ceiling", "readout_share",
         "unembedding_share", "slope_free_r2", "damage", "native_damage", "share")
    )  # fmt: skip
    fields = empty | shares | more
    return TaskBehaviour(
        task=name, prompts=len(native), failures=0, clear=clear, effect=(0.0, 1.0), divergence=divergence,
        native=native, ceiling=ceiling, **fields,
    )  # fmt: skip


def test_a_share_is_what_is_left_of_natives_divergence():
    assert ratio(np.array([[1.0, 1.0], [0.0, 2.0]]), np.array([4.0, 4.0])) == pytest.approx(0.75)
    assert ratio(np.array([[4.0, 4.0]]), np.array([4.0, 4.0])) == 0
    assert ratio(np.array([[9.0, 9.0]]), np.array([4.0, 4.0])) < 0
    assert ratio(np.zeros((1, 2)), np.zeros(2)) is None


def test_the_score_sets_shares_beside_their_ceilings_on_clear_tasks():
    tasks = [
        task("a", ((2.0, 2.0),), (10.0, 10.0), (1.0, 1.0)),  # .8 of .9
        task("b", ((10.0, 10.0),), (10.0, 10.0), (0.0, 0.0)),  # 0 of 1
        task("c", ((90.0, 90.0),), (10.0, 10.0), (0.0, 0.0), clear=False),
    ]
    assert behaviour_score(tasks) == pytest.approx(100 * (0.8 / 0.9 + 0) / 2)
    assert behaviour_score(tasks[2:]) is None
    assert control_score(tasks, {"a": 0.45, "b": -7.0, "c": 1.0}) == pytest.approx(100 * (0.5 - 1) / 2)
    assert control_score(tasks, dict.fromkeys("abc")) is None


@pytest.mark.parametrize(
    ("ceiling", "chance", "wanted"),
    [
        (0.2, 1.2, True),  # the half is nearer than nothing and than chance
        (1.0, 1.2, False),  # as far as no steering
        (0.5, 0.5, False),  # as far as a random direction
        (0.2, 0.0, False),  # a random direction is nearer
    ],
)
def test_a_task_is_clear_where_the_half_is_nearer_than_nothing_and_than_chance(ceiling, chance, wanted):
    rng = np.random.default_rng(0)
    blur = rng.uniform(0.8, 1.2, 40)
    random = chance * blur * rng.uniform(0.9, 1.1, (8, 1))
    clear, (low, high) = clear_of_chance(blur, ceiling * blur, random, replicates=500, seed=1)
    assert clear is wanted
    assert low <= high
    assert clear == (low > 0)


def test_one_stray_direction_of_chance_keeps_a_task_from_being_clear():
    native, ceiling = np.full(40, 1.0), np.full(40, 0.3)
    chance = np.full((8, 40), 1.1)
    assert clear_of_chance(native, ceiling, chance, replicates=500, seed=1)[0]
    chance[0] = 0.1  # one direction in eight comes nearer to native than the half does
    assert not clear_of_chance(native, ceiling, chance, replicates=500, seed=1)[0]
    chance[0] = 60.0  # one that breaks the model comes near to nothing
    assert clear_of_chance(native, ceiling, chance, replicates=500, seed=1)[0]


def test_a_constant_factor_does_not_change_the_slope_free_r2():
    rng = np.random.default_rng(0)
    alphas = np.array([-1.0, 0.0, 1.0])
    native = rng.uniform(1, 2, (20, 1)) * alphas
    assert slope_free_r2(0.3 * native[None], native, alphas) == pytest.approx(1)
    other = rng.permutation(native)
    assert slope_free_r2(other[None], native, alphas) < 0.9
    assert slope_free_r2(np.zeros((1, 20, 3)), native, alphas) is None


def test_records_hold_one_number_a_prompt_and_nine_digits():
    whole = task("a", ((1 / 3, 2.0),), (10.0, 10.0), (1.0, 1.0))
    assert whole.model_dump()["divergence"] == ((0.333333333, 2.0),)
    assert TaskBehaviour.model_validate_json(whole.model_dump_json()).errors.r2 == pytest.approx(
        whole.errors.r2
    )
    for spoiled in ({"native": (1.0,)}, {"divergence": ()}, {"divergence": ((1.0, -1.0),)}):
        with pytest.raises(ValidationError):
            TaskBehaviour.model_validate(whole.model_dump() | spoiled)
