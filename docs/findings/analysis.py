"""What the findings page says in numbers: means with joint intervals, rank correlations, thresholds."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lrt_bench.nano.family import FAMILY
from lrt_bench.results.metrics import MIN_CEILING, interval
from lrt_bench.results.storage import Result

Array = NDArray[np.float64]
Table = list[dict[str, Any]]
MAPPINGS = ("affine", "affine-paper", "ridge", "orthogonal", "low-rank", "mlp", "autoencoder")
CONTROLS = ("shuffled", "random", "other-concept", "readout")
DISTINCT = ("affine", "orthogonal", "mlp", "autoencoder")  # maps whose states differ from one another
FIDELITY = {  # name -> (column, sign): higher is better
    "R2": ("fvu", -1),
    "R2 without top 8": ("fvu_without_top8", -1),
    "cosine": ("state_cosine", 1),
    "stitching KL": ("kl", -1),
}
REPLICATES = 2000
DRAWS = 400  # of pairs, for rank correlations
NEAR = 0.95  # of the score with the most tokens: what counts as enough


def joint_samples(results: Mapping[str, Mapping[str, Result]]) -> dict[str, dict[str, Array]]:
    """Transfer Scores under the bootstrap over tasks, prompts and fit seeds: {pair: {row: [replicates]}}.

    The same tasks and prompts are drawn for every pair and row, so that means over pairs and differences
    between them have honest intervals. The pairs themselves are not drawn: they are the whole family.
    """
    rng = np.random.default_rng(0)
    names = sorted({task.task for rows in results.values() for task in rows["native"].tasks})
    first = next(iter(results.values()))["native"].tasks
    prompts = {task.task: task.prompts for task in first}
    weights = {name: rng.multinomial(prompts[name], np.full(prompts[name], 1 / prompts[name]), REPLICATES)
               for name in names}  # fmt: skip
    times = rng.multinomial(len(names), np.full(len(names), 1 / len(names)), REPLICATES)
    samples: dict[str, dict[str, Array]] = {}
    for pair, rows in results.items():
        samples[pair] = {row: _sampled(result, names, weights, times, rng) for row, result in rows.items()}
    return samples


def _sampled(
    result: Result, names: list[str], weights: dict[str, Any], times: Array, rng: np.random.Generator
) -> Array:
    """One result's score under each replicate."""
    total, count = np.zeros(REPLICATES), np.zeros(REPLICATES)
    for place, name in enumerate(names):
        task = next(figures for figures in result.tasks if figures.task == name)
        if not task.steerable:
            continue
        errors, weight = task.errors, weights[name].T
        seeds = len(errors.error)
        seed_weight = rng.multinomial(seeds, np.full(seeds, 1 / seeds), REPLICATES) / seeds
        error = np.einsum("sb,bs->b", errors.error @ weight, seed_weight)
        ceiling = 1 - (errors.split_error @ weight) / (errors.split_energy @ weight)
        share = (1 - error / (errors.energy @ weight)) / np.maximum(ceiling, MIN_CEILING)
        total += times[:, place] * np.clip(share, -1, 1)
        count += times[:, place]
    return 100 * total / np.maximum(count, 1)


def estimate(value: float, samples: Array) -> dict[str, float]:
    """A figure with its 95% interval."""
    low, high = interval(samples)
    return {"value": value, "low": low, "high": high}


def spearman(x: Sequence[float], y: Sequence[float]) -> float:
    """Rank correlation, ties at their mean rank."""
    ranks = [
        np.array([np.mean(np.flatnonzero(np.sort(v) == one)) for one in v]) for v in map(np.asarray, (x, y))
    ]
    return float(np.corrcoef(*ranks)[0, 1])


def summary(results: Mapping[str, Mapping[str, Result]], tables: dict[str, Table]) -> dict[str, Any]:
    """Every number of the page's text."""
    samples = joint_samples(results)
    rows = {(row["pair"], row["mapping"]): row for row in tables["pairs"]}
    return {
        "size": _size(results, tables),
        "maps": _maps(rows, samples),
        "bias": _bias(rows, samples, tables["tasks"]),
        "directions": _directions(rows, samples),
        "fidelity": _fidelity(rows, samples, tables["tasks"]),
        "tokens": _tokens(tables["tokens"]),
        "layers": _layers(tables["layers"]),
        "concepts": _concepts(tables["tasks"]),
    }


