"""Steered writing: seeded, alike whatever the batch, and the slow loop's perplexity."""

from __future__ import annotations

import pytest
import torch

from lrt_bench.data.task_reading.task_folders import find_task
from lrt_bench.evaluation.scorers.text import score_text
from lrt_bench.models.sites import Site
from lrt_bench.steering.concepts import concept_states
from lrt_bench.steering.generation import TextLoss, continuation_cross_entropy, generate, offsets_for

PROMPTS = ["She saw the dog.", "It was a", "The ship sailed near the beach."]


def test_the_batch_size_and_the_other_vectors_change_nothing(nano):
    site = Site(nano("S"), 2)
    offsets = torch.stack([torch.zeros(96), torch.randn(96)])
    whole = generate(site, PROMPTS, offsets, 12, seed=3)
    small = generate(site, PROMPTS, offsets, 12, seed=3, batch_size=1)
    assert whole.texts == small.texts
    alone = generate(site, PROMPTS, offsets[1:], 12, seed=3)
    assert alone.texts[0] == whole.texts[1]
    assert generate(site, PROMPTS, offsets, 12, seed=4).texts != whole.texts


def test_each_step_is_the_gumbel_choice_of_a_whole_steered_forward(nano):
    from lrt_bench.steering.generation import _gumbel

    model, offset = nano("S"), torch.randn(96) * 20
    handle = model.blocks[1].register_forward_hook(lambda m, a, output: output + offset)
    ids = model.tokenizer(PROMPTS[0])["input_ids"]
    written = []
    for step in range(10):
        with torch.inference_mode():
            logits = model.module(input_ids=torch.tensor([ids + written])).logits[0, -1]
        noise = torch.from_numpy(_gumbel(0, step, 7, len(logits))).float()
        written.append(int((logits + noise).argmax()))
    handle.remove()
    eos = model.tokenizer.eos_token_id
    written = written[: written.index(eos)] if eos in written else written
    text = generate(Site(model, 2), PROMPTS[:1], offset[None], 10, seed=7).texts[0][0]
    assert text == model.tokenizer.decode(written, skip_special_tokens=True)


@pytest.mark.parametrize("architecture", ["gemma2", "gpt_neox", "opt"])
def test_other_architectures_write_the_same_in_any_batch(random_model, architecture):
    site = Site(random_model(architecture), 2)
    offsets = torch.randn(2, site.width)
    assert (
        generate(site, PROMPTS, offsets, 6).texts == generate(site, PROMPTS, offsets, 6, batch_size=2).texts
    )


def test_steering_towards_dogs_writes_of_dogs(nano):
    task = find_task("write-dogs")
    site = Site(nano("S"), 2)
    states = concept_states(site, task.vector)
    offsets = offsets_for(states.vector, (0.0, 1.0), float(states.vector.norm()))
    written = generate(site, [row.prompt for row in task.prompts], offsets, 24)
    plain, steered = ([score_text(task.card.scorer, text) for text in texts] for texts in written.texts)
    assert sum(plain) <= 2
    assert sum(steered) >= 12
    # over-steered text is worse text: the unsteered model sees it
    assert written.cross_entropy[1].nanmean() > written.cross_entropy[0].nanmean() + 0.2


def test_cross_entropy_of_a_continuation_is_the_slow_loop(nano):
    model = nano("S")
    sequences = [([0, 20, 30], [40, 50]), ([0, 99], [7, 8, 9, 10]), ([0, 5], [])]
    losses = continuation_cross_entropy(model, sequences, batch_size=2)
    for (prompt, written), value in zip(sequences[:2], losses[:2], strict=True):
        ids = torch.tensor([prompt + written])
        logs = model.logits(ids)[0].log_softmax(-1)
        expected = -sum(float(logs[len(prompt) + k - 1, t]) for k, t in enumerate(written)) / len(written)
        assert float(value) == pytest.approx(expected, abs=1e-4)
    assert losses[2].isnan()


def test_cross_entropy_of_texts_under_steering_is_the_slow_loop(nano):
    model = nano("S")
    offsets = torch.stack([torch.zeros(96), torch.randn(96) * 10])
    loss = TextLoss(Site(model, 2), PROMPTS, batch_size=2)
    losses = loss(offsets)
    assert float(losses[0]) == pytest.approx(loss.unsteered, abs=1e-6)
    for v in range(2):
        handle = model.blocks[1].register_forward_hook(lambda m, a, output, v=v: output + offsets[v])
        total = count = 0.0
        for text in PROMPTS:
            ids = model.tokenizer(text)["input_ids"]
            with torch.inference_mode():
                logs = model.module(input_ids=torch.tensor([ids])).logits[0].log_softmax(-1)
            total -= sum(float(logs[t, token]) for t, token in enumerate(ids[1:]))
            count += len(ids) - 1
        handle.remove()
        assert float(losses[v]) == pytest.approx(total / count, abs=1e-4)
