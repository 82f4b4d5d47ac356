"""The known answer through a second tokenizer: other ids, other cuts, the same text and function."""

from __future__ import annotations

import pytest
import torch

from lrt_bench.data.corpus import encode
from lrt_bench.data.suites import ad_hoc, find_suite
from lrt_bench.errors import UserError
from lrt_bench.evaluation.config import RunConfig
from lrt_bench.evaluation.evaluation import Evaluation
from lrt_bench.evaluation.sites import layer_at
from lrt_bench.models.decoders.planted import retokenized
from lrt_bench.models.loading import Models

TASKS = ["sentiment", "tense", "case"]
SPEC = "planted-retokenized:nano/S"


def test_the_second_tokenizer_writes_the_same_text_in_other_tokens():
    base = Models().get("nano/S")
    tokenizer, order = retokenized(base.tokenizer, len(base.head.weight))
    assert sorted(order.tolist()) == list(range(len(order)))
    text = "She was in the garden. The dog barks loudly at the neighbours."
    theirs, ours = encode(base.tokenizer, [text])[0], encode(tokenizer, [text])[0]
    assert ours.ids != theirs.ids
    assert ours.ids.count(tokenizer.bos_token_id) == 1
    assert tokenizer.decode(ours.ids[1:]) == base.tokenizer.decode(theirs.ids[1:])
    assert base.tokenizer.convert_tokens_to_ids(tokenizer.tokenize("dog")[0]) == int(
        order[tokenizer.convert_tokens_to_ids(tokenizer.tokenize("dog")[0])]
    )


def test_its_states_are_the_base_s_rotated_where_both_cut_alike():
    models = Models()
    base, planted = models.get("nano/S"), models.get(SPEC)
    ids = torch.randint(5, 200, (2, 9), generator=torch.Generator().manual_seed(1))
    theirs = planted.order[ids]  # type: ignore[attr-defined]
    assert torch.allclose(planted.logits(ids), base.logits(theirs)[..., planted.order], atol=2e-4)  # type: ignore[attr-defined]


@pytest.mark.slow
@pytest.mark.parametrize("sides", [("nano/S", SPEC), (SPEC, "nano/S")])
def test_both_ways_score_at_least_95(sides, tmp_path):
    suite = ad_hoc(find_suite("nano"), sides[0], 2, sides[1], 2)
    cells = Evaluation(suite, RunConfig(mappings=["ridge"], tasks=TASKS, out=tmp_path)).run()
    results = {cell.result.mapping.name: cell.result for cell in cells}
    assert results["ridge"].transfer_score >= 95
    assert abs(results["shuffled"].transfer_score) < 30
    assert 0.9 < results["ridge"].pair.source_coverage <= 1
    assert 0.9 < results["ridge"].pair.target_coverage <= 1
    assert results["ridge"].pair.source_coverage != results["ridge"].pair.target_coverage


def test_layers_as_shares_of_the_depth():
    assert layer_at("20/26", 26) == 20
    assert layer_at("20/26", 3) == 2
    assert layer_at("1/40", 3) == 1
    assert layer_at(None, 30) == 21
    assert layer_at(5, 6) == 5


def test_a_stand_in_of_no_model_is_named(tmp_path):
    suite = ad_hoc(find_suite("nano"), "nano/S", 2, "nano/L", 3)
    with pytest.raises(UserError, match="no model of these pairs; they are of nano/L, nano/S"):
        Evaluation(
            suite, RunConfig(mappings=["ridge"], tasks=TASKS, out=tmp_path, models={"org/x": "nano/S"})
        ).run()
