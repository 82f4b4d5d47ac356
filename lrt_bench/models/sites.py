"""Where states are read: one layer of a model, several layers side by side, or features of a layer.

Several layers are many-to-one (paper, appendix A); features are feature-to-hidden (the paper's s2l,
section 3.2).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Tensor

from lrt_bench.errors import UserError
from lrt_bench.models.autoencoders.sae import SparseAutoencoder
from lrt_bench.models.base import LanguageModel


@dataclass(frozen=True)
class Site:
    """A model and a layer: the residual stream after that decoder block, one state per token."""

    model: LanguageModel
    layer: int

    def __post_init__(self) -> None:
        self.model.check_layer(self.layer)

    @property
    def width(self) -> int:
        """Size of a state."""
        return self.model.width

    def read(self, ids: Tensor) -> Tensor:
        """Return the site's states for token ids [b, t]: [b, t, width], float32."""
        return self.model.states(ids, [self.layer])[self.layer].float()

    @property
    def depth(self) -> float:
        """The layer's place in the model, 0 to 1."""
        return self.layer / self.model.n_layers


def stacked_layers(site: Site) -> tuple[int, ...] | None:
    """Return the layers of a site that has several."""
    return site.layers if isinstance(site, ManyLayers) else None


def identity(site: Site) -> list[str | int]:
    """Return what a site's states depend on besides the text."""
    features = [site.sae.digest] if isinstance(site, Features) else []
    return [site.model.digest, site.layer, *(stacked_layers(site) or ()), *features]


def computed_by(site: Site) -> list[str | int]:
    """Return what numbers that are computed from a site depend on, to the bit: a cache's key."""
    return [*identity(site), str(site.model.dtype), _device(site.model)]


def _device(model: LanguageModel) -> str:
    """Return the name of a model's device; two GPUs of one kind compute alike."""
    if model.device.type != "cuda":
        return model.device.type
    return torch.cuda.get_device_name(model.device)


@dataclass(frozen=True)
class Features(Site):
    """Coefficients of a sparse autoencoder in the place of states (paper, section 3.2).

    Any mapping can be fitted on them. The moments of n features and d target dimensions take
    8 (n^2 + n d + d^2) bytes, and updating or solving them that much again twice over: with n = 16384 of
    Gemma Scope and d = 3584, 2.7 GiB, so that a closed-form fit wants a machine of 16 GiB beside the models,
    and minutes for the eigendecomposition. A bounded sample takes 4 n bytes a token, on disk.
    """

    sae: SparseAutoencoder = field(kw_only=True)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.sae.d != self.model.width:
            raise UserError(
                f"{self.sae.name}: reads states of {self.sae.d} dimensions, but {self.model.name} is "
                f"{self.model.width} wide: give the sparse autoencoder of this model"
            )
        object.__setattr__(self, "sae", self.sae.to(self.model.device))

    @property
    def width(self) -> int:
        """Number of features."""
        return self.sae.width

    def read(self, ids: Tensor) -> Tensor:
        """Coefficients [b, t, n] of token ids [b, t], float32."""
        return self.sae.encode(super().read(ids))


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
        """Size of the layers' states together."""
        return len(self.layers) * self.model.width

    def columns(self, layer: int) -> slice:
        """Where one layer's states lie in a state of all."""
        place = self.layers.index(layer)
        return slice(place * self.model.width, (place + 1) * self.model.width)

    def read(self, ids: Tensor) -> Tensor:
        """Return the layers' states side by side for token ids [b, t]: [b, t, width], float32."""
        states = self.model.states(ids, self.layers)
        device = states[self.layer].device
        return torch.cat([states[layer].float().to(device) for layer in self.layers], -1)


def many_layers(model: LanguageModel, layers: Sequence[int] | Literal["all"]) -> ManyLayers:
    """Return the site of all or some layers of a model.

    Raises UserError at a wrong or repeated layer.
    """
    chosen = tuple(range(1, model.n_layers + 1)) if layers == "all" else tuple(sorted(layers))
    if not chosen:
        raise UserError(f"layers of {model.name}: none given; give some of 1 to {model.n_layers}, or all")
    if len(set(chosen)) < len(chosen):
        raise UserError(f"layers {','.join(map(str, chosen))} of {model.name}: one stands twice; drop it")
    return ManyLayers(model, chosen[-1], chosen)
