"""From results to the findings' data: ``python docs/findings/collect.py [MEASURED]``.

Reads the leaderboard's results, the sites of docs/protocol-sites.csv and what run.py measured. Writes
pairs.csv, tasks.csv, sites.csv, training.csv, tokens.csv and positions.csv, which the figures are drawn from,
and summary.json, which holds every number that the page's text says.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import analysis
import click
import run

from lrt_bench.files.whole import write_whole
from lrt_bench.results.metrics import over_ceiling
from lrt_bench.results.ranking import ranked
from lrt_bench.results.schema.behaviour import at_matched_damage
from lrt_bench.results.storage import Result, read_result

HERE = Path(__file__).parent
DATA = HERE / "data"
ROOT = HERE.parent.parent
Table = list[dict[str, Any]]
Results = Mapping[str, Mapping[str, Result]]  # by pair, by mapping


def read_suite(folder: Path) -> dict[str, dict[str, Result]]:
    """A suite's results by pair and mapping. Raises ClickException where there are none."""
    results: dict[str, dict[str, Result]] = {}
    for path in sorted(folder.glob("*/*.json")):
        results.setdefault(path.parent.name, {})[path.stem] = read_result(path)
    if not results:
        raise click.ClickException(f"{folder}: no results there")
    return results


def pairs_table(results: Results) -> Table:
    """A row for each pair and mapping, controls included."""
    rows = []
    for pair, of_pair in results.items():
        places = {row.result.mapping.name: row for row in ranked(list(of_pair.values()))}
        for name, result in of_pair.items():
            fidelity, behaviour = result.fidelity, result.behaviour
            assert behaviour is not None
            low, high = result.ci95 or (None, None)
            these_low, these_high = result.ci95_these_tasks or (None, None)
            rows.append(
                {
                    "pair": pair,
                    "mapping": name,
                    "control": result.mapping.control,
                    "source": result.pair.source.model,
                    "source_layer": result.pair.source.layer,
                    "target": result.pair.target.model,
                    "target_layer": result.pair.target.layer,
                    "output_level": behaviour.output_level,
                    "rank": places[name].rank,
                    "counted": sum(task.steerable for task in result.tasks),
                    "transfer_score": result.transfer_score,
                    "low": low,
                    "high": high,
                    "low_these": these_low,
                    "high_these": these_high,
                    "steering_r2": result.steering_r2,
                    "fvu": fidelity and fidelity.fvu,
                    "fvu_without_top8": fidelity and fidelity.fvu_without_top8,
                    "kl": fidelity and fidelity.kl,
                }
            )
    return rows


def tasks_table(results: Results) -> Table:
    """A row for each pair, mapping and task that counts; `share` is over the ceiling, as scores clip it."""
    rows = []
    for pair, of_pair in results.items():
        for name, result in of_pair.items():
            assert result.behaviour is not None
            beside = {task.task: task for task in result.behaviour.tasks}
            for task in result.tasks:
                if not task.steerable or task.share is None or task.ceiling_share is None:
                    continue
                own = beside[task.task]
                rows.append(
                    {
                        "pair": pair,
                        "mapping": name,
                        "task": task.task,
                        "share": over_ceiling(task.share, task.ceiling_share),
                        "steering_r2": task.steering_r2,
                        "cosine": task.cosine,
                        "slope_ratio": task.slope_ratio,
                        "damage": own.damage,
                        "native_damage": own.native_damage,
                        "matched_effect": at_matched_damage(
                            task.slope_ratio, own.damage, own.native_damage, result.behaviour.unit
                        ),
                    }
                )
    return rows


def sites_table(path: Path) -> Table:
    """A row for each pair of layers of docs/protocol.md: mean shares over the tasks that count there.

    Of a pair that was measured twice, the full measurement.
    """
    by_site: dict[tuple[str, str], Table] = {}
    with path.open(encoding="utf-8", newline="") as file:
        for line in csv.DictReader(file):
            by_site.setdefault((line["pair"], line["stage"]), []).append(line)
    stages = dict(sorted(by_site, reverse=True))  # "full" comes last
    rows = []
    for pair, stage in sorted(stages.items()):
        lines = by_site[pair, stage]
        counted = [line for line in lines if float(line["margin_low"]) > 0]
        if len(counted) < analysis.FEWEST:
            continue
        source, target = pair.split("-")
        shares = {
            row: 100 * sum(float(line[row]) for line in counted) / len(counted) for row in analysis.AT_SITES
        }
        rows.append(
            {
                "pair": pair, "source": source[:-1], "source_layer": int(source[-1]), "target": target[:-1],
                "target_layer": int(target[-1]), "prompts": int(lines[0]["prompts"]), "tasks": len(lines),
                "counted": len(counted), **shares,
            }
        )  # fmt: skip
    return rows


def measured_table(folder: Path, part: str) -> Table:
    """What run.py measured of one part, all pairs together."""
    rows: Table = []
    for pair in run.PARTS[part][1]:
        path = folder / f"{part}-{pair}.csv"
        if not path.exists():
            raise click.ClickException(f"{path}: missing; `python docs/findings/run.py` measures it")
        with path.open(encoding="utf-8", newline="") as file:
            rows += list(csv.DictReader(file))
    return [{name: _number(text) for name, text in row.items()} for row in rows]


def _number(text: str) -> Any:
    if text in ("True", "False"):
        return text == "True"
    try:
        return float(text) if any(mark in text for mark in ".en") else int(text)
    except ValueError:
        return text


@click.command()
@click.argument("measured", type=click.Path(path_type=Path), default=run.RESULTS)
@click.option("--results", type=click.Path(path_type=Path), default=ROOT / "leaderboard/results/nano")
def main(measured: Path, results: Path) -> None:
    """Write the data of the findings page."""
    board = read_suite(results)
    tables = {
        "pairs": pairs_table(board),
        "tasks": tasks_table(board),
        "sites": sites_table(ROOT / "docs" / "protocol-sites.csv"),
        **{part: measured_table(measured, part) for part in run.PARTS},
    }
    for name, rows in tables.items():
        run.write_table(DATA / f"{name}.csv", rows)
    text = json.dumps(analysis.summary(tables), indent=1, allow_nan=False) + "\n"
    write_whole(DATA / "summary.json", text.encode())
    click.echo(f"{DATA}: {', '.join(f'{name}.csv ({len(rows)} rows)' for name, rows in tables.items())}")


if __name__ == "__main__":
    main()
