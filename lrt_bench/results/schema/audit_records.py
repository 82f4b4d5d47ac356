"""Audits in a result: what was looked at in a submission's code, and what its fit lost."""

from __future__ import annotations

from typing import Literal

from lrt_bench.results.schema.bounds import AtLeastZero, Correlation
from lrt_bench.results.schema.records import Record

AuditCheckName = Literal["bases", "draft", "linear"]


class AuditCheck(Record):
    """What a fit loses when it is shown the states otherwise, in points of the Transfer Score.

    Attributes
    ----------
    name
        ``bases``: random orthogonal bases of both sides, reflections among them, and moved means.
        ``draft``: such bases, a third of the sample left out, and noise on the target; what ridge loses there
        is taken off. ``linear``: well-conditioned linear changes, for methods that say that they follow them.
    difference, ci95
        The points and their interval; it holds the spread between seeds.
    flag
        The loss is a point at least, and its interval is above 0.
    """

    name: AuditCheckName
    difference: float
    ci95: tuple[float, float]
    flag: bool


class AuditRecord(Record):
    """What was looked at in a submission's code; flags for a reader, never part of a rank.

    Attributes
    ----------
    isolated
        Whether it ran in a cell (not with --unsafe-no-sandbox).
    deterministic
        Whether the same seed gave the same fit; `seed_difference` is how far the two lie apart.
    cosine, rotated_cosine
        Mean cosine to the native vectors, of the fit, and of one that was shown both sides in random
        orthogonal bases; `rotation_agreement` is the mean cosine between the two.
    checks
        What the fit loses in points of the Transfer Score, one for each way that the states were shown.
    rotation_flag
        A check is flagged: the fit owes much to what it was shown. A hard-coded answer does, and so may a
        method that treats dimensions one by one. Where no task is steerable, the two cosines decide.
    row_by_row
        Whether a map that is not linear gave a state the same answer in other company; None for linear ones.
    memory_counted
        Whether a control group counted the cell's memory; else its addresses alone were limited.
    """

    isolated: bool
    deterministic: bool
    seed_difference: AtLeastZero
    cosine: Correlation
    rotated_cosine: Correlation
    rotation_agreement: Correlation
    rotation_flag: bool
    checks: tuple[AuditCheck, ...] = ()
    row_by_row: bool | None = None
    memory_counted: bool | None = None
