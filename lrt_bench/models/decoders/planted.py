"""Known-answer models: any model in another basis, its function untouched.

A planted model is its base model conjugated by an isometry Q (an orthogonal d x d matrix, or an embedding
of d dimensions in a wider stream): it embeds to Q h, a block maps h' to h' + Q (B(Q^T h') - Q^T h'), the
head reads Q^T h'. Its residual stream is exactly h' = Q h, so the true map from the base is linear and
known: affine, ridge and orthogonal must score 100. Conjugation needs no knowledge of the architecture:
norm gains, post-norms, biases and LayerNorm's mean all stay in the base's own basis.

A retokenized model is a rotation that reads through a second tokenizer: the ids are permuted, and the rarest
merges are undone, so that some words fall into more tokens. Its states are those of the base wherever both
cut the text alike, and tokens are paired by the characters on which they end.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from lrt_bench.errors import UserError
from lrt_bench.models.base import Frame, LanguageModel, take
from lrt_bench.models.blocks.llama_offsets import Shifted

KINDS = ("rotation", "widening", "retokenized")
RARE_MERGES = 0.05  # of a retokenized model's merges: the last, and so the rarest, are undone
WIDENING = 1.5  # the wide stream has this many times the base's dimensions
SEED = 20250601


def planted_width(kind: str, width: int) -> int:
    """Return the width of a planted model's stream, from its base's."""
    return round(width * WIDENING) if kind == "widening" else width


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
        self.head, self.ends, self.one_length = base.head, base.ends, base.one_length
        self.tree_agreement = {}

    @property
    def cache_reach(self) -> int:
        """Longest row for which its base decodes exactly with a KV cache."""
        return self.base.cache_reach

    def _out(self, states: Tensor) -> Tensor:
        return states.float() @ self.basis.T

    def _in(self, states: Tensor) -> Tensor:
        return states.float() @ self.basis

    def frame(self, length: int, offset: int = 0) -> Frame:
        """Return the base's frame."""
        return self.base.frame(length, offset)

    def embed(self, ids: Tensor, offset: int = 0) -> Tensor:
        """Embed token ids [b, t] as the base does, in the basis: [b, t, d]."""
        return self._out(self.base.embed(ids, offset))

    def block(self, index: int, states: Tensor, frame: Frame, cache: Any = None) -> Tensor:
        """Run the base's block on the states' part in the basis, and add what it adds."""
        inner = self._in(states)
        return states + self._out(self.base.block(index, inner, frame, cache) - inner)

    def tracked_block(self, index: int, states: Tensor, frame: Frame) -> Tensor:
        """`block`, through which gradients flow."""
        inner = self._in(states)
        return states + self._out(self.base.tracked_block(index, inner, frame) - inner)

    def tracked_finish(self, states: Tensor) -> Tensor:
        """`finish`, through which gradients flow."""
        return self.base.tracked_finish(self._in(states))

    def last_block(self, states: Tensor, frame: Frame, positions: Tensor) -> Tensor:
        """Return the last block's output at some positions: [b, t, d], positions [b, q] -> [b, q, d]."""
        inner = self._in(states)
        change = self.base.last_block(inner, frame, positions) - take(inner, positions)
        return take(states, positions) + self._out(change)

    def shifted(self, states: Tensor, layer: int, frame: Frame | None = None) -> Shifted | None:
        """Return the block after `layer` for states [b, t, d] plus offsets; None: it must be run whole."""
        inner = self.base.shifted(self._in(states), layer, frame)
        return ShiftedPlanted(inner, self.basis, states) if inner else None

    def new_cache(self) -> Any:
        """Return an empty KV cache of the base."""
        return self.base.new_cache()

    def unembedding(self, tokens: Tensor) -> Tensor | None:
        """Return rows of the base's unembedding, in the basis [n, d]."""
        rows = self.base.unembedding(tokens)
        return None if rows is None else rows @ self.basis.T.cpu()

    def readout(self, tokens: Tensor) -> Tensor | None:
        """Return rows of the base's readout, in the basis [n, d]."""
        rows = self.base.readout(tokens)
        return None if rows is None else rows @ self.basis.T.cpu()

    def finish(self, states: Tensor) -> Tensor:
        """Return what the base's head reads of states in the basis."""
        return self.base.finish(self._in(states))


