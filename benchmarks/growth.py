"""How the seconds of a sweep and of a fit grow: exponents of power laws, by least squares on logarithms."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence

import numpy as np
import torch

from benchmarks.fit import random_states, tokenised
from benchmarks.models import embedded_pair
from benchmarks.record import Line, Settings
from benchmarks.timing import interleaved
from lrt_bench.data.corpus import Budget, encode
from lrt_bench.data.tasks import ChoicePrompt
from lrt_bench.mappings.moments import spread
from lrt_bench.mappings.ridge import Ridge
from lrt_bench.models.base import LanguageModel
from lrt_bench.models.decoders.transformers_model import TransformersModel
from lrt_bench.models.sites import Site
from lrt_bench.models.states import collect
from lrt_bench.nano.family import WEIGHTS
from lrt_bench.nano.grammar import documents
from lrt_bench.steering.concepts import last_states
from lrt_bench.steering.sweep import Sweep

STREAM = 90  # of the grammar; no corpus and no task is written from it
ALPHAS = (0.5, -0.5, 0.25, -0.25, 0.125, -0.125, 1.0, -1.0)


def exponent(sizes: Sequence[float], seconds: Sequence[float]) -> float:
    """The slope of log seconds over log sizes."""
    return float(np.polyfit(np.log(sizes), np.log(seconds), 1)[0])


def random_llama(width: int, layers: int = 6) -> LanguageModel:
    """An untrained Llama over the embedded family's tokens."""
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    config = LlamaConfig(
        vocab_size=1536, hidden_size=width, intermediate_size=8 * width // 3 // 16 * 16,
        num_hidden_layers=layers, num_attention_heads=width // 32, num_key_value_heads=width // 32,
        max_position_embeddings=128, tie_word_embeddings=True, bos_token_id=0, eos_token_id=1,
    )  # fmt: skip
    torch.manual_seed(width)
    tokenizer = PreTrainedTokenizerFast.from_pretrained(WEIGHTS / "tokenizer")
    return TransformersModel(f"random-{width}", f"random-{width}", LlamaForCausalLM(config), tokenizer)


def prompts(model: LanguageModel, count: int, tokens: int) -> list[ChoicePrompt]:
    """Prompts of `tokens` tokens that share no beginning to speak of; options " a" and " the" in turns."""
    made: list[ChoicePrompt] = []
    options = itertools.cycle([(" a", " the"), (" the", " a")])
    stream = documents(STREAM)
    while len(made) < count:
        text = " ".join(itertools.islice(stream, 1 + tokens // 12))
        ends = encode(model.tokenizer, [text])[0].ends
        if len(ends) >= tokens:
            positive, negative = next(options)
            prompt = text[: ends[tokens - 1]]
            made.append(ChoicePrompt(prompt=prompt, positive=positive, negative=negative))
    return made


def sweep_call(site: Site, count: int, tokens: int, vectors: int, alphas: int) -> Callable[[], object]:
    """A sweep of so many prompts of so many tokens, under so many vectors at so many alphas that move."""
    rows = prompts(site.model, count, tokens)
    scale = spread(last_states(site, [row.prompt for row in rows]).double().var(0))
    directions = torch.randn(vectors, site.width, generator=torch.Generator().manual_seed(3))
    return lambda: Sweep(site, rows, ALPHAS[:alphas], scale, 128).run(directions)


def measure(settings: Settings) -> list[Line]:
    """An exponent a line; the sizes and their seconds in the note."""
    source, target = embedded_pair(settings.device)
    few = settings.quick
    base = {"prompts": 4 if few else 16, "tokens": 8 if few else 24, "vectors": 2 if few else 6, "alphas": 2}

    def swept(**sizes: int) -> Callable[[], object]:
        chosen = base | sizes
        return sweep_call(target, chosen["prompts"], chosen["tokens"], chosen["vectors"], chosen["alphas"])

    def fitted(tokens: int) -> Callable[[], object]:
        budget = Budget(tokens, 200, 1_000)
        corpus = tokenised(source, target, budget)
        return lambda: collect(source, target, corpus, budget)

    wide = [32, 64] if few else [128, 256, 512]
    across = {
        "sweep: prompts": {n: swept(prompts=n) for n in ([4, 8] if few else [16, 32, 64, 128])},
        "sweep: alphas": {n: swept(alphas=n) for n in ([1, 2] if few else [1, 2, 4, 8])},
        "sweep: vectors": {n: swept(vectors=n) for n in ([1, 2] if few else [4, 8, 16, 32])},
        "sweep: tokens a prompt": {n: swept(tokens=n) for n in ([8, 16] if few else [12, 24, 48, 96])},
        "sweep: width": {n: sweep_call(Site(random_llama(n), 3), 4 if few else 16, 16, 2, 2) for n in wide},
        "fit: tokens": {n: fitted(n) for n in ([600, 1_200] if few else [4_000, 8_000, 16_000])},
        "fit: width, solve": {n: _solve(n) for n in ([16, 32] if few else [256, 512, 1024])},
    }
    return [_fitted(what, calls, 1 if few else 3) for what, calls in across.items()]


def _solve(width: int) -> Callable[[], object]:
    states = random_states(width, width, 2 * width, held_out=256)
    return lambda: Ridge().fit(states)


def _fitted(what: str, calls: dict[int, Callable[[], object]], rounds: int) -> Line:
    calls[min(calls)]()
    timings, _ = interleaved({str(size): call for size, call in calls.items()}, rounds, 8)
    sizes, taken = list(calls), [timings[str(size)].median for size in calls]
    note = ", ".join(f"{size:,}: {value:.2f} s" for size, value in zip(sizes, taken, strict=True))
    return Line("growth", what, exponent(sizes, taken), "exponent", note=note)
