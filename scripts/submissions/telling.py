"""How well decoys hide tasks' states: ``python -m scripts.submissions.telling --model nano/S --layer 2``.

A classifier is trained on the labels of four fifths of the queries, which no submission has, and asked
about the rest. Tells the area under its curve for each task of a suite and for all at once: .5 is a coin, 1
a list. What was found goes to docs/private/telling.json, and from there into docs/sandbox.md.
"""

from __future__ import annotations

import json
from pathlib import Path

import click
import numpy as np
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import StratifiedKFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from lrt_bench.data.datasets import Data
from lrt_bench.data.suites import find_suite
from lrt_bench.data.task_reading.task_sources import resolve
from lrt_bench.data.tasks import ChoiceTask, RefusalTask, VectorTask
from lrt_bench.files.whole import write_whole
from lrt_bench.models.loading import load_model
from lrt_bench.models.sites import Site
from lrt_bench.steering.concepts import concept_states, readable
from lrt_bench.steering.refusal import instruction_pairs
from lrt_bench.submissions.queries import decoys_at

FIGURES = Path(__file__).parents[2] / "docs" / "private" / "telling.json"
LEAST = 20  # decoys, to be told from


def area(own: np.ndarray, others: np.ndarray) -> float:
    """Return the area under the curve of a classifier that tells own states [n, d] from others [m, d]."""
    states = np.concatenate([own, others])
    label = np.repeat([1, 0], [len(own), len(others)])
    classifier = make_pipeline(StandardScaler(), LogisticRegression(C=0.1, max_iter=1000))
    folds = StratifiedKFold(5, shuffle=True, random_state=0)
    chance = cross_val_predict(classifier, states, label, cv=folds, method="predict_proba")[:, 1]
    return float(roc_auc_score(label, chance))


def sides(site: Site, task: VectorTask) -> tuple[np.ndarray, np.ndarray]:
    """Return a task's states [n, d] and its decoys' [m, d]."""
    given = (
        task.vector if not isinstance(task, RefusalTask) else instruction_pairs(site.model.tokenizer, task)
    )
    pairs = readable(given, (site.model,))
    own = concept_states(site, pairs)
    return torch.cat([own.positive, own.negative]).numpy(), decoys_at(site, pairs, 64).numpy()


@click.command()
@click.option("--suite", default="everyday")
@click.option("--model", required=True)
@click.option("--layer", type=int, required=True)
@click.option("--named", help="What the figures call the model, where --model is a folder.")
def main(suite: str, model: str, layer: int, named: str | None) -> None:
    """Print the area for each task of the suite that has a vector, and for all of them at once."""
    site, data = Site(load_model(model), layer), Data()
    every: list[tuple[np.ndarray, np.ndarray]] = []
    found = {}
    for task in (resolve(one, data) for one in find_suite(suite).read_tasks()):
        if not isinstance(task, ChoiceTask | RefusalTask) or not task.vector:
            continue
        every.append(sides(site, task))
        found[task.name] = told = figures(*every[-1])
        click.echo(f"{task.name}: {told}")
    whole = figures(*(np.concatenate(side) for side in zip(*every, strict=True)))
    click.echo(f"all: {whole}")
    known = json.loads(FIGURES.read_text(encoding="utf-8")) if FIGURES.exists() else {}
    known[suite] = {"model": named or model, "layer": layer, "tasks": found, "all": whole}
    write_whole(FIGURES, (json.dumps(known, indent=1) + "\n").encode())


def figures(own: np.ndarray, others: np.ndarray) -> dict[str, float | None]:
    """Return the area, to hundredths, and how many decoys there are for each state."""
    told = round(area(own, others), 2) if len(others) >= LEAST else None
    return {"area": told, "decoys": round(len(others) / len(own), 2)}


if __name__ == "__main__":
    main()
