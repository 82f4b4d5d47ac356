"""Documents of a corpus: from the grammar, files, folders and data sets, alone or mixed by shares."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, Field

from lrt_bench.data.chat import Turn, plain
from lrt_bench.data.datasets import Data
from lrt_bench.data.reading.columns import Document, TextColumn
from lrt_bench.data.reading.folders import list_data
from lrt_bench.data.reading.readers import Located
from lrt_bench.errors import UserError
from lrt_bench.files.names import HUB_ID, visible
from lrt_bench.files.schema import Strict
from lrt_bench.files.whole import hash_files
from lrt_bench.nano import grammar, lexicon, one_language
from lrt_bench.nano.family import MAPPING_STREAM

READING = b"strict-2"  # raised whenever the same files would give other documents


class Part(Strict):
    """A source of a corpus: its id, its share of the characters, and the column of its text.

    Where `column` is None, the text is found by the column's name (`columns.COLUMNS`).
    """

    id: Annotated[str, Field(min_length=1, max_length=4000), AfterValidator(visible)]
    share: Annotated[float, Field(gt=0, le=1)] = 1.0
    column: Annotated[str, Field(max_length=1000)] | None = None
    split: Annotated[str, Field(min_length=1, max_length=1000)] = "train"


GRAMMAR = Part(id="nano")
EMBEDDED = {"nano": None, "nano-english": "english", "nano-french": "french"}  # of the grammar: its languages


def local_path(source: str) -> Path | None:
    """Return the file or folder that a source names, or None."""
    path = Path(source).expanduser()
    try:
        return path if path.exists() else None
    except (OSError, ValueError):  # a name that no file system takes
        return None


def read_documents(part: Part, data: Data, chat: Callable[[Sequence[Turn]], str]) -> Iterator[Document]:
    """Read the documents of one source, in order.

    How many rows have no text is said at the end.

    Raises
    ------
    UserError
        Where there is no such source, or no text in it.
    """
    if part.id in EMBEDDED:
        return (Document(text, "") for text in _written(part.id))
    path = local_path(part.id)
    if path is not None:
        return _texts(part, data.read_files(path), data, chat)
    if HUB_ID.fullmatch(part.id):
        return _texts(part, data.located(part.id, split=part.split), data, chat)
    raise UserError(f"--corpus {part.id}: no such file or folder, and not a data set's id (org/name)")


def _written(name: str) -> Iterator[str]:
    language = EMBEDDED[name]
    stream = grammar.documents(MAPPING_STREAM)
    return stream if language is None else one_language.documents(language, MAPPING_STREAM)


def _texts(
    part: Part, files: Iterator[Iterator[Located]], data: Data, chat: Callable[[Sequence[Turn]], str]
) -> Iterator[Document]:
    reader = TextColumn(part.column, chat)
    try:
        for rows in files:
            yield from reader.documents(rows)
    finally:
        if reader.skipped:
            data.say(
                f"{part.id}: {reader.skipped} of {reader.rows} rows have no text (null, empty or blank): "
                "left out"
            )
    if reader.skipped == reader.rows:
        raise UserError(f"{part.id}: no text there: {reader.rows} rows, all of them null, empty or blank")


def check_sources(parts: Sequence[Part], data: Data) -> None:
    """Say what of folders is read, and read the first document of every source.

    Raises
    ------
    UserError
        Where a source is not there, or its first rows have no text that is known as such.
    """
    for part in parts:
        path = None if part.id in EMBEDDED else local_path(part.id) or data.path(part.id)
        if path is not None and (summary := list_data(path).summary):
            data.say(summary)
        next(read_documents(part, replace(data, quiet=True), plain), None)


def interleave(streams: Sequence[Iterator[Document]], shares: Sequence[float]) -> Iterator[Document]:
    """Mix documents of several streams, so that each has its share of the characters at any time.

    A stream that ends leaves the rest to the others.
    """
    read = [0] * len(streams)
    open_streams = list(range(len(streams)))
    while open_streams:
        behind = min(open_streams, key=lambda i: read[i] / shares[i])
        document = next(streams[behind], None)
        if document is None:
            open_streams.remove(behind)
        else:
            read[behind] += len(document.text)
            yield document


def fingerprint(parts: Sequence[Part], data: Data) -> str:
    """Hash what documents come from, before they are read: files, a commit, the grammar."""
    digest = hashlib.sha256()
    for part in parts:
        digest.update(part.id.encode())
        if part.id in EMBEDDED:
            written = [grammar, lexicon] + [one_language] * (part.id != "nano")
            digest.update(hash_files([Path(module.__file__ or "") for module in written]).encode())
            continue
        path = local_path(part.id)
        origin = hash_files(list_data(path).files) if path is not None else data.revision(part.id)
        digest.update(READING + origin.encode())
    return digest.hexdigest()
