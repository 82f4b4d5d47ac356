"""Is the forecast any good? ``python -m scripts.forecast.check --cache DIR``: the embedded family says.

Every pair of the suites nano-full and nano, under ridge at the suite's budget and under weaker maps; every
concept is forecast with its own points left out on all pairs, and compared with the steering R2 of a whole
evaluation. Writes the points that forecasts lean on (vectors/forecast/embedded_family.json), how they did,
and a scatter. A pair's measurements are kept in the cache by what they depend on, so a stopped run goes on.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import click
import numpy as np
import torch

from lrt_bench.data.corpus import Budget
from lrt_bench.data.datasets import Data
from lrt_bench.data.suites import PairSpec, find_suite
from lrt_bench.errors import one_line_errors
from lrt_bench.evaluation.bench.pair_bench import PairBench
from lrt_bench.evaluation.bench.references import ReferencePropensities, choice_references
from lrt_bench.evaluation.bench.states import CorpusStates
from lrt_bench.evaluation.fidelity import unexplained_shares
from lrt_bench.evaluation.rows import controls
from lrt_bench.evaluation.sites import source_site, target_site
from lrt_bench.files.whole import write_whole
from lrt_bench.mappings import FixedLinear, LinearMapping, find_mapping
from lrt_bench.models.autoencoders.sae_files import load_sae
from lrt_bench.models.loading import Models
from lrt_bench.models.states import PairedStates, collect
from lrt_bench.results.metrics import Array, steering_r2
from lrt_bench.vectors.forecast.features import NeutralText, vector_features
from lrt_bench.vectors.forecast.known_concepts import known_concepts
from lrt_bench.vectors.forecast.mixed_model import (
    FAMILY_DATA,
    FEATURES,
    LEVEL,
    MeasuredTransfer,
    concept_left_out,
    design,
    mixed_model,
    predict,
    stretched,
    unstretched,
)
from scripts.forecast.figure import draw_scatter
from scripts.forecast.score import Judgement, ScoredForecast, judged, spearman

MEASURED = 1  # raised whenever the same pair would give other figures
SUITE = "nano-full"
FULL = "ridge"  # the map at the suite's budget; the others are weaker
FEW_TOKENS = (300, 1000, 4000)
RANK = 8


def pairs() -> list[PairSpec]:
    """Every pair of nano-full, and the known answer of nano; its early pairs are not measured yet."""
    known = [pair for pair in find_suite("nano").pairs if pair.target.startswith("planted-")]
    named = [pair.model_copy(update={"name": f"nano-{pair.name}"}) for pair in known]
    return [*find_suite(SUITE).pairs, *named]


def maps_of(bench: PairBench) -> Iterator[tuple[str, LinearMapping, PairedStates]]:
    """(name, fitted map, the states it was fitted on): ridge on all, then weaker ones."""
    full = bench.states
    ridge = _fitted(FULL, full)
    yield FULL, ridge, full
    yield "orthogonal", _fitted("orthogonal", full), full
    # the truncation of ridge to the widest directions of its output
    wide = torch.linalg.eigh(ridge.weight @ full.moments.s_xx @ ridge.weight.T)[1][:, -RANK:]
    weight = wide @ wide.T @ ridge.weight
    yield f"rank {RANK}", FixedLinear(weight, full.moments.mean_y - weight @ full.moments.mean_x), full
    for tokens in FEW_TOKENS:
        spec = bench.suite.corpus
        budget = Budget(tokens, spec.validation_tokens, tokens)
        states = collect(
            bench.source, bench.target, spec.corpus(Data()), budget,
            seed=bench.seed, batch_size=bench.batch_size,
        )  # fmt: skip
        yield f"ridge, {tokens} tokens", _fitted("ridge", states), states


def _fitted(name: str, states: PairedStates) -> LinearMapping:
    mapping = find_mapping(name)()
    assert isinstance(mapping, LinearMapping)
    mapping.fit(states)
    return mapping


def measure_pair(pair: PairSpec, models: Models) -> list[dict[str, Any]]:
    """Make a row for every map and steerable concept: features, and steering R2 quick and whole."""
    source = source_site(models.get(pair.source), pair, load_sae)
    target = target_site(models.get(pair.target), pair)
    suite = find_suite(SUITE)
    states_source = CorpusStates(source, target, suite.corpus.corpus(Data()), suite.corpus.budget, 0, 64)
    bench = PairBench(suite, pair, source, target, suite.tasks_of(pair), states_source)
    sweep = bench.choice_sweep
    tasks = sweep.tasks
    rows = {row.name: row for row in controls()}
    native, split, random = (
        sweep.propensities(rows[name].vectors(bench, tasks), over=False)
        for name in ("native", "native-split", "random")
    )
    references = choice_references(
        sweep, ReferencePropensities(native, split, random),
        directions=suite.random_directions, bootstrap=suite.bootstrap, seed=bench.seed,
    )  # fmt: skip
    vectors = torch.stack([bench.inputs.source_states(task).vector for task in tasks])
    text = NeutralText(source, target, bench.states)
    changes = text.changes(0, vectors)
    named = list(maps_of(bench))
    quick = known_concepts(bench, [mapping for _, mapping, _ in named])
    points = []
    for (name, mapping, states), known in zip(named, quick, strict=True):
        moved = {
            task.name: (mapping.weight @ vector.double()).float()[None]
            for task, vector in zip(tasks, vectors, strict=True)
        }
        m = sweep.propensities(moved, over=False)
        features = vector_features(mapping.weight, states, vectors)
        agreement = text.agreement(changes, text.changes(1, torch.cat([moved[task.name] for task in tasks])))
        x, y = states.validation
        fvu = unexplained_shares(mapping(x), y)[2]
        for place, (task, concept) in enumerate(zip(tasks, known, strict=True)):
            assert concept.task == task.name
            reference = references[task.name]
            if concept.steerable and reference.steerable:
                r2 = steering_r2(sweep.delta(m[task.name]), reference.native)
                points.append(
                    {
                        "pair": pair.name,
                        "map": name,
                        "concept": concept.concept,
                        "steering_r2": r2,
                        "quick_r2": concept.steering_r2,
                        "states_r2": 1 - fvu,
                        "agreement": float(agreement[place]),
                        **features.at(place),
                    }
                )
    return points


def kept_at(cache: Path, pair: PairSpec, models: Models) -> Path:
    """Where a pair's rows are kept, by all that they depend on."""
    sites = [models.get(spec).digest for spec in (pair.source, pair.target)]
    parts = [MEASURED, find_suite(SUITE).digest, pair.model_dump(mode="json"), sites, FEW_TOKENS, RANK]
    key = hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:16]
    return cache / f"{pair.name}-{key}.json"


