"""A submission as a row: fitted in fresh runners, or read as weights; audited; scored like any other row.

Nothing here imports a submission. A submission that fails is a counted failure of its own row.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lrt_bench.data.suites import PairSpec, Suite
from lrt_bench.data.tasks import VectorTask
from lrt_bench.errors import SubmissionError, UserError, one_line
from lrt_bench.evaluation.bench.pair_bench import PairBench
from lrt_bench.evaluation.bench.references import Vectors
from lrt_bench.evaluation.rows import Row, transferred
from lrt_bench.files.tensors import TensorError
from lrt_bench.mappings import Mapping
from lrt_bench.results.schema.records import AuditRecord
from lrt_bench.submissions.exchange import LONGEST_MESSAGE, Answered, Bases, Code, Fitted, fit_in_sandbox
from lrt_bench.submissions.folder import Submission, load
from lrt_bench.submissions.queries import Queries
from lrt_bench.submissions.sandbox.launcher import Limits, SandboxError, check_isolation

SAME = 1e-6  # two fits with one seed agree to this: float32 rounding, nothing more
TOO_LARGE = 1e3  # times the target's largest state
DROP = 0.1  # how much nearer to the native vectors than in other bases a fit may be without a flag


@dataclass
class SubmissionRow(Row):
    """A checked submission's row.

    Attributes
    ----------
    audit : of the last fit; None for weights, which are not fitted here.
    """

    over_steered = True

    submission: Submission = field(kw_only=True)
    limits: Limits = field(default_factory=Limits)
    isolate: bool = True

    @property
    def digest(self) -> str:
        """Hash of the submission's card, code and weights."""
        return self.submission.digest

    @property
    def about(self) -> dict[str, Any]:
        """What the result says of the method, from submission.yaml."""
        card = self.submission.card
        return {
            "origin": "submission",
            "description": card.description,
            "authors": card.authors,
            "link": card.link,
            "licence": card.licence,
            "notes": card.notes,
        }

    def applies(self, pair: PairSpec) -> bool:
        """Tell whether the submission is for the pair."""
        return self.submission.applies(pair.name)

    def vectors(self, bench: PairBench, tasks: Sequence[VectorTask]) -> Vectors:
        """Return the submission's vectors: {task: [seeds, d_target]}. Raises SubmissionError."""
        began = time.perf_counter()
        if self.submission.card.track == "weights":
            self.mappings, self.audit = [self._weights(bench)], None
            self.rule = "A v"
            x, y = bench.states.validation
            _check_size(f"submission {self.name} on {bench.pair.name}", self.mappings[0](x), y)
            by_task = transferred(bench, tasks, self.mappings)
        else:
            by_task = self._fitted(bench, tasks)
        for name, vectors in by_task.items():
            if not bool(torch.isfinite(vectors).all()):
                raise SubmissionError(f"submission {self.name}: its vector for {name} overflows")
        self.fit_seconds = self.fit_seconds or time.perf_counter() - began
        return by_task

    def _weights(self, bench: PairBench) -> Mapping:
        try:
            return self.submission.read_weights(bench.pair.name, bench.source.width, bench.target.width)
        except TensorError as error:
            message = f"submission {self.name}: weights/{bench.pair.name}.safetensors: {error}"
            raise SubmissionError(message) from error

    def _fitted(self, bench: PairBench, tasks: Sequence[VectorTask]) -> Vectors:
        if self.isolate:
            check_isolation()
        queries = Queries(bench, tasks)
        began = time.perf_counter()
        fits = [self._fit(bench, queries, bench.seed)]
        if fits[0].stochastic:
            fits += [self._fit(bench, queries, bench.seed + i) for i in range(1, bench.suite.fit_seeds)]
        self.fit_seconds = (time.perf_counter() - began) / len(fits)
        self.mappings = [_mapping(fit, queries) for fit in fits]
        self.rule = "A v" if fits[0].linear else Mapping.rule
        by_task = transferred(bench, tasks, self.mappings)
        self.audit = self._audited(bench, tasks, queries, fits, by_task)
        return by_task

    def _fit(self, bench: PairBench, queries: Queries, seed: int, bases: Bases | None = None) -> Fitted:
        code = Code(self.submission.code, self.submission.class_name)
        what = f"submission {self.name} on {bench.pair.name}"
        try:
            fitted = fit_in_sandbox(code, bench.states, queries, seed, self.limits, self.isolate, bases)
        except SandboxError as error:
            raise SubmissionError(f"{what}: {one_line(str(error), LONGEST_MESSAGE)}") from error
        x, y = bench.states.validation
        mapped = fitted.linear(x) if fitted.linear else fitted.mapped
        assert mapped is not None
        _check_size(what, mapped, y)
        return fitted

    def _audited(
        self,
        bench: PairBench,
        tasks: Sequence[VectorTask],
        queries: Queries,
        fits: list[Fitted],
        by_task: Vectors,
    ) -> AuditRecord:
        """One of the seeds again, and a fit with it on states shown in other bases.

        Which seed, and which bases, nobody can know beforehand: code that could would answer for them.
        """
        drawn = secrets.randbelow(len(fits))
        by_task = {name: vectors[drawn : drawn + 1] for name, vectors in by_task.items()}
        difference = fits[drawn].distance(self._fit(bench, queries, bench.seed + drawn))
        states = bench.states
        bases = Bases.drawn(states.d_source, states.d_target, secrets.randbits(32))
        elsewhere = _mapping(self._fit(bench, queries, bench.seed + drawn, bases), queries)
        turned = transferred(bench, tasks, [elsewhere])
        native = {task.name: bench.inputs.target_states(task).vector for task in tasks}
        cosine, rotated, agreement = (
            _mean_cosine(*sides)
            for sides in (
                (by_task, native),
                (turned, native),
                ({k: v[0] for k, v in by_task.items()}, turned),
            )
        )
        return AuditRecord(
            isolated=self.isolate,
            deterministic=difference <= SAME,
            seed_difference=min(difference, 1e300),
            cosine=cosine,
            rotated_cosine=rotated,
            rotation_agreement=agreement,
            rotation_flag=rotated < cosine - DROP,
        )


