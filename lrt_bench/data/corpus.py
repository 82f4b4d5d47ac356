"""Text to paired tokens: where documents come from, how they are split, how two tokenizers are aligned.

A document belongs to the fit or to the validation split by the hash of its text, so that the two share
no document, whatever the order or the budget. Both models read the same text. With different tokenizers
two tokens are a pair where their last character is the same character of the text.
"""

from __future__ import annotations

import hashlib
import itertools
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal
from weakref import WeakKeyDictionary

import numpy as np

from lrt_bench.data.chat import Turn, plain, shared, turns_of
from lrt_bench.data.datasets import Data, Record, local_files, read_rows
from lrt_bench.errors import UserError
from lrt_bench.files.names import HUB_ID
from lrt_bench.files.whole import hash_files
from lrt_bench.nano import grammar, lexicon
from lrt_bench.nano.family import MAPPING_STREAM

Split = Literal["fit", "validation"]
VALIDATION_SHARE = 10  # one document in ten is for validation (the paper's 9:1)
BLOCK = 512  # documents tokenised at once


@dataclass(frozen=True)
class Budget:
    """How many tokens a fit may read, and how many of them are kept for methods that need samples."""

    fit_tokens: int = 60_000
    validation_tokens: int = 6_000
    sample_tokens: int = 30_000


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

    def add(self, other: Coverage) -> None:
        """Count other tokens, too."""
        self.source_tokens += other.source_tokens
        self.target_tokens += other.target_tokens
        self.kept += other.kept

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


_ENCODED: OrderedDict[tuple[str, tuple[str, ...]], list[Tokens]] = OrderedDict()
ENCODED = 64  # lists of texts that are remembered


def encode_again(tokenizer: Any, texts: Sequence[str]) -> list[Tokens]:
    """`encode` for a task's texts, which both sides of a pair read, and every pair of a suite."""
    key = kind_of(tokenizer), tuple(texts)
    if key not in _ENCODED:
        _ENCODED[key] = encode(tokenizer, texts)
        if len(_ENCODED) > ENCODED:
            _ENCODED.popitem(last=False)
    _ENCODED.move_to_end(key)
    return _ENCODED[key]


def alike(one: Any, other: Any) -> bool:
    """Whether two fast tokenizers cut every text alike, special tokens included."""
    return one is other or kind_of(one) == kind_of(other)


_KINDS: WeakKeyDictionary[Any, str] = WeakKeyDictionary()


def kind_of(tokenizer: Any) -> str:
    """Hash of all that decides how a fast tokenizer cuts a text; looked at once."""
    if tokenizer not in _KINDS:
        special = [tokenizer.bos_token_id, *sorted(tokenizer.all_special_ids)]
        whole = f"{special} {tokenizer.backend_tokenizer.to_str()}"
        _KINDS[tokenizer] = hashlib.sha256(whole.encode()).hexdigest()
    return _KINDS[tokenizer]


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


@dataclass(frozen=True)
class Part:
    """A source of a corpus: its id, its share, the column of its text (found by itself where not given)."""

    id: str
    share: float = 1.0
    column: str | None = None
    split: str = "train"


@dataclass(frozen=True)
class _Block:
    """Documents as paired tokens, what is to be counted of them, and their text."""

    pairs: list[PairedTokens]
    coverage: Coverage
    text: bytes


_KNOWN: dict[Any, list[_Block]] = {}
KNOWN_KINDS = 8


def _known(key: Any) -> list[_Block]:
    """The grammar's blocks that this process has made for these tokenizers, to be added to."""
    if key not in _KNOWN and len(_KNOWN) >= KNOWN_KINDS:
        _KNOWN.clear()
    return _KNOWN.setdefault(key, [])


def _block(
    documents: Sequence[str], tokenizers: tuple[Any, Any], context: int, limits: tuple[int, int]
) -> _Block:
    """Cut documents into texts, and pair the tokens of both sides."""
    texts, splits = [], []
    for document, tokens in zip(documents, encode(tokenizers[0], documents), strict=True):
        for piece in _pieces(document, tokens, min(context, *limits)):
            texts.append(piece)
            splits.append(split_of(document))
    sources = encode(tokenizers[0], texts)
    targets = sources if alike(*tokenizers) else encode(tokenizers[1], texts)
    pairs, coverage = [], Coverage()
    for split, source, target in zip(splits, sources, targets, strict=True):
        source, target = source.cut(limits[0]), target.cut(limits[1])
        source_at, target_at = align(source, target)
        coverage.add(Coverage(int(source.kept.sum()), int(target.kept.sum()), len(source_at)))
        if len(source_at):
            pairs.append(PairedTokens(split, source.ids, target.ids, source_at, target_at))
    return _Block(pairs, coverage, b"".join(document.encode() + b"\0" for document in documents))


