"""Ridge regression, its strength chosen on validation states."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import Tensor

from lrt_bench.mappings.base import LinearMapping, Spectrum, validation_error

if TYPE_CHECKING:
    from lrt_bench.states import PairedStates

STRENGTHS = tuple(10.0**exponent for exponent in range(-8, 2))


class Ridge(LinearMapping):
    """Affine map with a penalty on ||A||^2.

    Attributes
    ----------
    strength_ : the chosen penalty, in units of the source dimensions' mean variance (times n).
    """

    def solve(self, states: PairedStates) -> Tensor:
        spectrum = Spectrum(states.moments)
        weights = [spectrum.weight(strength) for strength in STRENGTHS]
        errors = validation_error(states, weights)
        best = min(range(len(errors)), key=errors.__getitem__)
        self.strength_ = STRENGTHS[best]
        return weights[best]
