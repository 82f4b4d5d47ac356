"""Honest methods, submitted as code and audited again and again: ``python -m scripts.submissions.draws``.

Prints a line for each draw: the methods are built in, so that a flag is a false one. What was found goes to
docs/private/draws.json, and from there into docs/sandbox.md (`docs/private/private_page.py`). 20 draws of six
methods take about half an hour of one core.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import torch

from lrt_bench.data.datasets import Data
from lrt_bench.data.suites import find_suite
from lrt_bench.evaluation.bench.pair_bench import PairBench
from lrt_bench.evaluation.bench.references import Reference
from lrt_bench.evaluation.bench.states import CorpusStates
from lrt_bench.files.whole import write_whole
from lrt_bench.mappings.names import BUILT_IN
from lrt_bench.models.loading import load_model
from lrt_bench.models.sites import Site
from lrt_bench.results.schema.audit_records import AuditRecord
from lrt_bench.submissions.folder import Submission, check
from lrt_bench.submissions.row import SubmissionRow
from lrt_bench.submissions.sandbox.launcher import Limits
from lrt_bench.submissions.scaffold import new_submission

ROOT = Path(__file__).parents[2]
FIGURES = ROOT / "docs" / "private" / "draws.json"
METHODS = ("ridge", "orthogonal", "mlp", "fourier-ridge", "whiten-rotate", "affine-waves")


def code_of(method: str) -> tuple[bytes, str]:
    """Return a method's program and class: a built-in one's, or an example's of submissions/."""
    if method in BUILT_IN:
        module, name, _ = BUILT_IN[method]
        text = f"from lrt_bench.mappings.{module} import {name}\nclass Mine({name}):\n    pass\n"
        return text.encode(), "Mine"
    found = check(ROOT / "submissions" / method).submission
    assert found is not None
    return found.code, found.class_name


def pair_bench(name: str, pair_name: str) -> PairBench:
    """Return the bench of one pair of a suite."""
    suite = find_suite(name)
    pair = next(pair for pair in suite.pairs if pair.name == pair_name)
    assert isinstance(pair.source_layer, int)
    assert isinstance(pair.target_layer, int)
    sites = [
        Site(load_model(spec), layer)
        for spec, layer in ((pair.source, pair.source_layer), (pair.target, pair.target_layer))
    ]
    states = CorpusStates(sites[0], sites[1], suite.corpus.corpus(Data()), suite.corpus.budget, 0, 64)
    return PairBench(suite, pair, sites[0], sites[1], suite.tasks_of(pair), states, 0, 64)


def audits(method: str, bench: PairBench, draws: int) -> Iterator[AuditRecord]:
    """Yield what the audits of a method say, draw by draw."""
    code, name = code_of(method)
    references: dict[str, Reference] | None = None
    with tempfile.TemporaryDirectory() as folder:
        new_submission("mine", Path(folder))
        card = check(Path(folder) / "mine").submission
        assert card is not None
        for _ in range(draws):
            submission = Submission(Path(folder), card.card, {"mapping.py": code}, name)
            row = SubmissionRow(
                method, "", control=False, track="corpus", submission=submission, limits=Limits(seconds=300)
            )
            if references is not None:
                row.compare_with(references)
            row.vectors(bench, bench.choice_sweep.tasks)
            references = row._references
            assert row.audit is not None
            yield row.audit


def summary(found: list[AuditRecord]) -> dict[str, Any]:
    """Return how many draws raised a flag, and the largest loss that each check saw, in points."""
    losses: dict[str, float] = {}
    for audit in found:
        for one in audit.checks:
            losses[one.name] = max(losses.get(one.name, -100.0), round(one.difference, 2))
    return {"draws": len(found), "flags": sum(audit.rotation_flag for audit in found), "most": losses}


@click.command()
@click.option("--draws", default=20)
@click.option("--suite", default="nano")
@click.option("--pair", default="S-L")
@click.option("--method", "methods", multiple=True, default=METHODS)
def main(draws: int, suite: str, pair: str, methods: tuple[str, ...]) -> None:
    """Audit each method so many times and print what its checks say."""
    torch.set_num_threads(1)
    bench = pair_bench(suite, pair)
    figures: dict[str, Any] = {"pair": pair, "methods": {}}
    for method in methods:
        found = []
        for draw, audit in enumerate(audits(method, bench, draws)):
            found.append(audit)
            checks = "; ".join(
                f"{c.name} {c.difference:+.2f} [{c.ci95[0]:+.2f}, {c.ci95[1]:+.2f}]{' FLAG' * c.flag}"
                for c in audit.checks
            )
            click.echo(f"{method} {draw}: {checks}")
        figures["methods"][method] = summary(found)
        write_whole(FIGURES, (json.dumps(figures, indent=1) + "\n").encode())
    click.echo(f"{sum(one['flags'] for one in figures['methods'].values())} false flags")


if __name__ == "__main__":
    main()
