"""Larger pretrained models, of folders that are given: the pass of the fit, and the sweep at half depth.

`python -m benchmarks --parts large --model FOLDER [--model FOLDER]`. No part of the whole run: a machine has
the models or it has not, and a model of 1.5B parameters takes minutes.
"""

from __future__ import annotations

import resource
from pathlib import Path

import torch

from benchmarks.floor import Shape, product_work
from benchmarks.pretrained import TASKS
from benchmarks.record import Line, Settings, UnavailableError, seconds
from benchmarks.sweep import PRODUCT_ROWS, Plan, compare, work_on
from benchmarks.timing import interleaved
from lrt_bench.data.task_reading.task_folders import find_task
from lrt_bench.models.loading import load_model
from lrt_bench.models.sites import Site

GOALS = {"last only": 3.0}  # batched full forwards with one position's logits
PASS = 80.0  # percent of the floor
ALPHAS = (-0.25, 0.0, 0.25)
SHORT, VECTORS = 8, 4  # prompts of each task, vectors
BATCH, CONTEXT = 8, 128  # texts of the pass, and their tokens


def measure(settings: Settings) -> list[Line]:
    """The pass and the sweep of each model that is given."""
    if not settings.models:
        raise UnavailableError("no model: give --model FOLDER, once for each")
    return [line for folder in settings.models for line in _model(folder, settings)]


def _model(folder: Path, settings: Settings) -> list[Line]:
    model = load_model(str(folder), device=settings.device)
    site = Site(model, model.n_layers // 2)
    tasks = {name: find_task(name).choices for name in TASKS}
    work = work_on(site, tasks, SHORT, VECTORS, ALPHAS)
    shares = {"one by one": (3, 1, 1, 2), "last only": (3, SHORT, 1, 2)}
    lines = _pass(site, folder.name) + compare(work, Plan("large", folder.name, GOALS, shares, 2, 120))
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return [*lines, Line("large", f"{folder.name}: most memory of the process so far", most / 1e9, "GB")]


def _pass(site: Site, title: str) -> list[Line]:
    """Tokens a second of the lower layers, and their share of the rate of the same products alone."""
    shape = Shape.of(site)
    ids = torch.randint(0, 1000, (BATCH, CONTEXT), generator=torch.Generator().manual_seed(5))
    multiply, product = product_work(shape, PRODUCT_ROWS, site.model.dtype, str(site.model.device))
    repeats = max(1, shape.layer * ids.numel() // PRODUCT_ROWS)
    calls = {"ours": lambda: site.read(ids), "product": lambda: [multiply() for _ in range(repeats)]}
    timings, _ = interleaved(calls, 3, 60)
    fast, rate = timings["ours"], product * repeats / timings["product"].median
    attention = 4.0 * shape.queries * BATCH * CONTEXT * (CONTEXT + 1) / 2
    floor = shape.layer * (product * ids.numel() / PRODUCT_ROWS + attention) / rate
    return [
        seconds("large", f"{title}: {ids.numel():,} tokens through half of the layers", fast),
        Line("large", f"{title}: the pass, share of the floor", 100 * floor / fast.median, "%").aims(
            "at least", PASS
        ),
    ]
