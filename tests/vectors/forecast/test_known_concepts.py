"""The built-in concepts on a pair, beside a slow sweep."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from forecast_pairs import ForecastPair

from lrt_bench.data.tasks import ChoicePrompt
from lrt_bench.steering.concepts import concept_states
from lrt_bench.vectors.forecast.known_concepts import ALPHAS, bench_of, few, known_concepts, known_suite


def test_known_concepts_are_what_a_sweep_says(across: ForecastPair) -> None:
    bench = bench_of(across.source, across.target, across.states, across.tasks[:1])
    ((known,),) = known_concepts(bench, [across.ridge])
    task = across.tasks[0]
    native = concept_states(across.target, task.vector).vector
    moved = (across.ridge.weight @ across.vector(task.name).double()).float()
    model = across.target.model
    top = bottom = 0.0
    for row in few(task.choices):
        ids = torch.tensor([[0, *model.tokenizer(row.prompt, add_special_tokens=False)["input_ids"]]])
        options = [
            model.tokenizer(side, add_special_tokens=False)["input_ids"][0]
            for side in (row.positive, row.negative)
        ]
        states = model.states(ids, [across.target.layer])[across.target.layer]

        def m(
            vector: torch.Tensor, alpha: float, states: Any = states, options: list[int] = options
        ) -> float:
            steered = states + alpha * bench.spread * vector / vector.norm()
            with torch.inference_mode():
                last = model.head.all(model.finish(model.resume(steered, across.target.layer)))[0, -1]
            return float(last[options[0]] - last[options[1]])

        for alpha in ALPHAS:
            d_native, d_moved = (m(v, alpha) - m(v, 0.0) for v in (native, moved))
            top += (d_moved - d_native) ** 2
            bottom += d_native**2
    assert known.steering_r2 == pytest.approx(1 - top / bottom, abs=1e-3)
    assert known.steerable
    assert known.steering_r2 > known.random_r2


def test_few_prompts_stay_balanced() -> None:
    rows = [ChoicePrompt(prompt=str(i), positive="ab"[i < 30], negative="c") for i in range(60)]
    kept = few(rows)
    assert [row.positive for row in kept].count("a") == 12
    assert [row.positive for row in kept].count("b") == 12
    assert few(kept) == kept


def test_known_suites() -> None:
    assert known_suite("nano/S", "planted-rotation:nano/S").name == "nano-full"
    assert known_suite("nano/S", "org/model").name == "everyday"