@dataclass
class Corpus:
    """Documents of one source, endless or not.

    Parameters
    ----------
    source : ``nano`` (the seeded grammar), a file or a folder (.txt, .jsonl, .json, .csv, .parquet), or the
        id of a data set, ``org/name[@revision]``.
    context : tokens of the source model that are read at once.
    mix : several sources at once, each with its share of the characters; `source` then only names them.
    data : where ids lead.
    remembered : blocks of the grammar that this process keeps, for others that read them too.
    """

    source: str
    context: int = 128
    mix: tuple[Part, ...] = ()
    data: Data = field(default_factory=Data)
    coverage: Coverage = field(default_factory=Coverage)
    remembered: int = 0
    _hash: Any = field(default_factory=hashlib.sha256, repr=False)

    def _parts(self) -> tuple[Part, ...]:
        return self.mix or (Part(id=self.source),)

    def documents(self, chat: Callable[[Sequence[Turn]], str] = plain) -> Iterator[str]:
        """The documents in order; duplicates of a document fall in the same split.

        chat : how a conversation becomes text.
        """
        parts = self._parts()
        return _interleaved([self._part(part, chat) for part in parts], [part.share for part in parts])

    def _part(self, part: Part, chat: Callable[[Sequence[Turn]], str]) -> Iterator[str]:
        if part.id == "nano":
            return grammar.documents(MAPPING_STREAM)
        path = _local(part.id)
        if path is not None:
            rows: Iterator[Record] = itertools.chain.from_iterable(map(read_rows, local_files(path)))
        elif HUB_ID.fullmatch(part.id):
            rows = self.data.rows(part.id, split=part.split)
        else:
            raise UserError(f"--corpus {part.id}: no such file or folder, and not a data set's id (org/name)")
        documents = (document_of(row, part.column, chat) for row in rows)
        return self._some(part, documents)

    def _some(self, part: Part, documents: Iterator[str | None]) -> Iterator[str]:
        """The documents; a source without any text is named."""
        found = False
        for document in documents:
            if document is not None:
                found = True
                yield document
        if not found:
            column = f'column "{part.column}"' if part.column else 'a column "text"'
            raise UserError(f"{part.id}: no text there; want {column} that holds strings or conversations")

    def pairs(
        self, source_tokenizer: Any, target_tokenizer: Any, limits: tuple[int, int] = (1 << 30, 1 << 30)
    ) -> Iterator[list[PairedTokens]]:
        """Blocks of paired token sequences; `coverage` and `digest` grow with what is consumed.

        limits : the most tokens that either model reads; what is longer is cut.
        """
        for block in self._blocks(source_tokenizer, target_tokenizer, limits):
            self._hash.update(block.text)
            self.coverage.add(block.coverage)
            yield block.pairs
            del block  # one at a time is in memory

    def _blocks(
        self, source_tokenizer: Any, target_tokenizer: Any, limits: tuple[int, int]
    ) -> Iterator[_Block]:
        """The blocks; the grammar's first ones, which all pairs of a suite read, are made once a process."""
        key = (kind_of(source_tokenizer), kind_of(target_tokenizer), self.context, limits)
        known = _known(key) if self.remembered and self._parts() == (Part(id="nano"),) else []
        number = 0
        for block in tuple(known):  # another pair may add to them meanwhile
            yield block
            number += 1
        stream = self.documents(shared(source_tokenizer, target_tokenizer))
        stream = itertools.islice(stream, number * BLOCK, None)
        while documents := list(itertools.islice(stream, BLOCK)):
            block = _block(documents, (source_tokenizer, target_tokenizer), self.context, limits)
            if number == len(known) < self.remembered:
                known.append(block)
            number += 1
            yield block
            del block, documents

    def fingerprint(self) -> str:
        """Hash of what the documents come from, before it is read: files, a commit, the grammar."""
        digest = hashlib.sha256()
        for part in self._parts():
            digest.update(part.id.encode())
            if part.id == "nano":
                digest.update(hash_files([Path(grammar.__file__), Path(lexicon.__file__)]).encode())
            elif (path := _local(part.id)) is not None:
                digest.update(hash_files(local_files(path)).encode())
            else:
                digest.update(self.data.revision(part.id).encode())
        return digest.hexdigest()

    @property
    def digest(self) -> str:
        """Hash of the documents that were read."""
        return self._hash.hexdigest()


def _local(source: str) -> Path | None:
    """The file or folder that a source names, or None."""
    path = Path(source).expanduser()
    return path if path.exists() else None


def _interleaved(streams: Sequence[Iterator[str]], shares: Sequence[float]) -> Iterator[str]:
    """Documents of several streams, so that each has its share of the characters at any time.

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
            read[behind] += len(document)
            yield document


def document_of(row: dict[str, Any], column: str | None, chat: Callable[[Sequence[Turn]], str]) -> str | None:
    """A row's text: its column (or "text", a conversation, the first string), None where it has none."""
    values = [row.get(column)] if column else [row.get("text"), *row.values()]
    for value in values:
        if isinstance(value, str) and value.strip():
            return value
        if turns := turns_of(value):
            return chat(turns)
    return None