Rows = dict[tuple[str, str], dict[str, Any]]
Samples = dict[str, dict[str, Array]]


def _size(results: Mapping[str, Mapping[str, Result]], tables: dict[str, Table]) -> dict[str, Any]:
    native = [rows["native"] for rows in results.values()]
    return {
        "pairs": len(native),
        "tasks": len(native[0].tasks),
        "prompts": native[0].tasks[0].prompts,
        "fit_tokens": next(iter(results.values()))["affine"].cost.fit_tokens,
        "not_steerable": {pair: list(rows["native"].not_steerable) for pair, rows in results.items()
                          if rows["native"].not_steerable},
        "ceiling": float(np.mean([task["ceiling_r2"] for task in tables["tasks"]])),
    }  # fmt: skip


def mean_score(rows: Rows, samples: Samples, mapping: str, pairs: Sequence[str]) -> dict[str, float]:
    """A mapping's mean Transfer Score over pairs."""
    value = float(np.mean([rows[pair, mapping]["transfer_score"] for pair in pairs]))
    return estimate(value, np.mean([samples[pair][mapping] for pair in pairs], axis=0))


def mean_difference(
    rows: Rows, samples: Samples, one: Sequence[tuple[str, str]], other: Sequence[tuple[str, str]]
) -> dict[str, float]:
    """The difference of two means over (pair, mapping)."""
    value = np.mean([rows[key]["transfer_score"] for key in one])
    value -= np.mean([rows[key]["transfer_score"] for key in other])
    drawn = [np.mean([samples[pair][mapping] for pair, mapping in keys], axis=0) for keys in (one, other)]
    return estimate(float(value), drawn[0] - drawn[1])


def _pairs(rows: Rows, wanted: Callable[[dict[str, Any]], bool] = lambda row: True) -> list[str]:
    return [pair for (pair, mapping), row in rows.items() if mapping == "native" and wanted(row)]


def _maps(rows: Rows, samples: Samples) -> dict[str, Any]:
    every = _pairs(rows)
    groups = {"all": every} | {
        depth: _pairs(rows, lambda row, depth=depth: row["depth"] == depth) for depth in ("late", "mid")  # type: ignore[misc]
    }  # fmt: skip
    scores: dict[str, Any] = {
        name: {group: mean_score(rows, samples, name, pairs) for group, pairs in groups.items()}
        | {"first": sum(rows[pair, name]["rank"] == 1 for pair in every)}
        for name in (*MAPPINGS, *CONTROLS)
    }
    best = max(MAPPINGS, key=lambda name: scores[name]["all"]["value"])
    linear = max(MAPPINGS[:5], key=lambda name: scores[name]["all"]["value"])
    scores["best"], scores["best_linear"] = best, linear
    scores["best_over_affine"] = {
        group: mean_difference(rows, samples, [(p, best) for p in pairs], [(p, "affine") for p in pairs])
        for group, pairs in groups.items()
    }
    scores["orthogonal_over_affine"] = {
        group: mean_difference(
            rows, samples, [(p, "orthogonal") for p in pairs], [(p, "affine") for p in pairs]
        )
        for group, pairs in groups.items()
    }
    scores["ridge_over_affine"] = max(
        abs(rows[pair, "ridge"]["transfer_score"] - rows[pair, "affine"]["transfer_score"]) for pair in every
    )
    return scores


