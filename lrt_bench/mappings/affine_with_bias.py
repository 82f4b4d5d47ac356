"""The paper's literal rule: an affine map applied to the vector, bias and all."""

from __future__ import annotations

from torch import Tensor

from lrt_bench.mappings.affine import Affine
from lrt_bench.mappings.base import LinearMapping


class WithBias(LinearMapping):
    """Carries a vector v to A v + p (arXiv 2506.00653, section 3).

    v is a difference of states, so its image under the map is A v; the bias p adds the same offset
    to every concept. Rows of this kind measure what the difference costs.
    """

    rule = "A v + p"

    def transfer(self, positive: Tensor, negative: Tensor) -> Tensor:
        """Return A v + p [d_target], p the map's bias."""
        return super().transfer(positive, negative) + self.bias.float()


class AffineWithBias(WithBias, Affine):
    """The least-squares map; a vector v is carried to A v + p.

    The optimum's p is the distance between the two sites' means, long where residual streams have a constant
    offset. What the paper's own training leaves of it is `affine-adamw-with-bias`.
    """