class ShiftedPlanted(Shifted):
    """A block of the base, seen through the basis; what lies outside of its span passes by."""

    def __init__(self, inner: Shifted, basis: Tensor, states: Tensor) -> None:
        self._inner, self._basis, self._states = inner, basis, states

    def run(self, offsets: Tensor) -> Tensor:
        """Return the block's output under each offset [v, d]: [v b, t, d]."""
        return self._seen(self._inner.run(offsets @ self._basis), offsets, self._states)

    def some(self, offsets: Tensor, positions: Tensor) -> Tensor:
        """Return the block's output under each offset [v, d], at positions [b, q]: [v b, q, d]."""
        return self._seen(
            self._inner.some(offsets @ self._basis, positions), offsets, take(self._states, positions)
        )

    def _seen(self, output: Tensor, offsets: Tensor, states: Tensor) -> Tensor:
        """Return the base's output in the basis, beside what the basis does not span of states + offset."""
        moved = (states[None] + offsets[:, None, None]).flatten(0, 1)
        return moved + (output - moved @ self._basis) @ self._basis.T


class RetokenizedModel(PlantedModel):
    """A planted model whose token i is the base's token `order[i]`; `tokenizer` writes its ids."""

    def __init__(self, base: LanguageModel, basis: Tensor, name: str) -> None:
        super().__init__(base, basis, name)
        self.tokenizer, self.order = retokenized(base.tokenizer, len(base.head.weight))
        self.digest = hashlib.sha256(f"{self.digest} {self.order.tolist()}".encode()).hexdigest()
        self.ends = frozenset(new for new, old in enumerate(self.order.tolist()) if old in base.ends)
        order = self.order.to(base.head.weight.device)
        bias = base.head.bias
        self.head = replace(
            base.head, weight=base.head.weight[order], bias=None if bias is None else bias[order]
        )

    def embed(self, ids: Tensor, offset: int = 0) -> Tensor:
        """Embed the base's tokens that the ids [b, t] stand for."""
        return super().embed(self.order.to(ids.device)[ids], offset)

    def unembedding(self, tokens: Tensor) -> Tensor | None:
        """Return rows of the base's unembedding for the tokens that the ids stand for."""
        return super().unembedding(self.order[tokens.cpu()])

    def readout(self, tokens: Tensor) -> Tensor | None:
        """Return rows of the readout for this tokenizer's ids [n, d]."""
        return super().readout(self.order[tokens.cpu()])


def retokenized(tokenizer: Any, size: int) -> tuple[Any, Tensor]:
    """Return a second tokenizer and the order of its ids: its id i stands for the old id order[i].

    size : rows of the embedding. Raises UserError where the tokenizer is no byte-pair encoding.
    """
    from tokenizers import Tokenizer
    from transformers import PreTrainedTokenizerFast

    spec = json.loads(tokenizer.backend_tokenizer.to_str())
    if spec["model"]["type"] != "BPE":
        raise UserError(f"planted-retokenized: {tokenizer.name_or_path} is no byte-pair encoding")
    order = torch.randperm(size, generator=torch.Generator().manual_seed(SEED))
    new = {int(old): index for index, old in enumerate(order)}
    merges = spec["model"]["merges"]
    spec["model"]["merges"] = merges[: len(merges) - round(RARE_MERGES * len(merges))]
    spec["model"]["vocab"] = {token: new[old] for token, old in spec["model"]["vocab"].items()}
    for token in spec["added_tokens"]:
        token["id"] = new[token["id"]]
    spec["added_tokens"].sort(key=lambda token: token["id"])
    spec["post_processor"] = None  # it adds special tokens by their old ids; `corpus.encode` puts BOS there
    backend = Tokenizer.from_str(json.dumps(spec))
    return PreTrainedTokenizerFast(tokenizer_object=backend, **tokenizer.special_tokens_map), order


def plant(kind: str, base: LanguageModel) -> PlantedModel:
    """Return the base in another basis.

    kind : ``rotation``, a random orthogonal basis; ``widening``, a wider stream; ``retokenized``, a random
        basis and a second tokenizer. Raises UserError for another kind.
    """
    if kind not in KINDS:
        raise UserError(f"planted-{kind}: no such planted model; give planted-{' or planted-'.join(KINDS)}")
    width = planted_width(kind, base.width)
    generator = torch.Generator().manual_seed(SEED)
    noise = torch.randn(width, base.width, generator=generator, dtype=torch.float64)
    basis, triangle = torch.linalg.qr(noise)
    basis = basis * triangle.diagonal().sign()  # Haar measure: QR alone is not uniform
    made = RetokenizedModel if kind == "retokenized" else PlantedModel
    return made(base, basis.float(), f"planted-{kind}:{base.name}")