def measured(cache: Path, say: Callable[[str], None]) -> list[dict[str, Any]]:
    """All pairs' rows; each pair is computed once and kept in the cache."""
    models = Models()
    rows = []
    for pair in pairs():
        path = kept_at(cache, pair, models)
        if not path.is_file():
            say(f"{pair.name}: measuring")
            write_whole(path, json.dumps(measure_pair(pair, models)).encode())
        rows += json.loads(path.read_bytes())
    return rows


def points_of(rows: Sequence[dict[str, Any]]) -> list[MeasuredTransfer]:
    """Return the rows as the forecast reads them."""
    return [
        MeasuredTransfer(
            f"{row['pair']}, {row['map']}",
            row["concept"],
            row["quick_r2"],
            tuple(row[name] for name in FEATURES),
        )
        for row in rows
    ]


def scored(rows: Sequence[dict[str, Any]]) -> list[ScoredForecast]:
    """Every row's forecast, its concept left out on all pairs; of the full map with its interval."""
    points = points_of(rows)
    forecasts, pair_out = unstretched(concept_left_out(points)), _pair_left_out(rows, points)
    forecast_rows = []
    for index, (row, point) in enumerate(zip(rows, points, strict=True)):
        own = [other for other in points if other.pair == point.pair]
        others = [other.measured for other in own if other.concept != point.concept]
        interval = None
        if row["map"] == FULL:
            rest = [other for other in points if other.pair != point.pair]
            interval = predict(point.features, own, rest, [point.concept]).interval
        forecast_rows.append(
            ScoredForecast(
                row["pair"], row["map"], row["concept"], row["steering_r2"],
                float(forecasts[index]), float(pair_out[index]),
                row["states_r2"], float(np.mean(others)), row["agreement"], interval,
            )
        )  # fmt: skip
    return forecast_rows


