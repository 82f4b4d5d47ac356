"""Steering vectors as files: a module a format, chosen by name or by the file's suffix.

| format | suffix | is |
| --- | --- | --- |
| ``safetensors`` | .safetensors | ours: layers, model, spread, provenance; `formats/safetensors.py` has it |
| ``steering-vectors`` | .pt, .pth | that package's SteeringVector; a tensor, {layer: tensor} are read too |
| ``gguf`` | .gguf | control vector of repeng and llama.cpp |
| ``lm-eval`` | .pt, .pth | what lm-eval's model `steered` reads; a pickle, so it is only written here |
| ``npy`` | .npy | one row of numbers, without its layer |

Directions may be [d] or [1, d] in every format. A direction of zeros is passed over where the file has
others, and refused alone. Reading runs no code of the file's: the ones that are pickles are read by torch's
restricted reader. Whatever a file says wrong is one line.
"""

from __future__ import annotations

import importlib
from pathlib import Path
from types import ModuleType

from lrt_bench.errors import UserError
from lrt_bench.files.whole import write_whole
from lrt_bench.vectors.formats.errors import MAX_BYTES, FormatError
from lrt_bench.vectors.formats.rows import ASSUMED
from lrt_bench.vectors.vector import SteeringVector

# name -> (module, suffixes, whether it can be read)
FORMATS: dict[str, tuple[str, tuple[str, ...], bool]] = {
    "safetensors": ("safetensors", (".safetensors",), True),
    "steering-vectors": ("torch_file", (".pt", ".pth"), True),
    "gguf": ("gguf", (".gguf",), True),
    "lm-eval": ("lm_eval", (".pt", ".pth"), False),
    "npy": ("npy", (".npy",), True),
}


def read_vector(path: str | Path, name: str | None = None, layer: int | None = None) -> SteeringVector:
    """Read the vector in a file.

    Parameters
    ----------
    path : a file of at most 64 MB.
    name : its format, where the suffix does not tell.
    layer : the layer of a vector whose file does not say it (.npy, a lone tensor), or the one to take of
        several; counted from 1.

    Raises
    ------
    UserError
        Where the file is missing, damaged or no steering vector; the message names it.
    """
    path = Path(path)
    module = _module(path, name, readable=True)
    if not path.is_file():
        raise UserError(f"{path}: no such file")
    if path.stat().st_size > MAX_BYTES:
        raise UserError(f"{path}: larger than {MAX_BYTES >> 20} MB: no steering vector")
    try:
        vector: SteeringVector = module.decode(path.read_bytes(), layer)
        return vector if layer is None else vector.only([layer])
    except (FormatError, UserError) as error:
        raise UserError(f"{path}: {error}") from error


def write_vector(path: str | Path, vector: SteeringVector, name: str | None = None) -> None:
    """Write the vector whole or not at all.

    Parameters
    ----------
    path : the file.
    vector : what to write; float32.
    name : the format, where the suffix does not tell.

    Raises
    ------
    UserError
        Where the format cannot hold the vector.
    """
    write_whole(Path(path), encode(Path(path), vector, name))


def encode(path: Path, vector: SteeringVector, name: str | None = None) -> bytes:
    """Return what `write_vector` would write."""
    module = _module(path, name, readable=False)
    try:
        data: bytes = module.encode(vector)
        return data
    except FormatError as error:
        raise UserError(f"{path}: {error}") from error


def check_out(path: Path, name: str | None) -> None:
    """Raise UserError where a path does not tell which format to write, before anything is computed."""
    _module(path, name, readable=False)
    if path.is_dir():
        raise UserError(f"--out {path}: a folder is there; give a file")


def notes(path: Path, vector: SteeringVector, name: str | None = None) -> list[str]:
    """Return what a reader of the file should know that is no error."""
    module = _module(path, name, readable=False)
    lines: list[str] = getattr(module, "notes", lambda vector: [])(vector)
    return lines


def assumptions(vector: SteeringVector) -> list[str]:
    """Return what was taken for granted when another tool's file was read, and only its maker can check."""
    return [f"layer numbers: {vector.provenance[ASSUMED]}"] if ASSUMED in vector.provenance else []


def _module(path: Path, name: str | None, *, readable: bool) -> ModuleType:
    """Return the module of a format, by its name or by the path's suffix."""
    if name is None:
        fitting = [
            known
            for known, (_, suffixes, reads) in FORMATS.items()
            if path.suffix.lower() in suffixes and (reads or not readable)
        ]
        if not fitting:
            endings = sorted({suffix for _, suffixes, _ in FORMATS.values() for suffix in suffixes})
            raise UserError(
                f"{path}: its suffix tells no format: end it in {', '.join(endings)} or give --format"
            )
        if len(fitting) > 1:
            raise UserError(f"{path}: may be {' or '.join(fitting)}: give --format")
        name = fitting[0]
    if name not in FORMATS:
        raise UserError(f"--format {name}: no such format; give {', '.join(FORMATS)}")
    if readable and not FORMATS[name][2]:
        raise UserError(
            f"{path}: {name} files are pickles, which are code: they are written here, never read"
        )
    return importlib.import_module(f"lrt_bench.vectors.formats.{FORMATS[name][0]}")
