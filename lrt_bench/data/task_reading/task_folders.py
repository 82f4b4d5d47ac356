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

import hashlib
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lrt_bench.data.tasks import (
    TASK_KINDS,
    ChoicePrompt,
    ChoiceTask,
    ContrastPair,
    EvalData,
    FidelityTask,
    GenerationTask,
    Prompt,
    RefusalTask,
    SideEffectTask,
    Task,
    TaskCard,
)
from lrt_bench.errors import UserError, did_you_mean
from lrt_bench.files.resources import TASKS
from lrt_bench.files.schema import Row, read_records, read_yaml

FILES = ("task.yaml", "vector.jsonl", "select.jsonl", "score.jsonl", "harmless.jsonl")
WRITTEN_EVALS = "mwe/"  # before the name of a file of the collection
COLLECTION = "Anthropic/model-written-evals"
ADVANCED = (  # files of advanced-ai-risk/lm_generated_evals; what is not among them is a persona
    "coordinate-itself", "coordinate-other-ais", "coordinate-other-versions", "corrigible-less-HHH",
    "corrigible-more-HHH", "corrigible-neutral-HHH", "myopic-reward", "one-box-tendency",
    "power-seeking-inclination", "self-awareness-general-ai", "self-awareness-good-text-model",
    "self-awareness-text-model", "self-awareness-training-architecture", "self-awareness-training-web-gpt",
    "survival-instinct", "wealth-seeking-inclination",
)  # fmt: skip


def _rows(path: Path, model: type[Row], required: bool = True) -> tuple[Row, ...]:
    """Read a file of rows; () where it is missing and need not be there."""
    if not path.is_file():
        if required:
            raise UserError(f"{path}: missing; this kind of task needs it")
        return ()
    rows = tuple(read_records(path, model))
    if required and not rows:
        raise UserError(f"{path}: empty; give at least one line")
    return rows


def read_task(folder: Path) -> Task:
    """Read a task folder.

    Raises
    ------
    UserError
        With file, line or field, and the mend.
    """
    card = read_yaml(folder / "task.yaml", TaskCard)
    digest = folder_hash(folder)
    if card.data:
        return TASK_KINDS[card.kind](card, digest)
    task = _with_rows(folder, card, digest)
    check_disjoint(folder, task)
    return task


def _with_rows(folder: Path, card: TaskCard, digest: str) -> Task:
    """Read the rows that a kind of task has."""
    if card.kind == "fidelity":
        return FidelityTask(card, digest)
    scored = folder / "score.jsonl"
    if card.kind == "side-effect":
        return SideEffectTask(card, digest, prompts=_rows(scored, Prompt))
    vector = _rows(folder / "vector.jsonl", ContrastPair)
    if len(vector) < 2:
        raise UserError(f"{folder / 'vector.jsonl'}: one pair; the ceiling needs two halves, give 2 or more")
    if card.kind == "generation":
        return GenerationTask(card, digest, vector=vector, prompts=_rows(scored, Prompt))
    if card.kind == "refusal":
        return RefusalTask(
            card,
            digest,
            vector=vector,
            instructions=_rows(folder / "select.jsonl", Prompt),
            prompts=_rows(scored, Prompt),
            harmless=_rows(folder / "harmless.jsonl", Prompt, required=False),
        )
    select = _rows(folder / "select.jsonl", ChoicePrompt, required=False)
    choices = _rows(scored, ChoicePrompt)
    check_balance(scored, choices)
    check_balance(folder / "select.jsonl", select)
    return ChoiceTask(card, digest, vector=vector, select=select, choices=choices)


def folder_hash(folder: Path) -> str:
    """Hash a task's contents: its card and its data."""
    digest = hashlib.sha256()
    for name in FILES:
        if (folder / name).is_file():
            digest.update(name.encode() + b"\0" + (folder / name).read_bytes())
    return digest.hexdigest()


def check_balance(path: Path, prompts: Sequence[ChoicePrompt]) -> None:
    """Raise UserError where an option is the positive one more often: a letter's vector could score."""
    counts = Counter(prompt.positive for prompt in prompts)
    for row in prompts:
        if row.positive == row.negative:
            raise UserError(f"{path}: field positive: {row.positive!r} is the negative option too")
    if len(set(counts.values())) > 1:
        raise UserError(f"{path}: field positive: options are not balanced ({dict(counts)}); make them equal")


