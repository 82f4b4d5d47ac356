"""Reads suites: pairs, tasks, alphas, corpus and budget, versioned. What a leaderboard ranks on."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from lrt_bench.data.corpus import Budget, Corpus, Part
from lrt_bench.data.datasets import Data
from lrt_bench.data.tasks import Task, find_task
from lrt_bench.errors import UserError
from lrt_bench.files.resources import SUITES
from lrt_bench.files.schema import Strict, read_yaml

Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", max_length=120)]
Layer = int | Annotated[str, Field(pattern=r"^[1-9]\d*/[1-9]\d*$")]
LayerList = tuple[int, ...] | Literal["all"]
REMEMBERED = 2  # blocks of the embedded corpus that a suite's pairs share: what its budget reads
GRID = (-0.5, -0.25, -0.125, 0.0, 0.125, 0.25, 0.5)


class LayerSearch(Strict):
    """Choose both layers of a pair on a refusal task's validation split, among relative depths."""

    task: Name
    depths: Annotated[tuple[Annotated[float, Field(gt=0, le=1)], ...], Field(min_length=1)]


class PairSpec(Strict):
    """A source site and a target site.

    source_layer, target_layer : "20/26" is layer 20 of a model with 26, and the same relative depth of
        another; where it is not given, 70% of the depth.
    source_layers : instead of one source layer, several side by side, or "all" (many-to-one).
    source_sae : the sparse autoencoder (`sae.load_sae`) whose coefficients take the place of the states.
    choose_layers : instead of the two layers, the task and the depths by which they are chosen.
    skip_kinds : kinds of task that are left out on this pair.
    """

    name: Name
    source: str
    source_layer: Layer | None = None
    source_layers: LayerList | None = None
    target: str
    source_sae: str | None = None
    target_layer: Layer | None = None
    skip_kinds: tuple[str, ...] = ()
    choose_layers: LayerSearch | None = None

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


class CorpusSpec(Strict):
    """The text that maps are fitted on, and how much of it; a mix is of several sources (`corpus.Part`)."""

    source: str = "nano"
    context: Annotated[int, Field(ge=8)] = 128
    fit_tokens: Annotated[int, Field(ge=200)] = 60_000
    validation_tokens: Annotated[int, Field(ge=20)] = 6_000
    sample_tokens: Annotated[int, Field(ge=100)] = 30_000
    mix: tuple[Part, ...] = ()

    @property
    def named(self) -> str:
        """The sources in a word, with their shares."""
        return " + ".join(f"{part.share:g} {part.id}" for part in self.mix) or self.source

    @property
    def budget(self) -> Budget:
        """How much of it a fit may read and keep."""
        return Budget(self.fit_tokens, self.validation_tokens, self.sample_tokens)

    def corpus(self, data: Data) -> Corpus:
        """The corpus, its ids read from `data`."""
        return Corpus(self.source, self.context, self.mix, data, remembered=REMEMBERED)


class BehaviourSpec(Strict):
    """How behaviour is measured beside the sweeps (`steering.behaviour`).

    alphas : other than 0, in units of damage; nats : of damage that one unit does (`steering.damage`).
    tokens : written on from each prompt. first : the first token's weight beside the later ones' mean.
    splits : of a concept's pairs into halves; a row's vector from one half is set against native from the
        other.
    positions : the tokens that are steered (`steering.continuation`).
    """

    alphas: Annotated[tuple[float, ...], Field(min_length=1)] = (-0.25, 0.25)
    nats: Annotated[float, Field(gt=0, le=10)] = 0.5
    tokens: Annotated[int, Field(ge=1, le=64)] = 8
    first: Annotated[float, Field(ge=0, le=1)] = 0.25
    splits: Annotated[int, Field(ge=1, le=16)] = 4
    positions: Literal["all", "but-last", "last"] = "all"

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
    fit_seeds : how many seeds a stochastic mapping is fitted with.
    behaviour : how behaviour is measured beside the sweeps; not at all without it.
    """

    name: Name
    version: Annotated[int, Field(ge=1)] = 1
    description: str = ""
    corpus: CorpusSpec = CorpusSpec()
    alphas: tuple[float, ...] = GRID
    over_steering: tuple[float, ...] = (-1.0, 1.0)
    random_directions: Annotated[int, Field(ge=8)] = 8
    shuffles: Annotated[int, Field(ge=1)] = 8
    fit_seeds: Annotated[int, Field(ge=1)] = 2
    bootstrap: Annotated[int, Field(ge=100)] = 1000
    behaviour: BehaviourSpec | None = None
    tasks: tuple[str, ...] = Field(min_length=1)
    mappings: tuple[str, ...] = Field(min_length=1)
    pairs: tuple[PairSpec, ...] = Field(min_length=1)

    @field_validator("alphas")
    @classmethod
    def _grid(cls, alphas: tuple[float, ...]) -> tuple[float, ...]:
        if 0.0 not in alphas or len(set(alphas)) != len(alphas) or len(alphas) < 3:
            raise ValueError("give at least three different alphas, 0 among them")
        return tuple(sorted(alphas))

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
        if self.behaviour is None:
            del content["behaviour"]
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

    def read_tasks(self) -> list[Task]:
        """The suite's tasks, in order."""
        return [find_task(name) for name in self.tasks]

    def tasks_of(self, pair: PairSpec) -> list[Task]:
        """The tasks that are run on one of its pairs."""
        return [task for task in self.read_tasks() if task.card.kind not in pair.skip_kinds]


