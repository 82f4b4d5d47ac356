"""Mapping methods by name: the built-in ones, and a user's own from PATH.py:CLASS."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lrt_bench.mappings.names import BUILT_IN, is_built_in

__all__ = [
    "BUILT_IN", "FixedLinear", "LinearMapping", "Mapping",
    "digest_of", "find_mapping", "find_method", "is_built_in", "name_of",
]  # fmt: skip

if TYPE_CHECKING:
    from lrt_bench.mappings.base import FixedLinear, LinearMapping, Mapping
    from lrt_bench.mappings.digest import digest_of
    from lrt_bench.mappings.finding import find_mapping, find_method, name_of

_PLACES = {
    "base": ("FixedLinear", "LinearMapping", "Mapping"),
    "digest": ("digest_of",),
    "finding": ("find_mapping", "find_method", "name_of"),
}


def __getattr__(name: str) -> object:
    """Import what needs torch when it is first used: a command line is read by the names alone."""
    for module, names in _PLACES.items():
        if name in names:
            import importlib

            return getattr(importlib.import_module(f"lrt_bench.mappings.{module}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
