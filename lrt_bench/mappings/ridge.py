"""Ridge regression, its strength chosen on validation states."""

from __future__ import annotations

from torch import Tensor

from lrt_bench.mappings.base import FitStates, LinearMapping, Spectrum, held_out_moments

STRENGTHS = tuple(10.0**exponent for exponent in range(-8, 2))


class Ridge(LinearMapping):
    """Affine map with a penalty on ||A||^2.

    Attributes
    ----------
    strength_ : the chosen penalty, in units of the source dimensions' mean variance (times n).
    """

    def solve(self, states: FitStates) -> Tensor:
        """Return the weight of the strength with the smallest validation error."""
        spectrum = Spectrum(states.moments)
        errors = spectrum.errors(held_out_moments(states), STRENGTHS)
        self.strength_ = STRENGTHS[min(range(len(errors)), key=errors.__getitem__)]
        return spectrum.weight(self.strength_)
