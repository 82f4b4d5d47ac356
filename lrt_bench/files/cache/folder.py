"""A bounded folder of entries: named tensors and a JSON object, each one safetensors file.

An entry's file carries its own key and the hash of its content, so that a damaged or a swapped file is known
when it is read. Files are written whole; the ones that were not read for the longest go first.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lrt_bench.errors import UserError, first_line
from lrt_bench.files.whole import sweep, whole_file

if TYPE_CHECKING:
    from torch import Tensor

LOG = logging.getLogger("lrt_bench")
VARIABLE = "LRT_BENCH_CACHE"  # a folder, or `off`
CACHE_SIZE = 4.0  # GiB, where nobody says
SUFFIX = ".safetensors"
UNHASHED = "-" * 64  # in the place of the hash, while it is taken: no key and no hash
MOST_HEADER = 2**26  # bytes


@dataclass(frozen=True)
class Entry:
    """What is kept of one computation: tensors by name, and a JSON object beside them."""

    tensors: Mapping[str, Tensor]
    about: Mapping[str, Any]


@dataclass(frozen=True)
class KindSize:
    """How many entries of a kind there are, and their bytes."""

    kind: str
    entries: int
    size: int


def default_folder() -> Path | None:
    """Return the folder of this user's cache; None where `LRT_BENCH_CACHE` is ``off``."""
    given = os.environ.get(VARIABLE, "")
    if given == "off":
        return None
    if given:
        return Path(given).expanduser()
    base = os.environ.get("XDG_CACHE_HOME", "")
    return (Path(base) if base else Path("~/.cache").expanduser()) / "lrt-bench"


@dataclass(frozen=True)
class CacheFolder:
    """Entries in one folder, at most `limit` bytes of them.

    A cache is never needed: what cannot be read or written is logged, and computed.
    """

    path: Path
    limit: int

    def file(self, kind: str, key: str) -> Path:
        """Where an entry lies."""
        return self.path / f"{kind}-{key}{SUFFIX}"

    def read(self, kind: str, key: str) -> Entry | None:
        """Return an entry, its tensors the caller's own; None where there is none, or it is damaged."""
        path = self.file(kind, key)
        try:
            data = path.read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            LOG.warning("cache: %s: %s: it is computed again", path, error.strerror or error)
            return None
        try:
            entry = _unpacked(data, key)
        except ValueError as error:
            LOG.warning("cache: %s: damaged (%s): it is made again", path, first_line(error))
            _delete(path)
            return None
        with contextlib.suppress(OSError):
            os.utime(path)  # read last: deleted last
        return entry

    def write(self, kind: str, key: str, entry: Entry) -> None:
        """Keep an entry; older ones go where it is one too many. Nothing is raised on a full disk."""
        header, body = _packed(entry, key)
        if len(header) + len(body) > self.limit:
            return
        try:
            self.path.mkdir(parents=True, exist_ok=True, mode=0o700)
            sweep(self.file(kind, key), of_any=SUFFIX)
            with whole_file(self.file(kind, key), lasting=False) as stream:
                stream.write(header)
                stream.write(body)
            self._trim()
        except OSError as error:
            LOG.warning(
                "cache: %s cannot be written: %s: going on without", self.path, error.strerror or error
            )

    def kinds(self) -> list[KindSize]:
        """Return what the folder holds, by kind."""
        sizes: dict[str, list[int]] = {}
        for path, stat in self._files():
            sizes.setdefault(path.name.rpartition("-")[0], []).append(stat.st_size)
        return [KindSize(kind, len(each), sum(each)) for kind, each in sorted(sizes.items())]

    def clear(self) -> int:
        """Delete every entry; return how many there were. Other files of the folder are left alone."""
        files = [path for path, _ in self._files()]
        for path in files:
            _delete(path)
        if self.path.is_dir():
            sweep(self.file("none", "none"), of_any=SUFFIX)
        return len(files)

    def _trim(self) -> None:
        """Delete what was not read for the longest, down to the limit; two processes may do so at once."""
        files = sorted(self._files(), key=lambda pair: pair[1].st_mtime_ns)
        total = sum(stat.st_size for _, stat in files)
        for path, stat in files:
            if total <= self.limit:
                break
            _delete(path)
            total -= stat.st_size

    def _files(self) -> Iterator[tuple[Path, os.stat_result]]:
        try:
            names = [entry.name for entry in os.scandir(self.path) if entry.name.endswith(SUFFIX)]
        except FileNotFoundError:
            return
        for name in names:
            if name.startswith("."):
                continue  # being written
            with contextlib.suppress(OSError):  # another process deleted it just now
                yield self.path / name, (self.path / name).stat()


def chosen_folder(size: float) -> CacheFolder | None:
    """Return this user's cache, of at most `size` GiB; None where there is to be none.

    Raises UserError where the folder's name is that of a file.
    """
    path = default_folder()
    if path is None or size <= 0:
        return None
    if path.exists() and not path.is_dir():
        raise UserError(f"{VARIABLE}: {path}: a file is there; give a folder, or off")
    return CacheFolder(path, int(size * 2**30))


def _delete(path: Path) -> None:
    with contextlib.suppress(OSError):
        path.unlink(missing_ok=True)


def _packed(entry: Entry, key: str) -> tuple[bytes, memoryview]:
    """Return an entry's file in two parts: safetensors, its key and the hash of the whole in the header."""
    from safetensors.torch import save

    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in entry.tensors.items()}
    about = json.dumps(entry.about, sort_keys=True)
    data: bytes = save(tensors, {"about": about, "key": key, "sha256": UNHASHED})
    size = 8 + int.from_bytes(data[:8], "little")
    header = data[:size].replace(UNHASHED.encode(), hashlib.sha256(data).hexdigest().encode(), 1)
    return header, memoryview(data)[size:]


def _unpacked(data: bytes, key: str) -> Entry:
    """Read an entry's file.

    Raises ValueError where it is not what `_packed` made for this key.
    """
    from safetensors.torch import load

    size = 8 + int.from_bytes(data[:8], "little")
    if not 8 < size <= min(len(data), MOST_HEADER):
        raise ValueError("its header is broken")
    try:
        metadata = json.loads(data[8:size])["__metadata__"]
        about, of, digest = (metadata[name] for name in ("about", "key", "sha256"))
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError("its header is broken") from error
    whole = hashlib.sha256(data[:size].replace(digest.encode(), UNHASHED.encode(), 1))
    whole.update(memoryview(data)[size:])
    if whole.hexdigest() != digest:
        raise ValueError("its content is not what was written")
    if of != key:
        raise ValueError("it is another computation's")
    return Entry(load(data), json.loads(about))
