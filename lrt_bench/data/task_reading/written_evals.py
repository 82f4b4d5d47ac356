"""Model-written evals (Perez et al. 2022; steered by Tan et al. 2024): questions with two answers to a task.

A row has a `question`, an `answer_matching_behavior` and an `answer_not_matching_behavior`, which are letters
(" (A)") or words (" Yes"). As in Contrastive Activation Addition (Rimsky et al. 2024) the vector is taken at
the answer, and the scored prompt ends where it comes next. Either answer matches equally often in every split
and half.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from lrt_bench.data.tasks import TEXT_LIMIT, ChoicePrompt, ContrastPair, EvalData
from lrt_bench.errors import UserError

LETTER = re.compile(r"\s*\(([A-Z])\)\s*")
FIELDS = ("question", "answer_matching_behavior", "answer_not_matching_behavior")


@dataclass(frozen=True)
class Question:
    """One row: what is asked, how the answer begins, and the two options."""

    text: str
    begins: str
    positive: str
    negative: str

    @property
    def choice(self) -> ChoicePrompt:
        """The question as a prompt that is scored."""
        return ChoicePrompt(
            instruction=self.text, prompt=self.begins, positive=self.positive, negative=self.negative
        )

    @property
    def contrast(self) -> ContrastPair:
        """The question as a pair that makes the vector."""
        sides = {"positive": self.begins + self.positive, "negative": self.begins + self.negative}
        return ContrastPair(instruction=self.text, **sides)


@dataclass(frozen=True)
class Splits:
    """What a data set gives a task; the names of a kind's splits are those of the task's rows."""

    @property
    def digest(self) -> str:
        """Hash of every text, in order."""
        content = {name: [row.model_dump() for row in rows] for name, rows in vars(self).items()}
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


@dataclass(frozen=True)
class EvalSplits(Splits):
    """What a file gives a choice task; the names are those of `ChoiceTask`."""

    vector: tuple[ContrastPair, ...]
    select: tuple[ChoicePrompt, ...]
    choices: tuple[ChoicePrompt, ...]


def read_question(row: dict[str, Any], where: str) -> Question:
    """Read a row as a question.

    Raises UserError naming the row and its field.
    """
    for name in FIELDS:
        if not isinstance(row.get(name), str) or not row[name].strip():
            raise UserError(f"{where}: field {name}: want a text; each row has {', '.join(FIELDS)}")
        if len(row[name]) > TEXT_LIMIT // 2:
            raise UserError(f"{where}: field {name}: longer than {TEXT_LIMIT // 2} characters: drop the row")
    question, matching, other = (row[name] for name in FIELDS)
    letters = LETTER.fullmatch(matching), LETTER.fullmatch(other)
    if letters[0] and letters[1]:
        read = Question(question.rstrip(), "Answer: (", letters[0][1], letters[1][1])
    else:
        read = Question(question.rstrip(), "Answer:", f" {matching.strip()}", f" {other.strip()}")
    if read.positive == read.negative:
        raise UserError(f"{where}: both answers are {matching.strip()!r}: drop the row")
    return read


def split_evals(rows: Iterable[dict[str, Any]], spec: EvalData) -> EvalSplits:
    """Split questions for a choice task: none stands in two splits, either option is positive equally often.

    Rows go to splits in the order of a seeded hash of their question, options taking turns; where a file has
    fewer rows than are wanted, every split shrinks by the same factor. Raises UserError where a file has
    other than two options, or too few rows.
    """
    questions: dict[str, Question] = {}
    for number, row in enumerate(rows, 1):
        question = read_question(row, f"{spec.file}, row {number}")
        questions.setdefault(question.text, question)
    order = sorted(
        questions.values(), key=lambda q: hashlib.sha256(f"{spec.seed}\0{q.text}".encode()).digest()
    )
    options = sorted({question.positive for question in order} | {question.negative for question in order})
    groups = [[question for question in order if question.positive == option] for option in options]
    if len(options) != 2 or not all(groups):
        raise UserError(
            f"{spec.file}: want two options, each matching in some rows, not {', '.join(options)}"
        )
    wanted = [spec.pairs // 2, spec.select // 2, spec.score // 2]
    share = min(1.0, min(map(len, groups)) / sum(wanted))
    sizes = [int(size * share) for size in wanted]
    if min(sizes[0], sizes[2]) < 1:
        raise UserError(
            f"{spec.file}: {len(order)} different questions: too few to make a vector and score it"
        )
    ends = [0, sizes[0], sizes[0] + sizes[1], sum(sizes)]
    vector, select, score = (
        [question for turn in zip(*(group[start:end] for group in groups), strict=True) for question in turn]
        for start, end in itertools.pairwise(ends)
    )
    return EvalSplits(
        tuple(question.contrast for question in vector),
        tuple(question.choice for question in select),
        tuple(question.choice for question in score),
    )
