"""Write the everyday tasks: ``python -m scripts.everyday.make_tasks [FOLDER]``.

Every text, contrastive or scored, ends where the choice comes next. The two texts of a contrastive pair end
in the same words, so that their difference is the concept and not the last token. Options take turns, so
that each is the answer equally often in the whole file and in its even and odd lines.
"""

from __future__ import annotations

import json
import random
from pathlib import Path

import click
import yaml

from scripts.everyday import form, languages, speech, tone, topics
from scripts.everyday.frames import Concept, Frame, Sides

CONCEPTS: tuple[Concept, ...] = tuple(
    sorted(
        (*tone.CONCEPTS, *speech.CONCEPTS, *form.CONCEPTS, *languages.CONCEPTS, *topics.CONCEPTS),
        key=lambda concept: concept.name,
    )
)
PAIRS, SCORE, SELECT = 200, 112, 32


def draw(frames: tuple[Frame, ...], count: int, rng: random.Random) -> list[Sides]:
    """`count` texts in random order, no two alike on either side; frames take turns until used up."""
    queues = [rng.sample(texts, len(texts)) for texts in (frame.texts() for frame in frames)]
    drawn: list[Sides] = []
    seen: set[str] = set()
    while len(drawn) < count:
        queues = [queue for queue in queues if queue]
        if not queues:
            raise ValueError(f"{frames[0].template!r} and its like give {len(drawn)} texts: want {count}")
        for queue in queues:
            sides = queue.pop()
            if not seen & set(sides):
                seen |= set(sides)
                drawn.append(sides)
    del drawn[count:]
    rng.shuffle(drawn)
    return drawn


def scored(concept: Concept, contexts: list[Sides]) -> list[dict[str, str]]:
    """Make the scored prompts, one for each context.

    Options, and the two sides of contexts that have two, are balanced in every 16 lines, and among the even
    and the odd ones of them.
    """
    rows = []
    for number, sides in enumerate(contexts):
        block, place = divmod(number, len(concept.options))
        positive, negative = concept.options[(place + block) % len(concept.options)]
        rows.append({"prompt": sides[block // 2 % 2], "positive": positive, "negative": negative})
    return rows


def write_concept(root: Path, concept: Concept) -> None:
    """One task folder: task.yaml, vector.jsonl, score.jsonl, select.jsonl."""
    rng = random.Random(f"lrt-bench everyday {concept.name}")
    folder = root / f"everyday-{concept.name}"
    folder.mkdir(parents=True, exist_ok=True)
    pairs = draw(concept.telling, PAIRS, rng)
    contexts = draw(concept.open_ended, SCORE + SELECT, rng)
    roles = {
        "vector": [{"positive": positive, "negative": negative} for positive, negative in pairs],
        "score": scored(concept, contexts[:SCORE]),
        "select": scored(concept, contexts[SCORE:]),
    }
    for role, rows in roles.items():
        body = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
        (folder / f"{role}.jsonl").write_text(body, encoding="utf-8")
    card = {
        "name": folder.name,
        "version": 1,
        "kind": "choice",
        "description": f"{concept.about}; everyday prose for any pretrained model",
        "metric": "steering_r2",
        # hashed with the task: as this script was named when the tasks were first written
        "source": "written by lrt_bench.everyday.make_tasks from its own sentence frames",
        "licence": "CC0-1.0",
        "concept": concept.name,
    }
    text = yaml.safe_dump(card, sort_keys=False, allow_unicode=True, width=100)
    (folder / "task.yaml").write_text(text, encoding="utf-8")


@click.command()
@click.argument("folder", type=click.Path(path_type=Path), default=Path("tasks"))
def main(folder: Path) -> None:
    """Write all everyday task folders into FOLDER."""
    for concept in CONCEPTS:
        write_concept(folder, concept)
    click.echo(f"{len(CONCEPTS)} everyday tasks in {folder}/")


if __name__ == "__main__":
    main()
