"""Feature-to-hidden (the paper's s2l): a source site whose states are coefficients of features."""

from __future__ import annotations

from dataclasses import dataclass, field

from torch import Tensor

from lrt_bench.errors import UserError
from lrt_bench.models import Site
from lrt_bench.sae import SparseAutoencoder


@dataclass(frozen=True)
class Features(Site):
    """Coefficients of a sparse autoencoder in the place of states (paper, section 3.2).

    Any mapping can be fitted on them. The moments of n features and d target dimensions take
    8 (n^2 + n d + d^2) bytes, and updating or solving them that much again twice over: with n = 16384 of
    Gemma Scope and d = 3584, 2.7 GiB, so that a closed-form fit wants a machine of 16 GiB beside the models,
    and minutes for the eigendecomposition. A bounded sample takes 4 n bytes a token, on disk.
    """

    sae: SparseAutoencoder = field(kw_only=True)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.sae.d != self.model.width:
            raise UserError(
                f"{self.sae.name}: reads states of {self.sae.d} dimensions, but {self.model.name} is "
                f"{self.model.width} wide: give the sparse autoencoder of this model"
            )
        object.__setattr__(self, "sae", self.sae.to(self.model.device))

    @property
    def width(self) -> int:
        return self.sae.width

    def read(self, ids: Tensor) -> Tensor:
        """Coefficients [b, t, n] of token ids [b, t], float32."""
        return self.sae.encode(super().read(ids))
