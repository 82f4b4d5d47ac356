"""Tasks whose data come from data sets by id: rows to disjoint splits, whatever the rows' order."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from lrt_bench.data.datasets import Data
from lrt_bench.data.tasks import Column, ContrastPair, EvalData, InstructionData, Prompt, Task
from lrt_bench.data.written_evals import split_evals
from lrt_bench.errors import UserError


def ordered(texts: Iterable[str], seed: int) -> list[str]:
    """Different texts, stripped, in the order of a seeded hash: in which order they came tells nothing."""
    different = {text.strip() for text in texts} - {""}
    return sorted(different, key=lambda text: hashlib.sha256(f"{seed}\0{text}".encode()).digest())


@dataclass(frozen=True)
class Splits:
    """What two lists of instructions give a refusal task; the names are those of `Task`."""

    vector: tuple[ContrastPair, ...]
    instructions: tuple[Prompt, ...]
    prompts: tuple[Prompt, ...]
    harmless: tuple[Prompt, ...]

    @property
    def digest(self) -> str:
        """Hash of every text, in order."""
        content = {name: [row.model_dump() for row in rows] for name, rows in vars(self).items()}
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def split_instructions(harmless: Sequence[str], harmful: Sequence[str], spec: InstructionData) -> Splits:
    """The splits of a refusal task from two lists of instructions: no two roles share a text.

    A text that stands in both lists is in neither. Harmless ones give the pairs' positive sides and, as many
    as are scored, the instructions on which refusing is the damage; harmful ones the rest. Raises UserError
    where there are too few.
    """
    shared = {text.strip() for text in harmless} & {text.strip() for text in harmful}
    good, bad = (
        [text for text in ordered(texts, spec.seed) if text not in shared] for texts in (harmless, harmful)
    )
    for column, found, wanted in (
        (spec.harmless, good, spec.pairs + spec.score),
        (spec.harmful, bad, spec.pairs + spec.select + spec.score),
    ):
        if len(found) < wanted:
            raise UserError(
                f"{column.id}: column {column.column}: {len(found)} different instructions, {wanted} are "
                "wanted: take another data set, or smaller splits in task.yaml"
            )
    chosen = bad[spec.pairs : spec.pairs + spec.select]
    scored = bad[spec.pairs + spec.select :][: spec.score]
    pairs = zip(good[: spec.pairs], bad[: spec.pairs], strict=True)
    return Splits(
        vector=tuple(ContrastPair(positive=yes, negative=no) for yes, no in pairs),
        instructions=tuple(Prompt(prompt=text) for text in chosen),
        prompts=tuple(Prompt(prompt=text) for text in scored),
        harmless=tuple(Prompt(prompt=text) for text in good[spec.pairs :][: spec.score]),
    )


def resolve(task: Task, data: Data) -> Task:
    """The task with the rows that its card names; itself where its data lie in its folder.

    Raises UserError where a data set cannot be had, lacks the column, or holds too little.
    """
    spec = task.card.data
    if spec is None:
        return task
    if isinstance(spec, EvalData):
        evals = split_evals(data.rows(spec.id, file=spec.file), spec)
        return replace(task, data_digest=evals.digest, **vars(evals))
    splits = split_instructions(list(_column(data, spec.harmless)), list(_column(data, spec.harmful)), spec)
    return replace(task, data_digest=splits.digest, **vars(splits))


def _column(data: Data, column: Column) -> Iterator[str]:
    for row in data.rows(column.id, split=column.split):
        text = row.get(column.column)
        if not isinstance(text, str):
            raise UserError(f"{column.id}: no text in column {column.column}; it has {', '.join(row)}")
        if not (column.empty and row.get(column.empty)):
            yield text
