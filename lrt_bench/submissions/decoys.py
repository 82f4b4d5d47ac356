"""Texts made like a task's: its frames, other words. What hides the task's own texts among the queries.

A decoy begins as one of the task's contrastive pairs. Word by word it is drawn anew among the words that
the task's texts have between the same two neighbours, for both sides of the pair alike where both have the
same word. The last word stays: the state is read there.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Sequence
from random import Random

from lrt_bench.data.tasks import ContrastPair

SWEEPS = 2  # over a pair's words: what is left of the text that it began as is its frame
TRIES = 20  # for each decoy: tasks of few words have few


class _Words:
    """The words between two neighbours in some texts."""

    def __init__(self, texts: Sequence[str]) -> None:
        self._between: dict[tuple[str, str], list[str]] = defaultdict(list)
        for text in texts:
            words = _words(text)
            for place in range(len(words) - 1):
                self._between[_neighbours(words, place)].append(words[place])

    def at(self, words: Sequence[str], place: int) -> list[str]:
        """Return the words that stand between the neighbours of a place; the place's own where none do."""
        return self._between.get(_neighbours(words, place)) or [words[place]]


def _words(text: str) -> list[str]:
    """Cut a text before each space that a word follows; joined, the words are the text."""
    return re.findall(r"\s*\S+|\s+$", text)


def _neighbours(words: Sequence[str], place: int) -> tuple[str, str]:
    return words[place - 1] if place else "", words[place + 1] if place + 1 < len(words) else ""


def decoy_pairs(pairs: Sequence[ContrastPair], count: int, random: Random) -> list[ContrastPair]:
    """Return at most `count` contrastive pairs that are none of `pairs`, made like them."""
    sides = _Words([pair.positive for pair in pairs]), _Words([pair.negative for pair in pairs])
    seen = {(pair.instruction, text) for pair in pairs for text in (pair.positive, pair.negative)}
    made: list[ContrastPair] = []
    for _ in range(TRIES * count):
        if len(made) == count:
            break
        pair = random.choice(pairs)
        texts = [_words(pair.positive), _words(pair.negative)]
        for _ in range(SWEEPS):
            _redraw(texts, sides, random)
        positive, negative = ("".join(words) for words in texts)
        if not {(pair.instruction, positive), (pair.instruction, negative)} & seen:
            seen |= {(pair.instruction, positive), (pair.instruction, negative)}
            made.append(ContrastPair(positive=positive, negative=negative, instruction=pair.instruction))
    return made


def _redraw(texts: list[list[str]], sides: tuple[_Words, _Words], random: Random) -> None:
    """Draw every word but the last anew, in place."""
    one, other = texts
    parallel = len(one) == len(other)
    for place in range(len(one) - 1):
        if parallel and one[place] == other[place]:
            both = set(sides[1].at(other, place))
            shared = [word for word in sides[0].at(one, place) if word in both]
            one[place] = other[place] = random.choice(shared or [one[place]])
        else:
            one[place] = random.choice(sides[0].at(one, place))
    for place in range(len(other) - 1):
        if not parallel or one[place] != other[place]:
            other[place] = random.choice(sides[1].at(other, place))
