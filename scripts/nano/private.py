"""Make a private family from a secret: ``make private-family OUT=FOLDER [SEED=SECRET]``.

It trains members of the sizes S and M on words that were dealt out anew, writes their tasks and their corpus,
and checks that they are steerable. Without a secret one is drawn; it lies in FOLDER/secret.txt. The same
command goes on where it was stopped. docs/private.md says how to keep a family, when to make another, and how
to tell its secret.
"""

from __future__ import annotations

import datetime
import json
import os
import random
import secrets
import sys
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from multiprocessing import get_context
from pathlib import Path

import click

from lrt_bench._version import __version__
from lrt_bench.errors import UserError, one_line_errors
from lrt_bench.files.resources import PACKAGE
from lrt_bench.files.whole import write_whole
from lrt_bench.nano.choice_tasks import write_choice, write_refusal
from lrt_bench.nano.concepts import concepts_of
from lrt_bench.nano.family import FAMILY, Size
from lrt_bench.nano.language import Language, shuffled_words, with_words
from lrt_bench.unseen.family import (
    CORPUS,
    LEAST_SECRET,
    MANIFEST,
    SECRET,
    TASKS,
    Manifest,
    Member,
    Pair,
    commitment,
    derived,
)
from scripts.nano.gate import SWING, swings
from scripts.nano.train import CHECKPOINT_EVERY, VALIDATE_EVERY, Run

LEAST_STEERABLE = 0.6  # of the tasks, at the layers of the pairs in which a member is the target
DOCUMENTS = 8_000  # of the corpus: 600 kB, three times what the suite `nano` reads
SIZES = (replace(FAMILY["S"], tokens=8_000_000), replace(FAMILY["M"], tokens=12_000_000))
PAIRS = (
    Pair(source="S", source_layer=3, target="M", target_layer=2),
    Pair(source="M", source_layer=3, target="S", target_layer=2),
)


@dataclass(frozen=True)
class Plan:
    """What is made of a secret.

    tasks : names of the concepts; none for all that the suite `nano` has.
    least : share of the tasks that the gate wants steerable.
    """

    sizes: tuple[Size, ...] = SIZES
    pairs: tuple[Pair, ...] = PAIRS
    tasks: tuple[str, ...] = ()
    documents: int = DOCUMENTS
    least: float = LEAST_STEERABLE


def language_of(secret: str) -> Language:
    """Return the grammar with the secret's words; every stream of its documents is the secret's too."""
    language = with_words(shuffled_words(random.Random(derived(secret, "words"))))

    def documents(stream: int, count: int | None = None) -> Iterator[str]:
        return language.documents(derived(secret, f"documents {stream}"), count)

    return replace(language, documents=documents)


def secret_of(folder: Path, given: str | None) -> str:
    """Return the folder's secret, or put one there: the given one, or one that is drawn.

    Raises UserError where the given one could be guessed, or is another than the folder's.
    """
    path = folder / SECRET
    if path.is_file():
        known = path.read_text(encoding="utf-8").strip()
        if given is not None and given != known:
            raise UserError(f"{path}: the folder is of another secret; give another OUT")
        return known
    if given is not None and (len(given) < LEAST_SECRET or not given.isprintable()):
        raise UserError(f"SEED: give {LEAST_SECRET} visible characters or more, or none and one is drawn")
    secret = given or secrets.token_urlsafe(32)
    write_whole(path, f"{secret}\n".encode())
    path.chmod(0o600)
    return secret


def train_member(size: Size, secret: str, folder: Path) -> None:
    """Train a member on one thread and write it to FOLDER/NAME; goes on from its checkpoint."""
    import torch

    torch.set_num_threads(1)
    seeded = replace(size, seed=derived(secret, f"first weights {size.name}"))
    run = Run(seeded, folder / ".training", "cpu", language_of(secret).documents)
    run.resume()
    for batch in run.batches():
        if run.step % VALIDATE_EVERY == 0:
            run.validate()
            loss = run.curve[-1]["validation_loss"]
            click.echo(f"{size.name}: step {run.step} of {run.steps}, loss {loss:.3f}")
        run.train_step(batch)
        if run.step % CHECKPOINT_EVERY == 0:
            run.save()
    run.validate()
    run.export(folder / size.name)


def write_tasks(plan: Plan, secret: str, folder: Path) -> tuple[str, ...]:
    """Write the choice tasks in the secret's words; return their names."""
    from lrt_bench.data.suites import find_suite

    language, salt = language_of(secret), f" {derived(secret, 'tasks')}"
    wanted = plan.tasks or find_suite("nano").tasks
    written = []
    for concept in concepts_of(language):
        if concept.name in wanted:
            write_choice(folder, concept, language, salt)
            written.append(concept.name)
    if "refusal" in wanted:
        write_refusal(folder, language, salt)
        written.append("refusal")
    return tuple(written)


