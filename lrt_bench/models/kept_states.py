"""Paired states in the cache: what they depend on, and their way to an entry and back."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import astuple
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor

from lrt_bench.data.corpus import Budget, Coverage, PairedTokens, Split
from lrt_bench.files.cache.folder import Entry
from lrt_bench.files.cache.recall import keep, key_of, look_up
from lrt_bench.mappings.moments import Moments
from lrt_bench.models.sample import Sample
from lrt_bench.models.sites import Site, computed_by
from lrt_bench.models.states import Begin, PairedStates

KIND = "states"
MOMENTS = ("mean_x", "mean_y", "s_xx", "s_xy", "products_y")
TEXTS = ("validation_text", "unseen_text")
PARTS = ("source_ids", "target_ids", "source_at", "target_at")


def states_key(
    source: Site,
    target: Site,
    fingerprint: str,
    budget: Budget,
    *,
    seed: int,
    batch_size: int,
    begin: Begin = Moments.zeros,
    draw: int = 0,
) -> str | None:
    """Return the key of two sites' paired states of one draw; fingerprint is the corpus's."""
    whole = begin == Moments.zeros
    sides = computed_by(source), computed_by(target)
    return key_of(KIND, [*sides, fingerprint, astuple(budget), seed, batch_size, whole, draw])


def recall_states(key: str | None, make: Callable[[], PairedStates]) -> PairedStates:
    """Return what `make` reads, read back where the same pass was made before."""
    if (kept := read_states(key)) is not None:
        return kept
    states = make()
    keep_states(key, states)
    return states


def draw_keys(
    source: Site, target: Site, fingerprint: str, budget: Budget, *, seed: int, batch_size: int
) -> list[str | None]:
    """Return the key of each draw of a budget."""
    return [
        states_key(source, target, fingerprint, budget, seed=seed, batch_size=batch_size, draw=draw)
        for draw in range(budget.draws)
    ]


def recall_draws(
    keys: Sequence[str | None], make: Callable[[], tuple[PairedStates, ...]]
) -> tuple[PairedStates, ...]:
    """Return the draws that one pass of `make` reads, read back where the same pass was made before."""
    if (kept := read_draws(keys)) is not None:
        return kept
    draws = make()
    keep_draws(keys, draws)
    return draws


def read_draws(keys: Sequence[str | None]) -> tuple[PairedStates, ...] | None:
    """Return the draws that are kept, each under its key; None where one is missing."""
    draws = []
    for key in keys:
        if (states := read_states(key)) is None:
            return None
        draws.append(states)
    return tuple(draws)


def keep_draws(keys: Sequence[str | None], draws: Sequence[PairedStates]) -> None:
    """Keep each draw under its key."""
    for key, states in zip(keys, draws, strict=True):
        keep_states(key, states)


def read_states(key: str | None) -> PairedStates | None:
    """Return the paired states that are kept under a key, each the caller's own; None where none are."""
    entry = look_up(KIND, key)
    if entry is None:
        return None
    tensors, about = entry.tensors, entry.about
    d_x, d_y = (tensors[side].shape[1] for side in "xy")
    sample = Sample(about["sample_size"], d_x, d_y, seed=0)
    sample.size, sample.seen = about["sample_size"], about["sample_seen"]
    for side in "xy":
        getattr(sample, side)[: len(tensors[side])] = tensors[side].numpy()
    unseen = (tensors["unseen.x"], tensors["unseen.y"]) if "unseen.x" in tensors else None
    return PairedStates(
        Moments(about["tokens"], *(tensors[name] for name in MOMENTS)),
        sample,
        (tensors["validation.x"], tensors["validation.y"]),
        _texts(tensors, about, TEXTS[0]),
        about["tokens"],
        Coverage(*about["coverage"]),
        about["digest"],
        about["seconds"],
        unseen,
        _texts(tensors, about, TEXTS[1]),
        tensors["shown"].numpy() if "shown" in tensors else None,
    )


def keep_states(key: str | None, states: PairedStates) -> None:
    """Keep paired states under a key."""
    if key is None:
        return
    size, sample = len(states.sample), states.sample
    tensors = {name: getattr(states.moments, name) for name in MOMENTS}
    tensors |= {side: torch.from_numpy(np.asarray(getattr(sample, side)[:size])) for side in "xy"}
    for split, sides in (("validation", states.validation), ("unseen", states.unseen)):
        if sides is not None:
            tensors |= {f"{split}.x": sides[0], f"{split}.y": sides[1]}
    if states.shown is not None:
        tensors["shown"] = torch.from_numpy(states.shown.copy())
    splits = {}
    for name in TEXTS:
        texts = getattr(states, name)
        splits[name] = [text.split for text in texts]
        tensors |= {f"{name}.{part}": packed for part, packed in _packed_texts(texts).items()}
    about = {
        "tokens": states.tokens, "coverage": astuple(states.coverage), "digest": states.digest,
        "seconds": states.seconds, "sample_size": sample.size, "sample_seen": sample.seen, "splits": splits,
    }  # fmt: skip
    keep(KIND, key, Entry(tensors, about))


def _packed_texts(texts: Sequence[PairedTokens]) -> dict[str, Tensor]:
    """Texts as flat arrays: of each part all texts' numbers, and how many each text has [texts, parts]."""
    packed = {part: _flat([getattr(text, part) for text in texts]) for part in PARTS}
    lengths = [[len(getattr(text, part)) for part in PARTS] for text in texts]
    return packed | {"lengths": torch.tensor(lengths, dtype=torch.long).view(-1, len(PARTS))}


def _flat(rows: Sequence[Any]) -> Tensor:
    joined = np.concatenate([np.asarray(row, np.int64) for row in rows]) if rows else np.empty(0, np.int64)
    return torch.from_numpy(joined)


def _texts(tensors: Any, about: Any, name: str) -> list[PairedTokens]:
    lengths = tensors[f"{name}.lengths"]
    parts = {
        part: np.split(tensors[f"{name}.{part}"].numpy(), lengths[:, place].cumsum(0).numpy()[:-1])
        for place, part in enumerate(PARTS)
    }
    return [
        PairedTokens(
            cast(Split, split),
            parts["source_ids"][i].tolist(),
            parts["target_ids"][i].tolist(),
            parts["source_at"][i],
            parts["target_at"][i],
        )
        for i, split in enumerate(about["splits"][name])
    ]
