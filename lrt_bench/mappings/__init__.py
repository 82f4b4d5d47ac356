"""Mapping methods by name: the built-in ones, and a user's own from PATH.py:CLASS."""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import sys
from pathlib import Path

from lrt_bench.errors import UserError
from lrt_bench.mappings.base import FixedLinear, LinearMapping, Mapping
from lrt_bench.mappings.digest import digest_of
from lrt_bench.mappings.names import BUILT_IN

__all__ = ["BUILT_IN", "FixedLinear", "LinearMapping", "Mapping", "digest_of", "find_mapping", "name_of"]


def find_mapping(spec: str) -> type[Mapping]:
    """The class that `spec` names: a built-in name or PATH.py:CLASS. Raises UserError."""
    if spec in BUILT_IN:
        module, name, _ = BUILT_IN[spec]
        built_in: type[Mapping] = getattr(importlib.import_module(f"lrt_bench.mappings.{module}"), name)
        return built_in
    path, _, name = spec.rpartition(":")
    if not path.endswith(".py") or not name:
        raise UserError(f"--mapping {spec}: no such mapping; give {', '.join(BUILT_IN)} or PATH.py:CLASS")
    if not Path(path).is_file():
        raise UserError(f"--mapping {spec}: {path} is no file")
    return _from_file(Path(path), name)


def _from_file(path: Path, name: str) -> type[Mapping]:
    """The class in a file of the user's, which is run. Raises UserError."""
    module_spec = importlib.util.spec_from_file_location(f"lrt_bench_mapping_{path.stem}", path)
    assert module_spec is not None
    assert module_spec.loader is not None
    module = importlib.util.module_from_spec(module_spec)
    sys.modules[module.__name__] = module  # where inspect looks for the source file
    try:
        module_spec.loader.exec_module(module)
    except Exception as error:
        raise UserError(f"{path}: importing it fails: {type(error).__name__}: {error}") from error
    method = getattr(module, name, None)
    if not (inspect.isclass(method) and issubclass(method, Mapping)):
        raise UserError(f"{path}: {name} is no class there that inherits from lrt_bench.Mapping")
    if inspect.isabstract(method):
        missing = ", ".join(sorted(method.__abstractmethods__))
        raise UserError(f"{path}: {name} does not define {missing}")
    return method


def name_of(spec: str) -> str:
    """What a mapping is called in tables and file names."""
    return spec if spec in BUILT_IN else f"{Path(spec.rpartition(':')[0]).stem}.{spec.rpartition(':')[2]}"