def write_corpus(plan: Plan, secret: str, path: Path) -> None:
    """Write the text that maps are fitted on."""
    stream = language_of(secret).documents(derived(secret, "corpus"), plan.documents)
    lines = (json.dumps({"text": text}, ensure_ascii=False) + "\n" for text in stream)
    write_whole(path, "".join(lines).encode())


def gate(plan: Plan, tasks: tuple[str, ...], folder: Path) -> dict[str, int]:
    """Return how many tasks swing well at every site where a member is steered: {member: tasks}.

    One that is never steered is tried where its states are read.
    """
    specs = [str(folder / TASKS / name) for name in tasks]
    found = {}
    for size in plan.sizes:
        layers = {pair.target_layer for pair in plan.pairs if pair.target == size.name}
        layers = layers or {pair.source_layer for pair in plan.pairs if pair.source == size.name}
        measured = [swings(str(folder / size.name), layer, specs, str(folder / CORPUS)) for layer in layers]
        found[size.name] = sum(all(swing[task] >= SWING for swing in measured) for task in tasks)
    return found


def _member(size: Size, folder: Path, steerable: int, tasks: int) -> Member:
    from lrt_bench.models.checks.digests import folder_digest

    record = json.loads((folder / size.name / "training.json").read_text(encoding="utf-8"))
    return Member(
        name=size.name, width=size.width, layers=size.layers, parameters=record["parameters"],
        tokens=record["tokens"], validation_loss=record["curve"][-1]["validation_loss"],
        digest=folder_digest(folder / size.name), steerable=steerable, tasks=tasks,
    )  # fmt: skip


def make_family(plan: Plan, folder: Path, given: str | None = None, processes: int = 1) -> Manifest:
    """Make the family in a folder; what is there already is kept.

    Raises UserError for a folder inside the repository or the package.
    """
    folder = folder.resolve()
    if folder.is_relative_to(PACKAGE.parent):
        raise UserError(f"OUT {folder}: inside the repository; a private family lies outside of it")
    folder.mkdir(parents=True, exist_ok=True)
    folder.chmod(0o700)
    secret = secret_of(folder, given)
    tasks = write_tasks(plan, secret, folder / TASKS)
    write_corpus(plan, secret, folder / CORPUS)
    _train_all([size for size in plan.sizes if not _is_whole(folder / size.name)], secret, folder, processes)
    steerable = gate(plan, tasks, folder)
    steered = {pair.target for pair in plan.pairs}
    manifest = Manifest(
        commitment=commitment(secret),
        created=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        lrt_bench=__version__,
        members=tuple(_member(size, folder, steerable[size.name], len(tasks)) for size in plan.sizes),
        pairs=plan.pairs,
        tasks=tasks,
        gate=all(steerable[name] >= plan.least * len(tasks) for name in steered),
    )
    write_whole(folder / MANIFEST, (manifest.model_dump_json(indent=1) + "\n").encode())
    return manifest


def _is_whole(folder: Path) -> bool:
    return (folder / "training.json").is_file()  # the last file of an export


def _train_all(sizes: list[Size], secret: str, folder: Path, processes: int) -> None:
    """Train members, side by side in processes of one thread each where there are several."""
    if processes < 2 or len(sizes) < 2:
        for size in sizes:
            train_member(size, secret, folder)
        return
    with ProcessPoolExecutor(processes, mp_context=get_context("spawn")) as pool:
        largest_first = sorted(sizes, key=lambda size: -size.tokens * size.width)
        for done in [pool.submit(train_member, size, secret, folder) for size in largest_first]:
            done.result()


@click.command()
@click.argument("out", type=click.Path(path_type=Path))
@one_line_errors
def main(out: Path) -> None:
    """Make a private family in OUT; its secret comes from the variable SEED, or is drawn."""
    manifest = make_family(Plan(), out, os.environ.get("SEED") or None, processes=os.cpu_count() or 1)
    for member in manifest.members:
        click.echo(
            f"{member.name}: loss {member.validation_loss:.3f} after {member.tokens} tokens, "
            f"{member.steerable} of {member.tasks} tasks steerable"
        )
    click.echo(f"commitment {manifest.commitment}")
    click.echo("the gate passed" if manifest.gate else "the gate failed: too few tasks are steerable")
    sys.exit(0 if manifest.gate else 1)


if __name__ == "__main__":
    main()
