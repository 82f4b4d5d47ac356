"""The settings of a run: what `lrt-bench evaluate` takes as options, `--config FILE.yaml` as fields.

Nothing heavy is imported with it, so that the command line checks every setting before it loads torch.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import Field, ValidationError, field_validator, model_validator

from lrt_bench.data.suites import Layers, Suite, ad_hoc, default_suite, find_suite, narrowed
from lrt_bench.errors import UserError
from lrt_bench.files.cache.folder import CACHE_SIZE, CacheFolder, chosen_folder
from lrt_bench.files.names import parse_site
from lrt_bench.files.schema import Strict, read_yaml
from lrt_bench.results.schema.records import MOST_CONFIG

MOST = 10**9  # of whatever is counted
AtLeastOne = Annotated[int, Field(ge=1, le=MOST)]
Bytes = Annotated[float, Field(ge=0)]
Layer = AtLeastOne | Annotated[str, Field(pattern=r"^[1-9]\d{0,5}/[1-9]\d{0,5}$")]
OPTION_OF = {  # fields whose option has another name
    "pairs": "--pair", "mappings": "--mapping", "tasks": "--task", "submissions": "--submission",
    "models": "--model",
}  # fmt: skip
# `private` and `fresh_concepts` stand in the records of their own scores
LOCAL = (
    "out", "private", "fresh_concepts", "engine", "address", "workers", "worker_cpus", "worker_gpus",
    "worker_memory", "no_cache", "cache_size",
)  # fmt: skip


class RunConfig(Strict):
    """Settings of one run.

    Attributes
    ----------
    suite
        Suite name or YAML file; None is `nano` for the embedded family and `everyday` for other models.
    pairs, mappings, tasks
        Names of the suite's to keep, mappings also as PATH.py:CLASS, tasks also as folders; empty keeps all.
    submissions
        Folders of submissions, scored beside the mappings.
    submission_seconds
        Wall time of one fit of a submission.
    unsafe_no_sandbox
        Run submissions without a sandbox.
    limit
        Prompts of each task that are run, for a quick look: the result is incomplete, and lies apart.
    private
        Folder of a private family, on which submissions are scored too.
    fresh_concepts
        How many concepts are drawn for this run, on which every row is scored too.
    side_effects
        lm-eval tasks to run steered, by name; `side_effects_path`, `_limit` and `_concepts` go with them.
    source, target
        Models of an ad hoc pair; the layer fields and `source_sae` go with them.
    judge_url, judge_model
        Address and name of a judge of refusals. Its key is read from the environment and is no setting.
    classifier
        Folder of a text classifier of refusals.
    corpus, corpus_column
        Text that maps are fitted on, in the place of the suite's, and the column that holds it.
    data, models
        {id: path} in the place of data sets, and of models and sparse autoencoders.
    weights
        {id: a few words} on the weights of a model, as "4-bit GGUF, dequantised"; shown with its results.
    out
        Folder of results; a cell that lies there under the same key is not computed again.
    trust_remote_code, bos
        Whether code beside a model's weights may run, and whether texts begin with BOS (`loading.Models`).
    seed
        Seed of every draw.
    batch_size
        Sequences in one forward.
    engine, address, workers, worker_cpus, worker_gpus, worker_memory
        Where cells are computed; memory in GiB.
    no_cache, cache_size
        Whether states and what else all rows of a pair share is made again, and the GiB that the cache of it
        may take (`files.cache`).
    """

    suite: str | None = None
    pairs: tuple[str, ...] = ()
    mappings: tuple[str, ...] = ()
    submissions: tuple[Path, ...] = ()
    unsafe_no_sandbox: bool = False
    submission_seconds: Annotated[float, Field(ge=1)] = 300
    private: Path | None = None
    fresh_concepts: Annotated[int, Field(ge=2, le=200)] | None = None
    tasks: tuple[str, ...] = ()
    limit: AtLeastOne | None = None
    side_effects: tuple[str, ...] = ()
    side_effects_path: Path | None = None
    side_effects_limit: AtLeastOne | None = None
    side_effects_concepts: AtLeastOne | None = None
    source: str | None = None
    source_layer: Layer | None = None
    source_layers: Layers | None = None
    source_sae: str | None = None
    target: str | None = None
    target_layer: Layer | None = None
    judge_url: str | None = None
    judge_model: str | None = None
    classifier: Path | None = None
    corpus: str | None = None
    corpus_column: str | None = None
    data: Mapping[str, str] = Field(default_factory=dict)
    models: Mapping[str, str] = Field(default_factory=dict)
    weights: Mapping[str, Annotated[str, Field(min_length=1, max_length=120)]] = Field(default_factory=dict)
    out: Path = Path("results")
    device: str = "cpu"
    dtype: Literal["float32", "bfloat16", "float16", "auto"] = "float32"
    device_map: str | None = None
    trust_remote_code: bool = False
    bos: Literal["auto", "always", "never"] = "auto"
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 0
    batch_size: AtLeastOne = 64
    engine: Literal["local", "ray"] = "local"
    address: str | None = None
    workers: AtLeastOne | None = None
    worker_cpus: AtLeastOne | None = None
    worker_gpus: Bytes | None = None
    worker_memory: Bytes | None = None
    no_cache: bool = False
    cache_size: Bytes = CACHE_SIZE

    @model_validator(mode="before")
    @classmethod
    def _sites(cls, fields: Any) -> Any:
        """Take the layer out of ``MODEL:LAYER``."""
        return with_layers(fields) if isinstance(fields, Mapping) else fields

    @field_validator("device")
    @classmethod
    def _device(cls, device: str) -> str:
        return "cuda" if device == "gpu" else device

    @model_validator(mode="after")
    def _whole(self) -> RunConfig:
        """Refuse settings that make sense only beside others."""
        if len(self.model_dump_json()) > MOST_CONFIG:
            raise ValueError(f"settings of more than {MOST_CONFIG} characters: give fewer, or shorter ones")
        if bool(self.source) != bool(self.target):
            raise ValueError("an ad hoc pair wants both --source and --target")
        if self.source and self.pairs:
            raise ValueError("--pair names a pair of the suite: leave it out beside --source and --target")
        sites = (self.source_layer, self.source_layers, self.source_sae, self.target_layer)
        if not self.source and any(value is not None for value in sites):
            raise ValueError(
                "layers and a sparse autoencoder belong to an ad hoc pair: give --source and --target"
            )
        if self.source_layers is not None and self.source_layer is not None:
            raise ValueError("--source-layers takes the place of --source-layer: give one of the two")
        if self.source_layers is not None and self.source_sae is not None:
            raise ValueError("--source-sae reads one layer: give --source-layer, not --source-layers")
        of_lm_eval = (self.side_effects_path, self.side_effects_limit, self.side_effects_concepts)
        if not self.side_effects and any(value is not None for value in of_lm_eval):
            raise ValueError("--side-effects-path, -limit and -concepts want --side-effects TASK beside them")
        if bool(self.judge_url) != bool(self.judge_model):
            raise ValueError("a judge wants both --judge-url and --judge-model")
        if self.private and self.unsafe_no_sandbox:
            raise ValueError("--private shows private states to the cell alone: drop --unsafe-no-sandbox")
        for option, value in (("--private", self.private), ("--fresh-concepts", self.fresh_concepts)):
            if value and (self.tasks or self.limit):
                given = "--task" if self.tasks else "--limit"
                raise ValueError(f"{option} stands beside a score on all of the suite's tasks: drop {given}")
        return self

    def cache(self) -> CacheFolder | None:
        """Return the folder in which what rows share is kept; None for none."""
        return None if self.no_cache else chosen_folder(self.cache_size)

    def chosen_suite(self) -> Suite:
        """Return the suite, narrowed to the pairs that are scored, on the corpus that was given.

        Raises
        ------
        UserError
            Where there is no such suite or pair.
        """
        return narrowed(self.whole_suite(), pairs=self.pairs, corpus=self.corpus, column=self.corpus_column)

    def whole_suite(self) -> Suite:
        """Return the suite with all its pairs, or with the ad hoc pair alone."""
        suite = find_suite(self.suite or default_suite(self.source, self.target))
        if self.limit is not None:  # apart from whole results, and never taken for one
            suite = suite.model_copy(update={"name": f"{suite.name}-limit-{self.limit}"})
        return self.on_own_pair(suite) if self.source else suite

    def on_own_pair(self, suite: Suite) -> Suite:
        """Return the suite's protocol and tasks on the ad hoc pair."""
        assert self.source
        assert self.target
        layers = {"source_layer": self.source_layer, "target_layer": self.target_layer}
        counted = {name: layer if isinstance(layer, int) else None for name, layer in layers.items()}
        whole = ad_hoc(
            suite, self.source, counted["source_layer"], self.target, counted["target_layer"],
            self.source_layers, self.source_sae,
        )  # fmt: skip
        return whole.model_copy(update={"pairs": (whole.pairs[0].model_copy(update=layers),)})

    def recorded(self) -> dict[str, Any]:
        """Return the settings that a result records: those that are not defaults, JSON values all.

        Left out is what names a machine and decides no number: the output folder and the engine. Of a
        judge's address the host alone is kept. An absolute path is kept by its last part.
        """
        fields = json.loads(self.model_dump_json(exclude_defaults=True, exclude=set(LOCAL)))
        if "judge_url" in fields:
            fields["judge_url"] = urlsplit(fields["judge_url"]).hostname or ""
        return {name: _public(value) for name, value in fields.items()}


