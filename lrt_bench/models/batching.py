"""Token sequences in batches of like length, padded on the right."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from lrt_bench.models.base import LanguageModel

CACHED_TOKENS = 1024  # of one forward on a processor: its caches hold them, and little is left in pieces


FEW_TOKENS, EVEN = 256, 0.8  # a batch of more has no sequence shorter than this share of its longest


def pad(rows: list[list[int]]) -> Tensor:
    """Token ids [b, t], padded on the right with id 0; nothing real sees the padding (see `models.base`)."""
    length = max(map(len, rows))
    return torch.tensor([row + [0] * (length - len(row)) for row in rows])


def by_length(lengths: Sequence[int], rows: int) -> Iterator[list[int]]:
    """Indices of sequences in batches of like length, longest first, at most `rows` in each."""
    order = _longest_first(lengths)
    for start in range(0, len(order), rows):
        yield order[start : start + rows]


def forwards(model: LanguageModel, lengths: Sequence[int], rows: int) -> Iterator[list[int]]:
    """`by_length` for one model: on a processor no batch outgrows its caches, or is padded much."""
    if model.device.type != "cpu":
        yield from by_length(lengths, rows)
        return
    batch: list[int] = []
    for index in _longest_first(lengths):
        longest = lengths[batch[0]] if batch else lengths[index]
        tokens = (len(batch) + 1) * longest
        uneven = tokens > FEW_TOKENS and lengths[index] < EVEN * longest
        if batch and (len(batch) == rows or tokens > CACHED_TOKENS or uneven):
            yield batch
            batch = []
        batch.append(index)
    if batch:
        yield batch


def _longest_first(lengths: Sequence[int]) -> list[int]:
    return sorted(range(len(lengths)), key=lambda i: (-lengths[i], i))