def known_suites() -> list[str]:
    return sorted(path.stem for path in SUITES.glob("*.yaml"))


def find_suite(spec: str) -> Suite:
    """A suite by its name, or by the path of its YAML file."""
    if (SUITES / f"{spec}.yaml").is_file():
        return read_yaml(SUITES / f"{spec}.yaml", Suite)
    path = Path(spec).expanduser()
    if path.is_file():
        return read_yaml(path, Suite)
    raise UserError(f"--suite {spec}: no such suite; give {', '.join(known_suites())} or a YAML file")


def default_suite(source: str | None, target: str | None) -> str:
    """The suite of a run that names none: the embedded family's, or everyday prose for other models."""
    given = [spec.rpartition(":")[2] for spec in (source, target) if spec]
    return "nano" if all(spec.startswith("nano/") for spec in given) else "everyday"


def narrowed(suite: Suite, *, pairs: Sequence[str] = (), corpus: str | None = None) -> Suite:
    """The suite with only some of its pairs, or on another corpus (which makes it another protocol)."""
    if pairs:
        known = {pair.name: pair for pair in suite.pairs}
        for name in pairs:
            if name not in known:
                raise UserError(f"--pair {name}: suite {suite.name} has {', '.join(known)}")
        suite = suite.model_copy(update={"pairs": tuple(known[name] for name in dict.fromkeys(pairs))})
    if corpus:
        suite = suite.model_copy(
            update={"corpus": suite.corpus.model_copy(update={"source": corpus, "mix": ()})}
        )
    return suite


def ad_hoc(
    suite: Suite,
    source: str,
    source_layer: int | None,
    target: str,
    target_layer: int | None,
    source_layers: LayerList | None = None,
    source_sae: str | None = None,
) -> Suite:
    """The suite's protocol and tasks on a pair of the user's own."""
    if source_layer is not None and source_layers is not None:
        raise UserError("--source-layers takes the place of --source-layer: give one of the two")
    several = source_layers if isinstance(source_layers, str) else "+".join(map(str, source_layers or ()))
    at = f"{several or source_layer}-sae" if source_sae else several or source_layer
    sides = [_short(source, at), _short(target, target_layer)]
    pair = PairSpec(
        name="--".join(sides)[:120],
        source=source, source_layer=source_layer, source_layers=source_layers,
        source_sae=source_sae,
        target=target, target_layer=target_layer,
    )  # fmt: skip
    return suite.model_copy(update={"name": f"{suite.name}-ad-hoc", "pairs": (pair,)})


def _short(model: str, layer: int | str | None) -> str:
    """A name for files: the last part of a model's name, and its layer."""
    name = re.sub(r"[^A-Za-z0-9._-]+", "-", model.rstrip("/").rpartition("/")[2]).strip("-._") or "model"
    return name[:50] + (f"-{layer}" if layer is not None else "")


def describe_suites() -> list[dict[str, Any]]:
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


def describe_pairs() -> list[dict[str, Any]]:
    return [
        {
            "suite": name,
            **pair.model_dump(exclude={"skip_kinds", "source_layers", "source_sae", "choose_layers"}),
        }
        | ({"source_layer": pair.source_layers} if pair.source_layers else {})
        for name in known_suites()
        for pair in find_suite(name).pairs
    ]
