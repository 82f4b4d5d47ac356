"""Hash of the code that a mapping runs: its own files, and those of the room that they import."""

from __future__ import annotations

import ast
import hashlib
import inspect
import secrets
import sys
import sysconfig
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from lrt_bench.mappings.base import Mapping

ROOM = Path(__file__).parent


def digest_of(method: type[Mapping] | Mapping) -> str:
    """Hash what decides the fit of a mapping's class, or of an instance, sha256 as hexadecimal digits.

    That is the source files of the class, of those that it inherits from, and of all that they import, one
    from another, from the class's own folder or from `lrt_bench.mappings`; and an instance's attributes.
    Files that the code opens are not seen. What cannot be hashed (a class without source text, an attribute
    that is an object) gives a digest of its own each time, so that nothing stored is taken for its result.
    """
    cls = method if isinstance(method, type) else type(method)
    digest = hashlib.sha256()
    files = source_files(cls)
    for name, file in sorted(files.items()):
        digest.update(f"{name} {file.stat().st_size} ".encode())
        digest.update(file.read_bytes())
    if cls.__module__ not in files:
        digest.update(_source_text(cls))
    if not isinstance(method, type):
        digest.update(b"".join(_bytes_of(vars(method))))
    return digest.hexdigest()


def _source_text(cls: type) -> bytes:
    """Return the text of a class that was written in a notebook or at the prompt."""
    try:
        return inspect.getsource(cls).encode()
    except (OSError, TypeError):
        return secrets.token_bytes(32)


def _bytes_of(value: object) -> Iterator[bytes]:
    """Bytes that differ where two attributes differ."""
    if value is None or isinstance(value, bool | int | float | str | bytes):
        yield f"{type(value).__name__} {value!r};".encode()
    elif isinstance(value, Tensor):
        yield f"tensor {value.dtype} {tuple(value.shape)};".encode()
        yield value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()
    elif isinstance(value, np.ndarray) and value.dtype != object:
        yield f"array {value.dtype.str} {value.shape};".encode() + value.tobytes()
    elif isinstance(value, list | tuple):
        yield f"{type(value).__name__} {len(value)};".encode()
        for item in value:
            yield from _bytes_of(item)
    elif isinstance(value, dict):
        yield f"dict {len(value)};".encode()
        for key, item in value.items():
            yield from _bytes_of(key)
            yield from _bytes_of(item)
    else:
        yield secrets.token_bytes(32)


def source_files(cls: type[Mapping]) -> dict[str, Path]:
    """Return the files that `digest_of` reads, by the names of their modules."""
    waiting = [base.__module__ for base in inspect.getmro(cls)]
    own = _file_of(cls.__module__)
    folders = {ROOM} if own is None else {ROOM, own.parent}
    files: dict[str, Path] = {}
    while waiting:
        name = waiting.pop()
        file = _file_of(name)
        if name in files or file is None or not _decides(file, folders):
            continue
        files[name] = file
        waiting += _imported(name, file)
    return files


def _decides(file: Path, folders: set[Path]) -> bool:
    """Whether a file is the room's or the user's own, and no installed package's."""
    if file.is_relative_to(ROOM):
        return True
    installed = {Path(sysconfig.get_paths()[kind]) for kind in ("stdlib", "purelib", "platlib")}
    foreign = any(file.is_relative_to(folder) for folder in {*installed, ROOM.parent})
    return not foreign and any(file.is_relative_to(folder) for folder in folders)


def _file_of(module: str) -> Path | None:
    """Return the source file of a loaded module; None for one without, or that is compiled."""
    file = getattr(sys.modules.get(module), "__file__", None)
    return Path(file).resolve() if file and file.endswith(".py") else None


def _imported(module: str, file: Path) -> Iterator[str]:
    """Names of modules that a file's import statements name, wherever in the file they stand."""
    package = getattr(sys.modules.get(module), "__package__", None) or ""
    for node in ast.walk(ast.parse(file.read_bytes())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            parents = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
            origin = ".".join([*parents, *([node.module] if node.module else [])])
            yield origin
            yield from (f"{origin}.{alias.name}" for alias in node.names)
