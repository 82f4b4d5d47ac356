"""A finished run's rows, scored again on what nobody had seen; the scores are put into their results.

Submissions on a private family (`family`), every row on concepts that are drawn for this run. What these runs
compute besides is kept with the private family, or thrown away.
"""

from __future__ import annotations

import hashlib
import json
import random
import secrets
import tempfile
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from lrt_bench.data.suites import PairSpec, Suite
from lrt_bench.errors import UserError
from lrt_bench.evaluation.cells import Cell, Failure
from lrt_bench.evaluation.config import RunConfig
from lrt_bench.evaluation.evaluation import Evaluation
from lrt_bench.evaluation.rows import Row
from lrt_bench.files.whole import write_whole
from lrt_bench.nano.drawn import drawn_concepts, write_drawn
from lrt_bench.results.schema.result import Result
from lrt_bench.results.schema.unseen_records import FreshScore, PrivateScore, ReferenceScores
from lrt_bench.results.statistics.agreement import REFERENCES, Shares, agreement
from lrt_bench.results.statistics.inference import TaskSample
from lrt_bench.unseen.family import Family, commitment

WIDEST = 180.0  # points, of half an interval
Purpose = Literal["private", "fresh"]
Run = Callable[[Evaluation], list[Cell]]
OPTIONS = ("device", "dtype", "device_map", "bos", "seed", "batch_size")  # that the second runs share


@dataclass
class Unseen:
    """The second runs of a run.

    Parameters
    ----------
    suite, config : of the first run.
    rows : fresh rows of the submissions, for a suite and a purpose.
    run : computes an evaluation's cells.
    report : as of `Evaluation`.

    Attributes
    ----------
    failures : submissions that a second run could not score.
    """

    suite: Suite
    config: RunConfig
    rows: Callable[[Suite, Purpose], Sequence[Row]]
    run: Run = Evaluation.run
    report: Callable[[str, float, float], None] = lambda what, done, total: None

    def __post_init__(self) -> None:
        self.failures: list[Failure] = []

    def check(self) -> None:
        """Raise UserError where a second run could not follow the first; before anything is computed."""
        if self.config.private:
            names = self.config.mappings or self.suite.mappings
            if few := [pair.name for pair in self.suite.pairs if pair.fit_tokens]:
                raise UserError(
                    f"--private: {few[0]} has fit_tokens of its own, and private pairs have not: leave it out"
                )
            if missing := [name for name in REFERENCES if name not in names]:
                raise UserError(
                    f"--private: {', '.join(missing)} not among the mappings: private scores are read off "
                    "them, so name them too"
                )
        if self.config.fresh_concepts:
            self._embedded()

    def on_private(self, cells: Sequence[Cell], family: Family) -> list[Cell]:
        """Score the submissions among the cells on a private family; return the cells with it."""
        suite = family.suite(self.suite)
        scored = self._scored(suite, "private", family.results, REFERENCES)
        private = mean_shares([cell.result for cell in scored], len(suite.pairs))
        keys = {cell.result.mapping.name: "" for cell in scored}
        for cell in scored:
            keys[cell.result.mapping.name] += cell.result.key
        done = []
        for cell in cells:
            name = cell.result.mapping.name
            beside = [other.result for other in cells if other.result.pair.name == cell.result.pair.name]
            if cell.result.wants_private:
                held = private.get(name) and cell.result.transfer_score is not None
                key = hashlib.sha256(json.dumps([cell.result.key, keys]).encode()).hexdigest()
                record = (
                    _private_score(cell.result, beside, private, family.commitment, key) if held else None
                )
                cell = _with(cell, private=record)
            done.append(cell)
        return done

    def on_fresh(self, cells: Sequence[Cell], secret: str | None = None) -> list[Cell]:
        """Score every row on concepts that are drawn now; return the cells with it.

        secret : what the concepts are drawn from; by default nobody's.
        """
        assert self.config.fresh_concepts is not None
        secret = secret or secrets.token_urlsafe(32)
        draw = commitment(secret)
        with tempfile.TemporaryDirectory(prefix="lrt-bench-fresh-") as folder:
            drawn = drawn_concepts(self.config.fresh_concepts, random.Random(secret))
            tasks = tuple(str(write_drawn(Path(folder) / "tasks", one, secret)) for one in drawn)
            suite = self.suite.model_copy(update={"tasks": tasks, "pairs": tuple(self._embedded())})
            methods = self.config.mappings or self.suite.mappings
            scored = self._scored(suite, "fresh", Path(folder) / "results", methods)
        found = {(cell.result.pair.name, cell.result.mapping.name): cell.result for cell in scored}
        done = []
        for cell in cells:
            if fresh := found.get((cell.result.pair.name, cell.result.mapping.name)):
                counted = sum(task.steerable for task in fresh.tasks)
                record = FreshScore(
                    draw=draw, concepts=len(drawn), counted=counted,
                    score=_rounded(fresh.transfer_score), ci95=_rounded_ends(fresh.ci95),
                )  # fmt: skip
                cell = _with(cell, fresh=record)
            done.append(cell)
        return done

    def _embedded(self) -> list[PairSpec]:
        """Return the pairs whose models speak the grammar's language.

        Raises UserError where there is none.
        """
        pairs = [
            pair
            for pair in self.suite.pairs
            if all(spec.rpartition(":")[2].startswith("nano/") for spec in (pair.source, pair.target))
        ]
        if not pairs:
            raise UserError(
                "--fresh-concepts: the grammar draws concepts for pairs of the embedded family alone"
            )
        return pairs

    def _scored(self, suite: Suite, purpose: Purpose, out: Path, methods: Sequence[str]) -> list[Cell]:
        settings = {name: getattr(self.config, name) for name in OPTIONS}
        # no cache: what a private pair's rows share stays in this process
        config = RunConfig(mappings=tuple(methods), out=out, no_cache=True, **settings)
        evaluation = Evaluation(suite, config, self._reported(purpose), submissions=self.rows(suite, purpose))
        cells = self.run(evaluation)
        self.failures += evaluation.failures
        return cells

    def _reported(self, purpose: Purpose) -> Callable[[str, float, float], None]:
        """Return a report that says of a private run how far it is, and nothing else."""
        if purpose == "fresh":
            return self.report
        return lambda what, done, total: self.report("private pairs", done, total)


