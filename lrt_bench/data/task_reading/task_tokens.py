"""Whether every text of a task gives a token: what gives none has no state and no likelihood."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from pydantic import BaseModel

from lrt_bench.data.tasks import (
    ChoiceTask,
    FidelityTask,
    GenerationTask,
    RefusalTask,
    SideEffectTask,
    Task,
)
from lrt_bench.errors import UserError


def check_tokens(task: Task, tokenizer: Any) -> None:
    """Check that every text and option of a task gives a token, before a model is run.

    Raises
    ------
    UserError
        Naming the task, the file, the line and the field.
    """
    rows = [
        (f"{name}.jsonl, line {number}", row) for name, of in files(task) for number, row in enumerate(of, 1)
    ]
    texts = [(place, field, text) for place, row in rows for field, text in row if text is not None]
    if not texts:
        return
    encoded = tokenizer([text for *_, text in texts], add_special_tokens=False, verbose=False)["input_ids"]
    for (place, field, text), ids in zip(texts, encoded, strict=True):
        if not ids:
            raise UserError(
                f"task {task.name}, {place}, field {field}: {text[:40]!r} gives no token in the tokenizer of "
                f"{getattr(tokenizer, 'name_or_path', '') or 'this model'}: take the line out"
            )


def files(task: Task) -> Iterator[tuple[str, tuple[BaseModel, ...]]]:
    """List a task's rows by the file that they stand in."""
    match task:
        case ChoiceTask():
            yield from (("vector", task.vector), ("select", task.select), ("score", task.choices))
        case GenerationTask():
            yield from (("vector", task.vector), ("score", task.prompts))
        case RefusalTask():
            yield from (("vector", task.vector), ("select", task.instructions))
            yield from (("score", task.prompts), ("harmless", task.harmless))
        case SideEffectTask():
            yield "score", task.prompts
        case FidelityTask():
            return
