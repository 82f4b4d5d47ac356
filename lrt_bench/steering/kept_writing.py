"""What steering wrote, in the cache: native steering's texts, and what a model writes unsteered."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from lrt_bench.files.cache.recall import recall
from lrt_bench.models.sites import Site, computed_by
from lrt_bench.steering import generation
from lrt_bench.steering.continuation import Positions, Written, write_greedily


def kept_writing(
    site: Site, prompts: Sequence[list[int]], offsets: Tensor, tokens: int, *, positions: Positions, rows: int
) -> list[Written]:
    """`write_greedily`, read back where the same was written before."""

    def packed() -> dict[str, Tensor]:
        written = write_greedily(site, prompts, offsets, tokens, positions=positions, rows=rows)
        return {
            "ids": torch.tensor([token for text in written for token in text.ids]),
            "lengths": torch.tensor([[len(text.states), len(text.final)] for text in written]),
            "states": torch.cat([text.states for text in written]),
            "final": torch.cat([text.final for text in written]),
        }

    if not prompts:
        return []
    parts = [computed_by(site), list(prompts), offsets, tokens, positions, rows]
    return _texts(recall("written", parts, packed), site)


def kept_unsteered(
    site: Site, prompts: Sequence[str], new_tokens: int, *, seed: int, batch_size: int
) -> generation.Written:
    """Return what a model writes on from prompts unsteered, read back where it was written before."""

    def packed() -> dict[str, Tensor]:
        nothing = torch.zeros(1, site.width)
        written = generation.generate(site, prompts, nothing, new_tokens, seed=seed, batch_size=batch_size)
        rows = written.tokens[0]
        return {
            "ids": torch.tensor([token for row in rows for token in row], dtype=torch.long),
            "lengths": torch.tensor([len(row) for row in rows]),
            "cross_entropy": written.cross_entropy,
        }

    parts = [computed_by(site), list(prompts), new_tokens, seed, batch_size]
    kept = recall("unsteered", parts, packed)
    tokens = [row.tolist() for row in kept["ids"].split(kept["lengths"].tolist())]
    texts = [site.model.tokenizer.decode(row, skip_special_tokens=True) for row in tokens]
    return generation.Written([texts], kept["cross_entropy"], [tokens])


def _texts(kept: Mapping[str, Tensor], site: Site) -> list[Written]:
    sizes, device = kept["lengths"], site.model.device
    ids = kept["ids"].split(sizes[:, 0].tolist())
    states = kept["states"].to(device).split(sizes[:, 0].tolist())
    final = kept["final"].to(device).split(sizes[:, 1].tolist())
    return [Written(i.tolist(), s, f) for i, s, f in zip(ids, states, final, strict=True)]
