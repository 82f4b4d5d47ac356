"""What the target writes under steering, and the loss of given text under it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from torch import Tensor

from lrt_bench.data.tasks import GenerationTask, SideEffectTask
from lrt_bench.models.sites import Site
from lrt_bench.steering.generation import TextLoss, Written, generate_all
from lrt_bench.steering.kept_writing import kept_unsteered


@dataclass(frozen=True, eq=False)
class Writer:
    """The target writes under offsets at its site; what it writes unsteered is written once."""

    target: Site
    seed: int
    batch_size: int
    _unsteered: dict[str, Written] = field(default_factory=dict, init=False, repr=False)
    _losses: dict[str, TextLoss] = field(default_factory=dict, init=False, repr=False)

    def write(self, tasks: Sequence[GenerationTask], offsets: Sequence[Tensor]) -> list[Written]:
        """Write on from each generation task's prompts under each of its offsets [vectors, d_target]."""
        texts: dict[str, Written] = {}
        for length in {task.card.new_tokens for task in tasks}:
            works = {
                task.name: ([row.prompt for row in task.prompts], by)
                for task, by in zip(tasks, offsets, strict=True)
                if task.card.new_tokens == length
            }
            written = generate_all(
                self.target, list(works.values()), length, seed=self.seed, batch_size=4 * self.batch_size
            )
            texts |= dict(zip(works, written, strict=True))
        return [texts[task.name] for task in tasks]

    def unsteered(self, task: GenerationTask) -> Written:
        """Return what the target writes on a generation task's prompts by itself."""
        if task.name not in self._unsteered:
            prompts = [row.prompt for row in task.prompts]
            self._unsteered[task.name] = kept_unsteered(
                self.target, prompts, task.card.new_tokens, seed=self.seed, batch_size=4 * self.batch_size
            )
        return self._unsteered[task.name]

    def text_loss(self, task: SideEffectTask) -> TextLoss:
        """Return the loss of a side-effect task's texts, ready for any offset."""
        if task.name not in self._losses:
            texts = [row.prompt for row in task.prompts]
            self._losses[task.name] = TextLoss(self.target, texts, self.batch_size)
        return self._losses[task.name]
