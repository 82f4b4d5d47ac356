"""The result of one mapping on one pair in one suite (schema version 1)."""

from __future__ import annotations

import json
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from lrt_bench.results.schema.audit_records import AuditRecord
from lrt_bench.results.schema.behaviour import BehaviourRecord
from lrt_bench.results.schema.bounds import R2, Correlation, Count, Name, TransferScore
from lrt_bench.results.schema.records import (
    CONTROL_NAMES,
    Cost,
    FidelityScores,
    GenerationScores,
    LmEvalScores,
    MappingRecord,
    PairRecord,
    Provenance,
    Record,
    Settings,
    SideEffectScores,
    TaskRecord,
    TaskScores,
    unchecked,
)
from lrt_bench.results.schema.refusal_records import RefusalScores
from lrt_bench.results.schema.unseen_records import FreshScore, PrivateScore


class ResultSummary(Record):
    """One mapping on one pair in one suite, without the arrays of prompts: what tables and pages read.

    Attributes
    ----------
    transfer_score
        100 x the mean over the tasks that count of `TaskScores.measure` over its ceiling.
    ci95
        Of the score, had other concepts of the same kind been asked for.
    ci95_these_tasks
        Of the score, had other prompts of the same tasks and other fit seeds been drawn.
    not_steerable
        The tasks that do not count.
    """

    schema_version: Literal[1] = 1
    key: str
    suite: Name
    suite_version: Count
    suite_digest: str
    complete: bool
    pair: PairRecord
    mapping: MappingRecord
    settings: Settings
    transfer_score: TransferScore | None
    ci95: tuple[TransferScore, TransferScore] | None
    ci95_these_tasks: tuple[TransferScore, TransferScore] | None = None
    steering_r2: R2 | None
    correlation_delta: Correlation | None
    not_steerable: tuple[Name, ...]
    not_scorable: tuple[Name, ...]  # no prompt's options can be told apart in the target's tokenizer
    tasks: tuple[TaskScores, ...]
    generation: tuple[GenerationScores, ...]
    side_effects: tuple[SideEffectScores, ...]
    lm_eval: tuple[LmEvalScores, ...] = ()
    refusal: tuple[RefusalScores, ...] = ()
    fidelity: FidelityScores | None
    behaviour: BehaviourRecord | None = None
    cost: Cost
    provenance: Provenance
    audit: AuditRecord | None = None
    private: PrivateScore | None = None
    fresh: FreshScore | None = None
    state: Literal["computed", "claimed"] = "computed"  # claimed: by whoever submits, until it is verified
    propensities: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]

    @property
    def metric(self) -> str:
        """What the score is made of."""
        return "steering R2" if self.behaviour is None else "behaviour share"

    @property
    def wants_private(self) -> bool:
        """Whether it is ranked only where a private score supports it: a submission's code.

        Built-in maps are read by everyone. Weights are for one pair alone, and rank in a table of their own.
        """
        return self.mapping.origin == "submission" and self.mapping.track != "weights"

    @property
    def unsupported(self) -> float:
        """Points of the score that the private one does not support; what ranks is the score without them."""
        return max(0.0, self.private.gap) if self.wants_private and self.private else 0.0

    @property
    def fvu(self) -> float | None:
        """Fraction of the target states' variance unexplained; None for a row that maps no states."""
        return self.fidelity.fvu if self.fidelity else None


class Result(ResultSummary):
    """One mapping on one pair in one suite, whole: the record of a result file."""

    tasks: tuple[TaskRecord, ...]

    @model_validator(mode="after")
    def _one_shape(self) -> Self:
        names = [task.task for task in self.tasks]
        if len(set(names)) < len(names):
            raise ValueError("tasks: one stands twice")
        if self.mapping.control != (self.mapping.name in CONTROL_NAMES):
            raise ValueError(f"mapping.name: {', '.join(CONTROL_NAMES)} are the controls, and only they")
        if len({len(task.error) for task in self.tasks}) > 1:
            raise ValueError("tasks: error: want equally many fits for every task")
        want = len(self.settings.alphas)
        for task in self.tasks:
            if len(task.mse_by_alpha) != want:
                raise ValueError(
                    f"tasks: {task.task}: mse_by_alpha: {len(task.mse_by_alpha)} numbers, but "
                    f"settings.alphas has {want}"
                )
        for name in ("ci95", "ci95_these_tasks"):
            ends = getattr(self, name)
            if ends is not None and ends[0] > ends[1]:
                raise ValueError(f"{name}: its lower end lies above its upper end")
        return self

    @model_validator(mode="after")
    def _one_metric(self) -> Self:
        beside = {task.task for task in self.behaviour.tasks} if self.behaviour else set()
        for task in self.tasks:
            if (task.task in beside) != (task.share is not None) and task.steerable:
                raise ValueError(f"tasks: {task.task}: share: want one where `behaviour` is, and there only")
        return self

    @property
    def summary(self) -> ResultSummary:
        """The same without the arrays of prompts, a tenth of its size."""
        kept = {name: getattr(self, name) for name in ResultSummary.model_fields}
        return unchecked(ResultSummary, kept | {"tasks": tuple(task.scores for task in self.tasks)})


def json_schema() -> str:
    """Return the JSON Schema of a result file."""
    return json.dumps(Result.model_json_schema(), indent=1) + "\n"
