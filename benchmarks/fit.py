"""The fit: closed form against AdamW as the paper trains, and what it adds to the forwards."""

from __future__ import annotations

import cProfile
import pstats
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from benchmarks.adamw import against_adamw
from benchmarks.models import embedded_pair
from benchmarks.record import Line, Settings, seconds, shares
from benchmarks.timing import Timing, interleaved
from lrt_bench.data.corpus import Budget, Corpus, Coverage, PairedTokens
from lrt_bench.mappings.base import eigh
from lrt_bench.mappings.moments import Moments
from lrt_bench.mappings.ridge import Ridge
from lrt_bench.models.batching import forwards as read_together
from lrt_bench.models.batching import pad
from lrt_bench.models.memory import give_back
from lrt_bench.models.sample import Sample
from lrt_bench.models.sites import Site
from lrt_bench.models.states import PairedStates, Pass, Shard, collect, gather, paired_states, read_shard

BLOCK = 4096


@dataclass
class Pretokenised(Corpus):
    """Blocks of paired tokens made before, so that tokenising is not timed."""

    blocks: Sequence[list[PairedTokens]] = ()

    def pairs(
        self, source_tokenizer: Any, target_tokenizer: Any, limits: tuple[int, int] = (1 << 30, 1 << 30)
    ) -> Iterator[list[PairedTokens]]:
        yield from self.blocks


def tokenised(source: Site, target: Site, budget: Budget) -> Pretokenised:
    """As much of the embedded corpus as the budget lets a fit read."""
    fit, held_out, blocks = budget.fit_tokens, budget.validation_tokens, []
    for block in Corpus("nano").pairs(source.model.tokenizer, target.model.tokenizer):
        kept = []
        for text in block:
            room = fit if text.split == "fit" else held_out
            if room > 0:
                kept.append(text)
                fit -= len(text.source_at) if text.split == "fit" else 0
                held_out -= len(text.source_at) if text.split == "validation" else 0
        blocks.append(kept)
        if fit <= 0 and held_out <= 0:
            return Pretokenised("nano", blocks=blocks)
    raise AssertionError("the grammar has no end")


def forwards(source: Site, target: Site, corpus: Pretokenised, batch_size: int) -> None:
    """Both models' truncated forwards over the batches that `collect` makes, and nothing else."""
    held_out = [text for block in corpus.blocks for text in block if text.split == "validation"]
    fits = [[text for text in block if text.split == "fit"] for block in corpus.blocks]
    for texts in [*fits, held_out]:
        for batch in read_together(target.model, [len(text.source_ids) for text in texts], batch_size):
            source.model.states(pad([texts[i].source_ids for i in batch]), [source.layer])
            target.model.states(pad([texts[i].target_ids for i in batch]), [target.layer])


def overhead(title: str, source: Site, target: Site, budget: Budget, rounds: int) -> list[Line]:
    """What moments, gathering, sample and ridge add to the forwards."""
    batch_size = 64
    corpus = tokenised(source, target, budget)

    def whole() -> PairedStates:
        eigh.cache_clear()  # of the same states in the round before
        states = collect(source, target, corpus, budget, batch_size=batch_size, begin=Moments.without_s_yy)
        Ridge().fit(states)
        return states

    forwards(source, target, corpus, batch_size)  # masks and rotations are made once a length
    calls: dict[str, Callable[[], object]] = {
        "forwards": lambda: forwards(source, target, corpus, batch_size), "fit": whole,
    }  # fmt: skip
    timings, results = interleaved(calls, rounds, 30)
    added = [a - b for a, b in zip(timings["fit"].seconds, timings["forwards"].seconds, strict=True)]
    share = [100 * a / b for a, b in zip(added, timings["forwards"].seconds, strict=True)]
    note = f"{results['fit'].tokens:,} tokens; moments, sample, validation and the ridge solve"
    line = seconds("fit", f"{title}: overhead over the truncated forwards", Timing(tuple(share)), note)
    error = moments_error(source, target, corpus, results["fit"], batch_size)
    return [
        seconds("fit", f"{title}: truncated forwards of both models", timings["forwards"]),
        replace(line, unit="%").aims("at most", 10),
        *breakdown(title, whole, timings["forwards"]),
        Line("fit", f"{title}: error of the moments against float64", 1e9 * error, "1e-9 of their norm"),
    ]


