"""Load a causal language model, run it up to a layer, run it on from a layer.

A model is run block by block, and is never changed: no hook is left on it, no weight is touched. Its own
forward is asked once per sequence length what it hands to each block (masks, rotary embeddings), with
its blocks replaced by recorders in a shallow copy; the blocks are then called directly. A batch is
padded on the right and nothing is masked: under causal attention the padding reaches no real token.

Layers count blocks: layer k is the residual stream after k decoder blocks, 1 <= k <= n_layers, the k of
`hidden_states[k]` in transformers but for the last, which there is taken after the final norm.
"""

from __future__ import annotations

import inspect
from abc import ABC, abstractmethod
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from lrt_bench import llama_block, shifted_block
from lrt_bench.errors import UserError
from lrt_bench.shell import Shell
from lrt_bench.shifted_block import Shifted, ShiftedLlama
from lrt_bench.state_memory import StateMemory

PROBE_TOLERANCE = 2e-3  # float32; relative to the spread of the logits. 16-bit types get PROBE_TOLERANCE_16
PROBE_TOLERANCE_16 = 5e-2


@dataclass(frozen=True)
class Frame:
    """What a model hands to each of its blocks for one sequence length, besides the states."""

    calls: list[dict[str, Any]]


@dataclass
class Head:
    """Final states to logits: the unembedding, its bias, and what the architecture does after it."""

    weight: Tensor
    bias: Tensor | None
    scale: float
    softcap: float | None

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

    @abstractmethod
    def frame(self, length: int, offset: int = 0) -> Frame:
        """What the blocks are handed for `length` tokens that begin at position `offset`."""

    @abstractmethod
    def embed(self, ids: Tensor, offset: int = 0) -> Tensor:
        """Token ids [b, t] to the input of the first block [b, t, d]."""

    @abstractmethod
    def block(self, index: int, states: Tensor, frame: Frame, cache: Any = None) -> Tensor:
        """Decoder block `index` (from 0) on states [b, t, d]; `cache` is a transformers KV cache."""

    @abstractmethod
    def new_cache(self) -> Any:
        """An empty KV cache for `block`."""

    @abstractmethod
    def unembedding(self, tokens: Tensor) -> Tensor | None:
        """Rows of the unembedding as directions of the residual stream [n, d]; None where widths differ."""

    @abstractmethod
    def finish(self, states: Tensor) -> Tensor:
        """The final norm (and projection, where there is one): [b, t, d] to what the head reads."""

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
        found = {}
        for index in range(max(wanted)):
            states = self.block(index, states, frame)
            if index + 1 in wanted:
                found[index + 1] = states
        if self.memory is not None:
            self.memory.put(ids, found)
        return found

    def shifted(self, states: Tensor, layer: int, frame: Frame | None = None) -> Shifted | None:
        """The block after `layer`, for states [b, t, d] plus offsets; None where it must be run whole."""
        return None

    @torch.inference_mode()
    def resume(self, states: Tensor, layer: int, frame: Frame | None = None) -> Tensor:
        """Run on from the residual stream after `layer`: [b, t, d] -> the last block's output [b, t, d].

        frame : of the rows, where they are no plain sequences (prefix_tree.py).
        """
        frame = frame or self.frame(states.shape[1])
        for index in range(layer, self.n_layers):
            states = self.block(index, states, frame)
        return states

    def last_block(self, states: Tensor, frame: Frame, at: Tensor) -> Tensor:
        """The last block's output at some tokens of each row: [b, t, d], at [b, q] -> [b, q, d]."""
        return take(self.block(self.n_layers - 1, states, frame), at)

    @torch.inference_mode()
    def resume_at(self, states: Tensor, layer: int, at: Tensor, frame: Frame | None = None) -> Tensor:
        """`resume`, read at some tokens of each row: [b, t, d], at [b, q] -> [b, q, d].

        The last block does less.
        """
        frame = frame or self.frame(states.shape[1])
        for index in range(layer, self.n_layers - 1):
            states = self.block(index, states, frame)
        if layer == self.n_layers:
            return take(states, at)
        return self.last_block(states, frame, at)

    @torch.inference_mode()
    def logits(self, ids: Tensor) -> Tensor:
        """Logits [b, t, vocabulary] of whole sequences, float32."""
        return self.head.all(self.finish(self.states(ids, [self.n_layers])[self.n_layers]))


