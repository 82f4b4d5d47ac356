"""Our own format: safetensors, one tensor a layer, the rest in the header's metadata.

Tensors ``layer.K``, [d] float32: the direction at the residual stream after K decoder blocks, K from 1.
Metadata (strings, as safetensors has them):

- ``format``: ``lrt-bench steering vector v1``.
- ``vector``: a JSON object with any of
  ``model`` {``name``, ``digest``, ``model_type``, ``blocks``} (`vectors.ModelHint`),
  ``concept`` (a name),
  ``spread`` {"K": length}: the unit of alpha at layer K, a length in that residual stream: steer with
  h' = h + alpha * spread * v / ||v||; useful |alpha| is at most about 1/2,
  ``provenance`` (free JSON: how it was made).

A file that holds the tensors alone is read too, under the names that other tools give them, [d] or [1, d];
other tensors beside them are passed over (`rows.py`).
"""

from __future__ import annotations

import json
import math
from dataclasses import asdict
from typing import Any

from lrt_bench.errors import UserError
from lrt_bench.files.parse import parse_json
from lrt_bench.files.tensors import TensorError, read_chosen_tensors, read_metadata
from lrt_bench.vectors.formats.errors import FormatError
from lrt_bench.vectors.formats.rows import ASSUMED, COUNTED, layer_number, numbered_rows, steering_vector
from lrt_bench.vectors.vector import ModelHint, SteeringVector

FORMAT = "lrt-bench steering vector v1"
FRAMEWORKS = ("pt", "tf", "np", "flax", "mlx")  # what libraries write as the format of any file


def encode(vector: SteeringVector) -> bytes:
    """Return the file's bytes."""
    from safetensors.torch import save

    about = {
        "model": {key: value for key, value in asdict(vector.model).items() if value is not None},
        "concept": vector.concept,
        "spread": {str(layer): spread for layer, spread in vector.spread.items()},
        "provenance": dict(vector.provenance),
    }
    kept = {key: value for key, value in about.items() if value}
    tensors = {f"layer.{layer}": v for layer, v in vector.layers.items()}
    data: bytes = save(tensors, metadata={"format": FORMAT, "vector": json.dumps(kept, sort_keys=True)})
    return data


def decode(data: bytes, layer: int | None) -> SteeringVector:
    """Return the vector in a file.

    Raises FormatError.
    """
    try:
        metadata = read_metadata(data)
        tensors = read_chosen_tensors(data, lambda name: layer_number(name) is not None)
    except TensorError as error:
        raise FormatError(str(error)) from error
    if metadata.get("format", FORMAT) not in (FORMAT, *FRAMEWORKS):
        raise FormatError(f"metadata format {metadata['format'][:60]!r}: want {FORMAT!r}")
    described = _described(metadata.get("vector", "{}"))
    if metadata.get("format") != FORMAT:
        described["provenance"] = described["provenance"] | {ASSUMED: COUNTED}
    return steering_vector(numbered_rows(tensors, layer), layer, **described)


def _described(text: str) -> dict[str, Any]:
    """Return the fields of `SteeringVector` that the metadata give."""
    try:
        about = parse_json(text, "metadata vector")
        hint = {key: _text(value) for key, value in about.get("model", {}).items()}
        spread = {int(layer): float(value) for layer, value in about.get("spread", {}).items()}
        provenance = dict(about.get("provenance", {}))
        known = ("name", "digest", "model_type", "blocks")
        model = ModelHint(**{key: value for key, value in hint.items() if key in known})
        concept = None if about.get("concept") is None else _text(about["concept"])
    except (UserError, ValueError, TypeError, AttributeError, OverflowError) as error:
        raise FormatError("metadata vector: not the JSON object that this format has") from error
    if not all(math.isfinite(value) and value > 0 for value in spread.values()):
        raise FormatError("metadata vector: spread: want a positive length a layer")
    return {"model": model, "concept": concept, "spread": spread, "provenance": provenance}


def _text(value: object) -> str:
    if not isinstance(value, str) or len(value) > 1000 or not value.isprintable():
        raise TypeError("not a short line of text")
    return value
