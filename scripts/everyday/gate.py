"""The gate of the everyday tasks: native steering works on a real model.

``python -m scripts.everyday.gate --model SPEC --corpus PATH [--layer N ...] [--out docs/everyday.md]``
steers a model with its own vectors and prints, for each concept and layer, what a pair's bench would decide.
It exits with 1 where fewer than `NEEDED` concepts are steerable at the first layer.
"""

from __future__ import annotations

import datetime
import json
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from lrt_bench.errors import UserError, one_line_errors

if TYPE_CHECKING:
    from lrt_bench.data.suites import Suite
    from lrt_bench.data.tasks import ChoiceTask
    from lrt_bench.models.sites import Site

NEEDED = 9  # concepts that native steering must move, of those there are
UNIT_TOKENS = 8_000
SAMPLES = 3


@dataclass(frozen=True)
class Finding:
    """One concept at one layer.

    Slopes in logits for a spread.

    Attributes
    ----------
    random : the largest absolute mean slope of the random directions.
    clear : by how much the native slope is clear of random ones (`metrics.is_steerable`), 95% interval.
    ceiling : steering R2 of one half's vector against the other's.
    curve : mean change of propensity at each alpha of the suite.
    """

    concept: str
    layer: int
    native: float
    random: float
    clear: tuple[float, float]
    steerable: bool
    ceiling: float
    curve: tuple[float, ...]
    prompts: int

    @property
    def monotone(self) -> bool:
        """Whether the mean change of propensity rises from each alpha to the next."""
        return all(low < high for low, high in zip(self.curve, self.curve[1:], strict=False))


def measure(suite: Suite, site: Site, task: ChoiceTask, spread: float) -> Finding:
    """Steer one concept natively, with the halves' vectors, and in the suite's random directions."""
    import numpy as np
    import torch

    from lrt_bench.results import metrics
    from lrt_bench.steering.concepts import concept_states
    from lrt_bench.steering.sweep import Sweep, unit

    states = concept_states(site, task.vector)
    generator = torch.Generator().manual_seed(4242)
    noise = unit(torch.randn(suite.random_directions, site.width, generator=generator))
    own = torch.stack([states.vector, states.half(0).vector, states.half(1).vector])
    sweep = Sweep(site, task.choices, suite.alphas, spread, 128)
    m = sweep.run(torch.cat([own, noise])).double().numpy()
    slopes = metrics.slopes(m, np.asarray(suite.alphas))
    steerable, clear = metrics.is_steerable(slopes[0], slopes[3:], replicates=suite.bootstrap)
    zero = suite.alphas.index(0.0)
    native, half_a, half_b = (part - part[:, zero, None] for part in m[:3])
    return Finding(
        task.concept, site.layer, float(slopes[0].mean()),
        float(np.abs(slopes[3:].mean(1)).max()), clear, steerable,
        metrics.steering_r2(half_a, half_b) or 0.0, tuple(native.mean(0).tolist()), len(sweep.encoded),
    )  # fmt: skip


def gate_tasks(suite: Suite, concepts: Sequence[str] = ()) -> list[ChoiceTask]:
    """Return the suite's choice tasks, or those of the named concepts.

    Raises UserError for a concept that the suite lacks.
    """
    from lrt_bench.data.tasks import ChoiceTask

    tasks = {task.concept: task for task in suite.read_tasks() if isinstance(task, ChoiceTask)}
    for name in concepts:
        if name not in tasks:
            raise UserError(f"--concept {name}: the suite has {', '.join(map(str, tasks))}")
    return [tasks[name] for name in concepts or tasks]


def unit_of_alpha(site: Site, corpus: str) -> float:
    """Measure the spread of the site's states on the first `UNIT_TOKENS` tokens of a corpus."""
    from lrt_bench.data.corpus import Corpus
    from lrt_bench.mappings.moments import Moments, spread
    from lrt_bench.models.states import paired_states

    tokenizer = site.model.tokenizer
    moments = Moments.zeros(site.width, site.width)
    for block in Corpus(corpus).pairs(tokenizer, tokenizer):
        for _, x, y in paired_states(site, site, block, 16):
            moments.update(x, y)
            if moments.n >= UNIT_TOKENS:
                return spread(moments.variance_y)
    return spread(moments.variance_y)


