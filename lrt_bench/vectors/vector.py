"""A steering vector as a record: one direction a layer, whose model it is, and the unit of its strength."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from lrt_bench.errors import UserError
from lrt_bench.models.base import LanguageModel
from lrt_bench.models.decoders.transformers_model import TransformersModel
from lrt_bench.steering.concepts import ConceptStates

MAX_WIDTH = 1 << 20  # of a vector that is read from a file
MAX_LAYERS = 4096
MAX_ROUNDING = 1e-2  # share of a direction's length that float32 may take from it; it does below 1e-43


@dataclass(frozen=True)
class ModelHint:
    """What other tools' files want to know of a model.

    name, digest : as `LanguageModel` has them.
    model_type : transformers' name of the architecture ("llama").
    blocks : where its list of decoder blocks lies below its base model ("layers", "h").
    """

    name: str | None = None
    digest: str | None = None
    model_type: str | None = None
    blocks: str | None = None

    @classmethod
    def of(cls, model: LanguageModel) -> ModelHint:
        """Return the hint of a loaded model; a planted one has no module, and so no place of blocks."""
        if not isinstance(model, TransformersModel):
            return cls(model.name, model.digest)
        owners = {id(module): name for name, module in model.module.base_model.named_modules()}
        owner = owners.get(id(model.owner))
        blocks = None if owner is None else f"{owner}.{model.attribute}".lstrip(".")
        return cls(model.name, model.digest, model.module.config.model_type, blocks)


@dataclass(frozen=True, eq=False)
class SteeringVector:
    """Directions of the residual stream, to be added at every token: h' = h + c v (paper, section 3).

    Attributes
    ----------
    layers : {layer: v [d]}, float32; layers count blocks from 1, as a `Site` does.
    model : the model that it steers.
    concept : what it steers towards.
    spread : {layer: the unit of alpha there} (`moments.spread`), where it is known: a length in the
        residual stream. Alpha a stands for h' = h + a * spread * v / ||v||.
    provenance : how it was made; plain JSON.
    states : of the contrastive prompts that it was made from, which maps that are not linear carry over; no
        file holds them.

    Raises
    ------
    UserError
        Where a layer is no row of finite numbers that float32 holds, or is zero, or where widths differ.
    """

    layers: Mapping[int, Tensor]
    model: ModelHint = ModelHint()
    concept: str | None = None
    spread: Mapping[int, float] = field(default_factory=dict)
    provenance: Mapping[str, Any] = field(default_factory=dict)
    states: ConceptStates | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        if not 1 <= len(self.layers) <= MAX_LAYERS:
            raise UserError(f"a steering vector has {len(self.layers)} layers: give 1 to {MAX_LAYERS}")
        checked = {layer: _checked(layer, v) for layer, v in sorted(self.layers.items())}
        if len({len(v) for v in checked.values()}) > 1:
            raise UserError("a steering vector has layers of different widths: one model has one width")
        object.__setattr__(self, "layers", checked)

    @property
    def width(self) -> int:
        """Number of dimensions d of its directions."""
        return len(next(iter(self.layers.values())))

    def layer(self, wanted: int | None = None) -> int:
        """Return the layer that is meant: `wanted`, or the only one.

        Raises UserError where it is missing.
        """
        own = ", ".join(map(str, self.layers))
        if wanted is None and len(self.layers) > 1:
            raise UserError(f"the vector has layers {own}: say which one")
        if wanted is None:
            return next(iter(self.layers))
        if wanted not in self.layers:
            raise UserError(f"the vector has no layer {wanted}: it has {own}")
        return wanted

    def at(self, wanted: int | None = None) -> Tensor:
        """Return the direction [d] at a layer, or at the only one.

        Raises UserError where it is missing.
        """
        return self.layers[self.layer(wanted)]

    def norm(self, wanted: int | None = None) -> float:
        """||v|| at a layer, or at the only one; in float64, which no square of a float32 overflows."""
        return float(self.at(wanted).double().norm())

    def coefficient(self, alpha: float, layer: int | None = None) -> float:
        """Return c of h' = h + c v for a strength in spreads: alpha * spread / ||v||."""
        layer = self.layer(layer)
        if layer not in self.spread:
            raise UserError(f"the vector does not say the spread at layer {layer}: alpha has no unit there")
        return alpha * self.spread[layer] / self.norm(layer)

    def of_length(self, alpha: float) -> SteeringVector:
        """Return the same directions, each `alpha` spreads long.

        Raises UserError for a length of zero.
        """
        if not math.isfinite(alpha) or alpha == 0:
            raise UserError(f"a steering vector {alpha:g} spreads long steers nothing: give another length")
        layers = {k: v.double() * self.coefficient(alpha, k) for k, v in self.layers.items()}
        return replace(self, layers=layers)

    def only(self, layers: Sequence[int]) -> SteeringVector:
        """Return the vector at some of its layers."""
        kept = {self.layer(layer): self.at(layer) for layer in layers}
        return replace(self, layers=kept, spread={k: s for k, s in self.spread.items() if k in kept})


def _checked(layer: int, vector: Tensor) -> Tensor:
    """Return a direction as float32 on the processor, its own copy.

    Raises UserError.
    """
    if type(layer) is not int or not 1 <= layer <= MAX_LAYERS:
        raise UserError(f"a steering vector's layer {layer!r}: layers count from 1 to {MAX_LAYERS}")
    if vector.ndim != 1 or not 1 <= vector.numel() <= MAX_WIDTH or not vector.is_floating_point():
        shape, dtype = tuple(vector.shape), vector.dtype
        raise UserError(f"layer {layer} of a steering vector is {shape} {dtype}: want one row of floats")
    row = vector.detach().to("cpu", torch.float32, copy=True).contiguous()
    if not bool(torch.isfinite(row).all()):
        if bool(torch.isfinite(vector).all()):
            raise UserError(f"layer {layer} of a steering vector is too long: beyond float32, above 3.4e38")
        raise UserError(f"layer {layer} of a steering vector holds NaN or infinity")
    exact = vector.detach().to("cpu", torch.float64)
    if not bool((exact != 0).any()):
        raise UserError(f"layer {layer} of a steering vector is zero: it has no direction")
    largest = exact.abs().max()
    if float(((row.double() - exact) / largest).norm()) > MAX_ROUNDING * float((exact / largest).norm()):
        raise UserError(f"layer {layer} of a steering vector is too short: float32 keeps no direction of it")
    return row
