"""The target run on from its site on corpus text, against whole forwards and small steps."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest
import torch
from architectures import ARCHITECTURES

from lrt_bench.data.corpus import Budget, Corpus
from lrt_bench.models.batching import pad
from lrt_bench.models.decoders.planted import plant
from lrt_bench.models.sites import Site
from lrt_bench.models.target_runs import MOST, CorpusRuns, run_texts

BUDGET = Budget(fit_tokens=1500, validation_tokens=400, sample_tokens=500)


@pytest.fixture(scope="module")
def runs(nano):
    return CorpusRuns.of(Site(nano("S"), 2), Site(nano("M"), 2), Corpus("nano"), BUDGET)


def whole_forward(batch):
    """Log-probabilities after the paired tokens, each text by itself and without any block of ours."""
    module = batch.site.model.module
    logs = []
    for text in batch.texts:
        with torch.no_grad():
            logits = module(torch.tensor([text.target_ids])).logits[0]
        logs.append(logits.log_softmax(-1)[torch.from_numpy(text.target_at)])
    return torch.cat(logs)


def test_it_predicts_what_the_whole_model_predicts(runs):
    for batch in [runs.fit[0], runs.fit[-1], runs.held_out[0]]:
        expected = whole_forward(batch)
        torch.testing.assert_close(batch.own(), expected, atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(batch.continued(batch.target), expected, atol=1e-4, rtol=1e-4)


def test_states_of_both_sides_are_of_the_same_tokens_in_one_order(runs, nano):
    batch = runs.fit[0]
    source = nano("S").states(pad([text.source_ids for text in batch.texts]), [2])[2]
    rows = torch.cat([source[row, torch.from_numpy(t.source_at)] for row, t in enumerate(batch.texts)])
    torch.testing.assert_close(batch.source, rows)
    assert batch.target.shape == (len(batch.source), nano("M").width)


def test_gradients_reach_the_states_and_leave_the_target_alone(runs, nano):
    """The derivative along the gradient, against the difference of two runs."""
    batch = runs.held_out[0]
    before = [parameter.clone() for parameter in nano("M").module.parameters()]
    states = batch.target.clone().requires_grad_()
    goal = torch.randn(len(states), len(nano("M").head.weight), generator=torch.Generator().manual_seed(0))
    [gradient] = torch.autograd.grad((batch.continued(states) * goal).sum(), states)
    step = gradient / gradient.norm()
    size = 1e-2
    with torch.no_grad():
        ends = [
            float((batch.continued(states + sign * size * step) * goal).double().sum()) for sign in (1, -1)
        ]
    assert (ends[0] - ends[1]) / (2 * size) == pytest.approx(float((gradient * step).sum()), rel=0.02)
    parameters = list(nano("M").module.parameters())
    assert all(parameter.grad is None for parameter in parameters)
    assert all(torch.equal(a, b) for a, b in zip(before, parameters, strict=True))


def test_a_state_changes_no_earlier_prediction(runs):
    """Causal: an altered last token of a text leaves the text's other predictions as they are."""
    batch = runs.held_out[0]
    ends = torch.tensor([len(text.target_at) for text in batch.texts]).cumsum(0) - 1
    moved = batch.target.clone()
    moved[ends] += 5
    with torch.no_grad():
        logs = batch.continued(moved)
    same = torch.ones(len(moved), dtype=torch.bool)
    same[ends] = False
    torch.testing.assert_close(logs[same], batch.own()[same])
    assert not torch.allclose(logs[ends], batch.own()[ends], atol=1e-2)


@pytest.mark.parametrize("architecture", sorted(ARCHITECTURES))
def test_every_architecture_is_run_on_with_gradients(random_model, nano, architecture):
    model = random_model(architecture)
    budget = replace(BUDGET, fit_tokens=60, validation_tokens=40)
    runs = CorpusRuns.of(Site(nano("S"), 1), Site(model, 1), Corpus("nano"), budget)
    batch = runs.held_out[0]
    expected = model.logits(pad([text.target_ids for text in batch.texts]))
    rows = [expected[row, torch.from_numpy(text.target_at)] for row, text in enumerate(batch.texts)]
    torch.testing.assert_close(batch.own(), torch.cat(rows).log_softmax(-1), atol=2e-3, rtol=2e-3)
    states = batch.target.clone().requires_grad_()
    [gradient] = torch.autograd.grad(batch.continued(states).square().sum(), states)
    assert bool(torch.isfinite(gradient).all())
    assert bool(gradient.any())


@pytest.mark.parametrize("kind", ["rotation", "widening"])
def test_a_planted_target_is_its_base_run_on(nano, kind):
    runs = CorpusRuns.of(Site(nano("S"), 2), Site(plant(kind, nano("S")), 2), Corpus("nano"), BUDGET)
    basis = runs.target.model.basis
    for batch in runs.held_out:
        torch.testing.assert_close(batch.continued(batch.source @ basis.T), batch.own(), atol=1e-3, rtol=1e-3)


def test_a_second_tokenizer_keeps_the_tokens_without_a_partner(nano):
    """They have the target's own states: with its own in all places the target predicts what it does."""
    target = plant("retokenized", nano("S"))
    runs = CorpusRuns.of(Site(nano("S"), 2), Site(target, 2), Corpus("nano"), BUDGET)
    batch = runs.held_out[0]
    logits = target.logits(pad([text.target_ids for text in batch.texts]))
    rows = [logits[row, torch.from_numpy(text.target_at)] for row, text in enumerate(batch.texts)]
    torch.testing.assert_close(
        batch.continued(batch.target), torch.cat(rows).log_softmax(-1), atol=1e-3, rtol=1e-3
    )
    assert len(batch.source) < batch.length - len(batch.texts)


def test_tokens_are_bounded_and_counted(nano):
    sides = Site(nano("S"), 2), Site(nano("M"), 2)
    runs = CorpusRuns.of(*sides, Corpus("nano"), BUDGET)
    assert runs.tokens == 0
    assert sum(len(batch.source) for batch in runs.fit) == BUDGET.fit_tokens
    assert sum(len(batch.source) for batch in runs.held_out) == BUDGET.validation_tokens
    assert all(batch.whole.shape[:2].numel() <= MOST for batch in runs.fit)
    once = sum(len(text.target_ids) for batch in runs.fit for text in batch.texts)
    for batch in runs.fit:
        batch.continued(batch.target)
        batch.continued(batch.target)
        batch.own()
        batch.own()  # kept
    assert runs.tokens == 3 * once


def test_what_a_fit_learns_from_is_of_other_documents_than_what_it_stops_by(nano):
    tokenizers, limits = (nano("S").tokenizer,) * 2, (nano("S").context,) * 2
    texts = run_texts(Corpus("nano"), tokenizers, limits, BUDGET)
    assert {text.split for text in texts.fit} == {"fit"}
    assert {text.split for text in texts.held_out} == {"validation"}


def test_draws_run_the_target_on_documents_of_their_own(nano):
    """As many tokens as a draw's fit reads, and no document of another's."""
    tokenizers, limits = (nano("S").tokenizer,) * 2, (nano("S").context,) * 2
    budget = replace(BUDGET, fit_tokens=400, draws=3, shown_tokens=50)
    drawn = [run_texts(Corpus("nano"), tokenizers, limits, budget, draw) for draw in range(3)]
    seen = Counter(text.document for texts in drawn for text in {t.document: t for t in texts.fit}.values())
    assert max(seen.values()) == 1
    for texts in drawn:
        assert sum(len(text.source_at) for text in texts.fit) == 400
        assert sum(len(text.source_at) for text in texts.held_out) == 50
