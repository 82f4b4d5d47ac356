"""The unit of alpha: the length at which a random direction does a fixed damage to neutral text.

Damage is the mean KL of the next-token distributions, unsteered to steered, in nats a token. One unit is the
length at which the median of some random directions does `NATS` of it. A spread of the states costs .1 nats
at one site and 5 at another; a unit of damage costs the same everywhere, so that no site is over-steered
unseen.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from lrt_bench.errors import UserError
from lrt_bench.models.batching import forwards, pad
from lrt_bench.models.sites import Site, computed_by
from lrt_bench.results.metrics import Array, interval
from lrt_bench.steering.divergences import kullback_leibler
from lrt_bench.steering.resume import Steered

NATS = 0.5  # of damage that one unit does: half a unit does about .1
DIRECTIONS = 64  # their median then lies within a few percent of all directions'
TOKENS, TEXT = 128, 16  # of neutral text that are read, and of one text at most
CLOSE = 0.01  # relative distance to the wanted damage at which the search ends
FIRST, NEAR = 16, 0.1  # directions that the search begins with, and the distance at which all take over
STEPS = 24  # of the search, each way
CURVE = (0.25, 0.5)  # lengths, in units, at which the curve is read too
REPLICATES = 1000  # of the bootstrap over directions
NO_LENGTH = (
    "unit of alpha: no length of a random direction does the damage of one unit; is the model trained?"
)
HELD = 2**22  # logits over the vocabulary that are held at a time, for each of the two sides
STEERED = 1024  # tokens that the upper blocks are run on at a time


class NeutralText:
    """Damage that vectors do to texts: what steering does not change is computed once.

    texts : token ids. Each is cut at `TEXT` tokens, and those after the first `tokens` in all are left out.
    Raises UserError where there is no text.
    """

    def __init__(
        self, site: Site, texts: Sequence[Sequence[int]], rows: int = 64, tokens: int = TOKENS
    ) -> None:
        self._model = site.model
        cut: list[list[int]] = []
        for ids in texts:
            if sum(map(len, cut)) >= tokens:
                break
            cut.append(list(ids[:TEXT]))
        cut = [ids for ids in cut if ids]
        if not cut:
            raise UserError("neutral text: there is none on which the unit of alpha could be measured")
        self.tokens = sum(map(len, cut))
        # what damage depends on beside offsets: a cache's key
        self.parts = [computed_by(site), cut, rows]
        self._batches: list[tuple[Steered, Tensor, Tensor]] = []
        for batch in forwards(site.model, [len(row) for row in cut], rows):
            chosen = [cut[i] for i in batch]
            padded = pad(chosen)
            real = torch.arange(padded.shape[1])[None] < torch.tensor([len(row) for row in chosen])[:, None]
            states = site.model.states(padded, [site.layer])[site.layer]
            own = self._final(Steered(site, states).run(torch.zeros(1, site.width)), real)
            self._batches.append((Steered(site, states), real, own))

    @torch.inference_mode()
    def _final(self, states: Tensor, real: Tensor) -> Tensor:
        """Return what the head reads at real tokens, from the last block's output [v b, t, d]: [v n, d]."""
        return self._model.finish(states)[real.repeat(len(states) // len(real), 1).to(states.device)]

    @torch.inference_mode()
    def damage(self, offsets: Tensor) -> Tensor:
        """Mean KL that each offset [v, d], added at every token, does to a token's prediction: [v], nats."""
        total = torch.zeros(len(offsets), dtype=torch.float64)
        for steered, real, own in self._batches:
            together = max(1, STEERED // real.numel())
            for start in range(0, len(offsets), together):
                some = offsets[start : start + together]
                final = self._final(steered.run(some), real).view(len(some), len(own), -1)
                total[start : start + len(some)] += self._summed(own, final)
        return total / self.tokens

    def _summed(self, own: Tensor, steered: Tensor) -> Tensor:
        """KL summed over tokens, from what the head reads: own [n, d], steered [v, n, d] -> [v]."""
        head = self._model.head
        size = max(1, head.rows_at_once(HELD) // len(steered))
        total = torch.zeros(len(steered), dtype=torch.float64)
        for before, after in zip(own.split(size), steered.split(size, 1), strict=True):
            reference = head.all(before).log_softmax(-1)
            other = head.all(after).log_softmax(-1)
            total += kullback_leibler(reference, other).sum(1).double().cpu()
        return total


@dataclass(frozen=True)
class DamageUnit:
    """The length of alpha = 1, and the curve that it was found on.

    length : at which the median of `directions` random directions does `nats` of damage.
    interval : 95% of it, by the bootstrap over directions.
    lengths : at which the damage was measured, ascending; medians, lower, upper : its median and quartiles.
    """

    nats: float
    length: float
    interval: tuple[float, float]
    directions: int
    tokens: int
    lengths: tuple[float, ...]
    medians: tuple[float, ...]
    lower: tuple[float, ...]
    upper: tuple[float, ...]


def damage_unit(
    text: NeutralText,
    width: int,
    guess: float,
    *,
    nats: float = NATS,
    directions: int = DIRECTIONS,
    seed: int = 0,
) -> DamageUnit:
    """Find the unit by bisection in the logarithms of length and damage, from a guess of the length.

    Raises UserError where no length does so much damage, or every one does more.
    """
    if not guess > 0 or not math.isfinite(guess):
        raise UserError(f"unit of alpha: the states' spread is {guess:g}: all tokens have one state there")
    generator = torch.Generator().manual_seed(seed + 4243)
    drawn = _orthogonal(directions, width, generator)
    few = _Excess(text, drawn[:FIRST], nats)
    excess = _Excess(text, drawn, nats)
    length = _search(excess, _search(few, guess, NEAR), CLOSE)
    for part in CURVE:
        excess(part * length)
    measured = excess.measured
    lengths = sorted(measured)
    table = np.stack([measured[each] for each in lengths])  # [lengths, directions]
    own = np.array([_crossing(np.log(lengths), np.log(np.maximum(row, 1e-30) / nats)) for row in table.T])
    draws = np.random.default_rng([seed, 404]).integers(0, directions, (REPLICATES, directions))
    low, high = interval(np.exp(np.median(own[draws], axis=1)))
    quartiles = [np.quantile(table, share, axis=1) for share in (0.25, 0.5, 0.75)]
    lower, medians, upper = (tuple(float(value) for value in row) for row in quartiles)
    return DamageUnit(
        nats, length, (low, high), directions, text.tokens, tuple(lengths), medians, lower, upper
    )


@dataclass
class _Excess:
    """Log of the median damage of some directions over the wanted one, as a function of their length.

    measured : damage of each direction, by length.
    """

    text: NeutralText
    directions: Tensor
    nats: float
    measured: dict[float, Array] = field(default_factory=dict)

    def __call__(self, length: float) -> float:
        if length not in self.measured:
            self.measured[length] = self.text.damage(self.directions * length).numpy()
        median = float(np.median(self.measured[length]))
        if not math.isfinite(median):
            raise UserError(NO_LENGTH)
        return math.log(max(median, 1e-30) / self.nats)


def _orthogonal(count: int, width: int, generator: torch.Generator) -> Tensor:
    """Random unit vectors [count, width], orthogonal to each other within each `width` of them.

    Over a whole basis the mean of a quadratic form is exact: their median varies less than independent ones'.
    """
    bases = [
        torch.linalg.qr(torch.randn(width, width, generator=generator, dtype=torch.float64))[0].T
        if width <= count
        else torch.linalg.qr(torch.randn(width, count, generator=generator, dtype=torch.float64))[0].T
        for _ in range(-(-count // width))
    ]
    return torch.cat(bases)[:count].float()


def _search(excess: Callable[[float], float], guess: float, close: float) -> float:
    """Return the length at which `excess` is 0, by a bracket and then by secants that stay inside of it."""
    low = high = guess
    for _ in range(STEPS):
        if excess(low) < 0:
            break
        low, high = low / _stride(excess(low)), low
    for _ in range(STEPS):
        if excess(high) >= 0:
            break
        low, high = high, high * _stride(-excess(high))
    if excess(low) >= 0 or excess(high) < 0:
        raise UserError(NO_LENGTH)
    length = high
    for step in range(STEPS):
        if abs(excess(length)) <= close:
            break
        share = -excess(low) / (excess(high) - excess(low))
        share = (
            0.5 if step % 3 == 2 else min(max(share, 0.05), 0.95)
        )  # a halving now and then bounds the steps
        length = math.exp((1 - share) * math.log(low) + share * math.log(high))
        low, high = (length, high) if excess(length) < 0 else (low, length)
    return length


def _stride(missing: float) -> float:
    """Return the factor for a length whose log damage is `missing` off: damage grows about as its square."""
    return min(max(1.2 * math.exp(missing / 2), 1.5), 16.0)


def _crossing(logs: Array, excess: Array) -> float:
    """Log of the length at which one direction's damage is the wanted one; the ends' slopes go on outside."""
    above = int(np.argmax(excess >= 0)) if bool((excess >= 0).any()) else len(logs) - 1
    right = min(max(above, 1), len(logs) - 1)
    left = right - 1
    slope = (excess[right] - excess[left]) / (logs[right] - logs[left])
    slope = max(float(slope), 0.1)  # a flat end says little of where it would cross
    return float(logs[right] - excess[right] / slope)
