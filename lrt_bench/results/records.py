"""The parts of a result (schema version 1): its pair, mapping, settings, figures, cost and provenance."""

from __future__ import annotations

from typing import Annotated, Literal

import numpy as np
from pydantic import ConfigDict, Field, JsonValue, field_serializer, model_validator

from lrt_bench.files.schema import Strict
from lrt_bench.results.metrics import Array, TaskErrors

Share = float | None
Count = Annotated[int, Field(ge=0, lt=2**63)]
Seconds = Annotated[float, Field(ge=0, lt=1e12)]
Correlation = Annotated[float, Field(ge=-1.0001, le=1.0001)] | None
LARGEST = 1e30  # of a sum of squares: beyond, figures made of it would overflow
CONTROL_NAMES = ("native", "native-split", "random", "none", "shuffled", "other-concept", "readout")
# no control characters, none that turn the direction of writing: a name can't pass for another
Name = Annotated[str, Field(pattern=r"^[^\x00-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2066-\u2069]{1,200}$")]
LINK = r"^https?://[^\s<>\"'`\\]+$"
Link = Annotated[str, Field(pattern=LINK, max_length=2000)]


class Record(Strict):
    """A part of a result; no text in it is longer than a page."""

    model_config = ConfigDict(str_max_length=4000)


class SiteRecord(Record):
    """One side of a pair. `layers` is there where several stand side by side; `layer` is their highest.

    sae : the sparse autoencoder whose coefficients take the place of the states, and its digest.
    """

    model: str
    digest: str
    layer: Count
    depth: float
    width: Count
    parameters: Count
    layers: tuple[Count, ...] | None = None
    sae: str | None = None

    @property
    def where(self) -> str:
        """The layer as a reader is told it: 5, or 1+2+3."""
        return "+".join(map(str, self.layers or (self.layer,)))


class LayersChosen(Record):
    """How the layers were chosen: each candidate's effect on a refusal task's validation split, by side."""

    task: Name
    source: dict[int, float]
    target: dict[int, float]


class PairRecord(Record):
    """The pair, and how well its tokenizers align (share of either side's tokens that is in a pair)."""

    name: Name
    source: SiteRecord
    target: SiteRecord
    source_coverage: float
    target_coverage: float
    layers_chosen: LayersChosen | None = None


class MappingRecord(Record):
    """The row. `rule` says how it carries a vector over; `digest` is a hash of the method's source.

    The last five fields are what a submission tells of itself.
    """

    name: Name
    control: bool
    kind: Literal["linear", "non-linear", "control"]
    origin: Literal["built-in", "file", "submission"]
    track: Literal["corpus", "task-aware", "weights", "control"]
    rule: str
    seeds: Annotated[int, Field(ge=1, le=10_000)]
    parameters: Count
    digest: str
    description: str | None = None
    authors: tuple[Name, ...] = ()
    link: Link | None = None
    licence: Name | None = None
    notes: str | None = None


class Settings(Record):
    """What the scores depend on besides pair, mapping and data. Alphas are in units of `spread`."""

    alphas: tuple[float, ...]
    over_steering: tuple[float, ...]
    spread: float
    seed: Count
    bootstrap: Annotated[int, Field(ge=100, le=100_000)]
    dtype: str
    device: str
    batch_size: int


class TaskFigures(Record):
    """One choice task. Lists by alpha follow `curve_alphas`; metrics.py defines each figure.

    error, energy, split_error, split_energy are what scores and their bootstrap are computed from.
    """

    task: Name
    version: Count
    digest: str
    concept: str
    prompts: Count
    failures: Count
    steerable: bool
    native_effect: tuple[float, float]
    ceiling_r2: Share
    steering_r2: Share
    over_steering_r2: Share
    correlation: Correlation
    correlation_by_alpha: tuple[Share, ...]
    mse_by_alpha: tuple[float, ...]
    correlation_delta: Correlation
    correlation_delta_by_alpha: tuple[Share, ...]
    mse_delta_by_alpha: tuple[float, ...]
    concordance: Correlation
    slope: float
    slope_ratio: Share
    anti_steerable: float
    cosine: Correlation
    norm_ratio: Share
    reachable: Share
    curve_alphas: tuple[float, ...]
    curve: tuple[float, ...]
    error: tuple[tuple[float, ...], ...]
    energy: tuple[float, ...]
    split_error: tuple[float, ...]
    split_energy: tuple[float, ...]

    @model_validator(mode="after")
    def _shapes(self) -> TaskFigures:
        prompts = [*self.error, self.energy, self.split_error, self.split_energy]
        if not self.error or any(len(values) != self.prompts for values in prompts):
            raise ValueError(f"error, energy: want {self.prompts} numbers each, one a prompt")
        if any(min(values, default=0) < 0 or max(values, default=0) > LARGEST for values in prompts):
            raise ValueError("error, energy: sums of squares, yet one is negative or beyond 1e30")
        if len(self.curve) != len(self.curve_alphas):
            raise ValueError(f"curve: want {len(self.curve_alphas)} numbers, one an alpha")
        return self

    @property
    def errors(self) -> TaskErrors:
        """What the task contributes to a score, as arrays."""
        return TaskErrors.of_rows(self.error_rows)

    @property
    def error_rows(self) -> Array:
        """The same in one array [seeds + 3, prompts], as `TaskErrors.of_rows` takes it."""
        return np.array([*self.error, self.energy, self.split_error, self.split_energy], dtype=np.float64)

    @field_serializer("error", "energy", "split_error", "split_energy")
    def _shorter(self, value: tuple[object, ...]) -> object:
        return rounded(value)


