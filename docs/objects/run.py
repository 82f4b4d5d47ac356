"""Carry probes between toy models: ``python docs/objects/run.py``, some minutes of one core.

Each concept of the default suite gets a probe of the source, trained on half of its contrast texts. It is
carried to the target in several ways and read on the other half, which neither probe nor map saw. What is
measured lies in docs/objects/probes.csv, one line a pair, concept and way.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import click
import pandas
import torch

from lrt_bench import Pair, Site, fit, load_model
from lrt_bench.api import fit_on, states_of
from lrt_bench.data.suites import PairSpec, find_suite
from lrt_bench.data.task_reading.task_folders import find_task
from lrt_bench.data.tasks import ChoiceTask
from lrt_bench.evaluation.process_state import run_state
from lrt_bench.mappings import FixedLinear, LinearMapping
from lrt_bench.mappings.base import Spectrum
from lrt_bench.steering.concepts import ConceptStates, concept_states
from lrt_bench.vectors.probe import Probe, auroc, balanced_accuracy, fit_probe

HERE = Path(__file__).parent
EARLY = ("S-L-early", "M-L-early", "L-S-early")
BACK = ("affine", "ridge", "orthogonal", "whiten-rotate")  # maps from the target to the source
DIRECTIONS = 20  # random ones, whose mean is told


def maps_back(source: Site, target: Site) -> dict[str, LinearMapping]:
    """Return maps from the target's states to the source's, and ridge fitted on states paired at random."""
    pair = Pair(target, source)
    states = states_of(pair)
    made = {name: fit_on(pair, states, name).mapping for name in BACK}
    ridge = made["ridge"]
    moments = states.shuffled(0)
    weight = Spectrum(moments).weight(getattr(ridge, "strength_", 0.0))
    made["shuffled"] = FixedLinear(weight, moments.mean_y - weight @ moments.mean_x)
    return {name: one for name, one in made.items() if isinstance(one, LinearMapping)}


def ways(probe: Probe, back: dict[str, LinearMapping], forth: LinearMapping) -> Iterator[tuple[str, Probe]]:
    """Yield the carried probes: through each map back, and by the map of vectors in two ways."""
    for name, mapping in back.items():
        yield name, probe.carried(mapping)
    weight = probe.weight.double()
    inverse = torch.linalg.pinv(forth.weight)  # [d_source, d_target]: undoes A where it can
    yield "pseudo-inverse of A", Probe(inverse.T @ weight, float(probe.bias - weight @ inverse @ forth.bias))
    yield "as a vector, A w", Probe(forth.weight @ weight, 0.0)


def lines(name: str, source: Site, target: Site) -> Iterator[dict[str, object]]:
    """Yield a line for each concept and way."""
    back = maps_back(source, target)
    forth = fit(Pair(source, target), "ridge").mapping
    assert isinstance(forth, LinearMapping)
    generator = torch.Generator().manual_seed(11)
    random = torch.randn(DIRECTIONS, target.width, generator=generator, dtype=torch.float64)
    for task in map(find_task, find_suite("nano").tasks):
        if not isinstance(task, ChoiceTask):
            continue
        here, there = (concept_states(site, task.vector) for site in (source, target))
        probe, native = fit_probe(here.half(0)), fit_probe(there.half(0))
        read = [("native", native), *ways(probe, back, forth)]
        unread = there.half(1)
        yield _line(name, task.name, "source's own", probe, here.half(1))
        for way, one in read:
            yield _line(name, task.name, way, one, unread)
        chance = [auroc(Probe(direction, 0.0), unread) for direction in random]
        by_luck = sum(max(value, 1 - value) for value in chance) / len(chance)
        yield {"pair": name, "concept": task.name, "way": "random", "auroc": by_luck, "accuracy": 0.5}


def _line(pair: str, concept: str, way: str, probe: Probe, states: ConceptStates) -> dict[str, object]:
    read = {"auroc": auroc(probe, states), "accuracy": balanced_accuracy(probe, states)}
    return {"pair": pair, "concept": concept, "way": way} | read


def sites(spec: PairSpec) -> tuple[Site, Site]:
    """Return the two sites of a pair of the embedded family."""
    assert isinstance(spec.source_layer, int)
    assert isinstance(spec.target_layer, int)
    return Site(load_model(spec.source), spec.source_layer), Site(load_model(spec.target), spec.target_layer)


@click.command()
@click.option("--out", type=click.Path(path_type=Path), default=HERE / "probes.csv", show_default=True)
def main(out: Path) -> None:
    """Measure every pair and write the table."""
    pairs = {pair.name: pair for pair in find_suite("nano").pairs}
    with run_state():
        made = [line for name in EARLY for line in lines(name, *sites(pairs[name]))]
    table = pandas.DataFrame(made).round({"auroc": 4, "accuracy": 4})
    table.to_csv(out, index=False)
    click.echo(f"wrote {out}: {len(table)} lines")


if __name__ == "__main__":
    main()