def table(findings: Sequence[Finding]) -> list[str]:
    """Return the findings as lines of a Markdown table."""
    head = "concept, layer, native slope, largest random, clear of random, steerable, monotone, ceiling"
    return [
        f"| {head.replace(', ', ' | ')} |",
        "| --- | ---: | ---: | ---: | ---: | --- | --- | ---: |",
        *(
            f"| {one.concept} | {one.layer} | {one.native:.2f} | {one.random:.2f} "
            f"| {one.clear[0]:.2f} to {one.clear[1]:.2f} | {_yes(one.steerable)} | {_yes(one.monotone)} "
            f"| {one.ceiling:.2f} |"
            for one in findings
        ),
    ]


def _yes(fact: bool) -> str:
    return "yes" if fact else "no"


def samples(task: ChoiceTask) -> Iterator[str]:
    """Yield the first contrastive pairs and scored prompts of a task, as lines of Markdown."""
    yield f"### {task.card.concept}"
    yield ""
    yield f"{task.card.description}."
    yield ""
    for pair in task.vector[:SAMPLES]:
        yield f"- {_code(pair.positive)} against {_code(pair.negative)}"
    for row in task.choices[:SAMPLES]:
        yield f"- {_code(row.prompt)} then {_code(row.positive)} or {_code(row.negative)}"
    yield ""


def _code(text: str) -> str:
    return f"`{json.dumps(text, ensure_ascii=False)[1:-1]}`".replace('\\"', '"')


PAGE = """# The everyday concepts on a real model

Written by `python -m scripts.everyday.gate`; the prompts by `python -m scripts.everyday.make_tasks`.

Model: {model} (digest {digest}), {date}. Unit of alpha: the spread of its states on `{corpus}`.
{prompts} scored prompts a concept, alphas {alphas}, {directions} random directions.
Native steering is clear of random on {counts}.

Slopes are logits for a spread, means over prompts. `largest random` is the largest absolute slope among the
random directions; `clear of random` is the native slope less 1.96 times their root mean square, as a 95%
interval; `ceiling` is the steering R2 of one half's vector against the other's.

{table}

## Samples

{samples}"""


def page(suite: Suite, model: str, digest: str, corpus: str, findings: Sequence[Finding]) -> str:
    """docs/everyday.md: how it was measured, the table, samples of every concept."""
    tasks = gate_tasks(suite, list(dict.fromkeys(one.concept for one in findings)))
    layers = dict.fromkeys(one.layer for one in findings)
    steerable = Counter(one.layer for one in findings if one.steerable)
    return PAGE.format(
        model=Path(model).name,
        digest=digest[:16],
        date=datetime.date.today().isoformat(),
        corpus=Path(corpus).name,
        prompts=findings[0].prompts,
        alphas=", ".join(f"{alpha:g}" for alpha in suite.alphas),
        directions=suite.random_directions,
        counts=", ".join(f"{steerable[layer]} of {len(tasks)} at layer {layer}" for layer in layers),
        table="\n".join(table(findings)),
        samples="\n".join(line for task in tasks for line in samples(task)),
    )


@click.command()
@click.option("--model", required=True, help="A model: Hub id, folder or GGUF file.")
@click.option("--corpus", required=True, help="English text for the unit of alpha: a file, folder or Hub id.")
@click.option("--layer", "layers", type=int, multiple=True, help="Layer to steer at [70% of the depth].")
@click.option("--concept", "concepts", multiple=True, help="Only this concept.")
@click.option("--out", type=click.Path(path_type=Path), help="Write the page there too.")
@one_line_errors
def main(
    model: str, corpus: str, layers: tuple[int, ...], concepts: tuple[str, ...], out: Path | None
) -> None:
    """Check that native steering of the everyday concepts works on a model."""
    from lrt_bench.data.suites import find_suite
    from lrt_bench.evaluation.sites import DEFAULT_DEPTH
    from lrt_bench.files.whole import write_whole
    from lrt_bench.models.loading import load_model
    from lrt_bench.models.sites import Site

    suite = find_suite("everyday")
    tasks = gate_tasks(suite, concepts)
    loaded = load_model(model)
    findings = []
    for layer in layers or (round(DEFAULT_DEPTH * loaded.n_layers),):
        site = Site(loaded, layer)
        spread = unit_of_alpha(site, corpus)
        for task in tasks:
            findings.append(measure(suite, site, task, spread))
            click.echo(table(findings)[-1])
    if out:
        write_whole(out, page(suite, model, loaded.digest, corpus, findings).encode())
    first = [one for one in findings if one.layer == findings[0].layer and one.steerable]
    click.echo(f"{len(first)} of {len(tasks)} concepts are steerable at layer {findings[0].layer}")
    sys.exit(0 if len(first) >= NEEDED else 1)


if __name__ == "__main__":
    main()
