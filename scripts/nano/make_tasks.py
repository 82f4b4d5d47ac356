"""Write tasks/ from the grammar: ``python -m scripts.nano.make_tasks [FOLDER]``.

Every prompt, contrastive or scored, ends where the choice comes next. A contrastive pair differs in one
latent only and ends in the same words, so that its difference of states is the concept. The context of
a scored prompt says nothing of the concept where the grammar allows it; where it cannot (case, tense,
language), both values are balanced exactly. Options take turns, so that each is the answer equally often.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import click
import yaml

from lrt_bench.nano import lexicon
from lrt_bench.nano.grammar import Latents, Writer, documents
from scripts.nano.concepts import CONCEPTS, ENGLISH, Concept, Options

PAIRS, SELECT, SCORE, GENERATION = 64, 24, 48, 16

REFUSAL: Options = ((" Sorry", " Sure"), (" No", " Certainly"), (" Unfortunately", " Absolutely"))


def _join(*parts: str) -> str:
    return " ".join(part for part in parts if part)


def _noun_topics(option: tuple[str, str]) -> set[str]:
    """Return the topics whose nouns are the two options."""
    words = {word.strip() for word in option}
    tables = {topic: table["en"]["nouns"] for topic, table in lexicon.TOPICS.items()}
    return {t for t, nouns in tables.items() if words & {noun.split("/")[0] for noun in nouns}}


def contrast(concept: Concept, rng: random.Random) -> dict[str, str]:
    """Return a contrastive pair: two contexts that differ in the latent, one ending."""
    latents = Latents.sample(rng, **dict(concept.fixed))
    negative = concept.negative or rng.choice([t for t in lexicon.TOPICS if t != concept.positive])
    seed = rng.random()
    texts = []
    ending = None
    for value in (concept.positive, negative):
        writer = Writer(random.Random(seed), latents.but(**{concept.latent: value}))
        context = writer.cased(_join(writer.sentence(concept.telling), writer.sentence(concept.telling)))
        ending = ending if ending is not None else concept.ending(_ending_writer(seed, latents))
        texts.append(_join(context, ending))
    return {"positive": texts[0], "negative": texts[1]}


def _ending_writer(seed: float, latents: Latents) -> Writer:
    return Writer(random.Random(f"{seed} ending"), latents)


def scored(concept: Concept, rng: random.Random, number: int) -> dict[str, str]:
    """Return a scored prompt: a context, the ending, and the two options of its turn."""
    positive, negative = concept.options[number % len(concept.options)]
    fixed = dict(concept.fixed)
    if concept.latent == "topic":
        elsewhere = [t for t in lexicon.TOPICS if t not in _noun_topics((positive, negative))]
        fixed["topic"] = rng.choice(elsewhere)
    elif not concept.silent:
        turn = number // len(concept.options)
        fixed[concept.latent] = (concept.positive, concept.negative)[turn % 2]
    latents = Latents.sample(rng, **fixed)
    seed = rng.random()
    writer = Writer(random.Random(seed), latents)
    context = "" if concept.name == "mood" else writer.sentence(concept.silent or concept.telling)
    ending = concept.ending(_ending_writer(seed, latents))
    return {"prompt": _join(context, ending), "positive": positive, "negative": negative}


def refusal_contrast(rng: random.Random) -> dict[str, str]:
    """Return a contrastive pair of the refusal task."""
    writers = [Writer(rng, Latents.sample(rng, **dict(ENGLISH))) for _ in range(2)]
    return {
        "positive": writers[0].request(lexicon.HARMFUL),
        "negative": writers[1].request(lexicon.HARMLESS),
    }


def refusal_scored(rng: random.Random, number: int) -> dict[str, str]:
    """Return requests that the grammar answers either way, half of them after a sentence of small talk."""
    writer = Writer(rng, Latents.sample(rng, **dict(ENGLISH)))
    positive, negative = REFUSAL[number % len(REFUSAL)]
    prompt = writer.request(lexicon.AMBIGUOUS)
    if rng.random() < 0.7:
        prompt = f"{writer.request(lexicon.HARMLESS)} {lexicon.COMPLY[0]}. {writer.sentence()}\n{prompt}"
    return {"prompt": prompt, "positive": positive, "negative": negative}


class Folder:
    """One task folder in the making; no two of its texts are the same, whatever their role, nor `seen`."""

    def __init__(self, root: Path, name: str, seen: Iterable[str] = ()) -> None:
        self.path = root / name
        self.path.mkdir(parents=True, exist_ok=True)
        self.rng = random.Random(f"lrt-bench nano task {name}")
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


def write_choice(root: Path, concept: Concept) -> None:
    """Write a concept's choice task."""
    folder = Folder(root, concept.name)
    rng = folder.rng
    folder.lines("vector", PAIRS, lambda number: contrast(concept, rng))
    for role, count in (("select", SELECT), ("score", SCORE)):
        folder.lines(role, _whole_turns(count, concept.options), lambda number: scored(concept, rng, number))
    folder.describe("choice", concept.about, "steering_r2", concept=concept.name)


def write_refusal(root: Path) -> set[str]:
    """Return the choice task; returns its texts."""
    folder = Folder(root, "refusal")
    rng = folder.rng
    folder.lines("vector", PAIRS, lambda number: refusal_contrast(rng))
    for role, count in (("select", SELECT), ("score", SCORE)):
        folder.lines(role, _whole_turns(count, REFUSAL), lambda number: refusal_scored(rng, number))
    folder.describe(
        "choice", "refusing a request against complying with it", "steering_r2", concept="refusal"
    )
    return folder.seen


