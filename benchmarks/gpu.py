"""The paper's fit at full size on a GPU: Gemma-2-2b to 9b, layer 20 to 20, bfloat16, 512 tokens a text.

The models are made on the device from their configuration, with random weights: speed does not depend on the
values. `python -m benchmarks --parts gpu --device cuda`; on the CPU the same code runs at small shapes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from benchmarks.fit import Pretokenised
from benchmarks.growth import prompts
from benchmarks.record import Line, Settings, seconds
from benchmarks.timing import Timing, clock, interleaved
from lrt_bench.data.corpus import Budget, PairedTokens
from lrt_bench.mappings.ridge import Ridge
from lrt_bench.models.base import LanguageModel
from lrt_bench.models.decoders.transformers_model import TransformersModel
from lrt_bench.models.sites import Site
from lrt_bench.models.states import collect
from lrt_bench.nano.family import WEIGHTS
from lrt_bench.steering.sweep import Sweep

# config.json of google/gemma-2-2b and google/gemma-2-9b, and Gemma Team 2024 (arXiv 2408.00118), table 1.
SHARED: dict[str, Any] = {
    "vocab_size": 256_000, "head_dim": 256, "max_position_embeddings": 8192, "sliding_window": 4096,
    "query_pre_attn_scalar": 256, "attn_logit_softcapping": 50.0, "final_logit_softcapping": 30.0,
    "rms_norm_eps": 1e-6, "hidden_activation": "gelu_pytorch_tanh", "tie_word_embeddings": True,
}  # fmt: skip
SIZES: dict[str, dict[str, int]] = {
    "Gemma-2-2b": {"hidden_size": 2304, "intermediate_size": 9216, "num_hidden_layers": 26,
                   "num_attention_heads": 8, "num_key_value_heads": 4},
    "Gemma-2-9b": {"hidden_size": 3584, "intermediate_size": 14336, "num_hidden_layers": 42,
                   "num_attention_heads": 16, "num_key_value_heads": 8},
}  # fmt: skip
SMALL: dict[str, dict[str, int]] = {
    "small source": {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 3,
                     "num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": 16, "vocab_size": 1536},
    "small target": {"hidden_size": 48, "intermediate_size": 96, "num_hidden_layers": 4,
                     "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 16, "vocab_size": 1536},
}  # fmt: skip
LAYER, CONTEXT = 20, 512  # paper, table 2
TOKENS = 10_000_000  # paper, section 2.3
PAPER_MINUTES, GOAL_MINUTES = 200, 6.0


def made(name: str, sizes: dict[str, int], device: str, dtype: torch.dtype) -> LanguageModel:
    """A Gemma-2 with random weights, made where it is to lie; its tokenizer is the embedded family's."""
    from transformers import Gemma2Config, Gemma2ForCausalLM, PreTrainedTokenizerFast

    config = Gemma2Config(**(SHARED | sizes))
    torch.manual_seed(0)
    default = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        with torch.device(device):
            module = Gemma2ForCausalLM(config)
    finally:
        torch.set_default_dtype(default)
    tokenizer = PreTrainedTokenizerFast.from_pretrained(WEIGHTS / "tokenizer")
    return TransformersModel(name, name, module.requires_grad_(False), tokenizer)


def texts(count: int, context: int, split: str, vocabulary: int) -> list[PairedTokens]:
    """Texts of random tokens; every token but the first is in a pair."""
    rng = np.random.default_rng(len(split))
    positions = np.arange(1, context)
    rows = [rng.integers(2, vocabulary, context).tolist() for _ in range(count)]
    return [PairedTokens(split, ids, ids, positions, positions) for ids in rows]  # type: ignore[arg-type]


def fit_lines(source: Site, target: Site, fit_texts: int, context: int, batch: int, title: str) -> list[Line]:
    """Tokens a second of `collect`, seconds of the solve, and the minutes of 10M tokens."""
    vocabulary = source.model.module.config.vocab_size  # type: ignore[attr-defined]
    blocks = [[*texts(fit_texts, context, "fit", vocabulary), *texts(4, context, "validation", vocabulary)]]
    warm = [[*blocks[0][:batch], *blocks[0][-4:]]]

    def run(blocks: list[list[PairedTokens]]) -> Any:
        tokens = sum(len(t.source_at) for t in blocks[0] if t.split == "fit")
        budget = Budget(tokens, 3 * context, min(tokens, 8192))
        corpus = Pretokenised("random tokens", context=context, blocks=blocks)
        return collect(source, target, corpus, budget, batch_size=batch)

    run(warm)
    states_seconds, states = clock(lambda: run(blocks))
    solve_seconds, _ = clock(lambda: Ridge().fit(states))
    rate = states.tokens / states_seconds
    minutes = (TOKENS / rate + solve_seconds) / 60
    what = f"{title}: minutes of a fit on 10M tokens"
    about = f"states at {rate:,.0f} tokens/s ({states.tokens:,} measured), solve {solve_seconds:.1f} s"
    note = f"{about}; the paper: about {PAPER_MINUTES} (4 epochs, one GH200)"
    line = Line("gpu", what, minutes, "min", note=note)
    return [Line("gpu", f"{title}: tokens a second", rate, "tokens/s"), line]


def sweep_lines(target: Site, count: int, title: str) -> list[Line]:
    """Seconds of a sweep in the model's own type."""
    rows = prompts(target.model, count, 48)
    vectors = torch.randn(4, target.width, generator=torch.Generator().manual_seed(1))

    def run() -> object:
        return Sweep(target, rows, (-0.5, -0.25, 0.0, 0.25, 0.5), 10.0, 256).run(vectors)

    run()
    calls: dict[str, Callable[[], object]] = {"ours": run}
    timings, _ = interleaved(calls, 3)
    cells = count * (4 * 4 + 1)
    timing: Timing = timings["ours"]
    return [
        seconds("gpu", f"{title}: sweep of {cells:,} cells", timing, f"{cells / timing.median:,.0f} cells/s")
    ]


def measure(settings: Settings) -> list[Line]:
    """Full size on a CUDA device; on the CPU small shapes, which show that it runs and nothing else."""
    full = settings.device.startswith("cuda")
    sizes = SIZES if full else SMALL
    layer, context = (LAYER, CONTEXT) if full else (2, 32)
    dtype = torch.bfloat16 if full else torch.float32
    small, large = (made(name, size, settings.device, dtype) for name, size in sizes.items())
    source, target = Site(small, layer), Site(large, layer)
    title = " to ".join(sizes) if full else "small shapes on the CPU"
    lines = fit_lines(source, target, 512 if full else 16, context, 32 if full else 8, title)
    if full:
        lines[1] = lines[1].aims("at most", GOAL_MINUTES)
        peak = torch.cuda.max_memory_allocated() / 1e9
        lines.append(Line("gpu", f"{title}: peak of the device's memory", peak, "GB"))
        return lines + sweep_lines(target, 64, list(sizes)[1])
    note = "the paper's sizes want a GPU: --parts gpu --device cuda"
    return [replace(lines[0], note=note), *sweep_lines(target, 4, title)]
