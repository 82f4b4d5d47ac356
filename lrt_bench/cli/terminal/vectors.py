"""What `fit` and `transfer` show in the terminal.

Nothing here computes a figure.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich import box
from rich.table import Table

from lrt_bench.cli.terminal.screen import print_line, screen

if TYPE_CHECKING:
    from lrt_bench.vectors.fitted_map import FittedMap
    from lrt_bench.vectors.vector import SteeringVector

USEFUL = 0.5  # alpha, in spreads: over-steering begins there (design, protocol 4)


def print_map(fitted: FittedMap) -> None:
    """Print what the map is, and how well it explains validation states."""
    card = fitted.card
    source, target = (f"{side.model} layer {side.layer}" for side in (card.source, card.target))
    print_line(f"{card.mapping} ({card.rule}): {source} to {target}")
    print_line(
        f"fitted on {card.fit_tokens} tokens of {card.corpus}; validation states: R2 {card.r2:.3f}, "
        f"{card.r2_without_top8:.3f} without the eight widest dimensions, cosine {card.cosine:.3f}"
    )


def summary(
    fitted: FittedMap, made: SteeringVector, carried: SteeringVector, out: Path | None
) -> dict[str, Any]:
    """Return what `transfer --json` prints.

    norm : the vector's length; norm_ratio as in `api.transfer`.
    """
    card = fitted.card
    norms = made.norm(card.source.layer), carried.norm()
    return {
        "concept": carried.concept,
        "mapping": card.mapping,
        "rule": card.rule,
        "source": card.source.model_dump(include={"model", "layer", "spread"}) | {"norm": norms[0]},
        "target": card.target.model_dump(include={"model", "layer", "spread"}) | {"norm": norms[1]},
        "norm_ratio": carried.provenance["norm_ratio"],
        "r2": card.r2,
        "r2_without_top8": card.r2_without_top8,
        "fit_tokens": card.fit_tokens,
        "corpus": card.corpus,
        "useful_alpha": USEFUL,
        "useful_coefficient": carried.coefficient(USEFUL),
        "out": None if out is None else str(out),
    }


def print_transfer(
    fitted: FittedMap, made: SteeringVector, carried: SteeringVector, out: Path | None, model: str
) -> None:
    """Print the map, the two vectors' lengths, the strengths that are useful, and where the file is.

    model : the target, as a command names it.
    """
    print_map(fitted)
    record = summary(fitted, made, carried, out)
    title = f"vector: {carried.concept}" if carried.concept else None
    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for column in ("", "model", "layer", "length", "spread", "length in spreads"):
        table.add_column(column, justify="left" if column in ("", "model") else "right", no_wrap=True)
    for side in ("source", "target"):
        part = record[side]
        lengths = f"{part['norm']:.4g}", f"{part['spread']:.4g}", f"{part['norm'] / part['spread']:.4g}"
        table.add_row(side, part["model"], str(part["layer"]), *lengths)
    screen().print(table)
    print_line(f"norm ratio, the map's length in spreads over the source's: {record['norm_ratio']:.3f}")
    print_line(
        f"useful strengths: |alpha| up to about {USEFUL:g} spreads; in tools that add c times the vector, "
        f"|c| up to {record['useful_coefficient']:.3g}"
    )
    if out is not None:
        print_line(f"written: {out}")
        command = f"lrt-bench try --model {model} --vector {out}"
        print_line(f'next: {command} --alpha -0.5 --alpha 0.5 --prompt "..."')
