"""The result's schema (version 1), reading and writing.

One result is one mapping on one pair in one suite. It lies in ``OUT/SUITE/PAIR/MAPPING.json``; beside it
``MAPPING.safetensors`` holds every propensity. Both are written whole: a temporary file, then a rename;
the JSON comes last, so that what can be read is finished.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field, ValidationError, model_validator

from lrt_bench.errors import UserError
from lrt_bench.files.schema import first_problem
from lrt_bench.files.whole import read_bounded, write_whole
from lrt_bench.results.behaviour import BehaviourRecord
from lrt_bench.results.records import (
    CONTROL_NAMES,
    AuditRecord,
    Correlation,
    Cost,
    FidelityFigures,
    GenerationFigures,
    LmEvalFigures,
    MappingRecord,
    Name,
    PairRecord,
    Provenance,
    Record,
    RefusalFigures,
    Settings,
    Share,
    SideEffectFigures,
    TaskFigures,
)

if TYPE_CHECKING:
    import torch


class Result(Record):
    """One mapping on one pair in one suite."""

    schema_version: Literal[1] = 1
    key: str
    suite: Name
    suite_version: int
    suite_digest: str
    complete: bool
    pair: PairRecord
    mapping: MappingRecord
    settings: Settings
    transfer_score: Share
    ci95: tuple[float, float] | None
    steering_r2: Share
    correlation_delta: Correlation
    not_steerable: tuple[str, ...]
    not_scorable: tuple[str, ...]  # no prompt's options can be told apart in the target's tokenizer
    tasks: tuple[TaskFigures, ...]
    generation: tuple[GenerationFigures, ...]
    side_effects: tuple[SideEffectFigures, ...]
    lm_eval: tuple[LmEvalFigures, ...] = ()
    refusal: tuple[RefusalFigures, ...] = ()
    fidelity: FidelityFigures | None
    behaviour: BehaviourRecord | None = None
    cost: Cost
    provenance: Provenance
    audit: AuditRecord | None = None
    state: Literal["computed", "claimed"] = "computed"  # claimed: by whoever submits, until it is verified
    propensities: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]

    @model_validator(mode="after")
    def _one_shape(self) -> Result:
        names = [figures.task for figures in self.tasks]
        if len(set(names)) < len(names):
            raise ValueError("tasks: one stands twice")
        if self.mapping.control != (self.mapping.name in CONTROL_NAMES):
            raise ValueError(f"mapping.name: {', '.join(CONTROL_NAMES)} are the controls, and only they")
        if len({len(figures.error) for figures in self.tasks}) > 1:
            raise ValueError("tasks: error: want equally many fits for every task")
        return self

    @property
    def fvu(self) -> float | None:
        return self.fidelity.fvu if self.fidelity else None


def pack_propensities(arrays: dict[str, torch.Tensor]) -> tuple[bytes, str]:
    """The sidecar's bytes and their hash: {task: [seeds, prompts, alphas]}, float32."""
    from safetensors.torch import save

    data: bytes = save({name: value.float().contiguous() for name, value in sorted(arrays.items())})
    return data, hashlib.sha256(data).hexdigest()


def write_result(path: Path, result: Result, propensities: bytes) -> None:
    """Write the propensities, then the record that vouches for them."""
    write_whole(path.with_suffix(".safetensors"), propensities)
    write_whole(path, (result.model_dump_json(indent=1) + "\n").encode())


def result_files(folder: Path) -> Iterator[Path]:
    """What may be a result under a folder, in order: *.json, but not what is hidden, nor the record of
    `sweep-layers` or of `decoder-relation`."""
    for path in sorted(folder.rglob("*.json")):
        hidden = any(part.startswith(".") for part in path.relative_to(folder).parts)
        of_layers = path.name == "layers.json" and path.parent.parent.name == "layers"
        of_decoders = path.name == "relation.json" and path.with_suffix(".svg").exists()
        if not (hidden or of_layers or of_decoders):
            yield path


def read_result(path: Path) -> Result:
    """Read and check a result file. Raises UserError naming the file and the field."""
    mend = "delete it and run again"
    try:
        content = read_bounded(path)
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror}") from error
    try:
        return Result.model_validate_json(content)
    except ValidationError as error:
        if error.errors()[0]["type"] == "json_invalid":
            raise UserError(f"{path}: not a whole JSON file ({first_problem(error)}): {mend}") from error
        raise UserError(f"{path}: {first_problem(error)}: not a schema v1 result; {mend}") from error


def read_propensities(path: Path, result: Result) -> dict[str, torch.Tensor] | None:
    """The sidecar of a result file, or None where it is missing or not the one the result vouches for."""
    from safetensors.torch import load

    sidecar = path.with_suffix(".safetensors")
    if not sidecar.is_file():
        return None
    data = read_bounded(sidecar)
    return load(data) if hashlib.sha256(data).hexdigest() == result.propensities else None


def json_schema() -> str:
    """The JSON Schema of a result file."""
    return json.dumps(Result.model_json_schema(), indent=1) + "\n"
