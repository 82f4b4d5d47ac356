"""Text to paired tokens: where documents come from, how they are split, how two tokenizers are aligned.

A document belongs to the fit or to the validation split by the hash of its text, so that the two share
no document, whatever the order or the budget. Both models read the same text. With different tokenizers
two tokens are a pair where their last character is the same character of the text.
"""

from __future__ import annotations

import hashlib
import itertools
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np

from lrt_bench.errors import UserError
from lrt_bench.nano import grammar, lexicon
from lrt_bench.nano.family import MAPPING_STREAM

Split = Literal["fit", "validation"]
VALIDATION_SHARE = 10  # one document in ten is for validation (the paper's 9:1)
BLOCK = 512  # documents tokenised at once


@dataclass(frozen=True)
class Tokens:
    """One text in one tokenizer: ids, which are left out of the fit, and the end of each in characters."""

    ids: list[int]
    kept: np.ndarray  # bool [t]: neither special nor, where there is no BOS, the first token
    ends: np.ndarray  # int [t]: the character after the token's last

    def cut(self, most: int) -> Tokens:
        """The first `most` tokens."""
        return self if len(self.ids) <= most else Tokens(self.ids[:most], self.kept[:most], self.ends[:most])


@dataclass(frozen=True)
class PairedTokens:
    """The same text in both tokenizers; `source_at[i]` and `target_at[i]` are positions of one pair."""

    split: Split
    source_ids: list[int]
    target_ids: list[int]
    source_at: np.ndarray
    target_at: np.ndarray


@dataclass
class Coverage:
    """Tokens seen and kept on both sides; their shares tell how well two tokenizers align."""

    source_tokens: int = 0
    target_tokens: int = 0
    kept: int = 0

    @property
    def source_share(self) -> float:
        return self.kept / max(self.source_tokens, 1)

    @property
    def target_share(self) -> float:
        return self.kept / max(self.target_tokens, 1)


def encode(tokenizer: Any, texts: Sequence[str]) -> list[Tokens]:
    """Tokenise texts, BOS first exactly once where the tokenizer has one, no EOS after.

    The first token is left out of fits even where there is no BOS: it serves as the attention sink.
    """
    if not texts:
        return []
    batch = tokenizer(list(texts), add_special_tokens=False, return_offsets_mapping=True, verbose=False)
    bos = tokenizer.bos_token_id
    special = set(tokenizer.all_special_ids)
    found = []
    for ids, offsets in zip(batch["input_ids"], batch["offset_mapping"], strict=True):
        ends = [end for _, end in offsets]
        if bos is not None and ids[:1] != [bos]:
            ids, ends = [bos, *ids], [0, *ends]
        kept = np.array([token not in special for token in ids], dtype=bool)
        kept[:1] = False
        found.append(Tokens(ids, kept, np.array(ends, dtype=np.int64)))
    return found


def align(source: Tokens, target: Tokens) -> tuple[np.ndarray, np.ndarray]:
    """Positions of the pairs: tokens whose last character is the same character of the text.

    Where several tokens end at one character (a character of several byte tokens), the last counts.
    """
    if source.ids == target.ids and np.array_equal(source.ends, target.ends):  # one tokenizer
        at = np.flatnonzero(source.kept & target.kept)
        return at, at
    sides = []
    for tokens in (source, target):
        at = np.flatnonzero(tokens.kept)
        last = {int(end): int(position) for end, position in zip(tokens.ends[at], at, strict=True)}
        sides.append(last)
    shared = sorted(sides[0].keys() & sides[1].keys())
    return np.array([sides[0][e] for e in shared], int), np.array([sides[1][e] for e in shared], int)


def split_of(document: str) -> Split:
    """The split that a document's text belongs to."""
    digest = hashlib.sha256(document.encode()).digest()
    return "validation" if int.from_bytes(digest[:8], "big") % VALIDATION_SHARE == 0 else "fit"


def _pieces(document: str, tokens: Tokens, context: int) -> Iterator[str]:
    """A document cut into texts of at most `context` tokens, at token ends."""
    room = context - 1
    start = 0
    for first in range(0, len(tokens.ids), room):
        end = int(tokens.ends[min(first + room, len(tokens.ids)) - 1])
        if piece := document[start:end].strip():
            yield piece
        start = end


