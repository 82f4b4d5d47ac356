"""Random Fourier features: cosines along random directions, which stand for a Gaussian kernel."""

from __future__ import annotations

import math

import torch
from torch import Tensor

WAVES = {"frequencies_": ("source", "waves"), "phases_": ("waves",)}  # and their sides


def drawn_waves(width: int, count: int, kernel: float, seed: int) -> tuple[Tensor, Tensor]:
    """Draw frequencies [width, count] and phases [count] (Rahimi and Recht 2007).

    kernel : width of the Gaussian kernel, in units of sqrt(width), the length of a standardised state.
    """
    generator = torch.Generator().manual_seed(seed)
    frequencies = torch.randn(width, count, generator=generator) / (kernel * math.sqrt(width))
    return frequencies, 2 * torch.pi * torch.rand(count, generator=generator)


def waves(z: Tensor, frequencies: Tensor, phases: Tensor) -> Tensor:
    """Return cos(z F + b) of states [..., width]: [..., count]."""
    return (z @ frequencies.to(z.device) + phases.to(z.device)).cos()
