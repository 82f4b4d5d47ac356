"""The command that scores: options and a settings file to one `RunConfig`, and that to a run."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import click
from click.core import ParameterSource

from lrt_bench.cli.completion import complete_mappings, complete_pairs, complete_suites, complete_tasks
from lrt_bench.cli.options import (
    CACHE,
    ENGINE,
    OPTIONS,
    SEVERAL,
    layers,
    mapping_names,
    names,
    paths,
    verbosity,
    with_options,
)
from lrt_bench.errors import one_line_errors

if TYPE_CHECKING:
    from lrt_bench.data.suites import Suite
    from lrt_bench.evaluation.cells import Cell, Failure
    from lrt_bench.evaluation.config import RunConfig
    from lrt_bench.evaluation.refusal_scores import Scorers
    from lrt_bench.evaluation.side_effects.tasks import SideEffects
    from lrt_bench.unseen.scoring import Unseen


@click.command()
@click.option(
    "--config",
    "config_file",
    type=click.Path(path_type=Path),
    help="YAML file of settings, by the names of these options; an option that is given overrides it.",
)
@click.option(
    "--suite", shell_complete=complete_suites,
    help="Suite name or YAML file.  [default: nano; everyday for your own models]",
)  # fmt: skip
@click.option(
    "--pair", "pairs", multiple=True, callback=names, shell_complete=complete_pairs,
    help=f"Only this pair of the suite ({SEVERAL}).",
)  # fmt: skip
@click.option(
    "--mapping", "mappings", multiple=True, callback=mapping_names, shell_complete=complete_mappings,
    help=f"Built-in name, all, or PATH.py:CLASS ({SEVERAL}).",
)  # fmt: skip
@click.option(
    "--submission",
    "submissions",
    multiple=True,
    callback=paths,
    help=f"Folder of a submission, scored beside the mappings ({SEVERAL}).",
)
@click.option("--unsafe-no-sandbox", is_flag=True, help="Run submissions as you: only code that you trust.")
@click.option(
    "--submission-seconds",
    type=click.FloatRange(min=1),
    default=300,
    show_default=True,
    help="Wall time of one fit of a submission.",
)
@click.option(
    "--private",
    type=click.Path(path_type=Path),
    help="Folder of a private family: score submissions on it too, without which none is ranked.",
)
@click.option(
    "--fresh-concepts",
    type=click.IntRange(2, 200),
    help="Draw N concepts that nobody has seen and score every row on them too (embedded family).",
)
@click.option(
    "--task", "tasks", multiple=True, callback=names, shell_complete=complete_tasks,
    help=f"Only this task, or a task folder ({SEVERAL}).",
)  # fmt: skip
@click.option(
    "--limit", type=click.IntRange(min=2),
    help="A quick look: only N prompts of each task. The result is incomplete, and on no board.",
)  # fmt: skip
@click.option(
    "--side-effects",
    multiple=True,
    callback=names,
    help="lm-eval tasks to run steered, by name, with commas. Their files are code: name those you trust.",
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
@click.option("--source", help="Ad hoc pair: source MODEL or MODEL:LAYER (Hub id, folder, .gguf, nano/S:3).")
@click.option("--source-layer", type=int, help="Its layer, counted from 1; default at 70% of its depth.")
@click.option(
    "--source-layers", multiple=True, callback=layers, help="Instead: several side by side: all, or 1,2,3."
)
@click.option("--source-sae", help="Map features: a sparse autoencoder of that layer (file, folder, Hub).")
@click.option("--target", help="Ad hoc pair: target MODEL or MODEL:LAYER.")
@click.option("--target-layer", type=int, help="Its layer, counted from 1.")
@click.option("--judge-url", help="Judge of refusal tasks: an OpenAI-compatible address, http://host/v1.")
@click.option("--judge-model", help="The judge's name there; its key is read from LRT_BENCH_JUDGE_KEY.")
@click.option(
    "--classifier",
    type=click.Path(path_type=Path),
    help="Folder of a text-classification model that tells refusals, for refusal tasks.",
)
@with_options(OPTIONS)
@click.option(
    "--weights",
    multiple=True,
    help='ID=TEXT: what a model\'s weights are, shown with its results: "ID=4-bit GGUF" (repeatable).',
)
@click.option(
    "--batch-size",
    type=int,
    default=64,
    show_default=True,
    help="Sequences in one forward.",
)
@with_options(ENGINE)
@with_options(CACHE)
@click.option("--json", "as_json", is_flag=True, help="One JSON list on standard output.")
@verbosity
@click.pass_context
@one_line_errors
def evaluate(context: click.Context, /, config_file: Path | None, as_json: bool, **options: Any) -> None:
    """Score mapping methods on pairs of models; finished cells in --out are not computed again."""
    from lrt_bench.evaluation.config import checked, read_config

    given = _fields(context, options)
    config = checked(given) if config_file is None else read_config(config_file, given)
    _run(config, as_json)


def _fields(context: click.Context, options: dict[str, Any]) -> dict[str, Any]:
    """Return the settings that the command line gives; an option that is not given leaves its field out."""
    from lrt_bench.data.datasets import stand_ins

    fields = {
        name: value
        for name, value in options.items()
        if context.get_parameter_source(name) is not ParameterSource.DEFAULT
    }
    for name, flag in (("data", "--data"), ("models", "--model"), ("weights", "--weights")):
        if name in fields:
            fields[name] = stand_ins(fields[name], flag)
    return fields


def _run(config: RunConfig, as_json: bool) -> None:
    """Evaluate with a progress bar, draw each pair's picture when it is done, print."""
    from lrt_bench.data.datasets import Data
    from lrt_bench.evaluation.engines.choice import chosen_engine

    engine = chosen_engine(config)
    whole, suite = config.whole_suite(), config.chosen_suite()
    config = _with_references(config, suite)
    _say_what_begins(config, suite)
    left_out = whole.models - suite.models  # stand-ins of pairs that --pair leaves out are no mistake
    models = {name: path for name, path in config.models.items() if name not in left_out}
    config = config.model_copy(update={"models": models})
    _check_hub(config, suite)
    data = Data(config.data)
    side_effects = _side_effects(config)
    engine = engine.prepared(suite, config)  # before torch is imported: the two go on side by side
    scorers, submissions = _scorers(config), _submissions(config, suite)
    unseen = _Unseen(config, suite)
    from lrt_bench.cli.terminal.answer import print_outcome
    from lrt_bench.cli.terminal.drawing import Drawing
    from lrt_bench.cli.terminal.pairs import as_rows
    from lrt_bench.cli.terminal.progress import progress
    from lrt_bench.evaluation.evaluation import Evaluation

    with progress() as update, Drawing() as drawing:
        evaluation = Evaluation(suite, config, update, drawing.add, submissions, side_effects, scorers, data)
        cells = unseen.scored(engine.run(evaluation), update)
    failures = [*evaluation.failures, *unseen.failures]
    if as_json:
        click.echo(json.dumps(as_rows(cells, failures), indent=1, allow_nan=False))
    else:
        print_outcome(cells, failures, drawing.paths)
    if failures:
        sys.exit(1)


