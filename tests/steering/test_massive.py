"""Known answers do not depend on a model's massive dimensions."""

from __future__ import annotations

import pytest
import torch
from massive import massive
from plain_behaviour import tokenized

from lrt_bench.data.datasets import Data
from lrt_bench.data.suites import CorpusSpec
from lrt_bench.data.task_reading.task_folders import find_task
from lrt_bench.mappings import find_mapping
from lrt_bench.models.decoders.planted import plant
from lrt_bench.models.sites import Site
from lrt_bench.models.states import collect
from lrt_bench.steering.behaviour import Concept, behaviours, share, weighted
from lrt_bench.steering.concepts import concept_states
from lrt_bench.steering.damage import NeutralText, damage_unit
from lrt_bench.steering.steered_texts import Setting

pytestmark = pytest.mark.slow  # three models, three fits each

MAPS = ("affine", "ridge", "orthogonal")
CORPUS = CorpusSpec(fit_tokens=4000, validation_tokens=600, sample_tokens=1000)


def scores(model):
    """Scores of linear maps on the model and its copy in another basis: {map: 100 x share over ceiling}."""
    source, target = Site(model, 2), Site(plant("rotation", model), 2)
    states = collect(source, target, CORPUS.corpus(Data()), CORPUS.budget, seed=0, batch_size=64)
    task = find_task("sentiment")
    carried, own = (concept_states(site, task.vector[:24]) for site in (source, target))
    neutral = NeutralText(target, [text.target_ids for text in states.validation_text])
    setting = Setting((-0.25, 0.25), damage_unit(neutral, target.width, 1.0).length, 4)
    prompts = [tokenized(model.tokenizer, row.prompt) for row in task.choices[:12]]
    concept = Concept(prompts, own.half(1).vector[None], [0] * len(prompts))
    [behaviour] = behaviours(target, [concept], setting)
    rows = [own.half(0).vector]
    for name in MAPS:
        mapping = find_mapping(name)()
        mapping.fit(states.copy())
        half = carried.half(0)
        rows.append(mapping.transfer(half.positive, half.negative).float())
    divergence = weighted(behaviour.divergence(torch.stack(rows)[:, None])[..., 0], 0.25)
    native = weighted(behaviour.unsteered[..., 0], 0.25)
    ceiling, *shares = (share(row[:, None], native) for row in divergence)
    assert 0.05 < ceiling < 0.995  # halves differ: a map is not given the answer
    return {name: 100 * each / ceiling for name, each in zip(MAPS, shares, strict=True)}


def test_a_planted_pair_scores_alike_with_any_number_of_massive_dimensions(nano):
    by_count = {count: scores(massive(nano("S").tokenizer, count)) for count in (0, 8, 40)}
    for name in MAPS:
        values = [scored[name] for scored in by_count.values()]
        assert values == pytest.approx([100] * 3, abs=0.1), name
        assert max(values) - min(values) < 0.5
