"""The command that sweeps layers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from lrt_bench.cli.completion import complete_pairs, complete_suites, complete_tasks
from lrt_bench.cli.options import OPTIONS, SEVERAL, layers, names, verbosity, with_options
from lrt_bench.errors import UserError, one_line_errors

if TYPE_CHECKING:
    from lrt_bench.data.suites import PairSpec, Suite
    from lrt_bench.data.tasks import ChoiceTask
    from lrt_bench.evaluation.layer_sweep.record import LayerSweepRecord
    from lrt_bench.evaluation.layer_sweep.sweep import LayerSweep


@click.command(name="sweep-layers")
@click.option(
    "--suite",
    "suite_spec",
    shell_complete=complete_suites,
    help="Suite name or YAML file.  [default: nano; everyday for your own models]",
)
@click.option(
    "--pair", "pairs", multiple=True, callback=names, shell_complete=complete_pairs,
    help=f"Only the models of this pair ({SEVERAL}).",
)  # fmt: skip
@click.option("--source", help="Ad hoc pair: source MODEL, or MODEL:LAYER for that layer alone.")
@click.option("--target", help="Ad hoc pair: target MODEL, or MODEL:LAYER.")
@click.option("--every", type=click.IntRange(min=1), default=1, show_default=True, help="Every k-th layer.")
@click.option("--source-layers", multiple=True, callback=layers, help="These instead: all, or 1,2,3.")
@click.option("--target-layers", multiple=True, callback=layers, help="These instead: all, or 1,2,3.")
@click.option(
    "--task", "tasks", multiple=True, callback=names, shell_complete=complete_tasks,
    help=f"Only this task, or a task folder ({SEVERAL}).",
)  # fmt: skip
@with_options(OPTIONS)
@click.option("--batch-size", type=click.IntRange(min=1), default=64, show_default=True)
@click.option("--json", "as_json", is_flag=True, help="One JSON list on standard output.")
@verbosity
@one_line_errors
def sweep_layers(
    suite_spec: str | None,
    pairs: tuple[str, ...],
    source: str | None,
    target: str | None,
    tasks: tuple[str, ...],
    corpus: str | None,
    corpus_column: str | None,
    data: tuple[str, ...],
    models: tuple[str, ...],
    out: Path,
    as_json: bool,
    device_map: str | None,
    **settings: Any,
) -> None:
    """Which layers: every source layer to every target layer, in one pass over the corpus.

    Fits ridge between all pairs of layers, prints FVU on validation states and steering R2 on the tasks'
    selection prompts, and chooses the layers by the latter, among the target layers where the readout
    control, in which no map is, stays below 60% of the ceiling. No scored prompt is read.
    """
    from lrt_bench.data.datasets import Data, stand_ins
    from lrt_bench.data.suites import ad_hoc, default_suite, find_suite, narrowed
    from lrt_bench.models.loading import check_stand_ins

    suite_spec = suite_spec or default_suite(source, target)
    suite = find_suite(suite_spec)
    if (source is None) != (target is None):
        raise UserError("an ad hoc pair wants both --source and --target")
    if source and target:
        source, settings["source_layers"] = _one_layer("source", source, settings["source_layers"])
        target, settings["target_layers"] = _one_layer("target", target, settings["target_layers"])
        if pairs:
            raise UserError("--pair names a pair of the suite: leave it out beside --source and --target")
        suite = ad_hoc(suite, source, None, target, None)
    suite = narrowed(suite, pairs=pairs, corpus=corpus, column=corpus_column)
    if out.exists() and not out.is_dir():
        raise UserError(f"--out {out}: a file is there; give a folder")
    repeated = {"task": tasks, "data": data, "model": models}
    given = {"corpus": corpus, "corpus-column": corpus_column, "device-map": device_map}
    settings["words"] = ["--suite", suite_spec, *_words(repeated, given, settings)]
    settings["data"] = Data(stand_ins(data, "--data"))
    local = stand_ins(models, "--model")
    check_stand_ins(local, {spec for pair in suite.pairs for spec in (pair.source, pair.target)})
    sweeps = _run(suite, tasks, device_map, local, out=out, **settings)
    if as_json:
        rows = [row for sweep, record, _ in sweeps for row in _rows(record, sweep.path)]
        click.echo(json.dumps(rows, indent=1, allow_nan=False))
        return
    for sweep, record, figure in sweeps:
        _print(record)
        click.echo(f"{sweep.path}\n{figure}")


def _one_layer(side: str, given: str, layers: Any) -> tuple[str, Any]:
    """Return the model of MODEL:LAYER, and the layers to sweep: that one alone.

    Raises UserError where others are named beside it.
    """
    from lrt_bench.files.names import parse_site

    model, layer = parse_site(given)
    if layer is None:
        return model, layers
    if layers is not None or not isinstance(layer, int):
        raise UserError(f"--{side} {given}: give MODEL:LAYER, counted from 1, or --{side}-layers, not both")
    return model, (layer,)


def _words(
    repeated: dict[str, tuple[str, ...]], given: dict[str, str | None], settings: dict[str, Any]
) -> list[str]:
    """Options that `evaluate` is to be given as this command was."""
    words = [word for name, values in repeated.items() for value in values for word in (f"--{name}", value)]
    defaults = {"device": "cpu", "dtype": "float32", "seed": 0, "batch-size": 64}
    options = given | {name: settings[name.replace("-", "_")] for name in defaults}
    for name, value in options.items():
        if value != defaults.get(name):
            words += [f"--{name}", str(value)]
    words += ["--trust-remote-code"] if settings["trust_remote_code"] else []
    words += ["--bos", settings["bos"]] if settings["bos"] != "auto" else []
    return words


def _run(
    suite: Suite, specs: tuple[str, ...], device_map: str | None, local: dict[str, str], **settings: Any
) -> list[tuple[LayerSweep, LayerSweepRecord, Path]]:
    """Sweep each pair of models once, draw, with a progress bar."""
    from lrt_bench.cli.terminal.progress import progress
    from lrt_bench.evaluation.layer_sweep.figure import draw_sweep
    from lrt_bench.evaluation.layer_sweep.sweep import LayerSweep
    from lrt_bench.models.loading import Models

    loading = {name: settings.pop(name) for name in ("trust_remote_code", "bos")}
    models = Models(settings["dtype"], settings["device"], device_map, local, **loading)
    # the suite's pairs may hold the same models at other layers
    pairs = {(pair.source, pair.target): pair for pair in reversed(suite.pairs)}
    done = []
    with progress() as update:
        for pair in [pair for pair in suite.pairs if pair in pairs.values()]:
            sweep = LayerSweep(suite, pair, _tasks(suite, pair, specs), report=update, **settings)
            record = sweep.run(models)
            done.append((sweep, record, draw_sweep(record, sweep.path.with_suffix(".svg"))))
    return done


def _tasks(suite: Suite, pair: PairSpec, specs: tuple[str, ...]) -> list[ChoiceTask]:
    """Return the choice tasks named, or the suite's."""
    from lrt_bench.data.task_reading.task_folders import find_task
    from lrt_bench.data.tasks import ChoiceTask

    tasks = [find_task(spec) for spec in specs] or suite.tasks_of(pair)
    chosen = [task for task in tasks if isinstance(task, ChoiceTask)]
    names = [task.name for task in chosen]
    if twice := [name for name in names if names.count(name) > 1]:
        raise UserError(f"--task: two tasks are named {twice[0]}; leave one out")
    return chosen


