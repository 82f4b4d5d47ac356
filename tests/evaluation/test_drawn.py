"""Concepts that are drawn at scoring time: sound tasks, none of them public, and scores of every row."""

from __future__ import annotations

import random

import pytest

from lrt_bench.data.suites import find_suite
from lrt_bench.data.task_reading.task_folders import read_task
from lrt_bench.errors import UserError
from lrt_bench.evaluation.config import RunConfig
from lrt_bench.evaluation.evaluation import Evaluation
from lrt_bench.nano.concepts import CONCEPTS
from lrt_bench.nano.drawn import drawn_concepts, write_drawn
from lrt_bench.results.storage import read_result
from lrt_bench.unseen.scoring import Unseen


def test_drawn_concepts_are_sound_tasks_and_no_public_ones(tmp_path):
    drawn = drawn_concepts(60, random.Random(4))
    names = [concept.name for concept in drawn]
    assert len(set(names)) == len(names) > 30  # all there are
    assert not set(names) & {concept.name for concept in CONCEPTS}
    for concept in drawn:
        task = read_task(write_drawn(tmp_path, concept, "a secret"))  # balanced, no text in two roles
        assert len(task.vector) == 64
        assert len(task.choices) >= 32
        assert all(pair.positive != pair.negative for pair in task.vector)


def test_a_combination_changes_both_latents_and_asks_for_both(tmp_path):
    drawn = {frozenset(c.name.split("-with-")): c for c in drawn_concepts(200, random.Random(1))}
    task = read_task(write_drawn(tmp_path, drawn[frozenset({"sentiment", "number"})], "a secret"))
    options = {prompt.positive for prompt in task.choices}
    assert " many" in options
    assert options & {" wonderful", " lovely", " great", " bright"}
    changed = [set(pair.positive.split()) ^ set(pair.negative.split()) for pair in task.vector]
    assert sum(len(words) > 2 for words in changed) > 32


def test_another_secret_draws_other_concepts_and_other_texts(tmp_path):
    one, other = (drawn_concepts(8, random.Random(seed)) for seed in ("one", "other"))
    assert [c.name for c in one] != [c.name for c in other]
    texts = [write_drawn(tmp_path / s, one[0], s) / "score.jsonl" for s in ("a", "b")]
    assert texts[0].read_text() != texts[1].read_text()


@pytest.mark.slow
def test_every_row_has_a_score_on_them(small_suite, tmp_path):
    """On a rotated copy of the model a linear map is exact on any concept, drawn or not."""
    suite = find_suite(str(small_suite))
    config = RunConfig(mappings=("ridge",), out=tmp_path, fresh_concepts=4)
    unseen = Unseen(suite, config, lambda suite, purpose: ())
    cells = unseen.on_fresh(Evaluation(suite, config).run(), secret="known here, as no run's is")
    found = {cell.result.mapping.name: read_result(cell.path).fresh for cell in cells}
    assert len({fresh.draw for fresh in found.values()}) == 1
    assert found["ridge"].score > 99
    assert found["native"].score == 100
    assert abs(found["none"].score) < 0.1
    assert found["shuffled"].score < 50
    assert found["ridge"].concepts == 4
    assert 1 <= found["ridge"].counted <= 4


def test_other_models_have_no_drawn_concepts(small_suite, tmp_path):
    suite = find_suite("everyday")
    config = RunConfig(out=tmp_path, fresh_concepts=4)
    with pytest.raises(UserError, match="the embedded family alone"):
        Unseen(suite, config, lambda suite, purpose: ()).check()


@pytest.mark.parametrize(
    ("fields", "why"),
    [
        ({"private": "x", "unsafe_no_sandbox": True}, "drop --unsafe-no-sandbox"),
        ({"private": "x", "tasks": ("person",)}, "drop --task"),
        ({"fresh_concepts": 4, "tasks": ("person",)}, "drop --task"),
        ({"fresh_concepts": 1}, "give 2 or more"),
    ],
)
def test_settings_that_do_not_go_together_are_refused(fields, why):
    from lrt_bench.evaluation.config import checked

    with pytest.raises(UserError, match=why):
        checked(fields)


def test_private_scores_want_the_maps_that_they_are_read_by(small_suite, tmp_path):
    config = RunConfig(mappings=("ridge",), private=tmp_path)
    with pytest.raises(UserError, match=r"two-way, .*, autoencoder not among the mappings"):
        Unseen(find_suite(str(small_suite)), config, lambda suite, purpose: ()).check()


def test_where_the_private_family_lies_is_no_part_of_a_result(tmp_path):
    assert RunConfig(private=tmp_path, fresh_concepts=4).recorded() == {}
