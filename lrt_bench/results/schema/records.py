"""The parts of a result (schema version 1): its pair, mapping, settings, scores, cost and provenance."""

from __future__ import annotations

import json
from typing import Annotated, Any, Literal, Self, TypeVar

import numpy as np
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    JsonValue,
    field_serializer,
    field_validator,
    model_validator,
)

from lrt_bench.files.schema import Strict
from lrt_bench.results.metrics import Array, TaskErrors
from lrt_bench.results.schema.bounds import (
    LARGEST,
    R2,
    AtLeastZero,
    Correlation,
    Count,
    Date,
    Divergence,
    Fraction,
    Link,
    Name,
    Prompts,
    Seconds,
)

Checked = TypeVar("Checked", bound=BaseModel)
MOST_CONFIG = 100_000  # characters of a run's settings
CONTROL_NAMES = (
    "native", "native-split", "random", "none", "shuffled", "other-concept", "readout", "unembedding",
    "own-texts-permuted", "own-texts-noise",
)  # fmt: skip


class Record(Strict):
    """A part of a result; no text in it is longer than a page."""

    model_config = ConfigDict(str_max_length=4000)


def check_parallel(record: Record, first: str, *others: str) -> None:
    """Raise ValueError where lists of a record that belong together differ in length."""
    want = len(getattr(record, first))
    for name in others:
        if len(getattr(record, name)) != want:
            raise ValueError(f"{name}: {len(getattr(record, name))} numbers, but {first} has {want}")


class SiteRecord(Record):
    """One side of a pair.

    Attributes
    ----------
    layer, layers
        Layers are counted from 1. `layers` is there where several stand side by side; `layer` is the highest.
    depth
        The layer over the model's number of layers.
    sae
        The sparse autoencoder whose coefficients take the place of the states, and its digest.
    """

    model: str
    digest: str
    layer: Count
    depth: Fraction
    width: Count
    parameters: Count
    layers: tuple[Count, ...] | None = None
    sae: str | None = None

    @property
    def sae_name(self) -> str | None:
        """The sparse autoencoder as a command names it, without its digest."""
        return None if self.sae is None else self.sae.rpartition(" (")[0]

    @property
    def where(self) -> str:
        """The layer in words: 5, or 1+2+3."""
        return "+".join(map(str, self.layers or (self.layer,)))


class LayersChosen(Record):
    """How the layers were chosen: each candidate's effect on a refusal task's validation split, by side."""

    task: Name
    source: dict[int, float]
    target: dict[int, float]


class PairRecord(Record):
    """The pair, and how well its tokenizers align.

    A coverage is the share of a side's tokens that have a partner on the other side.
    """

    name: Name
    source: SiteRecord
    target: SiteRecord
    source_coverage: Fraction
    target_coverage: Fraction
    layers_chosen: LayersChosen | None = None


class MappingRecord(Record):
    """The mapping method or control.

    Attributes
    ----------
    rule
        How it carries a vector over, in words.
    digest
        Hash of the method's source files.
    description, authors, link, licence, notes
        What a submission says of itself.
    """

    name: Name
    control: bool
    kind: Literal["linear", "non-linear", "control"]
    origin: Literal["built-in", "file", "submission"]
    track: Literal["corpus", "target-aware", "task-aware", "unpaired", "weights", "control"]
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
    """What the scores depend on besides pair, mapping and data.

    Alphas are in units of `spread`.
    """

    alphas: tuple[float, ...]
    over_steering: tuple[float, ...]
    spread: AtLeastZero
    seed: Count
    bootstrap: Annotated[int, Field(ge=100, le=100_000)]
    dtype: str
    device: str
    batch_size: Count


class TaskScores(Record):
    """One choice task without its arrays of prompts; `metrics` defines each score.

    Lists by alpha follow the settings' `alphas`; `curve` follows `curve_alphas`. `steerable` says whether the
    task counts: native steering is clear of random directions. `share` and `ceiling_share` are those of
    behaviour (`steering.behaviour`), None in a suite that does not measure it.
    """

    task: Name
    version: Count
    digest: str
    concept: str
    prompts: Prompts
    failures: Prompts
    steerable: bool
    native_effect: tuple[float, float]
    ceiling_r2: R2 | None
    steering_r2: R2 | None
    over_steering_r2: R2 | None
    correlation: Correlation | None
    correlation_by_alpha: tuple[Correlation | None, ...]
    mse_by_alpha: tuple[AtLeastZero, ...]
    correlation_delta: Correlation | None
    correlation_delta_by_alpha: tuple[Correlation | None, ...]
    mse_delta_by_alpha: tuple[AtLeastZero, ...]
    concordance: Correlation | None
    slope: float
    slope_ratio: float | None
    anti_steerable: Fraction
    cosine: Correlation | None
    norm_ratio: AtLeastZero | None
    reachable: Fraction | None
    curve_alphas: tuple[float, ...]
    curve: tuple[float, ...]
    share: R2 | None = None
    ceiling_share: R2 | None = None

    @property
    def measure(self) -> float | None:
        """What the score is made of: the behaviour share, or steering R2 in a suite that measures none."""
        return self.steering_r2 if self.share is None else self.share

    @property
    def ceiling(self) -> float | None:
        """The same of native's vector from one half of the prompts against the other half's."""
        return self.ceiling_r2 if self.share is None else self.ceiling_share

    @model_validator(mode="after")
    def _parallel(self) -> Self:
        check_parallel(self, "curve_alphas", "curve")
        check_parallel(
            self, "mse_by_alpha", "correlation_by_alpha", "correlation_delta_by_alpha", "mse_delta_by_alpha"
        )
        return self


