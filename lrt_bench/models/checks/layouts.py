"""Where a transformers model keeps its decoder blocks, and how its final states become logits."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from torch import nn

from lrt_bench.errors import UserError
from lrt_bench.models.base import Head

# fields of configurations that hold tokens of attention windows and chunks
WINDOW = re.compile(r"(?!max_|use_|num_)\w*window\w*|attention_chunk_size|local_attention\w*")


@dataclass(frozen=True)
class Layout:
    """One way to enter a model.

    Attributes
    ----------
    owner, attribute : the module that owns the list of decoder blocks, and the list's name there.
    tupled : whether the owner reads `block(...)[0]`.
    grown : whether what a block is handed is made as large as the batch (XGLM's masks, Bloom's ALiBi).
    """

    owner: Any
    attribute: str
    tupled: bool
    grown: bool


def layouts(module: Any, count: int) -> Iterator[Layout]:
    """Every way to enter a model that is told to have `count` decoder blocks, the likeliest first.

    The decoder owns its token embedding: that tells a wrapper's text model from its vision tower, whose
    blocks may be as many.
    """
    embedding = module.get_input_embeddings()
    near: list[tuple[Any, str]] = []  # the decoder with as many blocks as are declared
    owning: list[tuple[Any, str]] = []  # the decoder
    others: list[tuple[Any, str]] = []  # modules with as many blocks
    for owner in module.modules():
        for attribute, child in owner.named_children():
            if not isinstance(child, nn.ModuleList) or not len(child) or attribute == "experts":
                continue
            if any(part is embedding for part in owner.children()):
                (near if len(child) == count else owning).append((owner, attribute))
            elif len(child) == count:
                others.append((owner, attribute))
    for grown in (False, True):
        for owner, attribute in (*near, *others, *owning):
            for tupled in (False, True):
                yield Layout(owner, attribute, tupled, grown)


def cache_name(block: Any) -> str:
    """Return the parameter by which this architecture's blocks take their KV cache."""
    names = inspect.signature(block.forward).parameters
    return next((name for name in ("layer_past", "past_key_value") if name in names), "past_key_values")


def head_of(module: Any, config: Any, name: str) -> Head:
    """Return the model's head.

    Raises UserError where there is none that maps states to the vocabulary.
    """
    output = module.get_output_embeddings()
    if not isinstance(getattr(output, "weight", None), nn.Parameter) or output.weight.ndim != 2:
        raise UserError(
            f"{name}: architecture {type(module).__name__} is not supported: it has no linear head"
        )
    scale = float(getattr(config, "logit_scale", None) or 1.0)
    scale *= float(getattr(config, "lm_head_multiplier", None) or 1.0)
    scale /= float(getattr(config, "logits_scaling", None) or 1.0)
    softcap = getattr(config, "final_logit_softcapping", None)
    return Head(output.weight.detach(), getattr(output, "bias", None), scale, softcap)


def windows(config: Any) -> set[int]:
    """Return the attention windows and chunks that the configuration declares, in tokens."""
    sizes: set[int] = set()
    for name, value in vars(config).items():
        if WINDOW.fullmatch(name):
            sizes |= {
                size for size in (value if isinstance(value, list | tuple) else [value]) if _counts(size)
            }
    return sizes


def _counts(size: Any) -> bool:
    return isinstance(size, int) and not isinstance(size, bool) and size > 0
