"""Finds a mapping's class: a built-in one by its name, a user's own by PATH.py:CLASS."""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import sys
from pathlib import Path

from lrt_bench.errors import UserError, did_you_mean, line_in
from lrt_bench.mappings.base import Mapping
from lrt_bench.mappings.names import BUILT_IN, current, is_built_in


def find_mapping(spec: str) -> type[Mapping]:
    """Return the class that `spec` names: a built-in name or PATH.py:CLASS.

    Raises UserError.
    """
    if is_built_in(spec):
        module, name, _ = BUILT_IN[current(spec)]
        built_in: type[Mapping] = getattr(importlib.import_module(f"lrt_bench.mappings.{module}"), name)
        return built_in
    path, _, name = spec.rpartition(":")
    if not path.endswith(".py") or not name:
        close = did_you_mean(spec, BUILT_IN)
        raise UserError(
            f"mapping {spec}: no such mapping{close}; give {', '.join(BUILT_IN)} or PATH.py:CLASS"
        )
    if not Path(path).is_file():
        raise UserError(f"mapping {spec}: {path} is no file")
    return _from_file(Path(path), name)


def _from_file(path: Path, name: str) -> type[Mapping]:
    """Run a file of the user's, and return a class in it.

    Raises UserError.
    """
    module_spec = importlib.util.spec_from_file_location(f"lrt_bench_mapping_{path.stem}", path)
    assert module_spec is not None
    assert module_spec.loader is not None
    module = importlib.util.module_from_spec(module_spec)
    sys.modules[module.__name__] = module  # where inspect looks for the source file
    try:
        module_spec.loader.exec_module(module)
    except Exception as error:
        where = line_in(error, module.__file__)
        raise UserError(f"{path}: importing it fails: {type(error).__name__}: {error}{where}") from error
    method = getattr(module, name, None)
    if not (inspect.isclass(method) and issubclass(method, Mapping)):
        classes = [one for one, value in vars(module).items() if _is_method(value, module.__name__)]
        close = did_you_mean(name, classes)
        raise UserError(f"{path}: {name} is no class there that inherits from lrt_bench.Mapping{close}")
    _check_whole(method, str(path))
    return method


def _is_method(value: object, module: str) -> bool:
    return inspect.isclass(value) and issubclass(value, Mapping) and value.__module__ == module


def _check_whole(cls: type[Mapping], place: str) -> None:
    """Raise UserError where a class lacks a function of the interface."""
    if inspect.isabstract(cls):
        missing = ", ".join(sorted(cls.__abstractmethods__))
        raise UserError(f"{place}: {cls.__name__} does not define {missing}")


def name_of(method: str | type[Mapping] | Mapping) -> str:
    """Return what a mapping, by its name, its class or an instance, is called in tables and file names."""
    if isinstance(method, str):
        path, _, name = method.rpartition(":")
        return current(method) if is_built_in(method) else f"{Path(path).stem}.{name}"
    cls = method if isinstance(method, type) else type(method)
    for name, (module, built_in, _) in BUILT_IN.items():
        if (cls.__module__, cls.__qualname__) == (f"lrt_bench.mappings.{module}", built_in):
            return name
    home = cls.__module__.rpartition(".")[2].removeprefix("lrt_bench_mapping_")
    return cls.__name__ if home == "__main__" else f"{home}.{cls.__name__}"


def find_method(method: str | type[Mapping] | Mapping) -> type[Mapping]:
    """Return the class of a mapping: a built-in name, PATH.py:CLASS, a class or an instance.

    Raises UserError for anything else, and for a class that lacks a function.
    """
    if isinstance(method, str):
        return find_mapping(method)
    cls = method if isinstance(method, type) else type(method)
    if not issubclass(cls, Mapping):
        raise UserError(
            f"mapping: {cls.__name__} is no mapping: give a name ({', '.join(BUILT_IN)}), PATH.py:CLASS, or "
            "a class that inherits from lrt_bench.Mapping"
        )
    _check_whole(cls, cls.__module__)
    return cls
