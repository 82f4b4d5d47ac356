"""Results in files: reading, checking and writing.

One result is one mapping on one pair in one suite. It lies in ``OUT/SUITE/PAIR/MAPPING.json``; beside it
``MAPPING.safetensors`` holds every propensity. Both are written whole: a temporary file, then a rename;
the JSON comes last, so that what can be read is finished.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import ValidationError

from lrt_bench.errors import UserError
from lrt_bench.files.schema import first_problem, record_of_json
from lrt_bench.files.whole import read_bounded, write_whole
from lrt_bench.results.metrics import Array
from lrt_bench.results.schema.consistency import contradiction
from lrt_bench.results.schema.result import Result as Result

if TYPE_CHECKING:
    import torch


def pack_propensities(arrays: dict[str, torch.Tensor]) -> tuple[bytes, str]:
    """Return the sidecar's bytes and their hash: {task: [seeds, prompts, alphas]}, float32."""
    from safetensors.torch import save

    data: bytes = save({name: value.float().contiguous() for name, value in sorted(arrays.items())})
    return data, hashlib.sha256(data).hexdigest()


def write_result(path: Path, result: Result, propensities: bytes) -> None:
    """Write the propensities, then the record that vouches for them."""
    write_whole(path.with_suffix(".safetensors"), propensities)
    write_whole(path, (result.model_dump_json(indent=1) + "\n").encode())


def result_files(folder: Path) -> Iterator[Path]:
    """Yield what may be a result under a folder, in order: *.json that is not hidden.

    The records of `sweep-layers` and of `decoder-relation` are none.
    """
    for path in sorted(folder.rglob("*.json")):
        hidden = any(part.startswith(".") for part in path.relative_to(folder).parts)
        of_layers = path.name == "layers.json" and path.parent.parent.name == "layers"
        of_decoders = path.name == "relation.json" and path.with_suffix(".svg").exists()
        if not (hidden or of_layers or of_decoders):
            yield path


MEND = "delete it and run again"


def read_record(path: Path) -> Result:
    """Read a result file and check it against the schema, but not against its own arrays.

    Raises
    ------
    UserError
        Names the file and the field: what is no JSON, no record of the schema, or beyond its bounds.
    """
    try:
        content = read_bounded(path)
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror}") from error
    try:
        return record_of_json(content, Result, path)
    except UserError as error:
        reason = str(error).replace(": not JSON", ": not a whole JSON file", 1)
        raise UserError(f"{reason}: {MEND}") from error
    except ValidationError as error:
        raise UserError(f"{path}: {first_problem(error)}: not a schema v1 result; {MEND}") from error
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path}: not readable as JSON ({error}): {MEND}") from error


def read_result(path: Path) -> Result:
    """Read and check a result file.

    Raises
    ------
    UserError
        As `read_record`, and where a headline number does not follow from the result's own arrays.
    """
    return read_with_arrays(path)[0]


def read_with_arrays(path: Path) -> tuple[Result, dict[str, Array]]:
    """Read a result as `read_result` does, with the arrays of its steerable tasks, [fits + 3, prompts]."""
    result = read_record(path)
    arrays = {task.task: task.error_rows for task in result.tasks if task.steerable}
    if problem := contradiction(result, arrays):
        raise UserError(f"{path}: {problem}; {MEND}")
    return result, arrays


def read_propensities(path: Path, result: Result) -> dict[str, torch.Tensor] | None:
    """Return a result's propensities, or None where they are missing or not those that it vouches for.

    Raises
    ------
    UserError
        Where the file is the one that the result vouches for, and no safetensors.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load

    sidecar = path.with_suffix(".safetensors")
    if not sidecar.is_file():
        return None
    data = read_bounded(sidecar)
    if hashlib.sha256(data).hexdigest() != result.propensities:
        return None
    try:
        return load(data)
    except (SafetensorError, KeyError, ValueError) as error:
        raise UserError(f"{sidecar}: not a safetensors file ({error}): delete it and run again") from error
