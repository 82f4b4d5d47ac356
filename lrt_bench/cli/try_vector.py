"""The command that tries a steering vector: texts side by side, alphas as columns."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from lrt_bench.cli.options import SEVERAL, TEXT, WHERE, numbers, verbosity, with_options
from lrt_bench.errors import UserError, one_line_errors

if TYPE_CHECKING:
    from lrt_bench.models.sites import Site
    from lrt_bench.vectors.tryout import Tryout
    from lrt_bench.vectors.vector import SteeringVector

FILE = click.Path(path_type=Path)


@click.command(name="try")
@click.option("--model", "spec", required=True, help="MODEL or MODEL:LAYER: Hub id, folder, .gguf, nano/L.")
@click.option("--vector", type=FILE, required=True, help="A steering vector of that model.")
@click.option("--format", "vector_format", help="Format of --vector, where its suffix does not tell.")
@click.option(
    "--layer", type=click.IntRange(min=1), help="Counted from 1, where the file has several or none."
)
@click.option(
    "--alpha",
    "alphas",
    multiple=True,
    callback=numbers,
    help=f"Strength ({SEVERAL}).  [default: -0.5,0.5]",
)
@click.option("--prompt", "prompts", multiple=True, help="Text to write on from (repeatable).")
@click.option("--prompts", "prompts_file", type=FILE, help="File of prompts, one a line.")
@click.option("--chat", is_flag=True, help="Prompts are instructions: use the model's chat template.")
@click.option(
    "--unit", type=click.Choice(["spread", "norm"]), default="spread", show_default=True,
    help="Alpha in spreads of the layer, or in lengths of the vector.",
)  # fmt: skip
@click.option("--max-tokens", type=click.IntRange(min=1), default=40, show_default=True)
@click.option(
    "--temperature", type=click.FloatRange(min=0), default=0.0, show_default=True, help="0 is greedy."
)
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Of sampling.")
@click.option("--html", type=FILE, help="Also a page with each token's shift.")
@with_options([*TEXT, *WHERE])
@click.option("--json", "as_json", is_flag=True, help="One JSON object on standard output.")
@verbosity
@one_line_errors
def try_(
    spec: str,
    vector: Path,
    vector_format: str | None,
    layer: int | None,
    prompts: tuple[str, ...],
    prompts_file: Path | None,
    html: Path | None,
    corpus: str | None,
    corpus_column: str | None,
    data: tuple[str, ...],
    device: str,
    dtype: str,
    device_map: str | None,
    as_json: bool,
    **settings: Any,
) -> None:
    """Steer a model with a vector and show what it writes, beside what it writes unsteered.

    A vector's file that `transfer` wrote says the spread, the unit of alpha; for other files it is measured
    on a few thousand tokens of --corpus. With --unit norm alpha multiplies the vector itself.
    """
    from lrt_bench.files.hub import check_models

    check_models([_layer(spec, layer)[0]], {})
    from lrt_bench.models.loading import Models
    from lrt_bench.models.sites import Site
    from lrt_bench.vectors.vector_files import assumptions, read_vector

    if html is not None and html.is_dir():
        raise UserError(f"--html {html}: a folder is there; give a file")
    every = [*prompts, *(_lines(prompts_file) if prompts_file else ())]
    if not every:
        raise UserError("give at least one --prompt TEXT, or --prompts FILE")
    spec, layer = _layer(spec, layer)
    steering = read_vector(vector, vector_format, layer)
    for note in assumptions(steering):
        click.echo(f"note: {vector}: {note}", err=True)
    loading = {name: settings.pop(name) for name in ("trust_remote_code", "bos")}
    site = Site(Models(dtype, device, device_map, **loading).get(spec), steering.layer(layer))
    shown = _try(site, steering, every, _Text(spec, corpus, corpus_column, data), settings)
    if html is not None:
        from lrt_bench.files.whole import write_whole
        from lrt_bench.vectors.try_page import render_page

        write_whole(html, render_page(shown).encode())
    if as_json:
        click.echo(json.dumps(asdict(shown), indent=1, allow_nan=False))
    else:
        _print(shown, html)


def _layer(spec: str, layer: int | None) -> tuple[str, int | None]:
    """Return the model and the layer of MODEL:LAYER.

    Raises UserError where --layer says another one.
    """
    from lrt_bench.files.names import parse_site

    model, named = parse_site(spec)
    if named is None:
        return model, layer
    if not isinstance(named, int) or layer not in (None, named):
        raise UserError(f"--model {spec}: give one layer, counted from 1, as MODEL:LAYER or as --layer")
    return model, named


def _lines(path: Path) -> list[str]:
    """Return the prompts in a file, a line each.

    Raises UserError.
    """
    from lrt_bench.files.text import read_lines

    prompts = [line for _, line in read_lines(path)]
    if not prompts:
        raise UserError(f"--prompts {path}: no text there; give a prompt a line")
    return prompts


@dataclass(frozen=True)
class _Text:
    """What the spread is measured on: the corpus of a model, or another, and stand-ins of data sets."""

    model: str
    corpus: str | None
    column: str | None
    data: tuple[str, ...]


def _try(
    site: Site, vector: SteeringVector, prompts: list[str], text: _Text, settings: dict[str, Any]
) -> Tryout:
    """Return the texts that the model writes, at each strength."""
    from lrt_bench.data.datasets import Data, stand_ins
    from lrt_bench.data.suites import default_suite, find_suite, narrowed
    from lrt_bench.vectors.tryout import Writing, measured_spread, try_vector

    alphas, unit = settings.pop("alphas") or (-0.5, 0.5), settings.pop("unit")
    data = Data(stand_ins(text.data, "--data"))
    spec = narrowed(
        find_suite(default_suite(text.model, text.model)), corpus=text.corpus, column=text.column
    ).corpus
    return try_vector(
        site, vector, alphas, prompts, Writing(**settings), unit=unit,
        measure=lambda: measured_spread(site, spec, data),
    )  # fmt: skip


def _print(shown: Tryout, html: Path | None) -> None:
    """Print a table: a row a prompt, a column an alpha."""
    from rich import box
    from rich.table import Table

    from lrt_bench.cli.terminal.screen import print_line, screen

    unit = "spreads" if shown.unit == "spread" else "lengths of the vector"
    subject = f"{shown.concept or 'vector'} on {shown.model}, layer {shown.layer}"
    print_line(f"{subject}; alpha in {unit}, 1 is {shown.step:.4g} in the residual stream")
    table = Table(box=box.SQUARE, show_lines=True)
    table.add_column("prompt", ratio=2)
    for alpha in shown.alphas:
        table.add_column(f"{alpha:+g}" if alpha else "0 (unsteered)", ratio=3)
    for prompt, attempts in zip(shown.prompts, shown.attempts, strict=True):
        table.add_row(prompt, *(attempt.text for attempt in attempts))
    screen().print(table)
    if html is not None:
        print_line(f"written: {html}")