@dataclass
class Corpus:
    """Documents of one source, endless or not.

    Parameters
    ----------
    source : ``nano`` (the seeded grammar), a .txt or .jsonl file, a folder of those, or a Hub data set id,
        ``org/name[@revision]``.
    context : tokens of the source model that are read at once.
    """

    source: str
    context: int = 128
    coverage: Coverage = field(default_factory=Coverage)
    _hash: Any = field(default_factory=hashlib.sha256, repr=False)

    def documents(self) -> Iterator[str]:
        """The documents in order; duplicates of a document fall in the same split."""
        if self.source == "nano":
            return grammar.documents(MAPPING_STREAM)
        path = Path(self.source).expanduser()
        if path.is_file():
            return _file_documents(path)
        if path.is_dir():
            return itertools.chain.from_iterable(map(_file_documents, _text_files(path)))
        return _hub_documents(self.source)

    def pairs(
        self, source_tokenizer: Any, target_tokenizer: Any, limits: tuple[int, int] = (1 << 30, 1 << 30)
    ) -> Iterator[list[PairedTokens]]:
        """Blocks of paired token sequences; `coverage` and `digest` grow with what is consumed.

        limits : the most tokens that either model reads; what is longer is cut.
        """
        stream = iter(self.documents())
        context = min(self.context, *limits)
        while block := list(itertools.islice(stream, BLOCK)):
            texts, splits = [], []
            for document, tokens in zip(block, encode(source_tokenizer, block), strict=True):
                self._hash.update(document.encode() + b"\0")
                for piece in _pieces(document, tokens, context):
                    texts.append(piece)
                    splits.append(split_of(document))
            sources = encode(source_tokenizer, texts)
            same = source_tokenizer is target_tokenizer
            targets = sources if same else encode(target_tokenizer, texts)
            yield list(self._paired(splits, sources, targets, limits))

    def _paired(
        self, splits: list[Split], sources: list[Tokens], targets: list[Tokens], limits: tuple[int, int]
    ) -> Iterator[PairedTokens]:
        for split, source, target in zip(splits, sources, targets, strict=True):
            source, target = source.cut(limits[0]), target.cut(limits[1])
            source_at, target_at = align(source, target)
            self.coverage.source_tokens += int(source.kept.sum())
            self.coverage.target_tokens += int(target.kept.sum())
            self.coverage.kept += len(source_at)
            if len(source_at):
                yield PairedTokens(split, source.ids, target.ids, source_at, target_at)

    def fingerprint(self) -> str:
        """Hash of what the documents come from, before they are read: files, or the grammar's own source."""
        path = Path(self.source).expanduser()
        if self.source == "nano":
            files = [Path(grammar.__file__), Path(lexicon.__file__)]
        else:
            files = [path] if path.is_file() else _text_files(path) if path.is_dir() else []
        digest = hashlib.sha256(self.source.encode())
        for file in files:
            digest.update(b"\0" + file.name.encode() + b"\0")
            with file.open("rb") as stream:
                for block in iter(lambda: stream.read(1 << 20), b""):
                    digest.update(block)
        return digest.hexdigest()

    @property
    def digest(self) -> str:
        """Hash of the documents that were read."""
        return self._hash.hexdigest()


def _text_files(folder: Path) -> list[Path]:
    files = sorted(file for file in folder.rglob("*") if file.suffix in (".txt", ".jsonl"))
    if not files:
        raise UserError(f"{folder}: no .txt or .jsonl file in that corpus folder")
    return files


def _file_documents(path: Path) -> Iterator[str]:
    """Documents of a .jsonl file (field "text") or of a text file (blank lines between)."""
    if path.suffix == ".jsonl":
        yield from _jsonl_documents(path)
        return
    with path.open(encoding="utf-8", errors="replace") as lines:
        for blank, group in itertools.groupby(lines, key=lambda line: not line.strip()):
            if not blank:
                yield " ".join(line.strip() for line in group)


def _jsonl_documents(path: Path) -> Iterator[str]:
    with path.open(encoding="utf-8") as lines:
        for number, line in enumerate(lines, 1):
            try:
                text = json.loads(line)["text"]
            except (json.JSONDecodeError, KeyError, TypeError) as error:
                raise UserError(f'{path}, line {number}: want a JSON object with a field "text"') from error
            if isinstance(text, str) and text.strip():
                yield text


def _hub_documents(name: str) -> Iterator[str]:
    """Documents of a Hub data set, streamed; the column is "text" or the first that holds strings."""
    try:
        import datasets
    except ImportError as error:
        raise UserError(
            f"{name}: no such file or folder; to read a Hub data set install lrt-bench[hub]"
        ) from error
    identifier, _, revision = name.partition("@")
    try:
        rows = datasets.load_dataset(identifier, revision=revision or None, split="train", streaming=True)
        for row in rows:
            column = "text" if "text" in row else next(k for k, v in row.items() if isinstance(v, str))
            if row[column].strip():
                yield row[column]
    except Exception as error:  # whatever the client raises without the Hub
        raise UserError(f"{name}: not a file or folder, and the Hub does not give it: {error}") from error
