"""What the findings page says in numbers: means over concepts with their intervals, and rank correlations.

Concepts are a sample: every mean and difference has a 95% interval by Student's t over the concepts, which
has the prompts' scatter in it too. A mean over pairs is over the concepts that count on all of them, and each
concept's value is its mean over the pairs. Pairs are not drawn: there are few, and they were chosen.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtrit

from lrt_bench.data.suites import find_suite

Array = NDArray[np.float64]
Table = list[dict[str, Any]]
EARLY, LATE, KNOWN = ("S-L-early", "M-L-early", "L-S-early"), "S-L", "planted-rotation"
MAPPINGS = find_suite("nano").mappings  # docs/maps.md has all
CONTROLS = ("readout", "unembedding", "random", "other-concept", "shuffled")
AT_SITES = ("readout", "unembedding", "affine", "orthogonal", "mlp")
SIDES = ("source", "source_layer", "target", "target_layer")
FEWEST = 10  # tasks that must count at a site
WRITTEN = ("affine", "affine-with-bias", "affine-adamw", "affine-adamw-with-bias")
Shares = Mapping[tuple[str, str], Mapping[str, float]]  # by pair and row: {task: share}


def estimate(values: Iterable[float]) -> dict[str, float]:
    """Mean of the concepts' values, with its 95% interval by Student's t."""
    array = np.asarray(list(values), dtype=np.float64)
    mean, count = float(array.mean()), len(array)
    arm = float(stdtrit(count - 1, 0.975) * array.std(ddof=1) / np.sqrt(count)) if count > 1 else 0.0
    return {"value": mean, "low": mean - arm, "high": mean + arm}


def spearman(x: Sequence[float], y: Sequence[float]) -> float:
    """Rank correlation, ties at their mean rank."""
    ranks = [
        np.array([np.mean(np.flatnonzero(np.sort(v) == one)) for one in v]) for v in map(np.asarray, (x, y))
    ]
    return float(np.corrcoef(*ranks)[0, 1])


def by_row(tasks: Table) -> dict[tuple[str, str], dict[str, float]]:
    """{(pair, row): {task: 100 x share}}."""
    shares: dict[tuple[str, str], dict[str, float]] = {}
    for row in tasks:
        shares.setdefault((row["pair"], row["mapping"]), {})[row["task"]] = 100 * row["share"]
    return shares


def over_pairs(shares: Shares, row: str, pairs: Sequence[str]) -> dict[str, float]:
    """Each concept's mean over pairs, of the concepts that count on all of them."""
    common = set.intersection(*(set(shares[pair, row]) for pair in pairs))
    return {task: float(np.mean([shares[pair, row][task] for pair in pairs])) for task in sorted(common)}


def difference(shares: Shares, one: str, other: str, pairs: Sequence[str]) -> dict[str, float]:
    """One row less another, over the concepts that count."""
    sides = over_pairs(shares, one, pairs), over_pairs(shares, other, pairs)
    return estimate(sides[0][task] - sides[1][task] for task in sides[0])


def summary(tables: Mapping[str, Table]) -> dict[str, Any]:
    """Every number of the page's text."""
    shares = by_row(tables["tasks"])
    rows = {(row["pair"], row["mapping"]): row for row in tables["pairs"]}
    return {
        "size": _size(rows, tables["tasks"]),
        "maps": _maps(rows, shares),
        "bias": _bias(shares, tables["training"]),
        "fidelity": _fidelity(rows),
        "sites": _sites(tables["sites"]),
        "tokens": _tokens(tables["tokens"]),
        "positions": _positions(tables["positions"]),
        "damage": _damage(tables["tasks"]),
        "concepts": _concepts(shares),
    }


def _size(rows: Mapping[tuple[str, str], dict[str, Any]], tasks: Table) -> dict[str, Any]:
    return {
        "concepts": len({row["task"] for row in tasks}),
        "common": len(set.intersection(*({r["task"] for r in tasks if r["pair"] == pair} for pair in EARLY))),
        "counted": {pair: rows[pair, "native"]["counted"] for pair in (*EARLY, LATE, KNOWN)},
        "layers": {pair: {side: rows[pair, "native"][side] for side in SIDES} for pair in (*EARLY, LATE)},
    }


def _maps(rows: Mapping[tuple[str, str], dict[str, Any]], shares: Shares) -> dict[str, Any]:
    scores: dict[str, Any] = {
        name: {
            "early": estimate(over_pairs(shares, name, EARLY).values()),
            **{pair: rows[pair, name]["transfer_score"] for pair in (*EARLY, LATE, KNOWN)},
        }
        for name in (*MAPPINGS, *CONTROLS)
    }
    for one, other in (
        ("mlp", "affine"),
        ("affine", "readout"),
        ("mlp", "readout"),
        ("orthogonal", "affine"),
    ):
        scores[f"{one} over {other}"] = difference(shares, one, other, EARLY)
        scores[f"{one} over {other}, late"] = difference(shares, one, other, [LATE])
    scores["ridge_over_affine"] = max(
        abs(rows[pair, "ridge"]["transfer_score"] - rows[pair, "affine"]["transfer_score"]) for pair in EARLY
    )
    return scores


