"""Write tasks/ from the grammar: ``python -m scripts.nano.make_tasks [FOLDER]``.

`lrt_bench.nano.choice_tasks` says how a concept becomes a choice task.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import click

from lrt_bench.nano import lexicon
from lrt_bench.nano.choice_tasks import PAIRS, SELECT, Folder, contrast, write_choice, write_refusal
from lrt_bench.nano.concepts import CONCEPTS, ENGLISH, Concept
from lrt_bench.nano.grammar import Latents, Writer, documents

GENERATION = 16


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
