"""Hashes of all files that a loader may read, so that a changed file is a changed model."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path

# What no loader reads. Everything else of a folder counts: templates, vocabularies, code, weights.
NO_PART = {".md", ".png", ".jpg", ".jpeg", ".gif", ".svg", ".webp", ".pdf"}
NO_PART_NAMES = {
    "license",
    "licence",
    "license.txt",
    "licence.txt",
    "notice",
    "notice.txt",
    "readme",
    "readme.txt",
}
WEIGHTS = {".gguf", ".safetensors", ".bin", ".pt", ".pth", ".h5", ".msgpack", ".onnx", ".ot"}


def folder_digest(path: Path) -> str:
    """Hash of every file of a model folder that the loader may read, with its place in the folder."""
    return _digest(path, (file for file in _files(path)))


def gguf_digest(path: Path) -> str:
    """Hash of a GGUF file and of what lies beside it and may be read with it (not of other weights)."""
    beside = (file for file in path.parent.iterdir() if file.is_file() and _counts(path.parent, file))
    return _digest(path.parent, (file for file in beside if file == path or file.suffix not in WEIGHTS))


def files_digest(files: Iterable[Path]) -> str:
    """Hash of the contents of some files, and of their names without folders."""
    digest = hashlib.sha256()
    for file in sorted(files, key=lambda file: file.name):
        _add(digest, file.name, file)
    return digest.hexdigest()


def _files(path: Path) -> Iterable[Path]:
    return (file for file in path.rglob("*") if file.is_file() and _counts(path, file))


def _counts(folder: Path, file: Path) -> bool:
    """Whether the loader may read a file: neither hidden nor of the few kinds that it never reads."""
    parts = file.relative_to(folder).parts
    if any(part.startswith(".") or part == "__pycache__" for part in parts):
        return False
    return file.suffix.lower() not in NO_PART and file.name.lower() not in NO_PART_NAMES


def _digest(folder: Path, files: Iterable[Path]) -> str:
    digest = hashlib.sha256()
    for file in sorted(files):
        _add(digest, file.relative_to(folder).as_posix(), file)
    return digest.hexdigest()


def _add(digest: hashlib._Hash, name: str, file: Path) -> None:
    """Add a file: name, size and contents, so that no two lists of files hash alike."""
    digest.update(f"{name}\0{file.stat().st_size}\0".encode())
    with file.open("rb") as stream:
        for block in iter(lambda: stream.read(1 << 20), b""):
            digest.update(block)
