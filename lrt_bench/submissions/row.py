"""A submission as a row: fitted in fresh runners, or read as weights; audited; scored like any other row.

Nothing here imports a submission. A submission that fails is a counted failure of its own row.
"""

from __future__ import annotations

import contextlib
import secrets
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from lrt_bench.data.suites import PairSpec, Suite
from lrt_bench.data.tasks import VectorTask
from lrt_bench.errors import SubmissionError, UserError, one_line
from lrt_bench.evaluation.bench.pair_bench import PairBench
from lrt_bench.evaluation.bench.references import Reference, Vectors
from lrt_bench.evaluation.rows import Row, transferred
from lrt_bench.files.tensors import TensorError
from lrt_bench.mappings import Mapping
from lrt_bench.results.schema.audit_records import AuditCheck, AuditCheckName, AuditRecord
from lrt_bench.submissions.audits import (
    Loss,
    Yardstick,
    largest_difference,
    mean_cosine,
    own_references,
    ridge_loss,
)
from lrt_bench.submissions.exchange import LONGEST_MESSAGE, Answered, Code, Fitted, Runner, fit_in_sandbox
from lrt_bench.submissions.folder import Submission, load
from lrt_bench.submissions.queries import Queries
from lrt_bench.submissions.sandbox.launcher import Limits, SandboxError, check_isolation
from lrt_bench.submissions.sandbox.memory import counts_memory
from lrt_bench.submissions.views import View, redrafted, stretched, turned

ALONE = 1e-3  # of a usual answer: rounding in batches of other sizes stays below
SAME = 1e-6  # two fits with one seed agree to this: float32 rounding, nothing more
TOO_LARGE = 1e3  # times the target's largest state
Purpose = Literal["public", "private", "fresh"]
DROP = 0.1  # how much nearer to the native vectors a fit may be than in other bases, where no score tells