def _check_size(what: str, mapped: Tensor, own: Tensor) -> None:
    """Raise SubmissionError where mapped states are so large that figures of them would overflow."""
    largest, usual = float(mapped.abs().max()), float(own.abs().max())
    if not largest <= TOO_LARGE * usual:
        raise SubmissionError(f"{what}: its mapped states reach {largest:.2g}; the target's own {usual:.2g}")


def _mapping(fit: Fitted, queries: Queries) -> Mapping:
    if fit.linear:
        return fit.linear
    assert fit.mapped is not None
    return Answered(queries(), fit.mapped, fit.parameters)


def _mean_cosine(one: dict[str, Tensor], other: dict[str, Tensor]) -> float:
    """Mean over tasks of the cosine between the first seed's vectors; 0 for a zero vector."""
    cosines = []
    for name, vector in one.items():
        a, b = (side.reshape(-1, side.shape[-1])[0].double() for side in (vector, other[name]))
        cosines.append(float(torch.nn.functional.cosine_similarity(a, b, dim=0)))
    return sum(cosines) / max(len(cosines), 1)


def submission_rows(
    paths: Sequence[Path], suite: Suite, limits: Limits | None = None, isolate: bool = True
) -> list[SubmissionRow]:
    """Return the rows of submissions' folders.

    Raises UserError where one is malformed, or is for none of the pairs, and where this machine cannot
    isolate code and shall.
    """
    rows = []
    for path in paths:
        submission = load(path)
        card = submission.card
        if not any(submission.applies(pair.name) for pair in suite.pairs):
            known = ", ".join(pair.name for pair in suite.pairs)
            raise UserError(f"{path}: field pairs: none of {', '.join(card.pairs)} is run here ({known})")
        rows.append(
            SubmissionRow(
                card.name, Mapping.rule, control=False, track=card.track, submission=submission,
                limits=limits or Limits(), isolate=isolate,
            )
        )  # fmt: skip
    if isolate and any(row.track != "weights" for row in rows):
        check_isolation()
    return rows
