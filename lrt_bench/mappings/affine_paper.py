"""The paper's literal rule: the affine map applied to the vector, bias and all."""

from __future__ import annotations

from torch import Tensor

from lrt_bench.mappings.affine import Affine


class AffinePaper(Affine):
    """`Affine`, but a vector v is carried to A v + p (arXiv 2506.00653, section 3).

    v is a difference of states, so its image under the map is A v; the bias p adds the same offset
    to every concept. This row measures what the difference costs.
    """

    rule = "A v + p"

    def transfer(self, positive: Tensor, negative: Tensor) -> Tensor:
        """Return A v + p [d_target], p the map's bias."""
        return super().transfer(positive, negative) + self.bias.float()
