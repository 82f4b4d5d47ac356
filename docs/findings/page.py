"""The findings page and its figures, from the committed data: ``python docs/findings/page.py``.

Every number of the text comes from data/summary.json through page.md.j2. What the text claims in words is
given to `holds` there as a comparison: where the data no longer bear it out, the sentence is named and
nothing is written.
"""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import analysis
import click
import draw
import jinja2

from lrt_bench.files.whole import write_whole

HERE = Path(__file__).parent
Table = list[dict[str, Any]]


def read_table(path: Path) -> Table:
    """A CSV file's rows, numbers as numbers, empty cells as None."""
    with path.open(newline="", encoding="utf-8") as stream:
        return [{name: _value(text) for name, text in row.items()} for row in csv.DictReader(stream)]


def _value(text: str) -> Any:
    if text in ("", "True", "False"):
        return {"": None, "True": True, "False": False}[text]
    try:
        return float(text) if any(mark in text for mark in ".en") else int(text)
    except ValueError:
        return text


def holds(claim: bool, sentence: str) -> str:
    """Nothing, where the data bear a sentence out. Raises ClickException where they do not."""
    if not claim:
        raise click.ClickException(f"the data no longer bear this out: {sentence}")
    return ""


def signed(figure: dict[str, float]) -> str:
    """A difference with its interval."""
    return f"{figure['value']:+.1f} [{figure['low']:+.1f}, {figure['high']:+.1f}]"


def score(figure: dict[str, float]) -> str:
    """A figure with its interval."""
    return f"{figure['value']:.1f} [{figure['low']:.1f}, {figure['high']:.1f}]"


def count(number: float) -> str:
    """Thousands apart."""
    return f"{number:,.0f}"


def page(data: Path) -> str:
    """The page's text."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(HERE), undefined=jinja2.StrictUndefined, keep_trailing_newline=True,
        trim_blocks=True, lstrip_blocks=True, autoescape=False,
    )  # fmt: skip
    environment.globals |= {"holds": holds, "EARLY": analysis.EARLY, "LATE": analysis.LATE}
    environment.filters |= {"signed": signed, "score": score, "count": count}
    summary = json.loads((data / "summary.json").read_text(encoding="utf-8"))
    return environment.get_template("page.md.j2").render(summary, draw=draw)


def write(data: Path, folder: Path) -> None:
    """Write findings.md and the figures beside it."""
    text = page(data)
    pairs, sites = read_table(data / "pairs.csv"), read_table(data / "sites.csv")
    summary = json.loads((data / "summary.json").read_text())
    figures = folder / "findings"
    draw.maps(pairs, figures / "maps.svg")
    draw.fidelity(pairs, figures / "fidelity.svg")
    draw.bias(summary["bias"]["training"], figures / "bias.svg")
    draw.tokens(summary["tokens"], figures / "tokens.svg")
    draw.layers(sites, figures / "layers.svg")
    write_whole(folder / "findings.md", text.encode())


@click.command()
@click.option("--out", type=click.Path(path_type=Path), default=HERE.parent, show_default=True)
def main(out: Path) -> None:
    """Write the page and its figures."""
    write(HERE / "data", out)
    click.echo(f"{out / 'findings.md'} and its figures in {out / 'findings'}")


if __name__ == "__main__":
    main()
