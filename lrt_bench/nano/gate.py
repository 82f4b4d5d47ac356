"""The gate for what ships: native steering works for every concept in every size.

``python -m lrt_bench.nano.gate [S M ...]`` prints the swing of each choice task, in logits between alpha
-1/2 and +1/2, at every site that the embedded suites use as a target, and exits with 1 if one is too small.
"""

from __future__ import annotations

import sys

import click

from lrt_bench.nano.family import FAMILY

SWING = 1.5
UNIT_DOCUMENTS = 200


def swings(name: str, layer: int, tasks: list[str]) -> dict[str, float]:
    """Mean change of propensity between alpha -1/2 and +1/2 under the native vector: {task: logits}."""
    import itertools

    import torch

    from lrt_bench.concepts import concept_states
    from lrt_bench.corpus import Corpus
    from lrt_bench.loading import load_model
    from lrt_bench.models import Site
    from lrt_bench.moments import Moments, spread
    from lrt_bench.states import paired_states
    from lrt_bench.steering import Sweep
    from lrt_bench.tasks import find_task

    model = load_model(f"nano/{name}")
    site = Site(model, layer)
    texts = next(Corpus("nano").pairs(model.tokenizer, model.tokenizer))[:UNIT_DOCUMENTS]
    moments = Moments.zeros(site.width, site.width)
    for _, x, y in itertools.islice(paired_states(site, site, texts, 64), None):
        moments.update(x, y)
    unit = spread(moments.variance_y)
    found = {}
    for task_name in tasks:
        task = find_task(task_name)
        vector = concept_states(site, task.vector).vector
        m = Sweep(site, task.choices, (-0.5, 0.5), unit, 1024).run(vector[None])[0]
        found[task_name] = float((m[:, 1] - m[:, 0]).mean())
        assert torch.isfinite(m).all()
    return found


def target_sites() -> dict[str, set[int]]:
    """The layers at which each member is steered in the embedded suites."""
    from lrt_bench.suites import find_suite, known_suites

    sites: dict[str, set[int]] = {name: set() for name in FAMILY}
    for suite in known_suites():
        for pair in find_suite(suite).pairs:
            if pair.target.startswith("nano/") and pair.target_layer:
                sites[pair.target.removeprefix("nano/")].add(pair.target_layer)
    return sites


@click.command()
@click.argument("names", nargs=-1, type=click.Choice(list(FAMILY)))
def main(names: tuple[str, ...]) -> None:
    """Check members of the embedded family (all of them, if none is named)."""
    from lrt_bench.suites import find_suite

    tasks = [task.name for task in find_suite("nano").read_tasks() if task.card.kind == "choice"]
    sites = target_sites()
    failed = 0
    for name in names or FAMILY:
        for layer in sorted(sites[name]):
            for task, swing in swings(name, layer, tasks).items():
                verdict = "" if swing >= SWING else "  TOO SMALL"
                failed += swing < SWING
                click.echo(f"{name} layer {layer}  {task:<14} {swing:6.2f} logits{verdict}")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
