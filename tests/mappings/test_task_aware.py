"""Maps that are given concepts' texts: what they find, and what an own-text fit shows of anything."""

from __future__ import annotations

import pytest
import torch

from lrt_bench.mappings.concepts.concept_basis import ConceptBasis
from lrt_bench.mappings.concepts.task_aware import KnownConcept
from lrt_bench.mappings.concepts.texts import OtherTexts, OwnTexts, OwnTextsNoise, OwnTextsPermuted

D_SOURCE, D_TARGET = 60, 40


def concept(number, n, tie=True) -> KnownConcept:
    """A concept of two models; without a tie the target's states have nothing to do with the source's."""
    g = torch.Generator().manual_seed(number)
    planted = torch.randn(D_TARGET, D_SOURCE, generator=torch.Generator().manual_seed(99)) / D_SOURCE**0.5
    positive = torch.randn(n, D_SOURCE, generator=g) + torch.randn(D_SOURCE, generator=g)
    negative = torch.randn(n, D_SOURCE, generator=g)
    if tie:
        return KnownConcept(positive, negative, positive @ planted.T, negative @ planted.T)
    targets = torch.randn(n, D_TARGET, generator=g) + torch.randn(D_TARGET, generator=g)
    return KnownConcept(positive, negative, targets, torch.randn(n, D_TARGET, generator=g))


def cosine(method, concepts, carried) -> float:
    mapping = method()
    vector = mapping.given(concepts).transfer(carried.source_positive, carried.source_negative)
    return float(torch.nn.functional.cosine_similarity(vector.double(), carried.target_vector, dim=0))


@pytest.mark.parametrize("method", [OwnTexts, OwnTextsPermuted, OwnTextsNoise])
def test_an_own_text_fit_finds_any_vector_with_no_more_texts_than_dimensions(method):
    """Between models that share nothing at all, and from noise; with many more texts it no longer does."""
    few, many = concept(1, 25, tie=False), concept(1, 3000, tie=False)
    assert cosine(method, [few], few) > 0.9999
    if method is OwnTextsNoise:
        assert cosine(method, [many], many) < 0.99


def test_texts_of_other_concepts_find_a_planted_map_and_no_map_where_there_is_none():
    concepts = [concept(number, 25) for number in range(8)]
    assert cosine(OtherTexts, concepts[1:], concepts[0]) > 0.999
    strangers = [concept(number, 25, tie=False) for number in range(8)]
    assert abs(cosine(OtherTexts, strangers[1:], strangers[0])) < 0.6


def test_a_basis_of_enough_concepts_carries_what_lies_in_it():
    concepts = [concept(number, 25) for number in range(1, 80)]
    assert cosine(ConceptBasis, concepts, concept(0, 25)) > 0.95
    strangers = [concept(number, 25, tie=False) for number in range(1, 80)]
    assert abs(cosine(ConceptBasis, strangers, concept(0, 25, tie=False))) < 0.6


def test_a_basis_is_ridge_regression_on_the_vectors():
    from sklearn.linear_model import Ridge

    concepts = [concept(number, 9) for number in range(6)]
    mapping = ConceptBasis().given(concepts)
    source = torch.stack([one.source_vector for one in concepts], 1)
    target = torch.stack([one.target_vector for one in concepts], 1)
    asked = concept(7, 9).source_vector
    written = [
        target @ torch.from_numpy(Ridge(alpha=s * float((source**2).sum(0).mean()), fit_intercept=False)
                                  .fit(source, asked).coef_)
        for s in (1e-4, 1e-3, 1e-2, 1e-1, 1.0, 10.0)
    ]  # fmt: skip
    carried = mapping.weight @ asked
    assert min(float((carried - one).norm()) for one in written) < 1e-8 * float(carried.norm())
