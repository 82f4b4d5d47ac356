"""Results computed again and compared with what the board says."""

from __future__ import annotations

import itertools
import json
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lrt_bench.data.suites import PairSpec, Suite, find_suite, narrowed
from lrt_bench.errors import UserError
from lrt_bench.evaluation.config import checked
from lrt_bench.evaluation.evaluation import Evaluation
from lrt_bench.evaluation.rows import Row
from lrt_bench.mappings import is_built_in, name_of
from lrt_bench.results.storage import Result, read_propensities, read_record, result_files
from lrt_bench.submissions.row import submission_rows

# One machine gives one number. Another one, or another number of threads, adds float32 in another order: that
# moves propensities by some 1e-5 and was measured to move a Transfer Score by less than 0.05.
SCORE_TOLERANCE = 0.05
TOLERANCE = 2e-3  # of every other figure: absolute, plus as much of its size
WRITING_TOLERANCE = 0.1  # sampled text: where rounding flips one token, all that follows differs
# lm_eval: what others' task files measured, of which a result keeps the hash alone
NOT_COMPARED = {
    "cost", "provenance", "key", "propensities", "audit", "state", "lm_eval", "private", "fresh",
}  # fmt: skip
MAX_LINES = 20
RECORDED = (
    "tasks",
    "corpus",
    "corpus_column",
    "data",
    "models",
    "weights",
)  # settings that a result records and needs again


@dataclass
class Outcome:
    """What was found, a line each, and whether everything is the same."""

    lines: list[str] = field(default_factory=list)
    same: bool = True

    def differs(self, line: str) -> None:
        """Note something that differs."""
        self.lines.append(line)
        self.same = False


