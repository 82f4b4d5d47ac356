"""lrt-bench: the public benchmark of the Linear Representation Transferability hypothesis.

>>> from lrt_bench import Pair, evaluate, fit, transfer  # see lrt_bench.api
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from lrt_bench._version import __version__

__all__ = [
    "FittedMap",
    "LinearMapping",
    "Mapping",
    "Pair",
    "Results",
    "Site",
    "SteeringVector",
    "__version__",
    "concept_vector",
    "evaluate",
    "fit",
    "load_map",
    "load_model",
    "load_results",
    "read_vector",
    "transfer",
    "write_vector",
]

if TYPE_CHECKING:
    from lrt_bench.api import concept_vector, evaluate, fit, load_results, transfer
    from lrt_bench.mappings.base import LinearMapping, Mapping
    from lrt_bench.models.loading import load_model
    from lrt_bench.models.sites import Site
    from lrt_bench.results.collection import Results
    from lrt_bench.vectors.fitted_map import FittedMap, load_map
    from lrt_bench.vectors.pair import Pair
    from lrt_bench.vectors.vector import SteeringVector
    from lrt_bench.vectors.vector_files import read_vector, write_vector

_PLACES = {
    "api": ("concept_vector", "evaluate", "fit", "load_results", "transfer"),
    "mappings.base": ("LinearMapping", "Mapping"),
    "models.loading": ("load_model",),
    "models.sites": ("Site",),
    "results.collection": ("Results",),
    "vectors.fitted_map": ("FittedMap", "load_map"),
    "vectors.pair": ("Pair",),
    "vectors.vector": ("SteeringVector",),
    "vectors.vector_files": ("read_vector", "write_vector"),
}


def __getattr__(name: str) -> object:
    """Import the public names when they are first used: `lrt-bench --help` must not wait for torch."""
    for module, names in _PLACES.items():
        if name in names:
            import importlib

            return getattr(importlib.import_module(f"lrt_bench.{module}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
