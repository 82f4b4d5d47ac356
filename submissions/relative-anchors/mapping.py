"""Relative representations (Moschella et al. 2023, arXiv 2209.15430), decoded by least squares.

A state is described by its cosines to anchor states, taken at random from the sample. Such a description owes
nothing to the basis it was computed in. The original compares two models' descriptions of the same anchors;
here the target's state is read off the source's description by ridge regression.
"""

from __future__ import annotations

import torch
from torch import Tensor

from lrt_bench import Mapping


class RelativeAnchors(Mapping):
    """Cosines of whitened states to anchors, and a ridge decoder.

    Whitening first matters: in a residual stream a few massive dimensions decide every raw cosine.

    Attributes
    ----------
    anchors_ [k, d_source] : unit vectors. decoder_ [k + 1, d_target] : the last row is the offset.
    """

    stochastic = True
    ANCHORS = 8  # for each source dimension
    EXPONENTS = range(-6, 1)

    def fit(self, states) -> None:
        moments = states.moments
        values, vectors = torch.linalg.eigh(moments.s_xx / moments.n)
        floor = values.max() * 1e-6
        self.mean_ = moments.mean_x.float()
        self.whiten_ = ((vectors / values.clamp_min(floor).sqrt()) @ vectors.T).float()
        count = min(self.ANCHORS * states.d_source, len(states.sample) // 4)
        chosen = next(iter(states.batches(count, seed=1000 + self.seed)))[0]
        self.anchors_ = self._direction(chosen)
        gram = torch.zeros(count + 1, count + 1, dtype=torch.float64)
        cross = torch.zeros(count + 1, states.d_target, dtype=torch.float64)
        for x, y in states.batches(4096):
            described = self._describe(x).double()
            gram += described.T @ described
            cross += described.T @ y.double()
        x, y = states.validation
        described, wanted = self._describe(x).double(), y.double()
        values, vectors = torch.linalg.eigh(gram)
        projected, scale = vectors.T @ cross, gram.diagonal()[:-1].mean()
        best = None
        for exponent in self.EXPONENTS:
            decoder = vectors @ (projected / (values.clamp_min(0) + scale * 10.0**exponent)[:, None])
            error = float((described @ decoder - wanted).square().sum())
            if best is None or error < best:
                best, self.decoder_ = error, decoder.float()

    def _direction(self, h: Tensor) -> Tensor:
        return torch.nn.functional.normalize((h.float() - self.mean_) @ self.whiten_, dim=-1)

    def _describe(self, h: Tensor) -> Tensor:
        cosines = self._direction(h) @ self.anchors_.T
        return torch.cat([cosines, torch.ones(*cosines.shape[:-1], 1)], dim=-1)

    def __call__(self, h: Tensor) -> Tensor:
        return self._describe(h) @ self.decoder_