def _whole(instruction: str | None, text: str) -> str:
    return text if instruction is None else f"{instruction}\n\n{text}"


def texts_by_file(task: Task) -> Iterator[tuple[str, list[list[str]]]]:
    """List the texts that a model reads, by the file and the row that give them.

    Yields
    ------
    (str, list of lists of str)
        A file's name, and for each of its rows the row's texts.
    """
    if not isinstance(task, FidelityTask | SideEffectTask):
        pairs = [[_whole(p.instruction, text) for text in (p.positive, p.negative)] for p in task.vector]
        yield "vector.jsonl", pairs
    if isinstance(task, ChoiceTask):
        yield "select.jsonl", [[_whole(row.instruction, row.prompt)] for row in task.select]
        yield "score.jsonl", [[_whole(row.instruction, row.prompt)] for row in task.choices]
        return
    if isinstance(task, RefusalTask):
        yield "select.jsonl", [[row.prompt] for row in task.instructions]
    if not isinstance(task, FidelityTask):
        yield "score.jsonl", [[row.prompt] for row in task.prompts]
    if isinstance(task, RefusalTask):
        yield "harmless.jsonl", [[row.prompt] for row in task.harmless]


def check_disjoint(folder: Path, task: Task) -> None:
    """Raise UserError where prompts that make a vector, that choose, and that score share a text."""
    seen: dict[str, str] = {}
    for name, rows in texts_by_file(task):
        own: dict[str, str] = {}
        for number, texts in enumerate(rows, 1):
            for text in texts:
                key = hashlib.sha256(text.encode()).hexdigest()
                if key in seen:
                    raise UserError(f"{folder / name}, line {number}: the same text as {seen[key]}: drop one")
                own[key] = f"{name}, line {number}"
        seen |= own


def known_tasks() -> list[str]:
    """List the names of the task folders that ship with the package."""
    return sorted(path.parent.name for path in TASKS.glob("*/task.yaml"))


def written_eval(name: str) -> ChoiceTask:
    """Make a task of the model-written evals (Perez et al. 2022), by its file's name."""
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
    return ChoiceTask(card, hashlib.sha256(card.model_dump_json().encode()).hexdigest())


def find_task(spec: str) -> Task:
    """Find a task by its name, or by the path of its folder, and read it.

    Raises
    ------
    UserError
        Where there is none, or its folder is not sound.
    """
    if (TASKS / spec / "task.yaml").is_file():
        return read_task(TASKS / spec)
    if (name := spec.removeprefix(WRITTEN_EVALS)) != spec:
        return written_eval(name)
    path = Path(spec).expanduser()
    if path.is_dir():
        return read_task(path)
    raise UserError(
        f"--task {spec}: no such task{did_you_mean(spec, known_tasks())}; `lrt-bench list tasks` names them, "
        f"or give a folder, or {WRITTEN_EVALS}NAME of the model-written evals"
    )


@dataclass
class TaskShelf:
    """Tasks that were read once and are asked for again.

    It belongs to a suite, or to a site that is built.

    It is pickled without its tasks: another process reads them again.
    """

    _tasks: dict[str, Task] = field(default_factory=dict, compare=False, repr=False)

    def find(self, spec: str) -> Task:
        """Return `find_task` of this spec, read at the first call."""
        if spec not in self._tasks:
            self._tasks[spec] = find_task(spec)
        return self._tasks[spec]

    def __reduce__(self) -> tuple[type[TaskShelf], tuple[()]]:
        return TaskShelf, ()

    def __deepcopy__(self, memo: dict[int, Any]) -> TaskShelf:
        return self


def describe_tasks() -> list[dict[str, Any]]:
    """Describe every shipped task in a row, for `lrt-bench list tasks`."""
    return [_described(name, find_task(name)) for name in known_tasks()]


def _described(name: str, task: Task) -> dict[str, Any]:
    data = task.card.data
    pairs = len(task.vector) if not isinstance(task, FidelityTask | SideEffectTask) else 0
    if isinstance(task, FidelityTask):
        prompts = 0
    else:
        prompts = len(task.choices) if isinstance(task, ChoiceTask) else len(task.prompts)
    return {
        "name": name,
        "kind": task.card.kind,
        "version": task.card.version,
        "pairs": data.pairs if data else pairs,
        "prompts": data.score if data else prompts,
        "description": task.card.description,
        "digest": task.digest,
    }
