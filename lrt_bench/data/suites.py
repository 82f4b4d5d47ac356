"""Suites: versioned pairs, tasks, alphas, corpus and budget, on which a leaderboard ranks."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, PrivateAttr, ValidationError, field_validator, model_validator

from lrt_bench.data.corpus import Budget
from lrt_bench.data.corpus_spec import CorpusSpec as CorpusSpec
from lrt_bench.data.corpus_spec import FitTokens, Named
from lrt_bench.data.documents import EMBEDDED
from lrt_bench.data.task_reading.task_folders import TaskShelf
from lrt_bench.data.tasks import Alphas, Kind, Task
from lrt_bench.errors import UserError, did_you_mean
from lrt_bench.files.resources import SUITES
from lrt_bench.files.schema import Strict, first_problem, read_yaml

MOST_LAYERS = 10_000


def _layer(layer: int | str) -> int | str:
    """Check that a layer is a number, or "20/26", a layer of 26."""
    if isinstance(layer, int):
        if not 0 <= layer <= MOST_LAYERS:
            raise ValueError(f"layer {layer}: give 1 to {MOST_LAYERS}")
        return layer
    match = re.fullmatch(r"([1-9]\d{0,4})/([1-9]\d{0,4})", layer, re.ASCII)
    if not match:
        raise ValueError(f"layer {layer[:40]!r}: write a number, or LAYER/LAYERS as 20/26")
    if int(match[1]) > int(match[2]):
        raise ValueError(f"layer {layer} lies above the last layer; write LAYER/LAYERS, as 20/26")
    return layer


Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", max_length=120)]
Number = Annotated[int, Field(ge=0, le=MOST_LAYERS)]  # of a layer
Layer = Annotated[int | str, AfterValidator(_layer)]
Layers = Annotated[tuple[Number, ...], Field(min_length=1, max_length=1000)] | Literal["all"]
GRID = (-0.5, -0.25, -0.125, 0.0, 0.125, 0.25, 0.5)


class LayerSearch(Strict):
    """Choose both layers of a pair on a refusal task's validation split, among relative depths."""

    task: Name
    depths: Annotated[tuple[Annotated[float, Field(gt=0, le=1)], ...], Field(min_length=1, max_length=1000)]


class PairSpec(Strict):
    """A source site and a target site.

    source_layer, target_layer : "20/26" is layer 20 of a model with 26, and the same relative depth of
        another; where it is not given, 70% of the depth.
    source_layers : instead of one source layer, several side by side, or "all" (many-to-one).
    source_sae : the sparse autoencoder (`sae.load_sae`) whose coefficients take the place of the states.
    choose_layers : instead of the two layers, the task and the depths by which they are chosen.
    skip_kinds : kinds of task that are left out on this pair.
    fit_tokens : in the place of the corpus's, with validation text in proportion: pairs of the same sites
        with other `fit_tokens` are a ladder, whose score is an area (`results.ladders`).
    """

    name: Name
    source: Named
    source_layer: Layer | None = None
    source_layers: Layers | None = None
    target: Named
    source_sae: Named | None = None
    target_layer: Layer | None = None
    skip_kinds: tuple[Kind, ...] = ()
    choose_layers: LayerSearch | None = None
    fit_tokens: FitTokens | None = None

    @model_validator(mode="after")
    def _one_way(self) -> PairSpec:
        if self.choose_layers and (self.source_layer is not None or self.target_layer is not None):
            raise ValueError("choose_layers: leave source_layer and target_layer out beside it")
        return self

    @model_validator(mode="after")
    def _one_source(self) -> PairSpec:
        if self.source_layer is not None and self.source_layers is not None:
            raise ValueError("source_layers: give it or source_layer, not both")
        if self.source_sae is not None and self.source_layers is not None:
            raise ValueError("source_sae: it reads one layer: give source_layer, not source_layers")
        return self


class BehaviourSpec(Strict):
    """How behaviour is measured beside the sweeps (`steering.behaviour`).

    alphas : other than 0, in units of damage; nats : of damage that one unit does (`steering.damage`).
    tokens : written on from each prompt. first : the first token's weight beside the later ones' mean.
    splits : of a concept's pairs into halves; a row's vector from one half is set against native from the
        other.
    positions : the tokens that are steered (`steering.continuation`).
    prompts : of a task's scored ones that behaviour is measured on, evenly spaced; all of them by default.
    without_readout : whether shares without the readout's direction are measured too, at twice the cost.
    directions, neutral_tokens : random directions whose median damage is the unit, and tokens of neutral text
        that damage is measured on; `damage.DIRECTIONS` and `damage.TOKENS` by default.
    """

    alphas: Annotated[tuple[float, ...], Field(min_length=1)] = (-0.25, 0.25)
    nats: Annotated[float, Field(gt=0, le=10)] = 0.5
    tokens: Annotated[int, Field(ge=1, le=64)] = 8
    first: Annotated[float, Field(ge=0, le=1)] = 0.25
    splits: Annotated[int, Field(ge=1, le=16)] = 4
    positions: Literal["all", "but-last", "last"] = "all"
    prompts: Annotated[int, Field(ge=1, le=10_000)] | None = None
    without_readout: bool = False
    directions: Annotated[int, Field(ge=16, le=1000)] | None = None
    neutral_tokens: Annotated[int, Field(ge=16, le=100_000)] | None = None

    @field_validator("alphas")
    @classmethod
    def _steering(cls, alphas: tuple[float, ...]) -> tuple[float, ...]:
        if 0.0 in alphas or len(set(alphas)) != len(alphas):
            raise ValueError("give different alphas, none of them 0")
        return tuple(sorted(alphas))


