"""Concepts that are drawn from a secret: a topic against a topic, or two latents that change together."""

from __future__ import annotations

import itertools
import random
from dataclasses import dataclass, replace
from pathlib import Path

from lrt_bench.nano import lexicon
from lrt_bench.nano.choice_tasks import PAIRS, SCORE, Folder, contrast, scored
from lrt_bench.nano.concepts import CONCEPTS, Concept, topic_against
from lrt_bench.nano.language import PUBLIC

COMBINED = ("sentiment", "tense", "person", "number", "register", "certainty", "affection", "owner")


@dataclass(frozen=True)
class Drawn:
    """A drawn concept.

    pair : makes the contrastive pairs; a combination's `second` changes with its latent.
    asked : concepts whose prompts are scored, in turns.
    """

    name: str
    pair: Concept
    asked: tuple[Concept, ...]
    second: Concept | None = None


def drawn_concepts(count: int, rng: random.Random) -> list[Drawn]:
    """Return so many different concepts, none of them a public one; all there are, where more are wanted.

    The kinds take turns: half of them topics, half combinations.
    """
    by_name = {concept.name: concept for concept in CONCEPTS}
    topics = [
        _topics(*pair)
        for two in itertools.combinations(lexicon.TOPICS, 2)
        if not by_name.keys() & {"-or-".join(two), "-or-".join(reversed(two))}
        for pair in [rng.sample(two, 2)]
    ]
    combined = [
        _combined(by_name[one], by_name[two], rng)
        for pair in itertools.combinations(COMBINED, 2)
        for one, two in [rng.sample(pair, 2)]
        if _go_together(by_name[one], by_name[two])
    ]
    for kind in (topics, combined):
        rng.shuffle(kind)
    in_turns = [one for two in itertools.zip_longest(topics, combined) for one in two if one is not None]
    return in_turns[:count]


def _topics(one: str, other: str) -> Drawn:
    concept = topic_against(lexicon, one, other)
    return Drawn(concept.name, concept, (concept,))


def _go_together(one: Concept, two: Concept) -> bool:
    """Whether two latents may change at once: each leaves the other's free, and what both fix is the same."""
    fixed = dict(one.fixed), dict(two.fixed)
    same = all(fixed[1].get(key, value) == value for key, value in fixed[0].items())
    return one.latent != two.latent and same and one.latent not in fixed[1] and two.latent not in fixed[0]


def _combined(one: Concept, two: Concept, rng: random.Random) -> Drawn:
    """Two latents that change together; prompts ask for either, in equally many options of each."""
    fixed = tuple({**dict(one.fixed), **dict(two.fixed)}.items())
    telling = tuple(kind for kind in one.telling if kind in two.telling) or (*one.telling, *two.telling)
    pair = replace(one, telling=telling, fixed=fixed)
    distinct = [list({option[0]: option for option in concept.options}.values()) for concept in (one, two)]
    count = min(map(len, distinct))
    asked = tuple(
        replace(concept, options=tuple(rng.sample(options, count)))
        for concept, options in zip((one, two), distinct, strict=True)
    )
    return Drawn(f"{one.name}-with-{two.name}", pair, asked, two)


def write_drawn(root: Path, drawn: Drawn, secret: str) -> Path:
    """Write a drawn concept's task folder, and return it; its rows follow from the secret."""
    folder = Folder(root, f"drawn-{drawn.name}", secret=secret)
    rng = folder.rng
    turns = len(drawn.asked)

    def prompt(number: int) -> dict[str, str]:
        return scored(drawn.asked[number % turns], rng, number // turns)

    also = {drawn.second.latent: (drawn.second.positive, drawn.second.negative)} if drawn.second else {}

    def pair(number: int) -> dict[str, str]:
        while True:  # sentences that show neither latent make no pair
            made = contrast(drawn.pair, rng, PUBLIC, also)
            if made["positive"] != made["negative"]:
                return made

    folder.lines("vector", PAIRS, pair)
    whole = 4 * turns * len(drawn.asked[0].options)
    folder.lines("score", max(SCORE // whole, 1) * whole, prompt)
    about = " and ".join(concept.about for concept in drawn.asked)
    folder.describe("choice", about, "steering_r2", concept=drawn.name)
    return folder.path
