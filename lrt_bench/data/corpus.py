"""Text to paired tokens: where documents come from, how they are split, how two tokenizers are aligned.

A document belongs to the fit or to the validation split by the hash of its text, so that the two share
no document, whatever the order or the budget. Both models read the same text. With different tokenizers
two tokens are a pair where their last character is the same character of the text.
"""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any, Literal
from weakref import WeakKeyDictionary

import numpy as np

from lrt_bench.data.chat import Turn, plain, shared
from lrt_bench.data.datasets import Data
from lrt_bench.data.documents import GRAMMAR, Part, check_sources, fingerprint, interleave, read_documents
from lrt_bench.data.reading.columns import Document
from lrt_bench.data.recent import Recent
from lrt_bench.errors import UserError

Split = Literal["fit", "validation"]
VALIDATION_SHARE = 10  # one document in ten is for validation (the paper's 9:1)
DOCUMENTS_AT_ONCE = 512  # that are tokenised together


BUDGET_LIMITS = {  # validation states are held in memory, the sample on a disk
    "fit_tokens": 100_000_000_000,
    "validation_tokens": 10_000_000,
    "sample_tokens": 100_000_000,
    "unseen_tokens": 10_000_000,
    "draws": 1000,
    "shown_tokens": 10_000_000,
}


@dataclass(frozen=True)
class Budget:
    """How many tokens a fit may read, and how many of them are kept for methods that need samples.

    unseen_tokens : of further documents, which no fit and no choice ever reads: fidelity is measured on them.
    draws : of other documents each, so many fits' tokens are read. One draw ends with the text in which
        `fit_tokens` is reached; several are cut at the very token, so that all are of one size.
    shown_tokens : of the validation tokens, so many of its own documents a draw's fit is shown; 0 shows all.

    Raises
    ------
    UserError
        Where a number is below 1 or above `BUDGET_LIMITS`.
    """

    fit_tokens: int = 60_000
    validation_tokens: int = 6_000
    sample_tokens: int = 30_000
    unseen_tokens: int = 0
    draws: int = 1
    shown_tokens: int = 0

    def __post_init__(self) -> None:
        for spec in fields(self):
            tokens, most = getattr(self, spec.name), BUDGET_LIMITS[spec.name]
            least = 0 if spec.name in ("unseen_tokens", "shown_tokens") else 1
            if not least <= tokens <= most:
                raise UserError(f"{spec.name} {tokens}: give {least} to {most}")


@dataclass(frozen=True)
class Tokens:
    """One text in one tokenizer: ids, which are left out of the fit, and the end of each in characters."""

    ids: list[int]
    kept: np.ndarray  # bool [t]: neither special nor, where there is no BOS, the first token
    ends: np.ndarray  # int [t]: the character after the token's last

    def cut(self, most: int) -> Tokens:
        """Keep the first `most` tokens."""
        return self if len(self.ids) <= most else Tokens(self.ids[:most], self.kept[:most], self.ends[:most])


@dataclass(frozen=True)
class PairedTokens:
    """The same text in both tokenizers; `source_at[i]` and `target_at[i]` are positions of one pair.

    document : a number of the whole document that the text is of, the same for its duplicates.
    """

    split: Split
    source_ids: list[int]
    target_ids: list[int]
    source_at: np.ndarray
    target_at: np.ndarray
    document: int = 0

    def cut(self, most: int) -> PairedTokens:
        """Keep the first `most` pairs; both sides are still read whole."""
        return replace(self, source_at=self.source_at[:most], target_at=self.target_at[:most])


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
        """The share of the source's tokens that are in a pair."""
        return self.kept / max(self.source_tokens, 1)

    @property
    def target_share(self) -> float:
        """The share of the target's tokens that are in a pair."""
        return self.kept / max(self.target_tokens, 1)


