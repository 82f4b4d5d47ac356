"""What an engine is: it runs an evaluation and gives the same numbers as any other."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lrt_bench.data.suites import Suite
    from lrt_bench.evaluation.cells import Cell
    from lrt_bench.evaluation.config import RunConfig
    from lrt_bench.evaluation.evaluation import Evaluation


class Engine(ABC):
    """One way to run an evaluation.

    Whatever the engine, cells have the same numbers and lie in the same files.
    """

    @abstractmethod
    def run(self, evaluation: Evaluation) -> list[Cell]:
        """Compute (or read) every cell, in the suite's order.

        Raises UserError as `Evaluation.run` does.
        """

    def prepared(self, suite: Suite, config: RunConfig) -> Engine:
        """Return the engine for a run with these settings, started while the evaluation is imported."""
        return self