def _bias(shares: Shares, training: Table) -> dict[str, Any]:
    early = {fit: difference(shares, f"{fit}-with-bias", fit, EARLY) for fit in ("affine", "affine-adamw")}
    late = {fit: difference(shares, f"{fit}-with-bias", fit, [LATE]) for fit in ("affine", "affine-adamw")}
    table = []
    for pair, fit in dict.fromkeys((row["pair"], row["fit"]) for row in training):
        chosen = [row for row in training if (row["pair"], row["fit"]) == (pair, fit) and row["counts"]]
        by_rule = {
            rule: {row["task"]: 100 * row["share"] for row in chosen if row["rule"] == rule}
            for rule in ("A v", "A v + p")
        }
        table.append(
            {
                "pair": pair, "fit": fit, "fvu": chosen[0]["fvu"], "bias_norm": chosen[0]["bias_norm"],
                "without": float(np.mean(list(by_rule["A v"].values()))),
                "with": float(np.mean(list(by_rule["A v + p"].values()))),
                "difference": estimate(
                    by_rule["A v + p"][task] - by_rule["A v"][task] for task in by_rule["A v"]
                ),
            }
        )  # fmt: skip
    return {
        "early": early,
        "late": late,
        "adamw_over_affine": difference(shares, "affine-adamw", "affine", EARLY),
        "training": table,
    }


def _fidelity(rows: Mapping[tuple[str, str], dict[str, Any]]) -> dict[str, Any]:
    """Whether R2 of states, or the stitched model, orders the maps of a pair as scores do.

    Maps that are one map under two rules count once.
    """
    names = [name for name in MAPPINGS if not name.endswith("-with-bias")]
    table: dict[str, Any] = {}
    for pair in (*EARLY, LATE):
        scores = [rows[pair, name]["transfer_score"] for name in names]
        table[pair] = {
            "R2": spearman([-rows[pair, name]["fvu"] for name in names], scores),
            "stitching KL": spearman([-rows[pair, name]["kl"] for name in names], scores),
            "steering R2": spearman([rows[pair, name]["steering_r2"] for name in names], scores),
        }
    levels = {
        name: {
            "states": float(np.mean([1 - rows[pair, name]["fvu"] for pair in EARLY])),
            "score": float(np.mean([rows[pair, name]["transfer_score"] for pair in EARLY])),
        }
        for name in names
    }
    return {"pairs": table, "levels": levels}


def _sites(sites: Table) -> dict[str, Any]:
    """Sites by how far into the target they lie, and both ways between models."""
    into_l = [row for row in sites if row["target"] == "L"]
    layers = sorted({row["target_layer"] for row in into_l})
    by_layer = {
        str(layer): {
            name: float(np.mean([row[name] for row in into_l if row["target_layer"] == layer]))
            for name in AT_SITES
        }
        for layer in layers
    }
    early, late = ([row for row in into_l if (row["target_layer"] <= 2) == is_early] for is_early in (1, 0))
    return {
        "sites": len(sites),
        "fewest": FEWEST,
        "by_layer": by_layer,
        "into_l": len(into_l),
        "early": {name: float(np.mean([row[name] for row in early])) for name in AT_SITES},
        "late": {name: float(np.mean([row[name] for row in late])) for name in AT_SITES},
        "table": [{key: row[key] for key in ("pair", "prompts", "counted", *AT_SITES)} for row in sites],
    }


def _tokens(table: Table) -> list[dict[str, Any]]:
    rows = []
    for pair, tokens in dict.fromkeys((row["pair"], row["tokens"]) for row in table):
        chosen = [r for r in table if (r["pair"], r["tokens"]) == (pair, tokens) and r["counts"]]
        names = list(dict.fromkeys(row["mapping"] for row in chosen))
        scores = {
            name: estimate(100 * row["share"] for row in chosen if row["mapping"] == name) for name in names
        }
        rows.append({"pair": pair, "tokens": tokens, **scores})
    return rows


def _positions(table: Table) -> list[dict[str, Any]]:
    """By pair and steered positions: what native does there over what it does at all, and the maps' shares.

    The concepts are those that count where all tokens are steered.
    """
    counted = {(row["pair"], row["task"]) for row in table if row["positions"] == "all" and row["counts"]}
    rows = []
    for pair, positions in dict.fromkeys((row["pair"], row["positions"]) for row in table):
        chosen = [
            row for row in table
            if (row["pair"], row["positions"]) == (pair, positions) and (pair, row["task"]) in counted
        ]  # fmt: skip
        moved = {row["task"]: row["moved"] for row in chosen}
        maps = {
            name: estimate(100 * row["share"] for row in chosen if row["mapping"] == name)
            for name in dict.fromkeys(row["mapping"] for row in chosen)
        }
        own = {row["task"] for row in chosen if row["counts"]}
        rows.append(
            {
                "pair": pair,
                "positions": positions,
                "moved": estimate(moved.values()),
                "counted": len(own),
                **maps,
            }
        )
    return rows


def _damage(tasks: Table) -> dict[str, Any]:
    """Medians over the concepts of the early pairs: effect at native's damage, slope ratio, damage."""
    table = {}
    for name in MAPPINGS:
        rows = [
            row for row in tasks
            if row["mapping"] == name and row["pair"] in EARLY and row["matched_effect"] is not None
        ]  # fmt: skip
        table[name] = {
            "slope": float(np.median([row["slope_ratio"] for row in rows])),
            "matched": float(np.median([row["matched_effect"] for row in rows])),
            "damage": float(np.median([row["damage"] / row["native_damage"] for row in rows])),
        }
    return table


def _concepts(shares: Shares) -> dict[str, Any]:
    """Mean share of each concept over the early pairs on which it counts, by row."""
    names = ("affine", "mlp", "readout")
    tasks = sorted({task for pair in EARLY for task in shares[pair, "native"]})
    concepts: dict[str, Any] = {}
    for task in tasks:
        pairs = [pair for pair in EARLY if task in shares[pair, "native"]]
        concepts[task] = {"pairs": len(pairs)} | {
            name: float(np.mean([shares[pair, name][task] for pair in pairs])) for name in names
        }
    return concepts