def _rows(record: LayerSweepRecord, path: Path) -> list[dict[str, Any]]:
    """Return a flat record for each pair of layers."""
    best = (record.chosen.source_layer, record.chosen.target_layer) if record.chosen else None
    return [
        {
            "pair": record.pair,
            "source_layer": source.layer,
            "target_layer": target.layer,
            "fvu": source.fvu,
            "fvu_without_top8": source.fvu_without_top8,
            "steering_r2": source.steering_r2,
            "steering_r2_median": source.steering_r2_median,
            "ceiling_r2": target.ceiling_r2,
            "readout_r2": target.readout_r2,
            "output_level": target.output_level,
            "native_effect": target.slope,
            "steerable": target.steerable,
            "tasks": len(target.tasks),
            "chosen": (source.layer, target.layer) == best,
            "path": str(path),
        }
        for source, target in record.cells()
    ]


def _print(record: LayerSweepRecord) -> None:
    """Two tables, where native steering works, and the choice."""
    from lrt_bench.cli.terminal.screen import print_line, screen

    out = screen()
    names = record.source.model, record.target.model
    out.print(f"{record.pair}: layers of {names[0]} (rows) to layers of {names[1]}")
    out.print(_table(record, "FVU of validation states", "fvu"))
    out.print(_table(record, "steering R2 on selection prompts", "steering_r2"))
    for line in _notes(record):
        print_line(line)


def _table(record: LayerSweepRecord, title: str, field: str) -> Any:
    from rich import box
    from rich.table import Table

    from lrt_bench.files.format import number

    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    table.add_column("layer", no_wrap=True)
    for layer in record.target.layers:
        table.add_column(str(layer), justify="right", no_wrap=True)
    for layer, values in zip(record.source.layers, record.grid(field), strict=True):
        table.add_row(str(layer), *(number(value, 2) for value in values))
    if field == "steering_r2" and any(target_layer.tasks for target_layer in record.targets):
        table.add_section()
        table.add_row("ceiling", *(number(target_layer.ceiling_r2, 2) for target_layer in record.targets))
        table.add_row("readout", *(number(target_layer.readout_r2, 2) for target_layer in record.targets))
        table.add_row("native effect", *(number(target_layer.slope, 1) for target_layer in record.targets))
        table.add_row(
            "steerable",
            *(f"{target_layer.steerable}/{len(target_layer.tasks)}" for target_layer in record.targets),
        )
    return table


def _of_the_output(record: LayerSweepRecord) -> list[str]:
    """Say which target layers the readout control rules out, or that it would rule out all."""
    assert record.chosen is not None
    left_out = [str(target.layer) for target in record.targets if target.output_level]
    if record.chosen.output_level:
        return [
            "output-level: the readout control is above 60% of the ceiling wherever native steering works"
        ]
    if left_out:
        return [
            f"not chosen among, since the readout control is above 60% of the ceiling: {', '.join(left_out)}"
        ]
    return []


def _notes(record: LayerSweepRecord) -> list[str]:
    lines = []
    if record.without_selection:
        lines.append(f"no selection prompts (select.jsonl), left out: {', '.join(record.without_selection)}")
    if record.not_scorable:
        lines.append(f"not scorable in its tokenizer: {', '.join(record.not_scorable)}")
    chosen = record.chosen
    if chosen is None:
        tasks = any(target_layer.tasks for target_layer in record.targets)
        why = "native steering works at no target layer" if tasks else "no task has selection prompts"
        return [*lines, f"no layers chosen: {why}, so steering R2 cannot tell"]
    low, high = chosen.ci95
    lines.append(
        f"chosen on validation: source layer {chosen.source_layer}, target layer {chosen.target_layer} "
        f"(steering R2 {chosen.steering_r2:.3f} [{low:.3f}, {high:.3f}])"
    )
    tied = ", ".join(f"{source} to {target}" for source, target in chosen.tied)
    lines.append(f"not clear of: {tied}" if tied else "clear of every other pair")
    lines += _of_the_output(record)
    return [*lines, chosen.command]