def _bias(rows: Rows, samples: Samples, tasks: Table) -> dict[str, Any]:
    differences: dict[str, Any] = {}
    for depth in ("late", "mid"):
        pairs = _pairs(rows, lambda row, depth=depth: row["depth"] == depth)  # type: ignore[misc]
        keys = [[(pair, name) for pair in pairs] for name in ("affine-paper", "affine")]
        differences[depth] = mean_difference(rows, samples, keys[0], keys[1])
    for name in ("affine-paper", "affine"):
        of_map = [task for task in tasks if task["mapping"] == name]
        differences[f"{name} cosine"] = float(np.mean([task["cosine"] for task in of_map]))
    by_pair = {
        pair: rows[pair, "affine-paper"]["transfer_score"] - rows[pair, "affine"]["transfer_score"]
        for pair in _pairs(rows)
    }
    differences["worst_pair"] = min(by_pair, key=by_pair.__getitem__)
    differences["worst"] = by_pair[differences["worst_pair"]]
    differences["best_pair"] = max(by_pair, key=by_pair.__getitem__)
    differences["best"] = by_pair[differences["best_pair"]]
    return differences


def _directions(rows: Rows, samples: Samples) -> dict[str, Any]:
    by_map: dict[str, Any] = {}
    for name in ("affine", "mlp"):
        of_map: dict[str, Any] = {}
        for depth in ("late", "mid"):
            groups = {
                way: _pairs(rows, lambda row, d=depth, w=way: (row["depth"], row["direction"]) == (d, w))  # type: ignore[misc]
                for way in ("up", "same", "down")
            }
            of_map[depth] = {way: mean_score(rows, samples, name, pairs) for way, pairs in groups.items()}
            keys = [[(pair, name) for pair in groups[way]] for way in ("down", "up")]
            of_map[depth]["down - up"] = mean_difference(rows, samples, keys[0], keys[1])
            gap = [_gap(rows[pair, name]) for pair in groups["up"]]
            score = [rows[pair, name]["transfer_score"] for pair in groups["up"]]
            of_map[depth]["gap, up"] = spearman(gap, score)
        by_map[name] = of_map
    by_map["targets"] = [_by_target(rows, samples, *site) for site in _targets(rows)]
    return by_map


def _targets(rows: Rows) -> list[tuple[str, int]]:
    """The target sites, small models first, deep layers last."""
    sites = {(row["target_parameters"], row["target"], row["target_layer"]) for row in rows.values()}
    return [(model, layer) for _, model, layer in sorted(sites)]


def _by_target(rows: Rows, samples: Samples, model: str, layer: int) -> dict[str, Any]:
    pairs = _pairs(rows, lambda row: (row["target"], row["target_layer"]) == (model, layer))
    above = FAMILY[model.removeprefix("nano/")].layers - layer
    scores = {name: mean_score(rows, samples, name, pairs) for name in ("affine", "mlp", "readout")}
    return {"model": model, "layer": layer, "above": above, "pairs": len(pairs), **scores}


def _gap(row: dict[str, Any]) -> float:
    """Log2 of how much larger the target is."""
    return float(np.log2(row["target_parameters"] / row["source_parameters"]))


def _fidelity(rows: Rows, samples: Samples, tasks: Table) -> dict[str, Any]:
    every = _pairs(rows)
    by_measure: dict[str, Any] = {}
    for name, (column, sign) in FIDELITY.items():

        def score(pair: str, mapping: str, column: str = column, sign: int = sign) -> float:
            return float(sign * rows[pair, mapping][column])

        def correlation(pairs: Sequence[str], maps: Sequence[str], score: Any = score) -> float:
            keys = list(itertools.product(pairs, maps))
            return spearman([score(*key) for key in keys], [rows[key]["steering_r2"] for key in keys])

        by_measure[name] = {
            "pairs and maps": _over_pairs(every, lambda pairs, of=correlation: of(pairs, DISTINCT)),  # type: ignore[misc]
            "pairs, affine": _over_pairs(every, lambda pairs, of=correlation: of(pairs, ("affine",))),  # type: ignore[misc]
            **_agreement(samples, every, score, DISTINCT),
            "linear": _agreement(samples, every, score, ("affine", "orthogonal")),
        }
    by_measure["levels"] = {
        mapping: {
            "states": float(np.mean([1 - rows[pair, mapping]["fvu"] for pair in every])),
            "steering": float(np.mean([rows[pair, mapping]["steering_r2"] for pair in every])),
        }
        for mapping in DISTINCT
    }
    for column in ("cosine", "reachable", "slope_ratio"):
        of_map = [task for task in tasks if task["mapping"] == "affine"]
        by_measure[f"vector {column}"] = spearman(
            [task[column] for task in of_map], [task["steering_r2"] for task in of_map]
        )
    return by_measure


