"""Damage and its unit in the cache."""

from __future__ import annotations

import torch
from torch import Tensor

from lrt_bench.files.cache.recall import recall
from lrt_bench.steering.damage import DIRECTIONS, DamageUnit, NeutralText, damage_unit

CURVE = ("lengths", "medians", "lower", "upper")


def kept_damage(text: NeutralText, offsets: Tensor) -> Tensor:
    """`NeutralText.damage`, read back where it was measured before: offsets [v, d] -> [v], nats."""
    made = recall("damage", [*text.parts, offsets], lambda: {"nats": text.damage(offsets)})
    return made["nats"]


def kept_unit(
    text: NeutralText, width: int, guess: float, *, nats: float, directions: int = DIRECTIONS, seed: int = 0
) -> DamageUnit:
    """`damage_unit`, read back where it was found before."""

    def found() -> dict[str, Tensor]:
        unit = damage_unit(text, width, guess, nats=nats, directions=directions, seed=seed)
        curve = torch.tensor([getattr(unit, name) for name in CURVE], dtype=torch.float64)
        return {"length": torch.tensor([unit.length, *unit.interval], dtype=torch.float64), "curve": curve}

    kept = recall("unit", [*text.parts, width, guess, nats, directions, seed], found)
    length, low, high = kept["length"].tolist()
    curve = {name: tuple(row) for name, row in zip(CURVE, kept["curve"].tolist(), strict=True)}
    return DamageUnit(nats, length, (low, high), directions, text.tokens, **curve)