STEPS = {  # of a fit, beside the forwards: functions, and who calls them where that tells steps apart
    "moments": ((Moments.update, read_shard), (Moments.merge, Pass.add)),
    "gathering of paired tokens": ((gather, None),),
    "sample and validation states": ((Sample.draw, None), (Shard.kept, None), (Sample.put, None)),
    "ridge solve, its strength chosen on validation": ((Ridge.fit, None),),
    "memory given back": ((give_back, None),),
}


def breakdown(title: str, fit: Callable[[], object], forwards: Timing) -> list[Line]:
    """Seconds of the steps that a fit adds, as a profiler has them, over those of the forwards."""
    with cProfile.Profile() as profiler:
        fit()
    profile: Any = pstats.Stats(profiler)
    parts = {
        name: sum(_spent(profile.stats, function, caller) for function, caller in functions)
        for name, functions in STEPS.items()
    }
    what = f"{title}: of the overhead"
    return shares("fit", what, parts, forwards.median, "over the truncated forwards; cProfile")


def _spent(stats: Any, function: Any, caller: Any) -> float:
    """Seconds of a function with all that it calls, where `caller` called it if one is given."""
    *_, spent, callers = stats[_place(function)]
    return float(spent if caller is None else callers[_place(caller)][3])


def _place(function: Any) -> tuple[str, int, str]:
    code = function.__code__
    return code.co_filename, code.co_firstlineno, code.co_name


def moments_error(
    source: Site, target: Site, corpus: Pretokenised, states: PairedStates, batch_size: int
) -> float:
    """How far the moments of `collect` lie from float64 sums over the same states, relative to their norm.

    Of S_yy the diagonal, which all moments hold.
    """
    exact = Moments.zeros(source.width, target.width)
    for block in corpus.blocks:
        texts = [text for text in block if text.split == "fit"]
        for _, x, y in paired_states(source, target, texts, batch_size):
            exact.merge(Moments.of(x.cpu(), y.cpu()))
    sides = [(getattr(states.moments, name), getattr(exact, name)) for name in ("s_xx", "s_xy", "squares_y")]
    return max(float((measured.cpu() - wanted).norm() / wanted.norm()) for measured, wanted in sides)


def random_states(d_x: int, d_y: int, tokens: int, held_out: int = 4096) -> PairedStates:
    """States of made-up models: a falling spectrum, three massive dimensions, a noisy linear map."""
    generator = torch.Generator().manual_seed(d_x)

    def noise(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator)

    spectrum = torch.arange(1, d_x + 1).float().rsqrt()
    turn, linear, offset = noise(d_x, d_x) / d_x**0.5, noise(d_x, d_y) / d_x**0.5, 2 * noise(d_x)
    offset[:3] += 50

    def draw(count: int) -> tuple[Tensor, Tensor]:
        x = (noise(count, d_x) * spectrum) @ turn
        return x + offset, x @ linear + 1 + 0.05 * noise(count, d_y)

    moments, sample = Moments.zeros(d_x, d_y), Sample(tokens, d_x, d_y, 0)
    for start in range(0, tokens, BLOCK):
        x, y = draw(min(BLOCK, tokens - start))
        moments.update(x, y)
        sample.update(*(np.asarray(side) for side in (x, y)))
    return PairedStates(moments, sample, draw(held_out), [], tokens, Coverage(), "", 0.0)


def measure(settings: Settings) -> list[Line]:
    """All lines of the fit."""
    source, target = embedded_pair(settings.device)
    tokens = 2_000 if settings.quick else 60_000
    budget = Budget(tokens, tokens // 10, tokens)
    title = f"{source.width} to {target.width} wide, embedded S to L"
    lines = overhead(title, source, target, budget, 1 if settings.quick else 5)
    states = collect(source, target, Corpus("nano"), budget)
    lines += against_adamw(title, states, 1 if settings.quick else 3, 0.2 if settings.quick else 6)
    widths = [(16, 24, 640)] if settings.quick else [(288, 384, 80_000), (576, 640, 130_000)]
    for d_x, d_y, count in widths:
        states = random_states(d_x, d_y, count)
        name = f"{d_x} to {d_y} wide, made-up states"
        rounds = 1 if settings.quick or d_x > 300 else 3
        lines += against_adamw(name, states, rounds, 0.2 if settings.quick else 3)
    return lines
