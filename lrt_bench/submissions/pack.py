"""Packs a submission: a run of one's own, claimed until it is computed again, and the pull request's text."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

from lrt_bench.data.suites import find_suite, narrowed
from lrt_bench.errors import UserError
from lrt_bench.evaluation.config import RunConfig
from lrt_bench.evaluation.evaluation import Evaluation
from lrt_bench.files.whole import write_whole
from lrt_bench.results.storage import Result
from lrt_bench.submissions.folder import Submission, load
from lrt_bench.submissions.row import submission_rows

BASELINE = "ridge"


def pack_submission(
    path: Path,
    suite_spec: str,
    pairs: Sequence[str],
    isolate: bool,
    report: Callable[[str, float, float], None],
) -> list[Path]:
    """Score a submission and write PATH/claimed.

    Raises UserError where it fails on a pair.
    """
    submission = load(path)
    suite = narrowed(find_suite(suite_spec), pairs=pairs)
    chosen = [pair.name for pair in suite.pairs if submission.applies(pair.name)]
    rows = submission_rows([path], suite, isolate=isolate)
    with tempfile.TemporaryDirectory(prefix="lrt-bench-pack-") as folder:
        evaluation = Evaluation(
            narrowed(suite, pairs=chosen),
            RunConfig(mappings=(BASELINE,), out=Path(folder), seed=submission.card.seed),
            submissions=rows, report=report,
        )  # fmt: skip
        results = [cell.result for cell in evaluation.run()]
        if evaluation.failures:
            raise UserError(evaluation.failures[0].reason)
    mine = [result for result in results if result.mapping.name == submission.card.name]
    baseline = {r.pair.name: r for r in results if r.mapping.name == BASELINE}
    claimed = path / "claimed"
    stale = set(claimed.glob("*.json"))
    written = []
    for result in mine:
        file = claimed / f"{result.pair.name}.json"
        record = result.model_copy(update={"state": "claimed"})
        write_whole(file, (record.model_dump_json(indent=1) + "\n").encode())
        written.append(file)
    for file in stale - set(written):
        file.unlink()
    text = _pull_request(submission, mine, baseline)
    write_whole(claimed / "PULL_REQUEST.md", text.encode())
    return [*written, claimed / "PULL_REQUEST.md"]


def _score(result: Result) -> str:
    if result.transfer_score is None or result.ci95 is None:
        return "not steerable"
    return f"{result.transfer_score:.1f} [{result.ci95[0]:.1f}, {result.ci95[1]:.1f}]"


def _pull_request(submission: Submission, mine: list[Result], baseline: dict[str, Result]) -> str:
    card = submission.card
    lines = [
        f"# Submission: {card.name}", "", card.description, "",
        f"- authors: {', '.join(card.authors)}", f"- link: {card.link}", f"- licence: {card.licence}",
        f"- track: {card.track}", f"- digest: `{submission.digest}`", "",
        f"| pair | Transfer Score (claimed) | {BASELINE} here | deterministic | rotation flag |",
        "| --- | --- | --- | --- | --- |",
    ]  # fmt: skip
    for result in mine:
        flags = ["-", "-"]
        if result.audit:
            flags = [
                "yes" if flag else "no" for flag in (result.audit.deterministic, result.audit.rotation_flag)
            ]
        pair = result.pair.name
        lines.append(f"| {pair} | {_score(result)} | {_score(baseline[pair])} | {' | '.join(flags)} |")
    lines += ["", f"Check it: `lrt-bench verify submissions/{card.name}/claimed`", ""]
    return "\n".join(lines)
