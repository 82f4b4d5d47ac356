"""lrt-bench: the public benchmark of the Linear Representation Transferability hypothesis."""

from __future__ import annotations

from typing import TYPE_CHECKING

__version__ = "0.1.0"
__all__ = ["LinearMapping", "Mapping", "__version__"]

if TYPE_CHECKING:
    from lrt_bench.mappings.base import LinearMapping, Mapping


def __getattr__(name: str) -> object:
    """Import the public names when they are first used: `lrt-bench --help` must not wait for torch."""
    if name in ("LinearMapping", "Mapping"):
        from lrt_bench.mappings import base

        return getattr(base, name)
    raise AttributeError(name)