def take(states: Tensor, at: Tensor) -> Tensor:
    """Some tokens of each row: states [b, t, d], at [b, q] -> [b, q, d]."""
    at = at.to(states.device)
    return states[torch.arange(len(states), device=states.device)[:, None], at]


@dataclass(eq=False)
class TransformersModel(LanguageModel):
    """A decoder that transformers loaded; `load_model` makes them."""

    name: str
    digest: str
    module: Any  # a transformers causal LM
    tokenizer: Any
    _frames: OrderedDict[tuple[int, int], Frame] = field(default_factory=OrderedDict, repr=False)
    _lean: list[bool] = field(default_factory=list, repr=False)  # blocks that llama_block.py can run
    _final: nn.Module | None = field(default=None, repr=False)  # all that follows the last block

    def __post_init__(self) -> None:
        self.module.eval()
        config = self.module.config.get_text_config()
        self.owner, self.attribute = _find_blocks(self.module, config.num_hidden_layers, self.name)
        self.blocks: Sequence[Any] = getattr(self.owner, self.attribute)
        self.n_layers = len(self.blocks)
        self.parameters = sum(p.numel() for p in self.module.parameters())
        self.context = getattr(config, "max_position_embeddings", None) or 2048
        self.dtype = next(self.module.parameters()).dtype
        self.device = self.module.get_input_embeddings().weight.device
        self.head = _head(self.module, config)
        self._cache_name = _cache_name(self.blocks[0])
        self._probe()

    @torch.inference_mode()
    def frame(self, length: int, offset: int = 0) -> Frame:
        key = (length, offset)
        if key not in self._frames:
            ids = torch.zeros(1, length, dtype=torch.long, device=self.device)
            self._frames[key] = Frame(self._shell.calls(ids, offset))
            if len(self._frames) > 256:
                self._frames.popitem(last=False)
        return self._frames[key]

    @torch.inference_mode()
    def embed(self, ids: Tensor, offset: int = 0) -> Tensor:
        return self._shell.embed(ids.to(self.device), offset)

    @torch.inference_mode()
    def block(self, index: int, states: Tensor, frame: Frame, cache: Any = None) -> Tensor:
        call = frame.calls[index]
        if self._lean[index] and llama_block.applies(call, cache):
            return llama_block.run(self.blocks[index], states.to(self.dtype), call, cache)
        if cache is not None:
            call = call | {self._cache_name: cache, "use_cache": True}
        output = self.blocks[index](states.to(self.dtype), **call)
        return output[0] if isinstance(output, tuple) else output

    @torch.inference_mode()
    def last_block(self, states: Tensor, frame: Frame, at: Tensor) -> Tensor:
        call = frame.calls[-1]
        if self._lean[-1] and llama_block.applies(call):
            return llama_block.some_tokens(self.blocks[-1], states.to(self.dtype), call, at)
        return super().last_block(states, frame, at)

    @torch.inference_mode()
    def shifted(self, states: Tensor, layer: int, frame: Frame | None = None) -> Shifted | None:
        if layer == self.n_layers or not self._lean[layer] or self.dtype != torch.float32:
            return None
        call = (frame or self.frame(states.shape[1])).calls[layer]
        return ShiftedLlama(self.blocks[layer], states, call) if llama_block.applies(call) else None

    def new_cache(self) -> Any:
        from transformers import DynamicCache

        return DynamicCache(config=self.module.config)

    def unembedding(self, tokens: Tensor) -> Tensor | None:
        rows = self.head.weight[tokens.to(self.head.weight.device)].float().cpu()
        return rows if rows.shape[1] == self.width else None

    @torch.inference_mode()
    def finish(self, states: Tensor) -> Tensor:
        if self._final is not None:
            return self._final(states.to(self.dtype))
        ids = torch.zeros(states.shape[:2], dtype=torch.long, device=self.device)
        return self._shell.finish(ids, states.to(self.dtype))

    @torch.inference_mode()
    def _probe(self) -> None:
        """Check on eight tokens that the parts, run one by one, give the model's own logits."""
        vocabulary = self.module.get_input_embeddings().weight.shape[0]
        generator = torch.Generator().manual_seed(0)
        ids = torch.randint(0, vocabulary, (2, 8), generator=generator).to(self.device)
        expected = self.module(input_ids=ids, use_cache=False).logits.float()
        limit = PROBE_TOLERANCE if self.dtype == torch.float32 else PROBE_TOLERANCE_16
        for tupled in (False, True):
            self._shell = Shell(self.owner, self.attribute, tupled)
            self._frames.clear()
            self._lean = [False] * self.n_layers
            try:
                self.width = self.embed(ids[:, :1]).shape[-1]
                found = self.logits(ids).to(expected.device)
            except (RuntimeError, TypeError, IndexError, AttributeError):
                continue
            if (found - expected).abs().max() <= limit * expected.std().clamp_min(1e-6):
                self._lean = self._fitting(ids)
                self._final = self._shell.final(self.embed(ids))
                return
        raise UserError(
            f"{self.name}: architecture {type(self.module).__name__} is not supported: "
            "run block by block it does not give its own logits"
        )

    def _fitting(self, ids: Tensor) -> list[bool]:
        """Of each block, whether it can be run as llama_block.py runs it."""
        calls, states, found = self.frame(ids.shape[1]).calls, self.embed(ids), []
        for index, call in enumerate(calls):
            fitting = llama_block.fits(self.blocks[index], call, states)
            found.append(fitting and shifted_block.fits(self.blocks[index], call, states))
            states = self.block(index, states, self.frame(ids.shape[1]))
        return found


