"""lm-eval's tasks: loaded by name, run under steering, their metrics read."""

from __future__ import annotations

import contextlib
import difflib
import functools
import hashlib
import importlib.metadata
import io
import json
import logging
import math
import os
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lm_eval.evaluator import evaluate
from lm_eval.models.utils import normalize_gen_kwargs
from lm_eval.tasks import TaskManager
from torch import Tensor

from lrt_bench.errors import UserError, first_line
from lrt_bench.evaluation.bench.pair_bench import PairBench
from lrt_bench.evaluation.rows import RandomDirections, Row
from lrt_bench.evaluation.side_effects.model import SteeredLM
from lrt_bench.files.hub import cache_alone, why_no_hub
from lrt_bench.results.schema.records import LmEvalScores
from lrt_bench.steering.generation import offsets_for

VERSION = importlib.metadata.version("lm_eval")
CONCEPTS = 3  # concepts that are steered with, unless told otherwise: the cost grows with them
SEED = 1234  # lm-eval's own default, for few-shot examples and whatever a task draws
REPLICATES = 200  # of lm-eval's bootstrap, for metrics without a closed-form standard error


@contextlib.contextmanager
def _alone() -> Iterator[None]:
    """Run lm-eval with seeds of its own, in this process, without its notices and bars; then put all back."""
    logger = logging.getLogger("lm_eval")
    level, state, numpy_state = logger.level, random.getstate(), np.random.get_state()
    bootstrap = os.environ.get("DISABLE_MULTIPROC")
    os.environ["DISABLE_MULTIPROC"] = "1"  # its bootstrap would fork a process that holds a model
    logger.setLevel(logging.CRITICAL)
    try:
        with (
            torch.random.fork_rng(),
            contextlib.redirect_stdout(io.StringIO()),
            contextlib.redirect_stderr(io.StringIO()),
        ):
            random.seed(SEED)
            np.random.seed(SEED)
            torch.manual_seed(SEED)
            yield
    finally:
        logger.setLevel(level)
        random.setstate(state)
        np.random.set_state(numpy_state)
        if bootstrap is None:
            del os.environ["DISABLE_MULTIPROC"]
        else:
            os.environ["DISABLE_MULTIPROC"] = bootstrap


@dataclass(frozen=True)
class SideEffects:
    """lm-eval tasks that were loaded, and how they are run; `load` makes it.

    Attributes
    ----------
    names : what was asked for: tasks, groups or tags.
    loaded : the tasks and groups, as lm-eval's `TaskManager.load` gives them.
    limit : documents of each task, the first ones; None for all.
    concepts : how many concepts are steered with, at most.
    digests : of each task: its requests, targets and configuration, whatever the model.
    """

    names: tuple[str, ...]
    loaded: Mapping[str, Any]
    limit: int | None
    concepts: int
    digests: Mapping[str, str]

    @property
    def digest(self) -> str:
        """Hash of all that the scores depend on besides model and vectors."""
        parts = [VERSION, self.names, self.limit, self.concepts, dict(self.digests)]
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()

    def run(self, lm: SteeredLM) -> list[dict[str, Any]]:
        """lm-eval's results, one for each of the model's offsets.

        Raises UserError where lm-eval fails.
        """
        requests_of: dict[str, list[Any]] = {}
        for task in self.loaded["tasks"].values():
            for request in task.instances:
                requests_of.setdefault(request.request_type, []).append(request)
        results = []
        try:
            for kind, requests in requests_of.items():
                getattr(lm, kind)(requests)  # all answers, before lm-eval reads them
            for chosen in range(len(lm.offsets)):
                lm.chosen = chosen
                with _alone():
                    for task in self.loaded["tasks"].values():
                        task.set_fewshot_seed(seed=SEED)
                    results.append(evaluate(lm, self.loaded, limit=self.limit, bootstrap_iters=REPLICATES,
                                          log_samples=False))  # fmt: skip
        except (UserError, torch.OutOfMemoryError):
            raise
        except Exception as error:  # whatever a task's own code raises
            raise UserError(f"--side-effects {','.join(self.names)}: {_worded(error)}") from error
        return results

    def scores(self, bench: PairBench, row: Row, vectors: Mapping[str, Tensor]) -> tuple[LmEvalScores, ...]:
        """Every metric of every task, unsteered and at the grid's two ends, mean over the first concepts.

        vectors : the row's, of the steerable concepts: {task: [seeds, d_target]}; the first seed's are
            used, of random directions another one for each concept.
        """
        concepts = tuple(vectors)[: self.concepts]
        alphas = (bench.suite.alphas[0], bench.suite.alphas[-1]) if concepts else ()
        offsets = [torch.zeros(1, bench.target.width)]
        for index, name in enumerate(concepts):
            seed = index % len(vectors[name]) if isinstance(row, RandomDirections) else 0
            offsets.append(offsets_for(vectors[name][seed], alphas, bench.spread))
        runs = self.run(SteeredLM(bench.target, torch.cat(offsets), bench.batch_size))
        return tuple(
            scores
            for name in self.reported
            for scores in _metrics(name, self._digest_of(name), runs, concepts, alphas)
        )

    @property
    def reported(self) -> list[str]:
        """A group that has scores of its own stands for its tasks; every other task for itself."""
        groups = self.loaded.get("groups", {})
        whole = [name for name in self.names if name in groups and groups[name].has_aggregation]
        within = {task.task_name for name in whole for task in groups[name].get_all_tasks()}
        return [*whole, *(name for name in self.loaded["tasks"] if name not in within)]

    def _digest_of(self, name: str) -> str:
        if name in self.digests:
            return self.digests[name]
        tasks = [task.task_name for task in self.loaded["groups"][name].get_all_tasks()]
        return hashlib.sha256("".join(self.digests[task] for task in sorted(tasks)).encode()).hexdigest()


