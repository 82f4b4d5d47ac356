"""A suite's corpus: the text that maps are fitted on, how much of it, and in how many draws."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated

from pydantic import AfterValidator, Field, model_validator

from lrt_bench.data.corpus import BUDGET_LIMITS, Budget, Corpus
from lrt_bench.data.datasets import Data
from lrt_bench.data.documents import Part
from lrt_bench.data.sufficiency import FIT_FLOOR, VALIDATION_FLOOR
from lrt_bench.files.names import visible
from lrt_bench.files.schema import Strict

# a model, a task, a mapping: a name or a path
Named = Annotated[str, Field(min_length=1, max_length=4000), AfterValidator(visible)]
FitTokens = Annotated[int, Field(ge=FIT_FLOOR, le=BUDGET_LIMITS["fit_tokens"])]
REMEMBERED = 2  # blocks of the embedded corpus that a suite's pairs share: what its budget reads


class CorpusSpec(Strict):
    """The text that maps are fitted on, and how much of it.

    mix : several sources, whose shares sum to 1; `source` then only names them.
    column : the column of the text, where it has none of the known names (`columns.COLUMNS`).
    draws : how many draws of other documents each map is fitted on, `fit_tokens` in each. The fits take the
        place of `Suite.fit_seeds`: one a draw, with a seed of its own. They share out the validation text.
    """

    source: Named = "nano"
    context: Annotated[int, Field(ge=8, le=1_000_000)] = 128
    fit_tokens: FitTokens = 60_000
    validation_tokens: Annotated[int, Field(ge=20, le=BUDGET_LIMITS["validation_tokens"])] = 6_000
    sample_tokens: Annotated[int, Field(ge=100, le=BUDGET_LIMITS["sample_tokens"])] = 30_000
    mix: Annotated[tuple[Part, ...], Field(max_length=100)] = ()
    column: Annotated[str, Field(max_length=1000)] | None = None
    draws: Annotated[int, Field(ge=1, le=BUDGET_LIMITS["draws"])] = 1

    @model_validator(mode="after")
    def _whole(self) -> CorpusSpec:
        if self.mix and abs(sum(part.share for part in self.mix) - 1) > 1e-6:
            raise ValueError(f"mix: the shares sum to {sum(part.share for part in self.mix):g}: make it 1")
        if self.mix and self.column:
            raise ValueError("column: each part of a mix names its own")
        return self

    @property
    def named(self) -> str:
        """The sources in a word, with their shares."""
        return " + ".join(f"{part.share:g} {part.id}" for part in self.mix) or self.source

    @property
    def budget(self) -> Budget:
        """How much of it a fit may read and keep."""
        return self.budget_for(None)

    def budget_for(self, fit_tokens: int | None) -> Budget:
        """Return how much of it a fit of so many tokens may read and keep; of the corpus's own without."""
        tokens, unseen = fit_tokens or self.fit_tokens, self.validation_tokens
        budget = Budget(tokens, self.validation_tokens, self.sample_tokens, unseen, self.draws)
        if fit_tokens is None and self.draws == 1:
            return budget
        shown = self.validation_tokens * tokens // (self.fit_tokens * self.draws)
        return replace(budget, shown_tokens=max(shown, VALIDATION_FLOOR))

    def corpus(self, data: Data) -> Corpus:
        """Make the corpus, its ids read from `data`."""
        return Corpus(self.source, self.context, self.mix, data, remembered=REMEMBERED, column=self.column)
