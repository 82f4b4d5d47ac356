"""Reads task folders: task.yaml and its data, checked, balanced, content-hashed.

A task folder holds ``task.yaml`` and, by kind,

- choice: ``vector.jsonl`` (contrastive pairs that make the vector), ``score.jsonl`` (prompts that are
  scored, each with its two options), ``select.jsonl`` (prompts that choose layers or alphas; optional);
- generation: ``vector.jsonl`` and ``score.jsonl`` (prompts to write on from), a scorer;
- fidelity: no data of its own; it reads validation states;
- side-effect: ``score.jsonl``, neutral texts;
- refusal: ``vector.jsonl`` (positive: a harmless instruction, negative: a harmful one), ``select.jsonl`` and
  ``score.jsonl`` (harmful instructions), ``harmless.jsonl`` (harmless ones; optional). Instructions are bare:
  the reader wraps them in the model's chat template. Its card may name data sets instead (`task_sources.py`).
"""

from __future__ import annotations

import functools
import hashlib
import json
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError, model_validator

from lrt_bench.errors import UserError
from lrt_bench.files.resources import TASKS
from lrt_bench.files.schema import Row, Strict, first_problem, read_yaml

WRITTEN_EVALS = "mwe/"  # before the name of a file of the collection
COLLECTION = "Anthropic/model-written-evals"
ADVANCED = (  # files of advanced-ai-risk/lm_generated_evals; what is not among them is a persona
    "coordinate-itself", "coordinate-other-ais", "coordinate-other-versions", "corrigible-less-HHH",
    "corrigible-more-HHH", "corrigible-neutral-HHH", "myopic-reward", "one-box-tendency",
    "power-seeking-inclination", "self-awareness-general-ai", "self-awareness-good-text-model",
    "self-awareness-text-model", "self-awareness-training-architecture", "self-awareness-training-web-gpt",
    "survival-instinct", "wealth-seeking-inclination",
)  # fmt: skip
Kind = Literal["choice", "generation", "fidelity", "side-effect", "refusal"]
Text = Annotated[str, Field(min_length=1, max_length=20_000)]


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
    present: tuple[str, ...] = ()
    absent: tuple[str, ...] = ()


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
    pairs: Annotated[int, Field(ge=2)] = 128
    select: Annotated[int, Field(ge=1)] = 32
    score: Annotated[int, Field(ge=1)] = 15
    seed: Annotated[int, Field(ge=0)] = 0


class EvalData(Strict):
    """A file of questions with a matching and a not matching answer, and how many rows do what.

    Every number is even, so that either answer matches equally often.
    """

    id: Text
    file: Text
    pairs: Annotated[int, Field(ge=2, multiple_of=2)] = 200
    select: Annotated[int, Field(ge=0, multiple_of=2)] = 40
    score: Annotated[int, Field(ge=2, multiple_of=2)] = 100
    seed: Annotated[int, Field(ge=0)] = 0


class TaskCard(Strict):
    """What task.yaml says.

    template : wraps an instruction ("{instruction}") for models without a chat template; refusal only.
    """

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9-]*$", max_length=120)]
    version: Annotated[int, Field(ge=1)]
    kind: Kind
    description: Text
    metric: str
    source: str
    licence: str
    concept: str | None = None
    scorer: ScorerCard | None = None
    new_tokens: Annotated[int, Field(ge=1, le=512)] = 24
    alphas: tuple[float, ...] = ()
    stitch_rows: Annotated[int, Field(ge=1)] = 24
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
        if 0 in self.alphas or len(set(self.alphas)) < len(self.alphas):
            raise ValueError("alphas: 0 is run anyway, and none stands twice; leave those out")
        if self.template is not None and "{instruction}" not in self.template:
            raise ValueError("template: say where the instruction goes: {instruction}")


@dataclass(frozen=True)
class Task:
    """A task that was read and checked.

    Attributes
    ----------
    instructions : a refusal task's harmful instructions that choose layer and alpha.
    harmless : its harmless ones, on which refusing is the damage.
    data_digest : hash of what data sets gave; "" for a task whose data lie in its folder, or that has
        not been given them yet (`task_sources.resolve`).
    """

    card: TaskCard
    digest: str
    vector: tuple[ContrastPair, ...] = ()
    select: tuple[ChoicePrompt, ...] = ()
    choices: tuple[ChoicePrompt, ...] = ()
    prompts: tuple[Prompt, ...] = ()
    instructions: tuple[Prompt, ...] = ()
    harmless: tuple[Prompt, ...] = ()
    data_digest: str = ""

    @property
    def name(self) -> str:
        return self.card.name


def _read_rows(path: Path, model: type[Row], required: bool) -> tuple[Row, ...]:
    if not path.is_file():
        if required:
            raise UserError(f"{path}: missing; this kind of task needs it")
        return ()
    rows = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        if not line.strip():
            continue
        try:
            rows.append(model.model_validate(json.loads(line)))
        except json.JSONDecodeError as error:
            raise UserError(f"{path}, line {number}: not JSON: {error.msg}") from error
        except ValidationError as error:
            raise UserError(f"{path}, line {number}: {first_problem(error)}") from error
    if required and not rows:
        raise UserError(f"{path}: empty; give at least one line")
    return tuple(rows)


