"""Streamed states against a plain loop; the bounded sample; nothing grows with the corpus."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from sklearn.linear_model import LinearRegression

from lrt_bench.data.corpus import Budget, Corpus
from lrt_bench.errors import UserError
from lrt_bench.mappings.affine import Affine
from lrt_bench.mappings.moments import Moments
from lrt_bench.models.sample import Sample
from lrt_bench.models.sites import Site
from lrt_bench.models.state_cache import StateMemory
from lrt_bench.models.states import collect, paired_states
from lrt_bench.nano.grammar import documents


@pytest.fixture(scope="module")
def corpus_file(tmp_path_factory):
    path = tmp_path_factory.mktemp("corpus") / "a.txt"
    path.write_text("\n\n".join(documents(11, 150)))
    return str(path)


@pytest.fixture(scope="module")
def sites(nano):
    return Site(nano("S"), 2), Site(nano("S2"), 3)


@pytest.fixture(scope="module")
def states(sites, corpus_file):
    return collect(*sites, Corpus(corpus_file), Budget(10**7, 10**7, 10**6))


def slow_states(sites, corpus_file, split):
    """One text at a time, transformers' own hidden states, BOS dropped."""
    rows = []
    for block in Corpus(corpus_file).pairs(sites[0].model.tokenizer, sites[1].model.tokenizer):
        for text in block:
            if text.split != split:
                continue
            both = []
            for site, ids in ((sites[0], text.source_ids), (sites[1], text.target_ids)):
                grabbed = {}
                handle = site.model.blocks[site.layer - 1].register_forward_hook(
                    lambda m, a, output, grabbed=grabbed: grabbed.__setitem__("h", output)
                )
                with torch.inference_mode():
                    site.model.module(input_ids=torch.tensor([ids]))
                handle.remove()
                both.append(grabbed["h"][0, 1:])
            rows.append(both)
    return torch.cat([x for x, _ in rows]), torch.cat([y for _, y in rows])


def test_moments_are_those_of_a_plain_loop(states, sites, corpus_file):
    x, y = slow_states(sites, corpus_file, "fit")
    expected = Moments.of(x, y)
    assert states.tokens == states.moments.n == len(x)
    for name in ("mean_x", "mean_y", "s_xx", "s_xy", "s_yy"):
        wanted = getattr(expected, name)  # sums of both signs: small entries are no surer
        torch.testing.assert_close(
            getattr(states.moments, name), wanted, rtol=0, atol=1e-5 * float(wanted.abs().max())
        )


def test_without_s_yy_the_rest_of_the_moments_is_the_same(sites, corpus_file, states):
    lean = collect(
        *sites, Corpus(corpus_file), Budget(10**7, 10**7, 10**6), begin=Moments.without_s_yy
    ).moments
    for name in ("mean_x", "mean_y", "s_xx", "s_xy", "variance_y"):
        wanted = getattr(states.moments, name)
        assert (getattr(lean, name) - wanted).norm() < 1e-6 * wanted.norm()
    with pytest.raises(UserError, match="without S_yy"):
        _ = lean.s_yy


