"""What a causal language model is to everything above: embedding, blocks, head.

A batch is padded on the right and nothing is masked: under causal attention no real token depends on the
padding. Whether that holds of a model is measured when it is loaded (`probes`).

Layers count blocks: layer k is the residual stream after k decoder blocks, 1 <= k <= n_layers, the k of
`hidden_states[k]` in transformers but for the last, which there is taken after the final norm.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from lrt_bench.data.corpus import TokenMemory, Tokens, encode
from lrt_bench.errors import UserError
from lrt_bench.models.blocks.llama_offsets import Shifted
from lrt_bench.models.state_cache import StateMemory


@dataclass(frozen=True)
class Frame:
    """What a model hands to each of its blocks for one sequence length, besides the states."""

    calls: list[dict[str, Any]]


LEAST = 64  # states whose logits are made at a time at least: fewer wait for the unembedding's memory


@dataclass
class Head:
    """Final states to logits: the unembedding, its bias, and what the architecture does after it."""

    weight: Tensor
    bias: Tensor | None
    scale: float
    softcap: float | None

    def rows_at_once(self, held: int) -> int:
        """Return how many states' logits are made at a time: `held` numbers, `LEAST` states at least."""
        return max(LEAST, held // len(self.weight))

    def _finish(self, logits: Tensor) -> Tensor:
        logits = logits if self.scale == 1 else logits * self.scale
        return self.softcap * torch.tanh(logits / self.softcap) if self.softcap else logits

    def choice(self, states: Tensor, tokens: Tensor) -> Tensor:
        """Logits of a few tokens a row, float32: states [n, d], tokens [n, k] -> [n, k]."""
        tokens = tokens.to(self.weight.device)
        states = states.to(self.weight.device).float()
        logits = torch.einsum("nd,nkd->nk", states, self.weight[tokens].float())
        return self._finish(logits if self.bias is None else logits + self.bias[tokens].float())

    def all(self, states: Tensor) -> Tensor:
        """Logits of the whole vocabulary, float32: states [..., d] -> [..., vocabulary]."""
        states = states.to(self.weight.device, self.weight.dtype)
        return self._finish(nn.functional.linear(states, self.weight, self.bias).float())


class LanguageModel(ABC):
    """A causal model seen as embedding, blocks and head.

    Attributes
    ----------
    name : what the user called it.
    digest : hash of its weights (or the Hub revision); equal digests give equal states.
    tokenizer : the transformers tokenizer.
    n_layers, width : number of blocks; size of the residual stream.
    parameters : how many weights it has.
    context : longest sequence it was made for, in tokens.
    memory : of the states that were read last; none by default.
    token_memory : of the texts that were tokenised last; none by default.
    ends : token ids that end a text: the tokenizer's EOS and all of the generation configuration's.
    one_length : whether states depend on the padded length, so that a batch holds sequences of one length.
    tree_agreement : by layer, whether prefix trees give this model's logits from there (`steering.sweep`).
    """

    name: str
    digest: str
    tokenizer: Any
    n_layers: int
    width: int
    parameters: int
    context: int
    device: torch.device
    dtype: torch.dtype
    head: Head
    memory: StateMemory | None = None
    token_memory: TokenMemory | None = None
    ends: frozenset[int]
    one_length: bool
    tree_agreement: dict[int, bool]

    @property
    @abstractmethod
    def cache_reach(self) -> int:
        """Longest row, in tokens, for which a KV cache is known to give the logits of whole forwards."""

    @abstractmethod
    def frame(self, length: int, offset: int = 0) -> Frame:
        """Return what the blocks are handed for `length` tokens that begin at position `offset`."""

    @abstractmethod
    def embed(self, ids: Tensor, offset: int = 0) -> Tensor:
        """Token ids [b, t] to the input of the first block [b, t, d]."""

    @abstractmethod
    def block(self, index: int, states: Tensor, frame: Frame, cache: Any = None) -> Tensor:
        """Run decoder block `index` (from 0) on states [b, t, d]; `cache` is a transformers KV cache."""

    @abstractmethod
    def tracked_block(self, index: int, states: Tensor, frame: Frame) -> Tensor:
        """`block`, through which gradients flow; no tensor of the frame is of inference mode."""

    @abstractmethod
    def tracked_finish(self, states: Tensor) -> Tensor:
        """`finish`, through which gradients flow."""

    @abstractmethod
    def new_cache(self) -> Any:
        """Return an empty KV cache for `block`."""

    @abstractmethod
    def unembedding(self, tokens: Tensor) -> Tensor | None:
        """Rows of the unembedding as directions of the residual stream [n, d]; None where widths differ."""

    def readout(self, tokens: Tensor) -> Tensor | None:
        """Directions of the residual stream that raise tokens' logits [n, d]; None where widths differ.

        They are rows of the unembedding times the final norm's gain, which is the same direction whether a
        model keeps its gain in the norm or has it folded into the unembedding.
        """
        return self.unembedding(tokens)

    @abstractmethod
    def finish(self, states: Tensor) -> Tensor:
        """Return the final norm (and projection, where there is one): [b, t, d] to what the head reads."""

    def encode(self, texts: Sequence[str]) -> list[Tokens]:
        """Tokenise texts as `data.corpus.encode` does; those of the memory are not tokenised again.

        Raises UserError where a text gives no token of its own.
        """
        if self.token_memory is None:
            return encode(self.tokenizer, texts)
        return self.token_memory.encode(self.tokenizer, texts)

    def check_layer(self, layer: int) -> None:
        """Raise UserError where `layer` is not one of this model's."""
        if not 1 <= layer <= self.n_layers:
            raise UserError(f"layer {layer} is out of range for {self.name}: give 1 to {self.n_layers}")

    def check_length(self, tokens: int) -> None:
        """Raise UserError where a text is longer than the model was made for."""
        if tokens > self.context:
            raise UserError(f"{self.name}: a text of {tokens} tokens: it reads {self.context}; shorten it")

    @torch.inference_mode()
    def states(self, ids: Tensor, layers: Iterable[int]) -> dict[int, Tensor]:
        """Residual streams after `layers`, [b, t, d] each; the blocks above the highest are not run."""
        wanted = set(layers)
        for layer in wanted:
            self.check_layer(layer)
        self.check_length(ids.shape[1])
        if self.memory is not None and (known := self.memory.get(ids, wanted)) is not None:
            return known
        frame = self.frame(ids.shape[1])
        states = self.embed(ids)
        read = {}
        for index in range(max(wanted)):
            states = self.block(index, states, frame)
            if index + 1 in wanted:
                read[index + 1] = states
        if self.memory is not None:
            self.memory.put(ids, read)
        return read

    def shifted(self, states: Tensor, layer: int, frame: Frame | None = None) -> Shifted | None:
        """Return the block after `layer` for states [b, t, d] plus offsets; None: it must be run whole."""
        return None

    @torch.inference_mode()
    def resume(self, states: Tensor, layer: int, frame: Frame | None = None) -> Tensor:
        """Run on from the residual stream after `layer`: [b, t, d] -> the last block's output [b, t, d].

        frame : of the rows, where they are no plain sequences (`steering.prefix_tree`).
        """
        frame = frame or self.frame(states.shape[1])
        for index in range(layer, self.n_layers):
            states = self.block(index, states, frame)
        return states

    def last_block(self, states: Tensor, frame: Frame, positions: Tensor) -> Tensor:
        """Return the last block's output at some positions: [b, t, d], positions [b, q] -> [b, q, d]."""
        return take(self.block(self.n_layers - 1, states, frame), positions)

    @torch.inference_mode()
    def resume_at(self, states: Tensor, layer: int, positions: Tensor, frame: Frame | None = None) -> Tensor:
        """`resume`, read at some tokens of each row: [b, t, d], positions [b, q] -> [b, q, d].

        The last block does less.
        """
        frame = frame or self.frame(states.shape[1])
        for index in range(layer, self.n_layers - 1):
            states = self.block(index, states, frame)
        if layer == self.n_layers:
            return take(states, positions)
        return self.last_block(states, frame, positions)

    @torch.inference_mode()
    def logits(self, ids: Tensor) -> Tensor:
        """Logits [b, t, vocabulary] of whole sequences, float32."""
        return self.head.all(self.finish(self.states(ids, [self.n_layers])[self.n_layers]))


def take(states: Tensor, positions: Tensor) -> Tensor:
    """Return some tokens of each row: states [b, t, d], positions [b, q] -> [b, q, d]."""
    positions = positions.to(states.device)
    return states[torch.arange(len(states), device=states.device)[:, None], positions]
