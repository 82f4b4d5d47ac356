"""Writes task folders from the grammar: contrastive pairs, scored prompts, and the cards over them.

Every prompt, contrastive or scored, ends where the choice comes next. A contrastive pair differs in one
latent only and ends in the same words, so that its difference of states is the concept. The context of
a scored prompt says nothing of the concept where the grammar allows it; where it cannot (case, tense,
language), both values are balanced exactly. Options take turns, so that each is the answer equally often.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import yaml

from lrt_bench.nano import lexicon
from lrt_bench.nano.concepts import ENGLISH, Concept, Options
from lrt_bench.nano.grammar import Latents, Writer
from lrt_bench.nano.language import PUBLIC, Language

PAIRS, SELECT, SCORE = 64, 24, 48

REFUSAL: Options = ((" Sorry", " Sure"), (" No", " Certainly"), (" Unfortunately", " Absolutely"))


def _join(*parts: str) -> str:
    return " ".join(part for part in parts if part)


def _noun_topics(words: Any, option: tuple[str, str]) -> set[str]:
    """Return the topics whose nouns are the two options."""
    wanted = {word.strip() for word in option}
    tables = {topic: table["en"]["nouns"] for topic, table in words.TOPICS.items()}
    return {t for t, nouns in tables.items() if wanted & {noun.split("/")[0] for noun in nouns}}


def contrast(
    concept: Concept,
    rng: random.Random,
    language: Language = PUBLIC,
    also: Mapping[str, tuple[str, str]] = MappingProxyType({}),
) -> dict[str, str]:
    """Return a contrastive pair: two contexts that differ in the latent, one ending.

    also : other latents that differ with it, each with its value in either context.
    """
    latents = Latents.sample(rng, **dict(concept.fixed))
    negative = concept.negative or rng.choice([t for t in lexicon.TOPICS if t != concept.positive])
    seed = rng.random()
    texts = []
    ending = None
    for side, value in enumerate((concept.positive, negative)):
        changes = {concept.latent: value} | {name: values[side] for name, values in also.items()}
        writer = language.write(random.Random(seed), latents.but(**changes))
        context = writer.cased(_join(writer.sentence(concept.telling), writer.sentence(concept.telling)))
        ending = ending if ending is not None else concept.ending(_ending_writer(seed, latents, language))
        texts.append(_join(context, ending))
    return {"positive": texts[0], "negative": texts[1]}


def _ending_writer(seed: float, latents: Latents, language: Language) -> Writer:
    return language.write(random.Random(f"{seed} ending"), latents)


def scored(concept: Concept, rng: random.Random, number: int, language: Language = PUBLIC) -> dict[str, str]:
    """Return a scored prompt: a context, the ending, and the two options of its turn."""
    positive, negative = concept.options[number % len(concept.options)]
    fixed = dict(concept.fixed)
    if concept.latent == "topic":
        elsewhere = [t for t in lexicon.TOPICS if t not in _noun_topics(language.words, (positive, negative))]
        fixed["topic"] = rng.choice(elsewhere)
    elif not concept.silent:
        turn = number // len(concept.options)
        fixed[concept.latent] = (concept.positive, concept.negative)[turn % 2]
    latents = Latents.sample(rng, **fixed)
    seed = rng.random()
    writer = language.write(random.Random(seed), latents)
    context = "" if concept.name == "mood" else writer.sentence(concept.silent or concept.telling)
    ending = concept.ending(_ending_writer(seed, latents, language))
    return {"prompt": _join(context, ending), "positive": positive, "negative": negative}


def refusal_contrast(rng: random.Random, language: Language = PUBLIC) -> dict[str, str]:
    """Return a contrastive pair of the refusal task."""
    writers = [language.write(rng, Latents.sample(rng, **dict(ENGLISH))) for _ in range(2)]
    return {
        "positive": writers[0].request(language.words.HARMFUL),
        "negative": writers[1].request(language.words.HARMLESS),
    }


def refusal_scored(rng: random.Random, number: int, language: Language = PUBLIC) -> dict[str, str]:
    """Return requests that the grammar answers either way, half of them after a sentence of small talk."""
    words = language.words
    writer = language.write(rng, Latents.sample(rng, **dict(ENGLISH)))
    positive, negative = REFUSAL[number % len(REFUSAL)]
    prompt = writer.request(words.AMBIGUOUS)
    if rng.random() < 0.7:
        prompt = f"{writer.request(words.HARMLESS)} {words.COMPLY[0]}. {writer.sentence()}\n{prompt}"
    return {"prompt": prompt, "positive": positive, "negative": negative}


class Folder:
    """One task folder in the making; no two of its texts are the same, whatever their role, nor `seen`."""

    def __init__(self, root: Path, name: str, seen: Iterable[str] = (), secret: str = "") -> None:
        self.path = root / name
        self.path.mkdir(parents=True, exist_ok=True)
        self.rng = random.Random(f"lrt-bench nano task {name}{secret}")
        self.seen = set(seen)

    def lines(self, role: str, count: int, make: Callable[[int], dict[str, str]]) -> None:
        """Write `count` rows of a role, none of whose texts stands in the task already."""
        rows: list[dict[str, str]] = []
        while len(rows) < count:
            row = make(len(rows))
            texts = {row["prompt"]} if "prompt" in row else {row["positive"], row["negative"]}
            if not texts & self.seen:
                self.seen |= texts
                rows.append(row)
        body = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
        (self.path / f"{role}.jsonl").write_text(body, encoding="utf-8")

    def describe(self, kind: str, about: str, metric: str, **more: Any) -> None:
        """Write the task's card."""
        card = {
            "name": self.path.name,
            "version": 1,
            "kind": kind,
            "description": about,
            "metric": metric,
            # hashed with the task: as this script was named when the tasks were first written
            "source": "written by lrt_bench.nano.make_tasks from the seeded grammar",
            "licence": "CC0-1.0",
        } | more
        text = yaml.safe_dump(card, sort_keys=False, allow_unicode=True, width=100)
        (self.path / "task.yaml").write_text(text, encoding="utf-8")


def _whole_turns(count: int, options: Options) -> int:
    """`count` rounded down so that every option stands equally often in both halves and both values."""
    turn = 4 * len(options)
    return count // turn * turn


def write_choice(root: Path, concept: Concept, language: Language = PUBLIC, secret: str = "") -> None:
    """Write a concept's choice task; where it is a secret's, its rows follow from that."""
    folder = Folder(root, concept.name, secret=secret)
    rng = folder.rng
    folder.lines("vector", PAIRS, lambda number: contrast(concept, rng, language))
    for role, count in (("select", SELECT), ("score", SCORE)):
        folder.lines(
            role, _whole_turns(count, concept.options), lambda number: scored(concept, rng, number, language)
        )
    folder.describe("choice", concept.about, "steering_r2", concept=concept.name)


def write_refusal(root: Path, language: Language = PUBLIC, secret: str = "") -> set[str]:
    """Write the choice task of refusing; return its texts."""
    folder = Folder(root, "refusal", secret=secret)
    rng = folder.rng
    folder.lines("vector", PAIRS, lambda number: refusal_contrast(rng, language))
    for role, count in (("select", SELECT), ("score", SCORE)):
        folder.lines(role, _whole_turns(count, REFUSAL), lambda number: refusal_scored(rng, number, language))
    folder.describe(
        "choice", "refusing a request against complying with it", "steering_r2", concept="refusal"
    )
    return folder.seen