def _with_references(config: RunConfig, suite: Suite) -> RunConfig:
    """Add the built-in maps that private scores are read by, where such scores are asked for."""
    if not config.private:
        return config
    from lrt_bench.results.statistics.agreement import REFERENCES

    named = dict.fromkeys([*(config.mappings or suite.mappings), *REFERENCES])
    return config.model_copy(update={"mappings": tuple(named)})


def _say_what_begins(config: RunConfig, suite: Suite) -> None:
    """Say on a terminal what is begun, before torch is imported: somebody waits there."""
    from lrt_bench.files.format import counted

    if sys.stderr.isatty():
        methods = len(config.mappings or suite.mappings) + len(config.submissions)
        tasks = len(config.tasks or suite.tasks)
        counts = ((len(suite.pairs), "pair"), (methods, "method"), (tasks, "task"))
        said = ", ".join(counted(count, name) for count, name in counts)
        click.echo(f"{suite.name}: {said}: starting", err=True)


def _check_hub(config: RunConfig, suite: Suite) -> None:
    """Raise UserError where a model must be fetched and the Hub gives nothing; before torch is imported.

    Ray's workers fetch by themselves: what this machine reaches says nothing of them. A stand-in of none of
    the models is a mistake that is told first, and later.
    """
    from lrt_bench.files.hub import check_models

    if config.engine != "ray" and config.models.keys() <= suite.models:
        specs = [spec for pair in suite.pairs for spec in (pair.source, pair.target)]
        check_models(dict.fromkeys(specs), config.models)


def _submissions(config: RunConfig, suite: Suite) -> Any:
    """Return the submissions' rows."""
    if not config.submissions:
        return ()
    from lrt_bench.cli.submit import rows_of

    return rows_of(config.submissions, suite, config.submission_seconds, config.unsafe_no_sandbox)


class _Unseen:
    """The runs on what nobody had seen, where they are asked for; checked before anything is computed."""

    def __init__(self, config: RunConfig, suite: Suite) -> None:
        self.config, self.suite = config, suite
        self.failures: list[Failure] = []
        self.family = None
        if config.private:
            from lrt_bench.unseen.family import read_family

            self.family = read_family(config.private)
        if config.private or config.fresh_concepts:
            self._runs(lambda what, done, total: None).check()

    def scored(self, cells: list[Cell], update: Callable[[str, float, float], None]) -> list[Cell]:
        """Return the cells with their scores on it."""
        if not (self.family or self.config.fresh_concepts):
            return cells
        runs = self._runs(update)
        if self.family:
            cells = runs.on_private(cells, self.family)
        if self.config.fresh_concepts:
            cells = runs.on_fresh(cells)
        self.failures = runs.failures
        return cells

    def _runs(self, update: Callable[[str, float, float], None]) -> Unseen:
        from lrt_bench.cli.submit import rows_of
        from lrt_bench.unseen.scoring import Unseen

        config = self.config

        def rows(suite: Suite, purpose: Literal["private", "fresh"]) -> Any:
            seconds, unsafe = config.submission_seconds, config.unsafe_no_sandbox
            return rows_of(config.submissions, suite, seconds, unsafe, purpose)

        return Unseen(self.suite, config, rows, report=update)


def _side_effects(config: RunConfig) -> SideEffects | None:
    """Load the lm-eval tasks that are named; the harness is imported for nothing else."""
    if not config.side_effects:
        return None
    from lrt_bench.evaluation.side_effects.chosen import load_chosen

    return load_chosen(
        config.side_effects, config.side_effects_path, config.side_effects_limit, config.side_effects_concepts
    )


def _scorers(config: RunConfig) -> Scorers:
    """Return the scorers that are named."""
    from lrt_bench.evaluation.refusal_scores import Scorers
    from lrt_bench.evaluation.scorers.answers import Classifier
    from lrt_bench.evaluation.scorers.judge import Judge

    judge = None
    if config.judge_url and config.judge_model:
        judge = Judge.from_environment(config.judge_url, config.judge_model)
    return Scorers(Classifier(config.classifier) if config.classifier else None, judge)