def _pair_left_out(rows: Sequence[dict[str, Any]], points: Sequence[MeasuredTransfer]) -> Array:
    """Forecasts without the concept, and without every other map between the two models, both ways: [rows].

    What is left is the pair's own other concepts under the map, and other models' pairs.
    """
    models = {pair.name: frozenset((pair.source, pair.target)) for pair in pairs()}
    between = np.array([" ".join(sorted(models[row["pair"]])) for row in rows])
    groups = np.array([point.pair for point in points])
    concepts = np.array([point.concept for point in points])
    x, values = design(points), stretched(np.array([point.measured for point in points]))
    forecasts = np.empty(len(points))
    for group in np.unique(groups):
        own = groups == group
        near = (between == between[own][0]) & ~own
        for concept in concepts[own]:
            wanted = np.flatnonzero(own & (concepts == concept))
            forecasts[wanted] = mixed_model(x, values, groups, ~near & (concepts != concept), wanted)
    return unstretched(forecasts)


def judgements(points: Sequence[ScoredForecast]) -> list[Judgement]:
    """Judge the full map and all maps, with and without the planted pairs, whose answer is known."""
    real = [point for point in points if "planted" not in point.pair]
    sets = {
        "ridge, pairs of two models": [point for point in real if point.map == FULL],
        "ridge, planted pairs too": [point for point in points if point.map == FULL],
        "all maps, pairs of two models": real,
        "all maps, planted pairs too": list(points),
    }
    return [judged(name, chosen) for name, chosen in sets.items()]


def write_points(
    rows: Sequence[dict[str, Any]], points: Sequence[ScoredForecast], judged: Sequence[Judgement], path: Path
) -> None:
    """Points and judgements as JSON, one concept of a pair and map a line."""
    columns = ("steering_r2", "quick_r2", "forecast", *FEATURES)
    groups: dict[str, list[str]] = {}
    for row, point in zip(rows, points, strict=True):
        figures = row | {"forecast": point.forecast}
        values = json.dumps([round(figures[name], 4) for name in columns], separators=(",", ":"))
        groups.setdefault(point.group, []).append(f"{json.dumps(row['concept'])}:{values}")
    head = {
        "about": "python -m scripts.forecast.check wrote this file: {pair and map: {concept: columns}}",
        "measured": MEASURED,
        "level": LEVEL,
        "judgements": [vars(each) for each in judged],
        "columns": columns,
    }
    blocks = (f"{json.dumps(name)}: {{\n" + ",\n".join(lines) + "}" for name, lines in groups.items())
    text = json.dumps(head, indent=1)[:-2] + ',\n "points": {\n' + ",\n".join(blocks) + "}\n}\n"
    write_whole(path, text.encode())


def table(judged: Sequence[Judgement]) -> list[str]:
    """Return the judgements as lines of a Markdown table."""
    columns = [name for name in vars(judged[0]) if name != "name"]
    lines = [f"| forecasts | {' | '.join(columns)} |", "| --- |" + " ---: |" * len(columns)]
    for each in judged:
        cells = [getattr(each, name) for name in columns]
        shown = ["-" if c is None else str(c) if isinstance(c, int) else f"{c:.3f}" for c in cells]
        lines.append(f"| {each.name} | {' | '.join(shown)} |")
    return lines


def by_pair(points: Sequence[ScoredForecast]) -> list[str]:
    """Each pair's own rank correlation under the full map, a line each."""
    lines = []
    for pair in dict.fromkeys(point.pair for point in points):
        own = [point for point in points if point.pair == pair and point.map == FULL]
        measured = np.array([point.measured for point in own])
        rho = spearman(np.array([point.forecast for point in own]), measured)
        shown = "-" if rho is None else f"{rho:.2f}"
        span = f"steering R2 {measured.min():.2f} to {measured.max():.2f}"
        lines.append(f"{pair}: Spearman {shown} over {len(own)} concepts, {span}")
    return lines


@click.command()
@click.option("--cache", type=click.Path(path_type=Path, file_okay=False), required=True)
@click.option("--out", type=click.Path(path_type=Path, dir_okay=False), default=FAMILY_DATA)
@click.option("--figure", type=click.Path(path_type=Path, dir_okay=False), help="scatter, SVG")
@one_line_errors
def main(cache: Path, out: Path, figure: Path | None) -> None:
    """Measure the embedded family (a stopped run goes on where it was) and judge the forecast."""
    torch.set_num_threads(1)
    rows = measured(cache, click.echo)
    points = scored(rows)
    judged = judgements(points)
    write_points(rows, points, judged, out)
    if figure:
        draw_scatter(points, figure)
    for line in [*by_pair(points), "", *table(judged)]:
        click.echo(line)


if __name__ == "__main__":
    main()