class Suite(Strict):
    """A whole benchmark: everything that a score depends on besides the mapping.

    alphas : the scored grid, in units of the target layer's spread; holds 0.
    over_steering : alphas past it, swept and reported apart, never scored.
    fit_seeds : how many seeds a stochastic mapping is fitted with, where the corpus is drawn once.
    prompts : of a choice task's scored ones at most so many are swept, evenly spaced; all by default.
    contrasts : of a task's contrastive pairs at most so many make its vectors, the first; all by default.
    behaviour : how behaviour is measured beside the sweeps; not at all without it.
    """

    name: Name
    version: Annotated[int, Field(ge=1)] = 1
    description: str = ""
    corpus: CorpusSpec = CorpusSpec()
    alphas: Alphas = GRID
    over_steering: Alphas = (-1.0, 1.0)
    random_directions: Annotated[int, Field(ge=8, le=1000)] = 8
    shuffles: Annotated[int, Field(ge=1, le=1000)] = 8
    fit_seeds: Annotated[int, Field(ge=1, le=100)] = 2
    bootstrap: Annotated[int, Field(ge=100, le=100_000)] = 1000
    prompts: Annotated[int, Field(ge=2, le=10_000)] | None = None
    contrasts: Annotated[int, Field(ge=4, le=100_000)] | None = None
    behaviour: BehaviourSpec | None = None
    tasks: tuple[Named, ...] = Field(min_length=1, max_length=1000)
    mappings: tuple[Named, ...] = Field(min_length=1, max_length=1000)
    pairs: tuple[PairSpec, ...] = Field(min_length=1, max_length=1000)
    _shelf: TaskShelf = PrivateAttr(default_factory=TaskShelf)

    @field_validator("alphas")
    @classmethod
    def _grid(cls, alphas: tuple[float, ...]) -> tuple[float, ...]:
        if 0.0 not in alphas or len(set(alphas)) != len(alphas) or len(alphas) < 3:
            raise ValueError("give at least three different alphas, 0 among them")
        return tuple(sorted(alphas))

    @model_validator(mode="after")
    def _swept_once(self) -> Suite:
        if len(set(self.over_steering)) < len(self.over_steering) or set(self.over_steering) & {*self.alphas}:
            raise ValueError("over_steering: an alpha stands twice, or is scored anyway; drop it")
        return self

    @model_validator(mode="after")
    def _distinct(self) -> Suite:
        names = [pair.name for pair in self.pairs]
        for name in names:
            if names.count(name) > 1:
                raise ValueError(f"pairs: the name {name} stands twice")
        return self

    @property
    def digest(self) -> str:
        """Hash of all that every pair's score depends on: protocol and tasks, not the list of pairs."""
        content = self.model_dump(mode="json", exclude={"pairs", "mappings", "description"})
        if not self.corpus.mix:  # suites without a mix keep the digest that they had
            del content["corpus"]["mix"]
        if self.corpus.column is None:  # nor does a column that is not named change it
            del content["corpus"]["column"]
        if self.corpus.draws == 1:
            del content["corpus"]["draws"]
        for field in ("behaviour", "prompts", "contrasts"):  # nor a field that says nothing
            if content[field] is None:
                del content[field]
        for field in ("directions", "neutral_tokens"):
            if self.behaviour and content["behaviour"][field] is None:
                del content["behaviour"][field]
        content["task_digests"] = [task.digest for task in self.read_tasks()]
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()

    @property
    def models(self) -> set[str]:
        """The models and sparse autoencoders of its pairs, without their revisions."""
        return {
            spec.removeprefix("untrained:").partition("@")[0]
            for pair in self.pairs
            for spec in (pair.source, pair.target, pair.source_sae)
            if spec
        }

    def budget_of(self, pair: PairSpec) -> Budget:
        """Return how much of the corpus a fit on one of its pairs may read and keep."""
        return self.corpus.budget_for(pair.fit_tokens)

    def read_tasks(self) -> list[Task]:
        """Read the suite's tasks, in order; once for the suite and its copies."""
        return [self._shelf.find(name) for name in self.tasks]

    def tasks_of(self, pair: PairSpec) -> list[Task]:
        """Read the tasks that are run on one of its pairs."""
        return [task for task in self.read_tasks() if task.card.kind not in pair.skip_kinds]


def known_suites() -> list[str]:
    """List the names of the suites that ship with the package."""
    return sorted(path.stem for path in SUITES.glob("*.yaml"))


