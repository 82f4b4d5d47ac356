"""Compute something, or read back what the very same computation gave before.

The key is the hash of what the caller says a result depends on, and of what any result depends on: the
package's code, the libraries, the processor and its threads. A result that is read back is the computed one
to the bit.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextvars import ContextVar
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lrt_bench.files.cache.folder import CacheFolder, Entry
from lrt_bench.files.resources import PACKAGE
from lrt_bench.files.whole import hash_files

if TYPE_CHECKING:
    from torch import Tensor

LIBRARIES = ("torch", "transformers", "tokenizers", "numpy")
UNKNOWN = "unknown"  # the digest of a model that has none: nothing of it is kept
_FOLDER: ContextVar[CacheFolder | None] = ContextVar("cache folder", default=None)


@contextlib.contextmanager
def using(folder: CacheFolder | None) -> Iterator[None]:
    """Keep what is computed in a folder, and read it back from there; None: compute everything."""
    token = _FOLDER.set(folder)
    try:
        yield
    finally:
        _FOLDER.reset(token)


def use(folder: CacheFolder | None) -> None:
    """Do as `using` for the rest of the process: a worker's."""
    _FOLDER.set(folder)


def recall(
    kind: str,
    parts: Sequence[Any],
    make: Callable[[], Mapping[str, Tensor]],
    wanted: Callable[[Mapping[str, Tensor]], bool] = lambda tensors: True,
) -> Mapping[str, Tensor]:
    """Return what `make` gives, read back where the same was made before.

    Parameters
    ----------
    kind : what is computed, in one word; another word is another computation.
    parts : what the result depends on: texts, numbers, lists, tensors; of a model what `computed_by` says.
    wanted : whether what was made is worth keeping.
    """
    key = key_of(kind, parts)
    if (entry := look_up(kind, key)) is not None:
        return entry.tensors
    made = make()
    if wanted(made):
        keep(kind, key, Entry(made, {}))
    return made


def look_up(kind: str, key: str | None) -> Entry | None:
    """Return the entry of a key, if there is one."""
    folder = _FOLDER.get()
    return None if folder is None or key is None else folder.read(kind, key)


def keep(kind: str, key: str | None, entry: Entry) -> None:
    """Keep an entry under a key, where anything is kept."""
    folder = _FOLDER.get()
    if folder is not None and key is not None:
        folder.write(kind, key, entry)


def key_of(kind: str, parts: Sequence[Any]) -> str | None:
    """Return the key of a computation; None where nothing is kept, or a part has no name of its own."""
    if _FOLDER.get() is None or any(isinstance(part, list) and part[:1] == [UNKNOWN] for part in parts):
        return None
    digest = hashlib.sha256(json.dumps([kind, *_machine(), *_setting()]).encode())
    _add(digest, list(parts))
    return digest.hexdigest()


def _add(digest: hashlib._Hash, part: Any) -> None:
    """Add a part, with its kind and its size, so that no two lists of parts hash alike."""
    if isinstance(part, list | tuple):
        digest.update(f"list {len(part)} ".encode())
        if part and all(type(item) is int for item in part):
            digest.update(json.dumps(part).encode())
            return
        for item in part:
            _add(digest, item)
    elif part is None or isinstance(part, str | int | float | bool):
        text = json.dumps(part).encode()
        digest.update(f"{type(part).__name__} {len(text)} ".encode() + text)
    else:  # a tensor, or an array
        array = part if hasattr(part, "tobytes") else part.detach().cpu().contiguous().numpy()
        digest.update(f"{array.dtype} {array.shape} ".encode() + array.tobytes())


@functools.cache
def code_digest() -> str:
    """Hash of the package's modules: two machines with the same give the same cells."""
    return hash_files(sorted(PACKAGE.rglob("*.py")))


@functools.cache
def _machine() -> tuple[str, ...]:
    """Return what any number depends on: code, libraries, processor."""
    return code_digest(), *map(_version, LIBRARIES), _processor()


def _version(library: str) -> str:
    try:
        return f"{library} {version(library)}"
    except PackageNotFoundError:
        return library


def _processor() -> str:
    """Return the processor's name: another one may round otherwise."""
    import platform

    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return f"{platform.machine()} {line.partition(':')[2].strip()}"
    return f"{platform.machine()} {platform.processor()}"


def _setting() -> tuple[str, int, str]:
    """Return what a process can change of how numbers are made."""
    import torch

    capability = torch.backends.cpu.get_cpu_capability()
    return capability, torch.get_num_threads(), torch.get_float32_matmul_precision()