def rounded(value: object) -> object:
    """Nine significant digits: more than the propensities have, half the bytes."""
    if isinstance(value, float):
        return float(f"{value:.9g}")
    assert isinstance(value, tuple)
    return tuple(rounded(item) for item in value)


class GenerationFigures(Record):
    """One generation task: mean score and unsteered cross-entropy of the text, by alpha (0 first)."""

    task: Name
    version: int
    digest: str
    prompts: int
    failures: int
    alphas: tuple[float, ...]
    score: tuple[float, ...]
    cross_entropy: tuple[Share, ...]


class SideEffectFigures(Record):
    """Cross-entropy that steering adds to neutral text, nats a token, mean over concepts, by alpha."""

    task: Name
    version: int
    digest: str
    concepts: int
    alphas: tuple[float, ...]
    added_cross_entropy: tuple[float, ...]


class LmEvalFigures(Record):
    """One metric of one lm-eval task under steering: unsteered, and by alpha as the mean over `concepts`.

    Alphas are in units of `spread`, the same for every row: native and transferred vectors act at matched
    strength. Standard errors are lm-eval's, over samples; by alpha, their mean over concepts. The digest is
    of the task's requests and targets; `lm_eval` is the harness's version, `version` the task's.
    """

    task: Name
    metric: Name
    filter: Name = "none"
    higher_is_better: bool | None
    version: str
    digest: str
    lm_eval: str
    samples: Count
    concepts: tuple[Name, ...]
    alphas: tuple[float, ...]
    unsteered: Share
    stderr: Share
    value: tuple[Share, ...]
    value_stderr: tuple[Share, ...]

    @model_validator(mode="after")
    def _shapes(self) -> LmEvalFigures:
        if not len(self.value) == len(self.value_stderr) == len(self.alphas):
            raise ValueError(f"value, value_stderr: want {len(self.alphas)} numbers each, one an alpha")
        return self


class Mean(Record):
    """A mean over prompts, its standard error (None of fewer than two), how many, and failures left out."""

    mean: Share
    standard_error: Share
    n: Count
    failures: Count


class RefusalPoint(Record):
    """Instructions under one intervention: by scorer, 1 a refusal (first-token: log-odds of one).

    alpha : of an addition, in units of the spread; 0 is unsteered. None for an ablation.
    cross_entropy : nats a token of the answers under the unsteered model.
    """

    intervention: Literal["add", "ablate", "ablate-all"]
    alpha: float | None
    scores: dict[str, Mean]
    cross_entropy: Mean


class JudgeRecord(Record):
    """Who judged. `unreadable` replies and `missing` ones are among the failures of this row's points."""

    model: Name
    host: Name
    unreadable: Count
    missing: Count


class RefusalFigures(Record):
    """One refusal task (paper, section 3.3): harmful instructions, and harmless ones at what was chosen.

    answering, refusing : the alphas above and below 0 that the native vector chose, on `chosen_on`
        instructions of the validation split; None where it does not act that way.
    data_digest : hash of the instructions, where they came from data sets.
    classifier : hash of the classifier's folder.
    """

    task: Name
    version: Count
    digest: str
    data_digest: str | None = None
    answering: Share
    refusing: Share
    chosen_on: Count
    harmful: tuple[RefusalPoint, ...]
    harmless: tuple[RefusalPoint, ...]
    classifier: str | None = None
    judge: JudgeRecord | None = None


class FidelityFigures(Record):
    """State fidelity on validation states; see fidelity.py."""

    fvu: Annotated[float, Field(ge=0)]
    fvu_without_top1: float
    fvu_without_top8: float
    cosine: float
    cka: float
    bands: dict[str, float]
    added_cross_entropy: Share
    kl: Share


class Cost(Record):
    """What the row cost: tokens read, seconds of the fit alone and of the states it needs, memory."""

    fit_tokens: Count
    fit_seconds: Seconds
    states_seconds: Seconds
    sweep_seconds: Seconds
    peak_memory_bytes: Count


class AuditRecord(Record):
    """What was looked at in a submission's code; flags for a reader, never part of a rank.

    isolated : whether it ran in a cell (not with --unsafe-no-sandbox).
    deterministic : whether the same seed gave the same fit; seed_difference is how far the two lie apart.
    cosine, rotated_cosine : mean cosine to the native vectors, of the fit, and of one that was shown both
        sides in random orthogonal bases; rotation_agreement is the mean cosine between the two.
    rotation_flag : the fit owes much to the bases it saw: a hard-coded answer does, and so may a method that
        treats dimensions one by one.
    """

    isolated: bool
    deterministic: bool
    seed_difference: float
    cosine: float
    rotated_cosine: float
    rotation_agreement: float
    rotation_flag: bool


class Provenance(Record):
    """Where the numbers come from."""

    created: Annotated[str, Field(pattern=r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)$")]
    lrt_bench: str
    commit: str | None
    python: str
    torch: str
    transformers: str
    platform: str
    threads: int
    corpus: str
    corpus_digest: str
    data: dict[str, str] | None = None
    config: dict[str, JsonValue] | None = None
