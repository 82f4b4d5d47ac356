"""The check of the forecast: the record that it shipped, its figures, and what it draws."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from scipy.stats import spearmanr

from lrt_bench.files.resources import LEADERBOARD
from lrt_bench.models.loading import Models
from lrt_bench.vectors.forecast.mixed_model import (
    FAMILY_DATA,
    FEATURES,
    concept_left_out,
    family_points,
    unstretched,
)
from scripts.forecast.check import kept_at, main, pairs
from scripts.forecast.figure import draw_scatter
from scripts.forecast.score import ScoredForecast, judged, ranks, spearman, within

pytestmark = pytest.mark.slow  # whole runs


@pytest.fixture(scope="module")
def record() -> dict[str, Any]:
    return json.loads(FAMILY_DATA.read_text())


@pytest.fixture(scope="module")
def points(record: dict[str, Any]) -> list[dict[str, Any]]:
    return [
        {"pair": pair, "concept": concept} | dict(zip(record["columns"], row, strict=True))
        for pair, concepts in record["points"].items()
        for concept, row in concepts.items()
    ]


def test_the_shipped_record_is_whole(record: dict[str, Any], points: list[dict[str, Any]]) -> None:
    assert record["columns"] == ["steering_r2", "quick_r2", "forecast", *FEATURES]
    for point in points:
        assert all(math.isfinite(point[name]) for name in record["columns"])
        assert max(point[name] for name in record["columns"][:3]) <= 1
    assert {point["pair"].partition(",")[0] for point in points} == {pair.name for pair in pairs()}
    assert FAMILY_DATA.stat().st_size < 250_000


def test_forecasts_of_the_family_correlate_with_what_was_measured(
    record: dict[str, Any], points: list[dict[str, Any]]
) -> None:
    """The forecasts are made again here, each concept left out on all pairs, and ranked by scipy."""
    again = unstretched(concept_left_out(family_points()))
    assert np.allclose(again, [point["forecast"] for point in points], atol=0.02)
    measured = np.array([point["steering_r2"] for point in points])
    real = np.array(["planted" not in point["pair"] for point in points])
    full = np.array([point["pair"].endswith(", ridge") for point in points])
    said = {each["name"]: each for each in record["judgements"]}
    for name, chosen in (
        ("ridge, pairs of two models", real & full),
        ("all maps, pairs of two models", real),
    ):
        rho = spearmanr(again[chosen], measured[chosen])[0]
        assert rho >= 0.7
        assert said[name]["n"] == chosen.sum()
        assert said[name]["spearman"] == pytest.approx(rho, abs=0.01)
        assert said[name]["null"] < rho


def test_the_record_says_what_the_evaluation_says(points: list[dict[str, Any]]) -> None:
    result = json.loads((LEADERBOARD / "results" / "nano" / "S-L" / "ridge.json").read_text())
    by_concept = {point["concept"]: point["steering_r2"] for point in points if point["pair"] == "S-L, ridge"}
    shared = [task for task in result["tasks"] if task["concept"] in by_concept]
    assert len(shared) >= 9
    for task in shared:
        assert by_concept[task["concept"]] == pytest.approx(task["steering_r2"], abs=2e-3)


def test_few_prompts_and_alphas_rank_concepts_as_all_do(points: list[dict[str, Any]]) -> None:
    quick, whole = (
        [point[key] for point in points if "planted" not in point["pair"]]
        for key in ("quick_r2", "steering_r2")
    )
    assert spearmanr(quick, whole)[0] > 0.98


def test_a_stopped_check_goes_on_from_its_cache(tmp_path: Path, points: list[dict[str, Any]]) -> None:
    """Every pair's rows lie in the cache: nothing is measured, and all three outputs are written."""
    models, cache, rng = Models(), tmp_path / "cache", np.random.default_rng(0)
    cache.mkdir()
    points = points[:5]
    for pair in pairs():
        rows = [
            {"pair": pair.name, "map": "ridge", "states_r2": rng.uniform(), "agreement": rng.uniform()}
            | {key: point[key] for key in ("concept", "steering_r2", "quick_r2", *FEATURES)}
            for point in points
        ]
        kept_at(cache, pair, models).write_text(json.dumps(rows))
    out, figure = tmp_path / "points.json", tmp_path / "scatter.svg"
    done = CliRunner().invoke(main, ["--cache", str(cache), "--out", str(out), "--figure", str(figure)])
    assert done.exit_code == 0, done.output
    assert "measuring" not in done.output
    assert "S-L: Spearman" in done.output
    written = json.loads(out.read_text())
    assert set(written["points"]) == {f"{pair.name}, ridge" for pair in pairs()}
    assert len(family_points(out)) == len(pairs()) * len(points)
    assert f"n = {len(points) * sum('planted' not in pair.name for pair in pairs())}" in figure.read_text()


def test_rank_figures_are_those_of_scipy() -> None:
    rng = np.random.default_rng(2)
    x, y = rng.integers(0, 6, 40).astype(float), rng.standard_normal(40)
    assert spearman(x, y) == pytest.approx(spearmanr(x, y)[0])
    assert np.array_equal(ranks(np.array([3.0, 1.0, 3.0])), [1.5, 0.0, 1.5])
    groups = ["a"] * 20 + ["b"] * 20
    each = [spearmanr(x[part], y[part])[0] for part in (slice(20), slice(20, 40))]
    assert within(groups, x, y) == pytest.approx(np.mean(each))


def test_judgement_of_forecasts_without_content() -> None:
    rng = np.random.default_rng(8)
    points = [
        ScoredForecast(f"p{i % 5}", "ridge", f"c{i}", *rng.uniform(-1, 1, 6), interval=(-1.0, 1.0))
        for i in range(200)
    ]
    verdict = judged("noise", points)
    assert verdict.p > 0.01
    assert abs(verdict.spearman or 0) < 0.2
    assert verdict.coverage == 1
    exact = judged("exact", [replace(point, forecast=point.measured) for point in points])
    assert exact.spearman == pytest.approx(1)
    assert exact.within == pytest.approx(1)
    assert exact.error == 0
    assert exact.p < 0.01


def test_the_scatter_is_drawn(tmp_path: Path) -> None:
    points = [
        ScoredForecast("S-L", name, f"c{i}", i / 10, i / 10, i / 10, 0.5, 0.5, 0.5, (0.0, 1.0))
        for name in ("ridge", "orthogonal")
        for i in range(10)
    ]
    drawn = draw_scatter(points, tmp_path / "scatter.svg").read_text()
    assert "Spearman 1.00, n = 10" in drawn
    assert "orthogonal" in drawn
