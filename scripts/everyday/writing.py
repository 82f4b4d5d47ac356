"""Write the tasks of writing on: ``python -m scripts.everyday.writing [FOLDER]``.

Their vectors are the everyday concepts' own, from the same contrastive pairs; what is scored is the text that
a model writes on from a neutral beginning (paper, section 3.2). With them the neutral text of a side effect.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click
import yaml

BEGINNINGS = (
    "After lunch we",
    "The letter said that",
    "On the way home she",
    "There was a noise in the garden, and",
    "My neighbor told me that",
    "At the end of the street",
    "He opened the box and",
    "Last Sunday the children",
)
NEUTRAL = (
    "The train left the station a few minutes late, and most people read or looked out of the window.",
    "She put the plates back into the cupboard, wiped the table and opened a window to let in some air.",
    "The meeting began at nine, and by noon they had agreed on a date and on who would write the report.",
    "He repaired the old clock with a small screwdriver, and for the first time in years it kept good time.",
    "A light rain had fallen during the night, so the path through the park was soft and a little muddy.",
    "They carried the boxes up to the third floor one by one and stacked them along the wall of the hall.",
    "The library closes at six on weekdays, but on Thursdays it stays open until eight in the evening.",
    "Before the shop opened, two men swept the pavement and arranged the fruit in wooden crates outside.",
)
FRENCH = [
    "le",
    "la",
    "les",
    "un",
    "une",
    "des",
    "je",
    "il",
    "elle",
    "nous",
    "vous",
    "ils",
    "elles",
    "mon",
    "ma",
    "son",
    "sa",
    "dans",
    "sur",
    "avec",
    "pour",
    "que",
    "qui",
    "est",
    "était",
    "et",
    "du",
    "au",
    "ce",
    "cette",
    "pas",
    "plus",
]
ENGLISH = [
    "the",
    "a",
    "an",
    "i",
    "he",
    "she",
    "we",
    "you",
    "they",
    "my",
    "his",
    "her",
    "in",
    "on",
    "with",
    "for",
    "that",
    "which",
    "is",
    "was",
    "and",
    "of",
    "to",
    "at",
    "this",
    "not",
    "more",
    "it",
]
DOGS = [
    "dog",
    "dogs",
    "puppy",
    "puppies",
    "hound",
    "hounds",
    "leash",
    "kennel",
    "bark",
    "barked",
    "barking",
    "paw",
    "paws",
    "tail",
    "terrier",
]
CARDS: dict[str, tuple[str, str, dict[str, Any]]] = {
    "write-prose-french": (
        "french", "prose written on in French",
        {"name": "words", "present": FRENCH, "absent": ENGLISH},
    ),
    "write-prose-capitals": ("capitals", "prose written on in capital letters", {"name": "uppercase"}),
    "write-prose-dogs": ("dogs", "prose that comes to speak of dogs", {"name": "keywords", "present": DOGS}),
}  # fmt: skip
ABOUT = {
    "source": "written by scripts.everyday.writing; vectors from the everyday tasks' sentence frames",
    "licence": "CC0-1.0",
}


def lines(rows: list[dict[str, str]]) -> str:
    """Return rows as JSON lines."""
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


def write_folder(folder: Path, card: dict[str, Any], files: dict[str, str]) -> None:
    """Write a task folder: its card, and its files by their role."""
    folder.mkdir(parents=True, exist_ok=True)
    text = yaml.safe_dump({"name": folder.name, "version": 1} | card, sort_keys=False, allow_unicode=True)
    (folder / "task.yaml").write_text(text, encoding="utf-8")
    for role, body in files.items():
        (folder / f"{role}.jsonl").write_text(body, encoding="utf-8")


@click.command()
@click.argument("folder", type=click.Path(path_type=Path), default=Path("tasks"))
def main(folder: Path) -> None:
    """Write all writing tasks and the neutral text into FOLDER, beside the everyday tasks."""
    prompts = lines([{"prompt": text} for text in BEGINNINGS])
    for name, (concept, description, scorer) in CARDS.items():
        vector = (folder / f"everyday-{concept}" / "vector.jsonl").read_text(encoding="utf-8")
        card = {
            "kind": "generation",
            "description": f"{description} (paper, section 3.2)",
            "metric": "score_shift",
            **ABOUT,
            "concept": concept,
            "scorer": scorer,
            "new_tokens": 16,
            "alphas": [0.5, 1.0],
        }
        write_folder(folder / name, card, {"vector": vector, "score": prompts})
    card = {
        "kind": "side-effect",
        "description": "perplexity of neutral prose under steering",
        "metric": "added_cross_entropy",
        "source": "written by scripts.everyday.writing",
        "licence": "CC0-1.0",
        "alphas": [-0.25, 0.25],
    }
    write_folder(folder / "perplexity-prose", card, {"score": lines([{"prompt": text} for text in NEUTRAL])})
    click.echo(f"{len(CARDS)} writing tasks and perplexity-prose in {folder}/")


if __name__ == "__main__":
    main()
