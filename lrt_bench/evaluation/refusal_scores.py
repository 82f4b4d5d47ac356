"""A row's scores on refusal tasks: every scorer side by side, counted failures beside each mean."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from lrt_bench.data.tasks import Prompt, RefusalTask
from lrt_bench.evaluation.bench.pair_bench import PairBench
from lrt_bench.evaluation.bench.references import Vectors
from lrt_bench.evaluation.rows import Row
from lrt_bench.evaluation.scorers.answers import AnswerScorer, Classifier, Phrases
from lrt_bench.evaluation.scorers.judge import Judge
from lrt_bench.results.schema.refusal_records import JudgeRecord, Mean, RefusalPoint, RefusalScores
from lrt_bench.steering.refusal import InterventionAnswers, run_points

CONTROLS = ("native", "random", "shuffled")  # controls whose answers are measured too
UNJUDGED = ("shuffled",)  # of these: figure 4 sets native beside random


@dataclass(frozen=True)
class Scorers:
    """The scorers that a run was given beside phrases and the first-token proxy."""

    classifier: Classifier | None = None
    judge: Judge | None = None

    @property
    def key(self) -> list[str]:
        """What a cell's numbers depend on; empty where none was given."""
        classifier = ["classifier", self.classifier.digest] if self.classifier else []
        judge = ["judge", self.judge.model, self.judge.url] if self.judge else []
        return classifier + judge

    def of(self, task: RefusalTask, judged: bool) -> list[AnswerScorer]:
        """Return the scorers of one task's answers."""
        scorers: list[AnswerScorer] = [Phrases(task.scorer)]
        scorers += [self.classifier] if self.classifier else []
        return scorers + ([self.judge] if self.judge and judged else [])


def measured(row: Row) -> bool:
    """Whether the row's refusal is measured."""
    return not row.control or row.name in CONTROLS


def refusal_scores(
    bench: PairBench, row: Row, task: RefusalTask, vectors: Vectors, scorers: Scorers
) -> RefusalScores:
    """Refusal under the first of the row's vectors.

    Harmful instructions meet the whole grid and both ablations; harmless ones, where refusing is the damage,
    the ablations and the alphas that the native vector chose.

    A judge is asked about harmful instructions only: what a harmless one is answered with is harmless.
    """
    choice = bench.refusal_alphas.of(task)
    judge = scorers.judge if row.name not in UNJUDGED else None
    before = (judge.unreadable, judge.missing) if judge else (0, 0)
    vector, batch_size = vectors[task.name][0], bench.batch_size
    harmful = run_points(
        bench.target,
        task,
        task.prompts,
        vector,
        bench.spread,
        (0.0, *task.card.alphas),
        batch_size=batch_size,
    )
    chosen = [alpha for alpha in (0.0, choice.answering, choice.refusing) if alpha is not None]
    harmless = (
        run_points(bench.target, task, task.harmless, vector, bench.spread, chosen, batch_size=batch_size)
        if task.harmless
        else []
    )
    scores = RefusalScores(
        task=task.name,
        version=task.card.version,
        digest=task.digest,
        data_digest=task.data_digest or None,
        answering=choice.answering,
        refusing=choice.refusing,
        chosen_on=len(task.instructions),
        harmful=tuple(_point(p, task.prompts, scorers.of(task, judge is not None)) for p in harmful),
        harmless=tuple(_point(p, task.harmless, scorers.of(task, False)) for p in harmless),
        classifier=scorers.classifier.digest if scorers.classifier else None,
    )
    if judge:
        counts = {"unreadable": judge.unreadable - before[0], "missing": judge.missing - before[1]}
        record = JudgeRecord(model=judge.model, host=judge.host, **counts)
        scores = scores.model_copy(update={"judge": record})
    return scores


def _point(
    point: InterventionAnswers, instructions: Sequence[Prompt], scorers: Sequence[AnswerScorer]
) -> RefusalPoint:
    prompts = [row.prompt for row in instructions]
    scores = {scorer.name: mean(scorer(prompts, point.answers)) for scorer in scorers}
    scores["first-token"] = mean(point.odds.tolist())
    return RefusalPoint(
        intervention=point.kind,
        alpha=point.alpha,
        scores=scores,
        cross_entropy=mean([None if math.isnan(loss) else loss for loss in point.losses.tolist()]),
    )


def mean(values: Sequence[float | None]) -> Mean:
    """Mean over what was scored, with one standard error of it; None is a failure."""
    scored = np.array([value for value in values if value is not None], dtype=np.float64)
    return Mean(
        mean=float(scored.mean()) if len(scored) else None,
        standard_error=float(scored.std(ddof=1) / np.sqrt(len(scored))) if len(scored) > 1 else None,
        n=len(scored),
        failures=len(values) - len(scored),
    )