def _find_blocks(module: Any, count: int, name: str) -> tuple[Any, str]:
    """The module that owns the list of decoder blocks, and the list's attribute name."""
    for owner in module.modules():
        for attribute, child in owner.named_children():
            if isinstance(child, nn.ModuleList) and len(child) == count > 0 and attribute != "experts":
                return owner, attribute
    raise UserError(f"{name}: no list of {count} decoder blocks in {type(module).__name__}")


def _cache_name(block: Any) -> str:
    """The parameter by which this architecture's blocks take their KV cache."""
    names = inspect.signature(block.forward).parameters
    return next((name for name in ("layer_past", "past_key_value") if name in names), "past_key_values")


def _head(module: Any, config: Any) -> Head:
    output = module.get_output_embeddings()
    scale = float(getattr(config, "logit_scale", None) or 1.0)
    scale /= float(getattr(config, "logits_scaling", None) or 1.0)
    softcap = getattr(config, "final_logit_softcapping", None)
    return Head(output.weight.detach(), getattr(output, "bias", None), scale, softcap)


@dataclass(frozen=True)
class Site:
    """A model and a layer: the residual stream after that decoder block, one state per token."""

    model: LanguageModel
    layer: int

    def __post_init__(self) -> None:
        self.model.check_layer(self.layer)

    @property
    def width(self) -> int:
        return self.model.width

    def read(self, ids: Tensor) -> Tensor:
        """The site's states for token ids [b, t]: [b, t, width], float32."""
        return self.model.states(ids, [self.layer])[self.layer].float()

    @property
    def depth(self) -> float:
        """The layer's place in the model, 0 to 1."""
        return self.layer / self.model.n_layers
