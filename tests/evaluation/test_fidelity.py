"""State fidelity against numpy and scikit-learn; stitching against whole forwards."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.decomposition import PCA
from sklearn.metrics import r2_score

from lrt_bench.data.corpus import Corpus
from lrt_bench.evaluation.fidelity import Stitching, reachable_share, state_fidelity
from lrt_bench.models.decoders.planted import plant
from lrt_bench.models.sites import Site


@pytest.fixture(scope="module")
def states():
    g = torch.Generator().manual_seed(0)
    own = torch.randn(400, 40, generator=g).double() * torch.logspace(1, -1, 40).double() + 5
    own[:, 0] *= 30
    return own + 0.5 * torch.randn(400, 40, generator=g), own


def test_fvu_is_one_minus_r2(states):
    mapped, own = states
    fidelity = state_fidelity(mapped, own)
    r2 = r2_score(own.numpy(), mapped.numpy(), multioutput="variance_weighted")
    assert fidelity.fvu == pytest.approx(1 - r2, abs=1e-9)
    widest = np.argsort(-own.numpy().var(0))
    for left_out, value in ((1, fidelity.fvu_without_top1), (8, fidelity.fvu_without_top8)):
        kept = widest[left_out:]
        r2 = r2_score(own.numpy()[:, kept], mapped.numpy()[:, kept], multioutput="variance_weighted")
        assert value == pytest.approx(1 - r2, abs=1e-9)


def test_bands_are_those_of_pca(states):
    mapped, own = states
    fidelity = state_fidelity(mapped, own)
    pca = PCA().fit(own.numpy())
    residual = (mapped - own).numpy() @ pca.components_.T
    scores = (own - own.mean(0)).numpy() @ pca.components_.T
    assert list(fidelity.bands) == ["1-1", "2-8", "9-32", "33-40"]
    for band, value in fidelity.bands.items():
        low, high = map(int, band.split("-"))
        part = slice(low - 1, high)
        expected = (residual[:, part] ** 2).sum() / (scores[:, part] ** 2).sum()
        assert value == pytest.approx(expected, rel=1e-6)


def test_cosine_and_cka_by_their_definitions(states):
    mapped, own = (part.numpy() for part in states)
    fidelity = state_fidelity(*states)
    a, b = mapped - own.mean(0), own - own.mean(0)
    cosines = [x @ y / np.linalg.norm(x) / np.linalg.norm(y) for x, y in zip(a, b, strict=True)]
    assert fidelity.cosine == pytest.approx(np.mean(cosines), abs=1e-9)
    k, l = (m @ m.T for m in (mapped - mapped.mean(0), b))
    assert fidelity.cka == pytest.approx((k * l).sum() / np.linalg.norm(k) / np.linalg.norm(l), abs=1e-9)


def test_perfect_and_useless_maps(states):
    _, own = states
    perfect = state_fidelity(own, own)
    assert (perfect.fvu, perfect.cosine, perfect.cka) == pytest.approx((0, 1, 1))
    assert state_fidelity(own.mean(0).expand_as(own), own).fvu == pytest.approx(1)


def test_reachable_share_is_a_projection():
    g = torch.Generator().manual_seed(0)
    weight = torch.randn(10, 4, generator=g).double()
    inside = weight @ torch.randn(4, generator=g).double()
    assert reachable_share(weight, inside) == pytest.approx(1)
    vector = torch.randn(10, generator=g).double()
    fit = np.linalg.lstsq(weight.numpy(), vector.numpy(), rcond=None)[0]
    expected = np.square(weight.numpy() @ fit).sum() / vector.square().sum()
    assert reachable_share(weight, vector) == pytest.approx(float(expected))


def texts_of(model, count):
    block = next(Corpus("nano").pairs(model.tokenizer, model.tokenizer))
    return block[:count]


def test_stitching_exact_states_adds_nothing(nano):
    base = nano("S")
    planted = plant("rotation", base)
    stitching = Stitching(Site(base, 2), Site(planted, 2), texts_of(base, 6))
    added, kl = stitching(lambda h: h @ planted.basis.T)
    assert abs(added) < 1e-4
    assert abs(kl) < 1e-4


def test_stitching_is_the_slow_loop(nano):
    model = nano("S")
    site = Site(model, 2)
    texts = texts_of(model, 5)

    def mapping(h):
        return h * 0.7 + 1

    added = kl = count = 0.0
    for text in texts:
        ids = torch.tensor([text.target_ids])
        with torch.inference_mode():
            own = model.module(input_ids=ids).logits[0, :-1].double().log_softmax(-1)

        def steer(module, args, output):
            return torch.cat([output[:, :1], mapping(output[:, 1:])], 1)

        handle = model.blocks[1].register_forward_hook(steer)
        with torch.inference_mode():
            stitched = model.module(input_ids=ids).logits[0, :-1].double().log_softmax(-1)
        handle.remove()
        for t, token in enumerate(text.target_ids[1:]):
            added += float(own[t, token] - stitched[t, token])
            kl += float((own[t].exp() * (own[t] - stitched[t])).sum())
            count += 1
    measured = Stitching(site, site, texts, batch_size=2)(mapping)
    assert measured == pytest.approx((added / count, kl / count), rel=1e-3)