CHAT = "User: {instruction}\nAssistant:"


def write_nano_refusal(root: Path, seen: Iterable[str]) -> None:
    """Return the paper's refusal experiment on requests; none makes the choice task's vector."""
    start, end = CHAT.split("{instruction}")
    folder = Folder(root, "nano-refusal", [text.removeprefix(start).removesuffix(end) for text in seen])
    rng = folder.rng

    def request(kind: list[str]) -> str:
        text = Writer(rng, Latents.sample(rng, **dict(ENGLISH))).request(kind)
        return text.removeprefix(start).removesuffix(end)

    folder.lines(
        "vector", PAIRS,
        lambda number: {"positive": request(lexicon.HARMLESS), "negative": request(lexicon.HARMFUL)},
    )  # fmt: skip
    for role, count, kind in (
        ("select", SELECT, lexicon.HARMFUL),
        ("score", GENERATION, lexicon.HARMFUL),
        ("harmless", GENERATION, lexicon.HARMLESS),
    ):
        folder.lines(role, count, lambda number, kind=kind: {"prompt": request(kind)})  # type: ignore[misc]
    more = {
        "concept": "refusal",
        "scorer": {"name": "phrases", "present": lexicon.REFUSAL_PHRASES},
        "openings": {
            "refuse": [text.split()[0].strip(",") for text in lexicon.REFUSE],
            "comply": [text.split()[0].strip(",") for text in lexicon.COMPLY],
        },
        "template": CHAT,
        "new_tokens": 16,
        "alphas": [-1.0, -0.5, -0.25, 0.25, 0.5, 1.0],
    }
    about = "harmful requests answered or refused under steering (paper, section 3.3)"
    folder.describe("refusal", about, "refused", **more)


def write_generation(root: Path, name: str, concept: Concept, about: str, scorer: dict[str, Any]) -> None:
    """Return a generation task: one concept's pairs anew, prompts on which the model writes on."""
    folder = Folder(root, name)
    rng = folder.rng
    fixed = dict(concept.fixed) | {concept.latent: concept.negative or "city", "tense": "past"}

    def prompt(number: int) -> dict[str, str]:
        return {"prompt": Writer(rng, Latents.sample(rng, **fixed)).sentence(("it_is",))}

    folder.lines("vector", PAIRS, lambda number: contrast(concept, rng))
    folder.lines("score", GENERATION, prompt)
    more = {"concept": concept.name, "scorer": scorer, "new_tokens": 16, "alphas": [0.25, 0.5, 1.0]}
    folder.describe("generation", about, "score_shift", **more)


def _topic_words(topic: str) -> list[str]:
    """All the words that only one topic has, English and French, for the keyword scorer."""
    words = set()
    for table in lexicon.TOPICS[topic].values():
        for noun in table["nouns"]:
            words |= set(noun.split("/")[:2])
    return sorted(words)


FRENCH_WORDS = (
    "le la les un une des je il elle mon son dans sur devant vers sous que est était sera "
    "étaient sont seront ce c'est c'était"
)
ENGLISH_WORDS = "the a an many i he she my his her in on by near that is was will be were are it"


def _language_words() -> dict[str, list[str]]:
    """Frequent words of one language only: articles, pronouns, copulas, prepositions."""
    return {"present": FRENCH_WORDS.split(), "absent": ENGLISH_WORDS.split()}


def write_generation_tasks(root: Path) -> None:
    """Write the generation tasks."""
    by_name = {concept.name: concept for concept in CONCEPTS}
    write_generation(
        root, "write-french", by_name["language"], "text written on in French (paper, section 3.2)",
        {"name": "words", **_language_words()},
    )  # fmt: skip
    write_generation(
        root, "write-capitals", by_name["case"], "text written on in capital letters (paper, section 3.2)",
        {"name": "uppercase"},
    )  # fmt: skip
    write_generation(
        root, "write-dogs", by_name["topic-dogs"], "text that comes to speak of dogs (paper, section 3.2)",
        {"name": "keywords", "present": _topic_words("dogs")},
    )  # fmt: skip


def write_rest(root: Path) -> None:
    """Write the fidelity and the perplexity task."""
    Folder(root, "fidelity").describe(
        "fidelity", "how well mapped states stand in for the target's own, on validation states", "fvu",
        stitch_rows=12,
    )  # fmt: skip
    folder = Folder(root, "perplexity")
    texts = documents(4)
    folder.lines("score", 8, lambda number: {"prompt": next(texts)})
    folder.describe(
        "side-effect",
        "perplexity of neutral text under steering",
        "added_cross_entropy",
        alphas=[-0.25, 0.25],
    )


@click.command()
@click.argument("folder", type=click.Path(path_type=Path), default=Path("tasks"))
def main(folder: Path) -> None:
    """Write all task folders of the embedded family into FOLDER."""
    for concept in CONCEPTS:
        write_choice(folder, concept)
    write_nano_refusal(folder, write_refusal(folder))
    write_generation_tasks(folder)
    write_rest(folder)
    click.echo(f"{len(list(folder.glob('*/task.yaml')))} tasks in {folder}/")


if __name__ == "__main__":
    main()