@dataclass
class Verification:
    """Compute the results at `path` (a file, or a folder of them) again, in a temporary folder.

    Parameters
    ----------
    suite : YAML file, where the results' suite does not ship.
    submission : folder of the submission behind results of that origin.
    mapping : PATH.py:CLASS behind results of origin `file`.
    settings : fields of `RunConfig` that take the place of recorded ones: those of `RECORDED`, whose absolute
        paths a result does not keep, and `trust_remote_code`. That one is never taken from a result: who made
        it trusted the code, not who verifies it.
    """

    path: Path
    suite: str | None = None
    submission: Path | None = None
    mapping: str | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)
    report: Callable[[str, float, float], None] = lambda what, done, total: None

    def run(self) -> Outcome:
        """Compute everything again.

        Raises UserError where that cannot be done here.
        """
        results = [(path, read_record(path)) for path in self._files()]
        outcome = Outcome()
        for _, group in itertools.groupby(sorted(results, key=_group), key=_group):
            self._verify(list(group), outcome)
        return outcome

    def _files(self) -> list[Path]:
        if not self.path.is_dir():
            return [self.path]
        files = list(result_files(self.path))
        if not files:
            raise UserError(f"{self.path}: no result (.json) in it")
        return files

    def _verify(self, group: list[tuple[Path, Result]], outcome: Outcome) -> None:
        """Results of one pair and one set of settings: one evaluation gives them all."""
        path, first = group[0]
        suite = self._suite(path, first)
        if not first.suite.endswith("-ad-hoc") and suite.digest != first.suite_digest:
            outcome.differs(
                f"{path}: suite {first.suite} is not what it was: its protocol, tasks or data changed"
            )
            return
        names, rows = self._methods(group, suite)
        kinds = (
            [t.task for t in first.tasks],
            [t.task for t in first.generation],
            [t.task for t in first.side_effects],
            [t.task for t in first.refusal],
        )
        chosen = [] if first.complete else self._task_specs(suite, set().union(*kinds), first)
        with tempfile.TemporaryDirectory(prefix="lrt-bench-verify-") as folder:
            settings = first.settings
            config = checked({
                "out": folder, "device": settings.device, "dtype": settings.dtype,
                "seed": settings.seed, "batch_size": settings.batch_size,
                "bos": first.provenance.bos or "auto", **self._recorded(first), "tasks": chosen,
            })  # fmt: skip
            evaluation = Evaluation(
                suite.model_copy(update={"mappings": tuple(names)}), config,
                submissions=rows, report=self.report,
            )  # fmt: skip
            fresh = {cell.result.mapping.name: cell.result for cell in evaluation.run()}
        failures = {failure.mapping: failure.reason for failure in evaluation.failures}
        for path, result in group:
            name = result.mapping.name
            if name in failures:
                outcome.differs(f"{path}: {failures[name]}")
            else:
                _compare(path, result, fresh[name], outcome)

    def _task_specs(self, suite: Suite, names: set[str], first: Result) -> list[str]:
        """Tasks of a result that holds only some of the suite's, or others.

        Raises UserError where the suite has none of them and the result does not say where they are.
        """
        if named := self._recorded(first).get("tasks"):
            return list(named)
        if first.fidelity and first.fidelity.kl is not None:
            names |= {task.name for task in suite.read_tasks() if task.card.kind == "fidelity"}
        names |= set(first.not_scorable)
        of_suite = {task.name: spec for spec, task in zip(suite.tasks, suite.read_tasks(), strict=True)}
        if others := sorted(names - of_suite.keys()):
            raise UserError(
                f"{suite.name} has no task {', '.join(others)}: give each task of the result as --task"
            )
        return [spec for name, spec in of_suite.items() if name in names]

    def _recorded(self, result: Result) -> dict[str, Any]:
        """Return where text and models come from, as the result records it or as `settings` says."""
        config = result.provenance.config or {}
        settings = {name: config[name] for name in RECORDED if name in config} | dict(self.settings)
        checked(settings)  # a stranger may have written them
        return settings

    def _suite(self, path: Path, result: Result) -> Suite:
        recorded = self._recorded(result)
        return narrowed(
            self._recorded_suite(path, result),
            corpus=recorded.get("corpus"),
            column=recorded.get("corpus_column"),
        )

    def _recorded_suite(self, path: Path, result: Result) -> Suite:
        name = result.suite.removesuffix("-ad-hoc")
        try:
            suite = find_suite(self.suite or name)
        except UserError as error:
            raise UserError(f"{path}: suite {name} does not ship with lrt-bench: give --suite") from error
        if suite.name != name:
            raise UserError(f"--suite {self.suite}: it is {suite.name}, and {path} is of {name}")
        pair, source, target = result.pair, result.pair.source, result.pair.target
        if name != result.suite:
            spec = PairSpec(
                name=pair.name, source=source.model,
                source_layer=source.layer if source.layers is None else None, source_layers=source.layers,
                source_sae=source.sae_name, target=target.model, target_layer=target.layer,
            )  # fmt: skip
            return suite.model_copy(update={"name": result.suite, "pairs": (spec,)})
        chosen = tuple(spec for spec in suite.pairs if spec.name == pair.name)
        if not chosen:
            raise UserError(f"{path}: suite {name} has no pair {pair.name}")
        return suite.model_copy(update={"pairs": chosen})

    def _methods(self, group: list[tuple[Path, Result]], suite: Suite) -> tuple[list[str], list[Row]]:
        """Return mapping specs and submission rows that give the group's rows again."""
        names: list[str] = []
        folders: list[Path] = []
        for path, result in group:
            mapping = result.mapping
            if mapping.control and not is_built_in(mapping.name):
                continue
            if mapping.origin == "submission":
                folders.append(self._folder(path, mapping.name))
            elif mapping.origin == "built-in" and is_built_in(mapping.name):
                names.append(mapping.name)
            elif self.mapping and name_of(self.mapping) == mapping.name:
                names.append(self.mapping)
            else:
                raise UserError(
                    f"{path}: mapping {mapping.name} came from a file: give --mapping PATH.py:CLASS"
                )
        return list(dict.fromkeys(names)), [*submission_rows(list(dict.fromkeys(folders)), suite)]

    def _folder(self, path: Path, name: str) -> Path:
        around = [path.resolve().parent.parent, Path("submissions") / name]
        for folder in [self.submission] if self.submission else around:
            if folder.name == name and folder.is_dir():
                return folder
        raise UserError(f"{path}: the folder of submission {name} is not found: give --submission")


def _group(item: tuple[Path, Result]) -> tuple[Any, ...]:
    result = item[1]
    settings = result.settings
    tasks = [task.digest for task in result.tasks] + [task.digest for task in result.generation]
    tasks += [task.digest for task in result.side_effects]
    kept = () if result.complete else tuple(tasks)
    return (
        result.suite, result.suite_digest, result.pair.name, settings.seed, settings.dtype, settings.device,
        settings.batch_size, result.provenance.bos or "auto", result.complete, kept, _text_and_models(result),
    )  # fmt: skip