def read_task(folder: Path) -> Task:
    """Read a task folder. Raises UserError with file, line or field, and the mend."""
    card = read_yaml(folder / "task.yaml", TaskCard)
    if card.data:
        return Task(card, folder_hash(folder))
    makes_vectors = card.kind in ("choice", "generation", "refusal")
    vector = _read_rows(folder / "vector.jsonl", ContrastPair, required=makes_vectors)
    if makes_vectors and len(vector) < 2:
        raise UserError(f"{folder / 'vector.jsonl'}: one pair; the ceiling needs two halves, give 2 or more")
    if card.kind == "choice":
        select = _read_rows(folder / "select.jsonl", ChoicePrompt, required=False)
        choices = _read_rows(folder / "score.jsonl", ChoicePrompt, required=True)
        check_balance(folder / "score.jsonl", choices)
        check_balance(folder / "select.jsonl", select)
        task = Task(card, folder_hash(folder), vector, select, choices)
    elif card.kind == "refusal":
        prompts = _read_rows(folder / "score.jsonl", Prompt, required=True)
        instructions = _read_rows(folder / "select.jsonl", Prompt, required=True)
        harmless = _read_rows(folder / "harmless.jsonl", Prompt, required=False)
        task = Task(
            card, folder_hash(folder), vector, prompts=prompts, instructions=instructions, harmless=harmless
        )
    else:
        prompts = _read_rows(folder / "score.jsonl", Prompt, required=card.kind != "fidelity")
        task = Task(card, folder_hash(folder), vector, prompts=prompts)
    check_disjoint(folder, task)
    return task


def folder_hash(folder: Path) -> str:
    """Content hash of a task: its card and its data."""
    digest = hashlib.sha256()
    for name in ("task.yaml", "vector.jsonl", "select.jsonl", "score.jsonl", "harmless.jsonl"):
        if (folder / name).is_file():
            digest.update(name.encode() + b"\0" + (folder / name).read_bytes())
    return digest.hexdigest()


def check_balance(path: Path, prompts: Sequence[ChoicePrompt]) -> None:
    """Every option must be the positive one equally often: else a letter's vector could score."""
    counts = Counter(prompt.positive for prompt in prompts)
    for row in prompts:
        if row.positive == row.negative:
            raise UserError(f"{path}: field positive: {row.positive!r} is the negative option too")
    if len(set(counts.values())) > 1:
        raise UserError(f"{path}: field positive: options are not balanced ({dict(counts)}); make them equal")


def _whole(instruction: str | None, text: str) -> str:
    return text if instruction is None else f"{instruction}\n\n{text}"


def check_disjoint(folder: Path, task: Task) -> None:
    """Prompts that make a vector, that choose, and that score must differ, by content hash."""
    seen: dict[str, str] = {}
    roles: Iterable[tuple[str, list[list[str]]]] = (
        ("vector.jsonl", [[_whole(p.instruction, t) for t in (p.positive, p.negative)] for p in task.vector]),
        (
            "select.jsonl",
            [[_whole(r.instruction, r.prompt)] for r in task.select]
            + [[r.prompt] for r in task.instructions],
        ),
        (
            "score.jsonl",
            [[_whole(r.instruction, r.prompt)] for r in task.choices] + [[r.prompt] for r in task.prompts],
        ),
        ("harmless.jsonl", [[row.prompt] for row in task.harmless]),
    )
    for role, rows in roles:
        here: dict[str, str] = {}
        for number, texts in enumerate(rows, 1):
            for text in texts:
                key = hashlib.sha256(text.encode()).hexdigest()
                if key in seen:
                    raise UserError(f"{folder / role}, line {number}: the same text as {seen[key]}: drop one")
                here[key] = f"{role}, line {number}"
        seen |= here


def known_tasks() -> list[str]:
    """Names of the task folders that ship with the package."""
    return sorted(path.parent.name for path in TASKS.glob("*/task.yaml"))


def written_eval(name: str) -> Task:
    """A task of the model-written evals (Perez et al. 2022) by its file's name; its data are read by id."""
    if not re.fullmatch(r"(human/)?[A-Za-z0-9][A-Za-z0-9-]*", name):
        raise UserError(f"--task {WRITTEN_EVALS}{name}: not a name of a model-written eval")
    short = name.removeprefix("human/")
    if short != name:
        file = f"advanced-ai-risk/human_generated_evals/{short}.jsonl"
    elif short in ADVANCED:
        file = f"advanced-ai-risk/lm_generated_evals/{short}.jsonl"
    else:
        file = f"persona/{short}.jsonl"
    card = TaskCard(
        name=name.replace("/", "-"),
        version=1,
        kind="choice",
        description=f"model-written eval {name}: the matching answer against the other",
        metric="steering_r2",
        source=f"{COLLECTION}, {file}; Perez et al. 2022",
        licence="CC-BY-4.0",
        concept=short,
        data=EvalData(id=COLLECTION, file=file),
    )
    return Task(card, hashlib.sha256(card.model_dump_json().encode()).hexdigest())


@functools.cache
def find_task(spec: str) -> Task:
    """A task by its name, or by the path of its folder."""
    if (TASKS / spec / "task.yaml").is_file():
        return read_task(TASKS / spec)
    if (name := spec.removeprefix(WRITTEN_EVALS)) != spec:
        return written_eval(name)
    path = Path(spec).expanduser()
    if path.is_dir():
        return read_task(path)
    raise UserError(
        f"--task {spec}: no such task; `lrt-bench list tasks` names them, or give a folder, "
        f"or {WRITTEN_EVALS}NAME of the model-written evals"
    )


def describe_tasks() -> list[dict[str, Any]]:
    """A row per shipped task, for `lrt-bench list tasks`."""
    rows = []
    for name in known_tasks():
        task = find_task(name)
        data = task.card.data
        rows.append(
            {
                "name": name,
                "kind": task.card.kind,
                "version": task.card.version,
                "pairs": data.pairs if data else len(task.vector),
                "prompts": data.score if data else len(task.choices) + len(task.prompts),
                "description": task.card.description,
                "digest": task.digest,
            }
        )
    return rows
