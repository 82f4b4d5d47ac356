"""Token sequences in batches of like length, padded on the right."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator, Sequence

import torch
from torch import Tensor

from lrt_bench.models.base import LanguageModel

CACHED_TOKENS = 1024  # of one forward on a processor: its caches hold them, and little is left in pieces
FEW_TOKENS, EVEN = 256, 0.8  # a batch of more has no sequence shorter than this share of its longest


def pad(rows: list[list[int]]) -> Tensor:
    """Token ids [b, t], padded on the right with id 0.

    No real token depends on the padding: models for which that fails (`one_length`) are given batches of one
    length by `by_length` and `forwards`.
    """
    length = max(map(len, rows))
    return torch.tensor([row + [0] * (length - len(row)) for row in rows])


def by_length(
    lengths: Sequence[int], batch_size: int, model: LanguageModel | None = None
) -> Iterator[list[int]]:
    """Return indices of sequences in batches of like length, longest first, at most `batch_size` in each.

    model : the model that is run on them; where its states depend on the padded length, the sequences of
        a batch are of one length.
    """
    order = _longest_first(lengths)
    batches = (order[start : start + batch_size] for start in range(0, len(order), batch_size))
    return _of_one_length(batches, lengths) if model is not None and model.one_length else batches


def forwards(model: LanguageModel, lengths: Sequence[int], batch_size: int) -> Iterator[list[int]]:
    """`by_length` for one model: on a processor no batch outgrows its caches, or is padded much."""
    if model.device.type != "cpu" or model.one_length:
        yield from by_length(lengths, batch_size, model)
        return
    batch: list[int] = []
    for index in _longest_first(lengths):
        longest = lengths[batch[0]] if batch else lengths[index]
        tokens = (len(batch) + 1) * longest
        uneven = tokens > FEW_TOKENS and lengths[index] < EVEN * longest
        if batch and (len(batch) == batch_size or tokens > CACHED_TOKENS or uneven):
            yield batch
            batch = []
        batch.append(index)
    if batch:
        yield batch


def paired_forwards(
    models: tuple[LanguageModel, LanguageModel], lengths: Sequence[tuple[int, int]], batch_size: int
) -> Iterator[list[int]]:
    """Batches of texts that a source and a target model read; lengths : of each text in either's tokens."""
    batches = forwards(models[1], [source for source, _ in lengths], batch_size)
    return _of_one_length(batches, lengths) if any(model.one_length for model in models) else batches


def paired_by_length(
    models: tuple[LanguageModel, LanguageModel], lengths: Sequence[tuple[int, int]], batch_size: int
) -> Iterator[list[int]]:
    """`paired_forwards` with batches of the target's like lengths, at most `batch_size` texts in each."""
    batches = by_length([target for _, target in lengths], batch_size)
    return _of_one_length(batches, lengths) if any(model.one_length for model in models) else batches


def _of_one_length(batches: Iterable[list[int]], lengths: Sequence[Hashable]) -> Iterator[list[int]]:
    """Return the batches cut so that the sequences of each are of one length."""
    for batch in batches:
        groups: dict[Hashable, list[int]] = {}
        for index in batch:
            groups.setdefault(lengths[index], []).append(index)
        yield from groups.values()


def _longest_first(lengths: Sequence[int]) -> list[int]:
    return sorted(range(len(lengths)), key=lambda i: (-lengths[i], i))
