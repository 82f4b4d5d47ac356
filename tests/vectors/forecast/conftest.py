"""The pairs of sites that the forecast's tests share."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from forecast_pairs import ForecastPair, forecast_pair

from lrt_bench.models.base import LanguageModel
from lrt_bench.models.decoders.planted import plant
from lrt_bench.models.sites import Site


@pytest.fixture(scope="module")
def rotated(nano: Callable[[str], LanguageModel]) -> ForecastPair:
    """S at layer 2 and S in another basis: the true map is linear."""
    return forecast_pair(Site(nano("S"), 2), Site(plant("rotation", nano("S")), 2))


@pytest.fixture(scope="module")
def across(nano: Callable[[str], LanguageModel]) -> ForecastPair:
    return forecast_pair(Site(nano("S"), 2), Site(nano("S2"), 2))
