"""The command line: parse, call, print. Heavy imports wait until a command needs them."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from lrt_bench._version import __version__
from lrt_bench.cli.decoder_relation import decoder_relation
from lrt_bench.cli.engine_options import running
from lrt_bench.cli.leaderboard import leaderboard
from lrt_bench.cli.options import computing
from lrt_bench.cli.report import reports
from lrt_bench.cli.submit import submit, verify
from lrt_bench.cli.sweep_layers import layers, sweep_layers
from lrt_bench.cli.transfer import fit, transfer
from lrt_bench.cli.try_vector import try_
from lrt_bench.errors import UserError, plainly

if TYPE_CHECKING:
    from lrt_bench.data.suites import LayerChoice, Suite
    from lrt_bench.evaluation.engines.base import Engine
    from lrt_bench.evaluation.refusal_scores import Scorers
    from lrt_bench.evaluation.side_effects.tasks import SideEffects


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__)
def main() -> None:
    """The benchmark of steering-vector transfer between language models.

    Begin with `lrt-bench evaluate`: it scores every built-in mapping on the embedded models.
    """


main.add_command(leaderboard)
main.add_command(reports)


@main.command()
@click.option(
    "--suite", "suite_spec", help="Suite name or YAML file.  [default: nano; everyday for your own models]"
)
@click.option("--pair", "pairs", multiple=True, help="Only this pair of the suite (repeatable).")
@click.option("--mapping", "mappings", multiple=True, help="Built-in name or PATH.py:CLASS (repeatable).")
@click.option(
    "--submission",
    "submissions",
    multiple=True,
    type=click.Path(path_type=Path),
    help="Folder of a submission, scored beside the mappings (repeatable).",
)
@click.option("--unsafe-no-sandbox", is_flag=True, help="Run submissions as you: only code that you trust.")
@click.option(
    "--submission-seconds",
    type=click.FloatRange(min=1),
    default=300,
    show_default=True,
    help="Wall time of one fit of a submission.",
)
@click.option("--task", "tasks", multiple=True, help="Only this task, or a task folder (repeatable).")
@click.option(
    "--side-effects",
    help="lm-eval tasks to run steered, by name: TASK[,TASK...]. Their files are code: name those you trust.",
)
@click.option(
    "--side-effects-path",
    type=click.Path(path_type=Path),
    help="Folder of lm-eval task files of your own.",
)
@click.option("--side-effects-limit", type=click.IntRange(min=1), help="Only the first N samples of each.")
@click.option(
    "--side-effects-concepts", type=click.IntRange(min=1), help="Steer with N concepts at most [3]."
)
@click.option("--source", help="Ad hoc pair: source model (Hub id, folder, .gguf file, nano/S).")
@click.option("--source-layer", type=int, help="Its layer, counted from 1; default at 70% of its depth.")
@click.option("--source-layers", type=layers, help="Instead: several side by side: all, or 1,2,3.")
@click.option("--source-sae", help="Map features: a sparse autoencoder of that layer (file, folder, Hub).")
@click.option("--target", help="Ad hoc pair: target model.")
@click.option("--target-layer", type=int, help="Its layer, counted from 1.")
@click.option("--judge-url", help="Judge of refusal tasks: an OpenAI-compatible address, http://host/v1.")
@click.option("--judge-model", help="The judge's name there; its key is read from LRT_BENCH_JUDGE_KEY.")
@click.option(
    "--classifier",
    type=click.Path(path_type=Path),
    help="Folder of a text-classification model that tells refusals, for refusal tasks.",
)
@computing
@click.option("--batch-size", type=int, default=64, show_default=True, help="Sequences in one forward.")
@click.option("--json", "as_json", is_flag=True, help="One JSON list on standard output.")
@plainly
@running
def evaluate(
    engine: Engine,
    suite_spec: str | None,
    pairs: tuple[str, ...],
    mappings: tuple[str, ...],
    submissions: tuple[Path, ...],
    unsafe_no_sandbox: bool,
    submission_seconds: float,
    tasks: tuple[str, ...],
    side_effects: str | None,
    side_effects_path: Path | None,
    side_effects_limit: int | None,
    side_effects_concepts: int | None,
    source: str | None,
    source_layer: int | None,
    source_layers: LayerChoice | None,
    source_sae: str | None,
    target: str | None,
    target_layer: int | None,
    judge_url: str | None,
    judge_model: str | None,
    classifier: Path | None,
    corpus: str | None,
    data: tuple[str, ...],
    models: tuple[str, ...],
    out: Path,
    device: str,
    dtype: str,
    device_map: str | None,
    trust_remote_code: bool,
    bos: str,
    seed: int,
    batch_size: int,
    as_json: bool,
) -> None:
    """Score mapping methods on pairs of models; finished cells in --out are not computed again."""
    from lrt_bench.data.datasets import Data, stand_ins
    from lrt_bench.data.suites import ad_hoc, default_suite, find_suite, narrowed

    suite = find_suite(suite_spec or default_suite(source, target))
    if source or target:
        if not (source and target):
            raise UserError("an ad hoc pair wants both --source and --target")
        if pairs:
            raise UserError("--pair names a pair of the suite: leave it out beside --source and --target")
        suite = ad_hoc(suite, source, source_layer, target, target_layer, source_layers, source_sae)
    elif any(given is not None for given in (source_layer, source_layers, source_sae, target_layer)):
        raise UserError(
            "layers and a sparse autoencoder belong to an ad hoc pair: give --source and --target"
        )
    whole, suite = suite, narrowed(suite, pairs=pairs, corpus=corpus)
    settings: dict[str, Any] = {"device": device, "dtype": dtype, "device_map": device_map, "seed": seed}
    settings |= {"trust_remote_code": trust_remote_code, "bos": bos}
    left_out = whole.models - suite.models  # of pairs that --pair leaves out
    local = {name: path for name, path in stand_ins(models, "--model").items() if name not in left_out}
    settings |= {"data": Data(stand_ins(data, "--data")), "local_models": local}
    of_lm_eval = (side_effects_path, side_effects_limit, side_effects_concepts)
    settings["side_effects"] = _side_effects(side_effects, *of_lm_eval)
    if judge_url or judge_model or classifier:
        settings["scorers"] = _scorers(judge_url, judge_model, classifier)
    if submissions:
        from lrt_bench.cli.submit import rows_of

        settings["submissions"] = rows_of(submissions, suite, submission_seconds, unsafe_no_sandbox)
    _run(as_json, engine, suite, mappings=mappings, tasks=tasks, out=out, batch_size=batch_size, **settings)


def _side_effects(
    names: str | None, folder: Path | None, limit: int | None, concepts: int | None
) -> SideEffects | None:
    """The lm-eval tasks that are asked for, loaded; the harness is imported for nothing else."""
    if names is None:
        if any(option is not None for option in (folder, limit, concepts)):
            raise UserError("--side-effects-path, -limit and -concepts want --side-effects TASK beside them")
        return None
    from lrt_bench.evaluation.side_effects.chosen import load_chosen

    return load_chosen(names.split(","), folder, limit, concepts)


def _scorers(judge_url: str | None, judge_model: str | None, classifier: Path | None) -> Scorers:
    from lrt_bench.evaluation.refusal_scores import Scorers
    from lrt_bench.evaluation.scorers.answers import Classifier
    from lrt_bench.evaluation.scorers.judge import Judge

    if bool(judge_url) != bool(judge_model):
        raise UserError("a judge wants both --judge-url and --judge-model")
    judge = Judge.from_environment(judge_url, judge_model) if judge_url and judge_model else None
    return Scorers(Classifier(classifier) if classifier else None, judge)


def _run(as_json: bool, engine: Engine, suite: Suite, **settings: Any) -> None:
    """Evaluate with a progress bar, draw each pair's figure when it is done, print."""
    engine = engine.prepared(suite, settings)
    from lrt_bench.cli import terminal as report
    from lrt_bench.evaluation.evaluation import Evaluation

    with report.progress() as update, report.Drawing() as drawing:
        evaluation = Evaluation(suite, report=update, pair_done=drawing.add, **settings)
        cells = engine.run(evaluation)
    if as_json:
        rows = report.as_rows(cells, evaluation.failures)
        click.echo(json.dumps(rows, indent=1, allow_nan=False))
    else:
        report.print_tables(cells)
        report.print_failures(evaluation.failures)
        report.print_paths(cells, drawing.paths)
    if evaluation.failures:
        sys.exit(1)