def _over_pairs(pairs: Sequence[str], figure: Callable[[Sequence[str]], float]) -> dict[str, float]:
    """A figure over pairs, with an interval from drawing the pairs with replacement."""
    rng = np.random.default_rng(1)
    draws = [figure([pairs[i] for i in rng.integers(0, len(pairs), len(pairs))]) for _ in range(DRAWS)]
    return estimate(figure(pairs), np.array(draws))


def _agreement(
    samples: Samples, pairs: Sequence[str], score: Callable[[str, str], float], maps: Sequence[str]
) -> dict[str, int]:
    """Of two maps on a pair whose scores are clear of each other: how often fidelity names the better one."""
    clear = right = 0
    for pair in pairs:
        for one, other in itertools.combinations(maps, 2):
            low, high = interval(samples[pair][one] - samples[pair][other])
            if low > 0 or high < 0:
                clear += 1
                right += (score(pair, one) > score(pair, other)) == (low > 0)
    return {"clear": clear, "right": right}


def _tokens(table: Table) -> dict[str, Any]:
    by_pair: dict[str, Any] = {}
    for pair, mapping in sorted({(row["pair"], row["mapping"]) for row in table}):
        rows = [row for row in table if (row["pair"], row["mapping"]) == (pair, mapping)]
        most = rows[-1]["transfer_score"]
        enough = next(row["tokens"] for i, row in enumerate(rows)
                      if all(later["transfer_score"] >= NEAR * most for later in rows[i:]))  # fmt: skip
        by_pair.setdefault(pair, {})[mapping] = {
            "least": rows[0]["tokens"],
            "first": rows[0]["transfer_score"],
            "most": rows[-1]["tokens"],
            "last": most,
            "enough": enough,
        }
    return by_pair


def _layers(table: Table) -> dict[str, Any]:
    by_pair = {}
    for pair in dict.fromkeys(row["pair"] for row in table):
        rows = [row for row in table if row["pair"] == pair and row["steering_r2"] is not None]
        best = max(rows, key=lambda row: row["steering_r2"])
        choices = [_chosen(rows, target) for target in sorted({row["target_layer"] for row in rows})]
        by_pair[pair] = {
            "targets": len(choices),
            "agree": sum(by_fvu == by_steering for by_fvu, by_steering in choices),
            "earlier": sum(by_fvu < by_steering for by_fvu, by_steering in choices),
            "spearman": spearman([-row["fvu"] for row in rows], [row["steering_r2"] for row in rows]),
            "best": {name: best[name] for name in ("source_layer", "target_layer", "steering_r2", "fvu")},
        }
    return by_pair


def _chosen(rows: Table, target: int) -> tuple[int, int]:
    """The source layer of least FVU to a target layer, and the one of best steering R2."""
    to_target = [row for row in rows if row["target_layer"] == target]
    by_fvu = min(to_target, key=lambda row: row["fvu"])
    by_steering = max(to_target, key=lambda row: row["steering_r2"])
    return by_fvu["source_layer"], by_steering["source_layer"]


def _concepts(tasks: Table) -> dict[str, Any]:
    """Mean share of the ceiling of each concept over pairs, by map."""
    by_map: dict[str, Any] = {}
    for name in ("affine", "mlp"):
        for task in dict.fromkeys(row["task"] for row in tasks):
            rows = [row for row in tasks if (row["mapping"], row["task"]) == (name, task)]
            shares = [row["steering_r2"] / max(row["ceiling_r2"], MIN_CEILING) for row in rows]
            by_map.setdefault(task, {"pairs": len(rows)})[name] = {
                "mean": float(np.mean(np.clip(shares, -1, 1))),
                "least": float(min(shares)),
            }
    return by_map
