"""From results to the findings' data: ``python docs/findings/collect.py [RESULTS]``.

Reads what run.py computed; writes pairs.csv, tasks.csv, tokens.csv and layers.csv, which the figures are
drawn from, and summary.json, which holds every number that the page's text says.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import analysis
import click
import run

from lrt_bench.evaluation.layer_sweep.record import LayerSweepRecord, read_sweep
from lrt_bench.files.whole import write_whole
from lrt_bench.nano.family import FAMILY
from lrt_bench.results.ranking import ranked
from lrt_bench.results.storage import Result, read_result

DATA = Path(__file__).parent / "data"
Table = list[dict[str, Any]]
Results = dict[str, dict[str, Result]]  # by pair, by mapping


def read_suite(folder: Path) -> Results:
    """A suite's results by pair and mapping. Raises ClickException where there are none."""
    results: Results = {}
    for path in sorted(folder.glob("*/*.json")):
        results.setdefault(path.parent.name, {})[path.stem] = read_result(path)
    if not results:
        raise click.ClickException(f"{folder}: no results there; `python docs/findings/run.py` computes them")
    return results


def direction(result: Result) -> str:
    """up to a larger model, down to a smaller one, or same."""
    source, target = (FAMILY[site.model.removeprefix("nano/")].width for site in _sites(result))
    return "same" if source == target else "up" if source < target else "down"


def _sites(result: Result) -> tuple[Any, Any]:
    return result.pair.source, result.pair.target


def _rounded(row: dict[str, Any]) -> dict[str, Any]:
    return {name: float(f"{value:.5g}") if isinstance(value, float) else value for name, value in row.items()}


def _figures(result: Result) -> dict[str, Any]:
    """What every table says of a result."""
    fidelity, (low, high) = result.fidelity, result.ci95 or (None, None)
    return {
        "transfer_score": result.transfer_score,
        "low": low,
        "high": high,
        "steering_r2": result.steering_r2,
        "correlation_delta": result.correlation_delta,
        "fvu": fidelity and fidelity.fvu,
        "fvu_without_top8": fidelity and fidelity.fvu_without_top8,
        "state_cosine": fidelity and fidelity.cosine,
        "kl": fidelity and fidelity.kl,
    }


def pairs_table(results: Results) -> Table:
    """A row for each pair and mapping, controls included."""
    rows = []
    for pair, of_pair in results.items():
        places = {row.result.mapping.name: row for row in ranked(list(of_pair.values()))}
        for name, result in of_pair.items():
            source, target = _sites(result)
            rows.append(
                {
                    "pair": pair,
                    "mapping": name,
                    "control": result.mapping.control,
                    "depth": "mid" if pair.endswith("-mid") else "late",
                    "direction": direction(result),
                    "source": source.model,
                    "source_layer": source.layer,
                    "source_parameters": source.parameters,
                    "target": target.model,
                    "target_layer": target.layer,
                    "target_parameters": target.parameters,
                    "rank": places[name].rank,
                    "steerable": sum(task.steerable for task in result.tasks),
                    **_figures(result),
                }
            )
    return rows


def tasks_table(results: Results, mappings: Sequence[str]) -> Table:
    """A row for each pair, mapping and steerable task."""
    return [
        {
            "pair": pair,
            "mapping": name,
            "task": task.task,
            "steering_r2": task.steering_r2,
            "ceiling_r2": task.ceiling_r2,
            "cosine": task.cosine,
            "norm_ratio": task.norm_ratio,
            "slope_ratio": task.slope_ratio,
            "reachable": task.reachable,
        }
        for pair, of_pair in results.items()
        for name in mappings
        for task in of_pair[name].tasks
        if task.steerable
    ]


def tokens_table(folder: Path) -> Table:
    """A row for each number of fit tokens, pair and mapping."""
    return [
        {"tokens": result.cost.fit_tokens, "asked": tokens, "pair": pair, "mapping": name, **_figures(result)}
        for tokens in run.TOKENS
        for pair, of_pair in read_suite(folder / f"findings-{tokens}-tokens").items()
        for name, result in of_pair.items()
        if not result.mapping.control
    ]


def layers_table(sweeps: Iterable[LayerSweepRecord]) -> Table:
    """A row for each pair of layers."""
    return [
        {
            "pair": sweep.pair,
            "source": sweep.source.model,
            "target": sweep.target.model,
            "source_layer": source.layer,
            "target_layer": target.layer,
            "fvu": source.fvu,
            "fvu_without_top8": source.fvu_without_top8,
            "steering_r2": source.steering_r2,
            "ceiling_r2": target.ceiling_r2,
            "steerable": target.steerable,
            "native_slope": target.slope,
        }
        for sweep in sweeps
        for source, target in sweep.cells()
    ]


def write_table(path: Path, rows: Table) -> None:
    """A CSV file, five significant digits."""
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(map(_rounded, rows))
    write_whole(path, buffer.getvalue().encode())


@click.command()
@click.argument("results", type=click.Path(path_type=Path), default=run.RESULTS)
def main(results: Path) -> None:
    """Write the data of the findings page."""
    pairs = read_suite(results / "findings")
    sweeps = [read_sweep(results / "layers" / pair / "layers.json") for pair in run.LAYER_PAIRS]
    tables = {
        "pairs": pairs_table(pairs),
        "tasks": tasks_table(pairs, analysis.MAPPINGS),
        "tokens": tokens_table(results),
        "layers": layers_table(sweeps),
    }
    for name, rows in tables.items():
        write_table(DATA / f"{name}.csv", rows)
    summary = analysis.summary(pairs, tables)
    write_whole(DATA / "summary.json", (json.dumps(summary, indent=1, allow_nan=False) + "\n").encode())
    click.echo(f"{DATA}: {', '.join(f'{name}.csv ({len(rows)} rows)' for name, rows in tables.items())}")


if __name__ == "__main__":
    main()
