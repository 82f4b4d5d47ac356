"""The forecast as a whole: known answers, leaving out that is real, one line for what is wrong."""

from __future__ import annotations

import json
from collections.abc import Callable

import numpy as np
import pytest
import torch
from forecast_pairs import KNOWN, ForecastPair, forecast_pair

from lrt_bench.data.task_reading.task_folders import find_task
from lrt_bench.errors import UserError
from lrt_bench.mappings import FixedLinear
from lrt_bench.mappings.base import Spectrum
from lrt_bench.mappings.mlp import Mlp
from lrt_bench.models.base import LanguageModel
from lrt_bench.models.sites import Site, many_layers
from lrt_bench.vectors.forecast.features import (
    vector_features,
)
from lrt_bench.vectors.forecast.forecast import Forecast, forecast, verdict
from lrt_bench.vectors.forecast.known_concepts import bench_of, known_concepts
from lrt_bench.vectors.forecast.mixed_model import (
    FEATURES,
    MeasuredTransfer,
    Prediction,
    family_points,
    predict,
)

pytestmark = pytest.mark.slow  # whole runs


@pytest.fixture(scope="module")
def of_number(rotated: ForecastPair) -> Forecast:
    return rotated.forecast(find_task("number").vector)


def test_a_planted_rotation_is_forecast_to_transfer(of_number: Forecast) -> None:
    assert of_number.steering_r2 is not None
    assert of_number.steering_r2 > 0.95
    assert of_number.verdict == "transfers"
    assert of_number.explained > 0.98
    assert of_number.round_trip > 0.98
    assert of_number.agreement > 0.98
    assert of_number.gain == pytest.approx(1, abs=0.05)
    assert all(one.transfers for one in of_number.known if one.steerable)


def test_states_paired_at_random_are_forecast_not_to_transfer(rotated: ForecastPair) -> None:
    moments = rotated.states.shuffled(0)
    weight = Spectrum(moments).weight(1e-3)
    forecast = rotated.forecast(
        rotated.vector("number"), FixedLinear(weight, moments.mean_y - weight @ moments.mean_x)
    )
    assert forecast.steering_r2 is not None
    assert forecast.steering_r2 < 0.4
    assert forecast.verdict in ("doubtful", "does not transfer")
    assert any("explains nothing" in warning for warning in forecast.warnings)
    assert abs(forecast.explained) < 0.2


def test_random_directions_are_forecast_lower_than_concepts(across: ForecastPair) -> None:
    noise = torch.randn(4, across.source.width, generator=torch.Generator().manual_seed(3))
    bench = bench_of(across.source, across.target, across.states, across.tasks)
    concepts = torch.stack([bench.inputs.source_states(task).vector for task in across.tasks])
    vectors = torch.cat([concepts, noise])
    features = vector_features(across.ridge.weight, across.states, vectors)
    (known,) = known_concepts(bench, [across.ridge])
    own = [
        MeasuredTransfer(
            "here", one.concept, one.steering_r2, tuple(features.at(place)[name] for name in FEATURES)
        )
        for place, one in enumerate(known)
    ]

    def said(place: int, left_out: list[str]) -> float:
        shares = [features.at(place)[name] for name in FEATURES]
        return predict(shares, own, family_points(), left_out).steering_r2

    forecasts = [said(place, [one.concept]) for place, one in enumerate(known)]
    chance = [said(len(known) + place, []) for place in range(len(noise))]
    assert np.mean(chance) < np.mean(forecasts) - 0.05
    assert features.variance[: len(known)].min() > features.variance[len(known) :].mean()


def test_a_built_in_concept_is_never_looked_at_for_itself(rotated: ForecastPair) -> None:
    forecast = rotated.forecast(rotated.vector("tense"))
    assert forecast.left_out == ("tense",)
    tense = next(one for one in forecast.known if one.concept == "tense")
    assert tense.cosine == pytest.approx(1)
    assert tense.forecast is None
    assert "not looked at, because nearly yours: tense" in "\n".join(forecast.lines())


def test_lines_and_record_say_the_same(of_number: Forecast) -> None:
    lines = of_number.lines()
    assert lines[0].startswith("forecast: transfers: steering R2 ")
    usable = [one for one in of_number.known if one.steerable and one.concept not in of_number.left_out]
    assert f"{sum(one.transfers for one in usable)} of {len(usable)} known concepts transfer" in lines[1]
    assert f"explains at R2 {of_number.explained:.2f}" in lines[2]
    record = json.loads(json.dumps(of_number.record(), allow_nan=False))
    assert record["verdict"] == "transfers"
    assert record["interval"][0] <= record["steering_r2"] <= record["interval"][1]
    assert [one["task"] for one in record["known"]] == list(KNOWN)
    assert all({"steering_r2", "forecast", "transfers", "cosine"} <= one.keys() for one in record["known"])


def test_bad_vectors_and_maps_are_one_line(rotated: ForecastPair) -> None:
    with pytest.raises(UserError, match=r"shape is \(5,\); nano/S layer 2 wants \(96,\)"):
        rotated.forecast(torch.ones(5))
    with pytest.raises(UserError, match="zero, or holds NaN"):
        rotated.forecast(torch.zeros(96))
    both = many_layers(rotated.source.model, [1, 2])
    with pytest.raises(UserError, match="not one layer's states"):
        forecast(both, rotated.target, rotated.ridge, rotated.states, torch.ones(192))
    with pytest.raises(UserError, match="Mlp is not linear"):
        forecast(rotated.source, rotated.target, Mlp(), rotated.states, torch.ones(96))


def test_verdicts() -> None:
    said = [(0.9, 0.6, 1.0), (0.9, 0.4, 1.0), (0.4, 0.1, 0.6), (0.1, -0.3, 0.4)]
    words = [verdict(Prediction(r2, (low, high), ())) for r2, low, high in said]
    assert words == ["transfers", "likely transfers", "doubtful", "does not transfer"]
    assert verdict(None) == "unknown"


def test_models_that_no_concept_steers_are_told_so(random_model: Callable[..., LanguageModel]) -> None:
    pair = forecast_pair(Site(random_model("llama"), 1), Site(random_model("llama", 1), 1), 1000)
    said = pair.forecast(torch.ones(pair.source.width))
    assert said.verdict == "unknown"
    assert said.steering_r2 is None
    assert said.interval is None
    assert said.lines()[0] == "forecast: unknown: too few built-in concepts steer the target to judge by"
    json.dumps(said.record(), allow_nan=False)
