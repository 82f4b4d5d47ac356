"""The page on pretrained pairs: ``python docs/pretrained/pretrained_pairs.py [RESULTS]``.

Every number of docs/pretrained.md is read from RESULTS (leaderboard/results) by this script, and what it says
in words depends on them.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import jinja2
import numpy as np
from scipy import stats
from table_1 import SUITE as PAPER
from table_1 import paper_pairs

from lrt_bench.data.suites import find_suite
from lrt_bench.files.format import count, number, signed, with_interval
from lrt_bench.files.whole import write_whole
from lrt_bench.leaderboard.front.kinds import pair_kind, weights_told
from lrt_bench.results.ranking import RankedRow, ranked
from lrt_bench.results.statistics.inference import TaskSample
from lrt_bench.results.storage import read_result

HERE = Path(__file__).parent
ROOT = HERE.parent.parent
SUITES = ("qwen2.5-coder", "pocket-cross")


def score(value: float | None, bounds: tuple[float, float] | None = None, digits: int = 1) -> str:
    """A figure, with its interval where it has one."""
    return number(value, digits) if bounds is None else with_interval(value, *bounds)


@dataclass(frozen=True)
class PairPage:
    """What the page says of one pair."""

    suite: str
    name: str
    rows: list[RankedRow]
    tasks: dict[str, Any]

    @property
    def by_name(self) -> dict[str, RankedRow]:
        """Rows by their name."""
        return {row.result.mapping.name: row for row in self.rows}

    @property
    def maps(self) -> list[RankedRow]:
        """The ranked mappings that are fitted on the corpus alone, best first."""
        return [row for row in self.rows if row.rank is not None and row.result.mapping.track == "corpus"]

    @property
    def aware(self) -> list[RankedRow]:
        """The rows that read concepts' texts, and the two controls that unmask own texts, best first."""
        return [row for row in self.rows if row.result.cost.fit_texts is not None]

    @property
    def controls(self) -> list[RankedRow]:
        """Controls without the two native ones, best first."""
        rows = [row for row in self.rows if row.result.mapping.control and row not in self.aware]
        return [row for row in rows if not row.result.mapping.name.startswith("native")]

    @property
    def planted(self) -> bool:
        """Whether the true map is known: a sanity check, and no finding."""
        return pair_kind(self.rows[0].result.pair) == "planted"

    @property
    def first(self) -> Any:
        """The result of the best map."""
        return self.maps[0].result

    def result(self, name: str) -> Any:
        """A row's result."""
        return self.by_name[name].result

    def score(self, name: str) -> float:
        """A row's Transfer Score."""
        return float(self.result(name).transfer_score)

    def sure(self, name: str) -> bool:
        """Whether a row's interval lies above 0."""
        return bool(self.result(name).ci95[0] > 0)

    def carried(self, name: str) -> bool:
        """Whether a row's interval over these tasks' prompts lies above 0."""
        return bool(self.result(name).ci95_these_tasks[0] > 0)

    def less(self, one: str, other: str) -> str:
        """How much more a row scores than another, paired over concepts, with a t interval over them."""
        each = np.array([
            [TaskSample.of_errors(task.errors).share for task in self.tasks[name] if task.steerable]
            for name in (one, other)
        ])  # fmt: skip
        differences = 100 * (each[0] - each[1])
        mean = float(differences.mean())
        arm = stats.t.ppf(0.975, len(differences) - 1) * stats.sem(differences)
        return f"{signed(mean, 1)} [{signed(mean - arm, 1)}, {signed(mean + arm, 1)}]"

    @property
    def shown(self) -> list[str]:
        """The rows that are told by concept: the three best maps, and the controls that know no concept."""
        return [row.result.mapping.name for row in self.maps[:3]] + ["readout", "random"]

    @property
    def missing(self) -> list[str]:
        """Mappings that the suite asks for and that have no result."""
        if self.planted:
            return []
        return [name for name in find_suite(self.suite).mappings if name not in self.by_name]

    @property
    def asked(self) -> int:
        """How many concepts the suite asks for."""
        return len(self.tasks["native"])

    @property
    def counted(self) -> list[Any]:
        """The native row's tasks that count."""
        return [task for task in self.tasks["native"] if task.steerable]

    @property
    def prompts(self) -> int:
        """Prompts of a task, at most."""
        return max(int(task.prompts) for task in self.tasks["native"])

    def share(self, name: str, task: str) -> float | None:
        """A row's share on one task."""
        [found] = [row for row in self.tasks[name] if row.task == task]
        return None if found.share is None else float(found.share)


def pairs(results: Path) -> list[PairPage]:
    """The pairs that have results, in the order of the suites."""
    found = []
    for suite in SUITES:
        for pair in find_suite(suite).pairs:
            paths = sorted((results / suite / pair.name).glob("*.json"))
            if paths:
                results_of = [read_result(path) for path in paths]
                tasks = {result.mapping.name: result.tasks for result in results_of}
                found.append(PairPage(suite, pair.name, ranked(results_of), tasks))
    return found


def page(results: Path) -> str:
    """The page's text."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(HERE), undefined=jinja2.StrictUndefined, keep_trailing_newline=True,
        trim_blocks=True, lstrip_blocks=True, autoescape=False,
    )  # fmt: skip
    environment.globals |= {"score": score, "count": count}
    found = pairs(results)
    known = {(pair.suite, pair.name) for pair in found}
    waiting = {
        suite: [pair.name for pair in find_suite(suite).pairs if (suite, pair.name) not in known]
        for suite in SUITES
    }
    told = {weights for pair in found for weights in weights_told(pair.first)}
    paper = list(paper_pairs(results))
    run = {pair.name for pair in paper}
    waiting[PAPER] = [pair.name for pair in find_suite(PAPER).pairs if pair.name not in run]
    return environment.get_template("page.md.j2").render(
        pairs=found, paper=paper, waiting=waiting, weights=" and ".join(sorted(told))
    )


@click.command()
@click.argument(
    "results", type=click.Path(path_type=Path, exists=True), default=ROOT / "leaderboard" / "results"
)
def main(results: Path) -> None:
    """Write docs/pretrained.md from RESULTS."""
    write_whole(ROOT / "docs" / "pretrained.md", page(results).encode())
    click.echo("wrote docs/pretrained.md")


if __name__ == "__main__":
    sys.exit(main())
