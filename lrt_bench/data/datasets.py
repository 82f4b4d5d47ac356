"""Data sets by id: rows from the Hub at a revision, or from a local stand-in.

A spec is ``org/name`` or ``org/name@revision``. A stand-in (``--data ID=PATH``) is a file or a folder of
.jsonl, .json, .csv, .parquet or .txt files and takes the place of the id, so that a machine without the Hub
runs the same code. What was read is kept in `revisions`: the Hub's commit, or a hash of the local files.
"""

from __future__ import annotations

import csv
import itertools
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lrt_bench.errors import UserError
from lrt_bench.files.whole import hash_files

Record = dict[str, Any]


def stand_ins(options: tuple[str, ...], flag: str) -> dict[str, str]:
    """``ID=PATH`` options as a table. Raises UserError where one has no ``=``, no such path, or comes twice.

    An id may carry a revision; it stands for the id at any revision then too.
    """
    found: dict[str, str] = {}
    for option in options:
        identifier, equals, path = option.partition("=")
        identifier = identifier.partition("@")[0]
        if not (identifier and equals and path):
            raise UserError(f"{flag} {option}: give ID=PATH")
        if identifier in found:
            raise UserError(f"{flag} {option}: {identifier} stands twice")
        found[identifier] = path
    return found


@dataclass
class Data:
    """Where data sets come from.

    Parameters
    ----------
    local : {id: file or folder} that take the place of data sets on the Hub.
    revisions : of every data set that was read: a Hub commit, or ``sha256:...`` of local files.
    """

    local: Mapping[str, str] = field(default_factory=dict)
    revisions: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for identifier, path in self.local.items():
            if not Path(path).expanduser().exists():
                raise UserError(f"--data {identifier}={path}: no such file or folder")

    def path(self, spec: str) -> Path | None:
        """The stand-in of a spec, or None where the Hub is asked."""
        local = self.local.get(spec.partition("@")[0])
        return Path(local).expanduser() if local else None

    def rows(self, spec: str, *, split: str = "train", file: str | None = None) -> Iterator[Record]:
        """The data set's rows, in order.

        file : only this file of the data set; of a stand-in, the file of that name wherever it lies.
        """
        path = self.path(spec)
        if path is None:
            return self._hub_rows(spec, split, file)
        files = local_files(path, file)
        self.revision(spec)
        return itertools.chain.from_iterable(map(read_rows, files))

    def revision(self, spec: str) -> str:
        """What `spec` is here and now: a commit of the Hub, or a hash of the stand-in's files."""
        identifier, _, revision = spec.partition("@")
        if identifier not in self.revisions:
            path = self.path(spec)
            if path is not None:
                self.revisions[identifier] = f"sha256:{hash_files(local_files(path))}"
            else:
                self.revisions[identifier] = _commit(spec, identifier, revision)
        return self.revisions[identifier]

    def _hub_rows(self, spec: str, split: str, file: str | None) -> Iterator[Record]:
        identifier = spec.partition("@")[0]
        try:
            import datasets
        except ImportError as error:
            raise UserError(f"{_absent(spec)}; to read it from the Hub install lrt-bench[hub]") from error
        extra = {"data_files": file} if file else {}
        try:
            commit = self.revision(spec)
            yield from datasets.load_dataset(
                identifier, revision=commit, split=split, streaming=True, **extra
            )
        except UserError:
            raise
        except Exception as error:  # whatever the client raises without the Hub
            raise UserError(f"{_absent(spec)}, and the Hub does not give it: {error}") from error


def _absent(spec: str) -> str:
    identifier = spec.partition("@")[0]
    return f"{spec}: not a file or folder here (`--data {identifier}=PATH` names one)"


def _commit(spec: str, identifier: str, revision: str) -> str:
    from huggingface_hub import HfApi

    try:
        return str(HfApi().dataset_info(identifier, revision=revision or None).sha)
    except Exception as error:  # whatever the client raises without the Hub
        raise UserError(f"{_absent(spec)}, and the Hub does not give it: {error}") from error


def local_files(path: Path, name: str | None = None) -> list[Path]:
    """The data files of a file or a folder, sorted; with `name` ("a/b.jsonl") only the one that it names."""
    if path.is_file():
        files = [path]
    else:
        files = sorted(file for file in path.rglob("*") if file.suffix in READERS and file.is_file())
    if name is None:
        if not files:
            raise UserError(f"{path}: no {', '.join(READERS)} file in that folder")
        return files
    wanted = Path(name)
    exact = [file for file in files if file.parts[-len(wanted.parts) :] == wanted.parts]
    found = exact or [file for file in files if file.name == wanted.name]
    if not found:
        raise UserError(f"{path}: no file {name} there")
    return found[:1]


def read_rows(path: Path) -> Iterator[Record]:
    """Rows of one file. Raises UserError naming the file and the line."""
    if path.suffix not in READERS:
        raise UserError(f"{path}: cannot be read as data: give {', '.join(READERS)}")
    return READERS[path.suffix](path)


def _text_rows(path: Path) -> Iterator[Record]:
    """Blank lines part the documents of a text file."""
    with path.open(encoding="utf-8", errors="replace") as lines:
        for blank, group in itertools.groupby(lines, key=lambda line: not line.strip()):
            if not blank:
                yield {"text": " ".join(line.strip() for line in group)}


def _jsonl_rows(path: Path) -> Iterator[Record]:
    with path.open(encoding="utf-8") as lines:
        for number, line in enumerate(lines, 1):
            if not line.strip():
                continue
            try:
                row = json.loads(line)
            except (json.JSONDecodeError, RecursionError) as error:
                raise UserError(f"{path}, line {number}: not JSON: {error}") from error
            if not isinstance(row, dict):
                raise UserError(f"{path}, line {number}: want a JSON object")
            yield row


def _json_rows(path: Path) -> Iterator[Record]:
    try:
        rows = json.loads(path.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise UserError(f"{path}: not JSON: {error}") from error
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise UserError(f"{path}: want a JSON list of objects")
    yield from rows


def _csv_rows(path: Path) -> Iterator[Record]:
    with path.open(encoding="utf-8", newline="") as stream:
        yield from csv.DictReader(stream)


def _parquet_rows(path: Path) -> Iterator[Record]:
    import pyarrow
    import pyarrow.parquet

    try:
        for batch in pyarrow.parquet.ParquetFile(path).iter_batches():
            yield from batch.to_pylist()
    except (pyarrow.ArrowException, OSError) as error:
        raise UserError(f"{path}: not a Parquet file: {error}") from error


READERS: dict[str, Callable[[Path], Iterator[Record]]] = {
    ".jsonl": _jsonl_rows,
    ".txt": _text_rows,
    ".json": _json_rows,
    ".csv": _csv_rows,
    ".parquet": _parquet_rows,
}
