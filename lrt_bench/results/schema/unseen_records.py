"""Scores in a result on what nobody had seen: private models, concepts that were drawn just then."""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import Field, model_validator

from lrt_bench.results.schema.bounds import Count, Name, TransferScore
from lrt_bench.results.schema.records import Record

ROUNDING = 0.02  # points
WIDEST = 60.0  # points from end to end: a gap that is less well known says nothing of a row
Hash = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Points = Annotated[float, Field(ge=-400, le=400)]
Interval = tuple[Points, Points]


class ReferenceScores(Record):
    """A built-in map's two scores, by which the private pair's scale is read."""

    mapping: Name
    public: TransferScore
    private: TransferScore


class PrivateScore(Record):
    """A submission's score on a private family of models, and how it goes with its score here.

    Nothing else of the private pair is recorded: no state, no vector, no text, no task.

    Attributes
    ----------
    commitment
        Hash of the family's secret; whoever is told the secret can make the family again.
    key
        Hash of all that the private score depends on.
    score, ci95
        The Transfer Score on the private pairs, with its interval over concepts.
    supported
        What the private score stands for on this pair's scale, read off the built-in maps' two scores.
    gap, gap_ci95
        The score here less `supported`. The interval holds the concepts, and how far honest maps' two scores
        usually part.
    references
        The built-in maps that the scale was read from.
    """

    commitment: Hash
    key: Hash
    score: TransferScore
    ci95: Interval
    supported: TransferScore
    gap: Points
    gap_ci95: Interval
    references: Annotated[tuple[ReferenceScores, ...], Field(min_length=1, max_length=100)]

    @property
    def tells(self) -> bool:
        """Whether the gap is known well enough to tell anything."""
        return self.gap_ci95[1] - self.gap_ci95[0] <= WIDEST

    @property
    def agrees(self) -> bool:
        """Whether the public score is not clearly above what the private one supports."""
        return self.tells and self.gap_ci95[0] <= 0

    @model_validator(mode="after")
    def _holds(self) -> Self:
        for name, value, ends in (("ci95", self.score, self.ci95), ("gap_ci95", self.gap, self.gap_ci95)):
            if not ends[0] - ROUNDING <= value <= ends[1] + ROUNDING:
                raise ValueError(f"{name}: does not hold {value:.2f}")
        return self


class FreshScore(Record):
    """A row's score on concepts that were drawn when it was scored.

    Attributes
    ----------
    draw
        Hash of the secret that they were drawn from: rows with the same one had the same concepts.
    concepts
        How many were drawn; `counted` of them are steerable.
    score, ci95
        Of the counted ones; None where there is none.
    """

    draw: Hash
    concepts: Count
    counted: Count
    score: TransferScore | None
    ci95: tuple[TransferScore, TransferScore] | None
