"""What lm-eval's model `steered` reads (lm-eval 0.4.13, models/hf_steered.py), written only.

``{"layers.K": {"steering_vector", "steering_coefficient", "action", "bias", "head_index"}}``, the names
being those of modules below the base model, blocks counted from 0. lm-eval adds coefficient x vector at every
token.
It loads the file as a pickle that may run code; what is written here are tensors and plain values alone.
"""

from __future__ import annotations

import io

import torch

from lrt_bench.vectors.formats.errors import FormatError
from lrt_bench.vectors.vector import SteeringVector


def encode(vector: SteeringVector) -> bytes:
    """Return the file's bytes.

    Raises FormatError where the model's blocks have no known name.
    """
    if vector.model.blocks is None:
        raise FormatError(
            "lm-eval wants the names of the model's blocks, which the vector does not know: transfer to a "
            "model that transformers loads, or write safetensors"
        )
    hooks = {
        f"{vector.model.blocks}.{layer - 1}": {
            "steering_vector": direction,
            "steering_coefficient": 1.0,
            "action": "add",
            "bias": None,
            "head_index": None,
        }
        for layer, direction in vector.layers.items()
    }
    stream = io.BytesIO()
    torch.save(hooks, stream)
    return stream.getvalue()