@main.command(name="list")
@click.argument("what", type=click.Choice(["suites", "pairs", "tasks", "mappings"]))
@click.option("--json", "as_json", is_flag=True, help="One JSON list on standard output.")
@plainly
def list_(what: str, as_json: bool) -> None:
    """List the suites, pairs, tasks or mappings that ship with lrt-bench."""
    rows = _described(what)
    if as_json:
        click.echo(json.dumps(rows, indent=1))
        return
    from lrt_bench.cli import terminal as report

    report.print_rows(rows, leave_out=("digest",))


def _described(what: str) -> list[dict[str, Any]]:
    if what == "mappings":
        from lrt_bench.mappings.names import BUILT_IN

        return [{"name": name, "description": entry[2]} for name, entry in BUILT_IN.items()]
    if what == "tasks":
        from lrt_bench.data.tasks import describe_tasks

        return describe_tasks()
    from lrt_bench.data.suites import describe_pairs, describe_suites

    return describe_suites() if what == "suites" else describe_pairs()


@main.command()
@click.argument("result", type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="The whole record on standard output.")
@plainly
def show(result: Path, as_json: bool) -> None:
    """Show one result file: its scores, its tasks, its fidelity, its cost."""
    from lrt_bench.results.storage import read_result

    record = read_result(result)
    if as_json:
        click.echo(record.model_dump_json(indent=1))
        return
    from lrt_bench.cli import terminal as report

    report.print_result(record)


@main.command()
@click.argument("results", type=click.Path(path_type=Path), default=Path("results"))
@plainly
def summary(results: Path) -> None:
    """Print a folder of results as Markdown, for a pull request or a report."""
    from lrt_bench.leaderboard.markdown import markdown

    click.echo(markdown(results), nl=False)


@main.command()
@plainly
def schema() -> None:
    """Print the JSON Schema of a result file."""
    from lrt_bench.results.storage import json_schema

    click.echo(json_schema(), nl=False)


main.add_command(decoder_relation)
main.add_command(fit)
main.add_command(submit)
main.add_command(sweep_layers)
main.add_command(transfer)
main.add_command(try_)
main.add_command(verify)
