"""The forecast: known answers, features beside slow loops, leaving out that is real, the shipped record."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from scipy.stats import spearmanr

from lrt_bench.data.corpus import Budget, Corpus
from lrt_bench.data.task_folders import find_task
from lrt_bench.data.tasks import ChoicePrompt, Task
from lrt_bench.errors import UserError
from lrt_bench.files.resources import LEADERBOARD
from lrt_bench.mappings import FixedLinear, LinearMapping
from lrt_bench.mappings.base import Spectrum
from lrt_bench.mappings.mlp import Mlp
from lrt_bench.mappings.moments import Moments, spread
from lrt_bench.mappings.ridge import Ridge
from lrt_bench.models.base import LanguageModel
from lrt_bench.models.loading import Models
from lrt_bench.models.planted import plant
from lrt_bench.models.sites import Site, many_layers
from lrt_bench.models.states import PairedStates, collect
from lrt_bench.steering.concepts import concept_states
from lrt_bench.vectors.forecast.features import (
    PROBE_ALPHA,
    PROBE_TEXTS,
    PROBE_TOKENS,
    WHITENING,
    NeutralText,
    explained_shares,
    vector_features,
    way_back,
)
from lrt_bench.vectors.forecast.forecast import Forecast, forecast, forecast_lines, verdict
from lrt_bench.vectors.forecast.known_concepts import ALPHAS, bench_of, few, known_concepts, known_suite
from lrt_bench.vectors.forecast.mixed_model import (
    FAMILY_DATA,
    FEATURES,
    NOISE,
    PAIR_OFFSET,
    PAIR_SLOPES,
    SHARED,
    Point,
    Prediction,
    concept_left_out,
    conformal,
    design,
    family_points,
    mixed_model,
    predict,
    stretched,
    unstretched,
)
from scripts.forecast.check import kept_at, main, pairs
from scripts.forecast.figure import draw_scatter
from scripts.forecast.score import Scored, judged, ranks, spearman, within

KNOWN = ("sentiment", "tense", "person", "mood", "topic-dogs")


@dataclass
class Setting:
    source: Site
    target: Site
    states: PairedStates
    ridge: LinearMapping
    tasks: list[Task]

    def forecast(self, vector: Any, mapping: LinearMapping | None = None, **more: Any) -> Forecast:
        return forecast(
            self.source, self.target, mapping or self.ridge, self.states, vector, tasks=self.tasks, **more
        )

    def vector(self, task: str) -> torch.Tensor:
        return concept_states(self.source, find_task(task).vector).vector


def setting(source: Site, target: Site, tokens: int = 4000) -> Setting:
    states = collect(source, target, Corpus("nano", 64), Budget(tokens, 600, 500))
    ridge = Ridge()
    ridge.fit(states)
    return Setting(source, target, states, ridge, [find_task(name) for name in KNOWN])


@pytest.fixture(scope="module")
def rotated(nano: Callable[[str], LanguageModel]) -> Setting:
    """S at layer 2 and S in another basis: the true map is linear."""
    return setting(Site(nano("S"), 2), Site(plant("rotation", nano("S")), 2))


@pytest.fixture(scope="module")
def across(nano: Callable[[str], LanguageModel]) -> Setting:
    return setting(Site(nano("S"), 2), Site(nano("S2"), 2))


@pytest.fixture(scope="module")
def of_number(rotated: Setting) -> Forecast:
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


def test_states_paired_at_random_are_forecast_not_to_transfer(rotated: Setting) -> None:
    moments = rotated.states.shuffled(0)
    weight = Spectrum(moments).weight(1e-3)
    found = rotated.forecast(
        rotated.vector("number"), FixedLinear(weight, moments.mean_y - weight @ moments.mean_x)
    )
    assert found.steering_r2 is not None
    assert found.steering_r2 < 0.4
    assert found.verdict in ("doubtful", "does not transfer")
    assert any("explains nothing" in warning for warning in found.warnings)
    assert abs(found.explained) < 0.2


def test_random_directions_are_forecast_lower_than_concepts(across: Setting) -> None:
    noise = torch.randn(4, across.source.width, generator=torch.Generator().manual_seed(3))
    bench = bench_of(across.source, across.target, across.states, across.tasks)
    concepts = torch.stack([bench.source_states(task).vector for task in across.tasks])
    vectors = torch.cat([concepts, noise])
    found = vector_features(across.ridge.weight, across.states, vectors)
    (known,) = known_concepts(bench, [across.ridge])
    own = [
        Point("here", one.concept, one.steering_r2, tuple(found.at(place)[name] for name in FEATURES))
        for place, one in enumerate(known)
    ]

    def said(place: int, left_out: list[str]) -> float:
        asked = [found.at(place)[name] for name in FEATURES]
        return predict(asked, own, family_points(), left_out).steering_r2

    forecasts = [said(place, [one.concept]) for place, one in enumerate(known)]
    chance = [said(len(known) + place, []) for place in range(len(noise))]
    assert np.mean(chance) < np.mean(forecasts) - 0.05
    assert found.variance[: len(known)].min() > found.variance[len(known) :].mean()


def test_a_built_in_concept_is_never_looked_at_for_itself(rotated: Setting) -> None:
    found = rotated.forecast(rotated.vector("tense"))
    assert found.left_out == ("tense",)
    tense = next(one for one in found.known if one.concept == "tense")
    assert tense.cosine == pytest.approx(1)
    assert tense.forecast is None
    assert "not looked at, because nearly yours: tense" in "\n".join(found.lines())


def test_what_is_left_out_changes_nothing() -> None:
    family = family_points()
    own = [replace(point, pair="here") for point in family if point.pair == family[0].pair]
    asked, concept = own[0].features, own[0].concept

    def changed(points: list[Point]) -> list[Point]:
        return [
            replace(point, measured=-point.measured) if point.concept == concept else point
            for point in points
        ]

    assert predict(asked, own, family, [concept]) == predict(
        asked, changed(own), changed(list(family)), [concept]
    )
    assert predict(asked, own, family) != predict(asked, changed(own), family)
    at = [point.concept == concept for point in family]
    before, after = concept_left_out(family), concept_left_out(changed(list(family)))
    assert np.array_equal(before[at], after[at])
    assert not np.allclose(before[np.logical_not(at)], after[np.logical_not(at)])


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


def test_bad_vectors_and_maps_are_one_line(rotated: Setting) -> None:
    with pytest.raises(UserError, match=r"shape is \(5,\); nano/S layer 2 wants \(96,\)"):
        rotated.forecast(torch.ones(5))
    with pytest.raises(UserError, match="zero, or holds NaN"):
        rotated.forecast(torch.zeros(96))
    both = many_layers(rotated.source.model, [1, 2])
    with pytest.raises(UserError, match="not one layer's states"):
        forecast(both, rotated.target, rotated.ridge, rotated.states, torch.ones(192))
    with pytest.raises(UserError, match="Mlp is not linear"):
        forecast_lines(rotated.source, rotated.target, Mlp(), rotated.states, torch.ones(96))


def test_verdicts() -> None:
    said = [(0.9, 0.6, 1.0), (0.9, 0.4, 1.0), (0.4, 0.1, 0.6), (0.1, -0.3, 0.4)]
    words = [verdict(Prediction(r2, (low, high), ())) for r2, low, high in said]
    assert words == ["transfers", "likely transfers", "doubtful", "does not transfer"]
    assert verdict(None) == "unknown"


# features beside slow loops


def test_explained_is_the_weighted_squared_canonical_correlation() -> None:
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(4000, 6, generator=generator, dtype=torch.float64) * torch.arange(1, 7)
    y = x[:, :4] @ torch.randn(4, 5, generator=generator, dtype=torch.float64)
    y = y + torch.randn(4000, 5, generator=generator, dtype=torch.float64)
    x, y = x - x.mean(0), y - y.mean(0)
    cov_x, cov_y, cross = x.T @ x / 4000, y.T @ y / 4000, x.T @ y / 4000
    weight, back = torch.linalg.solve(cov_x, cross).T, torch.linalg.solve(cov_y, cross.T).T
    values, basis = torch.linalg.eigh(cov_x)
    whiten = basis @ torch.diag(values.rsqrt()) @ basis.T
    values, basis = torch.linalg.eigh(cov_y)
    u, correlations, _ = torch.linalg.svd(whiten @ cross @ basis @ torch.diag(values.rsqrt()) @ basis.T)
    vectors = torch.randn(3, 6, generator=generator, dtype=torch.float64)
    found, cosine = explained_shares(weight, back, cov_x, vectors)
    for vector, explained, returned in zip(vectors, found, cosine, strict=True):
        inside = (u.T @ (whiten @ vector)).square()  # of v where it is white, along each canonical direction
        wanted = float((inside[:5] * correlations.square()).sum() / inside.sum())
        assert explained == pytest.approx(wanted, rel=5 * WHITENING)
        there_and_back = back @ (weight @ vector)
        slow = float(there_and_back @ vector / there_and_back.norm() / vector.norm())
        assert returned == pytest.approx(slow)


def test_the_way_back_is_ridge_from_the_target(rotated: Setting) -> None:
    back = way_back(rotated.states)
    x, y = rotated.states.validation
    moments = rotated.states.moments
    returned = (y.double() - moments.mean_y) @ back.T + moments.mean_x
    assert float((returned - x).square().sum() / (x - x.mean(0)).square().sum()) < 1e-3


def test_agreement_is_a_weighted_correlation_of_log_probabilities(across: Setting) -> None:
    text = NeutralText(across.source, across.target, across.states)
    vectors = torch.stack([across.vector("mood"), across.vector("tense")])
    moved = vectors @ across.ridge.weight.float().T
    found = text.agreement(text.changes(0, vectors), text.changes(1, moved))
    moments = across.states.moments
    sides = (
        (across.source, vectors, spread(moments.variance_x)),
        (across.target, moved, spread(moments.variance_y)),
    )
    for place in range(2):
        sums = np.zeros(3)
        for paired in across.states.validation_text[:PROBE_TEXTS]:
            ids = torch.tensor([paired.source_ids[:PROBE_TOKENS]])  # one tokenizer: both sides read the same
            base, change = zip(*(_naive(site, ids, v[place], unit) for site, v, unit in sides), strict=True)
            for at in paired.source_at[paired.source_at < PROBE_TOKENS]:
                weight = np.sqrt((np.exp(base[0][at]) + np.exp(base[1][at])) / 2)
                weight /= weight.sum()
                a, b = (each[at] - (weight * each[at]).sum() for each in change)
                sums += [(weight * a * b).sum(), (weight * a * a).sum(), (weight * b * b).sum()]
        assert found[place] == pytest.approx(sums[0] / math.sqrt(sums[1] * sums[2]), rel=1e-3)


def test_agreement_across_tokenizers(nano: Callable[[str], LanguageModel]) -> None:
    """The same model with its ids permuted and rare merges undone: tokens are compared by their names."""
    base = nano("S")
    other = plant("retokenized", base)
    found = setting(Site(base, 2), Site(other, 2), 1000)
    text = NeutralText(found.source, found.target, found.states)
    assert not torch.equal(*text.tokens)
    names = [
        model.tokenizer.convert_ids_to_tokens(ids.tolist())
        for model, ids in zip((base, other), text.tokens, strict=True)
    ]
    assert names[0] == names[1]
    v = found.vector("mood")
    right = text.agreement(text.changes(0, v[None]), text.changes(1, (other.basis @ v)[None]))
    wrong = text.agreement(text.changes(0, v[None]), text.changes(1, v[None]))
    assert right[0] > 0.9
    assert abs(wrong[0]) < 0.5


def _naive(site: Site, ids: torch.Tensor, vector: torch.Tensor, unit: float) -> tuple[np.ndarray, np.ndarray]:
    """Log-probabilities [t, vocabulary] of the model's own forward, unsteered, and how steering by a hook
    changes them: half the difference of both ways."""
    module = site.model.module  # type: ignore[attr-defined]
    runs = []
    for sign in (0, 1, -1):
        step = sign * PROBE_ALPHA * unit * vector / vector.norm()

        def steer(block: Any, inputs: Any, output: Any, step: torch.Tensor = step) -> Any:
            return (output[0] + step, *output[1:]) if isinstance(output, tuple) else output + step

        hook = module.model.layers[site.layer - 1].register_forward_hook(steer)
        with torch.inference_mode():
            runs.append(module(ids).logits[0].double().log_softmax(-1).numpy())
        hook.remove()
    return runs[0], (runs[1] - runs[2]) / 2


def test_gain_and_variance_beside_numpy(across: Setting) -> None:
    found = vector_features(across.ridge.weight, across.states, across.vector("person")[None])
    moments = across.states.moments
    here, there = spread(moments.variance_x), spread(moments.variance_y)
    vector, weight = across.vector("person").double().numpy(), across.ridge.weight.numpy()
    assert found.gain[0] == pytest.approx(
        np.linalg.norm(weight @ vector) / there / (np.linalg.norm(vector) / here)
    )
    along = vector / np.linalg.norm(vector)
    slow = sum(
        along[i] * along[j] * float(moments.s_xx[i, j]) / moments.n for i in range(96) for j in range(96)
    )
    assert found.variance[0] == pytest.approx(slow / here**2)


# known concepts


def test_known_concepts_are_what_a_sweep_says(across: Setting) -> None:
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


# the model beside independent references


def _points(seed: int, pairs: int = 4, concepts: int = 6) -> list[Point]:
    rng = np.random.default_rng(seed)
    return [
        Point(f"p{p}", f"c{c}", float(rng.uniform(-0.5, 1)), tuple(rng.uniform(0, 1, len(FEATURES))))
        for p in range(pairs)
        for c in range(concepts)
    ]


def test_the_mixed_model_is_its_gaussian_process() -> None:
    points = _points(0)
    x, pairs = design(points), np.array([point.pair for point in points])
    values = stretched(np.array([point.measured for point in points]))
    known = np.array([point.concept != "c2" for point in points]) & (pairs != "p3")
    wanted = np.flatnonzero(~known)
    linear = x[:, 1:] @ x[:, 1:].T
    same = pairs[:, None] == pairs
    kernel = SHARED * (1 + linear) + same * (PAIR_OFFSET + PAIR_SLOPES * linear)
    inner = kernel[np.ix_(known, known)] + NOISE * np.eye(known.sum())
    centre = values[known].mean()
    slow = centre + kernel[np.ix_(wanted, np.flatnonzero(known))] @ np.linalg.inv(inner) @ (
        values[known] - centre
    )
    assert np.allclose(mixed_model(x, values, pairs, known, wanted), slow)


def test_stretching_turns_back() -> None:
    r2 = np.linspace(-1, 1, 41)
    assert np.allclose(unstretched(stretched(r2)), r2)
    assert np.all(np.diff(stretched(r2)) > 0)


def test_conformal_quantiles_hold_what_they_promise() -> None:
    rng = np.random.default_rng(5)
    inside = []
    for _ in range(2000):
        drawn = rng.standard_normal(60)
        low, high = conformal(drawn[:-1])
        inside.append(low <= drawn[-1] <= high)
    assert 0.9 <= np.mean(inside) < 0.95


def test_rank_figures_are_those_of_scipy() -> None:
    rng = np.random.default_rng(2)
    x, y = rng.integers(0, 6, 40).astype(float), rng.standard_normal(40)
    assert spearman(x, y) == pytest.approx(spearmanr(x, y)[0])
    assert np.array_equal(ranks(np.array([3.0, 1.0, 3.0])), [1.5, 0.0, 1.5])
    groups = ["a"] * 20 + ["b"] * 20
    each = [spearmanr(x[part], y[part])[0] for part in (slice(20), slice(20, 40))]
    assert within(groups, x, y) == pytest.approx(np.mean(each))


# the shipped record


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
    here = {point["concept"]: point["steering_r2"] for point in points if point["pair"] == "S-L, ridge"}
    for task in result["tasks"]:
        assert here[task["concept"]] == pytest.approx(task["steering_r2"], abs=2e-3)


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


def test_judgement_of_forecasts_without_content() -> None:
    rng = np.random.default_rng(8)
    points = [
        Scored(f"p{i % 5}", "ridge", f"c{i}", *rng.uniform(-1, 1, 6), interval=(-1.0, 1.0))
        for i in range(200)
    ]
    found = judged("noise", points)
    assert found.p > 0.01
    assert abs(found.spearman or 0) < 0.2
    assert found.coverage == 1
    exact = judged("exact", [replace(point, forecast=point.measured) for point in points])
    assert exact.spearman == pytest.approx(1)
    assert exact.within == pytest.approx(1)
    assert exact.error == 0
    assert exact.p < 0.01


def test_the_scatter_is_drawn(tmp_path: Path) -> None:
    points = [
        Scored("S-L", name, f"c{i}", i / 10, i / 10, i / 10, 0.5, 0.5, 0.5, (0.0, 1.0))
        for name in ("ridge", "orthogonal")
        for i in range(10)
    ]
    drawn = draw_scatter(points, tmp_path / "scatter.svg").read_text()
    assert "Spearman 1.00, n = 10" in drawn
    assert "orthogonal" in drawn


def test_moments_are_turned_without_touching_them(rotated: Setting) -> None:
    before = Moments(**{name: getattr(rotated.states.moments, name) for name in vars(rotated.states.moments)})
    way_back(rotated.states)
    assert torch.equal(before.s_xy, rotated.states.moments.s_xy)


def test_models_that_no_concept_steers_are_told_so(random_model: Callable[..., LanguageModel]) -> None:
    found = setting(Site(random_model("llama"), 1), Site(random_model("llama", 1), 1), 1000)
    said = found.forecast(torch.ones(found.source.width))
    assert said.verdict == "unknown"
    assert said.steering_r2 is None
    assert said.interval is None
    assert said.lines()[0] == "forecast: unknown: too few built-in concepts steer the target to judge by"
    json.dumps(said.record(), allow_nan=False)
