"""A model that transformers loaded, run block by block.

The model is never changed: no hook is left on it, no weight is touched. Its own forward is asked once per
sequence length what it hands to each block (masks, rotary embeddings), with its blocks replaced by recorders
in a shallow copy; the blocks are then called directly.
"""

from __future__ import annotations

import inspect
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from lrt_bench.errors import UserError
from lrt_bench.models.base import Frame, Head, LanguageModel
from lrt_bench.models.blocks import llama as llama_block
from lrt_bench.models.blocks import llama_offsets as shifted_block
from lrt_bench.models.blocks.llama_offsets import Shifted, ShiftedLlama
from lrt_bench.models.shell import Shell

PROBE_TOLERANCE = 2e-3  # float32; relative to the spread of the logits. 16-bit types get PROBE_TOLERANCE_16
PROBE_TOLERANCE_16 = 5e-2


@dataclass(eq=False)
class TransformersModel(LanguageModel):
    """A decoder that transformers loaded; `load_model` makes them."""

    name: str
    digest: str
    module: Any  # a transformers causal LM
    tokenizer: Any
    _frames: OrderedDict[tuple[int, int], Frame] = field(default_factory=OrderedDict, repr=False)
    _lean: list[bool] = field(default_factory=list, repr=False)  # blocks that `blocks.llama` can run
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
    def readout(self, tokens: Tensor) -> Tensor | None:
        rows = self.unembedding(tokens)
        return None if rows is None else rows * self._final_gain()

    def _final_gain(self) -> Tensor:
        """The final norm's gain [d], read off what the norm makes of states of ones and minus ones.

        A norm without bias gives back such a state, times its gain; half the difference of a state's and its
        opposite's leaves a bias out. The signs are balanced: a norm that centres finds nothing to remove.
        """
        signs = torch.ones(self.width)
        signs[1::2] = -1
        both = torch.stack([signs, -signs])[:, None].to(self.device)
        plus, minus = self.finish(both)[:, 0].float().cpu()
        return (plus - minus) / 2 * signs

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
        """Of each block, whether it can be run as `blocks.llama` runs it."""
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
