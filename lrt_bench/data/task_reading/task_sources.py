"""Tasks whose data come from data sets by id: rows to disjoint splits, whatever the rows' order."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from lrt_bench.data.datasets import Data
from lrt_bench.data.task_reading.written_evals import Splits, split_evals
from lrt_bench.data.tasks import TEXT_LIMIT, Column, ContrastPair, EvalData, InstructionData, Prompt, TaskKind
from lrt_bench.errors import UserError


def ordered(texts: Iterable[str], seed: int) -> list[str]:
    """Different texts, stripped, in the order of a seeded hash: in which order they came tells nothing."""
    different = {text.strip() for text in texts} - {""}
    return sorted(different, key=lambda text: hashlib.sha256(f"{seed}\0{text}".encode()).digest())


@dataclass(frozen=True)
class InstructionSplits(Splits):
    """What two lists of instructions give a refusal task; the names are those of `RefusalTask`."""

    vector: tuple[ContrastPair, ...]
    instructions: tuple[Prompt, ...]
    prompts: tuple[Prompt, ...]
    harmless: tuple[Prompt, ...]


def split_instructions(
    harmless: Sequence[str], harmful: Sequence[str], spec: InstructionData
) -> InstructionSplits:
    """Split two lists of instructions for a refusal task: no two roles share a text.

    A text that stands in both lists is in neither. Harmless ones give the pairs' positive sides and, as many
    as are scored, the instructions on which refusing is the damage; harmful ones the rest.

    Raises
    ------
    UserError
        Where there are too few.
    """
    shared = {text.strip() for text in harmless} & {text.strip() for text in harmful}
    good, bad = (
        [text for text in ordered(texts, spec.seed) if text not in shared] for texts in (harmless, harmful)
    )
    for column, texts, wanted in (
        (spec.harmless, good, spec.pairs + spec.score),
        (spec.harmful, bad, spec.pairs + spec.select + spec.score),
    ):
        if len(texts) < wanted:
            raise UserError(
                f"{column.id}: column {column.column}: {len(texts)} different instructions, {wanted} are "
                "wanted: take another data set, or smaller splits in task.yaml"
            )
    chosen = bad[spec.pairs : spec.pairs + spec.select]
    scored = bad[spec.pairs + spec.select :][: spec.score]
    pairs = zip(good[: spec.pairs], bad[: spec.pairs], strict=True)
    return InstructionSplits(
        vector=tuple(ContrastPair(positive=yes, negative=no) for yes, no in pairs),
        instructions=tuple(Prompt(prompt=text) for text in chosen),
        prompts=tuple(Prompt(prompt=text) for text in scored),
        harmless=tuple(Prompt(prompt=text) for text in good[spec.pairs :][: spec.score]),
    )


def resolve(task: TaskKind, data: Data) -> TaskKind:
    """Give a task the rows that its card names; return it as it is where its data lie in its folder.

    Raises
    ------
    UserError
        Where a data set cannot be had, lacks the column, or holds too little.
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
    for rows in data.located(column.id, split=column.split):
        for place, row in rows:
            text = row.get(column.column)
            if not isinstance(text, str):
                names = ", ".join(map(str, row))
                raise UserError(f"{place}: no text in column {column.column}; it has {names}")
            if len(text) > TEXT_LIMIT:
                raise UserError(f"{place}: column {column.column}: longer than {TEXT_LIMIT} characters")
            if not (column.empty and row.get(column.empty)):
                yield text
