"""The page on maps: ``python docs/maps/maps_page.py [RESULTS]``.

Every number of docs/maps.md is read from RESULTS (leaderboard/results) by this script. What the page says in
words is given to `holds` as a comparison: where the results no longer bear it out, nothing is written.
"""

from __future__ import annotations

import sys
import textwrap
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import click
import jinja2
import numpy as np
from scipy import stats

from lrt_bench.data.suites import find_suite
from lrt_bench.files.format import number, signed, with_interval
from lrt_bench.files.whole import write_whole
from lrt_bench.mappings.names import BUILT_IN
from lrt_bench.models.target_runs import FIT_TOKENS, HELD_OUT_TOKENS
from lrt_bench.results.ladders import Ladder, ladders
from lrt_bench.results.metrics import over_ceiling
from lrt_bench.results.storage import Result, read_result

HERE = Path(__file__).parent
ROOT = HERE.parent.parent
EARLY, LATE, PLANTED = ("S-L-early", "M-L-early", "L-S-early"), "S-L", "planted-rotation"
CONTROLS = ("readout", "unembedding", "other-concept", "shuffled", "random")
SOURCES = {  # of each map: who proposed it, or what it is an instance of
    "affine": "the hypothesis' own map at its optimum (arXiv 2506.00653, section 2.3)",
    "affine-with-bias": "the paper's rule A v + p (section 3)",
    "affine-no-bias": "the paper's map without p",
    "affine-adamw": "the paper's training (section 2.3, table 2)",
    "affine-adamw-with-bias": "the paper's training and rule",
    "ridge": "Hoerl and Kennard 1970",
    "reshaped": "shrinkage of the output's spectrum; ours",
    "two-way": "Chen et al. 2025 (arXiv 2506.06609), equation 3",
    "orthogonal": "Schönemann 1966",
    "orthogonal-standardised": "Schönemann 1966, on standardised states",
    "whiten-rotate": "Artetxe et al. 2018, without re-weighting",
    "low-rank": "Izenman 1975",
    "cca": "Hotelling 1936",
    "pls": "Wold 1975; Dayal and MacGregor 1997",
    "mixture": "Jacobs et al. 1991, gates by k-means",
    "relative": "Moschella et al. 2023 (arXiv 2209.15430); Maiorca et al. 2023 (arXiv 2311.00664)",
    "kernel-ridge": "Rahimi and Recht 2007",
    "affine-waves": "ours",
    "mlp": "a multilayer perceptron beside a linear path",
    "autoencoder": "Oozeer et al. 2025",
    "crosscoder": "Lindsey et al. 2024, TopK of Gao et al. 2024",
    "blend": "an ensemble (Hansen and Salamon 1990); ours",
}
RUN_TARGET = {  # of each map whose fit may run the target
    "stitched": "model stitching: Lenc and Vedaldi 2015; Bansal et al. 2021",
    "functional": "Izenman 1975, in the Fisher metric (Amari 1998)",
    "functional-orthogonal": "Koschat and Swayne 1991, in the same metric",
}
Shares = Mapping[str, float]  # by task, 100 the ceiling


@dataclass(frozen=True)
class Estimate:
    """A mean over concepts with its 95% interval by Student's t."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return with_interval(self.value, self.low, self.high)

    @property
    def signed(self) -> str:
        """The same of a difference."""
        return f"{signed(self.value, 1)} [{signed(self.low, 1)}, {signed(self.high, 1)}]"


def estimate(values: Iterable[float]) -> Estimate:
    """Mean of the concepts' values, with its interval."""
    array = np.asarray(list(values), dtype=np.float64)
    mean, arm = float(array.mean()), float(stats.t.ppf(0.975, len(array) - 1) * stats.sem(array))
    return Estimate(mean, mean - arm, mean + arm)


def holds(claim: bool, sentence: str) -> str:
    """Nothing, where the results bear a sentence out. Raises ClickException where they do not."""
    if not claim:
        raise click.ClickException(f"the results no longer bear this out: {sentence}")
    return ""


class Suite:
    """A suite's committed results: {pair: {row: result}}."""

    def __init__(self, folder: Path) -> None:
        self.results: dict[str, dict[str, Result]] = {}
        for path in sorted(folder.glob("*/*.json")):
            self.results.setdefault(path.parent.name, {})[path.stem] = read_result(path)
        if not self.results:
            raise click.ClickException(f"{folder}: no results there")

    def has(self, row: str, pairs: Iterable[str] = EARLY) -> bool:
        """Whether all of some pairs have a row."""
        return all(row in self.results.get(pair, {}) for pair in pairs)

    def shares(self, row: str, pairs: Iterable[str] = EARLY) -> Shares:
        """Each concept's mean over the pairs, of the concepts that count on all of them."""
        by_pair = [_shares(self.results[pair][row]) for pair in pairs]
        common = set.intersection(*(set(shares) for shares in by_pair))
        return {task: float(np.mean([shares[task] for shares in by_pair])) for task in sorted(common)}

    def early(self, row: str) -> Estimate:
        """A row's mean on the early pairs."""
        return estimate(self.shares(row).values())

    def less(self, one: str, other: str) -> Estimate:
        """One row less another on the early pairs, paired over concepts."""
        sides = self.shares(one), self.shares(other)
        return estimate(sides[0][task] - sides[1][task] for task in sides[0])

    def score(self, row: str, pair: str) -> str:
        """A row's Transfer Score on one pair."""
        return number(self.results[pair][row].transfer_score, 1)

    def fit_seconds(self, row: str) -> float:
        """Seconds of a fit, the mean over the early pairs."""
        return float(np.mean([self.results[pair][row].cost.fit_seconds for pair in EARLY]))

    def fidelity(self, row: str, figure: str) -> float:
        """Return a figure of how mapped states stand in for the target's, the mean over the early pairs."""
        fidelities = [self.results[pair][row].fidelity for pair in EARLY]
        return float(np.mean([getattr(one, figure) for one in fidelities]))

    def apart(self, row: str, other: str) -> list[str]:
        """Return the pairs on which two rows are not one map: their states explain unlike shares."""
        explained = {
            pair: [of_pair[name].fidelity.fvu for name in (row, other)]
            for pair, of_pair in self.results.items()
            if row in of_pair
        }
        return [pair for pair, (one, two) in explained.items() if abs(one - two) > 1e-6]

    def target_tokens(self, row: str) -> float:
        """Return the tokens that a fit ran the target on, the mean over the early pairs."""
        return float(np.mean([self.results[pair][row].cost.target_tokens for pair in EARLY]))

    def best_first(self, names: Iterable[str]) -> list[str]:
        """Those of some rows that there are, by their mean on the early pairs."""
        return sorted((name for name in names if self.has(name)), key=lambda name: -self.early(name).value)