@dataclass
class SubmissionRow(Row):
    """A checked submission's row.

    Attributes
    ----------
    purpose : on a ``private`` pair it is scored whatever pairs it is for, and what its code says when it
        fails is not passed on: that could be states. On it and on ``fresh`` concepts it is not audited again.
    audit : of the last fit; None for weights, which are not fitted here.
    """

    over_steered = True

    submission: Submission = field(kw_only=True)
    limits: Limits = field(default_factory=Limits)
    isolate: bool = True
    purpose: Purpose = "public"
    _references: dict[str, Reference] | None = field(default=None, init=False, repr=False)

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
        return self.purpose == "private" or self.submission.applies(pair.name)

    def vectors(self, bench: PairBench, tasks: Sequence[VectorTask]) -> Vectors:
        """Return the submission's vectors: {task: [seeds, d_target]}. Raises SubmissionError."""
        try:
            return self._vectors(bench, tasks)
        except SubmissionError:
            if self.purpose != "private":
                raise
            raise SubmissionError(f"submission {self.name}: fails on a private pair") from None

    def _vectors(self, bench: PairBench, tasks: Sequence[VectorTask]) -> Vectors:
        began = time.perf_counter()
        if self.submission.card.track == "weights":
            self.mappings, self.audit = [self._weights(bench)], None
            self.rule = "A v"
            x, y = bench.states.validation
            _check_size(self._on(bench), self.mappings[0](x), y)
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

    def compare_with(self, references: dict[str, Reference]) -> None:
        """Take the native references, which the audits score with."""
        self._references = references

    def _fitted(self, bench: PairBench, tasks: Sequence[VectorTask]) -> Vectors:
        if self.isolate:
            check_isolation()
        queries = Queries(bench, tasks)
        began = time.perf_counter()
        fits = [self._fit(bench, queries, 0)]
        fits += [self._fit(bench, queries, i) for i in range(1, bench.fits(fits[0].stochastic))]
        self.fit_seconds = (time.perf_counter() - began) / len(fits)
        self.mappings = [_mapping(fit, queries) for fit in fits]
        self.rule = "A v" if fits[0].linear else Mapping.rule
        by_task = transferred(bench, tasks, self.mappings)
        self.audit = self._audited(bench, queries, fits, by_task) if self.purpose == "public" else None
        return by_task

    def _on(self, bench: PairBench) -> str:
        return f"submission {self.name} on {bench.pair.name}"

    def _runner(self, seed: int) -> Runner:
        code = Code(self.submission.code, self.submission.class_name)
        return Runner(code, self.limits, self.isolate, seed)

    def _fit(self, bench: PairBench, queries: Queries, number: int, view: View | None = None) -> Fitted:
        """Return a fit by its number, which says the draw that it is given and its seed."""
        what, states = self._on(bench), bench.fit_states(number)
        with _failures_of(what):
            fitted = fit_in_sandbox(self._runner(bench.seed + number), states, queries, view)
        x, y = bench.states.validation
        mapped = fitted.linear(x) if fitted.linear else fitted.mapped
        assert mapped is not None
        _check_size(what, mapped, y)
        return fitted

    def _audited(
        self, bench: PairBench, queries: Queries, fits: list[Fitted], by_task: Vectors
    ) -> AuditRecord:
        """One of the fits again, and others like it on states that are shown otherwise.

        Which fit, and how the states are shown, nobody can know beforehand: code that could would answer for
        them.
        """
        drawn = secrets.randbelow(len(fits))
        fit, states = fits[drawn], bench.fit_states(drawn)
        self._check_row_by_row(bench, queries, fit, bench.seed + drawn)
        difference = fit.distance(self._fit(bench, queries, drawn))
        moments = states.moments
        views: dict[AuditCheckName, View] = {
            "bases": turned(moments), "draft": redrafted(moments, len(states.sample)),
        }  # fmt: skip
        if fit.equivariance == "linear":
            views["linear"] = stretched(moments)
        by_view = {
            name: transferred(
                bench, queries.tasks, [_mapping(self._fit(bench, queries, drawn, view), queries)]
            )
            for name, view in views.items()
        }
        native = {task.name: bench.inputs.target_states(task).vector for task in queries.tasks}
        one = {name: vectors[drawn : drawn + 1] for name, vectors in by_task.items()}
        cosine, rotated = mean_cosine(one, native), mean_cosine(by_view["bases"], native)
        checks = self._checks(bench, by_task, by_view, views, drawn)
        return AuditRecord(
            isolated=self.isolate,
            deterministic=difference <= SAME,
            seed_difference=min(difference, 1e300),
            cosine=cosine,
            rotated_cosine=rotated,
            rotation_agreement=mean_cosine(one, by_view["bases"]),
            rotation_flag=any(check.flag for check in checks) if checks else rotated < cosine - DROP,
            checks=checks,
            row_by_row=None if fit.left is None else True,
            memory_counted=counts_memory() if self.isolate else None,
        )

    def _checks(
        self, bench: PairBench, by_task: Vectors, by_view: dict[AuditCheckName, Vectors],
        views: dict[AuditCheckName, View], drawn: int,
    ) -> tuple[AuditCheck, ...]:  # fmt: skip
        if not bench.choice_sweep.tasks:
            return ()
        if self._references is None:
            self._references = own_references(bench)
        yardstick = Yardstick(bench, self._references)
        loss = Loss(yardstick, yardstick.errors(by_task))
        allowed = {"draft": ridge_loss(yardstick, views["draft"], drawn)}
        checks = [loss.check(name, vectors, allowed.get(name, 0.0)) for name, vectors in by_view.items()]
        return tuple(check for check in checks if check is not None)

    def _check_row_by_row(self, bench: PairBench, queries: Queries, fit: Fitted, seed: int) -> None:
        """Raise SubmissionError where a state's answer depends on the other states that are asked about."""
        if fit.left is None or fit.mapped is None:
            return
        what = self._on(bench)
        with _failures_of(what):
            again = self._runner(seed).answers(fit.left, queries(), bench.target.width)
        difference = largest_difference(fit.mapped, again)
        if not difference <= ALONE:
            raise SubmissionError(
                f"{what}: its answer to a state differs by {difference:.2g} in other company: a map is a "
                "function of one state, without chance"
            )


@contextlib.contextmanager
def _failures_of(what: str) -> Iterator[None]:
    """Turn a cell's failure into one line of the submission's."""
    try:
        yield
    except SandboxError as error:
        raise SubmissionError(f"{what}: {one_line(str(error), LONGEST_MESSAGE)}") from error


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


def submission_rows(
    paths: Sequence[Path],
    suite: Suite,
    limits: Limits | None = None,
    isolate: bool = True,
    purpose: Purpose = "public",
) -> list[SubmissionRow]:
    """Return the rows of submissions' folders; on private pairs without those that are weights alone.

    Raises UserError where one is malformed, or is for none of the pairs, and where this machine cannot
    isolate code and shall.
    """
    rows = []
    for path in paths:
        submission = load(path)
        card = submission.card
        if purpose == "private":
            if card.track == "weights":
                continue
        elif not any(submission.applies(pair.name) for pair in suite.pairs):
            known = ", ".join(pair.name for pair in suite.pairs)
            raise UserError(f"{path}: field pairs: none of {', '.join(card.pairs)} is run here ({known})")
        rows.append(
            SubmissionRow(
                card.name, Mapping.rule, control=False, track=card.track, submission=submission,
                limits=limits or Limits(), isolate=isolate, purpose=purpose,
            )
        )  # fmt: skip
    if isolate and any(row.track != "weights" for row in rows):
        check_isolation()
    return rows
