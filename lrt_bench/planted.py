"""Known-answer models: any model in another basis, its function untouched.

A planted model is its base model conjugated by an isometry Q (an orthogonal d x d matrix, or an embedding
of d dimensions in a wider stream): it embeds to Q h, a block maps h' to h' + Q (B(Q^T h') - Q^T h'), the
head reads Q^T h'. Its residual stream is exactly h' = Q h, so the true map from the base is linear and
known: affine, ridge and orthogonal must score 100. Conjugation needs no knowledge of the architecture:
norm gains, post-norms, biases and LayerNorm's mean all stay in the base's own basis.
"""

from __future__ import annotations

import hashlib
from typing import Any

import torch
from torch import Tensor

from lrt_bench.errors import UserError
from lrt_bench.models import Frame, LanguageModel

KINDS = ("rotation", "widening")
WIDENING = 1.5  # the wide stream has this many times the base's dimensions
SEED = 20250601


class PlantedModel(LanguageModel):
    """`base` seen through `basis` Q [wide, narrow], whose columns are orthonormal."""

    def __init__(self, base: LanguageModel, basis: Tensor, name: str) -> None:
        self.base = base
        self.basis = basis.to(base.device, torch.float32)
        self.name = name
        digest = hashlib.sha256(f"{name} {base.digest}".encode())
        digest.update(self.basis.cpu().numpy().tobytes())
        self.digest = digest.hexdigest()
        self.tokenizer = base.tokenizer
        self.n_layers = base.n_layers
        self.width = len(basis)
        self.parameters = base.parameters
        self.context = base.context
        self.device, self.dtype = base.device, torch.float32
        self.head = base.head

    def _out(self, states: Tensor) -> Tensor:
        return states.float() @ self.basis.T

    def _in(self, states: Tensor) -> Tensor:
        return states.float() @ self.basis

    def frame(self, length: int, offset: int = 0) -> Frame:
        return self.base.frame(length, offset)

    def embed(self, ids: Tensor, offset: int = 0) -> Tensor:
        return self._out(self.base.embed(ids, offset))

    def block(self, index: int, states: Tensor, frame: Frame, cache: Any = None) -> Tensor:
        inner = self._in(states)
        return states + self._out(self.base.block(index, inner, frame, cache) - inner)

    def last_block(self, states: Tensor, frame: Frame, last: Tensor) -> Tensor:
        inner = self._in(states)
        rows = torch.arange(len(states), device=states.device)
        change = self.base.last_block(inner, frame, last) - inner[rows, last]
        return states[rows, last] + self._out(change)

    def new_cache(self) -> Any:
        return self.base.new_cache()

    def unembedding(self, tokens: Tensor) -> Tensor | None:
        rows = self.base.unembedding(tokens)
        return None if rows is None else rows @ self.basis.T.cpu()

    def finish(self, states: Tensor) -> Tensor:
        return self.base.finish(self._in(states))


def plant(kind: str, base: LanguageModel) -> PlantedModel:
    """The base in a random orthogonal basis (`rotation`) or in a wider stream (`widening`)."""
    if kind not in KINDS:
        raise UserError(f"planted-{kind}: no such planted model; give planted-{' or planted-'.join(KINDS)}")
    width = base.width if kind == "rotation" else round(base.width * WIDENING)
    generator = torch.Generator().manual_seed(SEED)
    noise = torch.randn(width, base.width, generator=generator, dtype=torch.float64)
    basis, triangle = torch.linalg.qr(noise)
    basis = basis * triangle.diagonal().sign()  # Haar measure: QR alone is not uniform
    return PlantedModel(base, basis.float(), f"planted-{kind}:{base.name}")