def encode(
    tokenizer: Any, texts: Sequence[str], *, places: Sequence[str] = (), empty: bool = False
) -> list[Tokens]:
    """Tokenise texts, BOS first exactly once where the tokenizer has one, no EOS after.

    The first token is left out of fits even where there is no BOS: it serves as the attention sink.

    Parameters
    ----------
    places : sequence of str
        Where each text stands, for the line that refuses it.
    empty : bool
        Whether texts that give no token are let through, for callers that put a token of their own first.

    Raises
    ------
    UserError
        Where a text gives no token of its own: its state would be that of BOS, or of padding.
    """
    if not texts:
        return []
    batch = tokenizer(list(texts), add_special_tokens=False, return_offsets_mapping=True, verbose=False)
    bos = tokenizer.bos_token_id
    special = set(tokenizer.all_special_ids)
    encoded = []
    for number, (ids, offsets) in enumerate(zip(batch["input_ids"], batch["offset_mapping"], strict=True)):
        ends = [end for _, end in offsets]
        if not empty and not ids and (texts[number] or bos is None):
            place = places[number] if places else f"text {number + 1} of {len(texts)}"
            name = getattr(tokenizer, "name_or_path", "") or "this model"
            raise UserError(
                f"{place}: {texts[number][:40]!r} gives no token in {name}'s tokenizer: take the text out"
            )
        if bos is not None and ids[:1] != [bos]:
            ids, ends = [bos, *ids], [0, *ends]
        kept = np.array([token not in special for token in ids], dtype=bool)
        kept[:1] = False
        encoded.append(Tokens(ids, kept, np.array(ends, dtype=np.int64)))
    return encoded


TEXT_LISTS = 64  # that a memory of tokens holds


@dataclass
class TokenMemory:
    """A task's texts in tokens, which both sides of a pair read, and every pair of a suite.

    The models of one run share it (`models.loading.Models`). Tokenizers that cut texts alike share its lists.
    """

    _lists: Recent[list[Tokens]] = field(default_factory=lambda: Recent(TEXT_LISTS), repr=False)
    _kinds: WeakKeyDictionary[Any, str] = field(default_factory=WeakKeyDictionary, repr=False)

    def encode(self, tokenizer: Any, texts: Sequence[str]) -> list[Tokens]:
        """`encode`, once for the same list of texts; nobody may change what it returns."""
        kind = self._kinds.get(tokenizer)
        if kind is None:
            kind = self._kinds[tokenizer] = kind_of(tokenizer)
        return self._lists.get((kind, tuple(texts)), lambda: encode(tokenizer, texts))


def alike(one: Any, other: Any) -> bool:
    """Whether two fast tokenizers cut every text alike, special tokens included."""
    return one is other or kind_of(one) == kind_of(other)


def kind_of(tokenizer: Any) -> str:
    """Hash of all that decides how a fast tokenizer cuts a text."""
    special = [tokenizer.bos_token_id, *sorted(tokenizer.all_special_ids)]
    whole = f"{special} {tokenizer.backend_tokenizer.to_str()}"
    return hashlib.sha256(whole.encode()).hexdigest()


def align(source: Tokens, target: Tokens) -> tuple[np.ndarray, np.ndarray]:
    """Positions of the pairs: tokens whose last character is the same character of the text.

    Where several tokens end at one character (a character of several byte tokens), the last counts.
    """
    if source.ids == target.ids and np.array_equal(source.ends, target.ends):  # one tokenizer
        positions = np.flatnonzero(source.kept & target.kept)
        return positions, positions
    sides = []
    for tokens in (source, target):
        positions = np.flatnonzero(tokens.kept)
        last = {int(end): int(place) for end, place in zip(tokens.ends[positions], positions, strict=True)}
        sides.append(last)
    shared = sorted(sides[0].keys() & sides[1].keys())
    return np.array([sides[0][e] for e in shared], int), np.array([sides[1][e] for e in shared], int)


def split_of(document: str) -> Split:
    """Return the split that a document's text belongs to."""
    return _place(document)[0]


def _place(document: str) -> tuple[Split, int]:
    """Return a document's split, and the number that deals it to a draw; both are the text's alone."""
    digest = hashlib.sha256(document.encode()).digest()
    validation = int.from_bytes(digest[:8], "big") % VALIDATION_SHARE == 0
    return "validation" if validation else "fit", int.from_bytes(digest[8:12], "big")


def _pieces(document: str, tokens: Tokens, context: int) -> Iterator[str]:
    """Cut a document into texts of at most `context` tokens, at token ends."""
    room = context - 1
    start = 0
    for first in range(0, len(tokens.ids), room):
        end = int(tokens.ends[min(first + room, len(tokens.ids)) - 1])
        if piece := document[start:end].strip():
            yield piece
        start = end


@dataclass(frozen=True)
class _Block:
    """Documents as paired tokens, what is to be counted of them, and their text."""

    pairs: list[PairedTokens]
    coverage: Coverage
    text: bytes


