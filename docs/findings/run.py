"""Compute the results that the findings page is made of: ``python docs/findings/run.py [WHAT ...]``.

WHAT is pairs, tokens or layers; all three where none is named. Finished cells are not computed again.
"""

from __future__ import annotations

from pathlib import Path

import click

from lrt_bench.cli.terminal.progress import progress
from lrt_bench.data.suites import Suite, find_suite, narrowed
from lrt_bench.evaluation.config import RunConfig
from lrt_bench.evaluation.evaluation import Evaluation
from lrt_bench.evaluation.layer_sweep.sweep import LayerSweep
from lrt_bench.models.loading import Models

HERE = Path(__file__).parent
RESULTS = Path("results")
TOKENS = (200, 500, 1_000, 2_000, 5_000, 10_000, 20_000, 40_000, 80_000)
LAYER_PAIRS = ("S-L", "M-L", "L-S")
PARTS = ("pairs", "tokens", "layers")


def with_tokens(suite: Suite, tokens: int) -> Suite:
    """The suite on so many fit tokens, all of them in the sample that networks are trained on."""
    corpus = suite.corpus.model_copy(update={"fit_tokens": tokens, "sample_tokens": tokens})
    return suite.model_copy(update={"name": f"findings-{tokens}-tokens", "corpus": corpus})


def evaluate(suite: Suite, out: Path) -> None:
    """Every cell of a suite, with a progress bar."""
    with progress() as update:
        Evaluation(suite, RunConfig(out=out), report=update).run()


def sweep(suite: Suite, out: Path) -> None:
    """Every layer to every layer of the suite's pairs."""
    models = Models("float32", "cpu", None, {})
    with progress() as update:
        for pair in suite.pairs:
            tasks = [task for task in suite.tasks_of(pair) if task.card.kind == "choice"]
            LayerSweep(suite, pair, tasks, out=out, report=update).run(models)


@click.command()
@click.argument("what", nargs=-1, type=click.Choice(PARTS))
@click.option("--out", type=click.Path(path_type=Path), default=RESULTS, show_default=True)
def main(what: tuple[str, ...], out: Path) -> None:
    """Compute what is missing in the folder of results."""
    pairs = find_suite(str(HERE / "pairs.yaml"))
    for part in what or PARTS:
        if part == "pairs":
            evaluate(pairs, out)
        elif part == "tokens":
            base = find_suite(str(HERE / "tokens.yaml"))
            for tokens in TOKENS:
                evaluate(with_tokens(base, tokens), out)
        else:
            sweep(narrowed(pairs, pairs=LAYER_PAIRS), out)


if __name__ == "__main__":
    main()