def find_suite(spec: str) -> Suite:
    """Find a suite by its name, or by the path of its YAML file.

    Raises UserError where there is none.
    """
    if (SUITES / f"{spec}.yaml").is_file():
        return read_yaml(SUITES / f"{spec}.yaml", Suite)
    path = Path(spec).expanduser()
    if path.is_file():
        return read_yaml(path, Suite)
    close = did_you_mean(spec, known_suites())
    raise UserError(f"--suite {spec}: no such suite{close}; give {', '.join(known_suites())} or a YAML file")


def default_suite(source: str | None, target: str | None) -> str:
    """Choose the suite of a run that names none: the embedded family's, or everyday prose."""
    given = [spec.rpartition(":")[2] for spec in (source, target) if spec]
    return "nano" if all(spec.startswith("nano/") for spec in given) else "everyday"


def narrowed(
    suite: Suite, *, pairs: Sequence[str] = (), corpus: str | None = None, column: str | None = None
) -> Suite:
    """Narrow a suite to some of its pairs, or put it on another corpus (which makes it another protocol).

    Parameters
    ----------
    column : the column of the corpus's text, where it has none of the known names.

    Raises
    ------
    UserError
        Where the suite has no such pair, or a column is named without a corpus of rows.
    """
    if pairs:
        known = {pair.name: pair for pair in suite.pairs}
        for name in pairs:
            if name not in known:
                close = did_you_mean(name, known)
                raise UserError(f"--pair {name}: suite {suite.name} has {', '.join(known)}{close}")
        suite = suite.model_copy(update={"pairs": tuple(known[name] for name in dict.fromkeys(pairs))})
    if corpus is not None:
        fields = suite.corpus.model_dump() | {"source": corpus, "mix": (), "column": None}
        try:
            suite = suite.model_copy(update={"corpus": CorpusSpec.model_validate(fields)})
        except ValidationError as error:
            problem = first_problem(error).removeprefix("field source: ")
            raise UserError(
                f"--corpus {corpus!r}: {problem}: give a file, a folder or a data set's id"
            ) from error
    if column is not None:
        if suite.corpus.mix or suite.corpus.source in EMBEDDED:
            raise UserError(f"--corpus-column {column}: give --corpus, a file or data set with columns")
        suite = suite.model_copy(update={"corpus": suite.corpus.model_copy(update={"column": column})})
    return suite


def ad_hoc(
    suite: Suite,
    source: str,
    source_layer: int | None,
    target: str,
    target_layer: int | None,
    source_layers: Layers | None = None,
    source_sae: str | None = None,
) -> Suite:
    """Put a suite's protocol and tasks on a pair of the user's own."""
    if source_layer is not None and source_layers is not None:
        raise UserError("--source-layers takes the place of --source-layer: give one of the two")
    layers = source_layers if isinstance(source_layers, str) else "_".join(map(str, source_layers or ()))
    place = f"{layers or source_layer}-sae" if source_sae else layers or source_layer
    sides = [_short(source, place), _short(target, target_layer)]
    try:
        pair = PairSpec(
            name=_shortened("--".join(sides)),
            source=source, source_layer=source_layer, source_layers=source_layers,
            source_sae=source_sae,
            target=target, target_layer=target_layer,
        )  # fmt: skip
    except ValidationError as error:
        field, _, problem = first_problem(error).removeprefix("field ").partition(": ")
        raise UserError(f"--{field.partition('.')[0].replace('_', '-')}: {problem}") from error
    return suite.model_copy(update={"name": f"{suite.name}-ad-hoc", "pairs": (pair,)})


def _shortened(name: str) -> str:
    """Return a name of at most 120 characters as it is; of a longer one, its beginning and its hash."""
    if len(name) <= 120:
        return name
    return f"{name[:100]}-{hashlib.sha256(name.encode()).hexdigest()[:16]}"


def _short(model: str, layer: int | str | None) -> str:
    """Make a name for files: the last part of a model's name, and its layer."""
    name = re.sub(r"[^A-Za-z0-9._-]+", "-", model.rstrip("/").rpartition("/")[2]).strip("-._") or "model"
    return name[:50] + (f"-{layer}" if layer is not None else "")


def describe_suites() -> list[dict[str, Any]]:
    """Describe every shipped suite in a row, for `lrt-bench list suites`."""
    rows = []
    for name in known_suites():
        suite = find_suite(name)
        rows.append(
            {
                "name": name,
                "version": suite.version,
                "pairs": len(suite.pairs),
                "tasks": len(suite.tasks),
                "description": suite.description,
            }
        )
    return rows


UNLISTED = {"skip_kinds", "source_layers", "source_sae", "choose_layers", "fit_tokens"}  # of a pair's fields


def describe_pairs() -> list[dict[str, Any]]:
    """Describe every pair of the shipped suites in a row, for `lrt-bench list pairs`."""
    return [
        {
            "suite": name,
            **pair.model_dump(exclude=UNLISTED),
        }
        | ({"source_layer": pair.source_layers} if pair.source_layers else {})
        for name in known_suites()
        for pair in find_suite(name).pairs
    ]
