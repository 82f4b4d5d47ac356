"""States at a site, run on under many offsets: what the upper layers make of steering."""

from __future__ import annotations

import torch
from torch import Tensor

from lrt_bench.models.base import Frame
from lrt_bench.models.sites import Site

FEWER = 3  # times the work of a last block that reads a few tokens only is less than that of a whole one


class Steered:
    """The target's states [b, t, d] after the site's layer, and what follows when a vector is added to them.

    frame : of the rows, where they are no plain sequences (`steering.prefix_tree`).
    """

    def __init__(self, site: Site, states: Tensor, frame: Frame | None = None) -> None:
        self.model, self.layer, self.states, self.frame = site.model, site.layer, states, frame
        self._first = self.model.shifted(states, self.layer, frame)

    def tokens(self, positions: Tensor) -> int:
        """How many tokens a block is run on for each offset, about, by `some` at positions [b, q]."""
        few = self._first is not None and self.layer == self.model.n_layers - 1
        return max(positions.numel(), self.states.shape[0] * self.states.shape[1] // (FEWER if few else 1))

    @torch.inference_mode()
    def run(self, offsets: Tensor) -> Tensor:
        """Return the last block's output with each offset [v, d] added at every token: [v b, t, d]."""
        if self._first is None:
            return self.model.resume(self._added(offsets), self.layer, self.frame)
        first = self._first.run(offsets.to(self.states))
        return self.model.resume(first, self.layer + 1, self.frame)

    @torch.inference_mode()
    def some(self, offsets: Tensor, positions: Tensor) -> Tensor:
        """Return the same at some tokens of each row, positions [b, q]: [v b, q, d]."""
        if self._first is not None and self.layer == self.model.n_layers - 1:
            return self._first.some(offsets.to(self.states), positions)
        repeated = positions.repeat(len(offsets), 1)
        if self._first is None:
            return self.model.resume_at(self._added(offsets), self.layer, repeated, self.frame)
        first = self._first.run(offsets.to(self.states))
        return self.model.resume_at(first, self.layer + 1, repeated, self.frame)

    def _added(self, offsets: Tensor) -> Tensor:
        """Return h' = h + offset, in float32: [v b, t, d]."""
        moved = self.states[None].float() + offsets.to(self.states.device)[:, None, None]
        return moved.flatten(0, 1)