def unchecked(model: type[Checked], values: dict[str, Any]) -> Checked:
    """Return a record of values that were checked already, all of its fields; as unpickling makes it."""
    made = model.__new__(model)
    made.__setstate__({
        "__dict__": values, "__pydantic_fields_set__": set(), "__pydantic_extra__": None,
        "__pydantic_private__": None,
    })  # fmt: skip
    return made


class TaskRecord(TaskScores):
    """One choice task, with the arrays that scores and their bootstrap are computed from.

    Attributes
    ----------
    error : [fits, prompts]
        Of behaviour: sum over alphas of the divergence from the natively steered model. In a suite without
        it: of the squared difference to the native effect, in squared logits.
    energy : [prompts]
        The same of the unsteered model; or the squared native effect.
    split_error, split_energy : [prompts]
        The same between the native vectors of two halves of the concept's pairs.
    """

    error: tuple[tuple[float, ...], ...]
    energy: tuple[float, ...]
    split_error: tuple[float, ...]
    split_energy: tuple[float, ...]

    @model_validator(mode="after")
    def _arrays(self) -> Self:
        prompts = [*self.error, self.energy, self.split_error, self.split_energy]
        if not self.error or any(len(values) != self.prompts for values in prompts):
            raise ValueError(f"error, energy: want {self.prompts} numbers each, one a prompt")
        if any(min(values, default=0) < 0 or max(values, default=0) > LARGEST for values in prompts):
            raise ValueError("error, energy: sums of squares, yet one is negative or beyond 1e30")
        return self

    @property
    def scores(self) -> TaskScores:
        """The same without its arrays, which are most of a record."""
        return unchecked(TaskScores, {name: getattr(self, name) for name in TaskScores.model_fields})

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


class GenerationScores(Record):
    """One generation task: mean score and unsteered cross-entropy of the text, by alpha (0 first)."""

    task: Name
    version: Count
    digest: str
    prompts: Prompts
    failures: Prompts
    alphas: tuple[float, ...]
    score: tuple[float, ...]
    cross_entropy: tuple[AtLeastZero | None, ...]

    @model_validator(mode="after")
    def _parallel(self) -> Self:
        check_parallel(self, "alphas", "score", "cross_entropy")
        return self


class SideEffectScores(Record):
    """Cross-entropy that steering adds to neutral text, nats a token, mean over concepts, by alpha."""

    task: Name
    version: Count
    digest: str
    concepts: Count
    alphas: tuple[float, ...]
    added_cross_entropy: tuple[float, ...]

    @model_validator(mode="after")
    def _parallel(self) -> Self:
        check_parallel(self, "alphas", "added_cross_entropy")
        return self


class LmEvalScores(Record):
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
    unsteered: float | None
    stderr: AtLeastZero | None
    value: tuple[float | None, ...]
    value_stderr: tuple[AtLeastZero | None, ...]

    @model_validator(mode="after")
    def _parallel(self) -> Self:
        check_parallel(self, "alphas", "value", "value_stderr")
        return self


class FidelityScores(Record):
    """State fidelity on states that no fit was given; `evaluation.fidelity` defines each score."""

    fvu: AtLeastZero
    fvu_without_top1: AtLeastZero
    fvu_without_top8: AtLeastZero
    cosine: Correlation
    cka: Fraction
    bands: dict[str, AtLeastZero]
    added_cross_entropy: float | None
    kl: Divergence | None


class Cost(Record):
    """What the row cost: tokens read, seconds of the fit alone and of the states it needs, memory.

    Attributes
    ----------
    fit_texts
        Texts of concepts that a task-aware map is made of, the mean over tasks.
    texts_per_dimension
        The same over the width of the source: least squares meets every text exactly up to 1.
    target_tokens
        Corpus tokens that a target-aware fit ran through the target's blocks above the site, repeats counted,
        the mean over fits.
    """

    fit_tokens: Count
    fit_seconds: Seconds
    states_seconds: Seconds
    sweep_seconds: Seconds
    peak_memory_bytes: Count
    fit_texts: Count | None = None
    texts_per_dimension: AtLeastZero | None = None
    target_tokens: Count | None = None


class Provenance(Record):
    """Where the numbers come from."""

    created: Date
    lrt_bench: str
    commit: str | None
    python: str
    torch: str
    transformers: str
    platform: str
    threads: Count
    corpus: str
    corpus_digest: str
    data: dict[str, str] | None = None
    config: dict[str, JsonValue] | None = None

    trust_remote_code: bool | None = None
    bos: Literal["auto", "always", "never"] | None = None

    @field_validator("config")
    @classmethod
    def _bounded(cls, value: dict[str, JsonValue] | None) -> dict[str, JsonValue] | None:
        if value is not None and len(json.dumps(value)) > MOST_CONFIG:
            raise ValueError(f"settings of at most {MOST_CONFIG} characters are kept")
        return value
