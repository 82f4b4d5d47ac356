"""The gate for what ships: native steering works for every concept in every size.

``python -m scripts.nano.gate [S M ...]`` prints the swing of each choice task, in logits between -1/2
and +1/2 of the root mean square norm of the centred states, at every site that the embedded suites use as a
target, and exits with 1 if a member has a task whose swing is too small at all of its sites.
"""

from __future__ import annotations

import sys

import click

from lrt_bench.nano.family import FAMILY

SWING = 1.5
UNIT_DOCUMENTS = 200


def swings(name: str, layer: int, tasks: list[str], corpus: str = "nano") -> dict[str, float]:
    """Mean change of propensity from -1/2 to +1/2 of the centred norm under the native vector, in logits.

    name : a member of the embedded family, or a model's folder; tasks by name or folder.
    """
    from lrt_bench.data.corpus import Corpus
    from lrt_bench.data.task_reading.task_folders import find_task
    from lrt_bench.data.tasks import ChoiceTask
    from lrt_bench.errors import UserError
    from lrt_bench.mappings.moments import Moments
    from lrt_bench.models.loading import load_model
    from lrt_bench.models.sites import Site
    from lrt_bench.models.states import paired_states
    from lrt_bench.steering.concepts import concept_states
    from lrt_bench.steering.sweep import Sweep

    model = load_model(f"nano/{name}" if name in FAMILY else name)
    site = Site(model, layer)
    texts = next(Corpus(corpus).pairs(model.tokenizer, model.tokenizer))[:UNIT_DOCUMENTS]
    moments = Moments.zeros(site.width, site.width)
    for _, x, y in paired_states(site, site, texts, 64):
        moments.update(x, y)
    unit = float(moments.variance_y.sum().sqrt())
    swing_of = {}
    for task_name in tasks:
        task = find_task(task_name)
        if not isinstance(task, ChoiceTask):
            raise UserError(f"{task_name}: a {task.kind} task: name a choice task")
        vector = concept_states(site, task.vector).vector
        m = Sweep(site, task.choices, (-0.5, 0.5), unit, 1024).run(vector[None])[0]
        swing_of[task.name] = float((m[:, 1] - m[:, 0]).mean())
    return swing_of


def target_sites() -> dict[str, set[int]]:
    """Return the layers at which each member is steered in the embedded suites."""
    from lrt_bench.data.suites import find_suite, known_suites

    sites: dict[str, set[int]] = {name: set() for name in FAMILY}
    for suite in known_suites():
        for pair in find_suite(suite).pairs:
            if pair.target.startswith("nano/") and isinstance(pair.target_layer, int):
                sites[pair.target.removeprefix("nano/")].add(pair.target_layer)
    return sites


def gate_tasks() -> list[str]:
    """Return the choice tasks of all embedded suites."""
    from lrt_bench.data.suites import find_suite

    return [task.name for task in find_suite("nano-full").read_tasks() if task.card.kind == "choice"]


def too_small(measured: dict[int, dict[str, float]]) -> list[str]:
    """Tasks that no site of a member steers well enough; measured: {layer: {task: swing}}."""
    best = {task: max(swing[task] for swing in measured.values()) for task in gate_tasks()}
    return [task for task, swing in best.items() if swing < SWING]


@click.command()
@click.argument("names", nargs=-1, type=click.Choice(list(FAMILY)))
def main(names: tuple[str, ...]) -> None:
    """Check members of the embedded family (all of them, if none is named)."""
    sites = target_sites()
    failed = []
    for name in names or FAMILY:
        measured = {layer: swings(name, layer, gate_tasks()) for layer in sorted(sites[name])}
        for layer, swing_of in measured.items():
            for task, swing in swing_of.items():
                note = "" if swing >= SWING else "  small here"
                click.echo(f"{name} layer {layer}  {task:<14} {swing:6.2f} logits{note}")
        failed += [f"{name}: {task}" for task in too_small(measured)]
    click.echo(f"too small everywhere: {', '.join(failed)}" if failed else "every member passes")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
