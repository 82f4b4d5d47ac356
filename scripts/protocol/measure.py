"""Measure every candidate on every rung: divergences of each row, by prompt, alpha and token.

    python -m scripts.protocol.measure --out build/protocol

One file a pair and task, arrays [draws, prompts, alphas, tokens, divergences]; what is there is not measured
again.
"""

from __future__ import annotations

from pathlib import Path

import click
import numpy as np
import torch

from lrt_bench.data.corpus import encode
from lrt_bench.data.task_reading.task_folders import find_task
from lrt_bench.data.tasks import SideEffectTask
from lrt_bench.models.loading import Models
from lrt_bench.steering.behaviour import Concept, behaviours
from lrt_bench.steering.damage import NeutralText, damage_unit
from lrt_bench.steering.divergences import DIVERGENCES
from lrt_bench.steering.steered_texts import Setting
from scripts.protocol.rows import PAIRS, SEED, Case, load_case, rungs

ALPHAS = (-1.0, -0.5, -0.25, 0.25, 0.5, 1.0)
TOKENS = 12


def unit_of(case: Case) -> float:
    """Return the length of alpha 1 at the pair's target, from the perplexity task's neutral texts."""
    task = find_task("perplexity")
    assert isinstance(task, SideEffectTask)
    texts = [row.prompt for row in task.prompts]
    ids = [tokens.ids for tokens in encode(case.target.model.tokenizer, texts)]
    return damage_unit(NeutralText(case.target, ids), case.target.width, case.spread, seed=SEED).length


def measure(case: Case, out: Path) -> None:
    """Write what is missing of one pair."""
    rows, length = rungs(case), unit_of(case)
    setting = Setting(ALPHAS, length, TOKENS, tuple(DIVERGENCES.values()))
    for task in case.concepts:
        path = out / f"{case.name}--{task}.npz"
        if path.exists():
            continue
        prompts = case.prompts[task]
        concept = Concept(prompts, case.native(task)[None], [0] * len(prompts))
        [behaviour] = behaviours(case.target, [concept], setting)
        arrays = {
            name: behaviour.divergence(vectors[task][:, None]).float().numpy()
            for name, vectors in rows.items()
        }
        part = path.with_suffix(".part")
        with part.open("wb") as file:
            arrays["unsteered"] = behaviour.unsteered.float().numpy()
            np.savez_compressed(file, **arrays)  # type: ignore[arg-type]
        part.replace(path)
        click.echo(f"{case.name} {task}")


@click.command()
@click.option("--out", type=click.Path(path_type=Path), default=Path("build/protocol"))
@click.option("--threads", default=1)
def main(out: Path, threads: int) -> None:
    """Measure every candidate on every pair."""
    torch.set_num_threads(threads)
    out.mkdir(parents=True, exist_ok=True)
    models = Models()
    for name in PAIRS:
        measure(load_case(name, models), out)


if __name__ == "__main__":
    main()
