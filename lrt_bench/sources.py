"""Source sites that are more than one layer's states: many-to-one (paper, appendix A)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from lrt_bench.errors import UserError
from lrt_bench.models import LanguageModel, Site


@dataclass(frozen=True)
class ManyLayers(Site):
    """Several layers of a model side by side: a linear map of them is sum_i A_i h_i + b (appendix A).

    `layer` is the highest of `layers`; a state is the layers' states in their order, [len(layers) x d].
    """

    layers: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        for layer in self.layers:
            self.model.check_layer(layer)
        if not self.layers or list(self.layers) != sorted(set(self.layers)) or self.layer != self.layers[-1]:
            raise ValueError(f"layers {self.layers}: want different ones, ascending, the last {self.layer}")

    @property
    def width(self) -> int:
        return len(self.layers) * self.model.width

    def columns(self, layer: int) -> slice:
        """Where one layer's states lie in a state of all."""
        place = self.layers.index(layer)
        return slice(place * self.model.width, (place + 1) * self.model.width)

    def read(self, ids: Tensor) -> Tensor:
        """The layers' states side by side for token ids [b, t]: [b, t, width], float32."""
        states = self.model.states(ids, self.layers)
        device = states[self.layer].device
        return torch.cat([states[layer].float().to(device) for layer in self.layers], -1)


def many_layers(model: LanguageModel, layers: Sequence[int] | Literal["all"]) -> ManyLayers:
    """The site of all or some layers of a model. Raises UserError where one is missing or stands twice."""
    chosen = tuple(range(1, model.n_layers + 1)) if layers == "all" else tuple(sorted(layers))
    if not chosen:
        raise UserError(f"layers of {model.name}: none given; give some of 1 to {model.n_layers}, or all")
    if len(set(chosen)) < len(chosen):
        raise UserError(f"layers {','.join(map(str, chosen))} of {model.name}: one stands twice; drop it")
    return ManyLayers(model, chosen[-1], chosen)
