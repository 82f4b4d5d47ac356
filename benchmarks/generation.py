"""Steered writing: all vectors and alphas in one batch with a KV cache, beside one text at a time."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from benchmarks.models import embedded_pair
from benchmarks.peers import Work, steered
from benchmarks.record import Line, Settings, ratio, seconds
from benchmarks.timing import interleaved
from lrt_bench.data.corpus import encode
from lrt_bench.data.task_reading.task_folders import find_task
from lrt_bench.errors import UserError
from lrt_bench.mappings.moments import spread
from lrt_bench.models.sites import Site
from lrt_bench.steering.concepts import last_states
from lrt_bench.steering.generation import generate
from lrt_bench.steering.sweep import unit

ALPHAS = (-0.5, -0.25, 0.25, 0.5)
TIES = 0.02  # share of texts that rounding may turn where two tokens are as likely


Texts = dict[tuple[int, int], str]  # (offset, prompt): what was written


def batched(site: Site, prompts: list[str], offsets: Tensor, new: int) -> Texts:
    """Ours, all at once; it reads the unsteered model's cross-entropy of every text too."""
    texts = generate(site, prompts, offsets, new, temperature=0).texts
    return {(v, p): text for v, row in enumerate(texts) for p, text in enumerate(row)}


def one_at_a_time(site: Site, prompts: list[str], offsets: Tensor, new: int) -> Texts:
    """Ours, one text a call."""
    return {
        (v, p): generate(site, [prompt], offsets[v : v + 1], new, temperature=0).texts[0][0]
        for v in range(len(offsets))
        for p, prompt in enumerate(prompts)
    }


@torch.inference_mode()
def package(site: Site, prompts: list[str], offsets: Tensor, new: int) -> Texts:
    """steering-vectors and transformers' generate, one text a call, greedy."""
    tokenizer, written = site.model.tokenizer, {}
    work = Work(site, {}, offsets, (1.0,), 1.0)
    for v, offset in enumerate(offsets):
        with steered(work, offset) as module:
            for p, prompt in enumerate(prompts):
                ids = torch.tensor([encode(tokenizer, [prompt])[0].ids], device=site.model.device)
                whole = module.generate(
                    input_ids=ids, attention_mask=torch.ones_like(ids), max_new_tokens=new, do_sample=False,
                    pad_token_id=tokenizer.eos_token_id,
                )  # fmt: skip
                written[v, p] = tokenizer.decode(whole[0, ids.shape[1] :], skip_special_tokens=True)
    return written


def differing(what: str, ours: Texts, theirs: Texts) -> float:
    """The share of texts that differ. Raises UserError where they are more than ties explain."""
    share = sum(text != ours[key] for key, text in theirs.items()) / len(theirs)
    if share > TIES:
        raise UserError(f"{what}: {share:.1%} of its texts are not ours: not the same work")
    return share


def measure(settings: Settings) -> list[Line]:
    """Seconds of ours, and how many times longer the others take."""
    site = embedded_pair(settings.device)[1]
    count, vectors, new = (3, 1, 4) if settings.quick else (16, 4, 24)
    prompts = [row.prompt for row in find_task("write-dogs").prompts[:count]]
    directions = unit(torch.randn(vectors, site.width, generator=torch.Generator().manual_seed(5)))
    scale = spread(last_states(site, prompts).double().var(0))
    offsets = torch.cat([directions * alpha * scale for alpha in ALPHAS])
    few = offsets[: max(1, len(offsets) // 4)]
    calls: dict[str, Callable[[], Texts]] = {
        "ours": lambda: batched(site, prompts, offsets, new),
        "single": lambda: one_at_a_time(site, prompts, few, new),
        "package": lambda: package(site, prompts, few, new),
    }
    for call in (batched, package):
        call(site, prompts[:1], offsets[:1], 2)  # what is made once is made now
    timings, written = interleaved(calls, 1 if settings.quick else 3, 40)
    texts = len(offsets) * len(prompts)
    lines = [seconds("generation", "embedded L: ours, one batch", timings["ours"],
                     f"{texts} texts of {new} tokens")]  # fmt: skip
    for name, what in (("single", "ours, one text at a time"),
                       ("package", "steering-vectors and generate, one text at a time")):  # fmt: skip
        share = differing(what, written["ours"], written[name])
        slow = timings[name].times(len(offsets) / len(few))
        note = f"{share:.1%} of texts differ; timed on {len(few)} of {len(offsets)} offsets, scaled"
        lines.append(ratio("generation", f"embedded L: against {what}", slow, timings["ours"], note))
    return lines