def _block(
    documents: Sequence[Document],
    tokenizers: tuple[Any, Any],
    same: bool,
    context: int,
    limits: tuple[int, int],
) -> _Block:
    """Cut documents into texts, and pair the tokens of both sides; `same` where both cut texts alike."""
    texts, dealt, places = [], [], []
    bodies, starts = [document.text for document in documents], [document.place for document in documents]
    for document, tokens in zip(documents, encode(tokenizers[0], bodies, places=starts), strict=True):
        for piece in _pieces(document.text, tokens, min(context, *limits)):
            texts.append(piece)
            dealt.append(_place(document.text))
            places.append(document.place)
    sources = encode(tokenizers[0], texts, places=places)
    targets = sources if same else encode(tokenizers[1], texts, places=places)
    pairs, coverage = [], Coverage()
    for (split, number), source, target in zip(dealt, sources, targets, strict=True):
        source, target = source.cut(limits[0]), target.cut(limits[1])
        source_at, target_at = align(source, target)
        coverage.add(Coverage(int(source.kept.sum()), int(target.kept.sum()), len(source_at)))
        if len(source_at):
            pairs.append(PairedTokens(split, source.ids, target.ids, source_at, target_at, number))
    return _Block(pairs, coverage, b"".join(text.encode() + b"\0" for text in bodies))


@dataclass
class Corpus:
    """Documents of one source, endless or not.

    Parameters
    ----------
    source : ``nano`` (the seeded grammar), a file or a folder (`readers.READERS`), or the id of a data set,
        ``org/name[@revision]``.
    context : tokens of the source model that are read at once.
    mix : several sources at once, each with its share of the characters; `source` then only names them.
    data : where ids lead; it holds the blocks that are remembered.
    remembered : blocks of the grammar that are kept, for other corpora with the same `data`.
    column : the column of the text, where it has none of the known names.
    """

    source: str
    context: int = 128
    mix: tuple[Part, ...] = ()
    data: Data = field(default_factory=Data)
    coverage: Coverage = field(default_factory=Coverage)
    remembered: int = 0
    column: str | None = None
    _hash: Any = field(default_factory=hashlib.sha256, repr=False)

    def _parts(self) -> tuple[Part, ...]:
        return self.mix or (Part(id=self.source, column=self.column),)

    def documents(self, chat: Callable[[Sequence[Turn]], str] = plain) -> Iterator[str]:
        """Read the documents in order; duplicates of a document fall in the same split.

        Parameters
        ----------
        chat : callable
            How a conversation becomes text.
        """
        return (document.text for document in self.located(chat))

    def located(self, chat: Callable[[Sequence[Turn]], str] = plain) -> Iterator[Document]:
        """Read the documents in order, each with its place."""
        parts = self._parts()
        streams = [read_documents(part, self.data, chat) for part in parts]
        return interleave(streams, [part.share for part in parts])

    def check(self) -> None:
        """Check what the text alone can tell: that it is there, and falls into both splits.

        Reads documents until each split has one; no tokenizer is needed.

        Raises
        ------
        UserError
            Where the corpus cannot be read, or has no document for the fit or for the validation.
        """
        if self._parts() == (GRAMMAR,):
            return
        check_sources(self._parts(), self.data)
        splits: set[Split] = set()
        count = 0
        unsaid = replace(self, data=replace(self.data, quiet=True))
        for count, text in enumerate(unsaid.documents(), 1):  # noqa: B007 (read after the loop)
            splits.add(split_of(text))
            if len(splits) == 2:
                return
        missing = "validation" if "fit" in splits else "fit"
        raise UserError(
            f"{self.source}: {count} document{'s'[: count != 1]}, none in the {missing} split: "
            "too little text for a fit and a validation that share no document; give more documents (blank "
            "lines part them in a .txt file)"
        )

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
        """Make the blocks; the grammar's first ones, which all pairs of a suite read, once a run."""
        kinds = kind_of(source_tokenizer), kind_of(target_tokenizer)
        known: list[_Block] = []
        if self.remembered and self._parts() == (GRAMMAR,):
            known = self.data.blocks.get((kinds, self.context, limits), list)
        number = 0
        for block in tuple(known):  # another pair may add to them meanwhile
            yield block
            number += 1
        stream = self.located(shared(source_tokenizer, target_tokenizer))
        stream = itertools.islice(stream, number * DOCUMENTS_AT_ONCE, None)
        while documents := list(itertools.islice(stream, DOCUMENTS_AT_ONCE)):
            tokenizers = source_tokenizer, target_tokenizer
            block = _block(documents, tokenizers, kinds[0] == kinds[1], self.context, limits)
            if number == len(known) < self.remembered:
                known.append(block)
            number += 1
            yield block
            del block, documents

    def fingerprint(self) -> str:
        """Hash what the documents come from, before it is read: files, a commit, the grammar."""
        return fingerprint(self._parts(), self.data)

    @property
    def digest(self) -> str:
        """Hash of the documents that were read."""
        return self._hash.hexdigest()