def _shares(result: Result) -> Shares:
    return {
        task.task: 100 * over_ceiling(task.share, task.ceiling_share)
        for task in result.tasks
        if task.steerable and task.share is not None and task.ceiling_share is not None
    }


@dataclass(frozen=True)
class Elsewhere:
    """A map that was fitted on other text, beside the same map fitted on all of the grammar."""

    mapping: str
    there: Estimate
    here: Estimate
    difference: Estimate


def elsewhere(other: Suite, own: Suite) -> list[Elsewhere]:
    """Every map that both suites have, best on the other text first."""
    made = []
    for name in other.best_first(name for name in SOURCES if own.has(name)):
        sides = other.shares(name), own.shares(name)
        common = sorted(set(sides[0]) & set(sides[1]))
        there, here = ([side[task] for task in common] for side in sides)
        difference = estimate(a - b for a, b in zip(there, here, strict=True))
        made.append(Elsewhere(name, estimate(there), estimate(here), difference))
    return made


def few_tokens(folder: Path) -> Ladder:
    """The ladder of the suite few-tokens."""
    [ladder] = ladders(read_result(path) for path in sorted(folder.glob("*/*.json")))
    return ladder


def page(results: Path) -> str:
    """The page's text."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(HERE), undefined=jinja2.StrictUndefined, keep_trailing_newline=True,
        trim_blocks=True, lstrip_blocks=True, autoescape=False,
    )  # fmt: skip
    environment.globals |= {
        "holds": holds,
        "number": number,
        "EARLY": EARLY,
        "LATE": LATE,
        "PLANTED": PLANTED,
    }
    nano = Suite(results / "nano")
    aware = [name for name, (module, _, _) in BUILT_IN.items() if module.startswith("concepts.")]
    linear = [name for name in nano.best_first(SOURCES) if _linear(nano, name)]
    return environment.get_template("page.md.j2").render(
        nano=nano, maps=nano.best_first(SOURCES), sources=SOURCES, controls=nano.best_first(CONTROLS),
        linear=linear, aware=aware, run_target=RUN_TARGET,
        bounds=(FIT_TOKENS, HELD_OUT_TOKENS),
        elsewhere=elsewhere(Suite(results / "out-of-domain"), nano),
        ladder=few_tokens(results / "few-tokens"),
        concepts=len(nano.shares("affine")), corpus=find_suite("nano").corpus, about=BUILT_IN,
    )  # fmt: skip


def _linear(suite: Suite, name: str) -> bool:
    return suite.results[EARLY[0]][name].mapping.kind == "linear"


def recommendation(results: Path) -> str:
    """The README's sentences: the best map of states, the best matrix, and where the others are."""
    nano = Suite(results / "nano")
    names = nano.best_first(SOURCES)
    first, line = names[0], next(name for name in names if _linear(nano, name))
    text = (
        f"**Which map?** Where the concept's contrast texts are at hand, `{first}`: {nano.early(first)} on "
        f"the mean of three toy pairs, {nano.less(first, 'affine').signed} over `affine` and "
        f"{nano.less(first, 'mlp').signed} over `mlp`. Where a vector alone is carried, `{line}`: "
        f"{nano.early(line)}, {nano.less(line, 'affine').signed} over `affine`. "
        f"Over `readout`, which knows no map, they have {nano.less(first, 'readout').signed} and "
        f"{nano.less(line, 'readout').signed}. "
        f"[All {len(names)} maps side by side](docs/maps.md), with few tokens and on other text too."
    )
    return textwrap.fill(text, 116, break_long_words=False, break_on_hyphens=False)


def with_recommendation(readme: str, text: str) -> str:
    """The README with its recommendation replaced."""
    begin, end = "<!-- which map: docs/maps/maps_page.py -->", "<!-- end -->"
    before, marked, rest = readme.partition(begin)
    if not marked or end not in rest:
        raise click.ClickException(f"README.md: the markers {begin} ... {end} are not there")
    return f"{before}{begin}\n{text}\n{rest[rest.index(end) :]}"


@click.command()
@click.argument(
    "results", type=click.Path(path_type=Path, exists=True), default=ROOT / "leaderboard" / "results"
)
def main(results: Path) -> None:
    """Write docs/maps.md, and the README's recommendation, from RESULTS."""
    write_whole(ROOT / "docs" / "maps.md", page(results).encode())
    readme = ROOT / "README.md"
    text = with_recommendation(readme.read_text(encoding="utf-8"), recommendation(results))
    write_whole(readme, text.encode())
    click.echo("wrote docs/maps.md and the README's recommendation")


if __name__ == "__main__":
    sys.exit(main())
