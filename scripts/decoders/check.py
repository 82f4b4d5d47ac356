"""One decoder, run here and by plain transformers with a hook: states, steered logits, greedy tokens."""

from __future__ import annotations

import functools
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import transformers
from torch import Tensor

from lrt_bench.errors import UserError
from lrt_bench.models.base import LanguageModel
from lrt_bench.models.batching import by_length, pad
from lrt_bench.models.checks.checkpoint import quiet
from lrt_bench.models.loading import load_model
from lrt_bench.models.sites import Site
from lrt_bench.models.texts import token_ids
from lrt_bench.nano.family import WEIGHTS
from lrt_bench.steering.generation import generate
from lrt_bench.steering.resume import Steered
from scripts.decoders.configurations import Configuration

TOLERANCE = 1e-5  # of the largest number of what is compared
WIDER = 4.0  # times the matrices of a fresh model, so that its logits differ
LAYER, NEW_TOKENS = 2, 12
TEXTS = (
    "She thinks that perhaps the dogs bark near the old ship, and that the sailor came home late again.",
    "The dog",
    "It was a lovely day. The sailor is",
)


@dataclass(frozen=True)
class Verdict:
    """What came of one configuration: the largest relative gaps, or why it is refused or cannot be built.

    tokens : whether the greedy tokens are the same. cached : whether it writes with a KV cache.
    one_length : whether texts are batched by equal length.
    """

    name: str
    states: float | None = None
    logits: float | None = None
    tokens: bool | None = None
    cached: bool | None = None
    one_length: bool | None = None
    refused: str | None = None
    not_built: str | None = None

    @property
    def holds(self) -> bool:
        """Whether everything is equal to `TOLERANCE`, or the model is refused in one line."""
        if self.refused is not None:
            return "\n" not in self.refused
        if self.states is None or self.logits is None:
            return False
        return self.states <= TOLERANCE and self.logits <= TOLERANCE and bool(self.tokens)


def build(configuration: Configuration, folder: Path, seed: int = 0) -> None:
    """Save a random model of the configuration with the embedded tokenizer."""
    torch.manual_seed(seed)
    config = getattr(transformers, configuration.config)(**configuration.arguments)
    module = transformers.AutoModelForCausalLM.from_config(config)
    with torch.no_grad():
        for parameter in module.parameters():
            if parameter.ndim == 2:
                parameter.mul_(WIDER)
    module.save_pretrained(folder)
    transformers.PreTrainedTokenizerFast.from_pretrained(WEIGHTS / "tokenizer").save_pretrained(folder)


def verdict(configuration: Configuration) -> Verdict:
    """Build, run both ways and compare."""
    name = configuration.name
    with tempfile.TemporaryDirectory(prefix="lrt-decoder-") as folder:
        try:
            with quiet():
                build(configuration, Path(folder))
        except Exception as error:  # a configuration that this transformers does not know or build
            return Verdict(name, not_built=f"{type(error).__name__}: {error}".partition("\n")[0])
        try:
            model = load_model(folder)
        except UserError as error:
            return Verdict(name, refused=str(error).replace(f"{folder}: ", ""))
        with quiet():
            plain = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
        return compare(name, model, plain, configuration.blocks)


def compare(name: str, model: LanguageModel, plain: Any, path: str) -> Verdict:
    """Return a loaded model against plain transformers, whose blocks lie at `path`."""
    blocks = functools.reduce(getattr, path.split("."), plain)
    rows = token_ids(model, TEXTS)
    offset = torch.randn(model.width, generator=torch.Generator().manual_seed(3))
    with torch.inference_mode():
        own, own_logits = _ours(model, rows, offset)
    state_gap = logit_gap = 0.0
    same = True
    try:
        written = generate(Site(model, LAYER), TEXTS, offset[None], NEW_TOKENS, temperature=0.0).tokens[0]
    except UserError as error:
        return Verdict(name, refused=str(error))
    for index, ids in enumerate(rows):
        states, _ = _plain(plain, blocks, ids)
        state_gap = max(state_gap, *(_gap(own[layer][index], states[layer]) for layer in states))
        logits = _plain(plain, blocks, ids, offset)[1]
        logit_gap = max(logit_gap, _gap(own_logits[index], logits))
        same &= written[index] == _greedy(plain, blocks, ids, offset, model.ends)
    return Verdict(name, state_gap, logit_gap, same, model.cache_reach > 0, model.one_length)


def _ours(
    model: LanguageModel, rows: list[list[int]], offset: Tensor
) -> tuple[dict[int, list[Tensor]], list[Tensor]]:
    """Return this package's states of each text by layer, and its steered logits, in padded batches."""
    layers = range(1, model.n_layers + 1)
    states: dict[int, list[Tensor]] = {layer: [torch.empty(0)] * len(rows) for layer in layers}
    logits = [torch.empty(0)] * len(rows)
    for batch in by_length([len(ids) for ids in rows], len(rows), model):
        read = model.states(pad([rows[i] for i in batch]), layers)
        final = model.finish(Steered(Site(model, LAYER), read[LAYER]).run(offset[None]))
        for row, i in enumerate(batch):
            for layer in layers:
                states[layer][i] = read[layer][row, : len(rows[i])]
            logits[i] = model.head.all(final[row, : len(rows[i])])
    return states, logits


@torch.inference_mode()
def _plain(
    plain: Any, blocks: Any, ids: list[int], offset: Tensor | None = None
) -> tuple[dict[int, Tensor], Tensor]:
    """Plain transformers on one text: the blocks' outputs by layer, and the logits [t, vocabulary]."""
    states: dict[int, Tensor] = {}

    def hook(layer: int) -> Callable[..., Any]:
        def changed(_module: Any, _inputs: Any, output: Any) -> Any:
            own = output[0] if isinstance(output, tuple | list) else output
            states[layer] = own[0]
            if offset is None or layer != LAYER:
                return None
            moved = own + offset
            return type(output)([moved, *output[1:]]) if isinstance(output, tuple | list) else moved

        return changed

    handles = [block.register_forward_hook(hook(layer)) for layer, block in enumerate(blocks, 1)]
    try:
        logits = plain(input_ids=torch.tensor([ids]), use_cache=False).logits[0]
    finally:
        for handle in handles:
            handle.remove()
    return states, logits


def _greedy(plain: Any, blocks: Any, ids: list[int], offset: Tensor, ends: frozenset[int]) -> list[int]:
    """Greedy tokens under the offset, a whole forward a step, up to the first that ends a text."""
    written: list[int] = []
    for _ in range(NEW_TOKENS):
        token = int(_plain(plain, blocks, ids + written, offset)[1][-1].argmax())
        if token in ends:
            break
        written.append(token)
    return written


def _gap(values: Tensor, expected: Tensor) -> float:
    """Return the largest difference, relative to the largest number."""
    return float((values - expected).abs().max() / expected.abs().max().clamp_min(1e-12))