def with_layers(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Return settings in which ``source: MODEL:LAYER`` is a model and a layer, and ``target`` too.

    Raises
    ------
    UserError
        Where the layer is none, or another field gives another one.
    """
    made = dict(fields)
    for side in ("source", "target"):
        given = made.get(side)
        if not isinstance(given, str):
            continue
        try:
            model, layer = parse_site(given)
        except UserError as error:
            raise UserError(f"--{side} {error}") from error
        if layer is None:
            continue
        other = made.get(f"{side}_layer")
        if other not in (None, layer):
            raise UserError(f"--{side} {given}: --{side}-layer says {other}: give one of the two")
        made |= {side: model, f"{side}_layer": layer}
    return made


def checked(fields: Mapping[str, Any]) -> RunConfig:
    """Return the settings in `fields`.

    Raises
    ------
    UserError
        One line that names the option that is wrong.
    """
    try:
        return RunConfig.model_validate(dict(fields))
    except ValidationError as error:
        problem = error.errors()[0]
        if not problem["loc"]:
            raise UserError(_mend(problem)) from error
        value = f" {problem['input']}" if isinstance(problem["input"], str | int | float) else ""
        raise UserError(f"{option_of(str(problem['loc'][0]))}{value}: {_mend(problem)}") from error


def read_config(path: Path, options: Mapping[str, Any]) -> RunConfig:
    """Return the settings of a YAML file, overridden by the command line's options.

    Parameters
    ----------
    options
        Fields that the command line gives; each takes the place of the file's.

    Raises
    ------
    UserError
        One line that names the file and the field, or the option, that is wrong.
    """
    try:
        fields = read_yaml(path, _Fields).model_dump(exclude_unset=True)
    except UserError as error:
        raise UserError(f"--config {error}") from error
    return checked({**fields, **with_layers(options)})


def _mend(problem: Mapping[str, Any]) -> str:
    """Return what is to be given instead, from one of pydantic's problems."""
    if problem["type"] == "greater_than_equal":
        return f"give {problem['ctx']['ge']} or more"
    if problem["type"] == "literal_error":
        return f"give {problem['ctx']['expected']}".replace("'", "")
    return str(problem["msg"]).removeprefix("Value error, ")


class _Fields(RunConfig):
    """The fields of a file, each checked by itself: what goes together is known with the options."""

    def _whole(self) -> RunConfig:  # type: ignore[override]
        return self


def option_of(field: str) -> str:
    """Return the command-line option of a field."""
    return OPTION_OF.get(field, "--" + field.replace("_", "-"))


def _public(value: Any) -> Any:
    """Return a setting without the absolute paths in it."""
    if isinstance(value, str):
        return Path(value).name if value.startswith(("/", "~", "\\")) or value[1:3] == ":\\" else value
    if isinstance(value, list):
        return [_public(part) for part in value]
    if isinstance(value, dict):
        return {key: _public(part) for key, part in value.items()}
    return value
