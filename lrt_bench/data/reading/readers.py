"""Rows of data files: one reader a format, each row with its place (file and line) for what is said of it."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from lrt_bench.errors import UserError
from lrt_bench.files.parse import parse_json, read_csv
from lrt_bench.files.text import PACKINGS, numbered_lines, open_unpacked, read_text, unpacked_suffix

Record = dict[str, Any]
Located = tuple[str, Record]  # (place, row); a place is "FILE, line 3"


def read_located(path: Path) -> Iterator[Located]:
    """Read the rows of one file, each with its place.

    Raises
    ------
    UserError
        Naming the file and the line, where the file is none of `READERS` or not what its suffix says.
    """
    suffix = unpacked_suffix(path)
    if suffix not in READERS:
        raise UserError(
            f"{path}: cannot be read as data: give {', '.join(READERS)}, as they are or packed as "
            f"{', '.join(PACKINGS)}"
        )
    return READERS[suffix](path)


def _text_rows(path: Path) -> Iterator[Located]:
    """Read a text file's documents: blank lines part them."""
    blocks = itertools.groupby(numbered_lines(path), key=lambda numbered: not numbered[1].strip())
    for blank, lines in blocks:
        if not blank:
            first, start = next(lines)
            yield f"{path}, line {first}", {"text": " ".join([start.strip(), *(x.strip() for _, x in lines)])}


def _jsonl_rows(path: Path) -> Iterator[Located]:
    for number, line in numbered_lines(path):
        if line.strip():
            place = f"{path}, line {number}"
            yield place, _object(parse_json(line, place), place)


def _json_rows(path: Path) -> Iterator[Located]:
    """Read a list of objects, an object whose field ``data`` is one, or JSON lines under another name."""
    if _is_json_lines(path):
        yield from _jsonl_rows(path)
        return
    content = parse_json(read_text(path), str(path))
    if isinstance(content, dict):
        content = content.get("data", [content])
    if not isinstance(content, list):
        raise UserError(f"{path}: want a JSON list of objects, or JSON lines")
    for number, row in enumerate(content, 1):
        yield f"{path}, row {number}", _object(row, f"{path}, row {number}")


def _is_json_lines(path: Path) -> bool:
    """Whether a .json file has a whole object on each of its first two lines."""
    lines = [line for _, line in itertools.islice(numbered_lines(path), 2)]
    try:
        return len(lines) == 2 and all(isinstance(parse_json(line, ""), dict) for line in lines)
    except UserError:
        return False


def _object(value: Any, place: str) -> Record:
    if not isinstance(value, dict):
        raise UserError(f"{place}: want a JSON object")
    return value


def _csv_rows(path: Path) -> Iterator[Located]:
    return ((f"{path}, line {number}", row) for number, row in read_csv(path))


def _tsv_rows(path: Path) -> Iterator[Located]:
    return ((f"{path}, line {number}", row) for number, row in read_csv(path, "\t"))


def _parquet_rows(path: Path) -> Iterator[Located]:
    import pyarrow
    import pyarrow.parquet

    if path.suffix.lower() in PACKINGS:
        raise UserError(f"{path}: Parquet is packed within: unpack the file first")
    number = 0
    try:
        for batch in pyarrow.parquet.ParquetFile(path).iter_batches():
            for row in batch.to_pylist():
                number += 1
                yield f"{path}, row {number}", row
    except (pyarrow.ArrowException, OSError, ValueError) as error:
        raise UserError(f"{path}: not a Parquet file: {error}") from error


def _arrow_rows(path: Path) -> Iterator[Located]:
    """Read an Arrow stream, as `datasets.Dataset.save_to_disk` writes it, or an Arrow file."""
    import pyarrow

    number = 0
    try:
        with open_unpacked(path) as stream:
            is_file = path.suffix.lower() == ".arrow" and stream.read(6) == b"ARROW1"
        with open_unpacked(path) as stream:
            batches: Iterator[Any]
            if is_file:
                reader = pyarrow.ipc.open_file(stream)
                batches = (reader.get_batch(i) for i in range(reader.num_record_batches))
            else:
                batches = iter(pyarrow.ipc.open_stream(stream))
            for batch in batches:
                for row in batch.to_pylist():
                    number += 1
                    yield f"{path}, row {number}", row
    except (pyarrow.ArrowException, OSError, ValueError, EOFError) as error:
        raise UserError(f"{path}: not an Arrow file: {error}") from error


READERS: dict[str, Callable[[Path], Iterator[Located]]] = {
    ".jsonl": _jsonl_rows,
    ".ndjson": _jsonl_rows,
    ".txt": _text_rows,
    ".json": _json_rows,
    ".csv": _csv_rows,
    ".tsv": _tsv_rows,
    ".parquet": _parquet_rows,
    ".arrow": _arrow_rows,
}
