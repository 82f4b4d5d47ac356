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
from lrt_bench.results.bounds import R2, Correlation, Count, Name, TransferScore
from lrt_bench.results.consistency import contradiction
from lrt_bench.results.metrics import Array
from lrt_bench.results.records import (
    CONTROL_NAMES,
    AuditRecord,
    Cost,
    FidelityScores,
    GenerationScores,
    LmEvalScores,
    MappingRecord,
    PairRecord,
    Provenance,
    Record,
    RefusalScores,
    Settings,
    SideEffectScores,
    TaskRecord,
    TaskScores,
)

if TYPE_CHECKING:
    import torch


class ResultSummary(Record):
    """One mapping on one pair in one suite, without the arrays of prompts: what tables and pages read."""

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
    cost: Cost
    provenance: Provenance
    audit: AuditRecord | None = None
    state: Literal["computed", "claimed"] = "computed"  # claimed: by whoever submits, until it is verified
    propensities: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]

    @property
    def fvu(self) -> float | None:
        """Fraction of the target states' variance unexplained; None for a row that maps no states."""
        return self.fidelity.fvu if self.fidelity else None


class Result(ResultSummary):
    """One mapping on one pair in one suite, whole: the record of a result file."""

    tasks: tuple[TaskRecord, ...]

    @model_validator(mode="after")
    def _one_shape(self) -> Result:
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
        if self.ci95 is not None and self.ci95[0] > self.ci95[1]:
            raise ValueError("ci95: its lower end lies above its upper end")
        return self

    @property
    def summary(self) -> ResultSummary:
        """The same without the arrays of prompts, a tenth of its size."""
        kept = {name: getattr(self, name) for name in ResultSummary.model_fields if name != "tasks"}
        tasks = tuple(task.scores for task in self.tasks)
        return ResultSummary.model_construct(_fields_set=set(), tasks=tasks, **kept)


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
    """Read and check a result file.

    Raises
    ------
    UserError
        Names the file and the field: what is no JSON, no record of the schema, beyond its bounds, or a
        headline number that the result's own arrays contradict.
    """
    return read_with_arrays(path)[0]


def read_with_arrays(path: Path) -> tuple[Result, dict[str, Array]]:
    """Read a result as `read_result` does, with the arrays of its steerable tasks, [fits + 3, prompts]."""
    mend = "delete it and run again"
    try:
        content = read_bounded(path)
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror}") from error
    try:
        result = Result.model_validate_json(content)
    except ValidationError as error:
        if error.errors()[0]["type"] == "json_invalid":
            raise UserError(f"{path}: not a whole JSON file ({first_problem(error)}): {mend}") from error
        raise UserError(f"{path}: {first_problem(error)}: not a schema v1 result; {mend}") from error
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path}: not readable as JSON ({error}): {mend}") from error
    arrays = {task.task: task.error_rows for task in result.tasks if task.steerable}
    if problem := contradiction(result, arrays):
        raise UserError(f"{path}: {problem}; {mend}")
    return result, arrays


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
