"""Hash of the code that a mapping runs: its own files, and those of the room that they import."""

from __future__ import annotations

import ast
import hashlib
import inspect
import sys
import sysconfig
from collections.abc import Iterator
from pathlib import Path

from lrt_bench.mappings.base import Mapping

ROOM = Path(__file__).parent


def digest_of(cls: type[Mapping]) -> str:
    """Hash the source files that decide what a mapping computes, sha256 as hexadecimal digits.

    These are the files of the class, of those that it inherits from, and of all that they import, one from
    another, from the class's own folder or from `lrt_bench.mappings`. Files that the code opens are not seen.
    """
    digest = hashlib.sha256()
    for name, file in sorted(source_files(cls).items()):
        digest.update(f"{name} {file.stat().st_size} ".encode())
        digest.update(file.read_bytes())
    return digest.hexdigest()


def source_files(cls: type[Mapping]) -> dict[str, Path]:
    """The files that `digest_of` reads, by the names of their modules."""
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
    """The source file of a loaded module; None for one without, or that is compiled."""
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
