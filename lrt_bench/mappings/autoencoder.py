"""An autoencoder map: a rectified latent space decoded to the target (Oozeer et al. 2025)."""

from __future__ import annotations

from torch import Tensor, nn

from lrt_bench.mappings.network import NetworkMapping


class _Autoencoder(nn.Module):
    def __init__(self, d_source: int, d_target: int) -> None:
        super().__init__()
        latent = 2 * max(d_source, d_target)
        self.encoder = nn.Sequential(nn.Linear(d_source, latent), nn.ReLU())
        self.decoder = nn.Linear(latent, d_target)

    def forward(self, x: Tensor) -> Tensor:
        decoded: Tensor = self.decoder(self.encoder(x))
        return decoded


class Autoencoder(NetworkMapping):
    """Encoder with a ReLU latent twice as wide as the wider model, and a linear decoder to the target.

    Unlike `mlp` it has no linear path: all that reaches the target has passed the rectified latent.
    """

    def build(self, d_source: int, d_target: int) -> nn.Module:
        """Build the untrained network."""
        return _Autoencoder(d_source, d_target)