def _metrics(
    name: str, digest: str, runs: list[dict[str, Any]], concepts: tuple[str, ...], alphas: tuple[float, ...]
) -> Iterator[LmEvalScores]:
    """Return the scores of a task, one a metric, from the unsteered run and those of (concept, alpha)."""
    unsteered, *steered = [run["results"][name] for run in runs]
    for key in unsteered:
        metric, _, filtered = key.partition(",")
        if not filtered or metric.endswith("_stderr") or _number(unsteered[key]) is None:
            continue
        error = f"{metric}_stderr,{filtered}"
        yield LmEvalScores(
            task=name,
            metric=metric,
            filter=filtered,
            higher_is_better=runs[0]["higher_is_better"].get(name, {}).get(metric),
            version=str(runs[0]["versions"].get(name)),
            digest=digest,
            lm_eval=VERSION,
            samples=unsteered["sample_len"],
            concepts=concepts,
            alphas=alphas,
            unsteered=_number(unsteered[key]),
            stderr=_number(unsteered.get(error)),
            value=_by_alpha([run[key] for run in steered], len(alphas)),
            value_stderr=_by_alpha([run.get(error) for run in steered], len(alphas)),
        )


def _number(value: object) -> float | None:
    """Return a figure that can be written down; lm-eval says "N/A" where there is none."""
    known = isinstance(value, float | int | np.floating | np.integer) and math.isfinite(value)
    return float(value) if known else None  # type: ignore[arg-type]


def _by_alpha(values: Sequence[object], count: int) -> tuple[float | None, ...]:
    """Means over concepts, of values ordered (concept, alpha); None where a concept has none."""
    means = []
    for alpha in range(count):
        numbers = [_number(value) for value in values[alpha::count]]
        known = [number for number in numbers if number is not None]
        means.append(float(np.mean(known)) if len(known) == len(numbers) else None)
    return tuple(means)


