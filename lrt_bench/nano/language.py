"""The grammar with its words: the public ones, or others in their places.

`grammar.py` and `lexicon.py` are never changed for that: their bytes are part of what the embedded corpus is.
Other words make a second instance of the grammar, which shares nothing with the first.
"""

from __future__ import annotations

import copy
import importlib.util
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any, cast

from lrt_bench.nano import grammar, lexicon
from lrt_bench.nano.grammar import Latents, Writer


@dataclass(frozen=True)
class Language:
    """What writes documents, and the words that it writes them with.

    Attributes
    ----------
    words : tables by the names that `lexicon` has them under.
    writer : the grammar's `Writer`, bound to these words.
    documents : (seed, count) -> documents of the stream that the seed names.
    """

    words: Any
    writer: type[Writer]
    documents: Callable[..., Iterator[str]]

    def write(self, rng: random.Random, latents: Latents) -> Writer:
        """Return a writer of one document."""
        return self.writer(rng, latents)


PUBLIC = Language(lexicon, Writer, grammar.documents)


def with_words(words: Any) -> Language:
    """Return the grammar with other words, of the same form as `lexicon`'s."""
    spec = importlib.util.find_spec(grammar.__name__)
    assert spec is not None
    assert spec.loader is not None
    instance = cast(Any, importlib.util.module_from_spec(spec))
    spec.loader.exec_module(instance)
    instance.lexicon = words
    return Language(words, instance.Writer, instance.documents)


def shuffled_words(rng: random.Random) -> SimpleNamespace:
    """Return the public words, each in a place that is drawn among those of its kind.

    A noun stays a noun and an opener an opener, so that sentences stay sentences. Which nouns make a topic,
    and which adjectives praise, is new. Function words stay.
    """
    tables = {name: copy.deepcopy(value) for name, value in vars(lexicon).items() if name.isupper()}
    for language in ("en", "fr"):
        topics = [topic[language] for topic in tables["TOPICS"].values()]
        for kind in ("nouns", "verbs", "places"):
            _deal(rng, topics, [kind] * len(topics))
        for name in ("ADJECTIVES", "FEELING", "REGISTER", "CERTAINTY", "DAYTIME"):
            table = tables[name][language]
            _deal(rng, [table] * len(table), list(table))
    _deal(rng, [tables, tables], ["HARMLESS", "HARMFUL"])
    return SimpleNamespace(**tables)


def _deal(rng: random.Random, tables: list[dict[str, Any]], keys: list[str]) -> None:
    """Deal the words of several lists out anew, in place; each list keeps its length."""
    pool = [word for table, key in zip(tables, keys, strict=True) for word in table[key]]
    rng.shuffle(pool)
    for table, key in zip(tables, keys, strict=True):
        count = len(table[key])
        table[key], pool = pool[:count], pool[count:]
