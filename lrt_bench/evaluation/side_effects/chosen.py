"""The lm-eval tasks that a user names; the guard for whoever has not installed lm-eval."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from lrt_bench.errors import UserError

if TYPE_CHECKING:
    from lrt_bench.evaluation.side_effects.tasks import SideEffects


def load_chosen(
    names: Sequence[str], folder: Path | None = None, limit: int | None = None, concepts: int | None = None
) -> SideEffects:
    """Load lm-eval tasks by name, as `tasks.load` does; `concepts` is its own default where it is None.

    Raises UserError where lm-eval is not installed.
    """
    try:
        from lrt_bench.evaluation.side_effects import tasks
    except ImportError as error:
        raise UserError(f"lm-eval cannot be imported ({error}): pip install lrt-bench[lm-eval]") from error
    return tasks.load(names, folder, limit, tasks.CONCEPTS if concepts is None else concepts)