def load(
    names: Sequence[str], folder: Path | None = None, limit: int | None = None, concepts: int = CONCEPTS
) -> SideEffects:
    """Load lm-eval tasks by name, from a folder of the user's task files or those that lm-eval brings.

    Raises UserError, before anything is computed, for a name that is unknown, a folder that is not there,
    data that cannot be read, and tasks that want what is not done here: pictures, sampling, running code.
    """
    names = tuple(dict.fromkeys(name.strip() for name in names if name.strip()))
    if not names:
        raise UserError("--side-effects: name at least one lm-eval task")
    if folder is not None and not folder.is_dir():
        raise UserError(f"--side-effects-path {folder}: no such folder; give one with lm-eval task files")
    with _alone():
        manager = _index(names, folder)
    for name in names:
        if name not in manager.task_index:
            raise UserError(f"--side-effects {name}: no such lm-eval task{_close(name, manager, folder)}")
    loaded = _explained(",".join(names), lambda: manager.load(list(names)))
    for name, task in loaded["tasks"].items():
        _check(name, task)
    tasks = loaded["tasks"].items()
    digests = {name: _explained(name, functools.partial(_built, task, limit)) for name, task in tasks}
    return SideEffects(names, loaded, limit, concepts, digests)


def _index(names: Sequence[str], folder: Path | None) -> Any:
    """lm-eval's index of tasks: the folder's alone where they do, for its own 14,000 take seconds to read."""
    if folder is not None:
        local = TaskManager(include_path=folder, include_defaults=False)
        wanted = list(names)
        for name in wanted:  # and what groups hold
            entry = local.task_index.get(name)
            children = entry.cfg.get("task") if entry and entry.cfg else None
            if isinstance(children, list):
                wanted += [str(c.get("task", c.get("group")) if isinstance(c, dict) else c) for c in children]
        if set(wanted) <= set(local.all_tasks):
            return local
    return TaskManager(include_path=folder)


def _close(name: str, manager: Any, folder: Path | None) -> str:
    """Return what a user may have meant."""
    where = f" in {folder} or among lm-eval's own" if folder else "; local ones want --side-effects-path"
    close = difflib.get_close_matches(name, manager.all_tasks, 3)
    return f"{where}; near it: {', '.join(close)}" if close else where


def _explained(what: str, call: Callable[[], Any]) -> Any:
    """Run a part of lm-eval; whatever it raises becomes one line that names the task."""
    why = why_no_hub()
    try:
        with _alone(), cache_alone() if why else contextlib.nullcontext():
            return call()
    except Exception as error:
        beside = f", and {why}" if why and isinstance(error, ConnectionError) else ""
        raise UserError(f"--side-effects {what}: lm-eval cannot load it: {_worded(error)}{beside}") from error


def _worded(error: Exception) -> str:
    return f"{type(error).__name__}: {first_line(error)}"


def _check(name: str, task: Any) -> None:
    """Raise UserError for a task that this room cannot run."""
    wrong = None
    if getattr(task, "MULTIMODAL", False):
        wrong = "it wants more than text"
    elif getattr(task, "UNSAFE_CODE", False):
        wrong = "it runs code that a model wrote"
    elif task.OUTPUT_TYPE == "generate_until":
        settings = normalize_gen_kwargs(task.get_config("generation_kwargs") or {})
        wrong = (
            "it samples, and writing is greedy here: set do_sample false" if settings["do_sample"] else None
        )
    if wrong:
        raise UserError(f"--side-effects {name}: {wrong}; leave that task out")


def _built(task: Any, limit: int | None) -> str:
    """Build a task's requests and hash them, their targets, and what turns answers into scores."""
    if task.get_config("num_fewshot") is None:
        task.set_config(key="num_fewshot", value=0)
    task.set_fewshot_seed(seed=SEED)
    task.build_all_requests(limit=limit)
    where = ("dataset_path", "dataset_name", "dataset_kwargs", "metadata")  # the same data may lie elsewhere
    config = {key: value for key, value in task.dump_config().items() if key not in where}
    digest = hashlib.sha256(json.dumps([str(task.VERSION), config], sort_keys=True, default=_named).encode())
    for request in task.instances:
        parts = [request.request_type, request.args, task.doc_to_target(request.doc)]
        digest.update(json.dumps(parts, sort_keys=True, default=_named).encode())
    return digest.hexdigest()


def _named(value: object) -> str:
    """Return a stable text for what JSON has no word for: never an address."""
    return getattr(value, "__qualname__", None) or type(value).__name__
