"""Kernel ridge regression by random Fourier features (Rahimi and Recht 2007), beside a linear path.

What a Gaussian kernel adds to the affine map, solved in closed form: no training loop, no learning rate.
"""

from __future__ import annotations

import torch
from torch import Tensor

from lrt_bench import Mapping


class FourierRidge(Mapping):
    """Ridge from [whitened h, cos(whitened h @ frequencies + phases), 1] to target states.

    The kernel's width and the penalty are chosen on validation states.

    Attributes
    ----------
    frequencies_ [d_source, k], phases_ [k], decoder_ [d_source + k + 1, d_target].
    """

    stochastic = True
    FEATURES = 6  # for each source dimension
    WIDTHS = (2.0, 4.0)  # of the kernel, in units of sqrt(d_source)
    EXPONENTS = range(-5, 1)

    def fit(self, states) -> None:
        moments = states.moments
        values, vectors = torch.linalg.eigh(moments.s_xx / moments.n)
        floor = values.max() * 1e-6
        self.mean_ = moments.mean_x.float()
        self.whiten_ = ((vectors / values.clamp_min(floor).sqrt()) @ vectors.T).float()
        generator = torch.Generator().manual_seed(self.seed)
        count = self.FEATURES * states.d_source
        drawn = torch.randn(states.d_source, count, generator=generator)
        self.phases_ = 2 * torch.pi * torch.rand(count, generator=generator)
        best = (float("inf"), None, None)
        for width in self.WIDTHS:
            self.frequencies_ = drawn / (width * states.d_source**0.5)
            for error, decoder in self._decoders(states):
                if error < best[0]:
                    best = (error, decoder, self.frequencies_)
        _, self.decoder_, self.frequencies_ = best

    def _decoders(self, states):
        """(validation error, decoder) for every penalty."""
        size = self._features(states.validation[0][:1]).shape[1]
        gram = torch.zeros(size, size, dtype=torch.float64)
        cross = torch.zeros(size, states.d_target, dtype=torch.float64)
        for x, y in states.batches(4096):
            features = self._features(x).double()
            gram += features.T @ features
            cross += features.T @ y.double()
        values, vectors = torch.linalg.eigh(gram)
        projected, scale = vectors.T @ cross, gram.diagonal().mean()
        x, y = states.validation
        features, wanted = self._features(x).double(), y.double()
        for exponent in self.EXPONENTS:
            decoder = vectors @ (projected / (values.clamp_min(0) + scale * 10.0**exponent)[:, None])
            yield float((features @ decoder - wanted).square().sum()), decoder.float()

    def _features(self, h: Tensor) -> Tensor:
        white = (h.float() - self.mean_) @ self.whiten_
        waves = (white @ self.frequencies_ + self.phases_).cos()
        return torch.cat([white, waves, torch.ones(*h.shape[:-1], 1)], dim=-1)

    def __call__(self, h: Tensor) -> Tensor:
        return self._features(h) @ self.decoder_