def test_validation_states_are_those_of_a_plain_loop_in_order(states, sites, corpus_file):
    x, y = slow_states(sites, corpus_file, "validation")
    torch.testing.assert_close(states.validation[0], x, rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(states.validation[1], y, rtol=1e-3, atol=1e-3)
    assert sum(len(text.source_at) for text in states.validation_text) == len(x)


def test_affine_from_streamed_moments_is_scikit_learns(states, sites, corpus_file):
    """Real states, with their massive dimensions."""
    x, y = slow_states(sites, corpus_file, "fit")
    own = Affine()
    own.fit(states)
    reference = LinearRegression().fit(x.double().numpy(), y.double().numpy())
    held_out = states.validation[0]
    expected = torch.from_numpy(reference.predict(held_out.double().numpy()))
    torch.testing.assert_close(own(held_out).double(), expected, rtol=1e-3, atol=1e-2)


def test_the_batch_size_does_not_matter(sites, corpus_file, states):
    other = collect(*sites, Corpus(corpus_file), Budget(10**7, 10**7, 10**6), batch_size=7)
    torch.testing.assert_close(other.moments.s_xy, states.moments.s_xy, rtol=1e-3, atol=0.1)
    assert other.digest == states.digest


def test_the_budget_is_kept(sites):
    states = collect(*sites, Corpus("nano"), Budget(3000, 500, 1000))
    assert 3000 <= states.tokens < 3200  # the last text is whole
    assert 500 <= len(states.validation[0]) < 700
    assert len(states.sample) == 1000


def test_too_little_text_is_named(sites, tmp_path):
    (tmp_path / "tiny.txt").write_text("Only one line.")
    with pytest.raises(UserError, match=r"tiny\.txt: too little text"):
        collect(*sites, Corpus(str(tmp_path / "tiny.txt")), Budget())


def test_the_sample_is_uniform_over_the_stream():
    hits = np.zeros(500)
    for seed in range(300):
        sample = Sample(50, 1, 1, seed)
        for start in range(0, 500, 70):
            rows = np.arange(start, min(start + 70, 500), dtype=np.float32)[:, None]
            sample.update(rows, rows)
        kept = sample.x[: len(sample), 0]
        assert len(set(kept.tolist())) == 50
        assert (sample.x == sample.y).all()
        hits[kept.astype(int)] += 1
    # expected 30 each, standard deviation 5.2; the ends of the stream must not be favoured
    assert abs(hits[:50].mean() - 30) < 3
    assert abs(hits[-50:].mean() - 30) < 3


@pytest.mark.slow
def test_batches_are_an_epoch_of_pairs_and_can_be_had_again(states):
    once = [torch.cat([x, y], 1) for x, y in states.batches(256, seed=3)]
    again = [torch.cat([x, y], 1) for x, y in states.batches(256, seed=3)]
    other = [torch.cat([x, y], 1) for x, y in states.batches(256, seed=4)]
    assert all(torch.equal(a, b) for a, b in zip(once, again, strict=True))
    assert not torch.equal(once[0], other[0])
    whole = torch.cat(once)
    stored = torch.from_numpy(np.concatenate([states.sample.x, states.sample.y], 1)[: len(states.sample)])
    assert torch.equal(whole.sort(0).values, stored.sort(0).values)


def test_shuffled_moments_keep_the_sides_and_lose_the_pairing(states):
    shuffled = states.shuffled(0)
    torch.testing.assert_close(shuffled.s_xx, states.moments.s_xx, rtol=1e-3, atol=1.0)
    torch.testing.assert_close(shuffled.s_yy, states.moments.s_yy, rtol=1e-3, atol=1.0)
    assert shuffled.s_xy.norm() < 0.1 * states.moments.s_xy.norm()


@pytest.mark.slow
def test_peak_memory_does_not_grow_with_the_corpus(sites):
    """Live tensor and array bytes right after the pass, 1x against 8x the corpus."""
    import gc

    def live(tokens):
        states = collect(*sites, Corpus("nano"), Budget(tokens, 500, 1000))
        gc.collect()
        held = [states.moments.s_xx, states.moments.s_xy, states.moments.s_yy, *states.validation]
        tensors = sum(t.numel() * t.element_size() for t in held)
        return tensors + states.sample.x.nbytes + states.sample.y.nbytes

    assert live(24_000) < 1.05 * live(3_000)


def test_states_read_again_are_not_run_again(nano):
    model = copy.copy(nano("S"))
    model.memory = StateMemory(2 * 2 * 12 * 96 * 4)  # bytes of two texts' states
    texts = [torch.randint(2, 1000, (2, 12), generator=torch.Generator().manual_seed(i)) for i in range(3)]
    plain = [nano("S").states(ids, [2])[2] for ids in texts]
    ran = []
    handle = model.blocks[0].self_attn.q_proj.register_forward_hook(lambda *_: ran.append(1))
    for which, runs in ((0, 1), (1, 2), (0, 2), (2, 3), (0, 3), (1, 4)):  # 1 was not asked for the longest
        assert torch.equal(model.states(texts[which], [2])[2], plain[which])
        assert len(ran) == runs
    model.states(texts[1], [2, 3])  # another layer with it
    assert len(ran) == 5
    handle.remove()


def test_unseen_states_are_of_documents_that_no_fit_reads(sites):
    """Fidelity's own split: no text is in two of the three, and what a method is given lacks it."""
    found = collect(*sites, Corpus("nano"), Budget(4000, 500, 1000, 500))
    plain = collect(*sites, Corpus("nano"), Budget(4000, 500, 1000))
    validation = {tuple(text.source_ids) for text in found.validation_text}
    unseen = {tuple(text.source_ids) for text in found.unseen_text}
    assert unseen
    assert not unseen & validation
    x, y = found.unseen
    assert len(x) == len(y) == sum(len(text.source_at) for text in found.unseen_text) >= 500
    again = np.concatenate([y for _, _, y in paired_states(*sites, found.unseen_text, 1000)])
    assert np.allclose(np.sort(again[:, 0]), np.sort(y[:, 0].numpy()), atol=1e-5)
    assert torch.equal(found.validation[0], plain.validation[0])  # the other two splits are what they were
    assert torch.equal(found.moments.s_xy, plain.moments.s_xy)
    assert plain.unseen is None
    assert found.copy().unseen is None
    assert found.copy().unseen_text == []