def mean_shares(results: Sequence[Result], pairs: int) -> Shares:
    """Each row's share on each task, a mean over the private pairs on which the task counts.

    pairs : how many there are. A row without a result on one of them has no mean: it would be of easier pairs
        than the others', and a submission chooses where it fails.
    """
    found: dict[str, dict[str, list[float]]] = {}
    on = Counter(result.mapping.name for result in results)
    for result in results:
        if not result.mapping.control and on[result.mapping.name] == pairs:
            for task, share in shares_of(result).items():
                found.setdefault(result.mapping.name, {}).setdefault(task, []).append(share)
    return {
        name: {task: sum(each) / len(each) for task, each in tasks.items()} for name, tasks in found.items()
    }


def shares_of(result: Result) -> dict[str, float]:
    """Return a result's share of the ceiling on each task that counts."""
    return {task.task: TaskSample.of_errors(task.errors).share for task in result.tasks if task.steerable}


def _private_score(
    result: Result, beside: Sequence[Result], private: Shares, family: str, key: str
) -> PrivateScore:
    """Hold a submission's score on a public pair against its private one."""
    name = result.mapping.name
    public = {one.mapping.name: shares_of(one) for one in beside if one.mapping.name in (name, *REFERENCES)}
    found = agreement(public, private, name)
    assert result.transfer_score is not None
    supported = round(min(max(found.supported, -100.0), 100.0), 1)
    gap = result.transfer_score - supported
    half = min(round(found.gap_interval[1] - found.gap, 1), WIDEST)
    return PrivateScore(
        commitment=family,
        key=key,
        score=round(found.private, 1),
        ci95=(round(found.private_interval[0], 1), round(found.private_interval[1], 1)),
        supported=supported,
        gap=gap,
        gap_ci95=(gap - half, gap + half),
        references=tuple(
            ReferenceScores(mapping=one, public=_points(public[one]), private=_points(private[one]))
            for one in REFERENCES
            if one != name
        ),
    )


def _points(shares: dict[str, float] | object) -> float:
    assert isinstance(shares, dict)
    return round(100 * sum(shares.values()) / len(shares), 1)


def _rounded(score: float | None) -> float | None:
    return None if score is None else round(score, 2)


def _rounded_ends(ends: tuple[float, float] | None) -> tuple[float, float] | None:
    return None if ends is None else (round(ends[0], 2), round(ends[1], 2))


def _with(cell: Cell, **records: PrivateScore | FreshScore | None) -> Cell:
    """Write a cell's result with a score beside its own; what was there before is replaced."""
    result = cell.result.model_copy(update=records)
    write_whole(cell.path, (result.model_dump_json(indent=1) + "\n").encode())
    return Cell(result, cell.path, cell.computed)
