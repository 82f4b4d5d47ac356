"""Steered generation: seeded, paired across vectors, with the unsteered model's view of the text."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from lrt_bench.errors import UserError
from lrt_bench.models.base import LanguageModel
from lrt_bench.models.batching import by_length, forwards, pad
from lrt_bench.models.checks.probes import check_finite
from lrt_bench.models.decoding import Decoding
from lrt_bench.models.sites import Site
from lrt_bench.models.texts import token_ids
from lrt_bench.steering.resume import Steered
from lrt_bench.steering.sweep import Interventions, unit

STEERED = 2048  # tokens that the upper blocks are run on at a time
PART = 1024  # tokens whose logits over the vocabulary are held at a time


@dataclass(frozen=True)
class Written:
    """Texts written on from prompts: texts[v][p] under vector v, tokens[v][p], and unsteered cross-entropy.

    cross_entropy [v, p] : nats a token of the written part, under the model unsteered (its perplexity is
    the exponential); NaN where nothing was written.
    """

    texts: list[list[str]]
    cross_entropy: Tensor
    tokens: list[list[list[int]]]


def generate(
    site: Site,
    prompts: Sequence[str],
    steering: Tensor | Interventions,
    new_tokens: int,
    *,
    seed: int = 0,
    temperature: float = 1.0,
    batch_size: int = 256,
) -> Written:
    """Write on from each prompt under each intervention; offsets [v, d] are added at the site at every token.

    Sampling is by the Gumbel rule, with noise that depends on seed, prompt and step alone: every vector
    meets the same noise, and the batch size changes nothing. Temperature 0 is greedy.
    """
    works = [(prompts, steering)]
    [written] = generate_all(
        site, works, new_tokens, seed=seed, temperature=temperature, batch_size=batch_size
    )
    return written


def generate_all(
    site: Site,
    works: Sequence[tuple[Sequence[str], Tensor | Interventions]],
    new_tokens: int,
    *,
    seed: int = 0,
    temperature: float = 1.0,
    batch_size: int = 256,
) -> list[Written]:
    """Return what `generate` gives for each (prompts, steering), in common forwards."""
    tokenizer = site.model.tokenizer
    encoded = [token_ids(site.model, prompts, "prompt") for prompts, _ in works]
    changes = [Interventions.adding(by) if isinstance(by, Tensor) else by for _, by in works]
    together, firsts = Interventions.joined(changes), np.cumsum([0, *map(len, changes)])
    jobs = [(w, v, p) for w, by in enumerate(changes) for v in range(len(by)) for p in range(len(encoded[w]))]
    rows_written: dict[tuple[int, int, int], list[int]] = {}
    for length in sorted({len(encoded[w][p]) for w, _, p in jobs}):
        same = [(w, v, p) for w, v, p in jobs if len(encoded[w][p]) == length]
        for start in range(0, len(same), batch_size):
            chunk = same[start : start + batch_size]
            ids = torch.tensor([encoded[w][p] for w, _, p in chunk])
            change = together[[int(firsts[w]) + v for w, v, _ in chunk]]
            noise = _SamplingNoise(seed, temperature, [p for _, _, p in chunk])
            texts = _write(site, ids, change, noise, new_tokens)
            rows_written |= dict(zip(chunk, texts, strict=True))
    sequences = [(encoded[w][p], rows_written[w, v, p]) for w, v, p in jobs]
    losses = continuation_cross_entropy(site.model, sequences, batch_size)
    written = []
    for w, by in enumerate(changes):
        tokens = [[rows_written[w, v, p] for p in range(len(encoded[w]))] for v in range(len(by))]
        decoded = [[tokenizer.decode(ids, skip_special_tokens=True) for ids in row] for row in tokens]
        own = losses[[job[0] == w for job in jobs]].view(len(by), len(encoded[w]))
        written.append(Written(decoded, own, tokens))
    return written


def _gumbel(prompt: int, step: int, seed: int, size: int) -> np.ndarray:
    uniform = np.random.default_rng([seed, 31, prompt, step]).random(size)
    return -np.log(-np.log(np.clip(uniform, 1e-12, 1 - 1e-12)))


@dataclass(frozen=True)
class _SamplingNoise:
    """The noise on each row's logits: `prompts` says which prompt a row writes on from."""

    seed: int
    temperature: float
    prompts: list[int]

    def at_step(self, step: int, size: int) -> Tensor | float:
        """Return what is added to the logits [rows, size] at one step."""
        if not self.temperature:
            return 0.0
        drawn = {p: _gumbel(p, step, self.seed, size) for p in set(self.prompts)}
        noise = torch.from_numpy(np.stack([drawn[p] for p in self.prompts])).float()
        return noise * self.temperature


