"""Rows of token ids that grow by a token at a time, with a KV cache where the model's is exact."""

from __future__ import annotations

import sys
from collections.abc import Callable

import torch
from torch import Tensor

from lrt_bench.models.base import LanguageModel

EVER = sys.maxsize  # tokens that no row has
Change = Callable[[Tensor, int], Tensor]  # states [b, t, d] after block k (from 1), k -> changed states


def unchanged(states: Tensor, layer: int) -> Tensor:
    """Return the states as they are."""
    return states


class Decoding:
    """Greedy or sampled writing, a forward a step: rows of equal length under one change of the states.

    Parameters
    ----------
    change : applied to the states after every block.
    reach : tokens of the longest rows for which keys and values of earlier tokens are kept; from there on
        every step runs the whole rows. By default as far as the model's cache is exact
        (`LanguageModel.cache_reach`).
    """

    def __init__(self, model: LanguageModel, change: Change = unchanged, reach: int | None = None) -> None:
        self._model, self._change = model, change
        self._reach = model.cache_reach if reach is None else reach
        self._cache = model.new_cache() if self._reach else None
        self._ids = torch.empty(0, 0, dtype=torch.long)  # all tokens so far

    @torch.inference_mode()
    def next(self, ids: Tensor) -> Tensor:
        """Take in token ids [b, t] that follow: what the head reads at the last one [b, d]."""
        model, position = self._model, self._ids.shape[1]
        self._ids = torch.cat([self._ids, ids], 1) if position else ids
        if self._ids.shape[1] > self._reach:
            self._cache = None
        if self._cache is None:
            ids, position = self._ids, 0
        frame, states = model.frame(ids.shape[1], position), model.embed(ids, position)
        for index in range(model.n_layers):
            states = self._change(model.block(index, states, frame, self._cache), index + 1)
        return model.finish(states[:, -1:])[:, 0]
