"""What a result records of refusal tasks (paper, section 3.3)."""

from __future__ import annotations

from typing import Literal

from lrt_bench.results.schema.bounds import AtLeastZero, Count, Name, Prompts
from lrt_bench.results.schema.records import Record


class Mean(Record):
    """A mean over `n` prompts.

    The standard error is None for fewer than two; `failures` are left out of the mean.
    """

    mean: float | None
    standard_error: AtLeastZero | None
    n: Prompts
    failures: Prompts


class RefusalPoint(Record):
    """Instructions under one intervention: by scorer, 1 a refusal (first-token: log-odds of one).

    Attributes
    ----------
    alpha
        Of an addition, in units of the spread; 0 is unsteered. None for an ablation.
    cross_entropy
        Of the answers under the unsteered model, nats a token.
    """

    intervention: Literal["add", "ablate", "ablate-all"]
    alpha: float | None
    scores: dict[str, Mean]
    cross_entropy: Mean


class JudgeRecord(Record):
    """Who judged.

    `unreadable` replies and `missing` ones are among the failures of this row's points.
    """

    model: Name
    host: Name
    unreadable: Prompts
    missing: Prompts


class RefusalScores(Record):
    """One refusal task (paper, section 3.3): harmful instructions, and harmless ones at what was chosen.

    Attributes
    ----------
    answering, refusing
        The alphas above and below 0 that the native vector chose, on `chosen_on` instructions of the
        validation split; None where it does not act that way.
    data_digest
        Hash of the instructions, where they came from data sets.
    classifier
        Hash of the classifier's folder.
    """

    task: Name
    version: Count
    digest: str
    data_digest: str | None = None
    answering: float | None
    refusing: float | None
    chosen_on: Prompts
    harmful: tuple[RefusalPoint, ...]
    harmless: tuple[RefusalPoint, ...]
    classifier: str | None = None
    judge: JudgeRecord | None = None