@torch.inference_mode()
def _write(
    site: Site, ids: Tensor, change: Interventions, noise: _SamplingNoise, new_tokens: int
) -> list[list[int]]:
    """Continue rows of equal length, a steered forward a token, each up to the first end of text."""
    model = site.model
    model.check_length(ids.shape[1] + new_tokens)

    def changed(states: Tensor, layer: int) -> Tensor:
        return change.to(states.device).apply(states, layer, site.layer)

    decoding, step_ids = Decoding(model, changed), ids
    rows: list[list[int]] = [[] for _ in ids]
    open_rows = set(range(len(ids)))
    for step in range(new_tokens):
        logits = model.head.all(decoding.next(step_ids)).cpu()
        check_finite(model, logits, "its logits under steering")
        logits += noise.at_step(step, logits.shape[1])
        step_ids = logits.argmax(1)[:, None]
        for row in sorted(open_rows):
            token = int(step_ids[row])
            if token in model.ends:
                open_rows.discard(row)
            else:
                rows[row].append(token)
        if not open_rows:
            break
    return rows


@torch.inference_mode()
def continuation_cross_entropy(
    model: LanguageModel, sequences: Sequence[tuple[list[int], list[int]]], batch_size: int
) -> Tensor:
    """Mean cross-entropy, in nats a token, of each continuation after its prompt, unsteered: [n]."""
    losses = torch.full((len(sequences),), torch.nan)
    not_empty = [i for i, (_, written) in enumerate(sequences) if written]
    lengths = [len(sequences[i][0]) + len(sequences[i][1]) for i in not_empty]
    for batch in by_length(lengths, batch_size, model):
        chosen = [not_empty[j] for j in batch]
        whole = [sequences[i][0] + sequences[i][1] for i in chosen]
        ids = pad(whole)
        final = model.finish(model.states(ids, [model.n_layers])[model.n_layers])
        for row, i in enumerate(chosen):
            start, end = len(sequences[i][0]), len(whole[row])
            logits = model.head.all(final[row, start - 1 : end - 1]).cpu()
            check_finite(model, logits, "its logits")
            losses[i] = torch.nn.functional.cross_entropy(logits, ids[row, start:end])
    return losses


def offsets_for(vector: Tensor, alphas: Sequence[float], spread: float) -> Tensor:
    """Return what to add to the residual stream at each alpha: [alphas, d]."""
    return torch.stack([unit(vector.float()) * alpha * spread for alpha in alphas])


class TextLoss:
    """Cross-entropy of texts under steering at the site, nats a token over all of them.

    What steering does not change, the states up to the site, is computed once; `unsteered` is the loss of
    the model as it is.
    """

    def __init__(self, site: Site, texts: Sequence[str], batch_size: int = 64) -> None:
        self._model = site.model
        encoded = token_ids(site.model, texts)
        self._count = sum(len(ids) - 1 for ids in encoded)
        if not self._count:
            raise UserError(f"{site.model.name}: no text of two tokens or more: there is no loss to measure")
        self._batches = []
        for batch in forwards(site.model, [len(ids) for ids in encoded], batch_size):
            chosen = [encoded[i] for i in batch]
            ids = pad(chosen)
            real = torch.arange(ids.shape[1])[None] < torch.tensor([len(row) for row in chosen])[:, None]
            steered = Steered(site, site.model.states(ids, [site.layer])[site.layer])
            self._batches.append((steered, real[:, 1:], ids[:, 1:][real[:, 1:]]))
        self.unsteered = float(self(torch.zeros(1, site.width))[0])
        check_finite(self._model, torch.tensor(self.unsteered), "its losses of neutral text")

    @torch.inference_mode()
    def __call__(self, offsets: Tensor) -> Tensor:
        """Return the loss under each offset [v, d], added at every token: [v], float64."""
        total = torch.zeros(len(offsets), dtype=torch.float64)
        for steered, real, following in self._batches:
            together = max(1, STEERED // steered.states[..., 0].numel())
            for v, some in enumerate(offsets.split(together)):
                final = self._model.finish(steered.run(some))[:, :-1]
                kept = final[real.repeat(len(some), 1).to(final.device)]
                losses = self._losses(kept, following.repeat(len(some)))
                total[v * together : v * together + len(some)] += losses.view(len(some), -1).double().sum(1)
        return total / self._count

    def _losses(self, final: Tensor, following: Tensor) -> Tensor:
        """Return the cross-entropy of each token, from what the head reads before it: [n, d], [n] -> [n]."""
        parts = zip(final.split(PART), following.split(PART), strict=True)
        return torch.cat([
            torch.nn.functional.cross_entropy(self._model.head.all(part).cpu(), tokens, reduction="none")
            for part, tokens in parts
        ])  # fmt: skip
