"""Probes against scikit-learn and planted maps, and what they refuse."""

from __future__ import annotations

import pytest
import torch
from sklearn.metrics import roc_auc_score

from lrt_bench.errors import UserError
from lrt_bench.mappings import FixedLinear
from lrt_bench.steering.concepts import ConceptStates
from lrt_bench.vectors.probe import Probe, auroc, balanced_accuracy, fit_probe


def concept(d=6, n=40, gap=3.0, seed=0):
    generator = torch.Generator().manual_seed(seed)
    scale = torch.logspace(-2, 2, d)
    mean = torch.zeros(d)
    mean[0] = gap
    noise = torch.randn(2 * n, d, generator=generator)
    return ConceptStates((noise[:n] + mean) * scale, noise[n:] * scale)


def test_a_probe_reads_the_other_half_as_well_as_the_true_direction_does():
    states = concept()
    probe = fit_probe(states.half(0))
    truth = torch.zeros(6)
    truth[0] = 1.0
    assert auroc(probe, states.half(1)) >= auroc(Probe(truth, 0.0), states.half(1)) - 0.02
    assert balanced_accuracy(probe, states.half(1)) > 0.85


def test_auroc_is_scikit_learns_and_a_reversed_probe_has_the_rest():
    states, weight = concept(gap=0.5), torch.linspace(-1, 1, 6)
    scores = torch.cat([states.positive, states.negative]).double() @ weight.double()
    want = roc_auc_score([1] * 40 + [0] * 40, scores.numpy())
    assert auroc(Probe(weight, 3.0), states) == pytest.approx(want, abs=1e-12)
    assert auroc(Probe(-weight, 0.0), states) == pytest.approx(1 - want, abs=1e-12)


def test_through_the_true_map_back_a_probe_scores_as_before():
    """Target states are a widened rotation of the source's: the map back undoes it, as A w would not."""
    states = concept()
    generator = torch.Generator().manual_seed(1)
    forth = torch.linalg.qr(torch.randn(9, 6, generator=generator, dtype=torch.float64))[0]
    stretched = forth @ torch.diag(torch.logspace(-1, 1, 6, dtype=torch.float64))
    shift = torch.randn(9, generator=generator, dtype=torch.float64)
    there = ConceptStates(
        *(side.double() @ stretched.T + shift for side in (states.positive, states.negative))
    )
    inverse = torch.linalg.pinv(stretched)
    back = FixedLinear(inverse, -inverse @ shift)
    probe = fit_probe(states)
    carried = probe.carried(back)
    torch.testing.assert_close(carried(there.positive), probe(states.positive), rtol=1e-6, atol=1e-6)
    assert auroc(carried, there) == pytest.approx(auroc(probe, states), abs=1e-9)
    assert balanced_accuracy(carried, there) == balanced_accuracy(probe, states)


def test_too_few_texts_and_a_map_the_wrong_way_are_refused():
    few = ConceptStates(torch.randn(3, 4), torch.randn(8, 4))
    with pytest.raises(UserError, match="3 texts on a side: give 4 or more"):
        fit_probe(few)
    with pytest.raises(UserError, match=r"of width 6.*of width 9.*from the target to the source"):
        fit_probe(concept()).carried(FixedLinear(torch.zeros(9, 6), torch.zeros(9)))


def test_a_feature_that_never_varies_weighs_nothing():
    states = concept()
    still = torch.full((40, 1), 7.0)
    wider = ConceptStates(torch.cat([states.positive, still], 1), torch.cat([states.negative, still], 1))
    assert float(fit_probe(wider).weight[-1]) == pytest.approx(0.0, abs=1e-9)
