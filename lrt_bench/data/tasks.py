"""What a task is: its card, its rows, and the five kinds of task that they make.

`task_folders` reads tasks from folders, `task_sources` their data from data sets by id.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field, replace
from typing import Annotated, ClassVar, Literal, TypeVar

from pydantic import Field, model_validator

from lrt_bench.files.schema import Strict

ALPHA_LIMIT = 1000.0  # spreads; useful strengths end at about half of one
ALPHAS_LIMIT = 64
ROWS_LIMIT = 1_000_000
TEXT_LIMIT = 20_000  # characters of a text
Part = TypeVar("Part", bound=Strict)
Kind = Literal["choice", "generation", "fidelity", "side-effect", "refusal"]
Text = Annotated[str, Field(min_length=1, max_length=TEXT_LIMIT)]
Word = Annotated[str, Field(pattern=r"^[^\[\]\p{Cc}]+$", max_length=200)]  # no markup, no escape codes
Alphas = Annotated[
    tuple[Annotated[float, Field(ge=-ALPHA_LIMIT, le=ALPHA_LIMIT)], ...], Field(max_length=ALPHAS_LIMIT)
]
Rows = Annotated[int, Field(ge=1, le=ROWS_LIMIT)]
Seed = Annotated[int, Field(ge=0, lt=2**63)]


class ContrastPair(Strict):
    """Two texts that differ in the concept; the vector is the difference of their last states.

    instruction : what a user asks; the texts then begin the answer (`chat.render`).
    """

    positive: Text
    negative: Text
    instruction: Text | None = None


class ChoicePrompt(Strict):
    """A prompt and the two words of which one may follow; `positive` shows the concept.

    instruction : what a user asks; the prompt then begins the answer (`chat.render`).
    """

    prompt: Text
    positive: Text
    negative: Text
    instruction: Text | None = None


class Prompt(Strict):
    """A text to write on from, or a neutral text."""

    prompt: Text


class ScorerCard(Strict):
    """Which scorer of `evaluation.scorers` reads the generated text, and its word lists."""

    name: Literal["words", "keywords", "uppercase", "phrases"]
    present: Annotated[tuple[str, ...], Field(max_length=10_000)] = ()
    absent: Annotated[tuple[str, ...], Field(max_length=10_000)] = ()


class Openings(Strict):
    """How answers begin that refuse, and that comply: their first tokens make the first-token proxy."""

    refuse: Annotated[tuple[Text, ...], Field(min_length=1)]
    comply: Annotated[tuple[Text, ...], Field(min_length=1)]


class Column(Strict):
    """A column of a data set, ``org/name[@revision]``; rows with text in the column `empty` are left out."""

    id: Text
    column: Text
    split: Text = "train"
    empty: Text | None = None


class InstructionData(Strict):
    """Two data sets of instructions, and how many of them make the vector, choose, and score."""

    harmless: Column
    harmful: Column
    pairs: Annotated[int, Field(ge=2, le=ROWS_LIMIT)] = 128
    select: Rows = 32
    score: Rows = 15
    seed: Seed = 0


class EvalData(Strict):
    """A file of questions with a matching and a not matching answer, and how many rows do what.

    Every number is even, so that either answer matches equally often.
    """

    id: Text
    file: Text
    pairs: Annotated[int, Field(ge=2, multiple_of=2, le=ROWS_LIMIT)] = 200
    select: Annotated[int, Field(ge=0, multiple_of=2, le=ROWS_LIMIT)] = 40
    score: Annotated[int, Field(ge=2, multiple_of=2, le=ROWS_LIMIT)] = 100
    seed: Seed = 0


class TaskCard(Strict):
    """What task.yaml says.

    template : wraps an instruction ("{instruction}") for models without a chat template; refusal only.
    """

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9-]*$", max_length=120)]
    version: Annotated[int, Field(ge=1, le=1_000_000)]
    kind: Kind
    description: Text
    metric: Word
    source: Annotated[str, Field(max_length=2000)]
    licence: Annotated[str, Field(max_length=200)]
    concept: Word | None = None
    scorer: ScorerCard | None = None
    new_tokens: Annotated[int, Field(ge=1, le=512)] = 24
    alphas: Alphas = ()
    stitch_rows: Annotated[int, Field(ge=1, le=10_000)] = 24
    openings: Openings | None = None
    template: Text | None = None
    data: InstructionData | EvalData | None = None

    @model_validator(mode="after")
    def _complete(self) -> TaskCard:
        if self.kind in ("choice", "generation", "refusal") and not self.concept:
            raise ValueError(f"concept: a {self.kind} task names its concept")
        if self.kind in ("generation", "refusal") and not self.scorer:
            raise ValueError(f"scorer: a {self.kind} task names its scorer")
        if self.kind in ("generation", "side-effect", "refusal") and not self.alphas:
            raise ValueError(f"alphas: a {self.kind} task lists its alphas, in units of the spread")
        if 0 in self.alphas or len(set(self.alphas)) < len(self.alphas):
            raise ValueError("alphas: 0 is run anyway, and none stands twice; leave those out")
        if self.kind == "refusal":
            self._check_refusal()
        kinds = {InstructionData: "refusal", EvalData: "choice"}
        if self.data and self.kind != kinds[type(self.data)]:
            raise ValueError(f"data: such data sets are for a {kinds[type(self.data)]} task")
        return self

    def _check_refusal(self) -> None:
        if not self.openings:
            raise ValueError("openings: a refusal task says how answers begin that refuse and that comply")
        if not self.scorer or self.scorer.name != "phrases" or not self.scorer.present:
            raise ValueError("scorer: a refusal task is scored by phrases; list them in scorer.present")
        if self.template is not None and "{instruction}" not in self.template:
            raise ValueError("template: say where the instruction goes: {instruction}")


@dataclass(frozen=True)
class TaskBase:
    """A task that was read and checked: what its five kinds have in common.

    Attributes
    ----------
    card : what its task.yaml says.
    digest : hash of its card and of the data in its folder.
    data_digest : hash of what data sets gave; "" for a task whose data lie in its folder, or that has
        not been given them yet (`task_sources.resolve`).
    """

    kind: ClassVar[Kind]

    card: TaskCard
    digest: str
    data_digest: str = field(default="", kw_only=True)

    @property
    def name(self) -> str:
        """The name that suites and results know it by."""
        return self.card.name

    @property
    def concept(self) -> str:
        """The concept that its vectors steer; tasks of one concept never control one another."""
        return self.card.concept or self.card.name


@dataclass(frozen=True)
class ChoiceTask(TaskBase):
    """A vector is scored by which of two words it makes likely after a prompt.

    Attributes
    ----------
    vector : contrastive pairs that make the vector.
    select : prompts that choose layers or strengths.
    choices : prompts that are scored.
    """

    kind = "choice"

    vector: tuple[ContrastPair, ...] = ()
    select: tuple[ChoicePrompt, ...] = ()
    choices: tuple[ChoicePrompt, ...] = ()


@dataclass(frozen=True)
class GenerationTask(TaskBase):
    """A vector is scored by what the model writes on from prompts."""

    kind = "generation"

    vector: tuple[ContrastPair, ...] = ()
    prompts: tuple[Prompt, ...] = ()

    @property
    def scorer(self) -> ScorerCard:
        """The scorer that its card names."""
        return _given(self.card.scorer, "scorer")


@dataclass(frozen=True)
class FidelityTask(TaskBase):
    """A map is scored by the states that it predicts; the task has no data of its own."""

    kind = "fidelity"


@dataclass(frozen=True)
class SideEffectTask(TaskBase):
    """A vector is scored by the loss that it adds on neutral texts."""

    kind = "side-effect"

    prompts: tuple[Prompt, ...] = ()


@dataclass(frozen=True)
class RefusalTask(TaskBase):
    """A vector is scored by the harmful instructions that the model refuses under it, and the harmless.

    Attributes
    ----------
    vector : pairs of a harmless (positive) and a harmful instruction.
    instructions : harmful instructions that choose layer and alpha.
    prompts : harmful instructions that are scored.
    harmless : harmless instructions, on which refusing is the damage.
    """

    kind = "refusal"

    vector: tuple[ContrastPair, ...] = ()
    instructions: tuple[Prompt, ...] = ()
    prompts: tuple[Prompt, ...] = ()
    harmless: tuple[Prompt, ...] = ()

    @property
    def scorer(self) -> ScorerCard:
        """The phrases of a refusal."""
        return _given(self.card.scorer, "scorer")

    @property
    def openings(self) -> Openings:
        """How answers begin that refuse, and that comply."""
        return _given(self.card.openings, "openings")


VectorTask = ChoiceTask | GenerationTask | RefusalTask
Task = VectorTask | FidelityTask | SideEffectTask
TaskKind = TypeVar("TaskKind", bound=TaskBase)
TASK_KINDS: dict[Kind, type[Task]] = {
    kind.kind: kind for kind in (ChoiceTask, GenerationTask, FidelityTask, SideEffectTask, RefusalTask)
}


def limited(task: Task, most: int) -> Task:
    """Return a task with at most so many prompts of each kind, for a quick look; its digest is another.

    The pairs that make the vector stay. Prompts of a choice task stay balanced: each option that is left is
    the positive one equally often.
    """
    digest = hashlib.sha256(f"{task.digest} limit {most}".encode()).hexdigest()
    if isinstance(task, FidelityTask):
        return task
    if isinstance(task, ChoiceTask):
        select, choices = _few_choices(task.select, most), _few_choices(task.choices, most)
        return replace(task, digest=digest, select=select, choices=choices)
    if isinstance(task, RefusalTask):
        few_instructions, few_harmless = task.instructions[:most], task.harmless[:most]
        return replace(
            task, digest=digest, prompts=task.prompts[:most], instructions=few_instructions,
            harmless=few_harmless,
        )  # fmt: skip
    return replace(task, digest=digest, prompts=task.prompts[:most])


def _few_choices(prompts: tuple[ChoicePrompt, ...], most: int) -> tuple[ChoicePrompt, ...]:
    options = list(dict.fromkeys(prompt.positive for prompt in prompts))[:most]
    room = dict.fromkeys(options, max(1, most // max(1, len(options))))
    kept = []
    for prompt in prompts:
        if room.get(prompt.positive, 0):
            room[prompt.positive] -= 1
            kept.append(prompt)
    return tuple(kept)


def _given(value: Part | None, name: str) -> Part:
    """Return a part of a card that `TaskCard` has checked to be given."""
    if value is None:
        raise TypeError(f"a card without {name}")
    return value
