"""A model that transformers loaded, run block by block.

The model is never changed: no hook is left on it, no weight is touched. Its own forward is asked once per
sequence length what it hands to each block (masks, rotary embeddings), with its blocks replaced by recorders
in a shallow copy; the blocks are then called directly.
"""

from __future__ import annotations

import functools
import logging
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from lrt_bench.errors import UserError
from lrt_bench.models.base import Frame, LanguageModel
from lrt_bench.models.blocks import llama as llama_block
from lrt_bench.models.blocks import llama_offsets as shifted_block
from lrt_bench.models.blocks.llama_offsets import Shifted, ShiftedLlama
from lrt_bench.models.checks import probes
from lrt_bench.models.checks.layouts import Layout, cache_name, head_of, layouts, windows
from lrt_bench.models.decoders.shell import Shell
from lrt_bench.models.model_code import ModelError, model_code

LOG = logging.getLogger("lrt_bench")
FRAMES = 256  # that are remembered


@dataclass(eq=False)
class TransformersModel(LanguageModel):
    """A decoder that transformers loaded; `load_model` makes them.

    Raises
    ------
    UserError
        Where the architecture cannot be run block by block, is not causal, or gives infinite numbers.
    """

    name: str
    digest: str
    module: Any  # a transformers causal LM
    tokenizer: Any
    tree_agreement: dict[int, bool] = field(default_factory=dict, repr=False)
    _frames: OrderedDict[tuple[int, int], Frame] = field(default_factory=OrderedDict, repr=False)
    _lean: list[bool] = field(default_factory=list, repr=False)  # blocks that `blocks.llama` can run
    _batch_sized: set[str] = field(default_factory=set, repr=False)  # arguments that grow with the batch
    _final: nn.Module | None = field(default=None, repr=False)  # all that follows the last block

    def __post_init__(self) -> None:
        """Find the blocks and measure what is assumed of the model."""
        self.module.eval()
        self.config = self.module.config.get_text_config(decoder=True)
        embedding = self.module.get_input_embeddings()
        if not isinstance(getattr(embedding, "weight", None), Tensor):
            raise UserError(f"{self.name}: architecture {self.architecture} is not supported: no embedding")
        self.vocabulary, self.device = len(embedding.weight), embedding.weight.device
        self.parameters = sum(p.numel() for p in self.module.parameters())
        self.context = getattr(self.config, "max_position_embeddings", None) or 2048
        self.dtype = next(self.module.parameters()).dtype
        self.ends = end_tokens(self.name, self.module, self.tokenizer)
        self.head = head_of(self.module, self.config, self.name)
        self.one_length = False
        probes.check_weights(self.name, self.module, self.dtype)
        self._enter()
        probes.check_causal(self, self.vocabulary)
        self.one_length = probes.depends_on_length(self, self.vocabulary, _rotary_border(self.config))

    @property
    def architecture(self) -> str:
        """The class of the transformers model."""
        return type(self.module).__name__

    @torch.inference_mode()
    def frame(self, length: int, offset: int = 0) -> Frame:
        """Return what the blocks are handed for `length` tokens that begin at position `offset`."""
        key = (length, offset)
        if key not in self._frames:
            ids = torch.zeros(1, length, dtype=torch.long, device=self.device)
            self._frames[key] = Frame(self._shell.calls(ids, offset))
            if len(self._frames) > FRAMES:
                self._frames.popitem(last=False)
        return self._frames[key]

    @torch.inference_mode()
    def embed(self, ids: Tensor, offset: int = 0) -> Tensor:
        """Token ids [b, t] to the input of the first block [b, t, d].

        Raises
        ------
        UserError
            Where an id lies beyond the embedding.
        """
        self.check_ids(ids)
        return self._shell.embed(ids.to(self.device), offset)

    def check_ids(self, ids: Tensor) -> None:
        """Raise UserError where the model has no embedding for one of the token ids."""
        if ids.device.type == "cpu" and ids.numel() and int(ids.max()) >= self.vocabulary:
            token = int(ids.max())
            raise UserError(
                f"{self.name}: token {self.tokenizer.convert_ids_to_tokens(token)!r} ({token}) is beyond the "
                f"embedding of {self.vocabulary} rows: call model.resize_token_embeddings(len(tokenizer)) "
                "and save it, or leave the token out of the texts"
            )

    @torch.inference_mode()
    def block(self, index: int, states: Tensor, frame: Frame, cache: Any = None) -> Tensor:
        """Run decoder block `index` (from 0) on states [b, t, d]; `cache` is a transformers KV cache."""
        call = frame.calls[index]
        if self._lean[index] and llama_block.applies(call, cache):
            return llama_block.run(self.blocks[index], states.to(self.dtype), call, cache)
        return self._as_it_is(index, states, call, cache)

    def tracked_block(self, index: int, states: Tensor, frame: Frame) -> Tensor:
        """`block`, through which gradients flow: the model's own, which changes nothing in place."""
        return self._as_it_is(index, states, frame.calls[index], None)

    def _as_it_is(self, index: int, states: Tensor, call: dict[str, Any], cache: Any) -> Tensor:
        """Run a block of the model's own code."""
        if self._batch_sized:
            call = {name: self._grown(name, value, len(states)) for name, value in call.items()}
        if cache is not None:
            call = call | {self._cache_name: cache, "use_cache": True}
        with model_code(self.name):
            output = self.blocks[index](states.to(self.dtype), **call)
        output = output[0] if isinstance(output, tuple | list) else output
        if not isinstance(output, Tensor) or output.shape != states.shape:
            raise ModelError(f"{self.name}: a block of {self.architecture} does not map states to states")
        return output

    def _grown(self, name: str, value: Any, rows: int) -> Any:
        """Return an argument that was made for one row, for `rows` rows."""
        if name not in self._batch_sized or not isinstance(value, Tensor):
            return value
        rest = (1,) * (value.ndim - 1)
        return value.expand(rows, *value.shape[1:]) if len(value) == 1 else value.repeat(rows, *rest)

    @torch.inference_mode()
    def last_block(self, states: Tensor, frame: Frame, positions: Tensor) -> Tensor:
        """Return the last block's output at some positions: [b, t, d], positions [b, q] -> [b, q, d]."""
        call = frame.calls[-1]
        if self._lean[-1] and llama_block.applies(call):
            return llama_block.some_tokens(self.blocks[-1], states.to(self.dtype), call, positions)
        return super().last_block(states, frame, positions)

    @torch.inference_mode()
    def shifted(self, states: Tensor, layer: int, frame: Frame | None = None) -> Shifted | None:
        """Return the block after `layer` for states [b, t, d] plus offsets; None: it must be run whole."""
        if layer == self.n_layers or not self._lean[layer] or self.dtype != torch.float32:
            return None
        call = (frame or self.frame(states.shape[1])).calls[layer]
        return ShiftedLlama(self.blocks[layer], states, call) if llama_block.applies(call) else None

    @functools.cached_property
    def cache_reach(self) -> int:
        """Longest row for which a KV cache is known to give the logits of whole forwards; measured once."""
        return probes.cache_reach(self, windows(self.config))

    def new_cache(self) -> Any:
        """Return an empty KV cache for `block`."""
        from transformers import DynamicCache

        with model_code(self.name):
            return DynamicCache(config=self.module.config)

    def unembedding(self, tokens: Tensor) -> Tensor | None:
        """Rows of the unembedding as directions of the residual stream [n, d]; None where widths differ."""
        rows = self.head.weight[tokens.to(self.head.weight.device)].float().cpu()
        return rows if rows.shape[1] == self.width else None

    @torch.inference_mode()
    def readout(self, tokens: Tensor) -> Tensor | None:
        """Return rows of the unembedding times the final norm's gain [n, d]; None where widths differ."""
        rows = self.unembedding(tokens)
        return None if rows is None else rows * self._final_gain()

    def _final_gain(self) -> Tensor:
        """Return the final norm's gain [d], read off what the norm makes of states of ones and minus ones.

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
        """Return the final norm (and projection, where there is one): [b, t, d] to what the head reads."""
        return self.tracked_finish(states)

    def tracked_finish(self, states: Tensor) -> Tensor:
        """`finish`, through which gradients flow."""
        if self._final is not None:
            return self._final(states.to(self.dtype))
        ids = torch.zeros(states.shape[:2], dtype=torch.long, device=self.device)
        return self._shell.finish(ids, states.to(self.dtype))

    @torch.inference_mode()
    def _enter(self) -> None:
        """Find the layout by which the parts, run one by one, give the model's own logits of eight tokens."""
        ids = probes.probe_ids(self.vocabulary, 2, probes.LENGTH).to(self.device)
        with model_code(self.name):
            expected = self.module(input_ids=ids, use_cache=False).logits.float()
        reason = "run block by block it does not give its own logits"
        for layout in layouts(self.module, getattr(self.config, "num_hidden_layers", 0)):
            try:
                self._use(layout, ids)
                if not bool(expected.isfinite().all()):
                    raise probes.overflow_error(self, ids)
                logits = self.logits(ids)
            except ModelError as error:
                LOG.debug("%s: %s", layout, error)
                continue
            if probes.close(logits, expected, self.dtype):
                self._lean = self._fitting(ids)
                self._final = self._shell.final(self.embed(ids))
                return
        if not bool(expected.isfinite().all()):
            raise UserError(f"{self.name}: its logits are not finite in {self.dtype}: give another --dtype")
        raise UserError(f"{self.name}: architecture {self.architecture} is not supported: {reason}")

    def _use(self, layout: Layout, ids: Tensor) -> None:
        """Take up a layout, as yet without faster blocks.

        Raises ModelError where it leads nowhere.
        """
        self.owner, self.attribute = layout.owner, layout.attribute
        self.blocks: Sequence[Any] = getattr(layout.owner, layout.attribute)
        self.n_layers = len(self.blocks)
        self._cache_name = cache_name(self.blocks[0])
        self._shell = Shell(self.name, layout.owner, layout.attribute, layout.tupled)
        self._frames.clear()
        self._lean, self._final = [False] * self.n_layers, None
        self._batch_sized = set()
        if layout.grown:
            one, two = (Frame(self._shell.calls(ids[:rows], 0)) for rows in (1, 2))
            self._batch_sized = probes.batch_sized(one, two)
        self.width = self.embed(ids[:, :1]).shape[-1]

    def _fitting(self, ids: Tensor) -> list[bool]:
        """Of each block, whether it can be run as `blocks.llama` runs it."""
        frame, states, fitting = self.frame(ids.shape[1]), self.embed(ids), []
        for index, call in enumerate(frame.calls):
            block = self.blocks[index]
            fits = not self._batch_sized and llama_block.fits(block, call, states)
            fitting.append(fits and shifted_block.fits(block, call, states))
            states = self.block(index, states, frame)
        return fitting


def end_tokens(name: str, module: Any, tokenizer: Any) -> frozenset[int]:
    """Ids that end a text: the tokenizer's EOS, and the one or several of the generation configuration."""
    configured = getattr(getattr(module, "generation_config", None), "eos_token_id", None)
    ids = configured if isinstance(configured, list | tuple) else [configured]
    named = [token for token in (tokenizer.eos_token_id, *ids) if token is not None]
    for token in named:
        if not isinstance(token, int) or isinstance(token, bool):
            raise UserError(f"{name}: generation_config.json: eos_token_id {token!r}: want token ids")
    return frozenset(named)


def _rotary_border(config: Any) -> int:
    """Return the length beyond which the configuration declares other rotary angles; 0 for none."""
    parameters = getattr(config, "rope_parameters", None) or {}
    kinds = [parameters, *(value for value in parameters.values() if isinstance(value, dict))]
    named = [kind.get("original_max_position_embeddings") for kind in kinds]
    return min((int(size) for size in named if isinstance(size, int | float)), default=0)
