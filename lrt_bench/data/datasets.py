"""Data sets by id: rows from the Hub at a revision, or from a local stand-in.

A spec is ``org/name`` or ``org/name@revision``. A stand-in (``--data ID=PATH``) is a file or a folder of
data files (`readers.READERS`) and takes the place of the id, so that a machine without the Hub runs the same
code. What was read is kept in `Data.revisions`: the Hub's commit, or a hash of the local files.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lrt_bench.data.reading.folders import find_data_file, list_data
from lrt_bench.data.reading.readers import Located, Record, read_located
from lrt_bench.data.recent import Recent
from lrt_bench.errors import UserError
from lrt_bench.files.hub import absent, why_no_hub
from lrt_bench.files.whole import hash_files

LOG = logging.getLogger("lrt_bench")
TOKENIZER_PAIRS = 8  # whose blocks are held at a time


def stand_ins(options: tuple[str, ...], flag: str) -> dict[str, str]:
    """Read ``ID=PATH`` options as a table.

    An id may carry a revision; it stands for the id at any revision then too.

    Raises
    ------
    UserError
        Where an option has no ``=``, or an id comes twice.
    """
    paths: dict[str, str] = {}
    for option in options:
        identifier, equals, path = option.partition("=")
        identifier = identifier.partition("@")[0]
        if not (identifier and equals and path):
            raise UserError(f"{flag} {option}: give ID=PATH")
        if identifier in paths:
            raise UserError(f"{flag} {option}: {identifier} stands twice")
        paths[identifier] = path
    return paths


@dataclass
class Data:
    """Where data sets come from.

    Parameters
    ----------
    local : {id: file or folder} that take the place of data sets on the Hub.
    revisions : of every data set that was read: a Hub commit, or ``sha256:...`` of local files.
    notices : what was said of the files that were read, each line once.
    quiet : say nothing, where the same will be read again.
    blocks : of the embedded corpus, tokenised, that the pairs of a run share (`corpus.Corpus`).

    Raises
    ------
    UserError
        Where a stand-in is not there.
    """

    local: Mapping[str, str] = field(default_factory=dict)
    revisions: dict[str, str] = field(default_factory=dict)
    notices: list[str] = field(default_factory=list)
    quiet: bool = False
    blocks: Recent[list[Any]] = field(default_factory=lambda: Recent(TOKENIZER_PAIRS), repr=False)

    def __post_init__(self) -> None:
        for identifier, path in self.local.items():
            if not Path(path).expanduser().exists():
                raise UserError(f"--data {identifier}={path}: no such file or folder")

    def path(self, spec: str) -> Path | None:
        """Return the stand-in of a spec, or None where the Hub is read."""
        local = self.local.get(spec.partition("@")[0])
        return Path(local).expanduser() if local else None

    def rows(self, spec: str, *, split: str = "train", file: str | None = None) -> Iterator[Record]:
        """Read the data set's rows, in order.

        Parameters
        ----------
        file : str, optional
            Only this file of the data set; of a stand-in, the file of that name wherever it lies.
        """
        return (row for source in self.located(spec, split=split, file=file) for _, row in source)

    def located(
        self, spec: str, *, split: str = "train", file: str | None = None
    ) -> Iterator[Iterator[Located]]:
        """Read the data set's rows with their places, file by file (the Hub's as one)."""
        path = self.path(spec)
        if path is None:
            return iter([self._hub_rows(spec, split, file)])
        self.revision(spec)
        return self.read_files(path, file)

    def read_files(self, path: Path, file: str | None = None) -> Iterator[Iterator[Located]]:
        """Read a local file or folder, file by file; what of a folder is left out is said."""
        if file is not None:
            return iter([read_located(find_data_file(path, file) if path.is_dir() else path)])
        listing = list_data(path)
        if listing.summary:
            self.say(listing.summary)
        return map(read_located, listing.files)

    def say(self, line: str) -> None:
        """Log a line about the data as a warning, once."""
        if not self.quiet and line not in self.notices:
            self.notices.append(line)
            LOG.warning("%s", line)

    def revision(self, spec: str) -> str:
        """Return what `spec` is today: a commit of the Hub, or a hash of the stand-in's files."""
        identifier, _, revision = spec.partition("@")
        if identifier not in self.revisions:
            path = self.path(spec)
            if path is not None:
                self.revisions[identifier] = f"sha256:{hash_files(list_data(path).files)}"
            else:
                self.revisions[identifier] = _commit(spec, identifier, revision)
        return self.revisions[identifier]

    def _hub_rows(self, spec: str, split: str, file: str | None) -> Iterator[Located]:
        identifier = spec.partition("@")[0]
        try:
            import datasets
        except ImportError as error:
            raise UserError(f"{absent(spec)}; to read it from the Hub install lrt-bench[hub]") from error
        extra = {"data_files": file} if file else {}
        try:
            commit = self.revision(spec)
            rows = datasets.load_dataset(identifier, revision=commit, split=split, streaming=True, **extra)
            for number, row in enumerate(rows, 1):
                yield f"{spec}, row {number}", row
        except UserError:
            raise
        except Exception as error:  # whatever the client raises without the Hub
            raise UserError(f"{absent(spec)}, and the Hub does not give it: {error}") from error


def _commit(spec: str, identifier: str, revision: str) -> str:
    from huggingface_hub import HfApi

    if why := why_no_hub():
        raise UserError(f"{absent(spec)}, and {why}")
    try:
        return str(HfApi().dataset_info(identifier, revision=revision or None).sha)
    except Exception as error:  # whatever the client raises without the Hub
        raise UserError(f"{absent(spec)}, and the Hub does not give it: {error}") from error
