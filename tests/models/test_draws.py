"""Several draws of documents from one pass: what each is made of, and what its fit is given."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch

from lrt_bench.data.corpus import Budget, Corpus
from lrt_bench.errors import UserError
from lrt_bench.mappings.moments import Moments
from lrt_bench.models.kept_states import keep_draws, read_draws
from lrt_bench.models.sites import Site
from lrt_bench.models.states import Pass, collect, collect_draws
from lrt_bench.nano.grammar import documents

BUDGET = Budget(600, 400, 1000, 200, draws=3, shown_tokens=100)


@pytest.fixture(scope="module")
def corpus_file(tmp_path_factory):
    path = tmp_path_factory.mktemp("corpus") / "a.txt"
    path.write_text("\n\n".join(documents(11, 150)))
    return str(path)


@pytest.fixture(scope="module")
def sites(nano):
    return Site(nano("S"), 2), Site(nano("S2"), 3)


@pytest.fixture(scope="module")
def draws(sites, corpus_file):
    return collect_draws(*sites, Corpus(corpus_file), BUDGET)


def handed_out(sites, corpus, budget):
    """Texts of each draw's fit, and those of the other two splits, as the pass hands them out."""
    models = [site.model for site in sites]
    sizes = tuple(m.context for m in models), tuple(site.width for site in sites)
    fit = [[] for _ in range(budget.draws)]
    rest = []
    for shard in Pass(corpus, budget, tuple(m.tokenizer for m in models), *sizes).shards():
        (fit[shard.draw] if shard.split == "fit" else rest).extend(shard.texts)
    return fit, rest


def test_no_document_is_in_two_draws_or_in_a_draw_and_another_split(sites, corpus_file):
    fit, rest = handed_out(sites, Corpus(corpus_file), BUDGET)
    parts = [{text.document for text in texts} for texts in (*fit, rest)]
    assert all(len(part) > 3 for part in parts)
    for one, other in itertools.combinations(parts, 2):
        assert not one & other
    assert [sum(len(text.source_at) for text in texts) for texts in fit] == [600, 600, 600]


def test_copies_of_a_document_are_in_one_draw(sites, tmp_path):
    texts = list(documents(12, 150))
    (tmp_path / "twice.txt").write_text("\n\n".join([*texts, *texts]))
    fit, _ = handed_out(sites, Corpus(str(tmp_path / "twice.txt")), BUDGET)
    seen = [{tuple(text.source_ids) for text in own} for own in fit]
    for one, other in itertools.combinations(seen, 2):
        assert not one & other


def test_a_smaller_budget_reads_the_beginning_of_the_same_draw(sites, corpus_file):
    small, _ = handed_out(sites, Corpus(corpus_file), Budget(300, 400, 1000, 200, draws=3))
    large, _ = handed_out(sites, Corpus(corpus_file), BUDGET)
    for few, many in zip(small, large, strict=True):
        assert {tuple(text.source_ids) for text in few} < {tuple(text.source_ids) for text in many}


def test_each_draws_moments_are_of_its_own_states(draws):
    for states in draws:
        size = len(states.sample)
        assert states.tokens == size == 600
        own = Moments.of(
            *(torch.from_numpy(np.array(side[:size])) for side in (states.sample.x, states.sample.y))
        )
        torch.testing.assert_close(states.moments.s_xy, own.s_xy, rtol=1e-3, atol=0.1)
    assert not torch.equal(draws[0].moments.s_xy, draws[1].moments.s_xy)


def test_a_fit_is_shown_validation_states_of_its_draw_alone(draws):
    owner = np.concatenate([np.full(len(t.source_at), t.document % 3) for t in draws[0].validation_text])
    for draw, states in enumerate(draws):
        assert set(owner[states.shown]) == {draw}
        x, y = states.copy().validation
        assert 20 <= len(x) == len(y) <= 100
        assert torch.equal(x, states.validation[0][torch.from_numpy(states.shown)])
        assert states.copy().validation_text == []
    for states in draws[1:]:  # what is measured on other texts is measured on the same ones
        assert torch.equal(states.validation[1], draws[0].validation[1])
        assert torch.equal(states.unseen[1], draws[0].unseen[1])


def test_the_same_pass_gives_the_same_draws(sites, corpus_file, draws):
    for states, again in zip(draws, collect_draws(*sites, Corpus(corpus_file), BUDGET), strict=True):
        assert torch.equal(states.moments.s_xy, again.moments.s_xy)
        assert np.array_equal(states.shown, again.shown)


def test_one_draw_is_shown_all_and_ends_with_a_whole_text(sites, corpus_file):
    plain = collect(*sites, Corpus(corpus_file), Budget(600, 400, 1000))
    [only] = collect_draws(*sites, Corpus(corpus_file), Budget(600, 400, 1000, draws=1))
    assert only.tokens == plain.tokens > 600
    assert only.given is only
    assert len(only.copy().validation[0]) == len(only.validation[0])


def test_draws_come_back_from_the_cache_as_they_were(draws, tmp_path):
    from lrt_bench.files.cache.folder import CacheFolder
    from lrt_bench.files.cache.recall import key_of, using

    with using(CacheFolder(tmp_path, 2**30)):
        keys = [key_of("states", [draw]) for draw in range(3)]
        assert read_draws(keys) is None
        keep_draws(keys, draws)
        for states, kept in zip(draws, read_draws(keys), strict=True):
            assert torch.equal(states.moments.s_xy, kept.moments.s_xy)
            assert torch.equal(states.copy().validation[0], kept.copy().validation[0])


@pytest.mark.parametrize(
    ("budget", "message"),
    [
        (
            Budget(3000, 400, 1000, draws=3),
            r"a\.txt: too little text for 3 draws of 3000 fit tokens.*give fewer",
        ),
        (
            Budget(300, 30, 1000, draws=3),
            r"a\.txt: too little validation text for 3 draws.*validation_tokens",
        ),
    ],
)
def test_a_text_too_short_for_the_draws_is_told_before_a_model_runs(sites, corpus_file, budget, message):
    with pytest.raises(UserError, match=message) as told:
        handed_out(sites, Corpus(corpus_file), budget)
    assert "\n" not in str(told.value)
