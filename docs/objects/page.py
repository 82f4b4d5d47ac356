"""The page on probes: ``python docs/objects/page.py``, from docs/objects/probes.csv.

Every number of docs/objects.md is computed here. Means are over concepts, each a mean over the pairs;
intervals are Student's t over concepts.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import click
import jinja2
import numpy as np
import pandas
from scipy import stats

from lrt_bench.files.whole import write_whole

HERE = Path(__file__).parent
WAYS = (
    "native", "source's own", "whiten-rotate", "orthogonal", "affine", "ridge", "pseudo-inverse of A",
    "as a vector, A w", "random", "shuffled",
)  # fmt: skip


@dataclass(frozen=True)
class Estimate:
    """A mean over concepts with its 95% interval."""

    value: float
    low: float
    high: float

    @classmethod
    def of(cls, values: pandas.Series) -> Estimate:
        """Estimate the mean of the concepts' values."""
        mean, arm = float(values.mean()), float(stats.t.ppf(0.975, len(values) - 1) * stats.sem(values))
        return cls(mean, mean - arm, mean + arm)

    def __str__(self) -> str:
        return f"{self.value:.3f} [{self.low:.3f}, {self.high:.3f}]"

    @property
    def signed(self) -> str:
        """The same of a difference."""
        return f"{self.value:+.3f} [{self.low:+.3f}, {self.high:+.3f}]".replace("-", "−")


class Probes:
    """The measured table."""

    def __init__(self, path: Path) -> None:
        self.table = pandas.read_csv(path)

    def by_concept(self, way: str, column: str = "auroc") -> pandas.Series:
        """Each concept's mean over the pairs."""
        rows = self.table[self.table["way"] == way]
        return rows.groupby("concept")[column].mean()

    def mean(self, way: str, column: str = "auroc") -> Estimate:
        """Mean over concepts."""
        return Estimate.of(self.by_concept(way, column))

    def less(self, one: str, other: str, column: str = "auroc") -> Estimate:
        """One way less another, paired over concepts."""
        return Estimate.of(self.by_concept(one, column) - self.by_concept(other, column))

    @property
    def concepts(self) -> int:
        """How many concepts there are."""
        return int(self.table["concept"].nunique())

    @property
    def hard(self) -> int:
        """Concepts that a random direction reads with an AUROC of .7 or less."""
        return int(np.sum(self.by_concept("random") <= 0.7))


@click.command()
@click.option("--table", type=click.Path(path_type=Path, exists=True), default=HERE / "probes.csv")
@click.option("--out", type=click.Path(path_type=Path), default=HERE.parent / "objects.md", show_default=True)
def main(table: Path, out: Path) -> None:
    """Write the page."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(HERE), undefined=jinja2.StrictUndefined, keep_trailing_newline=True,
        trim_blocks=True, lstrip_blocks=True, autoescape=False,
    )  # fmt: skip
    text = environment.get_template("page.md.j2").render(probes=Probes(table), ways=WAYS)
    write_whole(out, text.encode())
    click.echo(f"wrote {out}")


if __name__ == "__main__":
    main()
