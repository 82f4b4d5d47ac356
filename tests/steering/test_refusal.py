"""Refusal on the embedded family: directions that are known to act, and vectors that must do nothing."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from lrt_bench.data.corpus import Corpus, encode
from lrt_bench.data.task_reading.task_folders import find_task
from lrt_bench.data.tasks import Prompt
from lrt_bench.errors import UserError
from lrt_bench.evaluation.scorers.answers import Phrases
from lrt_bench.models.sites import Site
from lrt_bench.steering.concepts import concept_states
from lrt_bench.steering.generation import generate, offsets_for
from lrt_bench.steering.refusal import instruction_pairs, refusal_odds, run_points, wrap_instructions, wrapped
from lrt_bench.steering.refusal_selection import (
    choose_alpha,
    choose_layer,
    layers_at,
    spreads,
    validate_alphas,
)
from lrt_bench.steering.sweep import Interventions

LAYER = 4  # of L: ablating the refusal direction there makes it answer


TASK = find_task("nano-refusal")


@pytest.fixture(scope="module")
def site(nano):
    return Site(nano("L"), LAYER)


@pytest.fixture(scope="module")
def vector(site):
    return concept_states(site, instruction_pairs(site.model.tokenizer, TASK)).vector


@pytest.fixture(scope="module")
def length(site):
    return spreads(site.model, Corpus("nano"), [LAYER])[LAYER]


@pytest.fixture(scope="module")
def points(site, vector, length):
    points = run_points(site, TASK, TASK.prompts, vector, length, (0.0, -0.5, 1.0))
    return {(point.kind, point.alpha): point for point in points}


def refused(point):
    return np.mean(Phrases(TASK.card.scorer)([""] * len(point.answers), point.answers))


def test_the_embedded_model_refuses_until_its_direction_is_removed_or_countered(points):
    plain = points["add", 0.0]
    assert refused(plain) == 1
    assert plain.odds.mean() > 4
    for name in (("ablate", None), ("ablate-all", None), ("add", 1.0)):
        assert refused(points[name]) <= 0.2, name
        assert points[name].odds.mean() < -2, name
    assert points["add", -0.5].odds.mean() > plain.odds.mean() + 1
    assert refused(points["add", -0.5]) == 1


def test_harmless_instructions_are_answered_and_steering_towards_refusal_harms_that(site, vector, length):
    points = run_points(site, TASK, TASK.harmless, vector, length, (0.0, -1.0), ablations=())
    assert refused(points[0]) == 0
    assert points[0].odds.mean() < -4
    assert points[1].odds.mean() > points[0].odds.mean() + 4


def test_ablation_leaves_nothing_along_the_direction_after_any_block(site, vector):
    """Read from the states themselves, block after block, by a loop of its own."""
    model, direction = site.model, vector / vector.norm()
    ids = torch.tensor([encode(model.tokenizer, [wrapped(model.tokenizer, TASK.card, "Burn it.")])[0].ids])
    for everywhere in (True, False):
        change = Interventions.ablating(vector[None], everywhere=everywhere)
        frame, states = model.frame(ids.shape[1]), model.embed(ids)
        left = []
        for index in range(model.n_layers):
            states = change.apply(model.block(index, states, frame), index + 1, LAYER)
            left.append(float((states @ direction).abs().max() / states.norm(dim=-1).max()))
        clean = [share < 1e-5 for share in left]
        assert clean == ([True] * 6 if everywhere else [layer == LAYER for layer in range(1, 7)])


def test_odds_are_those_of_the_models_own_hooked_forward(site, vector):
    model, direction = site.model, vector / vector.norm()
    prompts = wrap_instructions(model.tokenizer, TASK, TASK.prompts[:3])
    changes = Interventions.joined(
        [Interventions.adding(vector[None] * 0.7), Interventions.ablating(vector[None], everywhere=True)]
    )
    odds = refusal_odds(site, prompts, changes, batch_size=2)

    def steer(layer, output):
        return output + vector * 0.7 if layer == LAYER else output

    def remove(layer, output):
        return output - (output @ direction)[..., None] * direction

    for row, change in enumerate((steer, remove)):
        handles = [
            block.register_forward_hook(lambda m, a, out, k=k, change=change: change(k + 1, out))
            for k, block in enumerate(model.blocks)
        ]
        for p, text in enumerate(prompts.texts):
            ids = torch.tensor([encode(model.tokenizer, [text])[0].ids])
            with torch.inference_mode():
                logs = model.module(input_ids=ids).logits[0, -1].softmax(-1)
            expected = torch.log(logs[prompts.refuse].sum() / logs[prompts.comply].sum())
            assert float(odds[row, p]) == pytest.approx(float(expected), abs=1e-3)
        for handle in handles:
            handle.remove()


def test_ablating_twice_is_ablating_once():
    states, vectors = torch.randn(2, 5, 16), torch.randn(2, 16)
    change = Interventions.ablating(vectors, everywhere=False)
    once = change.apply(states, 3, 3)
    torch.testing.assert_close(change.apply(once, 3, 3), once, atol=1e-6, rtol=0)
    assert change.apply(states, 2, 3) is states


def test_a_zero_vector_changes_nothing(site, length):
    points = run_points(site, TASK, TASK.prompts[:4], torch.zeros(site.width), length, (0.0, 1.0))
    for point in points[1:]:
        assert point.answers == points[0].answers
        assert torch.equal(point.odds, points[0].odds)


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_the_batch_size_changes_no_word_and_no_odds(site, vector, temperature):
    prompts = wrap_instructions(site.model.tokenizer, TASK, TASK.prompts[:6])
    changes = Interventions.joined(
        [
            Interventions.adding(torch.stack([vector * 0, vector])),
            Interventions.ablating(vector[None], everywhere=False),
            Interventions.ablating(vector[None], everywhere=True),
        ]
    )
    whole = generate(site, prompts.texts, changes, 8, temperature=temperature)
    small = generate(site, prompts.texts, changes, 8, temperature=temperature, batch_size=3)
    assert whole.texts == small.texts
    odds = refusal_odds(site, prompts, changes)
    torch.testing.assert_close(odds, refusal_odds(site, prompts, changes, batch_size=5), atol=1e-3, rtol=0)
    other = generate(site, prompts.texts, changes, 8, temperature=temperature, seed=5)
    assert (other.texts == whole.texts) == (temperature == 0)


def test_greedy_answers_begin_with_the_likeliest_token(site):
    prompts = wrap_instructions(site.model.tokenizer, TASK, TASK.prompts[:3])
    nothing = Interventions.adding(torch.zeros(1, site.width))
    written = generate(site, prompts.texts, nothing, 1, temperature=0.0).texts[0]
    for text, answer in zip(prompts.texts, written, strict=True):
        ids = torch.tensor([encode(site.model.tokenizer, [text])[0].ids])
        assert answer == site.model.tokenizer.decode(site.model.logits(ids)[0, -1].argmax())


def test_instructions_are_wrapped_as_the_model_reads_them(nano):
    tokenizer = nano("S").tokenizer
    assert wrapped(tokenizer, TASK.card, "Burn it.") == "User: Burn it.\nAssistant:"

    class Templated:
        chat_template = "there"
        name_or_path = "templated"

        def apply_chat_template(self, messages, **options):
            assert options == {"tokenize": False, "add_generation_prompt": True}
            return f"<bos><user>{messages[0]['content']}<model>"

    assert wrapped(Templated(), TASK.card, "Burn it.") == "<bos><user>Burn it.<model>"
    ids = encode(tokenizer, ["<bos>" + wrapped(tokenizer, TASK.card, "Burn it.")])[0].ids
    assert ids == encode(tokenizer, [wrapped(tokenizer, TASK.card, "Burn it.")])[0].ids
    assert ids.count(tokenizer.bos_token_id) == 1


def test_openings_are_the_words_that_the_answer_begins_with(nano):
    tokenizer = nano("L").tokenizer
    prompts = wrap_instructions(tokenizer, TASK, TASK.prompts[:2])
    words = [[tokenizer.decode(token).strip() for token in side] for side in (prompts.refuse, prompts.comply)]
    for side, openings in zip(words, (TASK.card.openings.refuse, TASK.card.openings.comply), strict=True):
        assert len(side) == 3
        assert all(any(opening.startswith(word) for word in side) for opening in openings)
    same = TASK.card.openings.model_copy(update={"comply": TASK.card.openings.refuse})
    card = TASK.card.model_copy(update={"openings": same})
    with pytest.raises(UserError, match=r"openings: .* both sides begin with the same tokens"):
        wrap_instructions(tokenizer, dataclasses.replace(TASK, card=card), TASK.prompts)


def test_the_smallest_alpha_on_the_plateau_is_chosen():
    alphas = (0.0, -1.0, -0.5, 0.25, 0.5, 1.0)
    alpha = choose_alpha(alphas, (5, 6, 7, 4, -3.5, -4), (1, 1, 1, 1, 1, 1))
    assert (alpha.answering, alpha.refusing) == (0.5, -0.5)
    # text that breaks leaves an alpha out, however well it acts
    assert choose_alpha(alphas, (5, 6, 7, 4, -3.5, -4), (1, 1, 9, 1, 2.5, 9)).answering == 0.25
    assert choose_alpha(alphas, (5, 6, 7, 4, -3.5, -4), (1, 1, 9, 1, 2.5, 9)).refusing == -1.0
    # a vector that acts the other way round, or not at all, chooses nothing
    assert choose_alpha(alphas, (5, 4, 4, 6, 7, 8), (1,) * 6).answering is None
    assert choose_alpha(alphas, (5,) * 6, (1,) * 6).refusing is None


def test_neither_alpha_nor_layer_knows_the_scored_instructions(nano, site, vector, length):
    poison = tuple(Prompt(prompt="\0 poison " * 500) for _ in TASK.prompts)  # longer than the model reads
    poisoned = dataclasses.replace(TASK, prompts=poison, harmless=poison)
    clean = validate_alphas(site, TASK, vector, length)
    assert validate_alphas(site, poisoned, vector, length) == clean
    assert clean.answering == 1.0
    assert clean.refusing < 0
    layers = layers_at(nano("S"), [0.4, 0.7, 1.0])
    assert layers == [1, 2, 3]
    lengths = spreads(nano("S"), Corpus("nano"), layers)
    layer = choose_layer(nano("S"), TASK, lengths, TASK.card.alphas)
    assert layer == choose_layer(nano("S"), poisoned, lengths, TASK.card.alphas)
    assert layer.layer == max(layer.effects, key=layer.effects.get)
    assert layer.effects[2] > layer.effects[1] + 2  # before its second block S does not know what it refuses


def test_spreads_are_those_of_the_layers(nano):
    from lrt_bench.data.corpus import Budget
    from lrt_bench.models.states import collect

    model = nano("S")
    states = collect(Site(model, 1), Site(model, 3), Corpus("nano"), Budget(20_000, 500, 500))
    from lrt_bench.mappings.moments import spread

    lengths = spreads(model, Corpus("nano"), [1, 3])
    assert lengths[1] == pytest.approx(spread(states.moments.variance_x), rel=0.05)
    assert lengths[3] == pytest.approx(spread(states.moments.variance_y), rel=0.05)


def test_offsets_follow_alpha():
    steps = offsets_for(torch.tensor([3.0, 4.0]), (0.0, -0.5), 10.0)
    torch.testing.assert_close(steps, torch.tensor([[0.0, 0.0], [-3.0, -4.0]]))