def _text_and_models(result: Result) -> str:
    config = result.provenance.config or {}
    return json.dumps([config.get(name) for name in RECORDED], sort_keys=True)


def _compare(path: Path, stored: Result, fresh: Result, outcome: Outcome) -> None:
    if stored.state == "claimed":
        _compare_claim(path, stored, fresh, outcome)
        return
    differences = list(_differences(stored.model_dump(), fresh.model_dump(), ()))
    wrong = sorted((d for d in differences if d[0] > 1), key=lambda d: -d[0])
    if path.with_suffix(".safetensors").exists() and read_propensities(path, stored) is None:
        outcome.differs(f"{path}: the propensities beside it ({path.stem}.safetensors) are not its own")
    for _, where, line in wrong[:MAX_LINES]:
        outcome.differs(f"{path}: {where}: {line}")
    if len(wrong) > MAX_LINES:
        outcome.differs(f"{path}: and {len(wrong) - MAX_LINES} more figures differ")
    if not wrong:
        worst = max((d for d in differences), default=None)
        largest = f"; most in {worst[1]}: {worst[2]}" if worst and worst[0] > 0 else ""
        outcome.lines.append(f"{path}: the same{largest}")


def _compare_claim(path: Path, stored: Result, fresh: Result, outcome: Outcome) -> None:
    """Hold a claim to be true where the score computed here lies within its interval."""
    for what in ("mapping", "source", "target"):
        old, new = (_digest(result, what) for result in (stored, fresh))
        if old != new:
            outcome.differs(f"{path}: the claim is of another {what} than what is here (digest)")
    claimed, computed = stored.transfer_score, fresh.transfer_score
    interval = stored.ci95_these_tasks  # the same tasks are run here: other concepts are no excuse
    if claimed is None or computed is None or interval is None:
        if claimed != computed:
            outcome.differs(f"{path}: claimed Transfer Score {claimed}, computed {computed}")
        return
    low, high = interval
    line = f"{path}: claimed Transfer Score {claimed:.2f} [{low:.2f}, {high:.2f}], computed {computed:.2f}"
    if low - SCORE_TOLERANCE <= computed <= high + SCORE_TOLERANCE:
        outcome.lines.append(f"{line}: within its interval")
    else:
        outcome.differs(f"{line}: differs by {computed - claimed:+.2f}, outside its interval")


def _digest(result: Result, what: str) -> str:
    sites = {"source": result.pair.source, "target": result.pair.target}
    return sites[what].digest if what in sites else result.mapping.digest


def _differences(stored: Any, fresh: Any, where: tuple[str, ...]) -> Iterator[tuple[float, str, str]]:
    """(difference in units of the tolerance, field, line) of every figure and text that is not equal."""
    if isinstance(stored, dict) and isinstance(fresh, dict):
        for name in stored.keys() | fresh.keys():
            if where or name not in NOT_COMPARED:
                yield from _differences(stored.get(name), fresh.get(name), (*where, name))
        return
    if isinstance(stored, tuple | list) and isinstance(fresh, tuple | list) and len(stored) == len(fresh):
        for index, (old, new) in enumerate(zip(stored, fresh, strict=True)):
            yield from _differences(old, new, (*where, str(index)))
        return
    if stored == fresh:
        return
    field_name = ".".join(where)
    if isinstance(stored, float | int) and isinstance(fresh, float | int):
        tolerance = TOLERANCE * (1 + max(abs(stored), abs(fresh)))
        if where[0] in ("transfer_score", "ci95", "ci95_these_tasks"):
            tolerance = SCORE_TOLERANCE
        elif where[0] in ("generation", "refusal"):
            tolerance = WRITING_TOLERANCE
        size = abs(stored - fresh)
        line = f"stored {stored:.6g}, computed {fresh:.6g}: differs by {fresh - stored:+.3g}"
        yield size / tolerance, field_name, line
    else:
        yield float("inf"), field_name, f"stored {str(stored)[:60]!r}, computed {str(fresh)[:60]!r}"
